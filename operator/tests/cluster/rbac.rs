//! Exactly the rights of `examples/install/`: each of them is used, and none is missing.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ps_testbed::{Cluster, ClusterOptions, OpenBao, Testbed, unique, wait_until};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::grants::{Grant, grants};
use crate::stand::{Setup, Stand, name};
use crate::support::{KvSource, Recipient, SOON, Seen, kv_delivery};
use crate::tools::AuditTail;

/// Installations that lose one right after another, side by side.
const STANDS: usize = 3;
/// Longer than two tries of what only a person can mend are apart.
const AFTER_A_PERSON: Duration = Duration::from_secs(100);
/// Rights that these flows don't need: place, resource and verb.
const OTHERWISE: &[(&str, &str, &str)] = &[
    // See `beyond`: a month passes before an entry is forgotten, and only a gateway that was taken over holds a record.
    FORGETS, HOLDS,
];
/// What makes a series of Events grow.
const SERIES: (&str, &str, &str) = ("cluster", "events", "patch");
/// What is read after somebody else's change came in between.
const AFTER_CONFLICT: (&str, &str, &str) = ("cluster", "secretdeliveries", "get");
/// What forgets an entry thirty days after its last link.
pub const FORGETS: (&str, &str, &str) = ("own", "secrets", "delete");
/// What takes a finalizer off a link record.
pub const HOLDS: (&str, &str, &str) = ("links", "secrets", "patch");

/// A cluster whose audit log tells of these tests only.
async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    CLUSTER.get_or_init(async || Cluster::start(ClusterOptions::default()).await.unwrap()).await
}

/// An installation with a tenant that may deliver all of a mount, and a Secret of its.
pub struct Scene {
    bao: &'static OpenBao,
    pub stand: Stand,
    mount: String,
}

