//! The proxy in front of a real Kubernetes API.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a panic in a test is the failure report"
)]

use std::time::{Duration, Instant};

use ps_testbed::{ApiProxy, Cluster, ProxyAction, ProxyRule, Testbed, wait_until};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);

struct Setup {
    cluster: &'static Cluster,
    proxy: ApiProxy,
    client: Client,
    namespace: String,
}

async fn setup() -> Setup {
    let cluster = Testbed::connect_or_start().unwrap().cluster().await.unwrap();
    let namespace = cluster.namespace("proxy").await.unwrap();
    // reqwest has a TLS provider by now: the helpers above install one.
    Setup { cluster, proxy: cluster.proxy_plain().unwrap(), client: Client::new(), namespace }
}

impl Setup {
    fn config_maps(&self) -> String {
        format!("/api/v1/namespaces/{}/configmaps", self.namespace)
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> reqwest::Result<Response> {
        let request = self.client.request(method, format!("{}{path}", self.proxy.address()));
        let request = request.bearer_auth(self.cluster.admin_token()).timeout(MINUTE);
        body.map_or_else(|| request.try_clone().unwrap(), |body| request.try_clone().unwrap().json(body)).send().await
    }

    async fn create(&self, name: &str) -> reqwest::Result<Response> {
        self.send(Method::POST, &self.config_maps(), Some(&json!({"metadata": {"name": name}}))).await
    }

    /// Without the proxy.
    async fn exists(&self, name: &str) -> bool {
        let path = format!("{}/{name}", self.config_maps());
        self.cluster.request("GET", &path, None).await.unwrap().0 == 200
    }

    async fn watch(&self) -> Response {
        self.send(Method::GET, &format!("{}?watch=true", self.config_maps()), None).await.unwrap()
    }
}

/// The next event's object.
async fn next(watch: &mut Response, seen: &mut Vec<u8>) -> Option<String> {
    while !seen.contains(&b'\n') {
        seen.extend(watch.chunk().await.ok()??);
    }
    let end = seen.iter().position(|byte| *byte == b'\n').unwrap();
    let line: Vec<u8> = seen.drain(..=end).collect();
    let event: Value = serde_json::from_slice(&line).unwrap();
    Some(event["object"]["metadata"]["name"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn faults_are_what_the_rule_says() {
    let cases = [
        (ProxyAction::Refuse(409), Some(409), false),
        (ProxyAction::Refuse(429), Some(429), false),
        (ProxyAction::DoneBut(500), Some(500), true),
        (ProxyAction::Drop, None, false),
        (ProxyAction::DoneButDrop, None, true),
    ];
    let setup = setup().await;
    for (number, (action, status, done)) in cases.into_iter().enumerate() {
        let name = format!("x{number}");
        setup.proxy.rule(ProxyRule::new("/configmaps", action.clone()).method("POST").times(1));
        let answer = setup.create(&name).await.ok();
        assert_eq!(answer.as_ref().map(|answer| answer.status().as_u16()), status, "{action:?}");
        if let Some(answer) = answer {
            let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
            assert_eq!((&body["kind"], &body["code"]), (&json!("Status"), &json!(status)));
        }
        assert_eq!(setup.exists(&name).await, done, "{action:?}");
    }
    assert_eq!(setup.create("last").await.unwrap().status(), 201);
    let log = setup.proxy.requests();
    let seen: Vec<_> = log.iter().map(|request| (request.server, request.client)).collect();
    let expected = [
        (None, Some(409)),
        (None, Some(429)),
        (Some(201), Some(500)),
        (None, None),
        (Some(201), None),
        (Some(201), Some(201)),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn watches_come_through_at_once_until_they_are_closed() {
    let setup = setup().await;
    let (mut watch, mut seen) = (setup.watch().await, Vec::new());
    for name in ["kube-root-ca.crt", "a", "b"] {
        if name != "kube-root-ca.crt" {
            assert_eq!(setup.create(name).await.unwrap().status(), 201);
        }
        let event = tokio::time::timeout(MINUTE, next(&mut watch, &mut seen)).await.unwrap();
        assert_eq!(event.as_deref(), Some(name));
    }
    assert_eq!(setup.proxy.close_watches(), 1);
    assert_eq!(next(&mut watch, &mut seen).await, None, "closed");
    let mut again = setup.watch().await;
    assert!(next(&mut again, &mut Vec::new()).await.is_some());

    setup.proxy.rule(ProxyRule::new("watch=true", ProxyAction::ExpiredWatch).times(1));
    let expired: Value = serde_json::from_slice(&setup.watch().await.bytes().await.unwrap()).unwrap();
    assert_eq!((&expired["type"], &expired["object"]["code"]), (&json!("ERROR"), &json!(410)));

    drop(again);
    // The client pools no half-read connection, so the proxy sees it go, and the server's log the end of both.
    let uri = format!("{}?watch=true", setup.config_maps());
    wait_until("the end of the watches at the server", MINUTE, async || {
        let events = setup.cluster.audit_events().unwrap();
        let ended = events.iter().filter(|event| event.uri == uri && event.stage == "ResponseComplete");
        (ended.count() == 2).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(setup.proxy.close_watches(), 0);
}

#[tokio::test]
async fn what_waits_in_a_black_hole_arrives_late() {
    let setup = setup().await;
    let (mut watch, mut seen) = (setup.watch().await, Vec::new());
    assert!(next(&mut watch, &mut seen).await.is_some());
    let dark = Duration::from_millis(700);
    let start = Instant::now();
    setup.proxy.black_hole(dark);
    let early = tokio::time::timeout(Duration::from_millis(200), setup.create("impatient")).await;
    assert!(early.is_err(), "nothing passes");
    config_map_directly(&setup, "direct").await;
    let event = next(&mut watch, &mut seen).await;
    assert!(start.elapsed() >= dark, "events wait too");
    assert!(["direct", "impatient"].contains(&event.as_deref().unwrap()));
    let late = async || setup.exists("impatient").await.then_some(());
    wait_until("the request whose client has left", MINUTE, late).await.unwrap();
}

async fn config_map_directly(setup: &Setup, name: &str) {
    let body = json!({"metadata": {"name": name}});
    setup.cluster.call("POST", &setup.config_maps(), Some(&body)).await.unwrap();
}

#[tokio::test]
async fn kubectl_works_through_it() {
    let cluster = Testbed::connect_or_start().unwrap().cluster().await.unwrap();
    let namespace = cluster.namespace("proxy").await.unwrap();
    let proxy = cluster.proxy().unwrap();
    let kubeconfig = cluster.kubeconfig_via(&proxy, &namespace, "sender").await.unwrap();
    let me = cluster.kubectl_as(&kubeconfig, &["auth", "whoami"], b"").await.unwrap();
    assert!(me.stdout.contains(&format!("system:serviceaccount:{namespace}:sender")), "{me:?}");
    assert!(proxy.requests().iter().any(|request| request.path.contains("selfsubjectreviews")));
    proxy.rule(ProxyRule::new("/selfsubjectreviews", ProxyAction::Refuse(500)));
    let refused = cluster.kubectl_as(&kubeconfig, &["auth", "whoami"], b"").await.unwrap();
    assert!(!refused.success && refused.stderr.contains("made up by the testbed's proxy"), "{refused:?}");
}
