//! The API server away and back, history gone, and etcd restored from a backup: on clusters of the tests' own.

use std::time::{Duration, Instant};

use crate::{SOON, client, index, own, row, shows, space, table};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_is_away_for_twenty_seconds_and_history_is_compacted() {
    let cluster = own().await;
    let namespace = space(&cluster).await;
    let table = table(client(&cluster, &namespace).await, &namespace);
    let index = index(&table).await;
    let first = table.create(&row("kept", "1")).await.unwrap();
    table.create(&row("gone", "1")).await.unwrap();
    shows(&index, "gone", Some("1")).await;
    // History goes under an open watch: nothing is noticed.
    cluster.etcd_compact_and_defrag().await.unwrap();
    let second = table.replace(&row("kept", "2"), first).await.unwrap();
    shows(&index, "kept", Some("2")).await;

    let before = index.changed_since(0, 100).position;
    cluster.stop_api_server().unwrap();
    let stopped = Instant::now();
    let mut moved = index.subscribe();
    while index.fault().is_none() || index.behind_since().is_none() {
        tokio::time::timeout(SOON, moved.changed()).await.unwrap().unwrap();
    }
    assert_eq!(index.fault().unwrap().code, "kubernetes-unreachable");
    let asked = Instant::now();
    assert!(table.get("kept").await.is_err() && table.replace(&row("kept", "3"), second).await.is_err());
    assert!(asked.elapsed() < Duration::from_secs(9), "a refused connection is told at once: {:?}", asked.elapsed());
    // As long as an outage takes: there is no event to wait for.
    tokio::time::sleep(Duration::from_secs(20).saturating_sub(stopped.elapsed())).await;
    cluster.start_api_server().await.unwrap();
    let back = Instant::now();
    index.connected(SOON).await.unwrap();
    let took = back.elapsed();
    assert!(took < Duration::from_secs(30), "it took {took:?} to be back");
    assert_eq!(index.epoch(), 0, "an outage is no restore");

    // Away again; when it is back the history since is gone.
    cluster.stop_api_server().unwrap();
    cluster.start_api_server().await.unwrap();
    assert!(table.purge("gone").await.unwrap());
    let third = table.replace(&row("kept", "3"), second).await.unwrap();
    cluster.etcd_compact_and_defrag().await.unwrap();
    shows(&index, "kept", Some("3")).await;
    shows(&index, "gone", None).await;
    tokio::time::timeout(SOON, index.reached(third)).await.unwrap();
    let changes = index.changed_since(before, 100);
    assert_eq!(changes.changed.len(), 1);
    assert_eq!((changes.changed[0].2, changes.deleted[0].0.as_str()), (third, "gone"));
    assert_eq!(index.epoch(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_api_server_is_noticed_by_requests_and_survived() {
    let cluster = own().await;
    let namespace = space(&cluster).await;
    let table = table(client(&cluster, &namespace).await, &namespace);
    let index = index(&table).await;
    cluster.freeze_api_server(true).unwrap();
    let asked = Instant::now();
    assert!(table.get("a").await.is_err());
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
    cluster.freeze_api_server(false).unwrap();
    table.create(&row("a", "1")).await.unwrap();
    shows(&index, "a", Some("1")).await;
    assert_eq!(index.epoch(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_restored_from_a_backup_is_noticed() {
    let cluster = own().await;
    let namespace = space(&cluster).await;
    let table = table(client(&cluster, &namespace).await, &namespace);
    let index = index(&table).await;
    let one = table.create(&row("a", "backed up")).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    cluster.etcd_snapshot(&backup).await.unwrap();
    let mut version = one;
    for n in 0..50 {
        version = table.replace(&row("a", &n.to_string()), version).await.unwrap();
    }
    table.create(&row("b", "after the backup")).await.unwrap();
    shows(&index, "b", Some("after the backup")).await;
    let (epoch, position) = (index.epoch(), index.position());
    cluster.etcd_restore(&backup).await.unwrap();
    let new = tokio::time::timeout(SOON, index.went_backwards(epoch)).await.expect("noticed");
    assert_eq!(new, epoch + 1);
    shows(&index, "a", Some("backed up")).await;
    shows(&index, "b", None).await;
    assert_eq!(index.get("a").unwrap().1, one);
    let changes = index.changed_since(0, 10);
    assert_eq!((changes.epoch, changes.changed.len()), (new, 1));
    assert!(changes.position < position);
    // A waiter with a position of before is told, and not left to wait for numbers that come much later.
    tokio::time::timeout(SOON, index.wait_change(position, epoch)).await.unwrap();
    // Life goes on.
    index.connected(SOON).await.unwrap();
    let next = table.replace(&row("a", "again"), one).await.unwrap();
    assert!(next < position, "the test is about small numbers");
    shows(&index, "a", Some("again")).await;
    assert_eq!(index.epoch(), new);
}