impl Scene {
    pub async fn new(setup: Setup) -> Self {
        let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
        let mount = unique("kv");
        bao.mount_kv2(&mount).await.unwrap();
        let stand = Stand::prepare_on(setup, cluster().await).await;
        let policy = format!("path \"{mount}/*\" {{ capabilities = [\"read\", \"patch\", \"update\"] }}");
        let cleaner = stand.cleaner(bao, bao.address(), &mount).await;
        let cleanup = json!({"cleanupConnectionRef": {"name": cleaner}});
        stand.connect_as(bao, bao.address(), &stand.tenant, &policy, cleanup).await;
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"value": "correct horse battery staple"},
            "metadata": {"name": "passphrase", "namespace": stand.tenant, "labels": {"passwordsender.io/usable": "true"}}});
        stand.cluster.apply(&secret.to_string()).await.unwrap();
        let scene = Self { bao, stand, mount };
        scene.apply_stuck().await;
        scene
    }

    /// A delivery that can't begin: it is told of again after each start.
    async fn apply_stuck(&self) {
        let nowhere = json!({"source": {"vault": {"connectionRef": {"name": "nowhere"}}}});
        self.stand.apply(&self.delivery("stuck", nowhere).await.0).await;
    }

    /// A series that began just now: one that has grown for long enough gets a new Event instead of growing.
    async fn begin_series(&self) {
        self.kill();
        self.start().await;
        self.stand.wait_ready().await;
        self.stand.delete("stuck").await;
        self.stand.wait_gone(&self.stand.uri("stuck"), SOON).await;
        self.apply_stuck().await;
        let uid = self.stand.object("stuck").await["metadata"]["uid"].clone();
        let told = wait_until("a new Event", SOON, async || {
            let events = self.stand.events(&self.stand.tenant, "stuck").await;
            events.iter().any(|e| e["regarding"]["uid"] == uid).then_some(())
        });
        told.await.unwrap_or_else(|e| panic!("{e}\n{}", self.stand.tails()));
    }

    /// A manifest, its source and its recipient.
    pub async fn delivery(&self, name: &str, more: Value) -> (String, KvSource, String) {
        let source = KvSource::below(self.bao, &self.mount).await;
        let to = format!("{}@v.example", unique("rbac"));
        let manifest = kv_delivery(name, &to, &source, "10m", "1s", more);
        (manifest, source, to)
    }

    /// Everything that is not slow: sent, opened, rotated, told, deleted. `started` is when the operator was.
    async fn flow(&self, started: &str) {
        let stand = &self.stand;
        let shop = name("shop");
        let (manifest, source, to) = self.delivery(&shop, json!({"link": {"claimWindow": "1s"}})).await;
        stand.apply(&manifest).await;
        let recipient = stand.recipient(&to).await;
        // On a busy machine the mail can be faster than the gateway's watch.
        let known = wait_until("the link", SOON, async || (recipient.lookup().await.state() == "open").then_some(()));
        known.await.unwrap_or_else(|e| panic!("{e}\n{}", stand.tails()));
        assert_eq!(recipient.open().await["password"], source.password);
        assert_eq!(recipient.acknowledge().await.state(), "retrieved");
        stand.wait_rotated(&shop, SOON).await;
        source.assert_replaced(self.bao).await;
        stand.event(&stand.tenant, &shop, "Rotated").await;
        stand.delete(&shop).await;
        stand.wait_gone(&stand.uri(&shop), SOON).await;

        let secret = json!({"verification": {"passphrase": {"secretKeyRef": {"name": "passphrase", "key": "value"}}}});
        let locked = name("locked");
        stand.apply(&self.delivery(&locked, secret).await.0).await;
        stand.wait_status(&locked, "delivered", SOON, |s| s.is("Delivered")).await;
        // Stuck since the first start: its Event's series grows.
        let told = wait_until("the ongoing Event", SOON, async || {
            let events = stand.events(&stand.tenant, "stuck").await;
            let again = |e: &Value| e["series"]["lastObservedTime"].as_str().is_some_and(|at| at >= started);
            let first = |e: &Value| e["eventTime"].as_str().is_some_and(|at| at >= started);
            events.iter().any(|e| again(e) || first(e)).then_some(())
        });
        told.await.unwrap_or_else(|e| panic!("{e}\n{}", stand.tails()));
    }

    /// Edits an object again and again: the operator's writes meet changes that it has not seen. Never ends.
    async fn edit(&self) {
        loop {
            let (note, purpose) = (unique("note"), unique("purpose"));
            let edit = json!({"metadata": {"annotations": {"example.com/note": note}}, "spec": {"context": {"purpose": purpose}}});
            self.stand.cluster.request("PATCH", &self.stand.uri("stuck"), Some(&edit)).await.unwrap();
        }
    }

    fn kill(&self) {
        self.stand.operators.iter().chain(&self.stand.gateways).for_each(crate::stand::Program::kill);
    }

    /// Starts everything, without waiting, as after the first installation: nobody holds the Lease.
    async fn start(&self) -> String {
        let started = now();
        let own = &self.stand.names.own;
        let lease = format!("/apis/coordination.k8s.io/v1/namespaces/{own}/leases/password-sender-operator");
        self.stand.cluster.request("DELETE", &lease, None).await.unwrap();
        for n in 0..self.stand.gateways.len() {
            self.stand.start_gateway(n).await;
        }
        for n in 0..self.stand.operators.len() {
            self.stand.start_operator(n).await;
        }
        started
    }

    /// Waits until the API server has refused what this right is for.
    pub async fn refused(&self, log: &mut AuditTail, grant: &Grant, deadline: Duration) {
        let refused = wait_until("a refusal", deadline, async || {
            tokio::time::sleep(Duration::from_millis(50)).await;
            log.more(&grant.user).iter().any(|asked| asked.code == 403 && grant.is_for(asked)).then_some(())
        });
        refused.await.unwrap_or_else(|e| panic!("{grant}: {e}\n{}", self.stand.tails()));
    }

    /// Without this right the flow does not come to its end, and the API server says why.
    async fn is_needed(&self, grant: &Grant) {
        if is(grant, SERIES) {
            self.begin_series().await;
        }
        self.kill();
        grant.take(self.stand.cluster).await;
        let mut log = AuditTail::new(self.stand.cluster);
        let started = self.start().await;
        let flow = async {
            self.stand.wait_ready().await;
            if is(grant, AFTER_CONFLICT) {
                self.edit().await;
            }
            self.flow(&started).await;
        };
        tokio::select! {
            () = self.refused(&mut log, grant, AFTER_A_PERSON) => {}
            () = flow => panic!("{grant} is not needed"),
        }
        grant.give_back(self.stand.cluster).await;
        eprintln!("needed: {grant}");
    }

    /// The clean-up identity's: needed once the tenant's own account is out of reach.
    async fn is_needed_to_clean_up(&self, cleaner: &Grant, tenant: &Grant) {
        self.kill();
        self.start().await;
        self.stand.wait_ready().await;
        let (manifest, source, to) = self.delivery("cleaned", json!({"link": {"claimWindow": "1s"}})).await;
        self.stand.apply(&manifest).await;
        let recipient = self.stand.recipient(&to).await;
        self.kill();
        tenant.take(self.stand.cluster).await;
        cleaner.take(self.stand.cluster).await;
        let mut log = AuditTail::new(self.stand.cluster);
        self.start().await;
        self.stand.wait_ready().await;
        assert_eq!(recipient.open().await["password"], source.password);
        self.refused(&mut log, cleaner, AFTER_A_PERSON).await;
        assert!(!self.stand.status("cleaned").await.is("Rotated"));
        cleaner.give_back(self.stand.cluster).await;
        self.stand.wait_rotated("cleaned", AFTER_A_PERSON).await;
        source.assert_replaced(self.bao).await;
        tenant.give_back(self.stand.cluster).await;
        eprintln!("needed: {cleaner}");
    }
}

/// As Events write it, as far as the millisecond: an Event of the same second may be from before.
fn now() -> String {
    let now = ps_operator::clock::now();
    format!("{}.{:03}", now.to_string().trim_end_matches('Z'), now.as_millis().rem_euclid(1000))
}

