//! Hostile requests to a gateway on the Kubernetes store: what nobody has a link for costs the API server nothing. The
//! gateway's own tests have more of them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use ps_core::encode::b64;
use ps_testbed::{AuditEvent, Testbed, unique, wait_until};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::stand::{Setup, Stand};
use crate::support::{KvSource, SOON, client, kv_delivery};

const REQUESTS: usize = 800;
const VERBS: [&str; 5] = ["lookup", "code", "claim", "acknowledge", "decline"];

fn random(bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut out).unwrap();
    out
}

/// What the gateway asked the API server about link records so far, but for watches.
fn asked(stand: &Stand) -> (Vec<AuditEvent>, usize) {
    let user = format!("system:serviceaccount:{}:password-sender-gateway", stand.names.own);
    let events = stand.cluster.audit_events().unwrap();
    let ours = events.into_iter().filter(|e| e.user == user && e.verb != "watch" && e.name != "fence");
    let (lists, others): (Vec<_>, Vec<_>) = ours.partition(|e| e.verb == "list");
    (others, lists.len())
}

/// A body for a verb, as somebody makes it who has no link.
fn body(n: usize, verb: &str) -> Value {
    let (id, token) = (b64(&random(16)), b64(&random(32)));
    match n % 8 {
        0 => json!({"id": "../../secrets/ledger", "access": token}),
        1 => json!({"id": [1, 2], "access": {"x": 1}}),
        2 => json!({"id": "link-".repeat(1000), "access": ""}),
        3 => json!(vec![verb; 50]),
        _ => json!({"id": id, "access": token, "openingCode": "0000-0000", "proof": token, "tokenHash": token,
            "token": token, "decline": token}),
    }
}

#[tokio::test]
async fn junk_costs_the_api_server_nothing_and_the_next_recipient_no_time() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = KvSource::new(bao).await;
    let stand = Stand::start(Setup::default()).await;
    stand.connect(bao, &source.policy()).await;
    let to = format!("{}@v.example", unique("alice"));
    stand.apply(&kv_delivery("shop", &to, &source, "10m", "1h", Value::Null)).await;
    let recipient = stand.recipient(&to).await;
    assert_eq!(recipient.lookup().await.state(), "open");
    let ((before, lists), begun) = (asked(&stand), Instant::now());
    let before = before.len();

    let mut tasks = JoinSet::new();
    for part in 0..16 {
        let base = stand.public_url();
        tasks.spawn(async move {
            for n in (0..REQUESTS).filter(|n| n % 16 == part) {
                let verb = VERBS[(n / 16) % VERBS.len()];
                let request = client().post(format!("{base}/api/v1/links/{verb}")).json(&body(n, verb));
                let answer = request.send().await.unwrap();
                let status = answer.status().as_u16();
                let text = answer.text().await.unwrap();
                assert!((400..500).contains(&status), "{verb}: {status} {text}");
                assert!(text.len() < 1000 && !text.contains("secrets/ledger"), "{text}");
            }
        });
    }
    tasks.join_all().await;
    // An id that exists, with another `access`: the same answer as for one that does not.
    let url = format!("{}/api/v1/links/lookup", stand.public_url());
    let ask = async |id: Value| {
        let body = json!({"id": id, "access": b64(&random(32))});
        let answer = client().post(&url).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (known, unknown) =
        (ask(serde_json::to_value(recipient.id()).unwrap()).await, ask(json!(b64(&random(16)))).await);
    assert_eq!(known, unknown);
    raw_junk(stand.gateways[0].port);

    // Its own request is in the audit log, and all before it is.
    assert_eq!(recipient.open().await["password"], source.password);
    let update = wait_until("the claim in the audit log", SOON, async || {
        asked(&stand).0[before..].iter().any(|e| e.verb == "update").then_some(())
    });
    update.await.unwrap();
    let (events, lists_now) = asked(&stand);
    let cost: Vec<String> = events[before..].iter().map(|e| format!("{} {} {}", e.verb, e.name, e.code)).collect();
    // Of the known link: a read for the wrong `access` and for the claim, and the claim itself.
    assert!(cost.len() <= 6, "{REQUESTS} requests with junk cost {cost:?}");
    let name = events[before..].iter().find(|e| e.verb == "update").unwrap().name.clone();
    assert!(events[before..].iter().all(|e| e.name == name), "all of it is about the one link: {cost:?}");
    // Every two seconds it makes sure that its watch has missed nothing, whatever is asked of it.
    let (lists, most) = (lists_now - lists, begun.elapsed().as_secs() / 2 + 3);
    assert!(lists as u64 <= most, "{lists} lists where {most} are the most");
    assert!(stand.gateways[0].is_up() && stand.operators[0].is_up());
}

/// What is no HTTP, or not enough of it.
fn raw_junk(port: u16) {
    let long = [b"GET /".as_slice(), &[b'a'; 100_000], b" HTTP/1.1\r\n\r\n"].concat();
    for junk in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
        b"\0\0\0\0\r\n\r\n",
        b"POST /api/v1/links/claim HTTP/1.1\r\nhost: g\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"POST /api/v1/links/claim HTTP/1.1\r\nhost: g\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\n{}  ",
        b"GET /%00/../../etc/passwd HTTP/9.9\r\nhost: g\r\nconnection: close\r\n\r\n",
        &long,
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        // A server that has had enough may close while we still send or read.
        let sent = stream.write_all(junk).and_then(|()| stream.shutdown(Shutdown::Write));
        let mut said = Vec::new();
        if sent.is_ok() && stream.read_to_end(&mut said).is_ok() {
            let head = String::from_utf8_lossy(&said[..said.len().min(60)]).into_owned();
            assert!(said.is_empty() || head.starts_with("HTTP/1.1 4"), "{head}");
        }
    }
}
