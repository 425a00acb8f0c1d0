//! What no honest client sends. After each of it the gateway still serves.

use std::time::{Duration, Instant};

use ps_core::service::MAX_REQUEST_BYTES;
use tokio::task::JoinSet;

use crate::support::{Conn, Server, post, post_bytes};

/// Short bounds, so that tests of slowness are quick.
async fn impatient() -> Server {
    Server::with(
        |settings, bounds| {
            settings.request_timeout = Duration::from_millis(300);
            bounds.head_timeout = Duration::from_millis(300);
        },
        |service| service,
    )
    .await
}

async fn still_serves(server: &Server) {
    let holder = server.put(&format!("{:?}", Instant::now())).await;
    assert_eq!(server.call("lookup", &holder.lookup()).await.status, 200);
}

#[tokio::test]
async fn junk_is_refused_and_forgotten() {
    let server = impatient().await;
    let long = [b"GET /".as_slice(), &[b'a'; 100_000], b" HTTP/1.1\r\n\r\n"].concat();
    let many = format!("GET / HTTP/1.1\r\nhost: g\r\n{}\r\n", "x: y\r\n".repeat(500));
    for junk in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
        b"\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /api/v1/links/claim HTTP/1.1\r\nhost: g\r\ncontent-length: -1\r\n\r\n",
        b"POST /api/v1/links/claim HTTP/1.1\r\nhost: g\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"POST /api/v1/links/claim HTTP/1.1\r\nhost: g\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\n{}  ",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: a\r\n folded\r\n\r\n",
        &long,
        many.as_bytes(),
    ] {
        let mut conn = server.connect().await;
        conn.send(junk).await;
        let said = conn.closed().await;
        let shown = String::from_utf8_lossy(&junk[..junk.len().min(60)]).into_owned();
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 4"), "{shown:?}: {:?}", String::from_utf8_lossy(&said));
    }
    still_serves(&server).await;
}

#[tokio::test]
async fn truncated_requests_leave_nothing_behind() {
    let server = impatient().await;
    let holder = server.put("truncated").await;
    let before = server.stored(&holder).await;
    let whole = post("claim", &holder.claim());
    for length in (0..whole.len()).step_by(7) {
        let mut conn = server.connect().await;
        conn.send(&whole[..length]).await;
        drop(conn);
    }
    still_serves(&server).await;
    assert_eq!(server.stored(&holder).await, before);
}

#[tokio::test]
async fn bodies_are_not_read_beyond_their_bound() {
    let server = impatient().await;
    let declared = post_bytes("claim", "application/json", &vec![b' '; 4 * 1024 * 1024]);
    let mut conn = server.connect().await;
    conn.send(&declared[..4096]).await;
    assert_eq!(conn.reply(false).await.unwrap().refusal(), "413 bad-request", "before the body came");
    let head = b"POST /api/v1/links/claim HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut conn = server.connect().await;
    conn.send(head).await;
    for _ in 0..MAX_REQUEST_BYTES / 1024 + 1 {
        conn.send(&[b"400\r\n".as_slice(), &[b' '; 1024], b"\r\n"].concat()).await;
    }
    assert_eq!(conn.reply(false).await.unwrap().refusal(), "413 bad-request");
    assert!(conn.closed().await.is_empty());
    still_serves(&server).await;
}

