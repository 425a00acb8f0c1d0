//! The main job, through `kubectl apply`: delivered, opened, rotated, proven.

use ps_testbed::{Testbed, unique};
use serde_json::json;

use crate::stand::{Setup, Stand};
use crate::support::{KvSource, RoleSource, SOON, kv_delivery, role_delivery};

#[tokio::test]
async fn a_secret_reaches_its_recipient_once_and_is_then_replaced() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = KvSource::new(bao).await;
    let stand = Stand::start(Setup { operators: 2, gateways: 3, ..Setup::default() }).await;
    stand.connect(bao, &source.policy()).await;
    let to = format!("{}@vendor.example", unique("alice"));
    let more = json!({"link": {"claimWindow": "10s"}});
    stand.apply(&kv_delivery("shop", &to, &source, "10m", "15s", more)).await;

    let recipient = stand.recipient(&to).await;
    stand.wait_status("shop", "delivered", SOON, |s| s.is("Delivered") && s.is("Ready")).await;
    let fields = recipient.open().await;
    assert_eq!(fields["password"], source.password);
    assert_eq!(recipient.acknowledge().await.state(), "retrieved");
    let seen = stand.wait_rotated("shop", SOON).await;
    source.assert_replaced(bao).await;
    assert_eq!(seen.text("/status/evidence/scope"), "Vault");
    assert_eq!(recipient.claim().await.code(), "gone");
    assert_eq!(stand.mails(&to, 1, SOON).await.len(), 1);
}

#[tokio::test]
async fn a_static_role_is_dead_at_its_target() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = RoleSource::new(bao).await;
    let stand = Stand::start(Setup::default()).await;
    stand.connect(bao, &source.policy()).await;
    let to = format!("{}@vendor.example", unique("bob"));
    stand.apply(&role_delivery("db", &to, &source, "10m", "1s", json!({"link": {"claimWindow": "1s"}}))).await;
    let recipient = stand.recipient(&to).await;
    assert_eq!(recipient.open().await["password"], source.password);
    let seen = stand.wait_rotated("db", SOON).await;
    assert_eq!(seen.text("/status/evidence/scope"), "Target");
    assert!(!source.logs_in(&source.password).await);
}
