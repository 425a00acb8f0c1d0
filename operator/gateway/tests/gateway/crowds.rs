//! More connections than there is room for: who waits longest makes room, and nobody who works is disturbed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ps_gateway::Settings;
use ps_gateway::server::Bounds;
use ps_gateway::verbs::Holder;
use tokio::sync::Semaphore;

use crate::contract::Gate;
use crate::support::{PATIENCE, Server, post};

const PAGE: &[u8] = b"GET / HTTP/1.1\r\nhost: g\r\n\r\n";
/// Far less than any timeout of the server's, which would make room too.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Room for a few connections, from anywhere; nothing ends by itself while a test runs.
async fn cramped(connections: usize) -> Server {
    Server::with(
        |settings, bounds| {
            bounds.connections = connections;
            bounds.per_client = 1_000_000;
            bounds.head_timeout = 10 * PATIENCE;
            bounds.lifetime = 10 * PATIENCE;
            settings.request_timeout = 10 * PATIENCE;
        },
        |service| service,
    )
    .await
}

fn open(server: &Server) -> i64 {
    server.counters.open.load(Ordering::Relaxed)
}

/// Until the server has seen so many.
async fn all_open(server: &Server, count: i64) {
    let seen = async {
        while open(server) < count {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.expect("all connected");
}

#[tokio::test]
async fn the_connection_that_has_waited_longest_makes_room() {
    let server = cramped(4).await;
    let mut old = Vec::new();
    for n in 0..4 {
        old.push(Some(server.connect().await));
        all_open(&server, n + 1).await;
    }
    // The second has asked meanwhile: now it has waited for the shortest time.
    assert_eq!(old[1].as_mut().unwrap().ask(PAGE).await.status, 200);
    let start = Instant::now();
    for _ in 0..3 {
        // Each newcomer stays, and waits less long than all that are left of the first ones.
        let mut newcomer = server.connect().await;
        assert_eq!(newcomer.ask(PAGE).await.status, 200);
        old.push(Some(newcomer));
    }
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    for gone in [0, 2, 3] {
        assert!(old[gone].take().unwrap().closed().await.is_empty());
    }
    for stayed in old.iter_mut().flatten() {
        assert_eq!(stayed.ask(PAGE).await.status, 200);
    }
    assert_eq!(server.counters.displaced.load(Ordering::Relaxed), 3);
    assert!(server.counters.render().contains("\npassword_sender_gateway_connections_displaced_total 3\n"));
}

#[tokio::test]
async fn slow_heads_and_slow_bodies_keep_nobody_out() {
    let holder = Holder::new("crowded");
    let whole = post("lookup", &holder.lookup());
    let head = "POST /api/v1/links/lookup HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\n";
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n1\r\n{{");
    for part in [head.as_bytes(), &whole[..whole.len() - 1], chunked.as_bytes()] {
        let server = cramped(3).await;
        server.put("crowded").await;
        let mut slow = Vec::new();
        for n in 0..3 {
            let mut conn = server.connect().await;
            conn.send(part).await;
            slow.push(conn);
            all_open(&server, n + 1).await;
        }
        let start = Instant::now();
        for _ in 0..6 {
            assert_eq!(server.call("lookup", &holder.lookup()).await.status, 200);
        }
        assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_silent_connections_do_not_keep_a_recipient_out() {
    let server = cramped(16).await;
    let holder = server.put("flooded").await;
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(server.connect().await);
    }
    let accepted = async {
        while server.counters.accepted.load(Ordering::Relaxed) < 400 {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(PATIENCE, accepted).await.expect("accepted");
    let start = Instant::now();
    for _ in 0..50 {
        assert_eq!(server.call("lookup", &holder.lookup()).await.status, 200);
    }
    assert_eq!(server.call("claim", &holder.claim()).await.status, 200);
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    assert!(open(&server) <= 16 && server.counters.displaced.load(Ordering::Relaxed) >= 384, "{}", open(&server));
}

#[tokio::test]
async fn who_is_at_work_is_not_disturbed() {
    let (gate, waiting) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (g, w) = (gate.clone(), waiting.clone());
    let only_one = |_: &mut Settings, bounds: &mut Bounds| bounds.connections = 1;
    let server = Server::with(only_one, |inner| Arc::new(Gate { inner, gate: g, waiting: w })).await;
    let holder = server.put("at work").await;
    let mut first = server.connect().await;
    first.send(&post("claim", &holder.claim())).await;
    waiting.acquire().await.unwrap().forget();
    let mut second = server.connect().await;
    second.send(PAGE).await;
    let accepted = async {
        while server.counters.accepted.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(PATIENCE, accepted).await.expect("accepted");
    gate.add_permits(1);
    let (first, second) = tokio::join!(first.reply(false), second.reply(false));
    assert_eq!((first.unwrap().status, second.unwrap().status), (200, 200));
}
