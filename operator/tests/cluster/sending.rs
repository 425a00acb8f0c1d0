//! What holds sending back for the whole operator: the self-check, where it is required, and `paused`. Rotating goes on.

use ps_testbed::{Testbed, unique};
use serde_json::json;

use crate::stand::{Setup, Stand};
use crate::support::{KvSource, SOON, kv_delivery};

async fn stand_with(more: &str) -> (Stand, KvSource, String) {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = KvSource::new(bao).await;
    let stand = Stand::start(Setup { more: more.to_owned(), host: "localhost", ..Setup::default() }).await;
    stand.connect(bao, &source.policy()).await;
    let to = format!("{}@vendor.example", unique("alice"));
    stand.apply(&kv_delivery("shop", &to, &source, "10m", "15s", json!({}))).await;
    (stand, source, to)
}

#[tokio::test]
async fn nothing_is_sent_while_a_required_self_check_fails() {
    // Nobody listens there.
    let (stand, _, to) = stand_with("selfCheck: {mode: Required, connectTo: \"127.0.0.1:1\"}").await;
    let seen = stand.wait_status("shop", "the reason", SOON, |s| s.condition("Ready").1 == "SelfCheckFailed").await;
    assert!(seen.condition("Ready").2.contains("publicUrl"), "{:?}", seen.condition("Ready"));
    assert_eq!((seen.condition("Delivered").1, seen.stalled()), ("NotSent", None), "it is tried on");
    assert_eq!(stand.operators[0].metric("password_sender_self_check_ok").await, 0.0);
    let smtp = Testbed::connect_or_start().unwrap().smtp().await.unwrap();
    assert!(smtp.wait_for_mails(&to, 1, std::time::Duration::ZERO).await.is_err(), "nothing was sent");
}

#[tokio::test]
async fn a_required_self_check_that_opens_its_own_link_lets_mails_out() {
    let (stand, source, to) = stand_with("selfCheck: {mode: Required}").await;
    assert_eq!(stand.recipient(&to).await.open().await["password"], source.password);
    assert_eq!(stand.operators[0].metric("password_sender_self_check_ok").await, 1.0);
    let records = format!("/api/v1/namespaces/{}/secrets", stand.names.links);
    let records = stand.cluster.call("GET", &records, None).await.unwrap();
    let links = records["items"].as_array().unwrap().iter().filter(|s| s["type"] == "passwordsender.io/link-record");
    assert_eq!(links.count(), 1, "its own link is gone");
}

/// What was delivered before is opened, or withdrawn, and its rotation falls due, while nothing may be sent.
#[tokio::test]
async fn what_is_due_is_rotated_while_sending_is_paused_or_the_self_check_fails() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let stand = Stand::start(Setup { host: "localhost", ..Setup::default() }).await;
    let mount = KvSource::new(bao).await.mount;
    let all = format!("path \"{mount}/*\" {{ capabilities = [\"read\", \"patch\", \"update\"] }}");
    stand.connect(bao, &all).await;
    let mut sent = Vec::new();
    for name in ["opened-0", "revoked-0", "opened-1", "revoked-1"] {
        let (source, to) = (KvSource::below(bao, &mount).await, format!("{}@vendor.example", unique("alice")));
        stand.apply(&kv_delivery(name, &to, &source, "10m", "5s", json!({}))).await;
        stand.wait_status(name, "delivered", SOON, |s| s.is("Delivered")).await;
        sent.push((name, source, stand.recipient(&to).await));
    }
    let config = stand.path("config-0.yaml");
    let before = std::fs::read_to_string(&config).unwrap();
    let held = ["paused: true", "selfCheck: {mode: Required, connectTo: \"127.0.0.1:1\"}"];
    for (held, sent) in held.iter().zip(sent.chunks(2)) {
        std::fs::write(&config, format!("{before}\n{held}\n")).unwrap();
        stand.restart_operators().await;
        let [(opened, first, recipient), (revoked, second, other)] = sent else { panic!("two of them") };
        assert_eq!(recipient.open().await["password"], first.password, "{held}");
        stand.patch(revoked, json!({"spec": {"revoked": true}})).await;
        for (name, source) in [(opened, first), (revoked, second)] {
            stand.wait_rotated(name, SOON).await;
            source.assert_replaced(bao).await;
        }
        assert_eq!(other.claim().await.state(), "revoked");
    }
}

/// Refused once it is read, before anything of it is written down: no attempt, no record, no tombstone; and smaller, it goes.
#[tokio::test]
async fn what_the_store_would_not_take_leaves_nothing_behind() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let mount = KvSource::new(bao).await.mount;
    let large = KvSource::with_password(bao, &mount, &"x".repeat(8192)).await;
    let more = "store: {maxBytes: 4096}".to_owned();
    let stand = Stand::start(Setup { more, ..Setup::default() }).await;
    stand.connect(bao, &large.policy()).await;
    let to = format!("{}@vendor.example", unique("alice"));
    stand.apply(&kv_delivery("large", &to, &large, "10m", "15s", json!({}))).await;
    for n in 1..=5 {
        let reason = "what it is stalled by";
        let seen =
            stand.wait_status("large", reason, SOON, |s| s.stalled() == Some("RecordTooLarge") && s.generation() == n);
        assert_eq!(seen.await.attempt(), 0);
        // Each change is tried at once.
        stand.patch("large", json!({"spec": {"context": {"note": n.to_string()}}})).await;
    }
    let records = format!("/api/v1/namespaces/{}/secrets", stand.names.links);
    let records = stand.cluster.call("GET", &records, None).await.unwrap();
    assert!(records["items"].as_array().unwrap().iter().all(|s| s["type"] != "passwordsender.io/link-record"));
    bao.kv_put(&mount, &large.path, json!({"username": "shop", "password": "small"})).await.unwrap();
    stand.patch("large", json!({"spec": {"context": {"note": "smaller"}}})).await;
    assert_eq!(stand.recipient(&to).await.open().await["password"], "small");
}

#[tokio::test]
async fn paused_sends_nothing_and_says_so() {
    let (stand, _, to) = stand_with("paused: true").await;
    stand.wait_status("shop", "the reason", SOON, |s| s.condition("Ready").1 == "Paused").await;
    let smtp = Testbed::connect_or_start().unwrap().smtp().await.unwrap();
    assert!(smtp.wait_for_mails(&to, 1, std::time::Duration::ZERO).await.is_err(), "nothing was sent");
}
