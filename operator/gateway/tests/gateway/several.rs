//! Several gateway processes on one folder: a link is claimed once, whoever asks where, and whoever dies.

use std::sync::Arc;

use async_trait::async_trait;
use ps_core::ids::Digest;
use ps_core::link::{Record, State};
use ps_core::ports::LinkStore as _;
use ps_core::service::{
    AcknowledgeRequest, ClaimAnswer, ClaimRequest, DeclineRequest, LinkService, LookupAnswer, LookupRequest, Refusal,
    StateAnswer,
};
use ps_core::time::{Span, Timestamp};
use ps_gateway::Settings;
use ps_gateway::verbs::{CIPHERTEXT, Sample};
use ps_store::EmbeddedStore;
use ps_store::service::{Fence, StoreLinkService};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::contract::Gate;
use crate::process::{Gateway, put};
use crate::support::{Conn, Server, T, TestClock, post};

const ARGUMENTS: [&str; 4] = ["--listen", "127.0.0.1:0", "--rate", "0"];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_claims_through_three_gateways_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let links = folder.path().join("links");
    let store = EmbeddedStore::open(&links).unwrap();
    let gateways: Vec<_> = (0..3).map(|_| Gateway::start(&links, &ARGUMENTS, &[])).collect();
    for round in 0..5 {
        let holder = put(&store, &format!("raced {round}")).await;
        let mut racers = JoinSet::new();
        for racer in 0..64 {
            let (address, holder) = (gateways[racer % 3].address, holder.elsewhere(racer));
            racers.spawn(async move { (racer, Conn::open(address).await.ask(&post("claim", &holder.claim())).await) });
        }
        let mut winners = Vec::new();
        while let Some(done) = racers.join_next().await {
            let (racer, reply) = done.unwrap();
            match reply.status {
                200 => winners.push((racer, reply)),
                _ => assert_eq!(reply.refusal(), "409 claimed"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        let (winner, first) = winners.remove(0);
        let found = store.get(holder.id).await.unwrap().unwrap();
        let claim = found.value.link().unwrap().claim.as_ref().unwrap();
        assert_eq!(claim.token_hash, Digest::of(&holder.elsewhere(winner).token));
        // Through each of the three the winner, and nobody else, gets it again.
        for gateway in &gateways {
            assert_eq!(gateway.call("claim", &holder.elsewhere(winner).claim_again()).await.body, first.body);
            assert_eq!(gateway.call("claim", &holder.elsewhere(64).claim_again()).await.refusal(), "409 claimed");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_between_commit_and_reply_the_same_token_gets_it_from_another() {
    let folder = tempfile::tempdir().unwrap();
    let links = folder.path().join("links");
    let store = EmbeddedStore::open(&links).unwrap();
    let other = Gateway::start(&links, &ARGUMENTS, &[]);
    let mut lost = 0;
    for round in 0..12 {
        let holder = put(&store, &format!("killed {round}")).await;
        let mut victim = Gateway::start(&links, &ARGUMENTS, &[]);
        let mut conn = Conn::open(victim.address).await;
        conn.send(&post("claim", &holder.claim())).await;
        // The moment at which the commit is there.
        loop {
            let found = store.get(holder.id).await.unwrap().unwrap();
            if found.value.link().unwrap().state == State::Claimed {
                break;
            }
        }
        victim.child.kill().unwrap();
        victim.child.wait().unwrap();
        let first = conn.reply(false).await;
        lost += usize::from(first.is_none());
        assert_eq!(other.call("claim", &holder.elsewhere(1).claim()).await.refusal(), "409 claimed");
        let again = other.call("claim", &holder.claim_again()).await;
        assert_eq!(again.status, 200, "round {round}");
        assert!(first.is_none_or(|first| first.body == again.body));
        assert_eq!(other.call("acknowledge", &holder.acknowledge()).await.status, 200);
        assert_eq!(other.call("claim", &holder.claim_again()).await.refusal(), "410 gone");
    }
    println!("of 12 replies {lost} were lost");
}

/// Three gateways, each of which has opened the same folder for itself, with one clock.
async fn three_on(links: &std::path::Path) -> (Vec<Server>, Arc<TestClock>) {
    let clock = Arc::new(TestClock::default());
    clock.set(T);
    let mut servers = Vec::new();
    for _ in 0..3 {
        let store = Arc::new(EmbeddedStore::open(links).unwrap());
        let change = |settings: &mut Settings, _: &mut _| settings.clock = clock.clone();
        servers.push(Server::with(change, |_| Arc::new(StoreLinkService::new(store, Fence::lifted()))).await);
    }
    (servers, clock)
}

/// Waits after wrong input, in seconds.
const WAITS: [i64; 9] = [1, 2, 4, 8, 16, 30, 30, 30, 30];

/// What is wrong is told with its wait, which then holds at every gateway, also for what is right.
async fn wrong_at(servers: &[Server], n: usize, wrong: &ClaimRequest, right: &ClaimRequest, code: &str) {
    let wait = WAITS[n] * 1000;
    let reply = servers[n % 3].call("claim", wrong).await;
    assert_eq!((reply.refusal(), &reply.json()["error"]["retryAfterMs"]), (code.to_owned(), &wait.into()), "{n}");
    for server in servers {
        for request in [wrong, right] {
            let early = server.call("claim", request).await;
            let said = (early.refusal(), &early.json()["error"]["retryAfterMs"]);
            assert_eq!(said, ("429 slow-down".to_owned(), &wait.into()), "{n}");
        }
    }
}

#[tokio::test]
async fn wrong_codes_and_proofs_through_several_gateways_add_up_to_the_same_waits_and_the_same_lock() {
    let folder = tempfile::tempdir().unwrap();
    let links = folder.path().join("links");
    let store = EmbeddedStore::open(&links).unwrap();
    let (servers, clock) = three_on(&links).await;
    let mut now = T;
    let mut pass = |n: usize| {
        now = now + Span::from_secs(WAITS[n]);
        clock.set(now);
    };
    let tries = async |id| store.get(id).await.unwrap().unwrap().value.link().unwrap().tries;

    let Sample { holder, link } = Sample::new("codes in turn", &[], T);
    store.insert(&Record::Link(Box::new(link))).await.unwrap();
    for n in 0..WAITS.len() {
        let wrong = holder.typing(Some("11111111")).claim();
        wrong_at(&servers, n, &wrong, &holder.claim(), "403 wrong-code").await;
        pass(n);
    }
    assert_eq!(
        (tries(holder.id).await.wrong_codes, tries(holder.id).await.wrong_proofs),
        (9, 0),
        "each was counted once"
    );
    assert_eq!(servers[1].call("claim", &holder.claim()).await.status, 200, "wrong codes never lock");

    let Sample { holder, link } = Sample::new("proofs in turn", &[], T);
    store.insert(&Record::Link(Box::new(link))).await.unwrap();
    for n in 0..WAITS.len() {
        wrong_at(&servers, n, &holder.mistyped().claim(), &holder.claim(), "403 wrong-proof").await;
        assert_eq!(tries(holder.id).await.wrong_proofs as usize, n + 1);
        pass(n);
    }
    // The tenth, wherever it is sent, locks it for all of them.
    let locked = servers[2].call("claim", &holder.mistyped().claim()).await;
    assert_eq!((locked.refusal().as_str(), &locked.json()["error"]["state"]), ("410 gone", &"locked".into()));
    for server in &servers {
        assert_eq!(server.call("claim", &holder.claim()).await.json()["error"]["state"], "locked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_wrong_proofs_at_once_through_three_gateways_one_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let links = folder.path().join("links");
    let store = EmbeddedStore::open(&links).unwrap();
    let (servers, _) = three_on(&links).await;
    let Sample { holder, link } = Sample::new("proofs at once", &[], T);
    store.insert(&Record::Link(Box::new(link))).await.unwrap();
    let mut crowd = JoinSet::new();
    for n in 0..48 {
        let (address, holder) = (servers[n % 3].address, holder.elsewhere(n).mistyped());
        crowd.spawn(async move { Conn::open(address).await.ask(&post("claim", &holder.claim())).await.refusal() });
    }
    let said = crowd.join_all().await;
    let count = |wanted: &str| said.iter().filter(|one| *one == wanted).count();
    assert_eq!((count("403 wrong-proof"), count("429 slow-down")), (1, 47), "{said:?}");
    let found = store.get(holder.id).await.unwrap().unwrap();
    let link = found.value.link().unwrap();
    assert_eq!((link.state, link.tries.wrong_proofs), (State::Open, 1), "a crowd can't lock it");
}

#[tokio::test]
async fn a_reply_that_never_came_is_had_from_another_gateway() {
    let (gate, waiting) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (g, w) = (gate.clone(), waiting.clone());
    let first = Server::with(|_, _| {}, |inner| Arc::new(Late(Gate { inner, gate: g, waiting: w }))).await;
    let store = first.store.clone();
    let second =
        Server::with(|_, _| {}, |_| Arc::new(StoreLinkService::new(store, Fence::lifted())) as Arc<dyn LinkService>)
            .await;
    let holder = first.put("never replied").await;
    let mut conn = first.connect().await;
    conn.send(&post("claim", &holder.claim())).await;
    // The commit is there, and the reply is held back until its gateway is gone.
    waiting.acquire().await.unwrap().forget();
    assert_eq!(first.stored(&holder).await.1.state, State::Claimed);
    drop((conn, first));
    let again = second.call("claim", &holder.claim_again()).await;
    assert_eq!((again.status, &again.json()["ciphertext"]), (200, &ps_core::encode::b64(CIPHERTEXT).into()));
    assert_eq!(second.call("claim", &holder.elsewhere(1).claim_again()).await.refusal(), "409 claimed");
    assert_eq!(second.call("claim", &holder.elsewhere(1).claim()).await.refusal(), "409 claimed");
    gate.close();
}

/// Claims at once, and answers when it is let.
struct Late(Gate);

#[async_trait]
impl LinkService for Late {
    async fn lookup(&self, r: &LookupRequest, now: Timestamp) -> Result<LookupAnswer, Refusal> {
        self.0.inner.lookup(r, now).await
    }
    async fn claim(&self, r: &ClaimRequest, now: Timestamp) -> Result<ClaimAnswer, Refusal> {
        let answer = self.0.inner.claim(r, now).await;
        self.0.waiting.add_permits(1);
        // An error means that the test is over.
        drop(self.0.gate.acquire().await);
        answer
    }
    async fn acknowledge(&self, r: &AcknowledgeRequest, now: Timestamp) -> Result<StateAnswer, Refusal> {
        self.0.inner.acknowledge(r, now).await
    }
    async fn decline(&self, r: &DeclineRequest, now: Timestamp) -> Result<StateAnswer, Refusal> {
        self.0.inner.decline(r, now).await
    }
}
