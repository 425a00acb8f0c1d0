//! Watches that end, break, go silent or are too old; a server that is away; a storage that is set back.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use ps_core::delivery::ConnectionRef;
use ps_core::error::Class;
use ps_core::ids::Key;
use ps_core::ports::{Connections as _, Manifests as _};
use ps_testbed::{ApiProxy, Cluster, ProxyAction, ProxyRule, wait_until};
use serde_json::json;

use crate::stand::{LONG, Stand, delivery, own, shared};

fn names(stand: &Stand<'_>) -> BTreeSet<String> {
    stand.source.keys().into_iter().filter(|k| k.namespace == stand.tenant).map(|k| k.name).collect()
}

/// Closes every watch, once there are some.
async fn close(proxy: &ApiProxy) {
    wait_until("watches to close", LONG, async || (proxy.close_watches() > 0).then_some(())).await.unwrap();
}

#[tokio::test]
async fn nothing_is_lost_when_watches_close_or_are_too_old_and_nothing_vanishes_meanwhile() {
    let cluster = shared().await;
    let proxy = cluster.proxy().unwrap();
    let stand = Stand::with(cluster, false, async |operator| {
        cluster.kubeconfig_via(&proxy, operator, "operator").await.unwrap()
    })
    .await;
    for name in ["a", "b", "c"] {
        stand.deliver(name, &json!({})).await;
        stand.seen(name, "the first ones", |_| true).await;
    }
    let watched = Instant::now();
    let all: BTreeSet<String> = names(&stand);
    // Closed before their time: nobody knows why, so everything is listed.
    assert!(proxy.close_watches() >= 4);
    stand.deliver("d", &json!({})).await;
    stand.seen("d", "one that came after the watches closed", |_| true).await;
    // Too old: 410 at the next watch.
    proxy.rule(ProxyRule::new("watch=true", ProxyAction::Refuse(410)).times(4));
    close(&proxy).await;
    stand.delete("d").await;
    stand.gone("d").await;
    assert!(names(&stand).is_superset(&all));
    // Refused and broken for a while: what happens meanwhile is seen afterwards, deletions too.
    proxy.clear();
    proxy.rule(ProxyRule::new("/apis/passwordsender.io", ProxyAction::Refuse(500)));
    close(&proxy).await;
    wait_until("the trouble to be said", LONG, async || stand.source.fault()).await.unwrap();
    stand.delete("a").await;
    stand.deliver("e", &json!({})).await;
    assert!(names(&stand).is_superset(&all), "what is not known to be gone is there");
    assert!(stand.source.get(&stand.key("a")).await.unwrap().is_some());
    proxy.clear();
    stand.gone("a").await;
    stand.seen("e", "one that came in the dark", |_| true).await;
    wait_until("the trouble to be over", LONG, async || stand.source.fault().is_none().then_some(())).await.unwrap();
    // Swallowed: nothing passes either way for a while.
    proxy.black_hole(Duration::from_secs(3));
    stand.deliver("f", &json!({})).await;
    stand.seen("f", "one that came in silence", |_| true).await;
    assert!(watched.elapsed() < LONG * 3);
}

#[tokio::test]
async fn lists_come_in_pages_and_no_page_makes_things_vanish() {
    let cluster = own().await;
    let stand =
        Stand::with(&cluster, true, async |operator| cluster.kubeconfig_for(operator, "operator").await.unwrap()).await;
    let mut items = Vec::new();
    for n in 0..1100 {
        items.push(delivery(&stand.tenant, &format!("d-{n}"), &json!({})));
    }
    let path = stand.path("x");
    let path = path.trim_end_matches("/x");
    for item in &items {
        cluster.call("POST", path, Some(item)).await.unwrap();
    }
    wait_until("all of them", LONG, async || (stand.source.keys().len() == 1100).then_some(())).await.unwrap();
    // A second source lists them all at once.
    let second =
        Stand::with(&cluster, true, async |operator| cluster.kubeconfig_for(operator, "operator").await.unwrap()).await;
    assert_eq!(second.source.keys().len(), 1100);
    let pages = second.requests_until(3, |e| e.verb == "list" && e.resource == "secretdeliveries").await;
    assert_eq!(pages, 3, "1100 in pages of 500");
    assert!(second.requests(|e| e.resource == "secrets") == 0);
}

