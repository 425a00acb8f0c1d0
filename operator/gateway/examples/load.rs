//! Measures claims over HTTP on a running gateway: `cargo run -p ps-gateway --example load -- FOLDER ADDRESS CONNECTIONS SECONDS [put]`.
//!
//! FOLDER is the gateway's folder of link records; this program puts links into it as the operator does, through a store of its own.
//! Each connection is kept alive and has one request at a time. Without `put`, the links are put before the time runs, and
//! what counts is claims. With `put`, each cycle puts its link first: two processes then write the same file.
//! Prints `figure NAME VALUE` lines for `cargo xtask bench`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::panic,
    reason = "a measuring program: a failure may end it, and it prints its figures"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ps_core::ids::{Digest, LinkId};
use ps_core::link::Record;
use ps_core::ports::LinkStore as _;
use ps_core::service::{ClaimRequest, Revealed};
use ps_core::time::Timestamp;
use ps_store::EmbeddedStore;
use ps_store::conformance::{preimage, sample};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Links that are put beforehand for each second of a run without `put`.
const AHEAD_PER_SECOND: u64 = 16_000;
/// Puts at once while links are put beforehand.
const PUTTERS: u64 = 64;

struct Plan {
    address: String,
    connections: u64,
    time: Duration,
    puts: bool,
    run: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, address, connections, seconds, rest @ ..] = arguments.as_slice() else {
        panic!("load FOLDER ADDRESS CONNECTIONS SECONDS [put]");
    };
    let plan = Plan {
        address: address.clone(),
        connections: connections.parse().unwrap(),
        time: Duration::from_secs(seconds.parse().unwrap()),
        puts: rest.iter().any(|word| word == "put"),
        run: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let store = Arc::new(EmbeddedStore::open(Path::new(folder)).unwrap());
    runtime.block_on(measure(store, Arc::new(plan)));
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

fn id(run: u64, number: u64) -> LinkId {
    let digest = Digest::of(&[run.to_be_bytes(), number.to_be_bytes()].concat());
    LinkId(digest.0[..16].try_into().unwrap())
}

async fn put(store: &EmbeddedStore, id: LinkId) {
    store.insert(&Record::Link(Box::new(sample(id, now(), &[7; 1024])))).await.unwrap();
}

async fn measure(store: Arc<EmbeddedStore>, plan: Arc<Plan>) {
    let ahead = if plan.puts { 0 } else { AHEAD_PER_SECOND * plan.time.as_secs() };
    let mut putting = tokio::task::JoinSet::new();
    for putter in 0..PUTTERS {
        let (store, run) = (Arc::clone(&store), plan.run);
        putting.spawn(async move {
            for number in (putter..ahead).step_by(PUTTERS as usize) {
                put(&store, id(run, number)).await;
            }
        });
    }
    putting.join_all().await;

    let next = Arc::new(AtomicUsize::new(0));
    let mut all = tokio::task::JoinSet::new();
    let start = Instant::now();
    for _ in 0..plan.connections {
        let (store, plan, next) = (Arc::clone(&store), Arc::clone(&plan), Arc::clone(&next));
        all.spawn(async move {
            let mut stream = TcpStream::connect(&plan.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut buffer = vec![0; 64 * 1024];
            let mut times = [Vec::new(), Vec::new()];
            while start.elapsed() < plan.time {
                let number = next.fetch_add(1, Ordering::Relaxed) as u64;
                if !plan.puts && number >= ahead {
                    break;
                }
                let id = id(plan.run, number);
                if plan.puts {
                    let begun = Instant::now();
                    put(&store, id).await;
                    times[0].push(begun.elapsed());
                }
                let request = request(&plan.address, id);
                let begun = Instant::now();
                stream.write_all(&request).await.unwrap();
                answer(&mut stream, &mut buffer).await;
                times[1].push(begun.elapsed());
            }
            times
        });
    }
    let mut times = [Vec::new(), Vec::new()];
    while let Some(task) = all.join_next().await {
        for (to, from) in times.iter_mut().zip(task.unwrap()) {
            to.extend(from);
        }
    }
    let took = start.elapsed().as_secs_f64();
    println!("figure claims_per_s {:.0}", times[1].len() as f64 / took);
    for (what, times) in ["put", "claim"].into_iter().zip(&mut times).filter(|(_, times)| !times.is_empty()) {
        times.sort_unstable();
        for part in [50, 99] {
            let at = times.get(times.len() * part / 100).copied().unwrap_or_default();
            println!("figure {what}_p{part}_ms {:.3}", at.as_secs_f64() * 1e3);
        }
    }
}

fn request(host: &str, id: LinkId) -> Vec<u8> {
    let (access, proof) = (Revealed(preimage(id, "access")), Revealed(preimage(id, "proof")));
    let claim =
        ClaimRequest::First { id, access, opening_code: None, proof, token_hash: Digest::of(&id.0), exposed: false };
    let body = serde_json::to_vec(&claim).unwrap();
    let head = format!(
        "POST /api/v1/links/claim HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

/// Reads one whole answer, which must be 200 with a length.
async fn answer(stream: &mut TcpStream, buffer: &mut [u8]) {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await.unwrap();
        assert!(read > 0, "the gateway closed the connection");
        filled += read;
        let Some(end) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&buffer[..end]).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if filled >= end + 4 + length.parse::<usize>().unwrap() {
            assert!(head.starts_with("http/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..filled]));
            return;
        }
    }
}
