//! The Kubernetes ledger on a real API server: `cargo xtask test cluster`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic in a test is its failure report"
)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ps_core::entry::{Common, Entry, TagKey};
use ps_core::ids::{Digest, Key, LinkId};
use ps_core::ports::{CasError, Ledger};
use ps_kubernetes::{Access, Client, connect};
use ps_ledger::conformance::{self, Pair, sample};
use ps_ledger::{KubernetesLedger, SECRET_TYPE};
use ps_testbed::{Cluster, ClusterOptions, ProxyAction, ProxyRule, Testbed};
use serde_json::{Value, json};

/// A bound for what should take moments, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

async fn shared() -> &'static Cluster {
    provider();
    Testbed::connect_or_start().unwrap().cluster().await.unwrap()
}

fn provider() {
    // Whoever was first has installed the same.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}

/// A namespace with an operator that may do there what the ledger needs, and no more.
async fn space(cluster: &Cluster) -> String {
    let namespace = cluster.namespace("ledger").await.unwrap();
    cluster.service_account(&namespace, "operator").await.unwrap();
    let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
    let verbs = ["get", "list", "watch", "create", "update", "patch", "delete"];
    let role = json!({"metadata": {"name": "ledger"}, "rules": [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": verbs},
    ]});
    cluster.call("POST", &format!("{path}/roles"), Some(&role)).await.unwrap();
    let binding = json!({
        "metadata": {"name": "ledger"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "ledger"},
        "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": namespace}],
    });
    cluster.call("POST", &format!("{path}/rolebindings"), Some(&binding)).await.unwrap();
    namespace
}

async fn client_of(kubeconfig: std::path::PathBuf) -> Client {
    connect(&Access::Kubeconfig { path: kubeconfig, context: None }, "password-sender-test").await.unwrap()
}

async fn client(cluster: &Cluster, namespace: &str) -> Client {
    client_of(cluster.kubeconfig_for(namespace, "operator").await.unwrap()).await
}

async fn open(cluster: &Cluster, namespace: &str) -> Arc<KubernetesLedger> {
    Arc::new(KubernetesLedger::open(client(cluster, namespace).await, namespace).await.unwrap())
}

fn key(number: u64) -> Key {
    Key::new("team", format!("d{number}"))
}

fn source(number: u64) -> Digest {
    Digest::of(&number.to_be_bytes())
}

fn record(number: u64) -> LinkId {
    LinkId(u128::from(number).to_be_bytes())
}

fn entry(number: u64, attempt: u64) -> Entry {
    let mut entry = sample(key(number), &[(source(number), record(number * 1000 + attempt))]);
    entry.next_seq = attempt;
    entry
}

fn common(ledger_id: &str) -> Common {
    Common::new(TagKey([9; 32]), ledger_id.to_owned())
}

fn failed<T: std::fmt::Debug>(result: Result<T, CasError>) -> String {
    match result {
        Err(CasError::Failed(fault)) => {
            assert!(!fault.to_string().contains("hunter2"));
            fault.code
        }
        other => panic!("{other:?}"),
    }
}

/// The suite, on two handles with a connection each.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn kubernetes_ledger_conforms() {
    let cluster = shared().await;
    conformance::run(async || {
        let namespace = space(cluster).await;
        let (a, b) = (open(cluster, &namespace).await, open(cluster, &namespace).await);
        let both = [Arc::clone(&a), Arc::clone(&b)];
        let settle = Arc::new(move || -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
            let both = both.clone();
            Box::pin(async move {
                for ledger in both {
                    ledger.catch_up().await.unwrap();
                }
            })
        });
        Pair::settling(a, b, settle)
    })
    .await
    .unwrap();
}

