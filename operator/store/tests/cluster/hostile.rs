//! Somebody with a gateway's rights alters Secrets: each harms only itself, and can be got rid of.

use ps_core::error::Class;
use ps_core::link::{Record, State};
use ps_core::ports::{CasError, LinkStore as _};
use ps_core::time::Timestamp;
use ps_store::kubernetes::Rights;
use serde_json::{Value, json};

use crate::support::{alter, annotation, id, name, namespace, path, record, store, testbed, until};

fn merge(at: &mut Value, with: Value) {
    at.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_altered_record_is_unreadable_and_can_be_purged() {
    let cluster = testbed().await;
    let namespace = namespace(cluster).await;
    let (store, _) = store(cluster, &namespace, Rights::Operator).await;
    type Attack = (&'static str, fn(&mut Value));
    let attacks: [Attack; 9] = [
        ("another state in the annotation", |s| {
            merge(&mut s["metadata"]["annotations"], annotation("state", "revoked"))
        }),
        ("no annotations", |s| s["metadata"]["annotations"] = json!({})),
        ("another expiry", |s| merge(&mut s["metadata"]["annotations"], annotation("next-change", "5"))),
        ("another access", |s| merge(&mut s["metadata"]["annotations"], annotation("access", &"00".repeat(32)))),
        ("no data", |s| s["data"] = json!({})),
        ("not JSON", |s| s["data"]["record"] = json!("AAAA")),
        ("more data", |s| s["data"]["more"] = json!("AAAA")),
        ("a finalizer and other data", |s| {
            s["metadata"]["finalizers"] = json!(["evil.example/stays"]);
            s["data"]["record"] = json!("AAAA");
        }),
        ("immutable", |s| {
            s["immutable"] = json!(true);
            s["data"]["record"] = json!("AAAA");
        }),
    ];
    for (number, (what, attack)) in (0_u64..).zip(attacks) {
        let version = store.insert(&record(number)).await.unwrap();
        alter(cluster, &namespace, id(number), attack).await;
        until("the watch tells", async || store.known(id(number)) > Some(version)).await;
        let error = store.get(id(number)).await.unwrap_err();
        let CasError::Failed(fault) = error else { panic!("{what}: {error:?}") };
        assert_eq!((fault.code.as_str(), fault.class), ("record-unreadable", Class::Permanent), "{what}");
        // It is listed all the same, and the purge works.
        assert!(store.list(None, 100).await.unwrap().iter().any(|s| s.id == id(number)), "{what}");
        assert_eq!(store.purge(id(number)).await, Ok(true), "{what}");
        let (status, _) = cluster.request("GET", &path(&namespace, &name(id(number))), None).await.unwrap();
        assert_eq!(status, 404, "{what}: purged is gone");
        assert_eq!(store.get(id(number)).await, Ok(None), "{what}");
        assert_eq!(store.purge(id(number)).await, Ok(false), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn annotations_that_no_record_has_are_due_now() {
    let cluster = testbed().await;
    let namespace = namespace(cluster).await;
    let (store, _) = store(cluster, &namespace, Rights::Operator).await;
    for number in 1..4 {
        store.insert(&record(number)).await.unwrap();
    }
    let version = store.known(id(2));
    alter(cluster, &namespace, id(2), |s| merge(&mut s["metadata"]["annotations"], annotation("state", "owned"))).await;
    until("the watch tells", async || store.known(id(2)) > version).await;
    for summary in store.list(None, 10).await.unwrap() {
        let odd = summary.id == id(2);
        assert_eq!(summary.state, (!odd).then_some(State::Open));
        assert_eq!(summary.next_change == Some(Timestamp::EPOCH), odd);
    }
}

/// A Secret of another name or type in the namespace is neither seen nor in the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_secrets_are_let_be() {
    let cluster = testbed().await;
    let namespace = namespace(cluster).await;
    let (store, _) = store(cluster, &namespace, Rights::Operator).await;
    let folder = format!("/api/v1/namespaces/{namespace}/secrets");
    let secret = |name: &str, kind: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind});
    for (name, kind) in
        [("other", "Opaque"), ("link-xyz", "passwordsender.io/link-record"), (name(id(9)).as_str(), "Opaque")]
    {
        cluster.call("POST", &folder, Some(&secret(name, kind))).await.unwrap();
    }
    let version = store.insert(&record(1)).await.unwrap();
    store.reached(version).await;
    let listed = store.list(None, 10).await.unwrap();
    assert_eq!(listed.iter().map(|s| s.id).collect::<Vec<_>>(), [id(1)]);
    assert!(matches!(store.insert(&record(9)).await, Err(CasError::Failed(_))), "the name is taken by something else");
    assert!(store.purge(id(9)).await.is_err(), "and what it is, is not ours to delete");
}

/// A tombstone that somebody put a finalizer on is deleted all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finalizer_does_not_keep_a_record() {
    let cluster = testbed().await;
    let namespace = namespace(cluster).await;
    let (store, _) = store(cluster, &namespace, Rights::Operator).await;
    let version = store.insert(&Record::Void { id: id(1) }).await.unwrap();
    alter(cluster, &namespace, id(1), |s| s["metadata"]["finalizers"] = json!(["evil.example/stays"])).await;
    until("the watch tells", async || store.known(id(1)) > Some(version)).await;
    let found = store.get(id(1)).await.unwrap().unwrap();
    store.delete(id(1), found.version).await.unwrap();
    let (status, _) = cluster.request("GET", &path(&namespace, &name(id(1))), None).await.unwrap();
    assert_eq!(status, 404);
}

/// What a gateway's rights can do to a Secret does not keep the operator from putting a tombstone in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spoilt_record_is_replaced_all_the_same() {
    let cluster = testbed().await;
    let namespace = namespace(cluster).await;
    let (store, _) = store(cluster, &namespace, Rights::Operator).await;
    let attacks: [fn(&mut Value); 2] = [
        |s| s["immutable"] = json!(true),
        |s| {
            s["immutable"] = json!(true);
            s["metadata"]["finalizers"] = json!(["evil.example/stays"]);
        },
    ];
    for (number, attack) in (0_u64..).zip(attacks) {
        let version = store.insert(&record(number)).await.unwrap();
        alter(cluster, &namespace, id(number), attack).await;
        until("the watch tells", async || store.known(id(number)) > Some(version)).await;
        let version = store.known(id(number)).unwrap();
        let void = Record::Void { id: id(number) };
        assert_eq!(store.replace(&void, version - 1).await, Err(CasError::Conflict));
        let new = store.replace(&void, version).await.unwrap();
        let found = store.get(id(number)).await.unwrap().unwrap();
        assert_eq!((found.value, found.version), (void, new));
        let secret = cluster.call("GET", &path(&namespace, &name(id(number))), None).await.unwrap();
        assert!(secret["immutable"].is_null() && secret["metadata"]["finalizers"].is_null(), "{number}");
    }
}
