//! A cluster, an operator's service account with the rights that it has in production, and a source on top.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ps_controller::kubernetes::{KubernetesSource, Options};
use ps_core::delivery::Manifest;
use ps_core::error::Fault;
use ps_core::ids::Key;
use ps_core::ports::{Clock, Manifests as _, Random};
use ps_core::time::Timestamp;
use ps_kubernetes::Access;
use ps_testbed::{AuditEvent, Cluster, ClusterOptions, Testbed, unique, wait_until};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The real time, and as much more as a test likes.
#[derive(Default)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn turn(&self, secs: i64) {
        self.0.fetch_add(secs * 1000, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap() + self.0.load(Ordering::SeqCst))
    }
}

struct Os;

impl Random for Os {
    fn fill(&self, out: &mut [u8]) -> Result<(), Fault> {
        getrandom::fill(out).unwrap();
        Ok(())
    }
}

/// The cluster that all tests share, with our kinds.
pub(crate) async fn shared() -> &'static Cluster {
    let cluster = Testbed::connect_or_start().unwrap().cluster().await.unwrap();
    cluster.ensure_crds().await.unwrap();
    cluster
}

/// One that a test may stop, restore and compact.
pub(crate) async fn own() -> Cluster {
    let cluster = Cluster::start(ClusterOptions::default()).await.unwrap();
    cluster.install_crds().await.unwrap();
    cluster
}

/// A running source, as the operator's service account.
pub(crate) struct Stand<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) source: Arc<KubernetesSource>,
    pub(crate) clock: Arc<TestClock>,
    /// The operator's own namespace.
    pub(crate) operator: String,
    /// A tenant's.
    pub(crate) tenant: String,
    /// The watches, until they are stopped.
    pub(crate) running: JoinHandle<()>,
}

impl Drop for Stand<'_> {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Our kinds, namespaces and Events: all that the operator may cluster-wide.
fn rights(name: &str) -> Value {
    let kinds = ["secretdeliveries", "vaultconnections", "clustervaultconnections"];
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
        "rules": [
            {"apiGroups": ["passwordsender.io"], "resources": kinds, "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["passwordsender.io"], "resources": ["secretdeliveries", "secretdeliveries/status", "secretdeliveries/finalizers"], "verbs": ["patch"]},
            {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"]},
            {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
        ],
    })
}

impl<'a> Stand<'a> {
    /// One that watches only its own tenant, so that tests don't see each other.
    pub(crate) async fn new(cluster: &'a Cluster) -> Self {
        Self::with(cluster, false, async |operator: &str| cluster.kubeconfig_for(operator, "operator").await.unwrap())
            .await
    }

    /// One that watches everything, or its tenant, and reaches the API server as a kubeconfig says.
    pub(crate) async fn with(
        cluster: &'a Cluster,
        everything: bool,
        kubeconfig: impl AsyncFnOnce(&str) -> PathBuf,
    ) -> Self {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let (operator, tenant) = (cluster.namespace("op").await.unwrap(), cluster.namespace("tenant").await.unwrap());
        let name = unique("ps-operator").replace('_', "-");
        let path = "/apis/rbac.authorization.k8s.io/v1";
        cluster.call("POST", &format!("{path}/clusterroles"), Some(&rights(&name))).await.unwrap();
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "namespace": operator, "name": "operator"}],
        });
        cluster.call("POST", &format!("{path}/clusterrolebindings"), Some(&binding)).await.unwrap();
        let access = Access::Kubeconfig { path: kubeconfig(&operator).await, context: None };
        let client = ps_kubernetes::connect(&access, "password-sender-operator").await.unwrap();
        let clock = Arc::new(TestClock::default());
        let options = Options {
            namespaces: if everything { Vec::new() } else { vec![tenant.clone()] },
            operator_namespace: operator.clone(),
            instance: "operator-0".into(),
            own_audiences: ps_kubernetes::own_audiences(&access),
            newest_seen: 0,
            allow_http: true,
            vault_addresses: Vec::new(),
        };
        let source = Arc::new(KubernetesSource::new(client, options, clock.clone(), Arc::new(Os)));
        let running = {
            let source = Arc::clone(&source);
            tokio::spawn(async move { source.run().await })
        };
        tokio::time::timeout(LONG, source.synced()).await.expect("the first lists");
        Self { cluster, source, clock, operator, tenant, running }
    }

    pub(crate) fn key(&self, name: &str) -> Key {
        Key::new(&self.tenant, name)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        format!("/apis/passwordsender.io/v1alpha1/namespaces/{}/secretdeliveries/{name}", self.tenant)
    }

    /// Applies a delivery as a person does, and answers it as stored.
    pub(crate) async fn deliver(&self, name: &str, extra: &Value) -> Value {
        let object = delivery(&self.tenant, name, extra);
        self.cluster.apply(&object.to_string()).await.unwrap();
        self.stored(name).await
    }

    pub(crate) async fn stored(&self, name: &str) -> Value {
        self.cluster.call("GET", &self.path(name), None).await.unwrap()
    }

    pub(crate) async fn delete(&self, name: &str) {
        self.cluster.call("DELETE", &self.path(name), None).await.unwrap();
    }

    /// Waits until the source shows a delivery in a certain state.
    pub(crate) async fn seen(&self, name: &str, what: &str, is: impl Fn(&Manifest) -> bool) -> Manifest {
        let key = self.key(name);
        let look = async || self.source.get(&key).await.ok().flatten().filter(|m| is(m));
        wait_until(what, LONG, look).await.unwrap()
    }

    /// Waits until the source says that a delivery is not there.
    pub(crate) async fn gone(&self, name: &str) {
        let key = self.key(name);
        let look = async || matches!(self.source.get(&key).await, Ok(None)).then_some(());
        wait_until(&format!("{name} to be gone"), LONG, look).await.unwrap();
    }

    /// Forgets what became dirty so far, once nothing comes any more.
    pub(crate) async fn settle(&self) {
        while tokio::time::timeout(Duration::from_millis(300), self.source.next_change()).await.is_ok() {}
    }

    /// Waits until this delivery is to be looked at again.
    pub(crate) async fn dirty(&self, name: &str) {
        let key = self.key(name);
        let wait = async { while self.source.next_change().await != key {} };
        tokio::time::timeout(LONG, wait).await.unwrap_or_else(|_| panic!("{name} was not brought"));
    }

    /// Requests of ours for which the API server keeps an audit line, those that are finished.
    pub(crate) fn requests(&self, is: impl Fn(&AuditEvent) -> bool) -> usize {
        let user = format!("system:serviceaccount:{}:operator", self.operator);
        let events = self.cluster.audit_events().unwrap();
        events.iter().filter(|e| e.user == user && is(e)).count()
    }

    /// Waits until so many of them are there, and answers how many there are in the end.
    pub(crate) async fn requests_until(&self, least: usize, is: impl Fn(&AuditEvent) -> bool) -> usize {
        wait_until("lines of the audit log", LONG, async || (self.requests(&is) >= least).then_some(())).await.unwrap();
        self.requests(&is)
    }
}

/// A delivery of a KV secret that is not rotated, with `extra` merged over it.
pub(crate) fn delivery(namespace: &str, name: &str, extra: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "passwordsender.io/v1alpha1", "kind": "SecretDelivery",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "recipient": {"email": "alice@vendor.example"},
            "source": {"vault": {"connectionRef": {"name": "prod"}, "kv": {"mount": "secret", "path": "apps/db"}}},
            "rotation": {"strategy": "None"},
        },
    });
    merge(&mut object, extra);
    object
}

pub(crate) fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