/// What is stored: one Secret per entry, of our type, found by nothing that is secret.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_in_the_cluster() {
    let cluster = shared().await;
    let namespace = space(cluster).await;
    let ledger = open(cluster, &namespace).await;
    let long = Key::new("n".repeat(63), "m".repeat(253));
    let version = ledger.insert(&sample(long.clone(), &[(source(1), record(1))])).await.unwrap();
    ledger.insert(&entry(2, 1)).await.unwrap();
    ledger.common(&common("one")).await.unwrap();
    assert_eq!(ledger.list(None, 9).await.unwrap(), [long.clone(), key(2)]);
    let list = cluster.call("GET", &format!("/api/v1/namespaces/{namespace}/secrets"), None).await.unwrap();
    let secrets = list["items"].as_array().unwrap();
    assert_eq!(secrets.len(), 3);
    for secret in secrets {
        assert_eq!(secret["type"], SECRET_TYPE);
        assert_eq!(secret["metadata"]["labels"]["app.kubernetes.io/managed-by"], "password-sender");
        let annotations = secret["metadata"]["annotations"].to_string();
        assert!(!annotations.contains("vendor.example") && !annotations.contains("tagKey"), "{annotations}");
    }
    // Another process, or this one after a restart, finds the same.
    let again = open(cluster, &namespace).await;
    assert_eq!(again.list(None, 9).await.unwrap(), [long.clone(), key(2)]);
    assert_eq!(again.by_record(record(1)).await, Ok(Some(long.clone())));
    assert_eq!(again.get(&long).await.unwrap().unwrap().version, version);
    assert_eq!(again.common(&common("two")).await.unwrap().value.ledger_id, "one");
}

/// Reads that are not needed are not made: an entry that did not change comes from memory, and one that did does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_did_not_change_is_read_from_memory() {
    let cluster = shared().await;
    let namespace = space(cluster).await;
    let proxy = cluster.proxy().unwrap();
    let proxied = client_of(cluster.kubeconfig_via(&proxy, &namespace, "operator").await.unwrap()).await;
    let ledger = KubernetesLedger::open(proxied, &namespace).await.unwrap();
    let other = open(cluster, &namespace).await;
    let reads = || proxy.requests().iter().filter(|r| r.method == "GET" && r.path.contains("/secrets/entry-")).count();
    ledger.catch_up().await.unwrap();
    let mut version = ledger.insert(&entry(1, 0)).await.unwrap();
    for attempt in 1..20 {
        assert_eq!(ledger.get(&key(1)).await.unwrap().unwrap().value, entry(1, attempt - 1));
        assert_eq!(ledger.by_source(&source(1)).await.unwrap().len(), 1);
        version = ledger.replace(&entry(1, attempt), version).await.unwrap();
    }
    assert_eq!(reads(), 0, "its own writes are known");
    ledger.get_latest(&key(1)).await.unwrap();
    assert_eq!(reads(), 1, "the latest is asked for");
    other.replace(&entry(1, 20), version).await.unwrap();
    ledger.catch_up().await.unwrap();
    for _ in 0..5 {
        assert_eq!(ledger.get(&key(1)).await.unwrap().unwrap().value, entry(1, 20));
    }
    assert_eq!(reads(), 2, "what another process wrote is read once");
    // A replace that lost makes the next read ask.
    let current = other.get_latest(&key(1)).await.unwrap().unwrap().version;
    other.replace(&entry(1, 21), current).await.unwrap();
    assert_eq!(ledger.replace(&entry(1, 99), current).await, Err(CasError::Conflict));
    assert_eq!(ledger.get(&key(1)).await.unwrap().unwrap().value, entry(1, 21));
}

/// Every answer to a write may be lost: the entry has what was told, and the indexes what the entry has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_lose_no_write_and_leave_no_index_behind() {
    let cluster = shared().await;
    let namespace = space(cluster).await;
    let proxy = cluster.proxy().unwrap();
    let proxied = client_of(cluster.kubeconfig_via(&proxy, &namespace, "operator").await.unwrap()).await;
    let ledger = KubernetesLedger::open(proxied, &namespace).await.unwrap();
    let actions = [
        ProxyAction::DoneBut(500),
        ProxyAction::DoneBut(409),
        ProxyAction::DoneButDrop,
        ProxyAction::Refuse(409),
        ProxyAction::Refuse(429),
        ProxyAction::Drop,
    ];
    for (number, action) in (1..).zip(actions) {
        let rule = |method: &str| proxy.rule(ProxyRule::new("/secrets", action.clone()).method(method).times(1));
        rule("POST");
        let one = ledger.insert(&entry(number, 1)).await.unwrap_or_else(|e| panic!("insert {action:?}: {e}"));
        rule("PUT");
        let two = ledger.replace(&entry(number, 2), one).await.unwrap_or_else(|e| panic!("replace {action:?}: {e}"));
        proxy.clear();
        let found = ledger.get_latest(&key(number)).await.unwrap().unwrap();
        assert_eq!((found.value, found.version), (entry(number, 2), two), "{action:?}");
        assert_eq!(ledger.by_record(record(number * 1000 + 2)).await, Ok(Some(key(number))));
        assert_eq!(ledger.by_record(record(number * 1000 + 1)).await, Ok(None));
    }
}

