//! etcd is put back to a snapshot from before a claim.

use std::sync::Arc;
use std::time::Instant;

use ps_core::ids::Digest;
use ps_core::link::{Command, Proof, Record, State, apply};
use ps_core::ports::{CasError, LinkStore as _};
use ps_store::conformance::preimage;
use ps_store::kubernetes::{FenceKeeper, Gatekeeper, KubernetesStore, Rights};
use ps_testbed::{Cluster, ClusterOptions};

use crate::support::{WallClock, id, namespace, now, record, store, until};

async fn claim(store: &KubernetesStore, number: u64, token: u8) -> Result<u64, CasError> {
    let found = store.get(id(number)).await?.expect("a record");
    let claim = Command::Claim {
        access: preimage(id(number), "access"),
        code: None,
        proof: Proof(preimage(id(number), "proof")),
        token_hash: Digest::of(&[token; 32]),
    };
    let next = apply(found.value.link().unwrap(), &claim, now()).next.expect("open");
    store.replace(&Record::Link(Box::new(next)), found.version).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_etcd_raises_the_fence_until_the_operator_has_looked_again() {
    let cluster = Cluster::start(ClusterOptions::default()).await.unwrap();
    let namespace = namespace(&cluster).await;
    let (operator, _) = store(&cluster, &namespace, Rights::Operator).await;
    let keeper = Arc::new(FenceKeeper::new(operator.clone()));
    let running = keeper.clone();
    tokio::spawn(async move { running.run(Arc::new(WallClock), || std::future::ready(true)).await });
    keeper.open(operator.epoch());
    let (gateway, fence) = store(&cluster, &namespace, Rights::Gateway).await;
    tokio::spawn(Gatekeeper::new(gateway.clone(), fence.clone(), "pod-1").run());
    until("the gateway is let in", async || !fence.is_raised()).await;
    for number in 0..3 {
        let version = operator.insert(&record(number)).await.unwrap();
        gateway.reached(version).await;
    }
    let listed = operator.changes(0, 10).await.unwrap();
    let after = listed.last().unwrap().seq;
    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("snapshot");
    cluster.etcd_snapshot(&snapshot).await.unwrap();
    let claimed = claim(&gateway, 1, 1).await.unwrap();
    operator.reached(claimed).await;

    cluster.etcd_restore(&snapshot).await.unwrap();
    let start = Instant::now();
    // Whatever the gateway is asked from now on, it answers no claim: the fence is up, or goes up with the read.
    until("the fence is raised", async || {
        let read = gateway.get(id(1)).await;
        if !fence.is_raised() {
            assert!(read.is_err(), "a restored record was read behind a lifted fence: {read:?}");
        }
        fence.is_raised()
    })
    .await;
    println!("fence raised {:?} after the restored cluster was ready", start.elapsed());
    until("the operator knows", async || operator.epoch() > 0).await;
    assert!(!keeper.is_open(), "it has to look again before it lets anybody in");
    let lost = operator.changes(after, 10).await;
    assert!(matches!(lost, Err(CasError::Failed(fault)) if fault.code == "changes-lost"));
    until("the gateway is fresh", async || gateway.fresh().is_ok()).await;
    until("the operator is fresh", async || operator.fresh().is_ok()).await;
    let found = gateway.get(id(1)).await.unwrap().unwrap();
    assert_eq!(
        found.value.link().map(|l| l.state),
        Some(State::Open),
        "as the snapshot has it: it could be claimed again"
    );
    assert!(fence.is_raised());

    // The operator withdraws what it can't vouch for, and opens.
    let found = operator.get(id(1)).await.unwrap().unwrap();
    let revoked = apply(found.value.link().unwrap(), &Command::Revoke, now()).next.unwrap();
    operator.replace(&Record::Link(Box::new(revoked)), found.version).await.unwrap();
    keeper.open(operator.epoch());
    until("the fence is lifted", async || !fence.is_raised()).await;
    let found = gateway.get(id(1)).await.unwrap().unwrap();
    assert_eq!(found.value.link().map(|l| l.state), Some(State::Revoked));
    assert!(operator.changes(0, 10).await.is_ok(), "said once");
}

/// A gateway that starts after the restore knows nothing of what was: the operator, which does, answers nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_has_not_noticed_yet_does_not_let_a_new_gateway_in() {
    let cluster = Cluster::start(ClusterOptions::default()).await.unwrap();
    let namespace = namespace(&cluster).await;
    let (operator, _) = store(&cluster, &namespace, Rights::Operator).await;
    let keeper = FenceKeeper::new(operator.clone());
    keeper.open(operator.epoch());
    assert_eq!(keeper.answer_all(now(), || std::future::ready(true)).await, Ok(0));
    operator.insert(&record(1)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("snapshot");
    cluster.etcd_snapshot(&snapshot).await.unwrap();
    let claimed = claim(&operator, 1, 1).await.unwrap();
    operator.reached(claimed).await;
    cluster.etcd_restore(&snapshot).await.unwrap();
    let (gateway, fence) = store(&cluster, &namespace, Rights::Gateway).await;
    let asking = tokio::spawn(Gatekeeper::new(gateway, fence.clone(), "new").run());
    let board = crate::support::path(&namespace, "fence");
    until("it asks", async || {
        let board = cluster.call("GET", &board, None).await.unwrap();
        board["metadata"]["annotations"]["passwordsender.io/nonce.new"].is_string()
    })
    .await;
    assert_eq!(keeper.answer_all(now(), || std::future::ready(true)).await, Ok(0));
    assert!(fence.is_raised() && !keeper.is_open() && operator.epoch() > 0);
    asking.abort();
}
