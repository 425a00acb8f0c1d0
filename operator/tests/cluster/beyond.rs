//! What lies beyond the rights of `examples/install/` is refused, and what a gateway's rights can do to the operator is undone.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ps_core::entry::Entry;
use ps_testbed::wait_until;
use serde_json::{Value, json};

use crate::earlier::aged;
use crate::rbac::{FORGETS, HOLDS, Scene, all, is};
use crate::stand::Setup;
use crate::support::{PAST_TTL, SOON};
use crate::tools::AuditTail;

/// A link that lives for a minute is forgotten a minute after its end.
const PAST_RECORD: Duration = Duration::from_secs(200);

/// A gateway that was taken over may put a finalizer on a record. The operator takes it off when the record's time is over.
#[tokio::test]
async fn a_record_that_somebody_holds_goes_all_the_same() {
    let scene = Scene::new(Setup::default()).await;
    let stand = &scene.stand;
    let grant = all(stand).into_iter().find(|grant| is(grant, HOLDS)).unwrap();
    grant.take(stand.cluster).await;
    let mut log = AuditTail::new(stand.cluster);
    stand.run().await;
    let secrets = format!("/api/v1/namespaces/{}/secrets", stand.names.links);
    let names = async || -> BTreeSet<String> {
        let list = stand.cluster.call("GET", &secrets, None).await.unwrap();
        list["items"].as_array().unwrap().iter().map(|s| s["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let id = |names: &BTreeSet<String>, known: &BTreeSet<String>| names.difference(known).next().cloned();
    wait_until("the self-check's end", SOON, async || {
        stand.operators[0].log_text().contains("a link of our own was opened").then_some(())
    })
    .await
    .unwrap();
    let before = names().await;
    let (manifest, _, to) = scene.delivery("short", json!({"link": {"ttl": "1m", "claimWindow": "1s"}})).await;
    stand.apply(&manifest).await;
    stand.recipient(&to).await;
    let record = format!("{secrets}/{}", id(&names().await, &before).unwrap());
    // Every write of the operator would take it off: what is left is the time after the last one.
    stand.wait_rotated("short", PAST_TTL).await;
    let gateway = stand.cluster.token(&stand.names.own, "password-sender-gateway", "", 3600).await.unwrap();
    let mut object = stand.cluster.request_as(&gateway, "GET", &record, None).await.unwrap().1;
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let (status, answer) = stand.cluster.request_as(&gateway, "PUT", &record, Some(&object)).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    scene.refused(&mut log, &grant, PAST_RECORD).await;
    assert_eq!(stand.cluster.request("GET", &record, None).await.unwrap().0, 200);
    grant.give_back(stand.cluster).await;
    stand.wait_gone(&record, PAST_RECORD).await;
}

/// The ledger is made a month older while nobody runs.
#[tokio::test]
async fn an_entry_is_forgotten_a_month_after_its_last_link() {
    let scene = Scene::new(Setup::default()).await;
    let stand = &scene.stand;
    let grant = all(stand).into_iter().find(|grant| is(grant, FORGETS)).unwrap();
    stand.run().await;
    let (manifest, _, to) = scene.delivery("old", json!({"link": {"claimWindow": "1s"}})).await;
    stand.apply(&manifest).await;
    stand.recipient(&to).await.open().await;
    stand.wait_rotated("old", SOON).await;
    stand.delete("old").await;
    stand.wait_gone(&stand.uri("old"), SOON).await;
    stand.operators[0].stop();
    let secrets = format!("/api/v1/namespaces/{}/secrets", stand.names.own);
    let list = stand.cluster.call("GET", &secrets, None).await.unwrap();
    let found = list["items"].as_array().unwrap().iter().find_map(|secret| {
        let bytes = STANDARD.decode(secret["data"]["entry"].as_str()?).unwrap();
        let entry = serde_json::from_slice::<Entry>(&bytes).ok().filter(|entry| entry.key.name == "old")?;
        Some((secret["metadata"]["name"].as_str()?.to_owned(), entry))
    });
    let (name, entry) = found.unwrap();
    let entry_path = format!("{secrets}/{name}");
    let text = STANDARD.encode(serde_json::to_vec(&aged(entry)).unwrap());
    stand.cluster.call("PATCH", &entry_path, Some(&json!({"data": {"entry": text}}))).await.unwrap();

    grant.take(stand.cluster).await;
    let mut log = AuditTail::new(stand.cluster);
    stand.start_operator(0).await;
    scene.refused(&mut log, &grant, SOON).await;
    assert_eq!(stand.cluster.request("GET", &entry_path, None).await.unwrap().0, 200);
    grant.give_back(stand.cluster).await;
    stand.wait_gone(&entry_path, PAST_TTL).await;
}

#[tokio::test]
async fn what_lies_beyond_is_refused() {
    let scene = Scene::new(Setup::default()).await;
    let stand = &scene.stand;
    stand.run().await;
    let (own, links, tenant) = (&stand.names.own, &stand.names.links, &stand.tenant);
    let smtp =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password-sender-smtp", "namespace": own}});
    stand.cluster.apply(&smtp.to_string()).await.unwrap();
    let foreign = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "foreign", "namespace": tenant,
        "labels": {"passwordsender.io/usable": "true"}}});
    stand.cluster.apply(&foreign.to_string()).await.unwrap();
    let secrets = |namespace: &str| format!("/api/v1/namespaces/{namespace}/secrets");
    let list = stand.cluster.call("GET", &secrets(own), None).await.unwrap();
    let types = |s: &&Value| s["type"] == "passwordsender.io/ledger-entry";
    let entry =
        list["items"].as_array().unwrap().iter().find(types).unwrap()["metadata"]["name"].as_str().unwrap().to_owned();
    let account = |namespace: &str, name: &str| format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
    let role = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{links}/roles/password-sender-gateway");
    let empty = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}});
    let audiences = |all: &[&str]| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": all, "expirationSeconds": 600}});
    let vault = audiences(&["vault"]);
    let token = async |name: &str| stand.cluster.token(own, name, "", 3600).await.unwrap();
    let (operator, gateway) = (token("password-sender-operator").await, token("password-sender-gateway").await);
    let get = |path: String| ("GET", path, None);
    let post = |path: String, body: &Value| ("POST", path, Some(body.clone()));
    let beyond_operator = [
        post(account("kube-system", "generic-garbage-collector"), &vault),
        post(account("kube-system", "default"), &vault),
        post(account(tenant, "default"), &vault),
        post(account(own, "password-sender-gateway"), &vault),
        get(format!("{}/foreign", secrets(tenant))),
        get(secrets(tenant)),
        get("/api/v1/secrets".into()),
        get(secrets("kube-system")),
        get(format!("/api/v1/namespaces/{tenant}/configmaps")),
        post(secrets(tenant), &empty),
        ("PATCH", role.clone(), Some(json!({"rules": []}))),
        ("DELETE", stand.uri("stuck"), None),
    ];
    for (method, path, body) in beyond_operator {
        let (status, answer) = stand.cluster.request_as(&operator, method, &path, body.as_ref()).await.unwrap();
        assert_eq!(status, 403, "the operator, {method} {path}: {answer}");
    }
    let beyond_gateway = [
        get(format!("{}/password-sender-smtp", secrets(own))),
        get(format!("{}/{entry}", secrets(own))),
        get(secrets(own)),
        get(secrets(tenant)),
        get("/api/v1/secrets".into()),
        post(secrets(links), &empty),
        ("DELETE", format!("{}/x", secrets(links)), None),
        ("PATCH", format!("{}/x", secrets(links)), Some(json!({}))),
        get(stand.uri("stuck")),
        get("/api/v1/namespaces".into()),
        post(account(tenant, "password-sender"), &vault),
        post(account(own, "password-sender-operator"), &vault),
    ];
    for (method, path, body) in beyond_gateway {
        let (status, answer) = stand.cluster.request_as(&gateway, method, &path, body.as_ref()).await.unwrap();
        assert_eq!(status, 403, "the gateway, {method} {path}: {answer}");
    }
    // Its Role lets the operator ask for this account's tokens; the policy says what for.
    let path = account(tenant, "password-sender");
    for (all, expected) in [
        (&["vault"][..], 201),
        (&[], 422),
        (&[""], 422),
        (&[stand.cluster.server()], 422),
        (&["https://kubernetes.default.svc"], 422),
        (&["vault", stand.cluster.server()], 422),
        (&["another"], 422),
    ] {
        let (status, answer) = stand.cluster.request_as(&operator, "POST", &path, Some(&audiences(all))).await.unwrap();
        assert_eq!(status, expected, "{all:?}: {answer}");
        assert!(status == 201 || answer["message"].as_str().unwrap().contains("audience"), "{answer}");
    }
}
