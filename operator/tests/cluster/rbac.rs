//! Exactly the rights of `examples/install/`: each of them is used, none is missing, and what lies beyond them is refused.

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
/// Rights that no test can see used: place, resource and verb.
const NO_TEST: &[(&str, &str, &str)] = &[
    // An entry is forgotten thirty days after its last link.
    ("own", "secrets", "delete"),
];

/// A cluster whose audit log tells of these tests only.
async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    CLUSTER.get_or_init(async || Cluster::start(ClusterOptions::default()).await.unwrap()).await
}

/// An installation with a tenant that may deliver all of a mount, and a Secret of its.
struct Scene {
    bao: &'static OpenBao,
    stand: Stand,
    mount: String,
}

impl Scene {
    async fn new(setup: Setup) -> Self {
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
        // It is told of again after each start.
        let scene = Self { bao, stand, mount };
        let nowhere = json!({"source": {"vault": {"connectionRef": {"name": "nowhere"}}}});
        scene.stand.apply(&scene.delivery("stuck", nowhere).await.0).await;
        scene
    }

    async fn delivery(&self, name: &str, more: Value) -> (String, KvSource, String) {
        let source = KvSource::below(self.bao, &self.mount).await;
        let to = format!("{}@v.example", unique("rbac"));
        let manifest = kv_delivery(name, &to, &source, "10m", "1s", more);
        (manifest, source, to)
    }

    /// Everything that is not slow: sent, opened, rotated, told, deleted. Somebody edits the object all the while. `started`
    /// is when the operator was.
    async fn flow(&self, started: &str) {
        let stand = &self.stand;
        let shop = name("shop");
        let (manifest, source, to) = self.delivery(&shop, json!({"link": {"claimWindow": "1s"}})).await;
        stand.apply(&manifest).await;
        let edited = async {
            loop {
                let note = json!({"metadata": {"annotations": {"example.com/note": unique("note")}}});
                stand.cluster.request("PATCH", &stand.uri(&shop), Some(&note)).await.unwrap();
            }
        };
        let work = async {
            let recipient = stand.recipient(&to).await;
            assert_eq!(recipient.open().await["password"], source.password);
            assert_eq!(recipient.acknowledge().await.state(), "retrieved");
            stand.wait_rotated(&shop, SOON).await;
            source.assert_replaced(self.bao).await;
            stand.event(&stand.tenant, &shop, "Rotated").await;
        };
        tokio::select! {
            () = edited => {}
            () = work => {}
        }
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

    /// Without this right the flow does not come to its end, and the API server says why.
    async fn is_needed(&self, grant: &Grant) {
        self.kill();
        grant.take(self.stand.cluster).await;
        let mut log = AuditTail::new(self.stand.cluster);
        let started = self.start().await;
        let refused = wait_until("a refusal", AFTER_A_PERSON, async || {
            tokio::time::sleep(Duration::from_millis(50)).await;
            log.more(&grant.user).iter().any(|asked| asked.code == 403 && grant.is_for(asked)).then_some(())
        });
        let flow = async {
            self.stand.wait_ready().await;
            self.flow(&started).await;
        };
        tokio::select! {
            refused = refused => refused.unwrap_or_else(|e| panic!("{grant}: {e}\n{}", self.stand.tails())),
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
        recipient.open().await;
        let refused = wait_until("a refusal", AFTER_A_PERSON, async || {
            tokio::time::sleep(Duration::from_millis(50)).await;
            log.more(&cleaner.user).iter().any(|asked| asked.code == 403 && cleaner.is_for(asked)).then_some(())
        });
        refused.await.unwrap_or_else(|e| panic!("{cleaner}: {e}\n{}", self.stand.tails()));
        assert!(!self.stand.status("cleaned").await.is("Rotated"));
        cleaner.give_back(self.stand.cluster).await;
        self.stand.wait_rotated("cleaned", AFTER_A_PERSON).await;
        source.assert_replaced(self.bao).await;
        tenant.give_back(self.stand.cluster).await;
        eprintln!("needed: {cleaner}");
    }
}

/// As Events write it, as far as the second.
fn now() -> String {
    ps_operator::clock::now().to_string().trim_end_matches('Z').to_owned()
}

/// All that an installation is given.
fn all(stand: &Stand) -> Vec<Grant> {
    let yaml =
        [stand.names.everything(), stand.names.tenant(&stand.tenant), stand.names.file("14-cleanup-identity.yaml")];
    grants(&yaml.join("\n---\n"), &stand.names)
}

fn has_no_test(grant: &Grant) -> bool {
    NO_TEST.contains(&(grant.place, grant.resource.as_str(), grant.verb.as_str()))
}

/// Takes one right after another away, until none is `left`.
async fn take_away(left: &AtomicUsize) {
    let scene = Scene::new(Setup::default()).await;
    let all: Vec<Grant> = all(&scene.stand).into_iter().filter(|grant| !has_no_test(grant)).collect();
    assert!(all.len() > 30, "{all:?}");
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
        let rest = all.iter().filter(|grant| !has_no_test(grant) && grant.place != "cleanup");
        unused = rest.filter(|grant| !done(grant)).map(ToString::to_string).collect();
        unused.is_empty().then_some(())
    });
    assert!(used.await.is_ok(), "unused: {unused:#?}");
    let refused: Vec<_> = asked.iter().filter(|a| a.code == 403 || a.code == 401).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    let beyond: Vec<_> = asked.iter().filter(|a| !a.resource.is_empty() && !all.iter().any(|g| g.is_for(a))).collect();
    assert!(beyond.is_empty(), "{beyond:#?}");
}

