//! What is asked of the API server, and what its answers are taken for.

use super::*;

#[tokio::test]
async fn writes_are_taken_over_from_their_answers_and_repeated_only_if_needed() {
    let w = World::synced(&[delivery("a", 10)], &[], &[], &[]);
    let stamp = Stamp::from_annotation("s");
    let mut stamped = delivery("a", 101);
    stamped["metadata"]["annotations"] = json!({"passwordsender.io/stamp": "s"});
    stamped["metadata"]["finalizers"] = json!([FINALIZER]);
    w.answer(200, stamped.clone());
    w.source.put_stamp(&key("a"), "uid-a", &stamp).await.unwrap();
    w.source.put_stamp(&key("a"), "uid-a", &stamp).await.unwrap();
    let asked = w.asked();
    let [(method, uri, body)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((method.as_str(), body["metadata"]["resourceVersion"].as_str()), ("PATCH", Some("10")));
    assert!(uri.starts_with("/apis/passwordsender.io/v1alpha1/namespaces/shop/secretdeliveries/a?"), "{uri}");
    assert_eq!(w.source.get(&key("a")).await.unwrap().unwrap().stamp, Some(stamp.clone()));
    assert_eq!(w.dirty(), Vec::<String>::new());
    let status = Status { summary: "Delivered".into(), observed_generation: 1, ..Status::default() };
    let mut shown = stamped.clone();
    shown["metadata"]["resourceVersion"] = json!("102");
    shown["status"] = serde_json::to_value(&status).unwrap();
    w.answer(200, shown.clone());
    w.source.put_status(&key("a"), "uid-a", &status).await.unwrap();
    let later = Status { next_wake_up: Some("2026-01-01T00:00:00Z".into()), ..status.clone() };
    w.source.put_status(&key("a"), "uid-a", &later).await.unwrap();
    w.changed(What::Deliveries, &shown);
    let asked = w.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(
        asked[0].1.contains("/a/status?")
            && asked[0].1.contains("fieldManager=password-sender")
            && asked[0].1.contains("force=true")
    );
    assert_eq!(w.dirty(), Vec::<String>::new(), "our own write is no news");
    shown["metadata"]["resourceVersion"] = json!("103");
    shown["status"] = json!(null);
    w.changed(What::Deliveries, &shown);
    assert_eq!(w.dirty(), ["shop/a"], "a wiped status is");
}

#[tokio::test]
async fn the_watch_may_show_our_own_status_before_the_answer_comes() {
    let w = World::synced(&[delivery("a", 10)], &[], &[], &[]);
    let status = Status { summary: "Delivered".into(), ..Status::default() };
    let mut shown = delivery("a", 101);
    shown["status"] = serde_json::to_value(&status).unwrap();
    let digest = Known::read(&raw(&shown), None).shown.digest.unwrap();
    let mut state = w.source.state();
    Arc::make_mut(state.deliveries.get_mut(&key("a")).unwrap()).sent = Some(object::Sent { digest, left: None });
    drop(state);
    w.changed(What::Deliveries, &shown);
    assert_eq!(w.dirty(), Vec::<String>::new());
}

#[tokio::test]
async fn another_incarnation_is_never_written() {
    let w = World::synced(&[delivery("a", 10)], &[], &[], &[]);
    let code = |r: Result<(), Fault>| r.err().map(|f| (f.class, f.code));
    let changed = Some((Class::Transient, "object-changed".to_owned()));
    let stamp = Stamp::from_annotation("s");
    assert_eq!(code(w.source.put_stamp(&key("a"), "old", &stamp).await), changed);
    assert_eq!(code(w.source.put_status(&key("a"), "old", &Status::default()).await), changed);
    assert_eq!(code(w.source.release(&key("a"), "old").await), changed);
    assert_eq!(code(w.source.release(&key("gone"), "old").await), None);
    assert!(w.asked().is_empty());
    // A conflict: the object is read again at once, and the next try knows the new version.
    w.answer(409, json!({"kind": "Status", "reason": "Conflict", "code": 409}));
    w.answer(200, delivery("a", 150));
    assert_eq!(code(w.source.put_stamp(&key("a"), "uid-a", &stamp).await), changed);
    assert_eq!(w.asked().len(), 2);
    assert_eq!(w.source.state().deliveries[&key("a")].version, 150);
    // An answer about something that is gone does not bring it back.
    w.deleted(&delivery("a", 160));
    w.source.answered(&key("a"), &raw(&delivery("a", 155)), None);
    assert_eq!(w.source.keys(), []);
}

#[tokio::test]
async fn letting_go_needs_our_finalizer_only_and_forgives_absence() {
    let mut object = delivery("a", 10);
    object["metadata"]["finalizers"] = json!(["other", FINALIZER]);
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let w = World::synced(&[object.clone()], &[], &[], &[]);
    w.answer(404, json!({"kind": "Status", "code": 404}));
    w.source.release(&key("a"), "uid-a").await.unwrap();
    assert!(w.source.get(&key("a")).await.unwrap().is_none(), "the watch will say so, too");
    let w = World::synced(&[object.clone()], &[], &[], &[]);
    object["metadata"]["finalizers"] = json!(["other"]);
    object["metadata"]["resourceVersion"] = json!("11");
    w.answer(200, object);
    w.source.release(&key("a"), "uid-a").await.unwrap();
    assert!(w.source.get(&key("a")).await.unwrap().is_none(), "others hold it; to us it is gone");
    w.source.release(&key("a"), "uid-a").await.unwrap();
    assert_eq!(w.asked().len(), 1);
}

#[tokio::test]
async fn a_delivery_whose_debt_nobody_could_pay_is_warned_of_once_it_is_taken_up() {
    let mut rotates = delivery("a", 10);
    rotates["spec"]["rotation"] = json!({"strategy": "WriteNewVersion", "afterRetrieval": "1h", "keys": ["password"]});
    rotates["spec"]["source"]["vault"]["kv"]["keys"] = json!(["password"]);
    let w = World::synced(&[rotates.clone(), delivery("b", 10)], &[connection("own", "prod", &json!({}))], &[], &[]);
    let lacks = |name: &str| w.source.state().lacks_cleanup(&key(name), "operator");
    assert!(lacks("a") && !lacks("b") && !lacks("none"), "what is not rotated leaves nothing undone");
}

#[tokio::test]
async fn names_that_lead_elsewhere_are_not_even_asked_for() {
    let w = World::synced(&[], &[], &[], &[]);
    for name in ["../other/secrets/x", "other/x", "x?y", "x#y", "..", "", "X", "x%2Fy"] {
        let secret = SecretKeyRef { name: name.into(), key: "k".into() };
        let fault = w.source.secret("shop", &secret).await.err().unwrap();
        assert_eq!((fault.class, fault.code.as_str()), (Class::Misconfigured, "secret-unavailable"), "{name}");
        let fault = w.source.service_account_token("shop", name, "vault").await.err().unwrap();
        assert_eq!((fault.class, fault.code.as_str()), (Class::Misconfigured, "no-such-service-account"), "{name}");
    }
    assert!(w.asked().is_empty());
    // And in the schema: no reference has a field for a namespace.
    for (pointer, reference) in [
        ("/source/vault/connectionRef/namespace", None),
        ("/verification/passphrase/secretKeyRef/namespace", Some(json!({"name": "n", "key": "k"}))),
    ] {
        let mut spec = read::tests::good();
        if let Some(reference) = reference {
            spec["verification"] = json!({"passphrase": {"secretKeyRef": reference}});
        }
        let parent = pointer.rsplit_once('/').unwrap().0;
        spec.pointer_mut(parent).unwrap()["namespace"] = json!("other");
        let fault = read::spec(&read::tests::delivery(&spec)).unwrap_err();
        assert_eq!(fault.field.as_deref(), Some(format!("spec{}", pointer.replace('/', ".")).as_str()));
    }
    for auth in [
        json!({"kubernetes": {"role": "r", "audience": "vault", "serviceAccountRef": {"name": "s", "namespace": "other"}}}),
        json!({"token": {"secretKeyRef": {"name": "s", "key": "k", "namespace": "other"}}}),
        json!({"appRole": {"roleId": "r", "secretIdRef": {"name": "s", "key": "k", "namespace": "other"}}}),
    ] {
        let object = connection("own", "prod", &json!({ "auth": auth }));
        let fault = read::connection(&raw(&object)).unwrap_err();
        assert!(fault.field.as_deref().is_some_and(|f| f.ends_with(".namespace")), "{fault}");
    }
}

#[tokio::test]
async fn refusals_name_the_role_to_grant() {
    let w = World::synced(&[], &[], &[], &[]);
    let secret = SecretKeyRef { name: "vault".into(), key: "token".into() };
    let status =
        |code: u16, reason: &str| json!({"kind": "Status", "code": code, "reason": reason, "message": "secret stuff"});
    for (code, reason, expected) in [
        (403, "Forbidden", (Class::Denied, "secret-forbidden")),
        (404, "NotFound", (Class::Misconfigured, "secret-unavailable")),
        (500, "InternalError", (Class::Transient, "kubernetes-failed")),
    ] {
        w.answer(code, status(code, reason));
        let fault = w.source.secret("shop", &secret).await.err().unwrap();
        assert_eq!((fault.class, fault.code.as_str()), expected);
        assert!(!fault.to_string().contains("secret stuff"));
    }
    for (code, reason, expected) in [
        (403, "Forbidden", (Class::Denied, "token-forbidden")),
        (404, "NotFound", (Class::Misconfigured, "no-such-service-account")),
    ] {
        w.answer(code, status(code, reason));
        let fault = w.source.service_account_token("shop", "sender", "vault").await.err().unwrap();
        assert_eq!((fault.class, fault.code.as_str()), expected);
        assert!(fault.remedy.contains("namespace shop") || fault.remedy.contains("-n shop"), "{fault}");
    }
    let mut ending = status(403, "Forbidden");
    ending["details"] = json!({"causes": [{"reason": "NamespaceTerminating"}]});
    w.answer(403, ending);
    let fault = w.source.service_account_token("shop", "sender", "vault").await.err().unwrap();
    assert_eq!(fault.code, "kubernetes-terminating");
    let asked = w.asked();
    assert_eq!(asked.last().unwrap().2["spec"], json!({"audiences": ["vault"], "expirationSeconds": 600}));
}
