//! A link that no ledger entry knows is revoked, loudly; here after seconds instead of an hour.

use std::time::Duration;

use ps_testbed::{Testbed, unique, wait_until};
use serde_json::{Value, json};

use crate::stand::{Setup, Stand};
use crate::support::{KvSource, SOON, kv_delivery};

/// Of the links `lost` and `kept`, the entry of the first is deleted from the ledger.
#[tokio::test]
async fn a_link_without_an_entry_is_revoked_with_an_alert_and_no_other() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let env = vec![("PASSWORD_SENDER_ORPHANS_AFTER".to_owned(), "2".to_owned())];
    let stand = Stand::start(Setup { env, ..Setup::default() }).await;
    let first = KvSource::new(bao).await;
    let sources = [KvSource::below(bao, &first.mount).await, first];
    stand.connect(bao, &[sources[0].policy(), sources[1].policy()].concat()).await;
    let mut recipients = Vec::new();
    for (name, source) in ["lost", "kept"].iter().zip(&sources) {
        let to = format!("{}@v.example", unique(name));
        stand.apply(&kv_delivery(name, &to, source, "1h", "1h", json!({}))).await;
        recipients.push(stand.recipient(&to).await);
        stand.wait_status(name, "delivered", SOON, |s| s.is("Delivered")).await;
    }
    let [lost, kept] = recipients.as_slice() else { panic!("two") };
    let (operator, metric) = (&stand.operators[0], "password_sender_orphans_revoked_total");
    assert_eq!(operator.metric(metric).await, 0.0, "while both are known, none is an orphan");

    let entries = format!("/api/v1/namespaces/{}/secrets", stand.names.own);
    let listed = format!("{entries}?labelSelector=app.kubernetes.io/component=ledger");
    let list = stand.cluster.call("GET", &listed, None).await.unwrap();
    let ours = |secret: &&Value| {
        let told = secret["metadata"]["annotations"].as_object();
        told.is_some_and(|told| told.values().any(|value| *value == format!("{}/lost", stand.tenant)))
    };
    let found: Vec<&Value> = list["items"].as_array().unwrap().iter().filter(ours).collect();
    assert_eq!(found.len(), 1, "one entry for one delivery");
    let path = format!("{entries}/{}", found[0]["metadata"]["name"].as_str().unwrap());
    stand.cluster.call("DELETE", &path, None).await.unwrap();

    let counted = wait_until("the orphan", SOON, async || (operator.metric(metric).await > 0.0).then_some(())).await;
    counted.unwrap_or_else(|e| panic!("{e}\n{}", stand.tails()));
    let answer = lost.claim().await;
    assert_eq!(answer.status, 404, "a tombstone says nothing: {:?}", answer.body);
    let alert = |line: &&str| line.contains("a live link without a ledger entry is revoked");
    assert_eq!(operator.log_text().lines().filter(alert).count(), 1, "{}", operator.tail());
    assert_eq!(kept.lookup().await.state(), "open");
    // Searched again, it is over, and the other one is nobody's orphan.
    let searches = Duration::from_secs(2) * 3;
    let more = wait_until("a second orphan", searches, async || (operator.metric(metric).await > 1.0).then_some(()));
    assert!(more.await.is_err(), "{}", operator.tail());
    assert_eq!(kept.open().await["password"], sources[1].password);
    stand.wait_status("kept", "opened", SOON, |s| s.is("Retrieved")).await;
}
