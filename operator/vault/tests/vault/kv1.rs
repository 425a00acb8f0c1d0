//! KV version 1, on a real OpenBao.
use crate::support::{Bench, assert_dead, assert_fault, kv1, write};
use ps_core::delivery::{Identity, Strategy};
use ps_core::error::Class;
use ps_core::ports::Vault;
use ps_core::rotation::Scope;
use ps_testbed::{OpenBao, Testbed, unique};
use serde_json::json;

async fn mounted() -> (&'static OpenBao, String) {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let mount = unique("kv1");
    bao.mount_kv1(&mount).await.unwrap();
    (bao, mount)
}

#[tokio::test]
async fn the_whole_secret_is_written_and_proven_changed() {
    let (bao, mount) = mounted().await;
    bao.kv1_put(&mount, "x/y", json!({"user": "u", "pass": "old", "port": 5432})).await.unwrap();
    let bench = Bench::new();
    let policy = format!("path \"{mount}/x/y\" {{ capabilities = [\"read\", \"update\"] }}");
    let at = bench.with_policy(bao, &policy).await;
    let source = kv1(&mount, "x/y", &["user", "pass", "port"]);
    bench.vault.check_rights(&at, &source, Strategy::WriteNewVersion).await.unwrap();
    let handed = bench.deliver(&at, &source, &["pass"]).await;
    assert_eq!((handed.field("pass"), handed.field("port")), ("old", "5432"));
    assert_eq!(handed.identity, Identity::Kv1);

    let (steps, verdict) = bench.drive(&at, &source, &handed, Strategy::WriteNewVersion, None).await;
    assert_eq!(steps, ["write-new-version"]);
    assert_dead(&verdict, Scope::Vault);
    let data = bao.kv1_get(&mount, "x/y").await.unwrap().unwrap();
    assert_eq!((data["user"].clone(), data["port"].clone(), data.len()), (json!("u"), json!(5432), 3));
    assert_eq!(data["pass"].as_str().unwrap().len(), 32);
}

#[tokio::test]
async fn keys_that_the_delivery_does_not_name_are_not_written() {
    let (bao, mount) = mounted().await;
    bao.kv1_put(&mount, "x", json!({"pass": "old", "extra": "hush"})).await.unwrap();
    let bench = Bench::new();
    let at = bench.by_token(bao.address(), bao.root_token());
    let outcome = bench.vault.rotate(&at, &kv1(&mount, "x", &["pass"]), &write(None, &["pass"])).await;
    let fault = assert_fault(outcome, "kv1-unnamed-keys", Class::Misconfigured, &["extra"]);
    assert!(!fault.to_string().contains("hush"));
    assert_eq!(bao.kv1_get(&mount, "x").await.unwrap().unwrap()["pass"], "old");
}

#[tokio::test]
async fn a_secret_that_is_gone_is_dead_and_one_on_another_engine_is_a_fault() {
    let (bao, mount) = mounted().await;
    bao.kv1_put(&mount, "x", json!({"pass": "old"})).await.unwrap();
    let bench = Bench::new();
    let at = bench.by_token(bao.address(), bao.root_token());
    let source = kv1(&mount, "x", &[]);
    let handed = bench.deliver(&at, &source, &["pass"]).await;
    bao.call("DELETE", &format!("{mount}/x"), None).await.unwrap();
    assert_dead(&bench.look(&at, &source, &handed, Strategy::WriteNewVersion, None).await, Scope::Vault);

    let outcome = bench.vault.read(&at, &source).await;
    assert_fault(outcome, "vault-secret-not-found", Class::Misconfigured, &["no secret"]);
    let v2 = unique("kv2");
    bao.mount_kv2(&v2).await.unwrap();
    let outcome = bench.vault.read(&at, &kv1(&v2, "x", &[])).await;
    assert_fault(outcome, "vault-mount-version", Class::Misconfigured, &["Set version: 2"]);
    let now = ps_core::time::Timestamp::EPOCH;
    let outcome = bench.vault.observe(&at, &kv1(&v2, "x", &[]), &Identity::Kv1, &handed.tag_key, now).await;
    assert_fault(outcome, "vault-mount-version", Class::Misconfigured, &[]);
}