/// Annotations that somebody took off or changed hide nothing, and an entry that does not parse is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_annotations_hide_nothing() {
    let cluster = shared().await;
    let namespace = space(cluster).await;
    let ledger = open(cluster, &namespace).await;
    for number in 1..4 {
        ledger.insert(&entry(number, 1)).await.unwrap();
    }
    let named = |number: u64| {
        format!("/api/v1/namespaces/{namespace}/secrets/entry-{}", &key(number).digest().to_string()[..32])
    };
    let patch = async |number: u64, patch: Value| {
        cluster.call("PATCH", &named(number), Some(&patch)).await.unwrap();
        ledger.catch_up().await.unwrap();
    };
    patch(1, json!({"metadata": {"annotations": null, "labels": null}})).await;
    patch(2, json!({"metadata": {"annotations": {"passwordsender.io/sources": "hunter2"}}})).await;
    assert_eq!(ledger.list(None, 9).await.unwrap(), [key(1), key(2), key(3)]);
    assert_eq!(ledger.list(Some(&key(1)), 1).await.unwrap(), [key(2)]);
    for number in 1..4 {
        assert_eq!(ledger.by_source(&source(number)).await, Ok(vec![entry(number, 1)]), "{number}");
        assert_eq!(ledger.by_record(record(number * 1000 + 1)).await, Ok(Some(key(number))));
    }
    // Written again, it is whole again.
    let version = ledger.get_latest(&key(1)).await.unwrap().unwrap().version;
    ledger.replace(&entry(1, 2), version).await.unwrap();
    let secret = cluster.call("GET", &named(1), None).await.unwrap();
    assert_eq!(secret["metadata"]["annotations"]["passwordsender.io/key"], "team/d1");
    // An entry that is no entry.
    patch(3, json!({"data": {"entry": "aHVudGVyMg=="}})).await;
    assert_eq!(failed(ledger.get(&key(3)).await), "entry-unreadable");
    assert_eq!(failed(ledger.by_source(&source(3)).await), "entry-unreadable");
    assert_eq!(ledger.get(&key(2)).await.unwrap().unwrap().value, entry(2, 1));
    // One that was copied over another is not that other.
    let first = cluster.call("GET", &named(1), None).await.unwrap();
    patch(2, json!({"data": first["data"], "metadata": {"annotations": first["metadata"]["annotations"]}})).await;
    assert_eq!(failed(ledger.get_latest(&key(2)).await), "entry-unreadable");
}

/// A new leader that catches up knows everything that the former one wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_catches_up_knows_what_others_wrote() {
    let cluster = shared().await;
    let namespace = space(cluster).await;
    let (former, new) = (open(cluster, &namespace).await, open(cluster, &namespace).await);
    for number in 0..50 {
        former.insert(&entry(number, 1)).await.unwrap();
        new.catch_up().await.unwrap();
        assert_eq!(new.by_source(&source(number)).await.unwrap().len(), 1, "{number}");
        assert_eq!(new.list(None, 100).await.unwrap().len() as u64, number + 1);
    }
    // Many at once make one another wait, not fail.
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let ledger = Arc::clone(&new);
        tasks.spawn(async move { ledger.catch_up().await });
    }
    assert!(tasks.join_all().await.into_iter().all(|done| done.is_ok()));
}

