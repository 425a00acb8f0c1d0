//! What each path answers, and in which of Vault's ways it fails.

use std::collections::BTreeSet;

use ps_plugin_engine::Operation;
use ps_plugin_engine::paths::ALL;
use ps_testbed::{OpenBao, TokenOptions, unique, workspace};
use serde_json::{Value, json};

use crate::stand::{Holder, prepare, shared};

#[tokio::test]
async fn settings_and_roles_are_kept_and_what_is_not_named_stays() {
    let bao = shared().await;
    let role = unique("role");
    let path = format!("send/roles/{role}");
    assert_eq!(bao.request("GET", &path, None).await.unwrap().0, 404);
    let body = json!({"max_ttl": "8h", "require_passphrase": true, "rotate_engine": "kv", "rotate_mount": "secret",
        "rotate_name": "apps/shop", "rotate_keys": "password", "rotate_after": "1h"});
    assert_eq!(bao.request("POST", &path, Some(&body)).await.unwrap().0, 204);
    bao.call("POST", &path, Some(&json!({"default_ttl": 1800, "rotate_on": ["declined"]}))).await.unwrap();
    let read = bao.call("GET", &path, None).await.unwrap();
    let wanted = json!({"default_ttl": "30m", "max_ttl": "8h", "require_passphrase": true, "require_lease": false,
        "rotate_engine": "kv", "rotate_mount": "secret", "rotate_name": "apps/shop", "rotate_keys": ["password"],
        "rotate_on": ["declined"], "rotate_after": "1h"});
    assert_eq!(read["data"], wanted);
    let listed = bao.call("LIST", "send/roles", None).await.unwrap();
    assert!(listed["data"]["keys"].as_array().unwrap().contains(&json!(role)));
    assert_eq!(bao.request("DELETE", &path, None).await.unwrap().0, 204);
    assert_eq!(bao.request("GET", &path, None).await.unwrap().0, 404);
    let config = bao.call("GET", "send/config", None).await.unwrap();
    assert_eq!(config["data"]["default_ttl"], "4h");
}

#[tokio::test]
async fn what_is_wrong_is_400_with_a_sentence() {
    let bao = shared().await;
    let strict = unique("strict");
    bao.call("POST", &format!("send/roles/{strict}"), Some(&json!({"require_passphrase": true, "max_ttl": "1h"})))
        .await
        .unwrap();
    for (path, body, word) in [
        ("config", json!({"public_url": "links.example.com"}), "URL"),
        ("config", json!({"max_ttl": "1s"}), "default_ttl"),
        ("config", json!({"claim_window": "48h"}), "claim_window"),
        ("roles/x", json!({"maxttl": "1h"}), "maxttl"),
        ("roles/x", json!({"max_ttl": "soon"}), "duration"),
        ("roles/x", json!({"rotate_engine": "magic"}), "rotate_engine"),
        ("roles/x", json!({"rotate_engine": "database", "rotate_mount": "../sys", "rotate_name": "x"}), "rotate_mount"),
        ("roles/x", json!({"rotate_engine": "database", "rotate_mount": "db", "rotate_name": "x"}), "rotate_after"),
        ("link/nobody", json!({"a": "b"}), "role"),
        ("link/any", json!({}), "fields"),
        ("link/any", json!({"a": "b", "ttl": "1000h"}), "72h"),
        (&format!("link/{strict}"), json!({"a": "b"}), "passphrase"),
        (&format!("link/{strict}"), json!({"a": "b", "passphrase": "x", "ttl": "2h"}), "1h"),
        ("sealed/any", json!({}), "sealed"),
        ("evidence/AAAAAAAAAAAAAAAAAAAAAA", json!({"scope": "all"}), "scope"),
    ] {
        let (status, answer) = bao.request("POST", &format!("send/{path}"), Some(&body)).await.unwrap();
        assert_eq!(status, 400, "{path}: {answer}");
        assert!(answer["errors"][0].as_str().unwrap().contains(word), "{path}: {answer}");
    }
    let (status, answer) =
        bao.request("POST", "send/evidence/AAAAAAAAAAAAAAAAAAAAAA", Some(&json!({"scope": "vault"}))).await.unwrap();
    assert_eq!(status, 404, "{answer}");
    assert_eq!(bao.request("GET", "send/lease/AAAAAAAAAAAAAAAAAAAAAA", None).await.unwrap().0, 404);
    assert_eq!(bao.request("GET", "send/links/AAAAAAAAAAAAAAAAAAAAAA", None).await.unwrap().0, 404);
    assert_eq!(bao.request("DELETE", "send/links/AAAAAAAAAAAAAAAAAAAAAA", None).await.unwrap().0, 204);
    assert_eq!(bao.request("GET", "send/no/such/path", None).await.unwrap().0, 404);
    assert_eq!(bao.request("GET", "send/link/any", None).await.unwrap().0, 405);
    assert_eq!(bao.request("DELETE", "send/config", None).await.unwrap().0, 405);
}

