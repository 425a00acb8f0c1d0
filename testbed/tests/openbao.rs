//! OpenBao, for real.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a panic in a test is the failure report"
)]

use std::fs;

use ps_testbed::{OpenBao, Testbed, TokenOptions, unique};
use serde_json::json;

#[tokio::test]
async fn kv_version_2_keeps_versions() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let mount = unique("kv");
    bao.mount_kv2(&mount).await.unwrap();
    assert_eq!(bao.kv_put(&mount, "apps/db", json!({"user": "u", "pass": "one"})).await.unwrap(), 1);
    assert_eq!(bao.kv_put(&mount, "apps/db", json!({"user": "u", "pass": "two"})).await.unwrap(), 2);
    let first = bao.kv_get(&mount, "apps/db", 1).await.unwrap().unwrap();
    assert_eq!(first.data.unwrap()["pass"], "one");
    bao.call("POST", &format!("{mount}/destroy/apps/db"), Some(&json!({"versions": [1]}))).await.unwrap();
    let destroyed = bao.kv_get(&mount, "apps/db", 1).await.unwrap().unwrap();
    assert_eq!(destroyed.data, None);
    assert_eq!(destroyed.metadata["destroyed"], true);
    assert_eq!(bao.kv_metadata(&mount, "apps/db").await.unwrap()["current_version"], 2);
    assert!(bao.kv_get(&mount, "nothing/here", 0).await.unwrap().is_none());
}

#[tokio::test]
async fn kv_version_1_has_no_versions() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let mount = unique("kv");
    bao.mount_kv1(&mount).await.unwrap();
    bao.kv1_put(&mount, "x", json!({"a": "1"})).await.unwrap();
    assert_eq!(bao.kv1_get(&mount, "x").await.unwrap().unwrap()["a"], "1");
    assert!(bao.kv1_get(&mount, "y").await.unwrap().is_none());
}

#[tokio::test]
async fn tokens_and_app_roles_get_their_policies_only() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let (mount, policy) = (unique("kv"), unique("policy"));
    bao.mount_kv2(&mount).await.unwrap();
    bao.kv_put(&mount, "x", json!({"a": "1"})).await.unwrap();
    let hcl = format!("path \"{mount}/data/x\" {{ capabilities = [\"read\"] }}");
    bao.policy(&policy, &hcl).await.unwrap();

    let options = TokenOptions { ttl: Some("5m"), ..TokenOptions::default() };
    let token = bao.token(&[&policy], &options).await.unwrap().token;
    let path = format!("{mount}/data/x");
    assert_eq!(bao.request_as(&token, "GET", &path, None).await.unwrap().0, 200);
    assert_eq!(bao.request_as(&token, "POST", &path, Some(&json!({"data": {}}))).await.unwrap().0, 403);

    let role = bao.approle(&unique("role"), &[&policy], &json!({"token_ttl": "1m"})).await.unwrap();
    let login = json!({"role_id": role.role_id, "secret_id": role.secret_id});
    let answer = bao.call("POST", "auth/approle/login", Some(&login)).await.unwrap();
    let token = answer["auth"]["client_token"].as_str().unwrap();
    assert_eq!(answer["auth"]["lease_duration"], 60);
    assert_eq!(bao.request_as(token, "GET", &path, None).await.unwrap().0, 200);
}

#[tokio::test]
async fn a_password_policy_makes_passwords() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let name = unique("pw");
    bao.password_policy(&name, "length = 12\nrule \"charset\" { charset = \"ab\" }").await.unwrap();
    let answer = bao.call("GET", &format!("sys/policies/password/{name}/generate"), None).await.unwrap();
    let password = answer["data"]["password"].as_str().unwrap();
    assert_eq!(password.len(), 12);
    assert!(password.chars().all(|c| "ab".contains(c)));
}

#[tokio::test]
async fn a_static_role_rotates_a_real_password() {
    let testbed = Testbed::connect_or_start().unwrap();
    let (bao, postgres) = (testbed.bao().await.unwrap(), testbed.postgres().await.unwrap());
    let (mount, user) = (unique("db"), unique("app"));
    postgres.create_user(&user, "first").await.unwrap();
    assert!(postgres.can_login(&user, "first").await.unwrap());
    bao.database_config(&mount, "pg", postgres).await.unwrap();
    bao.static_role(&mount, "role", "pg", &user, "24h").await.unwrap();
    assert!(!postgres.can_login(&user, "first").await.unwrap());
    let (name, second) = bao.static_creds(&mount, "role").await.unwrap();
    assert_eq!(name, user);
    assert!(postgres.can_login(&user, &second).await.unwrap());
    bao.call("POST", &format!("{mount}/rotate-role/role"), None).await.unwrap();
    assert!(!postgres.can_login(&user, &second).await.unwrap());

    bao.dynamic_role(&mount, "dynamic", "pg", "1h").await.unwrap();
    let leased = bao.call("GET", &format!("{mount}/creds/dynamic"), None).await.unwrap();
    let text = |key: &str| leased["data"][key].as_str().unwrap().to_owned();
    assert!(postgres.can_login(&text("username"), &text("password")).await.unwrap());
}

#[tokio::test]
async fn a_raft_server_survives_seal_kill_and_freeze() {
    let bao = OpenBao::raft().await.unwrap();
    bao.mount_kv2("secret").await.unwrap();
    bao.kv_put("secret", "x", json!({"a": "1"})).await.unwrap();

    bao.seal().await.unwrap();
    assert_eq!(bao.request("GET", "secret/data/x", None).await.unwrap().0, 503);
    bao.unseal().await.unwrap();
    assert!(bao.kv_get("secret", "x", 0).await.unwrap().is_some());

    let (address, pid) = (bao.address().to_owned(), bao.pid().unwrap());
    bao.kill().unwrap();
    assert!(bao.request("GET", "secret/data/x", None).await.is_err());
    bao.restart().await.unwrap();
    assert_eq!(bao.request("GET", "secret/data/x", None).await.unwrap().0, 503, "it comes up sealed");
    bao.unseal().await.unwrap();
    assert_eq!(bao.address(), address);
    assert_ne!(bao.pid().unwrap(), pid);
    assert_eq!(bao.kv_get("secret", "x", 0).await.unwrap().unwrap().data.unwrap()["a"], "1");

    bao.freeze(true).unwrap();
    let late = tokio::time::timeout(std::time::Duration::from_millis(200), bao.kv_get("secret", "x", 0)).await;
    assert!(late.is_err(), "a frozen server answers nothing");
    bao.freeze(false).unwrap();
    assert!(bao.kv_get("secret", "x", 0).await.unwrap().is_some());

    let audit = fs::read_to_string(bao.audit_log().unwrap()).unwrap();
    assert!(audit.contains("secret/data/x"));
    let folder = bao.folder().unwrap();
    drop(bao);
    assert!(!folder.exists(), "its data goes with it");
}
