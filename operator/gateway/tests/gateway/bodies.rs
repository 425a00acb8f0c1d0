//! Whatever a request's body holds, the answer is one of the table's, small, and nothing changes that was not asked for rightly.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};
use ps_core::ids::Digest;
use ps_core::link::email_code::EmailCode;
use ps_core::link::{Command, Link, Proof, Record, State, Verification, apply};
use ps_core::ports::LinkStore as _;
use ps_core::service::{
    AcknowledgeRequest, ClaimAnswer, ClaimRequest, CodeAnswer, CodeRequest, CodeStep, DeclineRequest, LinkService,
    LookupAnswer, LookupRequest, MAX_REQUEST_BYTES, Refusal, SignInOffer, StateAnswer, WireAsk,
};
use ps_core::time::Timestamp;
use ps_gateway::Settings;
use ps_gateway::verbs::{Holder, Sample};
use ps_store::service::{Fence, StoreLinkService};
use serde_json::{Map, Value};
use tokio::task::JoinSet;

use crate::process::Gateway;
use crate::support::{Conn, Server, T, post_bytes};

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

/// What stands at the place of a member in a body that is well formed and not what the holder knows.
fn plausible(member: &str) -> Value {
    match member {
        "id" => "A".repeat(22).into(),
        "openingCode" => "11111111".into(),
        "emailCode" => "0000-0000".into(),
        "step" => "mail".into(),
        "exposed" => true.into(),
        _ => "A".repeat(43).into(),
    }
}

/// How a body that a holder would send is changed.
#[derive(Clone, Debug)]
enum Change {
    /// One member is another of its kind.
    Member(usize),
    Wild {
        how: u8,
        at: prop::sample::Index,
        name: String,
        value: Value,
        junk: Vec<u8>,
    },
}

fn change() -> impl Strategy<Value = Change> {
    let parts = (0..9_u8, any::<prop::sample::Index>(), "[a-zA-Z]{1,12}", hostile(), any::<Vec<u8>>());
    let wild = parts.prop_map(|(how, at, name, value, junk)| Change::Wild { how, at, name, value, junk });
    prop_oneof![1 => (0..12_usize).prop_map(Change::Member), 3 => wild]
}

impl Change {
    fn apply(self, mut proper: Value) -> Vec<u8> {
        let members = proper.as_object_mut().unwrap();
        let (how, at, name, value, junk) = match self {
            Self::Member(at) => {
                let chosen = members.keys().nth(at % members.len()).unwrap().clone();
                let other = plausible(&chosen);
                members.insert(chosen, other);
                return serde_json::to_vec(&proper).unwrap();
            }
            Self::Wild { how, at, name, value, junk } => (how, at, name, value, junk),
        };
        let chosen = members.keys().nth(at.index(members.len())).unwrap().clone();
        let whole = |value: &Value| serde_json::to_vec(value).unwrap();
        match how {
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
        }
    }
}

/// How it stands with a link when a body comes.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Open,
    Claimed,
    /// An e-mailed code and a sign-in are due.
    Demanding,
}

const STAGES: [Stage; 3] = [Stage::Open, Stage::Claimed, Stage::Demanding];

/// Nobody judges here: what waits for the operator is told so at once. What was asked is in the record by then.
struct Impatient(Arc<dyn LinkService>);

#[async_trait]
impl LinkService for Impatient {
    async fn lookup(&self, r: &LookupRequest, now: Timestamp) -> Result<LookupAnswer, Refusal> {
        self.0.lookup(r, now).await
    }
    async fn claim(&self, r: &ClaimRequest, now: Timestamp) -> Result<ClaimAnswer, Refusal> {
        self.0.claim(r, now).await
    }
    async fn acknowledge(&self, r: &AcknowledgeRequest, now: Timestamp) -> Result<StateAnswer, Refusal> {
        self.0.acknowledge(r, now).await
    }
    async fn decline(&self, r: &DeclineRequest, now: Timestamp) -> Result<StateAnswer, Refusal> {
        self.0.decline(r, now).await
    }
    async fn code(&self, r: &CodeRequest, now: Timestamp) -> Result<CodeAnswer, Refusal> {
        let answer = tokio::time::timeout(Duration::from_millis(20), self.0.code(r, now)).await;
        answer.unwrap_or(Err(Refusal::NotReady))
    }
}

/// A gateway, and what it has said so far.
struct Bench {
    runtime: tokio::runtime::Runtime,
    server: Server,
    links: AtomicUsize,
    said: Mutex<BTreeSet<(&'static str, String, Vec<u8>)>>,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let change = |settings: &mut Settings, _: &mut _| settings.stranger_waits = Duration::ZERO;
        let server = runtime.block_on(async {
            let first = Server::start().await;
            let offer = SignInOffer {
                authorization_endpoint: "https://id.example/authorize".into(),
                client_id: "links".into(),
                scope: "openid email".into(),
            };
            let service = StoreLinkService::new(first.store.clone(), Fence::lifted()).with_sign_in(offer);
            let mut server = Server::with(change, |_| Arc::new(Impatient(Arc::new(service)))).await;
            server.store = first.store.clone();
            server
        });
        Self { runtime, server, links: AtomicUsize::default(), said: Mutex::default() }
    }

