//! Measures durable cycles on the embedded store: `cargo run -p ps-store --example cycles -- TASKS SECONDS [ack]`.
//!
//! A cycle is what one link costs the store: *put* (insert of a record with 1 KiB of ciphertext) and *claim* (get, apply the
//! rules, replace), through [`StoreLinkService`] as the gateway serves it. Both are answered after their commit and its
//! `fsync`. With `ack`, each cycle also acknowledges, which erases. Prints `figure NAME VALUE` lines for `cargo xtask bench`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measuring program: a failure may end it, and it prints its figures"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use ps_core::ids::{Digest, LinkId};
use ps_core::link::Record;
use ps_core::ports::LinkStore as _;
use ps_core::service::{AcknowledgeRequest, ClaimRequest, LinkService as _, Revealed};
use ps_core::time::Timestamp;
use ps_store::EmbeddedStore;
use ps_store::conformance::{preimage, sample};
use ps_store::service::{Fence, StoreLinkService};

const NOW: Timestamp = Timestamp::from_secs(1_000_000);
const STEPS: [&str; 3] = ["put", "claim", "ack"];

fn id(number: u64) -> LinkId {
    let digest = Digest::of(&number.to_be_bytes());
    LinkId(digest.0[..16].try_into().unwrap())
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default| arguments.get(at).map_or(default, |text| text.parse().unwrap());
    let (tasks, seconds) = (number(0, 64), number(1, 5));
    let acknowledge = arguments.iter().any(|word| word == "ack");
    let folder = tempfile::tempdir_in(std::env::var_os("BENCH_DIR").unwrap_or_else(|| ".".into())).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let store = Arc::new(EmbeddedStore::open(folder.path()).unwrap());
    runtime.block_on(measure(store, tasks, Duration::from_secs(seconds), acknowledge));
}

async fn measure(store: Arc<EmbeddedStore>, tasks: u64, time: Duration, acknowledge: bool) {
    let service = Arc::new(StoreLinkService::new(Arc::clone(&store), Fence::lifted()));
    let (start, before) = (Instant::now(), *store.commits().borrow());
    let mut all = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let (store, service) = (Arc::clone(&store), Arc::clone(&service));
        all.spawn(async move {
            let mut times = [Vec::new(), Vec::new(), Vec::new()];
            let mut count = 0;
            while start.elapsed() < time {
                let id = id(count * tasks + task);
                count += 1;
                let link = Record::Link(Box::new(sample(id, NOW, &[7; 1024])));
                let begun = Instant::now();
                store.insert(&link).await.unwrap();
                times[0].push(begun.elapsed());
                let (access, token) = (Revealed(preimage(id, "access")), [3; 32]);
                let proof = Revealed(preimage(id, "proof"));
                let token_hash = Digest::of(&token);
                let claim = ClaimRequest::First {
                    id,
                    access: access.clone(),
                    opening_code: None,
                    proof,
                    token_hash,
                    exposed: false,
                };
                let begun = Instant::now();
                let answer = service.claim(&claim, NOW).await.unwrap();
                times[1].push(begun.elapsed());
                assert_eq!(answer.ciphertext.0.len(), 1024);
                if acknowledge {
                    let request = AcknowledgeRequest { id, access, token: Revealed(token) };
                    let begun = Instant::now();
                    service.acknowledge(&request, NOW).await.unwrap();
                    times[2].push(begun.elapsed());
                }
            }
            times
        });
    }
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    while let Some(task) = all.join_next().await {
        for (to, from) in times.iter_mut().zip(task.unwrap()) {
            to.extend(from);
        }
    }
    let took = start.elapsed().as_secs_f64();
    let commits = *store.commits().borrow() - before;
    let writes: usize = times.iter().map(Vec::len).sum();
    println!("figure cycles_per_s {:.0}", times[1].len() as f64 / took);
    println!("figure commits_per_s {:.0}", commits as f64 / took);
    println!("figure writes_per_commit {:.2}", writes as f64 / commits as f64);
    for (what, times) in STEPS.into_iter().zip(&mut times).filter(|(_, times)| !times.is_empty()) {
        times.sort_unstable();
        for part in [50, 99] {
            let at = times.get(times.len() * part / 100).copied().unwrap_or_default();
            println!("figure {what}_p{part}_ms {:.3}", at.as_secs_f64() * 1e3);
        }
    }
}
