//! Namespaces with the two roles, and handles on them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ps_core::ids::{Digest, LinkId};
use ps_core::link::Record;
use ps_core::ports::Clock;
use ps_core::time::Timestamp;
use ps_kubernetes::{Access, Client, connect};
use ps_store::conformance::sample;
use ps_store::kubernetes::{KubernetesStore, Rights, Settings};
use ps_store::service::Fence;
use ps_testbed::{Cluster, Testbed};
use serde_json::{Value, json};

/// Nothing in these tests may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The cluster that all tests share.
pub(crate) async fn testbed() -> &'static Cluster {
    Testbed::connect_or_start().unwrap().cluster().await.unwrap()
}

/// A namespace with the two service accounts, as the chart makes them.
pub(crate) async fn namespace(cluster: &Cluster) -> String {
    let namespace = cluster.namespace("links").await.unwrap();
    for (account, verbs) in
        [("operator", "get, list, watch, create, update, patch, delete"), ("gateway", "get, list, watch, update")]
    {
        cluster.service_account(&namespace, account).await.unwrap();
        let yaml = format!(
            "{{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {{name: {account}, namespace: {namespace}}}, \
             rules: [{{apiGroups: [''], resources: [secrets], verbs: [{verbs}]}}]}}\n---\n\
             {{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: {account}, namespace: {namespace}}}, \
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {account}}}, \
             subjects: [{{kind: ServiceAccount, name: {account}, namespace: {namespace}}}]}}\n"
        );
        cluster.apply(&yaml).await.unwrap();
    }
    namespace
}

pub(crate) async fn client(kubeconfig: &Path) -> Client {
    static PROVIDER: std::sync::Once = std::sync::Once::new();
    PROVIDER.call_once(|| {
        // An error means that the testbed has installed one already.
        ps_testbed_provider().ok();
    });
    connect(&Access::Kubeconfig { path: kubeconfig.to_owned(), context: None }, "store-test").await.unwrap()
}

fn ps_testbed_provider() -> Result<(), Arc<rustls::crypto::CryptoProvider>> {
    rustls::crypto::aws_lc_rs::default_provider().install_default()
}

/// A handle with its fence, as one of the two service accounts.
pub(crate) async fn store(cluster: &Cluster, namespace: &str, rights: Rights) -> (Arc<KubernetesStore>, Fence) {
    let account = if rights == Rights::Operator { "operator" } else { "gateway" };
    let kubeconfig = cluster.kubeconfig_for(namespace, account).await.unwrap();
    store_via(&kubeconfig, namespace, rights).await
}

pub(crate) async fn store_via(kubeconfig: &Path, namespace: &str, rights: Rights) -> (Arc<KubernetesStore>, Fence) {
    let fence = if rights == Rights::Gateway { Fence::raised() } else { Fence::lifted() };
    let client = client(kubeconfig).await;
    let store = KubernetesStore::start(client, namespace, Settings::new(rights), fence.clone());
    store.synced(PATIENCE).await.unwrap();
    (Arc::new(store), fence)
}

pub(crate) fn id(number: u64) -> LinkId {
    let mut id = [0; 16];
    id.copy_from_slice(&Digest::of(&number.to_be_bytes()).0[..16]);
    LinkId(id)
}

pub(crate) fn record(number: u64) -> Record {
    Record::Link(Box::new(sample(id(number), now(), format!("sealed {number}").as_bytes())))
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

pub(crate) struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        now()
    }
}

/// The path of a Secret in the API.
pub(crate) fn path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets/{name}")
}

pub(crate) fn name(id: LinkId) -> String {
    format!("link-{}", hex::encode(id.0))
}

/// Changes a Secret as somebody with a gateway's rights may: by a PUT of the whole.
pub(crate) async fn alter(cluster: &Cluster, namespace: &str, id: LinkId, change: impl FnOnce(&mut Value)) {
    let path = path(namespace, &name(id));
    let mut secret = cluster.call("GET", &path, None).await.unwrap();
    change(&mut secret);
    let token = cluster.token(namespace, "gateway", "", 600).await.unwrap();
    let (status, answer) = cluster.request_as(&token, "PUT", &path, Some(&secret)).await.unwrap();
    assert_eq!(status, 200, "{answer}");
}

/// Annotations as JSON.
pub(crate) fn annotation(key: &str, value: &str) -> Value {
    json!({ format!("passwordsender.io/{key}"): value })
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    ps_testbed::wait_until(what, PATIENCE, async || holds().await.then_some(())).await.unwrap();
}
