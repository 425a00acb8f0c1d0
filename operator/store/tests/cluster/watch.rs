//! Watches that end, histories that are gone, servers that are away: recovery alone, and no wrong "not found".

use std::task::Poll;
use std::time::{Duration, Instant};

use ps_core::ports::{CasError, LinkStore as _};
use ps_core::service::Refusal;
use ps_store::conformance::preimage;
use ps_store::kubernetes::{LAG, PATIENCE as BEHIND, Rights, WAITING};
use ps_testbed::{Cluster, ClusterOptions};

use crate::support::{id, namespace, record, store, store_via, testbed, until};

/// What a gateway says to the holder of a link.
fn door(gateway: &ps_store::kubernetes::KubernetesStore, number: u64) -> Result<(), Refusal> {
    gateway.door(id(number), &preimage(id(number), "access"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_ids_and_wrong_access_cost_the_api_server_nothing() {
    let cluster = testbed().await;
    let namespace = namespace(cluster).await;
    let (operator, _) = store(cluster, &namespace, Rights::Operator).await;
    let (gateway, _) = store(cluster, &namespace, Rights::Gateway).await;
    let version = operator.insert(&record(1)).await.unwrap();
    gateway.reached(version).await;
    for number in 1000..3000 {
        assert_eq!(door(&gateway, number), Err(Refusal::NotFound));
        assert_eq!(gateway.get(id(number)).await, Ok(None));
        assert_eq!(gateway.door(id(1), &[0; 32]), Err(Refusal::NotFound));
    }
    assert_eq!(door(&gateway, 1), Ok(()));
    assert_eq!(gateway.counts().reads, 0);
    assert!(gateway.get(id(1)).await.unwrap().is_some());
    let asked = || {
        let events = cluster.audit_events().unwrap();
        let ours = events.into_iter().filter(|e| e.namespace == namespace && e.user.ends_with(":gateway"));
        ours.filter(|e| e.resource == "secrets" && e.verb == "get").count()
    };
    until("the one read is in the log", async || asked() >= 1).await;
    assert_eq!(asked(), 1, "4 000 unknown ids and 2 000 wrong ones: no request; one right one: one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_faster_than_the_watch_is_let_in_and_strangers_wait_alike() {
    let cluster = testbed().await;
    let namespace = namespace(cluster).await;
    let (operator, _) = store(cluster, &namespace, Rights::Operator).await;
    let (gateway, _) = store(cluster, &namespace, Rights::Gateway).await;
    let knock = async |number: u64, access: [u8; 32]| {
        let begun = Instant::now();
        (gateway.knock(id(number), &access).await, begun.elapsed())
    };
    let known = operator.insert(&record(1)).await.unwrap();
    gateway.reached(known).await;
    // The mail was faster than the watch: whoever asks meanwhile waits for it.
    let let_in = async {
        loop {
            // On a machine that is busy the watch may take longer than anybody waits.
            let said = gateway.knock(id(2), &preimage(id(2), "access")).await;
            if said.is_ok() {
                return;
            }
        }
    };
    let put = async { operator.insert(&record(2)).await.unwrap() };
    tokio::join!(let_in, put);
    for (number, access) in [(1000, preimage(id(1000), "access")), (1, [0; 32])] {
        let (said, took) = knock(number, access).await;
        assert_eq!(said, Err(Refusal::NotFound), "{number}");
        assert!(took >= LAG, "{number} after {took:?}: neither may be told from the other");
    }
    assert!(knock(1, preimage(id(1), "access")).await.0.is_ok());
    // A flood of strangers: so many wait, the rest don't, and who has a link is not kept out.
    let mut crowd = tokio::task::JoinSet::new();
    for number in 0..WAITING as u64 * 4 {
        let gateway = gateway.clone();
        crowd.spawn(async move {
            let begun = Instant::now();
            let said = gateway.knock(id(number + 10_000), &[0; 32]).await;
            (said, begun.elapsed())
        });
    }
    assert!(knock(1, preimage(id(1), "access")).await.0.is_ok());
    let crowd = crowd.join_all().await;
    assert!(crowd.iter().all(|(said, _)| *said == Err(Refusal::NotFound)));
    assert!(crowd.iter().filter(|(_, took)| *took < LAG).count() >= WAITING, "not everybody waits");
    assert_eq!(gateway.counts().reads, 0, "nobody was asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_watch_misses_nothing() {
    let cluster = testbed().await;
    let namespace = namespace(cluster).await;
    let proxy = cluster.proxy().unwrap();
    let (operator, _) = store(cluster, &namespace, Rights::Operator).await;
    let kubeconfig = cluster.kubeconfig_via(&proxy, &namespace, "gateway").await.unwrap();
    let (gateway, _) = store_via(&kubeconfig, &namespace, Rights::Gateway).await;
    for number in 0..5 {
        until("a watch was open", async || proxy.close_watches() > 0).await;
        operator.insert(&record(number)).await.unwrap();
        until("the record is known", async || door(&gateway, number) == Ok(())).await;
    }
    assert_eq!(gateway.epoch(), 0, "nothing went backwards");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_passes_for_a_while() {
    let cluster = testbed().await;
    let namespace = namespace(cluster).await;
    let proxy = cluster.proxy().unwrap();
    let (operator, _) = store(cluster, &namespace, Rights::Operator).await;
    let kubeconfig = cluster.kubeconfig_via(&proxy, &namespace, "gateway").await.unwrap();
    let (gateway, _) = store_via(&kubeconfig, &namespace, Rights::Gateway).await;
    let length = BEHIND + Duration::from_secs(9);
    let start = Instant::now();
    proxy.black_hole(length);
    operator.insert(&record(1)).await.unwrap();
    until("it knows that it is behind", async || gateway.fresh().is_err()).await;
    let noticed = start.elapsed();
    assert!(noticed < length, "{noticed:?}");
    // From then on: never "not found" for what is there.
    until("it has caught up", async || {
        let said = door(&gateway, 1);
        assert_ne!(said, Err(Refusal::NotFound));
        said == Ok(())
    })
    .await;
    println!("a hole of {length:?}: noticed after {noticed:?}, over after {:?}", start.elapsed());
    until("it is fresh", async || gateway.fresh().is_ok()).await;
    assert_eq!((door(&gateway, 2), gateway.epoch()), (Err(Refusal::NotFound), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_is_away_and_a_history_that_is_gone() {
    let cluster = Cluster::start(ClusterOptions::default()).await.unwrap();
    let namespace = namespace(&cluster).await;
    let (operator, _) = store(&cluster, &namespace, Rights::Operator).await;
    let (gateway, fence) = store(&cluster, &namespace, Rights::Gateway).await;
    fence.lift();
    let version = operator.insert(&record(1)).await.unwrap();
    gateway.reached(version).await;
    let mut news = Box::pin({
        let operator = operator.clone();
        async move { operator.changes(version, 10).await }
    });
    // It waits before anything happens.
    assert!(std::future::poll_fn(|cx| Poll::Ready(news.as_mut().poll(cx).is_pending())).await);
    let news = tokio::spawn(news);
    let proxy_gap = Instant::now();
    cluster.stop_api_server().unwrap();
    until("both know it", async || gateway.fresh().is_err() && operator.fresh().is_err()).await;
    println!("noticed after {:?}", proxy_gap.elapsed());
    while proxy_gap.elapsed() < Duration::from_secs(20) {
        assert_eq!(door(&gateway, 2), Err(Refusal::NotReady), "nobody knows what is there meanwhile");
        assert!(matches!(gateway.get(id(2)).await, Err(CasError::Failed(fault)) if fault.code == "store-behind"));
        assert!(matches!(operator.list(None, 10).await, Err(CasError::Failed(_))));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let back = Instant::now();
    cluster.start_api_server().await.unwrap();
    cluster.etcd_compact_and_defrag().await.unwrap();
    until("both are fresh", async || gateway.fresh().is_ok() && operator.fresh().is_ok()).await;
    println!("fresh {:?} after the start of the API server", back.elapsed());
    assert_eq!(door(&gateway, 2), Err(Refusal::NotFound));
    let second = operator.insert(&record(2)).await.unwrap();
    gateway.reached(second).await;
    assert!(gateway.get(id(1)).await.unwrap().is_some() && gateway.get(id(2)).await.unwrap().is_some());
    // Who waited for changes was not told that any were lost, and hears of the new one.
    let news = news.await.unwrap().unwrap();
    assert_eq!(news.iter().map(|s| s.id).collect::<Vec<_>>(), [id(2)]);
    assert_eq!((gateway.epoch(), operator.epoch(), fence.is_raised()), (0, 0, false), "away is not backwards");
}
