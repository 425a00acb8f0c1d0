//! Stamps, finalizers and statuses on real objects.

use ps_controller::kubernetes::FINALIZER;
use ps_core::error::{Class, Fault};
use ps_core::ids::Stamp;
use ps_core::ports::Manifests as _;
use ps_core::status::{Status, project};
use ps_core::time::Timestamp;
use serde_json::{Value, json};

use crate::stand::{Stand, shared};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// What kstatus makes of an object (cli-utils, `pkg/kstatus/README.md`).
fn kstatus(object: &Value) -> &'static str {
    let condition = |kind: &str| {
        let list = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        list.iter().find(|c| c["type"] == kind).and_then(|c| c["status"].as_str().map(str::to_owned))
    };
    let is = |kind: &str, status: &str| condition(kind).as_deref() == Some(status);
    let seen = &object["status"]["observedGeneration"];
    let behind = seen.is_number() && *seen != object["metadata"]["generation"];
    match () {
        () if object["metadata"]["deletionTimestamp"].is_string() => "Terminating",
        () if behind || is("Reconciling", "True") => "InProgress",
        () if is("Stalled", "True") => "Failed",
        () if is("Ready", "False") || is("Ready", "Unknown") => "InProgress",
        () => "Current",
    }
}

#[tokio::test]
async fn an_object_is_seen_stamped_and_let_go_and_others_finalizers_are_kept() {
    let stand = Stand::new(shared().await).await;
    stand.deliver("a", &json!({"metadata": {"finalizers": ["example.com/other"]}})).await;
    let seen = stand.seen("a", "the object", |_| true).await;
    assert!(seen.spec.is_ok() && seen.stamp.is_none() && !seen.deleting);
    stand.dirty("a").await;
    let stamp = Stamp::new(&seen.key, [7; 16]);
    stand.source.put_stamp(&seen.key, &seen.uid, &stamp).await.unwrap();
    // Read back at once, whatever the watch has said so far; and not written twice.
    assert_eq!(stand.source.get(&seen.key).await.unwrap().unwrap().stamp, Some(stamp.clone()));
    stand.source.put_stamp(&seen.key, &seen.uid, &stamp).await.unwrap();
    let stored = stand.stored("a").await;
    assert_eq!(stored["metadata"]["finalizers"], json!(["example.com/other", FINALIZER]));
    assert_eq!(stored["metadata"]["annotations"]["passwordsender.io/stamp"], stamp.as_str());
    let patches = stand.requests_until(1, |e| e.verb == "patch" && e.resource == "secretdeliveries").await;
    assert_eq!(patches, 1);

    stand.delete("a").await;
    let seen = stand.seen("a", "the deletion", |m| m.deleting).await;
    stand.source.release(&seen.key, &seen.uid).await.unwrap();
    assert!(stand.source.get(&seen.key).await.unwrap().is_none(), "to us it is gone at once");
    assert_eq!(stand.stored("a").await["metadata"]["finalizers"], json!(["example.com/other"]));
    stand.source.release(&seen.key, &seen.uid).await.unwrap();
    stand.cluster.call("PATCH", &stand.path("a"), Some(&json!({"metadata": {"finalizers": null}}))).await.unwrap();
    stand.gone("a").await;
    stand.source.release(&seen.key, &seen.uid).await.unwrap();
}

#[tokio::test]
async fn a_status_is_written_when_it_changes_and_comes_back_when_it_is_wiped() {
    let stand = Stand::new(shared().await).await;
    assert_eq!(kstatus(&stand.deliver("a", &json!({})).await), "InProgress", "nobody has looked at it yet");
    let seen = stand.seen("a", "the object", |_| true).await;
    let key = seen.key.clone();
    let status = |wake: i64, now: i64| project(Some(&seen), None, None, Some(at(wake)), at(now));
    stand.settle().await;
    stand.source.put_status(&key, &seen.uid, &status(100, 10)).await.unwrap();
    // Looked at again and again, with another wake-up and another time each.
    for n in 0..5 {
        stand.source.put_status(&key, &seen.uid, &status(200 + n, 20 + n)).await.unwrap();
    }
    let writes = |e: &ps_testbed::AuditEvent| e.subresource == "status" && e.name == "a" && e.verb == "patch";
    assert_eq!(stand.requests_until(1, writes).await, 1);
    let stored = stand.stored("a").await;
    assert_eq!(kstatus(&stored), "InProgress", "taken up, not sent");
    assert_eq!(stored["status"]["observedGeneration"], 1);
    let quiet = tokio::time::timeout(std::time::Duration::from_secs(1), stand.source.next_change()).await;
    assert!(quiet.is_err(), "our own writes are no news");

    // Somebody wipes it, as a restore without statuses does.
    let wipe = json!({"status": null});
    stand.cluster.call("PATCH", &format!("{}/status", stand.path("a")), Some(&wipe)).await.unwrap();
    stand.dirty("a").await;
    stand.source.put_status(&key, &seen.uid, &status(300, 30)).await.unwrap();
    let again = stand.stored("a").await;
    assert_eq!(again["status"]["conditions"][0]["type"], stored["status"]["conditions"][0]["type"]);
    assert_eq!(stand.requests_until(2, writes).await, 2);
    // Somebody else's condition stays, and is no reason to write.
    let mut conditions = again["status"]["conditions"].as_array().unwrap().clone();
    conditions
        .push(json!({"type": "Audited", "status": "True", "reason": "Seen", "message": "", "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z"}));
    let theirs = json!({"status": {"conditions": conditions}});
    stand.cluster.call("PATCH", &format!("{}/status", stand.path("a")), Some(&theirs)).await.unwrap();
    let count = |o: &Value| o["status"]["conditions"].as_array().unwrap().len();
    let more = count(&again) + 1;
    assert_eq!(count(&stand.stored("a").await), more);
    stand.settle().await;
    stand.source.put_status(&key, &seen.uid, &status(400, 40)).await.unwrap();
    assert_eq!((stand.requests_until(2, writes).await, count(&stand.stored("a").await)), (2, more));
}

