//! What the operator's configuration says on the page reaches the gateway, which is a process of its own.

use crate::support::{Setup, Stand, client};

#[tokio::test]
async fn the_gateway_child_serves_the_operators_page() {
    let stand = Stand::start(Setup::default()).await;
    let get = async |name: &str| client().get(format!("{}/{name}", stand.public_url())).send().await.unwrap();
    let page = get("").await;
    assert_eq!(page.headers()["strict-transport-security"], "max-age=60");
    assert!(page.text().await.unwrap().starts_with("<!doctype html>"));
    let brand: serde_json::Value = get("page.json").await.json().await.unwrap();
    assert_eq!(brand, serde_json::json!({"name": "The stand"}));
}