#[tokio::test]
async fn slow_clients_are_cut_off_in_bounded_time() {
    let server = impatient().await;
    let start = Instant::now();
    let mut slow = JoinSet::new();
    for n in 0..30 {
        let mut conn = server.connect().await;
        slow.spawn(async move {
            match n % 3 {
                // Says nothing at all.
                0 => {}
                // Drips a head for as long as it is allowed to; the pause is what is tested.
                1 => {
                    for byte in b"GET / HTTP/1.1\r\nx: ".iter().chain(std::iter::repeat_n(&b'y', 200)) {
                        conn.send(&[*byte]).await;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
                // Promises a body and does not send it; then keeps the connection.
                _ => {
                    let request = post_bytes("lookup", "application/json", b"{    }");
                    conn.send(&request[..request.len() - 1]).await;
                    let reply = conn.reply(false).await.expect("an answer");
                    assert_eq!(reply.refusal(), "400 bad-request");
                }
            }
            conn.closed().await;
        });
    }
    // An idle connection between two requests is no better than one that never began.
    let mut idle = server.connect().await;
    assert_eq!(idle.ask(b"GET / HTTP/1.1\r\nhost: g\r\n\r\n").await.status, 200);
    slow.spawn(async move { drop(idle.closed().await) });
    while let Some(done) = slow.join_next().await {
        done.unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    still_serves(&server).await;
}

#[tokio::test]
async fn a_connection_has_a_bounded_life() {
    let server = Server::with(
        |_, bounds| {
            bounds.lifetime = Duration::from_millis(200);
            bounds.grace = Duration::from_millis(200);
        },
        |service| service,
    )
    .await;
    let mut conn = server.connect().await;
    let start = Instant::now();
    loop {
        conn.send(b"GET /app.js HTTP/1.1\r\nhost: g\r\n\r\n").await;
        let Some(reply) = conn.reply(false).await else { break };
        assert_eq!(reply.status, 200);
        assert!(start.elapsed() < Duration::from_secs(15), "it goes on and on");
    }
    // Asks for much and reads nothing.
    let mut conn = server.connect().await;
    for _ in 0..2000 {
        conn.send(b"GET /app.js HTTP/1.1\r\nhost: g\r\n\r\n").await;
        if server.counters.open.load(std::sync::atomic::Ordering::Relaxed) == 0 {
            break;
        }
    }
    drop(conn);
    still_serves(&server).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start().await;
    let (a, b) = (server.put("pipe a").await, server.put("pipe b").await);
    let mut conn = server.connect().await;
    let mut all = Vec::new();
    for n in 0..50 {
        all.extend(post("lookup", &if n % 2 == 0 { a.lookup() } else { b.without_access().lookup() }));
    }
    conn.send(&all).await;
    for n in 0..50 {
        assert_eq!(conn.reply(false).await.unwrap().status, if n % 2 == 0 { 200 } else { 404 }, "{n}");
    }
}

#[tokio::test]
async fn two_ways_of_saying_where_a_body_ends_smuggle_nothing() {
    let server = impatient().await;
    let holder = server.put("smuggle").await;
    let before = server.stored(&holder).await;
    let inner = post("claim", &holder.claim());
    let length = inner.len() + 5;
    let head = format!(
        "POST /api/v1/links/lookup HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n"
    );
    for te in ["transfer-encoding: chunked", "transfer-encoding: xchunked", "transfer-encoding : chunked"] {
        let mut conn = server.connect().await;
        conn.send(&[head.as_bytes(), te.as_bytes(), b"\r\n\r\n0\r\n\r\n", &inner].concat()).await;
        let said = String::from_utf8_lossy(&conn.closed().await).into_owned();
        assert!(said.starts_with("HTTP/1.1 4"), "{te}: {said}");
        assert_eq!(said.matches("HTTP/1.1").count(), 1, "{te}: {said}");
    }
    assert_eq!(server.stored(&holder).await, before);
}

#[tokio::test]
async fn one_client_cannot_take_all_connections() {
    let server = Server::with(|_, bounds| bounds.per_client = 4, |service| service).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut conn = server.connect().await;
        assert_eq!(conn.ask(b"GET / HTTP/1.1\r\nhost: g\r\n\r\n").await.status, 200);
        held.push(conn);
    }
    let mut fifth: Conn = server.connect().await;
    fifth.send(b"GET / HTTP/1.1\r\nhost: g\r\n\r\n").await;
    assert!(fifth.reply(false).await.is_none());
    held.pop();
    while server.counters.open.load(std::sync::atomic::Ordering::Relaxed) > 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.ask(b"GET / HTTP/1.1\r\nhost: g\r\n\r\n").await.status, 200);
}