#[tokio::test]
async fn a_link_is_issued_read_and_revoked() {
    let bao = shared().await;
    let link = Holder::issue(bao, "hunter2").await;
    let listed = bao.call("LIST", "send/links", None).await.unwrap();
    assert!(listed["data"]["keys"].as_array().unwrap().contains(&json!(link.id)));
    let read = bao.call("GET", &format!("send/links/{}", link.id), None).await.unwrap();
    assert_eq!((&read["data"]["state"], &read["data"]["role"]), (&json!("open"), &json!("any")));
    let text = read.to_string();
    for secret in ["hunter2", "A title", &link.fragment, "ciphertext", "access"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let (status, _) = bao.request("DELETE", &format!("send/links/{}", link.id), None).await.unwrap();
    assert_eq!(status, 204);
    assert_eq!(link.state(bao).await, "revoked");
    let (status, answer) = link.claim(bao).await;
    assert_eq!((status, &answer["error"]["state"]), (410, &json!("revoked")), "{answer}");
    assert!(answer["errors"][0].is_string(), "Vault's form as well: {answer}");
}

#[tokio::test]
async fn a_link_may_not_be_wrapped() {
    let bao = shared().await;
    let url = format!("{}/v1/send/link/any", bao.address());
    let token = bao.root_token().to_owned();
    let body = json!({"password": "x"}).to_string();
    let output = tokio::process::Command::new("curl")
        .args(["-s", "-X", "POST", "-H", "X-Vault-Wrap-TTL: 60s", "-H"])
        .arg(format!("X-Vault-Token: {token}"))
        .args(["-d", &body, &url])
        .output()
        .await
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(answer["errors"][0].as_str().unwrap().contains("wrapped"), "{answer}");
}

#[tokio::test]
async fn a_policy_of_one_path_serves_a_gateway_and_nothing_else() {
    let bao = shared().await;
    let link = Holder::issue(bao, "x").await;
    let policy = unique("gateway");
    bao.policy(&policy, "path \"send/gateway/*\" {\n  capabilities = [\"update\"]\n}\n").await.unwrap();
    let token = bao.token(&[&policy], &TokenOptions::default()).await.unwrap().token;
    for (method, path) in [
        ("GET", "send/config".to_owned()),
        ("POST", "send/link/any".to_owned()),
        ("LIST", "send/links".to_owned()),
        ("GET", format!("send/links/{}", link.id)),
        ("DELETE", format!("send/links/{}", link.id)),
        ("GET", format!("send/lease/{}", link.id)),
        ("GET", "send/events".to_owned()),
        ("POST", "send/tidy".to_owned()),
    ] {
        let (status, answer) = bao.request_as(&token, method, &path, Some(&json!({"a": "b"}))).await.unwrap();
        assert_eq!(status, 403, "{method} {path}: {answer}");
    }
    let (status, answer) =
        bao.request_as(&token, "POST", "send/gateway/claim", Some(&link.claim_body())).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    let (status, answer) = bao.request_as(&token, "POST", "send/gateway/code", Some(&json!({}))).await.unwrap();
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("not-available")));
}

/// The policies that are shipped: nobody but the gateway asks its verbs, and a sender's opens what it names.
#[tokio::test]
async fn the_shipped_policies_of_senders_and_agents_open_what_they_name_and_no_verb_of_the_gateway() {
    let bao = OpenBao::dev().await.unwrap();
    prepare(&bao).await;
    bao.call("POST", "send/roles/onboarding", Some(&json!({}))).await.unwrap();
    let link = Holder::issue(&bao, "x").await;
    let mut tokens = Vec::new();
    for name in ["sender", "agent"] {
        let hcl = std::fs::read_to_string(workspace().join(format!("examples/plugin/{name}.hcl"))).unwrap();
        bao.policy(name, &hcl).await.unwrap();
        tokens.push(bao.token(&[name], &TokenOptions::default()).await.unwrap().token);
    }
    for token in &tokens {
        for verb in ["lookup", "code", "claim", "acknowledge", "decline"] {
            let path = format!("send/gateway/{verb}");
            let (status, answer) = bao.request_as(token, "POST", &path, Some(&link.claim_body())).await.unwrap();
            assert_eq!(status, 403, "{verb}: {answer}");
        }
    }
    assert_eq!(link.state(&bao).await, "open");
    let [sender, agent] = &tokens[..] else { panic!("two") };
    let (status, answer) =
        bao.request_as(sender, "POST", "send/link/onboarding", Some(&json!({"password": "x"}))).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    let theirs = Holder::from_answer(&answer);
    let lease = format!("send/lease/{}", theirs.id);
    let (status, answer) = bao.request_as(sender, "GET", &lease, None).await.unwrap();
    assert!(status == 200 && answer["lease_id"].as_str().is_some_and(|id| !id.is_empty()), "{answer}");
    let (status, answer) = bao.request_as(sender, "POST", "send/sealed/onboarding", Some(&json!({}))).await.unwrap();
    assert_eq!(status, 400, "it may, and this is nothing: {answer}");
    for (token, method, path) in [
        (sender, "POST", "send/link/any"),
        (sender, "POST", "send/sealed/any"),
        (sender, "GET", &format!("send/links/{}", theirs.id)),
        (sender, "GET", "send/config"),
        (agent, "POST", "send/link/onboarding"),
        (agent, "GET", &lease),
    ] {
        let (status, answer) = bao.request_as(token, method, path, Some(&json!({"a": "b"}))).await.unwrap();
        assert_eq!(status, 403, "{method} {path}: {answer}");
    }
}

