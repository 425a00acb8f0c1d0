//! Measures durable claim cycles per second on the embedded store: `cargo run -p ps-store --example cycles -- TASKS SECONDS`.
//! A cycle is what one claim costs a gateway: read, apply, replace. Acknowledge and insert are told apart.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measuring program: a failure may end it, and it prints its figures"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use ps_core::ids::{Digest, LinkId};
use ps_core::link::{Command, Proof, Record, apply};
use ps_core::ports::LinkStore;
use ps_core::time::Timestamp;
use ps_store::EmbeddedStore;
use ps_store::conformance::{preimage, sample};

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn id(number: u64) -> LinkId {
    let digest = Digest::of(&number.to_be_bytes());
    LinkId(digest.0[..16].try_into().unwrap())
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().map_or(default, |text| text.parse().unwrap());
    let (tasks, seconds) = (number(64), number(5));
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure(Arc::new(EmbeddedStore::open(folder.path()).unwrap()), tasks, seconds));
}

async fn measure(store: Arc<EmbeddedStore>, tasks: u64, seconds: u64) {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut all = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let store = Arc::clone(&store);
        all.spawn(async move {
            let mut times = [Vec::new(), Vec::new(), Vec::new()];
            let mut count = 0;
            while Instant::now() < end {
                let id = id(count * tasks + task);
                count += 1;
                let link = Record::Link(Box::new(sample(id, NOW, &[7; 600])));
                let start = Instant::now();
                store.insert(&link).await.unwrap();
                times[0].push(start.elapsed());
                let (access, token) = (preimage(id, "access"), [3; 32]);
                let proof = Proof(preimage(id, "proof"));
                let token_hash = Digest::of(&token);
                let claim = Command::Claim { access, code: None, proof, token_hash };
                for (at, command) in [(1, claim), (2, Command::Acknowledge { access, token })] {
                    let start = Instant::now();
                    let found = store.get(id).await.unwrap().unwrap();
                    let next = apply(found.value.link().unwrap(), &command, NOW).next.unwrap();
                    store.replace(&Record::Link(Box::new(next)), found.version).await.unwrap();
                    times[at].push(start.elapsed());
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
    for (what, times) in ["insert", "claim", "acknowledge"].into_iter().zip(&mut times) {
        times.sort_unstable();
        let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
        println!("{what}: {} in {seconds} s, p50 {:?}, p99 {:?}", times.len(), at(50), at(99));
    }
}