    async fn put(&self, stage: Stage) -> Holder {
        let seed = format!("fuzzed {}", self.links.fetch_add(1, Ordering::Relaxed));
        let kinds = [Verification::EmailCode, Verification::Oidc];
        let kinds = if matches!(stage, Stage::Demanding) { &kinds[..] } else { &[] };
        let Sample { holder, link } = Sample::new(&seed, kinds, T);
        let link = match stage {
            Stage::Claimed => {
                let (access, token_hash) = (holder.access, Digest::of(&holder.token));
                let code = link.sealed.code;
                let claim = Command::Claim { access, code, proof: Proof(holder.proof), token_hash };
                apply(&link, &claim, T).next.unwrap()
            }
            Stage::Open | Stage::Demanding => link,
        };
        self.server.store.insert(&Record::Link(Box::new(link))).await.unwrap();
        holder
    }

    /// Sends one body to a fresh link, and looks at what came of it.
    fn check(&self, stage: Stage, access: bool, (verb, proper): Request, change: Option<Change>) -> TestCaseResult {
        let (asked, reply, before, after) = self.runtime.block_on(async {
            let holder = self.put(stage).await;
            let before = self.server.stored(&holder).await;
            let sender = if access { holder.clone() } else { holder.without_access() };
            let proper = proper(&sender).unwrap();
            let bytes = match change {
                Some(change) => change.apply(proper),
                None => serde_json::to_vec(&proper).unwrap(),
            };
            let reply = self.server.ask(&post_bytes(verb, "application/json", &bytes)).await;
            (String::from_utf8_lossy(&bytes).into_owned(), reply, before, self.server.stored(&holder).await)
        });
        let (status, done) = (reply.status, reply.status == 200);
        prop_assert!(reply.header("cache-control") == Some("no-store"));
        let said = if done { "200".to_owned() } else { reply.refusal() };
        if !done {
            prop_assert!(reply.body.len() < 200);
            self.said.lock().unwrap().insert((verb, said.clone(), reply.body));
        }
        if !access {
            prop_assert!([400, 404, 413].contains(&status), "{said} for {asked}");
            prop_assert_eq!(after, before, "whoever does not know `access` changes nothing");
            return Ok(());
        }
        prop_assert!([200, 400, 403, 404, 409, 413, 503].contains(&status), "{said} for {asked}");
        if verb == "lookup" {
            prop_assert_eq!(&after, &before, "invariant 4");
        }
        let (before, after) = (before.1, after.1);
        prop_assert_eq!(&after.sealed, &before.sealed);
        prop_assert_eq!((&after.release, &after.verdict), (&before.release, &before.verdict));
        prop_assert_eq!(after.expires_at, before.expires_at);
        // What was refused ends nothing and opens nothing; what was done is what the verb does.
        let may = match verb {
            _ if !done => before.state,
            "claim" => State::Claimed,
            "acknowledge" => State::Retrieved,
            "decline" => State::Declined,
            _ => before.state,
        };
        prop_assert_eq!(after.state, may, "{} for {}", said, asked);
        let asks = verb == "code" && (done || status == 503);
        prop_assert!(asks || after.request == before.request, "{said} for {asked}");
        let tries = |link: &Link| link.tries.wrong_codes + link.tries.wrong_proofs;
        prop_assert_eq!(tries(&after), tries(&before) + u32::from(said.contains("wrong-")), "{}: {}", said, asked);
        self.said.lock().unwrap().insert((verb, said, Vec::new()));
        Ok(())
    }

    /// What came of all of them.
    fn done(self) -> BTreeSet<String> {
        let said = self.said.into_inner().unwrap();
        // Nothing that was sent comes back: it could be a secret in the wrong place, or a script.
        let bodies: Vec<_> = said.iter().filter(|(_, _, body)| !body.is_empty()).collect();
        let kinds: BTreeSet<_> = bodies.iter().map(|(verb, refusal, _)| (verb, refusal)).collect();
        assert_eq!(kinds.len(), bodies.len(), "{bodies:?}");
        assert_eq!(self.server.counters.panics.load(Ordering::Relaxed), 0);
        said.into_iter().map(|(verb, said, _)| format!("{verb} {said}")).collect()
    }
}

#[test]
fn no_body_does_more_than_it_may() {
    let bench = Bench::new();
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let (stages, requests) = (proptest::sample::select(&STAGES[..]), proptest::sample::select(&REQUESTS[..]));
    let cases = (stages, any::<bool>(), requests, change());
    TestRunner::new(config)
        .run(&cases, |(stage, access, request, change)| bench.check(stage, access, request, Some(change)))
        .unwrap();
    bench.done();
}

#[test]
fn every_member_that_is_another_is_judged_by_the_rules() {
    let bench = Bench::new();
    for stage in STAGES {
        for request in REQUESTS {
            bench.check(stage, true, request, None).unwrap();
            let members = request.1(&Holder::new("any")).unwrap().as_object().unwrap().len();
            for member in 0..members {
                bench.check(stage, true, request, Some(Change::Member(member))).unwrap();
            }
        }
    }
    let said = bench.done();
    for wanted in [
        "lookup 200",
        "lookup 404 not-found",
        "claim 200",
        "claim 403 wrong-code",
        "claim 403 wrong-proof",
        "claim 403 verification-due",
        "claim 409 claimed",
        "acknowledge 200",
        "acknowledge 409 claimed",
        "decline 200",
        "decline 403 wrong-code",
        "decline 400 bad-request",
        "code 200",
        "code 403 wrong-code",
        "code 400 not-available",
        "code 409 claimed",
        "code 503 not-ready",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said:?}");
    }
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