/// Of a link, exactly this is shown; nothing that opens, claims, acknowledges or declines it.
#[tokio::test]
async fn what_is_shown_of_a_link_redeems_nothing() {
    let bao = shared().await;
    let always = [
        "id",
        "role",
        "state",
        "issued_at",
        "expires_at",
        "not_after",
        "verification",
        "awaits_lease",
        "wrong_codes",
        "wrong_passphrases",
        "journal",
    ];
    let (opened, declined) = (Holder::issue(bao, "hunter2").await, Holder::issue(bao, "hunter2").await);
    let shows = async |link: &Holder, more: &[&str]| {
        let read = bao.call("GET", &format!("send/links/{}", link.id), None).await.unwrap();
        let keys: BTreeSet<&str> = read["data"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, always.iter().chain(more).copied().collect(), "{read}");
        let claim = link.claim_body();
        let opener = ps_envelope::Opener::from_fragment(&link.fragment).unwrap();
        let mut secrets = vec![link.fragment.clone(), "hunter2".to_owned(), "A title".to_owned()];
        secrets.extend(
            ["access", "proof", "openingCode", "tokenHash"].map(|name| claim[name].as_str().unwrap().to_owned()),
        );
        let token = ps_core::encode::b64(&link.token);
        secrets.extend([link.fragment.strip_prefix("ps1.").unwrap().to_owned(), token]);
        secrets.push(ps_core::encode::b64(opener.decline().expose()));
        let text = read.to_string();
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret} in {text}");
        }
    };
    shows(&opened, &[]).await;
    assert_eq!(opened.claim(bao).await.0, 200);
    shows(&opened, &["claimed_at", "window_ends_at"]).await;
    assert_eq!(opened.acknowledge(bao).await.0, 200);
    shows(&opened, &["claimed_at", "acknowledged_at"]).await;
    assert_eq!(declined.not_mine(bao).await.0, 200);
    shows(&declined, &["declined_at"]).await;
}

#[tokio::test]
async fn help_and_the_description_of_the_api_name_every_path() {
    let bao = shared().await;
    for path in ["", "link/any", "links/AAAAAAAAAAAAAAAAAAAAAA", "gateway/claim", "no/such/path"] {
        let (status, answer) = bao.request("GET", &format!("send/{path}?help=1"), None).await.unwrap();
        assert_eq!(status, 200, "{path}: {answer}");
        assert!(answer["help"].as_str().unwrap().len() > 20, "{path}: {answer}");
    }
    let (status, api) = bao.request("GET", "sys/internal/specs/openapi", None).await.unwrap();
    assert_eq!(status, 200);
    let described = api["paths"].as_object().unwrap();
    for path in ALL {
        let entry = &described[&format!("/send/{}", path.pattern)];
        assert_eq!(entry["description"], path.synopsis);
        for (operation, summary, done) in path.operations {
            let method = match operation {
                Operation::Write => "post",
                Operation::Delete => "delete",
                _ => "get",
            };
            // What the server's own structures do not know is lost on the way.
            let one = &entry[method];
            assert_eq!(one["summary"], *summary, "{method} {}: {one}", path.pattern);
            assert!(one["responses"][done.to_string()]["description"].is_string(), "{method} {}: {one}", path.pattern);
            let named = |parameters: &Value, name: &str| {
                parameters.as_array().is_some_and(|all| all.iter().any(|one| one["name"] == name))
            };
            let body = &one["requestBody"]["content"]["application/json"]["schema"];
            for (name, ..) in path.fields {
                let is_there = match operation {
                    _ if path.pattern.contains(&format!("{{{name}}}")) => named(&entry["parameters"], name),
                    Operation::Write => body["properties"][name]["description"].is_string(),
                    _ if path.operations.len() == 1 => named(&one["parameters"], name),
                    _ => true,
                };
                assert!(is_there, "{method} {} lacks {name}: {entry}", path.pattern);
            }
            if *operation == Operation::Write && !path.example.is_empty() {
                assert_eq!(body["example"], serde_json::from_str::<Value>(path.example).unwrap());
            }
        }
    }
}

#[tokio::test]
async fn counts_are_of_what_happened() {
    let bao = shared().await;
    let count = async |name: &str| {
        let metrics = bao.call("GET", "send/metrics", None).await.unwrap();
        metrics["data"][name].as_u64().unwrap()
    };
    let (issued, declined) = (count("issued").await, count("declined").await);
    let link = Holder::issue(bao, "x").await;
    assert_eq!(link.not_mine(bao).await.0, 200);
    assert!(count("issued").await > issued && count("declined").await > declined);
    assert!(count("links").await > 0);
}