#[tokio::test]
async fn kstatus_reads_each_step_of_a_story() {
    let stand = Stand::new(shared().await).await;
    stand.deliver("a", &json!({})).await;
    let seen = stand.seen("a", "the object", |_| true).await;
    let put = async |status: Status| {
        stand.source.put_status(&seen.key, &seen.uid, &status).await.unwrap();
        stand.stored("a").await
    };
    let base = |note: Option<&Fault>, now: i64| project(Some(&seen), None, note, None, at(now));
    let sealed = Fault::new(Class::Transient, "vault-sealed", "it is sealed");
    let copied = Fault::new(Class::Misconfigured, "copied", "a copy").remedy("Remove the stamp");
    assert_eq!(kstatus(&put(base(None, 1)).await), "InProgress");
    let waits = put(base(Some(&sealed), 2)).await;
    assert_eq!(kstatus(&waits), "InProgress");
    let stalled = put(base(Some(&copied), 3)).await;
    assert_eq!(kstatus(&stalled), "Failed");
    let of = |object: &Value, kind: &str| {
        object["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == kind).cloned()
    };
    assert!(of(&stalled, "Reconciling").is_none(), "what is not true any more is taken away");
    assert_eq!(of(&stalled, "Stalled").unwrap()["reason"], "Copied");
    assert_eq!(of(&stalled, "Ready").unwrap()["lastTransitionTime"], at(1).to_string(), "it was False all the time");
    let mut done = base(None, 4);
    done.conditions.retain(|c| c.r#type != "Reconciling");
    done.conditions.iter_mut().filter(|c| c.r#type == "Ready").for_each(|c| c.status = "True".into());
    let done = put(done).await;
    assert_eq!((kstatus(&done), of(&done, "Stalled")), ("Current", None));
    assert_eq!(of(&done, "Ready").unwrap()["lastTransitionTime"], at(4).to_string());
    let changed = stand.deliver("a", &json!({"spec": {"revoked": true}})).await;
    assert_eq!(kstatus(&changed), "InProgress", "a newer generation than the status speaks of");
    stand.seen("a", "the change", |m| m.generation == 2 && m.spec.as_ref().is_ok_and(|s| s.revoked)).await;
    let stamp = Stamp::new(&seen.key, [1; 16]);
    stand.source.put_stamp(&seen.key, &seen.uid, &stamp).await.unwrap();
    stand.delete("a").await;
    assert_eq!(kstatus(&stand.stored("a").await), "Terminating");
}

#[tokio::test]
async fn another_incarnation_is_not_written_even_if_nobody_saw_it_come() {
    let stand = Stand::new(shared().await).await;
    let first = stand.deliver("a", &json!({})).await;
    let seen = stand.seen("a", "the object", |_| true).await;
    // Blind from here on: only the API server can tell.
    stand.running.abort();
    stand.delete("a").await;
    let second = stand.deliver("a", &json!({})).await;
    assert_ne!(first["metadata"]["uid"], second["metadata"]["uid"]);
    let (key, uid) = (&seen.key, &seen.uid);
    let changed = |r: Result<(), Fault>| {
        let fault = r.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (Class::Transient, "object-changed"), "{fault}");
    };
    let status = Status { summary: "Delivered".into(), ..project(Some(&seen), None, None, None, at(5)) };
    changed(stand.source.put_status(key, uid, &status).await);
    // The refusal has shown the new one.
    let fresh = stand.source.get(key).await.unwrap().unwrap();
    assert_eq!(second["metadata"]["uid"], fresh.uid.as_str());
    changed(stand.source.put_stamp(key, uid, &Stamp::new(key, [1; 16])).await);
    assert_eq!(stand.stored("a").await["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_status_is_written_whatever_others_change_meanwhile() {
    let stand = Stand::new(shared().await).await;
    stand.deliver("a", &json!({})).await;
    let seen = stand.seen("a", "the object", |_| true).await;
    stand.running.abort();
    let theirs = json!({"metadata": {"labels": {"x": "y"}}});
    stand.cluster.call("PATCH", &stand.path("a"), Some(&theirs)).await.unwrap();
    let status = project(Some(&seen), None, None, None, at(5));
    stand.source.put_status(&seen.key, &seen.uid, &status).await.unwrap();
    let stored = stand.stored("a").await;
    assert_eq!(
        (&stored["status"]["summary"], &stored["metadata"]["labels"]["x"]),
        (&json!(status.summary), &json!("y"))
    );
}

#[tokio::test]
async fn a_patch_of_an_object_that_changed_meanwhile_is_refused_and_then_succeeds() {
    let stand = Stand::new(shared().await).await;
    stand.deliver("a", &json!({"metadata": {"finalizers": ["example.com/one"]}})).await;
    let seen = stand.seen("a", "the object", |_| true).await;
    stand.running.abort();
    let theirs = json!({"metadata": {"finalizers": ["example.com/one", "example.com/two"]}});
    stand.cluster.call("PATCH", &stand.path("a"), Some(&theirs)).await.unwrap();
    let stamp = Stamp::new(&seen.key, [1; 16]);
    let fault = stand.source.put_stamp(&seen.key, &seen.uid, &stamp).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (Class::Transient, "object-changed"));
    stand.source.put_stamp(&seen.key, &seen.uid, &stamp).await.unwrap();
    let finalizers = stand.stored("a").await["metadata"]["finalizers"].clone();
    assert_eq!(finalizers, json!(["example.com/one", "example.com/two", FINALIZER]));
}
