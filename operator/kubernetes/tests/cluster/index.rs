//! An index follows its table through everything that ends a watch.

use std::time::Duration;

use ps_testbed::{ProxyAction, ProxyRule};

use crate::{Note, SOON, client, client_of, index, row, shared, shows, space, table};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_and_deletions_arrive_and_own_writes_at_once() {
    let cluster = shared().await;
    let namespace = space(cluster).await;
    let client = client(cluster, &namespace).await;
    let table = table(client, &namespace);
    let mut versions = Vec::new();
    for n in 0..3 {
        versions.push(table.create(&row(&format!("r{n}"), "1")).await.unwrap());
    }
    let index = index(&table).await;
    index.connected(SOON).await.unwrap();
    assert_eq!((index.len(), index.get("r1")), (3, Some((Note("1".into()), versions[1]))));
    let start = index.changed_since(0, 10);
    assert_eq!(start.changed.len(), 3);
    // Ours, at once; and not reported before the watch has it.
    let version = table.replace(&row("r0", "ours"), versions[0]).await.unwrap();
    index.note("r0", version, &row("r0", "ours").annotations);
    assert_eq!(index.get("r0"), Some((Note("ours".into()), version)));
    tokio::time::timeout(SOON, index.wait_change(start.position, 0)).await.unwrap();
    let changes = index.changed_since(start.position, 10);
    assert_eq!(changes.changed, [("r0".to_owned(), Note("ours".into()), version)]);
    assert!(index.behind_since().is_none() && index.heard().is_some() && index.fault().is_none());
    // Somebody else's.
    cluster
        .kubectl(&["-n", &namespace, "annotate", "secret", "r1", "--overwrite", "passwordsender.io/note=theirs"])
        .await
        .unwrap();
    shows(&index, "r1", Some("theirs")).await;
    cluster.kubectl(&["-n", &namespace, "delete", "secret", "r2"]).await.unwrap();
    shows(&index, "r2", None).await;
    let changes = index.changed_since(changes.position, 10);
    assert_eq!((changes.changed[0].0.as_str(), changes.deleted[0].0.as_str()), ("r1", "r2"));
    // Ours, deleted at once.
    table.delete("r0", version).await.unwrap();
    index.note_deleted("r0", version);
    assert_eq!((index.get("r0"), index.epoch()), (None, 0));
    // Not a row: another type.
    cluster.kubectl(&["-n", &namespace, "create", "secret", "generic", "other"]).await.unwrap();
    let last = table.create(&row("last", "1")).await.unwrap();
    tokio::time::timeout(SOON, index.reached(last)).await.unwrap();
    assert_eq!(index.get("other"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_that_break_are_opened_again() {
    let cluster = shared().await;
    let namespace = space(cluster).await;
    let proxy = cluster.proxy().unwrap();
    let direct = table(client(cluster, &namespace).await, &namespace);
    let proxied = client_of(cluster.kubeconfig_via(&proxy, &namespace, "operator").await.unwrap()).await;
    let index = index(&table(proxied, &namespace)).await;
    index.connected(SOON).await.unwrap();
    for n in 0..3 {
        let name = format!("r{n}");
        let version = direct.create(&row(&name, "1")).await.unwrap();
        shows(&index, &name, Some("1")).await;
        index.connected(SOON).await.unwrap();
        assert!(proxy.close_watches() >= 1, "a watch is open");
        direct.replace(&row(&name, "2"), version).await.unwrap();
        shows(&index, &name, Some("2")).await;
    }
    // The API server says that our history is gone, in the stream and as an answer; it is busy; it answers nonsense.
    for action in [
        ProxyAction::ExpiredWatch,
        ProxyAction::Refuse(410),
        ProxyAction::Refuse(429),
        ProxyAction::Refuse(500),
        ProxyAction::Drop,
    ] {
        index.connected(SOON).await.unwrap();
        let before = index.changed_since(0, 100).position;
        proxy.rule(ProxyRule::new("watch=true", action.clone()).times(2));
        assert!(proxy.close_watches() >= 1, "a watch is open");
        let name = format!("{action:?}").to_lowercase().replace(['(', ')'], "");
        direct.create(&row(&name, "1")).await.unwrap();
        direct.purge("r0").await.unwrap();
        direct.create(&row("r0", &name)).await.unwrap();
        shows(&index, &name, Some("1")).await;
        shows(&index, "r0", Some(&name)).await;
        proxy.clear();
        let changes = index.changed_since(before, 100);
        assert_eq!(changes.changed.len(), 2, "{action:?}: {changes:?}");
    }
    assert_eq!(index.epoch(), 0);
    // Nothing passes for a while, and nobody closes anything.
    proxy.black_hole(Duration::from_secs(5));
    direct.create(&row("after", "1")).await.unwrap();
    index.restart();
    shows(&index, "after", Some("1")).await;
    assert_eq!(index.epoch(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn denied_and_granted_later() {
    let cluster = shared().await;
    let namespace = cluster.namespace("kube").await.unwrap();
    cluster.service_account(&namespace, "operator").await.unwrap();
    let table = table(client(cluster, &namespace).await, &namespace);
    let index = ps_kubernetes::Index::start(table, |_| Note(String::new()));
    let fault = index.synced(Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(fault.code, "kubernetes-denied");
    assert!(fault.remedy.contains("verbs: [list]"), "{fault}");
    crate::role(cluster, &namespace, "operator", &["list", "watch"]).await;
    index.connected(SOON).await.unwrap();
    assert!(index.is_empty() && index.fault().is_none());
}
