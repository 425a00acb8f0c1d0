//! An API server that is away, refuses, does what it says it did not, forgets, and lets watches fall: the programs go on by
//! themselves, nothing is sent twice, and what is owed is met.

use std::time::{Duration, Instant};

use ps_testbed::{Cluster, ClusterOptions, OpenBao, ProxyAction, ProxyRule, Testbed, unique, wait_until};
use serde_json::json;

use crate::stand::{Setup, Stand};
use crate::support::{KvSource, Recipient, SOON, kv_delivery};

/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(20);
/// A restarted API server, an election, and everything read anew, on a busy machine.
const RECOVERY: Duration = Duration::from_secs(60);

/// A delivery of a KV secret.
struct One {
    name: String,
    to: String,
    source: KvSource,
}

/// A mount with so many secrets, and its policy for `Stand::connect`.
async fn ones(bao: &OpenBao, names: &[&str]) -> (Vec<One>, String) {
    let first = KvSource::new(bao).await;
    let (mut ones, mut policy) = (Vec::new(), String::new());
    for name in names {
        let source = KvSource::below(bao, &first.mount).await;
        policy += &source.policy();
        ones.push(One { name: (*name).to_owned(), to: format!("{}@v.example", unique(name)), source });
    }
    (ones, policy)
}

impl One {
    async fn apply(&self, stand: &Stand, after: &str) {
        let more = json!({"link": {"claimWindow": "1s"}});
        stand.apply(&kv_delivery(&self.name, &self.to, &self.source, "1h", after, more)).await;
    }

    /// Claimed by somebody who keeps trying, and the value is what Vault held.
    async fn open(&self, stand: &Stand) -> Recipient {
        let recipient = stand.recipient(&self.to).await;
        let claimed = async || {
            let answer = match recipient.try_claim().await {
                Some(answer) if answer.status == 200 => Some(answer),
                // An answer may have been lost with a connection.
                Some(answer) if answer.status == 409 => recipient.try_claim_again().await,
                _ => None,
            };
            answer.filter(|answer| answer.status == 200)
        };
        let claimed = wait_until("the claim", RECOVERY, claimed).await;
        let claimed = claimed.unwrap_or_else(|e| panic!("{}: {e}\n{}", self.name, stand.tails()));
        assert_eq!(recipient.unseal(&claimed)["password"], self.source.password);
        recipient
    }

    /// Rotated and proven; delivered in one attempt, by one mail, claimed once.
    async fn is_over(&self, stand: &Stand, bao: &OpenBao) {
        let seen = stand.wait_rotated(&self.name, RECOVERY).await;
        self.source.assert_replaced(bao).await;
        assert_eq!(seen.attempt(), 1, "{}\n{}", self.name, stand.tails());
        assert_eq!(stand.mails(&self.to, 1, SOON).await.len(), 1, "{}", self.name);
        for kind in ["Issued", "Claimed", "Rotated"] {
            let heard = async || (stand.audited_by_all(&self.name, kind) == 1).then_some(());
            let heard = wait_until(kind, SOON, heard).await;
            heard.unwrap_or_else(|e| panic!("{}: {e}\n{}", self.name, stand.tails()));
        }
    }
}

/// No program has ended since it was started.
struct Pids(Vec<u32>);

impl Pids {
    fn of(stand: &Stand) -> Self {
        Self(stand.operators.iter().chain(&stand.gateways).map(crate::stand::Program::pid).collect())
    }

    fn assert_up(&self, stand: &Stand) {
        for program in stand.operators.iter().chain(&stand.gateways) {
            assert!(program.is_up() && self.0.contains(&program.pid()), "{}", program.tail());
        }
    }
}

