//! What a term of leadership needs to begin, and what it lets go.

use ps_testbed::{Testbed, unique, wait_until};
use serde_json::{Value, json};

use crate::stand::{Program, Setup, Stand};
use crate::support::{KvSource, SOON, kv_delivery};

async fn stand(bao: &ps_testbed::OpenBao, source: &KvSource) -> Stand {
    let stand = Stand::start(Setup::default()).await;
    stand.connect(bao, &source.policy()).await;
    stand
}

/// Invariant 6: what is owed waits for nothing but Vault.
#[tokio::test]
async fn what_is_owed_is_rotated_though_no_link_can_be_read() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = KvSource::new(bao).await;
    let stand = stand(bao, &source).await;
    let to = format!("{}@v.example", unique("alice"));
    stand.apply(&kv_delivery("shop", &to, &source, "10m", "5s", json!({"link": {"claimWindow": "5s"}}))).await;
    assert_eq!(stand.recipient(&to).await.open().await["password"], source.password);
    stand.wait_status("shop", "the debt", SOON, |s| s.is("Retrieved")).await;
    stand.operators[0].kill();
    let role =
        format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles/password-sender-operator", stand.names.links);
    let rules = stand.cluster.call("GET", &role, None).await.unwrap()["rules"].clone();
    stand.cluster.call("PATCH", &role, Some(&json!({"rules": []}))).await.unwrap();
    stand.start_operator(0).await;
    stand.wait_rotated("shop", SOON).await;
    source.assert_replaced(bao).await;
    // Gateways are not let in for that: nobody has looked at the links.
    assert_ne!(stand.operators[0].asks("readyz").await, 200);
    stand.cluster.call("PATCH", &role, Some(&json!({ "rules": rules }))).await.unwrap();
    // What only a person can mend is tried again slowly.
    let ready = async || (stand.operators[0].asks("readyz").await == 200).then_some(());
    wait_until("everything to be looked at", SOON * 2, ready)
        .await
        .unwrap_or_else(|e| panic!("{e}\n{}", stand.tails()));
}

#[tokio::test]
async fn a_login_ends_when_its_connection_is_gone_and_nothing_is_owed() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = KvSource::new(bao).await;
    let stand = stand(bao, &source).await;
    let to = format!("{}@v.example", unique("alice"));
    stand.apply(&kv_delivery("shop", &to, &source, "10m", "40s", json!({"link": {"claimWindow": "40s"}}))).await;
    stand.recipient(&to).await.open().await;
    stand.wait_status("shop", "the debt", SOON, |s| s.is("Retrieved")).await;
    stand.delete("shop").await;
    stand.wait_gone(&stand.uri("shop"), SOON).await;
    let connection = format!("/apis/passwordsender.io/v1alpha1/namespaces/{}/vaultconnections/vault", stand.tenant);
    stand.cluster.call("DELETE", &connection, None).await.unwrap();
    let closed = |program: &Program| program.log_text().contains("connections that are gone were closed");
    // It is all that is left of the tenant's identity, until the debt is paid with it.
    stand.wait_nothing_owed(SOON).await;
    source.assert_replaced(bao).await;
    let over = wait_until("its end", SOON, async || {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        closed(&stand.operators[0]).then_some(())
    });
    over.await.unwrap_or_else(|e| panic!("{e}\n{}", stand.tails()));
    assert_eq!(stand.object("shop").await, Value::Null);
}
