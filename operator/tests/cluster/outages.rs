//! An API server that is away, refuses, does what it says it did not, forgets, and lets watches fall: the programs go on by
//! themselves, nothing is sent twice, and what is owed is met.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ps_testbed::{Cluster, ClusterOptions, OpenBao, ProxyAction, ProxyRule, Testbed, unique, wait_until};
use serde_json::json;

use crate::stand::{Setup, Stand};
use crate::support::{Invitation, KvSource, Recipient, SOON, kv_delivery};

/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(20);
/// A restarted API server, an election, everything read anew, and an attempt that is its owner's for a minute.
const RECOVERY: Duration = Duration::from_secs(120);

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

    /// Claimed by somebody who keeps trying, with the newest link of several, and the value is what Vault held.
    async fn open(&self, stand: &Stand) {
        let smtp = Testbed::connect_or_start().unwrap().smtp().await.unwrap();
        let links = tokio::sync::Mutex::new(Vec::new());
        let claimed = async || {
            let (mails, mut links) = (smtp.mails(&self.to).await.ok()?, links.lock().await);
            let fresh: Vec<_> =
                mails.iter().skip(links.len()).map(|mail| Recipient::new(&Invitation::of(mail))).collect();
            links.extend(fresh);
            let recipient = links.last()?;
            let answer = match recipient.try_claim().await {
                // An answer may have been lost with a connection.
                Some(answer) if answer.status == 409 => recipient.try_claim_again().await,
                answer => answer,
            };
            answer.filter(|answer| answer.status == 200).map(|answer| recipient.unseal(&answer))
        };
        let fields = wait_until("the claim", RECOVERY, claimed).await;
        let fields = fields.unwrap_or_else(|e| panic!("{}: {e}\n{}", self.name, stand.tails()));
        assert_eq!(fields["password"], self.source.password);
    }

    /// Rotated and proven, claimed once, and each attempt by one mail: how many attempts there were.
    async fn attempts(&self, stand: &Stand, bao: &OpenBao) -> u64 {
        let seen = stand.wait_rotated(&self.name, RECOVERY).await;
        self.source.assert_replaced(bao).await;
        let mails = stand.mails(&self.to, 1, SOON).await;
        let ids: BTreeSet<_> = mails.iter().map(|mail| mail.message_id.clone()).collect();
        let attempts = seen.attempt();
        assert!(mails.len() == ids.len() && mails.len() as u64 <= attempts, "{}: {ids:?}", self.name);
        for (kind, count) in [("Issued", attempts), ("Claimed", 1), ("Rotated", 1)] {
            let heard = async || (stand.audited_by_all(&self.name, kind) as u64 == count).then_some(());
            let heard = wait_until(kind, SOON, heard).await;
            heard.unwrap_or_else(|e| panic!("{}: {e}\n{}", self.name, stand.tails()));
        }
        attempts
    }

    /// The same, and there was one.
    async fn is_over(&self, stand: &Stand, bao: &OpenBao) {
        assert_eq!(self.attempts(stand, bao).await, 1, "{}\n{}", self.name, stand.tails());
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

/// The watches are held on their way to the API server until etcd has compacted where they start. Without a watch cache the
/// API server asks etcd itself, so that the 410 is its own, and true.
#[tokio::test]
async fn etcd_is_compacted_under_the_watches_and_the_api_server_says_410_gone() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let api_server_arguments = vec!["--watch-cache=false".to_owned()];
    let options = ClusterOptions { api_server_arguments, ..ClusterOptions::default() };
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(options).await.unwrap()));
    let setup = Setup { operators: 1, gateways: 2, proxied: true, ..Setup::default() };
    let stand = Stand::prepare_on(setup, cluster).await;
    stand.run().await;
    let (ones, policy) = ones(bao, &["open", "later"]).await;
    stand.connect(bao, &policy).await;
    let [open, later] = ones.as_slice() else { panic!("two") };
    open.apply(&stand, "1s").await;
    stand.wait_status("open", "delivered", SOON, |s| s.is("Delivered")).await;
    let (pids, proxy) = (Pids::of(&stand), stand.proxy.as_ref().unwrap());
    assert_eq!(proxy.expired_watches(), [], "so far nothing is forgotten");

    let links = format!("/namespaces/{}/secrets?", stand.names.links);
    let gone = wait_until("410 for every kind of watch", RECOVERY, async || {
        // Whoever gives up waiting asks again, from a newer list.
        proxy.rule(ProxyRule::new("watch=", ProxyAction::Hold));
        let open = u64::try_from(proxy.close_watches()).unwrap();
        let held = wait_until("the watches", SOON, async || (proxy.held() >= open.max(4)).then_some(())).await;
        held.unwrap_or_else(|e| panic!("{e}: {open} were open, {} came back\n{}", proxy.held(), stand.tails()));
        touch(cluster, &stand.names.links, 3).await;
        cluster.etcd_compact_and_defrag().await.unwrap();
        proxy.clear();
        let of = |agent: &str, path: &str| {
            let all = proxy.expired_watches().into_iter();
            all.filter(|(asked, of)| asked.starts_with(agent) && of.contains(path)).count()
        };
        let all = wait_until("410", Duration::from_secs(5), async || {
            let told = of("password-sender-gateway", &links) >= 2 && of("password-sender-operator", &links) >= 1;
            (told && of("password-sender-operator", "/secretdeliveries?") >= 1).then_some(())
        });
        all.await.ok()
    });
    gone.await.unwrap_or_else(|e| panic!("{e}: {:#?}\n{}", proxy.expired_watches(), stand.tails()));
    later.apply(&stand, "1s").await;
    for one in [open, later] {
        one.open(&stand).await;
        one.is_over(&stand, bao).await;
    }
    pids.assert_up(&stand);
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
    let again = Cell::new(0);
    let work = async {
        for one in &ones {
            one.apply(&stand, "1s").await;
        }
        let all = ones.iter().map(async |one| {
            one.open(&stand).await;
            // Who can't renew its lease, or write, in the middle of an attempt leaves it to somebody else after a minute.
            let attempts = one.attempts(&stand, bao).await;
            assert!(attempts <= 2, "{}: {attempts} attempts\n{}", one.name, stand.tails());
            again.set(again.get() + attempts - 1);
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
    let again = again.get();
    eprintln!(
        "elect: {elect}: {spoilt} requests were spoilt, {done} of them were done nevertheless; {again} new attempts"
    );
    assert!(again <= 3, "{again} attempts were given up\n{}", stand.tails());
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