#[tokio::test]
async fn the_api_server_is_away_for_twenty_seconds_and_its_history_is_compacted_meanwhile() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(ClusterOptions::default()).await.unwrap()));
    let setup = Setup { operators: 2, gateways: 2, proxied: true, ..Setup::default() };
    let stand = Stand::prepare_on(setup, cluster).await;
    stand.run().await;
    let (ones, policy) = ones(bao, &["open", "owed", "behind", "later"]).await;
    stand.connect(bao, &policy).await;
    let [open, owed, behind, later] = ones.as_slice() else { panic!("four") };
    for one in [open, owed, behind] {
        one.apply(&stand, "8s").await;
        stand.wait_status(&one.name, "delivered", SOON, |s| s.is("Delivered")).await;
    }
    owed.open(&stand).await;
    stand.wait_status("owed", "claimed", SOON, |s| s.is("Retrieved")).await;
    let pids = Pids::of(&stand);

    cluster.stop_api_server().unwrap();
    let (away, recipient) = (Instant::now(), stand.recipient(&open.to).await);
    while away.elapsed() < AWAY {
        let answer = recipient.try_claim().await.expect("gateways answer");
        assert_eq!(answer.status, 503, "nothing is given away, and nobody is told that it is gone: {:?}", answer.body);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(owed.source.is_untouched(bao).await, "nothing is begun that can't be written down");
    pids.assert_up(&stand);
    cluster.start_api_server().await.unwrap();
    let back = Instant::now();
    owed.is_over(&stand, bao).await;
    eprintln!("{:?} after the API server was back, what fell due meanwhile was met", back.elapsed());
    open.open(&stand).await;
    open.is_over(&stand, bao).await;

    // Watches fall and can't be opened again; the API server starts anew and knows no history but etcd's; that is compacted
    // after a claim and a new object that nobody has heard of.
    let proxy = stand.proxy.as_ref().unwrap();
    let recipient = stand.recipient(&behind.to).await;
    assert_eq!(recipient.lookup().await.state(), "open");
    proxy.rule(ProxyRule::new("watch=", ProxyAction::Refuse(503)));
    assert!(proxy.close_watches() >= 4, "operators and gateways watch");
    cluster.stop_api_server().unwrap();
    cluster.start_api_server().await.unwrap();
    let names = &stand.names;
    touch(cluster, &names.links, 30).await;
    touch(cluster, &names.own, 30).await;
    later.apply(&stand, "1s").await;
    cluster.etcd_compact_and_defrag().await.unwrap();
    proxy.clear();
    proxy.forget();
    for one in [behind, later] {
        one.open(&stand).await;
        one.is_over(&stand, bao).await;
    }
    for one in [open, owed] {
        one.is_over(&stand, bao).await;
    }
    pids.assert_up(&stand);
    let logs: String = stand.operators.iter().map(crate::stand::Program::log_text).collect();
    assert!(!logs.contains("a restore was noticed"), "an outage is no restore\n{}", stand.tails());
}

/// Moves a namespace's history on.
async fn touch(cluster: &Cluster, namespace: &str, times: usize) {
    for _ in 0..times {
        let uri = format!("/api/v1/namespaces/{namespace}");
        let patch = json!({"metadata": {"annotations": {"touched": unique("now")}}});
        cluster.call("PATCH", &uri, Some(&patch)).await.unwrap();
    }
}

/// What the API server does to a request. Where it is done nevertheless, the program must find out by itself.
const FAULTS: [ProxyAction; 7] = [
    ProxyAction::Refuse(409),
    ProxyAction::Refuse(429),
    ProxyAction::Refuse(500),
    ProxyAction::DoneBut(500),
    ProxyAction::DoneBut(409),
    ProxyAction::DoneButDrop,
    ProxyAction::Drop,
];
/// Each fault befalls one request out of so many of each kind.
const EVERY: u32 = 4;

#[tokio::test]
async fn refusals_lost_answers_and_fallen_watches_change_nothing_with_one_leader() {
    an_unreliable_api_server(true).await;
}

#[tokio::test]
async fn refusals_lost_answers_and_fallen_watches_change_nothing_with_two_at_work() {
    an_unreliable_api_server(false).await;
}

async fn an_unreliable_api_server(elect: bool) {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let stand = Stand::start(Setup { operators: 2, gateways: 2, proxied: true, elect, ..Setup::default() }).await;
    let names: Vec<String> = (0..10).map(|n| format!("bad-{n}")).collect();
    let (ones, policy) = ones(bao, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    stand.connect(bao, &policy).await;
    let pids = Pids::of(&stand);
    let proxy = stand.proxy.as_ref().unwrap();
    proxy.forget();
    let work = async {
        for one in &ones {
            one.apply(&stand, "1s").await;
        }
        let all = ones.iter().map(async |one| {
            one.open(&stand).await;
            one.is_over(&stand, bao).await;
        });
        join_all(all).await;
    };
    let trouble = async {
        for round in 0_u32.. {
            let fault = FAULTS[round as usize % FAULTS.len()].clone();
            for (method, path) in [
                ("POST", "/secrets"),
                ("PUT", "/secrets"),
                ("PATCH", "/secretdeliveries"),
                ("PATCH", "/status"),
                ("POST", "/token"),
                ("POST", "/events"),
                ("GET", "/secrets"),
            ] {
                proxy.rule(ProxyRule::new(path, fault.clone()).method(method).after(round % EVERY).times(1));
            }
            match round % 3 {
                0 => drop(proxy.close_watches()),
                1 => proxy.rule(ProxyRule::new("watch=", ProxyAction::ExpiredWatch).times(2)),
                _ => proxy.rule(ProxyRule::new("watch=", ProxyAction::Refuse(429)).times(2)),
            }
            tokio::time::sleep(Duration::from_millis(700)).await;
            proxy.clear();
        }
    };
    tokio::select! {
        () = work => {}
        () = trouble => {}
    }
    proxy.clear();
    pids.assert_up(&stand);
    let spoilt = proxy.requests().iter().filter(|r| r.server != r.client).count();
    let done = proxy.requests().iter().filter(|r| r.server.is_some() && r.server != r.client).count();
    eprintln!("elect: {elect}: {spoilt} requests were spoilt, {done} of them were done nevertheless");
    assert!(spoilt > 30 && done > 5, "{spoilt} and {done}: nothing happened");
}

async fn join_all(all: impl IntoIterator<Item = impl Future<Output = ()>>) {
    let mut all: Vec<_> = all.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        all.retain_mut(|one| one.as_mut().poll(cx).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
