//! The same page: a real Chromium opens links of a mount, which a real gateway serves.

use ps_testbed::{Browser, OpenBao, Screen};
use serde_json::{Value, json};
use std::time::Duration;

use crate::programs::Gateway;
use crate::stand::prepare;

/// A server, and a gateway whose address its links begin with.
struct Stand {
    bao: OpenBao,
    gateway: Gateway,
    _folder: tempfile::TempDir,
}

impl Stand {
    async fn start() -> Self {
        let (bao, folder) = (OpenBao::dev().await.unwrap(), tempfile::tempdir().unwrap());
        prepare(&bao).await;
        let gateway = Gateway::start(&bao, folder.path()).await;
        bao.call("POST", "send/config", Some(&json!({"public_url": gateway.address}))).await.unwrap();
        Self { bao, gateway, _folder: folder }
    }

    /// What `link/any` answers for a link with two fields, and these besides.
    async fn issue(&self, besides: Value) -> Value {
        let mut body =
            json!({"username": "alice", "password": "correct horse battery staple", "title": "Shop database"});
        body.as_object_mut().unwrap().extend(besides.as_object().unwrap().clone());
        let answer = self.bao.call("POST", "send/link/any", Some(&body)).await.unwrap();
        assert!(answer["data"]["url"].as_str().unwrap().starts_with(&format!("{}/#ps1.", self.gateway.address)));
        answer["data"].clone()
    }

    async fn run(&self, screen: Screen, scenario: &str, args: Value) -> Value {
        let browser = Browser::find().await.unwrap().with_deadline(Duration::from_secs(180)).on(screen);
        let report = browser.run(scenario, args).await.unwrap();
        assert!(report.page_errors.is_empty(), "{:?}", report.page_errors);
        let foreign = report
            .requests
            .iter()
            .find(|one| !one.url.starts_with(&format!("{}/", self.gateway.address)) && !one.url.starts_with("blob:"));
        assert_eq!(foreign, None, "nobody else is asked");
        report.result
    }

    /// State and history of a link.
    async fn told(&self, link: &Value) -> (Value, Vec<Value>) {
        let read = self.bao.call("GET", &format!("send/links/{}", link["id"].as_str().unwrap()), None).await.unwrap();
        let journal = read["data"]["journal"].as_array().unwrap();
        (read["data"]["state"].clone(), journal.iter().map(|entry| entry["event"].clone()).collect())
    }
}

fn shows_the_values(result: &Value, asked: &str) {
    assert_eq!(result["states"], json!(["ask", "opened", "done", "over:mine"]));
    assert_eq!((&result["title"], &result["asked"]), (&json!("Shop database"), &json!([asked])));
    assert_eq!(result["hiddenBefore"], true);
    let fields = result["fields"].as_array().unwrap();
    let value = |key: &str| fields.iter().find(|field| field["key"] == key).map(|field| &field["value"]);
    assert_eq!(value("username"), Some(&json!("alice")), "{result}");
    assert_eq!(value("password"), Some(&json!("correct horse battery staple")), "{result}");
    assert_eq!(fields.len(), 2, "{result}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_opens_a_link_of_a_mount() {
    let stand = Stand::start().await;
    for screen in Screen::ALL {
        let link = stand.issue(json!({})).await;
        let args = json!({"link": link["url"], "code": link["opening_code"]});
        shows_the_values(&stand.run(screen, "open_link", args).await, "code");
        assert_eq!(stand.told(&link).await, (json!("retrieved"), vec![json!("claimed"), json!("acknowledged")]));
    }
    // Withdrawn by whoever sent it: the page says so.
    let link = stand.issue(json!({})).await;
    let path = format!("send/links/{}", link["id"].as_str().unwrap());
    stand.bao.call("DELETE", &path, None).await.unwrap();
    let seen = stand.run(Screen::Desktop, "glance_at_link", json!({"link": link["url"]})).await;
    assert_eq!(seen, json!({"state": "over:revoked", "fields": 0}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_asks_for_the_passphrase_of_a_mounts_link() {
    let stand = Stand::start().await;
    let (right, wrong) = ("Tr0ub4dor und 3 Bücher", "Tr0ub4dor und 2 Bücher");
    let link = stand.issue(json!({ "passphrase": right })).await;
    let args = json!({"link": link["url"], "passphrase": right, "wrongPassphrase": wrong});
    shows_the_values(&stand.run(Screen::Desktop, "open_link", args).await, "passphrase");
    assert_eq!(stand.told(&link).await.0, "retrieved");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_declines_a_link_of_a_mount() {
    let stand = Stand::start().await;
    let link = stand.issue(json!({})).await;
    let args = json!({"link": link["url"], "code": link["opening_code"], "from": "ask"});
    let result = stand.run(Screen::Desktop, "decline_link", args).await;
    assert_eq!(result["states"], json!(["ask", "decline", "ask", "decline", "declined", "over:declined"]));
    assert_eq!(stand.told(&link).await, (json!("declined"), vec![json!("declined")]));
}
