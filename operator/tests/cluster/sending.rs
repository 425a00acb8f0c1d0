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

#[tokio::test]
async fn paused_sends_nothing_and_says_so() {
    let (stand, _, to) = stand_with("paused: true").await;
    stand.wait_status("shop", "the reason", SOON, |s| s.condition("Ready").1 == "Paused").await;
    let smtp = Testbed::connect_or_start().unwrap().smtp().await.unwrap();
    assert!(smtp.wait_for_mails(&to, 1, std::time::Duration::ZERO).await.is_err(), "nothing was sent");
}
