//! Who is counted as one client, as seen through the door: by connection, or by what a trusted proxy says.

use ps_gateway::limiter::Rate;
use ps_gateway::verbs::Holder;

use crate::support::{Conn, Server};

const BURST: u32 = 3;

/// A few requests for each client, and then hardly any.
async fn limited(proxies: &[&str]) -> (Server, Holder) {
    let server = Server::with(
        |settings, _| {
            settings.rate = Some(Rate { per_second: 1, burst: BURST });
            settings.trusted_proxies = proxies.iter().map(|net| net.parse().unwrap()).collect();
        },
        |service| service,
    )
    .await;
    let holder = server.put("clients").await;
    (server, holder)
}

/// The statuses of one request for each of these `X-Forwarded-For`.
async fn statuses(server: &Server, holder: &Holder, forwarded: &[String]) -> Vec<u16> {
    let mut conn = Conn::open(server.address).await;
    let body = serde_json::to_string(&holder.lookup()).unwrap();
    let mut seen = Vec::new();
    for forwarded in forwarded {
        let head = "POST /api/v1/links/lookup HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\n";
        let length = body.len();
        let request = format!("{head}x-forwarded-for: {forwarded}\r\ncontent-length: {length}\r\n\r\n{body}");
        seen.push(conn.ask(request.as_bytes()).await.status);
    }
    seen
}

fn all(forwarded: impl IntoIterator<Item = impl ToString>) -> Vec<String> {
    forwarded.into_iter().map(|text| text.to_string()).collect()
}

#[tokio::test]
async fn whoever_is_no_proxy_can_not_say_who_they_are() {
    let (server, holder) = limited(&["10.0.0.0/8"]).await;
    let claims_to_be = all((1..=5).map(|n| format!("203.0.113.{n}")));
    assert_eq!(statuses(&server, &holder, &claims_to_be).await, [200, 200, 200, 429, 429]);
}

#[tokio::test]
async fn what_stands_before_the_nearest_stranger_is_not_believed() {
    let (server, holder) = limited(&["127.0.0.0/8", "10.0.0.0/8"]).await;
    // One client that makes up where it comes from, behind two proxies, one of which writes ports.
    let spoofed = all((1..=5).map(|n| format!("198.51.100.{n}, 10.9.9.9, 203.0.113.7:{n}000, 10.0.0.1")));
    assert_eq!(statuses(&server, &holder, &spoofed).await, [200, 200, 200, 429, 429]);
    assert_eq!(statuses(&server, &holder, &all(["203.0.113.8, 10.0.0.1"])).await, [200], "another one");
    // Junk counts for the proxy that passed it on, however it is made up.
    let junk = all(["a", "b, ", "203.0.113.9 10.0.0.1", "_x"]);
    assert_eq!(statuses(&server, &holder, &junk).await, [200, 200, 200, 429]);
}

#[tokio::test]
async fn a_network_of_64_bits_is_one_client() {
    let (server, holder) = limited(&["127.0.0.0/8"]).await;
    let same = all((1..=5).map(|n| format!("2001:db8:1:2::{n:x}")));
    assert_eq!(statuses(&server, &holder, &same).await, [200, 200, 200, 429, 429]);
    assert_eq!(statuses(&server, &holder, &all(["[2001:db8:1:3::1]:443"])).await, [200]);
    // The same IPv4 address in both ways of writing it.
    let mapped = all(["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1:5", "[::ffff:192.0.2.1]:5"]);
    assert_eq!(statuses(&server, &holder, &mapped).await, [200, 200, 200, 429]);
}
