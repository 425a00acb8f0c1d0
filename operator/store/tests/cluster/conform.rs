//! The suite that every store passes, with either kind of rights.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ps_core::ids::LinkId;
use ps_core::link::Record;
use ps_core::ports::{CasError, LinkStore, RecordSummary, Versioned};
use ps_store::conformance::{self, Pair, Settle};
use ps_store::kubernetes::{KubernetesStore, Rights};

use crate::support::{PATIENCE, id, name, namespace, path, record, store, testbed};

/// Waits until both know what the API server holds.
fn settle(cluster: &'static ps_testbed::Cluster, namespace: String, handles: [Arc<KubernetesStore>; 2]) -> Settle {
    Arc::new(move |id: LinkId| {
        let (namespace, handles) = (namespace.clone(), handles.clone());
        Box::pin(async move {
            let path = path(&namespace, &name(id));
            let (status, secret) = cluster.request("GET", &path, None).await.unwrap();
            let text = secret["metadata"]["resourceVersion"].as_str().filter(|_| status == 200);
            let version = text.map(|text| text.parse::<u64>().unwrap());
            let deadline = Instant::now() + PATIENCE;
            for handle in handles {
                if let Some(version) = version {
                    handle.reached(version).await;
                }
                while handle.known(id) != version {
                    assert!(Instant::now() < deadline, "the watch does not tell of {version:?}");
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        })
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_operators_conform() {
    let cluster = testbed().await;
    conformance::run(async || {
        let namespace = namespace(cluster).await;
        let (a, _) = store(cluster, &namespace, Rights::Operator).await;
        let (b, _) = store(cluster, &namespace, Rights::Operator).await;
        let settle = settle(cluster, namespace, [a.clone(), b.clone()]);
        Pair { a, b, nudge: Arc::new(|| {}), settle, max_bytes: ps_store::MAX_BYTES }
    })
    .await
    .unwrap();
}

/// A gateway reads, replaces, lists and follows; an operator beside it does what a gateway may not.
struct Gateway {
    gateway: Arc<KubernetesStore>,
    operator: Arc<KubernetesStore>,
}

#[async_trait]
impl LinkStore for Gateway {
    async fn insert(&self, record: &Record) -> Result<u64, CasError> {
        self.operator.insert(record).await
    }
    async fn get(&self, id: LinkId) -> Result<Option<Versioned<Record>>, CasError> {
        self.gateway.get(id).await
    }
    async fn replace(&self, record: &Record, unchanged: u64) -> Result<u64, CasError> {
        self.gateway.replace(record, unchanged).await
    }
    async fn delete(&self, id: LinkId, unchanged: u64) -> Result<(), CasError> {
        self.operator.delete(id, unchanged).await
    }
    async fn purge(&self, id: LinkId) -> Result<bool, CasError> {
        self.operator.purge(id).await
    }
    async fn list(&self, after: Option<LinkId>, limit: usize) -> Result<Vec<RecordSummary>, CasError> {
        self.gateway.list(after, limit).await
    }
    async fn changes(&self, after: u64, limit: usize) -> Result<Vec<RecordSummary>, CasError> {
        self.gateway.changes(after, limit).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_gateways_conform_as_far_as_they_may() {
    let cluster = testbed().await;
    conformance::run(async || {
        let namespace = namespace(cluster).await;
        let (operator, _) = store(cluster, &namespace, Rights::Operator).await;
        let (a, _) = store(cluster, &namespace, Rights::Gateway).await;
        let (b, _) = store(cluster, &namespace, Rights::Gateway).await;
        let settle = settle(cluster, namespace, [a.clone(), b.clone()]);
        let handle = |gateway| Arc::new(Gateway { gateway, operator: operator.clone() });
        Pair { a: handle(a), b: handle(b), nudge: Arc::new(|| {}), settle, max_bytes: ps_store::MAX_BYTES }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_does_not_even_try_what_it_may_not() {
    let cluster = testbed().await;
    let namespace = namespace(cluster).await;
    let (gateway, _) = store(cluster, &namespace, Rights::Gateway).await;
    for refused in [
        gateway.insert(&record(1)).await.map(drop),
        gateway.delete(id(1), 5).await,
        gateway.purge(id(1)).await.map(drop),
    ] {
        assert!(matches!(refused, Err(CasError::Failed(fault)) if fault.code == "store-rights"));
    }
}

/// What rests is read once, and what changed is not taken from the cache.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resting_records_cost_the_operator_no_reads() {
    let cluster = testbed().await;
    let namespace = namespace(cluster).await;
    let (writer, _) = store(cluster, &namespace, Rights::Operator).await;
    for number in 0..50 {
        writer.insert(&record(number)).await.unwrap();
    }
    let (reader, _) = store(cluster, &namespace, Rights::Operator).await;
    for _ in 0..5 {
        for number in 0..50 {
            assert!(reader.get(id(number)).await.unwrap().is_some());
            assert!(writer.get(id(number)).await.unwrap().is_some());
        }
    }
    assert_eq!(
        (reader.counts().reads, writer.counts().reads),
        (50, 0),
        "once each, and what it wrote itself not at all"
    );
    assert_eq!(reader.counts().records, 50);
    let found = reader.get(id(7)).await.unwrap().unwrap();
    let newer = writer.replace(&Record::Void { id: id(7) }, found.version).await.unwrap();
    // Behind or not, a decision on what the cache holds fails, and the next read is a new one.
    assert_eq!(reader.replace(&found.value, found.version).await, Err(CasError::Conflict));
    assert_eq!(reader.get(id(7)).await.unwrap().unwrap().version, newer);
    assert_eq!(reader.counts().reads, 51);
}
