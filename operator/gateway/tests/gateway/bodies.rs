//! Whatever a request's body holds, the answer is one of the table's, small, and nothing changes that was not asked for rightly.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use ps_core::link::email_code::EmailCode;
use ps_core::service::{CodeStep, MAX_REQUEST_BYTES, WireAsk};
use ps_gateway::verbs::Holder;
use serde_json::{Map, Value};
use tokio::task::JoinSet;

use crate::process::Gateway;
use crate::support::{Conn, Server, post_bytes};

const VERBS: [&str; 5] = ["lookup", "claim", "acknowledge", "decline", "code"];
const CASES: u32 = 900;

/// A verb, and a body that a holder would send.
type Request = (&'static str, fn(&Holder) -> serde_json::Result<Value>);

/// Every verb, `code` in each of its steps.
const REQUESTS: [Request; 8] = [
    ("lookup", |holder| serde_json::to_value(holder.lookup())),
    ("claim", |holder| serde_json::to_value(holder.claim())),
    ("acknowledge", |holder| serde_json::to_value(holder.acknowledge())),
    ("decline", |holder| serde_json::to_value(holder.not_mine())),
    ("code", |holder| serde_json::to_value(holder.code(CodeStep::Status))),
    ("code", |holder| serde_json::to_value(holder.asks(WireAsk::Mail))),
    ("code", |holder| serde_json::to_value(holder.asks(WireAsk::Code(EmailCode::parse("12345678").unwrap())))),
    ("code", |holder| {
        serde_json::to_value(holder.asks(WireAsk::SignIn { code: "c".into(), verifier: "v".repeat(43) }))
    }),
];

/// What a member of a body is turned into.
fn hostile() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "\\PC{0,40}",
        "[A-Za-z0-9_-]{0,60}",
        Just("A".repeat(43)),
        Just("=".repeat(22)),
        Just("\u{0}\u{1}\u{202e}\u{feff}\u{10ffff}".to_owned()),
        Just("' OR 1=1 --\r\nX: y".to_owned()),
        Just("x".repeat(6000)),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec(("\\PC{0,12}", inner), 0..6)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A body, and whether it is one that a holder could have sent.
fn body() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let request = proptest::sample::select(&REQUESTS[..]);
    (request, any::<prop::sample::Index>(), "[a-zA-Z]{1,12}", hostile(), 0..9_u8, any::<Vec<u8>>()).prop_map(
        |((verb, proper), at, name, value, how, junk)| {
            let mut proper = proper(&Holder::new("fuzzed").without_access()).unwrap();
            let members = proper.as_object_mut().unwrap();
            let chosen = members.keys().nth(at.index(members.len())).unwrap().clone();
            let whole = |value: &Value| serde_json::to_vec(value).unwrap();
            let bytes = match how {
                0 => whole(&value),
                1 => junk,
                2 => {
                    members.insert(chosen, value);
                    whole(&proper)
                }
                3 => {
                    members.insert(name, value);
                    whole(&proper)
                }
                4 => {
                    members.remove(&chosen);
                    whole(&proper)
                }
                5 => {
                    let all = whole(&proper);
                    all[..at.index(all.len())].to_vec()
                }
                6 => {
                    let mut all = whole(&proper);
                    let place = at.index(all.len());
                    all[place] = junk.first().copied().unwrap_or(0xff);
                    all
                }
                // The same member twice.
                7 => {
                    let all = String::from_utf8(whole(&proper)).unwrap();
                    format!("{{{}:{value},{}", Value::from(chosen), &all[1..]).into_bytes()
                }
                _ => [vec![b'['; at.index(MAX_REQUEST_BYTES)], junk].concat(),
            };
            (verb, bytes)
        },
    )
}

#[test]
fn no_body_does_more_than_it_may() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (server, holder, before) = runtime.block_on(async {
        let server = Server::with(|settings, _| settings.stranger_waits = std::time::Duration::ZERO, |s| s).await;
        let holder = server.put("fuzzed").await;
        let before = server.stored(&holder).await;
        (server, holder, before)
    });
    let refusals = Mutex::new(BTreeSet::new());
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&body(), |(verb, bytes)| {
            let reply = runtime.block_on(server.ask(&post_bytes(verb, "application/json", &bytes)));
            let expected = [400, 404, 413].contains(&reply.status);
            prop_assert!(expected, "{} for {:?}", reply.status, String::from_utf8_lossy(&bytes));
            prop_assert!(reply.body.len() < 200 && reply.header("cache-control") == Some("no-store"));
            refusals.lock().unwrap().insert((verb, reply.refusal(), reply.body));
            Ok(())
        })
        .unwrap();
    // Nothing that was sent comes back: it could be a secret in the wrong place, or a script.
    let refusals = refusals.into_inner().unwrap();
    let kinds: BTreeSet<_> = refusals.iter().map(|(verb, refusal, _)| (verb, refusal)).collect();
    assert_eq!(kinds.len(), refusals.len(), "{refusals:?}");
    assert_eq!(server.counters.panics.load(Ordering::Relaxed), 0);
    let after = runtime.block_on(server.stored(&holder));
    assert_eq!(after, before, "whoever does not know `access` changes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_bodies_cost_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&folder.path().join("links"), &["--listen", "127.0.0.1:0", "--rate", "0"], &[]);
    let largest = |c: u8| vec![c; MAX_REQUEST_BYTES];
    let members = (0..600).map(|n| format!("\"m{n}\":{n},")).collect::<String>();
    let bodies = vec![
        largest(b'['),
        largest(b'{'),
        largest(b'"'),
        largest(b'9'),
        [b"{\"id\":\"", &largest(b'A')[8..]].concat(),
        format!("{{{members}\"z\":0}}").into_bytes(),
        b"{\"id\":1e999999999}".to_vec(),
        format!("{{\"id\":\"{}\"}}", "\\u0000".repeat(1300)).into_bytes(),
        largest(0xff),
    ];
    let flood = |count: usize| {
        let (bodies, address) = (bodies.clone(), gateway.address);
        async move {
            for (at, body) in bodies.iter().cycle().take(count).enumerate() {
                let mut conn = Conn::open(address).await;
                let reply = conn.ask(&post_bytes(VERBS[at % VERBS.len()], "application/json", body)).await;
                assert_eq!(reply.status, 400);
            }
        }
    };
    let from_many = async |count: usize| {
        let mut floods: JoinSet<()> = (0..8).map(|_| flood(count)).collect();
        while let Some(done) = floods.join_next().await {
            done.unwrap();
        }
    };
    from_many(60).await;
    let before = gateway.resident_kib();
    from_many(500).await;
    let grown = gateway.resident_kib().saturating_sub(before);
    println!("resident {before} KiB, and {grown} KiB more after 4000 hostile bodies");
    assert!(grown < 4096, "grown by {grown} KiB from {before}");
}