/// Outage and restore, on a cluster of the test's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_api_server_nothing_is_guessed_and_a_restored_etcd_is_noticed() {
    provider();
    let cluster = Cluster::start(ClusterOptions::default()).await.unwrap();
    let namespace = space(&cluster).await;
    let ledger = open(&cluster, &namespace).await;
    let one = ledger.insert(&entry(1, 1)).await.unwrap();
    ledger.common(&common("one")).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    cluster.etcd_snapshot(&backup).await.unwrap();

    let two = ledger.replace(&entry(1, 2), one).await.unwrap();
    ledger.insert(&entry(2, 1)).await.unwrap();
    ledger.catch_up().await.unwrap();
    cluster.stop_api_server().unwrap();
    let asked = Instant::now();
    // The broken watch is noticed within moments; from then on memory does not answer.
    let told = Mutex::new(None);
    ps_testbed::wait_until("a read that fails", SOON, async || {
        let read = ledger.get(&key(1)).await;
        *told.lock().unwrap() = Some(read.clone());
        read.is_err().then_some(())
    })
    .await
    .unwrap();
    assert_eq!(failed(told.into_inner().unwrap().unwrap()), "kubernetes-unreachable");
    assert_eq!(failed(ledger.by_source(&source(1)).await), "kubernetes-unreachable");
    assert_eq!(failed(ledger.list(None, 9).await), "kubernetes-unreachable");
    assert_eq!(failed(ledger.replace(&entry(1, 3), two).await), "kubernetes-unreachable");
    assert_eq!(failed(ledger.catch_up().await), "kubernetes-unreachable");
    assert!(asked.elapsed() < SOON);
    cluster.start_api_server().await.unwrap();
    ps_testbed::wait_until("the ledger to be back", SOON, async || ledger.by_source(&source(1)).await.ok())
        .await
        .unwrap();
    assert_eq!((ledger.epoch(), ledger.get(&key(1)).await.unwrap().unwrap().value), (0, entry(1, 2)));

    // One whose watch stays down: entries are all that it can read.
    let proxy = cluster.proxy().unwrap();
    let blind = client_of(cluster.kubeconfig_via(&proxy, &namespace, "operator").await.unwrap()).await;
    let blind = KubernetesLedger::open(blind, &namespace).await.unwrap();
    proxy.rule(ProxyRule::new("fieldSelector", ProxyAction::Refuse(500)));

    cluster.etcd_restore(&backup).await.unwrap();
    ps_testbed::wait_until("a read that is refused", SOON, async || {
        let read = blind.get(&key(1)).await;
        let over = matches!(&read, Err(CasError::Failed(fault)) if fault.code == "ledger-went-back");
        assert!(
            !matches!(&read, Ok(found) if found.as_ref().is_none_or(|found| found.value != entry(1, 2))),
            "{read:?}"
        );
        over.then_some(())
    })
    .await
    .unwrap();
    assert_eq!(failed(blind.replace(&entry(1, 4), one).await), "ledger-went-back");
    assert_eq!(failed(blind.insert(&entry(2, 4)).await), "ledger-went-back");
    assert_eq!(failed(blind.common(&common("two")).await), "ledger-went-back");
    proxy.clear();
    assert_eq!(tokio::time::timeout(SOON, blind.went_backwards(0)).await.expect("noticed"), 1);

    assert_eq!(tokio::time::timeout(SOON, ledger.went_backwards(0)).await.expect("noticed"), 1);
    assert_eq!(failed(ledger.get(&key(1)).await), "ledger-went-back");
    assert_eq!(failed(ledger.catch_up().await), "ledger-went-back");
    let ledger = open(&cluster, &namespace).await;
    ledger.catch_up().await.unwrap();
    assert_eq!(ledger.get(&key(1)).await.unwrap().unwrap().value, entry(1, 1), "what the backup has");
    assert_eq!((ledger.get(&key(2)).await, ledger.by_source(&source(2)).await), (Ok(None), Ok(Vec::new())));
    assert_eq!(ledger.list(None, 9).await.unwrap(), [key(1)]);
    assert_eq!(ledger.common(&common("two")).await.unwrap().value.ledger_id, "one");
    ledger.replace(&entry(1, 4), one).await.unwrap();
    assert_eq!(ledger.get(&key(1)).await.unwrap().unwrap().value, entry(1, 4));
}
