//! Asks a running gateway for links that do not exist: `cargo run -p ps-gateway --example strangers -- ADDRESS CONNECTIONS COUNT`.
//!
//! Every request has an id of its own and comes, as `X-Forwarded-For` says, from a client of its own: the gateway must trust
//! the loopback network as a proxy. Whoever asks more often than a client may is not told that there is no such link but
//! `slow-down`; here nobody does. Prints `figure NAME VALUE` lines for `cargo xtask bench`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "a measuring program: a failure may end it, and it prints its figures"
)]

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ps_core::ids::{Digest, LinkId};
use ps_core::service::{LookupRequest, Revealed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, connections, count] = arguments.as_slice() else {
        panic!("strangers ADDRESS CONNECTIONS COUNT");
    };
    let (connections, count): (u64, u64) = (connections.parse().unwrap(), count.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(flood(Arc::from(address.as_str()), connections, count));
}

async fn flood(address: Arc<str>, connections: u64, count: u64) {
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut all = JoinSet::new();
    for _ in 0..connections {
        let (address, next) = (address.clone(), next.clone());
        all.spawn(async move {
            let mut buffer = vec![0; 4096];
            let mut stream = TcpStream::connect(&*address).await.unwrap();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                // A connection lives for a minute.
                while stream.write_all(&request(number)).await.is_err() || !refusal(&mut stream, &mut buffer).await {
                    stream = TcpStream::connect(&*address).await.unwrap();
                }
            }
        });
    }
    all.join_all().await;
    println!("figure strangers_per_s {:.0}", count as f64 / start.elapsed().as_secs_f64());
}

fn request(number: u64) -> Vec<u8> {
    let digest = Digest::of(&number.to_be_bytes()).0;
    let mut id = [0; 16];
    id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    // A network of 64 bits for each.
    let client = Ipv6Addr::from_bits((0x2001_0db8_0000_0000 + u128::from(number)) << 64 | 1);
    let body = serde_json::to_vec(&LookupRequest { id: LinkId(id), access: Revealed(digest) }).unwrap();
    let head = format!(
        "POST /api/v1/links/lookup HTTP/1.1\r\nhost: g\r\nx-forwarded-for: {client}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

/// Reads one whole answer, which must be 404 with a short body. `false` if the connection ended before it.
async fn refusal(stream: &mut TcpStream, buffer: &mut [u8]) -> bool {
    let mut filled = 0;
    loop {
        let room = buffer.get_mut(filled..).unwrap();
        let Ok(read @ 1..) = stream.read(room).await else { return false };
        filled += read;
        let text = std::str::from_utf8(buffer.get(..filled).unwrap()).unwrap();
        assert!(!text.starts_with("HTTP/1.1 ") || text.starts_with("HTTP/1.1 404"), "{text}");
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() == length.parse::<usize>().unwrap() {
            return true;
        }
    }
}
