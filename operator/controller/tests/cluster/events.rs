//! Kubernetes Events on a real API server.

use ps_controller::kubernetes::REPORTER;
use ps_core::audit::EventKind;
use ps_core::entry::Entry;
use ps_core::error::{Class, Fault};
use ps_core::ids::Stamp;
use ps_core::ports::{Clock as _, Manifests as _};
use ps_core::status::project;
use ps_testbed::wait_until;
use serde_json::{Value, json};

use crate::stand::{LONG, Stand, shared};

/// Our Events in a namespace about an object of this name.
async fn events(stand: &Stand<'_>, namespace: &str, about: &str) -> Vec<Value> {
    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    let list = stand.cluster.call("GET", &path, None).await.unwrap();
    let ours = |e: &&Value| e["reportingController"] == REPORTER && e["regarding"]["name"] == about;
    list["items"].as_array().unwrap().iter().filter(ours).cloned().collect()
}

async fn until(stand: &Stand<'_>, namespace: &str, about: &str, is: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let look = async || {
        let found = events(stand, namespace, about).await;
        is(&found).then_some(found)
    };
    wait_until("Events", LONG, look).await.unwrap()
}

/// Waits until a request for an Event of this outcome is in the audit log so often.
async fn tries(stand: &Stand<'_>, count: usize, verb: &str, code: u16) {
    let is = |e: &ps_testbed::AuditEvent| e.resource == "events" && e.verb == verb && e.code == code;
    assert_eq!(stand.requests_until(count, is).await, count);
}

#[tokio::test]
async fn an_event_is_there_once_however_often_and_by_whomever_it_is_told() {
    let stand = Stand::new(shared().await).await;
    stand.deliver("db", &json!({})).await;
    let seen = stand.seen("db", "the object", |_| true).await;
    let before = Entry::new(seen.key.clone(), seen.uid.clone(), Stamp::new(&seen.key, [1; 16]), stand.clock.now());
    let mut after = before.clone();
    after.emit(EventKind::Locked, 1, stand.clock.now(), "too many wrong passphrases", &[]);
    stand.source.wrote(Some(&before), &after);
    let found = until(&stand, &stand.tenant, "db", |e| e.len() == 1).await;
    let event = &found[0];
    assert_eq!((event["type"].as_str(), event["reason"].as_str()), (Some("Warning"), Some("Locked")));
    assert_eq!(event["regarding"]["uid"], seen.uid.as_str());
    stand.source.wrote(Some(&before), &after);
    tries(&stand, 1, "create", 409).await;
    assert_eq!(events(&stand, &stand.tenant, "db").await.len(), 1);
    let told = stand.cluster.kubectl(&["describe", "secretdelivery", "-n", &stand.tenant, "db"]).await.unwrap();
    assert!(told.contains("Warning") && told.contains("Locked") && told.contains("too many wrong"), "{told}");
    assert_eq!(stand.source.events_dropped(), 0);
}

#[tokio::test]
async fn what_goes_on_is_one_event_whose_series_grows() {
    let stand = Stand::new(shared().await).await;
    stand.deliver("db", &json!({})).await;
    let seen = stand.seen("db", "the object", |_| true).await;
    let denied = Fault::new(Class::Denied, "vault-denied", "the policy lacks read").remedy("Grant read");
    let status = project(Some(&seen), None, Some(&denied), None, stand.clock.now());
    for _ in 0..5 {
        stand.source.rested(&seen.key, &status);
    }
    let found = until(&stand, &stand.tenant, "db", |e| !e.is_empty()).await;
    assert_eq!((found.len(), found[0]["reason"].as_str()), (1, Some("VaultDenied")));
    assert!(found[0]["series"].is_null());
    for count in [2, 3] {
        stand.clock.turn(1801);
        stand.source.rested(&seen.key, &status);
        let found = until(&stand, &stand.tenant, "db", |e| e[0]["series"]["count"] == count).await;
        assert_eq!(found.len(), 1);
    }
    assert_eq!(stand.source.events_dropped(), 0);
}

#[tokio::test]
async fn what_is_left_undone_in_a_namespace_that_goes_is_said_about_the_namespace() {
    let stand = Stand::new(shared().await).await;
    stand.deliver("db", &json!({"metadata": {"finalizers": ["example.com/held"]}})).await;
    let seen = stand.seen("db", "the object", |_| true).await;
    stand.cluster.call("DELETE", &format!("/api/v1/namespaces/{}", stand.tenant), None).await.unwrap();
    wait_until("the end of the namespace", LONG, async || stand.source.is_ending(&stand.tenant).then_some(()))
        .await
        .unwrap();
    let before = Entry::new(seen.key.clone(), seen.uid.clone(), Stamp::new(&seen.key, [1; 16]), stand.clock.now());
    let mut after = before.clone();
    after.emit(EventKind::Locked, 1, stand.clock.now(), "nobody's concern any more", &[]);
    after.emit(EventKind::RotationStalled, 1, stand.clock.now(), "its identity is gone", &[]);
    stand.source.wrote(Some(&before), &after);
    let tenant = stand.tenant.clone();
    let found = until(&stand, "default", &tenant, |e| !e.is_empty()).await;
    assert_eq!((found.len(), found[0]["reason"].as_str()), (1, Some("RotationStalled")));
    assert_eq!(found[0]["regarding"]["kind"], "Namespace");
    let note = found[0]["note"].as_str().unwrap();
    assert!(note.contains("SecretDelivery db") && note.contains("its identity is gone"), "{note}");
    let told = stand.cluster.kubectl(&["get", "events", "-n", "default"]).await.unwrap();
    assert!(told.contains(&format!("namespace/{tenant}")), "{told}");
    stand.cluster.call("PATCH", &stand.path("db"), Some(&json!({"metadata": {"finalizers": null}}))).await.unwrap();
}

#[tokio::test]
async fn a_delivery_without_a_clean_up_connection_is_warned_of_once() {
    let stand = Stand::new(shared().await).await;
    let connection = json!({
        "apiVersion": "passwordsender.io/v1alpha1", "kind": "VaultConnection",
        "metadata": {"name": "prod", "namespace": stand.tenant},
        "spec": {"address": "https://vault.example.com:8200", "auth": {"kubernetes":
            {"role": "r", "audience": "vault", "serviceAccountRef": {"name": "sender"}}}},
    });
    stand.cluster.apply(&connection.to_string()).await.unwrap();
    let rotated = json!({"spec": {"source": {"vault": {"kv": {"keys": ["password"]}}},
        "rotation": {"strategy": "WriteNewVersion", "afterRetrieval": "1h", "keys": ["password"]}}});
    stand.deliver("owing", &rotated).await;
    stand.deliver("free", &json!({})).await;
    for name in ["free", "owing"] {
        let seen = stand.seen(name, name, |_| true).await;
        let stamp = Stamp::new(&seen.key, [1; 16]);
        // The connection may come after the delivery.
        let resolved = async || {
            let name = ps_core::delivery::ConnectionRef::namespaced(&stand.tenant, "prod");
            ps_core::ports::Connections::resolve(&*stand.source, &name).await.ok()
        };
        wait_until("the connection", LONG, resolved).await.unwrap();
        stand.source.put_stamp(&seen.key, &seen.uid, &stamp).await.unwrap();
    }
    let found = until(&stand, &stand.tenant, "owing", |e| !e.is_empty()).await;
    assert_eq!((found.len(), found[0]["reason"].as_str()), (1, Some("NoCleanupConnection")));
    assert!(found[0]["note"].as_str().unwrap().contains("VaultConnection prod"));
    assert!(events(&stand, &stand.tenant, "free").await.is_empty());
}