#[tokio::test]
async fn what_lies_beyond_is_refused() {
    let scene = Scene::new(Setup::default()).await;
    let stand = &scene.stand;
    stand.run().await;
    let (own, links, tenant) = (&stand.names.own, &stand.names.links, &stand.tenant);
    let smtp =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password-sender-smtp", "namespace": own}});
    stand.cluster.apply(&smtp.to_string()).await.unwrap();
    let foreign = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "foreign", "namespace": tenant,
        "labels": {"passwordsender.io/usable": "true"}}});
    stand.cluster.apply(&foreign.to_string()).await.unwrap();
    let secrets = |namespace: &str| format!("/api/v1/namespaces/{namespace}/secrets");
    let list = stand.cluster.call("GET", &secrets(own), None).await.unwrap();
    let types = |s: &&Value| s["type"] == "passwordsender.io/ledger-entry";
    let entry =
        list["items"].as_array().unwrap().iter().find(types).unwrap()["metadata"]["name"].as_str().unwrap().to_owned();
    let account = |namespace: &str, name: &str| format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
    let role = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{links}/roles/password-sender-gateway");
    let empty = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}});
    let audiences = |all: &[&str]| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": all, "expirationSeconds": 600}});
    let vault = audiences(&["vault"]);
    let token = async |name: &str| stand.cluster.token(own, name, "", 3600).await.unwrap();
    let (operator, gateway) = (token("password-sender-operator").await, token("password-sender-gateway").await);
    let get = |path: String| ("GET", path, None);
    let post = |path: String, body: &Value| ("POST", path, Some(body.clone()));
    let beyond_operator = [
        post(account("kube-system", "generic-garbage-collector"), &vault),
        post(account("kube-system", "default"), &vault),
        post(account(tenant, "default"), &vault),
        post(account(own, "password-sender-gateway"), &vault),
        get(format!("{}/foreign", secrets(tenant))),
        get(secrets(tenant)),
        get("/api/v1/secrets".into()),
        get(secrets("kube-system")),
        get(format!("/api/v1/namespaces/{tenant}/configmaps")),
        post(secrets(tenant), &empty),
        ("PATCH", role.clone(), Some(json!({"rules": []}))),
        ("DELETE", stand.uri("stuck"), None),
    ];
    for (method, path, body) in beyond_operator {
        let (status, answer) = stand.cluster.request_as(&operator, method, &path, body.as_ref()).await.unwrap();
        assert_eq!(status, 403, "the operator, {method} {path}: {answer}");
    }
    let beyond_gateway = [
        get(format!("{}/password-sender-smtp", secrets(own))),
        get(format!("{}/{entry}", secrets(own))),
        get(secrets(own)),
        get(secrets(tenant)),
        get("/api/v1/secrets".into()),
        post(secrets(links), &empty),
        ("DELETE", format!("{}/x", secrets(links)), None),
        ("PATCH", format!("{}/x", secrets(links)), Some(json!({}))),
        get(stand.uri("stuck")),
        get("/api/v1/namespaces".into()),
        post(account(tenant, "password-sender"), &vault),
        post(account(own, "password-sender-operator"), &vault),
    ];
    for (method, path, body) in beyond_gateway {
        let (status, answer) = stand.cluster.request_as(&gateway, method, &path, body.as_ref()).await.unwrap();
        assert_eq!(status, 403, "the gateway, {method} {path}: {answer}");
    }
    // Its Role lets the operator ask for this account's tokens; the policy says what for.
    let path = account(tenant, "password-sender");
    for (all, expected) in [
        (&["vault"][..], 201),
        (&[], 422),
        (&[""], 422),
        (&[stand.cluster.server()], 422),
        (&["https://kubernetes.default.svc"], 422),
        (&["vault", stand.cluster.server()], 422),
        (&["another"], 422),
    ] {
        let (status, answer) = stand.cluster.request_as(&operator, "POST", &path, Some(&audiences(all))).await.unwrap();
        assert_eq!(status, expected, "{all:?}: {answer}");
        assert!(status == 201 || answer["message"].as_str().unwrap().contains("audience"), "{answer}");
    }
}
