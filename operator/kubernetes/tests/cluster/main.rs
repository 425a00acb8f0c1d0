//! Tables, indexes and elections against a real API server: `cargo xtask test cluster`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic in a test is its failure report"
)]

mod election;
mod index;
mod outage;
mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ps_kubernetes::{Access, Client, Index, Indexed, Row, RowMeta, SecretTable, connect};
use ps_testbed::{Cluster, Testbed};
use serde_json::json;

/// A bound for what should take moments, on a busy machine.
const SOON: Duration = Duration::from_secs(60);
const KIND: &str = "passwordsender.io/test";
const NOTE: &str = "passwordsender.io/note";

async fn shared() -> &'static Cluster {
    provider();
    Testbed::connect_or_start().unwrap().cluster().await.unwrap()
}

async fn own() -> Cluster {
    provider();
    Cluster::start(ps_testbed::ClusterOptions::default()).await.unwrap()
}

/// The process's TLS provider, as the programs install it.
fn provider() {
    // Whoever was first has installed the same.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}

/// A namespace of a test's own with a service account that may do what an operator may there.
async fn space(cluster: &Cluster) -> String {
    let namespace = cluster.namespace("kube").await.unwrap();
    cluster.service_account(&namespace, "operator").await.unwrap();
    let verbs = ["get", "list", "watch", "create", "update", "patch", "delete"];
    role(cluster, &namespace, "operator", &verbs).await;
    namespace
}

/// Lets a service account use these verbs on Secrets and Leases.
async fn role(cluster: &Cluster, namespace: &str, account: &str, verbs: &[&str]) {
    let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
    let role = json!({"metadata": {"name": account}, "rules": [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": verbs},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs},
    ]});
    cluster.call("POST", &format!("{path}/roles"), Some(&role)).await.unwrap();
    let binding = json!({
        "metadata": {"name": account},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    });
    cluster.call("POST", &format!("{path}/rolebindings"), Some(&binding)).await.unwrap();
}

async fn client_of(kubeconfig: PathBuf) -> Client {
    connect(&Access::Kubeconfig { path: kubeconfig, context: None }, "password-sender-test").await.unwrap()
}

async fn client(cluster: &Cluster, namespace: &str) -> Client {
    client_of(cluster.kubeconfig_for(namespace, "operator").await.unwrap()).await
}

fn table(client: Client, namespace: &str) -> SecretTable {
    SecretTable::new(client, namespace, KIND, BTreeMap::new())
}

fn row(name: &str, text: &str) -> Row {
    Row {
        name: name.to_owned(),
        annotations: [(NOTE.to_owned(), text.to_owned())].into(),
        data: [("entry".to_owned(), text.as_bytes().to_vec())].into(),
    }
}

/// What the tests' indexes keep: the note.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Note(String);

impl Indexed for Note {}

async fn index(table: &SecretTable) -> Index<Note> {
    let index =
        Index::start(table.clone(), |meta: &RowMeta| Note(meta.annotations.get(NOTE).cloned().unwrap_or_default()));
    index.synced(SOON).await.unwrap();
    index
}

/// Waits until an index shows a note under a name; `None` for no row.
async fn shows(index: &Index<Note>, name: &str, note: Option<&str>) {
    let mut moved = index.subscribe();
    let wait = async {
        while index.get(name).map(|(found, _)| found.0).as_deref() != note {
            moved.changed().await.unwrap();
        }
    };
    if tokio::time::timeout(SOON, wait).await.is_err() {
        panic!("{name} is {:?} and not {note:?}; fault {:?}", index.get(name), index.fault());
    }
}