#[tokio::test]
async fn a_server_that_is_away_and_forgets_its_history_loses_nothing() {
    let cluster = own().await;
    let stand =
        Stand::with(&cluster, true, async |operator| cluster.kubeconfig_for(operator, "operator").await.unwrap()).await;
    for n in 0..5 {
        stand.deliver(&format!("d-{n}"), &json!({})).await;
    }
    stand.seen("d-4", "the last", |_| true).await;
    let all = names(&stand);
    let seen = stand.source.get(&stand.key("d-0")).await.unwrap().unwrap();
    cluster.stop_api_server().unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(20) {
        assert_eq!(names(&stand), all);
        assert!(stand.source.get(&stand.key("d-0")).await.unwrap().is_some());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(stand.source.fault().map(|f| f.class), Some(Class::Transient));
    let status = ps_core::status::project(Some(&seen), None, None, None, ps_core::time::Timestamp::from_secs(5));
    let fault = stand.source.put_status(&seen.key, &seen.uid, &status).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (Class::Transient, "kubernetes-unreachable"));
    // The history is gone when it comes back: the watch must begin with a list.
    cluster.etcd_compact_and_defrag().await.unwrap();
    cluster.start_api_server().await.unwrap();
    stand.delete("d-3").await;
    stand.deliver("new", &json!({})).await;
    stand.gone("d-3").await;
    stand.seen("new", "one that came afterwards", |_| true).await;
    stand.source.put_status(&seen.key, &seen.uid, &status).await.unwrap();
    let calm = tokio::time::timeout(Duration::from_millis(100), stand.source.went_back()).await;
    assert!(calm.is_err(), "a server that was away has not gone back: {calm:?}");
    assert_eq!(names(&stand).len(), 5);
}

/// Writes that have nothing to do with deliveries: only the storage's numbers move.
async fn pass_time(cluster: &Cluster, writes: u32) {
    let path = "/api/v1/namespaces/default/configmaps";
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "time"}});
    cluster.request("POST", path, Some(&object)).await.unwrap();
    for n in 0..writes {
        let change = json!({"data": {"n": n.to_string()}});
        cluster.call("PATCH", &format!("{path}/time"), Some(&change)).await.unwrap();
    }
}

/// One delivery in a backup that was deleted since, one that was made since.
async fn outlived_backup(stand: &Stand<'_>, backup: &Path) {
    stand.deliver("old", &json!({})).await;
    stand.seen("old", "the first", |_| true).await;
    stand.cluster.etcd_snapshot(backup).await.unwrap();
    stand.deliver("young", &json!({})).await;
    stand.delete("old").await;
    stand.gone("old").await;
    stand.seen("young", "the second", |_| true).await;
}

/// Nothing is answered until the restore is noted; then what the backup had counts.
async fn noticed(stand: &Stand<'_>) {
    let why = tokio::time::timeout(LONG, stand.source.went_back()).await.expect("the restore to be noticed");
    assert!(why.contains("resourceVersion"), "{why}");
    for name in ["old", "young"] {
        let fault = stand.source.get(&stand.key(name)).await.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (Class::Transient, "kubernetes-went-back"));
    }
    assert!(stand.source.resolve(&ConnectionRef::namespaced(&stand.tenant, "prod")).await.unwrap_err().is_transient());
    wait_until("the list of the restored ones", LONG, async || stand.source.fault().is_none().then_some(()))
        .await
        .unwrap();
    stand.source.accept_back();
    stand.seen("old", "what the backup had", |_| true).await;
    stand.gone("young").await;
}