/// All that an installation is given.
pub fn all(stand: &Stand) -> Vec<Grant> {
    let yaml =
        [stand.names.everything(), stand.names.tenant(&stand.tenant), stand.names.file("14-cleanup-identity.yaml")];
    grants(&yaml.join("\n---\n"), &stand.names)
}

pub fn is(grant: &Grant, what: (&str, &str, &str)) -> bool {
    (grant.place, grant.resource.as_str(), grant.verb.as_str()) == what
}

fn is_otherwise(grant: &Grant) -> bool {
    OTHERWISE.iter().any(|what| is(grant, *what))
}

/// Takes one right after another away, until none is `left`.
async fn take_away(left: &AtomicUsize) {
    let scene = Scene::new(Setup::default()).await;
    let granted = all(&scene.stand);
    let all: Vec<Grant> = granted.iter().filter(|grant| !is_otherwise(grant)).cloned().collect();
    assert!(all.len() > 30, "{all:?}");
    for what in OTHERWISE.iter().chain(&[SERIES, AFTER_CONFLICT]) {
        assert!(granted.iter().any(|grant| is(grant, *what)), "no manifest grants {what:?}");
    }
    while let Some(grant) = all.get(left.fetch_add(1, Ordering::Relaxed)) {
        match grant.place {
            "cleanup" => {
                let of_tenant = |g: &&Grant| g.place == "tenant" && g.resource == "serviceaccounts/token";
                scene.is_needed_to_clean_up(grant, all.iter().find(of_tenant).unwrap()).await;
            }
            _ => scene.is_needed(grant).await,
        }
    }
    // With all of them it goes well.
    scene.kill();
    let started = scene.start().await;
    scene.stand.wait_ready().await;
    scene.flow(&started).await;
}

#[test]
fn each_right_that_is_taken_away_is_missed() {
    let left = AtomicUsize::new(0);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..STANDS {
            scope.spawn(|| runtime().block_on(take_away(&left)));
        }
    });
}

#[tokio::test]
async fn no_right_is_unused_and_nothing_is_refused_in_normal_running() {
    let mut log = AuditTail::new(cluster().await);
    let scene = Scene::new(Setup { operators: 2, gateways: 3, ..Setup::default() }).await;
    let (stand, mut started) = (&scene.stand, now());
    stand.run().await;
    scene.flow(&started).await;
    // The other one takes over.
    let leader = stand.leader().await;
    started = now();
    stand.operators[leader].stop();
    stand.gateways[0].kill();
    wait_until("another leader", SOON, async || (stand.leader().await != leader).then_some(())).await.unwrap();
    scene.flow(&started).await;
    stand.start_operator(leader).await;
    stand.start_gateway(0).await;
    let after_conflict = all(stand).into_iter().find(|grant| is(grant, AFTER_CONFLICT)).unwrap();
    let mut edits = AuditTail::new(stand.cluster);
    let read = wait_until("a look after a conflict", SOON, async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        edits.more(&after_conflict.user).iter().any(|asked| after_conflict.is_for(asked)).then_some(())
    });
    tokio::select! {
        () = scene.edit() => {}
        read = read => read.unwrap(),
    }
    // Withdrawn, declined, and an object that goes before it was sent.
    let (manifest, _, to) = scene.delivery("declined", json!({})).await;
    stand.apply(&manifest).await;
    assert_eq!(stand.recipient(&to).await.decline().await.state(), "declined");
    stand.wait_rotated("declined", SOON).await;
    let (manifest, _, to) = scene.delivery("withdrawn", json!({})).await;
    stand.apply(&manifest).await;
    let recipient: Recipient = stand.recipient(&to).await;
    stand.patch("withdrawn", json!({"spec": {"revoked": true}})).await;
    stand.wait_status("withdrawn", "rotated", SOON, |s: &Seen| s.is("Rotated")).await;
    assert_eq!(recipient.claim().await.state(), "revoked");
    stand.delete("stuck").await;
    stand.wait_gone(&stand.uri("stuck"), SOON).await;
    stand.restart_operators().await;

    let all = all(stand);
    let mut asked = BTreeSet::new();
    let mut unused: Vec<String> = Vec::new();
    let used = wait_until("every right to be used", SOON, async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        asked.extend(log.more(&format!("system:serviceaccount:{}:", stand.names.own)));
        let done = |grant: &&Grant| asked.iter().any(|a| a.code < 400 && grant.is_for(a));
        // Nobody's own identity is gone, so nobody cleans up.
        let rest = all.iter().filter(|grant| !is_otherwise(grant) && grant.place != "cleanup");
        unused = rest.filter(|grant| !done(grant)).map(ToString::to_string).collect();
        unused.is_empty().then_some(())
    });
    assert!(used.await.is_ok(), "unused: {unused:#?}");
    let refused: Vec<_> = asked.iter().filter(|a| a.code == 403 || a.code == 401).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    let beyond: Vec<_> = asked.iter().filter(|a| !a.resource.is_empty() && !all.iter().any(|g| g.is_for(a))).collect();
    assert!(beyond.is_empty(), "{beyond:#?}");
}
