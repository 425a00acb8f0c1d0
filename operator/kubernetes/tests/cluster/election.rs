//! Elections on a real Lease.

use std::time::{Duration, Instant};

use ps_kubernetes::election::Config;
use ps_kubernetes::{Election, Standing};
use ps_testbed::{ProxyAction, ProxyRule};
use tokio::sync::watch;

use crate::{SOON, client, client_of, role, shared, space};

/// Shorter than in production, in the same proportions.
fn config(namespace: &str, me: &str) -> Config {
    Config {
        lease_duration: Duration::from_secs(4),
        renew_deadline: Duration::from_millis(2500),
        retry_period: Duration::from_millis(400),
        ..Config::new(namespace, "operator", me)
    }
}

async fn until(standing: &mut watch::Receiver<Standing>, what: &str, is: impl Fn(&Standing) -> bool) -> Standing {
    match tokio::time::timeout(SOON, standing.wait_for(|now| is(now))).await {
        Ok(found) => found.unwrap().clone(),
        Err(_) => panic!("waited for {what}"),
    }
}

fn leads(standing: &Standing) -> bool {
    matches!(standing, Standing::Leading { .. })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leads_and_the_other_takes_over_when_it_stops() {
    let cluster = shared().await;
    let namespace = space(cluster).await;
    let client = client(cluster, &namespace).await;
    let a = Election::run(client.clone(), config(&namespace, "a"));
    until(&mut a.standing(), "a to lead", leads).await;
    assert!(a.held().now());
    let b = Election::run(client.clone(), config(&namespace, "b"));
    let mut b_stands = b.standing();
    let found = until(&mut b_stands, "b to know a", |now| matches!(now, Standing::Standby { holder: Some(_) })).await;
    assert_eq!(found, Standing::Standby { holder: Some("a".into()) });
    assert!(!b.held().now() && b.held().until().is_none());
    // Released: at once, not after the lease's duration.
    let (held, start) = (a.held(), Instant::now());
    a.stop().await;
    assert!(!held.now());
    until(&mut b_stands, "b to lead after release", leads).await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    // Killed: after the duration, and not before.
    let held = b.held().until().unwrap();
    drop(b);
    let c = Election::run(client, config(&namespace, "c"));
    until(&mut c.standing(), "c to lead after b's death", leads).await;
    assert!(Instant::now() > held, "c began before b's time was over");
    let lease = cluster
        .kubectl(&[
            "-n",
            &namespace,
            "get",
            "lease",
            "operator",
            "-o",
            "jsonpath={.spec.holderIdentity} {.spec.leaseTransitions}",
        ])
        .await
        .unwrap();
    assert_eq!(lease, "c 2");
    c.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_cannot_renew_stops_before_the_other_begins() {
    let cluster = shared().await;
    let namespace = space(cluster).await;
    let proxy = cluster.proxy().unwrap();
    let cut_off = client_of(cluster.kubeconfig_via(&proxy, &namespace, "operator").await.unwrap()).await;
    let a = Election::run(cut_off, config(&namespace, "a"));
    let mut a_stands = a.standing();
    let first = until(&mut a_stands, "a to lead", leads).await;
    let b = Election::run(client(cluster, &namespace).await, config(&namespace, "b"));
    let (a_held, b_held) = (a.held(), b.held());
    // From here on both are asked all the time: never both.
    let (stop, stopped) = watch::channel(false);
    let asked = tokio::task::spawn_blocking(move || {
        let mut seen = 0_u64;
        while !*stopped.borrow() {
            // Asked in this order, a change of hands in between can't look like two.
            let (b, a) = (b_held.now(), a_held.now());
            assert!(!(a && b), "both lead");
            seen += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        seen
    });
    // One lost answer is nothing; then nothing passes any more.
    proxy.rule(ProxyRule::new("/leases/operator", ProxyAction::DoneButDrop).method("PUT").times(1));
    tokio::time::timeout(SOON, async {
        while proxy.requests().iter().filter(|request| request.method == "PUT").count() < 5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(*a_stands.borrow(), first, "still the same term");
    proxy.black_hole(Duration::from_secs(12));
    let lost = until(&mut a_stands, "a to notice", |now| !leads(now)).await;
    assert!(matches!(lost, Standing::Lost { term: 1, .. }), "{lost:?}");
    until(&mut b.standing(), "b to take over", leads).await;
    // a comes back, and stands by.
    let found = until(&mut a_stands, "a to stand by", |now| matches!(now, Standing::Standby { holder: Some(_) })).await;
    assert_eq!(found, Standing::Standby { holder: Some("b".into()) });
    stop.send_replace(true);
    assert!(asked.await.unwrap() > 100);
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_begin_at_once_one_leads() {
    let cluster = shared().await;
    let namespace = space(cluster).await;
    let client = client(cluster, &namespace).await;
    let all: Vec<Election> =
        (0..8).map(|n| Election::run(client.clone(), config(&namespace, &format!("e{n}")))).collect();
    let mut known = Vec::new();
    for election in &all {
        let now = until(&mut election.standing(), "somebody to lead", |now| {
            leads(now) || matches!(now, Standing::Standby { holder: Some(_) })
        })
        .await;
        known.push(now);
    }
    assert_eq!(known.iter().filter(|now| leads(now)).count(), 1, "{known:?}");
    for election in all {
        election.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_says_so_and_leads_nothing() {
    let cluster = shared().await;
    let namespace = cluster.namespace("kube").await.unwrap();
    cluster.service_account(&namespace, "operator").await.unwrap();
    let election = Election::run(client(cluster, &namespace).await, config(&namespace, "a"));
    let fault = ps_testbed::wait_until("a fault", SOON, async || election.fault()).await.unwrap();
    assert_eq!(fault.code, "kubernetes-denied");
    assert!(fault.remedy.contains("apiGroups: [coordination.k8s.io], resources: [leases]"), "{fault}");
    assert!(!election.held().now());
    role(cluster, &namespace, "operator", &["get", "create", "update"]).await;
    until(&mut election.standing(), "leading", leads).await;
    assert_eq!(election.fault(), None);
    election.stop().await;
}