#[tokio::test]
async fn a_storage_that_is_restored_from_a_backup_is_noticed() {
    let cluster = own().await;
    let stand =
        Stand::with(&cluster, true, async |operator| cluster.kubeconfig_for(operator, "operator").await.unwrap()).await;
    let backup = tempfile::tempdir().unwrap();
    let backup = backup.path().join("etcd");
    outlived_backup(&stand, &backup).await;
    // More than an API server writes by itself until it is asked, on however busy a machine.
    pass_time(&cluster, 500).await;
    let last = stand.deliver("young", &json!({"metadata": {"labels": {"n": "last"}}})).await;
    let version: u64 = last["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    let newest = async || Some(stand.source.newest()).filter(|newest| *newest >= version);
    let newest = wait_until("its last change", LONG, newest).await.unwrap();
    cluster.etcd_restore(&backup).await.unwrap();
    noticed(&stand).await;
    assert!(stand.source.newest() < newest);
}

/// What it says of itself tells nothing then: it is where it was, and further.
#[tokio::test]
async fn a_restored_storage_that_has_written_past_what_was_seen_is_noticed_by_what_it_holds() {
    let cluster = own().await;
    let proxy = cluster.proxy().unwrap();
    let stand = Stand::with(&cluster, true, async |operator| {
        cluster.kubeconfig_via(&proxy, operator, "operator").await.unwrap()
    })
    .await;
    let backup = tempfile::tempdir().unwrap();
    let backup = backup.path().join("etcd");
    outlived_backup(&stand, &backup).await;
    let newest = stand.source.newest();
    // The source can't look meanwhile.
    proxy.rule(ProxyRule::new("", ProxyAction::Drop));
    cluster.etcd_restore(&backup).await.unwrap();
    while cluster.etcd_revision().await.unwrap() <= newest {
        pass_time(&cluster, 10).await;
    }
    wait_until("the trouble to be said", LONG, async || stand.source.fault()).await.unwrap();
    proxy.clear();
    noticed(&stand).await;
    assert!(stand.source.newest() > newest);
}

#[tokio::test]
async fn an_object_around_the_schema_stalls_alone() {
    let cluster = own().await;
    // A CRD of another version, that lets everything through.
    let open = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema",
        "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
        {"op": "remove", "path": "/spec/versions/0/selectableFields"}]);
    let crd = "secretdeliveries.passwordsender.io";
    let without_selectable = json!([open[0].clone()]);
    if cluster.kubectl(&["patch", "crd", crd, "--type=json", "-p", &open.to_string()]).await.is_err() {
        cluster.kubectl(&["patch", "crd", crd, "--type=json", "-p", &without_selectable.to_string()]).await.unwrap();
    }
    let stand =
        Stand::with(&cluster, true, async |operator| cluster.kubeconfig_for(operator, "operator").await.unwrap()).await;
    let odd = [
        ("unknown-enum", json!({"spec": {"rotation": {"strategy": "Teleport"}}})),
        ("unknown-field", json!({"spec": {"sauce": 5}})),
        ("wrong-type", json!({"spec": {"recipient": [1, 2]}})),
        ("no-spec", json!({"spec": 7})),
        ("odd-status", json!({"status": {"conditions": "none"}})),
    ];
    let path = stand.path("x");
    for (name, extra) in &odd {
        let object = delivery(&stand.tenant, name, extra);
        // The new schema takes a moment to be served.
        let made = async || {
            let (code, _) = cluster.request("POST", path.trim_end_matches("/x"), Some(&object)).await.ok()?;
            (code == 201).then_some(())
        };
        wait_until(&format!("{name} to be taken"), LONG, made).await.unwrap();
    }
    stand.deliver("good", &json!({})).await;
    let good = stand.seen("good", "the good one", |_| true).await;
    assert!(good.spec.is_ok());
    for (name, _) in &odd[..4] {
        let fault = stand.seen(name, name, |_| true).await.spec.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (Class::Misconfigured, "invalid-spec"), "{fault}");
        assert!(fault.field.is_some() && !fault.remedy.is_empty(), "{name}: {fault}");
    }
    let odd_status = stand.seen("odd-status", "the odd status", |_| true).await;
    assert!(odd_status.spec.is_ok());
    let status = ps_core::status::project(Some(&odd_status), None, None, None, ps_core::time::Timestamp::from_secs(5));
    stand.source.put_status(&Key::new(&stand.tenant, "odd-status"), &odd_status.uid, &status).await.unwrap();
    assert!(stand.stored("odd-status").await["status"]["conditions"].is_array());
}
