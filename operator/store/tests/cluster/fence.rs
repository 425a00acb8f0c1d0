//! The fence between real handles.

use std::sync::Arc;
use std::time::Duration;

use ps_store::kubernetes::{FenceKeeper, Gatekeeper, Rights};

use crate::support::{PATIENCE, WallClock, namespace, now, path, store, testbed, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_is_let_in_when_the_operator_has_looked_and_not_before() {
    let cluster = testbed().await;
    let namespace = namespace(cluster).await;
    let (operator, _) = store(cluster, &namespace, Rights::Operator).await;
    let keeper = Arc::new(FenceKeeper::new(operator.clone()));
    let (gateway, fence) = store(cluster, &namespace, Rights::Gateway).await;
    let task = tokio::spawn(Gatekeeper::new(gateway.clone(), fence.clone(), "pod-1").run());
    let board = path(&namespace, "fence");
    assert_eq!(cluster.request("GET", &board, None).await.unwrap().0, 404, "a gateway makes no board");
    assert_eq!(keeper.answer_all(now(), || std::future::ready(true)).await, Ok(0));
    let nonce = async || {
        let board = cluster.call("GET", &board, None).await.unwrap();
        board["metadata"]["annotations"]["passwordsender.io/nonce.pod-1"].as_str().map(str::to_owned)
    };
    until("the gateway asks", async || nonce().await.is_some()).await;
    let first = nonce().await;
    assert_eq!(keeper.answer_all(now(), || std::future::ready(true)).await, Ok(0), "closed: nobody is answered");
    assert!(fence.is_raised());

    let running = {
        let keeper = keeper.clone();
        tokio::spawn(async move { keeper.run(Arc::new(WallClock), || std::future::ready(true)).await })
    };
    keeper.open(operator.epoch());
    until("the fence is lifted", async || !fence.is_raised()).await;

    // Another replica while it runs; the first stays in while the operator is away.
    let (second, second_fence) = store(cluster, &namespace, Rights::Gateway).await;
    let second_task = tokio::spawn(Gatekeeper::new(second, second_fence.clone(), "pod-2").run());
    until("the second is let in", async || !second_fence.is_raised()).await;
    running.abort();
    assert!(!fence.is_raised());

    // Started anew under the same name: a new nonce, and no old answer counts.
    task.abort();
    let (again, again_fence) = store(cluster, &namespace, Rights::Gateway).await;
    let again_task = tokio::spawn(Gatekeeper::new(again, again_fence.clone(), "pod-1").run());
    until("it asks anew", async || nonce().await != first).await;
    // Several looks of its own pass.
    let reads = cluster.audit_events().unwrap().len();
    until("it looks", async || {
        let events = cluster.audit_events().unwrap();
        events.iter().skip(reads).filter(|e| e.namespace == namespace && e.name == "fence" && e.verb == "get").count()
            > 3
    })
    .await;
    assert!(again_fence.is_raised(), "the operator is away: it waits");
    assert_eq!(keeper.answer_all(now(), || std::future::ready(true)).await, Ok(1));
    until("let in", async || !again_fence.is_raised()).await;
    let kind = cluster.call("GET", &board, None).await.unwrap()["type"].clone();
    assert_eq!(kind, "passwordsender.io/fence");
    second_task.abort();
    again_task.abort();
}

/// Many at once: every one is answered, although each write makes the others' fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twelve_gateways_at_once() {
    let cluster = testbed().await;
    let namespace = namespace(cluster).await;
    let (operator, _) = store(cluster, &namespace, Rights::Operator).await;
    let keeper = Arc::new(FenceKeeper::new(operator.clone()));
    keeper.open(operator.epoch());
    let (gateway, _) = store(cluster, &namespace, Rights::Gateway).await;
    let fences: Vec<_> = (0..12).map(|_| ps_store::service::Fence::raised()).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for (number, fence) in fences.iter().enumerate() {
        tasks.spawn(Gatekeeper::new(gateway.clone(), fence.clone(), &format!("pod-{number}")).run());
    }
    let start = std::time::Instant::now();
    tasks.spawn(async move {
        keeper.run(Arc::new(WallClock), || std::future::ready(true)).await;
    });
    let all = until("all are let in", async || fences.iter().all(|fence| !fence.is_raised()));
    tokio::time::timeout(PATIENCE, all).await.unwrap();
    println!("twelve gateways let in after {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(30));
}

/// A fence that somebody has spoilt is made anew, and one that may not answer does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spoilt_fence_is_made_anew() {
    let cluster = testbed().await;
    let namespace = namespace(cluster).await;
    let (operator, _) = store(cluster, &namespace, Rights::Operator).await;
    let keeper = FenceKeeper::new(operator.clone());
    keeper.open(operator.epoch());
    let yes = || std::future::ready(true);
    assert_eq!(keeper.answer_all(now(), yes).await, Ok(0));
    let board = path(&namespace, "fence");
    let mut secret = cluster.call("GET", &board, None).await.unwrap();
    secret["immutable"] = serde_json::json!(true);
    secret["data"] = serde_json::json!({"junk": "AAAA"});
    secret["metadata"]["annotations"] = serde_json::json!({
        "foreign.example/x": "y",
        "passwordsender.io/nonce.pod-1": "0123456789abcdef0123456789abcdef",
    });
    cluster.call("PUT", &board, Some(&secret)).await.unwrap();
    assert_eq!(keeper.answer_all(now(), || std::future::ready(false)).await, Ok(0), "it may not");
    assert_eq!(keeper.answer_all(now(), yes).await, Ok(1));
    let secret = cluster.call("GET", &board, None).await.unwrap();
    let annotations = &secret["metadata"]["annotations"];
    assert!(secret["immutable"].is_null() && secret["data"].is_null(), "it is ours again");
    assert!(annotations["foreign.example/x"].is_null() && annotations["passwordsender.io/answer.pod-1"].is_string());
    assert_eq!(keeper.answer_all(now(), yes).await, Ok(0));
}
