//! The proxy in front of a real OpenBao.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a panic in a test is the failure report"
)]

use std::time::Duration;

use ps_testbed::{HttpProxy, ProxyAction, ProxyRule, Testbed, unique};
use reqwest::{Client, Method, Response};
use serde_json::json;

struct Setup {
    proxy: HttpProxy,
    client: Client,
    token: String,
    mount: String,
}

async fn setup() -> Setup {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let mount = unique("kv");
    bao.mount_kv2(&mount).await.unwrap();
    let proxy = HttpProxy::start(bao.address()).unwrap();
    // reqwest has a TLS provider by now: the helpers above install one.
    Setup { proxy, client: Client::new(), token: bao.root_token().to_owned(), mount }
}

impl Setup {
    /// Writes a version through the proxy.
    async fn write(&self) -> reqwest::Result<Response> {
        let url = format!("{}/v1/{}/data/x", self.proxy.address(), self.mount);
        let request = self.client.request(Method::POST, url).header("X-Vault-Token", &self.token);
        request.json(&json!({"data": {"a": "1"}})).timeout(Duration::from_secs(1)).send().await
    }

    async fn versions(&self) -> u64 {
        let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
        let version = bao.kv_get(&self.mount, "x", 0).await.unwrap();
        version.map_or(0, |version| version.metadata["version"].as_u64().unwrap())
    }
}

#[tokio::test]
async fn without_a_rule_it_passes_and_counts() {
    let setup = setup().await;
    for _ in 0..2 {
        assert_eq!(setup.write().await.unwrap().status(), 200);
    }
    let requests = setup.proxy.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!((requests[0].method.as_str(), requests[0].server, requests[0].client), ("POST", Some(200), Some(200)));
    assert!(requests[0].path.ends_with("/data/x"));
    setup.proxy.forget();
    assert!(setup.proxy.requests().is_empty());
}

#[tokio::test]
async fn each_action_does_what_it_says() {
    // Action, the status that the client gets, and whether the server did it.
    let cases = [
        (ProxyAction::Refuse(429), Some(429), false),
        (ProxyAction::DoneBut(500), Some(500), true),
        (ProxyAction::Drop, None, false),
        (ProxyAction::DoneButDrop, None, true),
        (ProxyAction::Hang, None, false),
        (ProxyAction::DoneButHang, None, true),
    ];
    let setup = setup().await;
    for (action, status, done) in cases {
        let before = setup.versions().await;
        setup.proxy.rule(ProxyRule::new("/data/x", action.clone()).method("POST").times(1));
        let answer = setup.write().await.ok().map(|answer| answer.status().as_u16());
        assert_eq!(answer, status, "{action:?}");
        assert_eq!(setup.versions().await, before + u64::from(done), "{action:?}");
        assert_eq!(setup.write().await.unwrap().status(), 200, "only once");
    }
}

#[tokio::test]
async fn a_rule_can_wait_its_turn() {
    let setup = setup().await;
    setup.proxy.rule(ProxyRule::new("", ProxyAction::Refuse(503)).after(1));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(setup.write().await.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [200, 503, 503]);
    setup.proxy.clear();
    assert_eq!(setup.write().await.unwrap().status(), 200);
}

#[tokio::test]
async fn it_keeps_whole_requests_if_it_is_asked_and_has_room() {
    let setup = setup().await;
    assert!(setup.proxy.kept_requests().is_err(), "nobody has asked");
    setup.proxy.keep_requests(4096);
    assert_eq!(setup.write().await.unwrap().status(), 200);
    let kept = setup.proxy.kept_requests().unwrap();
    assert_eq!(kept.len(), 1);
    let text = std::str::from_utf8(&kept[0]).unwrap();
    assert!(text.starts_with("POST /v1/") && text.contains(&setup.token), "the head");
    assert!(text.ends_with("\r\n\r\n{\"data\":{\"a\":\"1\"}}"), "and the body");
    assert!(!format!("{:?}", setup.proxy).contains(&setup.token), "it prints none of it");
    setup.proxy.keep_requests(10);
    assert_eq!(setup.write().await.unwrap().status(), 200);
    assert!(setup.proxy.kept_requests().is_err(), "one was too large, so nothing may be concluded");
}
