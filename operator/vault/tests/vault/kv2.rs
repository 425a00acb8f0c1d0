//! KV version 2, on a real OpenBao.
use crate::support::{Bench, assert_dead, assert_fault, kv2, write};
use ps_core::delivery::{DeliveredVersion, Identity, Strategy};
use ps_core::error::Class;
use ps_core::ports::Vault;
use ps_core::rotation::{Scope, Step, Verdict};
use ps_testbed::{OpenBao, Testbed, unique};
use serde_json::json;

async fn mounted() -> (&'static OpenBao, String) {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let mount = unique("kv");
    bao.mount_kv2(&mount).await.unwrap();
    (bao, mount)
}

/// Exactly what `check_rights` asks for, and no more.
fn policy(mount: &str, path: &str) -> String {
    format!(
        r#"path "{mount}/data/{path}" {{ capabilities = ["read", "patch"] }}
           path "{mount}/metadata/{path}" {{ capabilities = ["read"] }}
           path "{mount}/destroy/{path}" {{ capabilities = ["update"] }}"#
    )
}

#[tokio::test]
async fn a_delivered_version_is_written_over_destroyed_and_proven_dead() {
    let (bao, mount) = mounted().await;
    bao.kv_put(&mount, "apps/db", json!({"user": "u", "pass": "old", "other": "x<y", "n": 1.5})).await.unwrap();
    let bench = Bench::new();
    let at = bench.with_policy(bao, &policy(&mount, "apps/db")).await;
    let source = kv2(&mount, "apps/db", &["user", "pass"]);

    bench.vault.check_rights(&at, &source, Strategy::WriteNewVersion).await.unwrap();
    let handed = bench.deliver(&at, &source, &["pass"]).await;
    assert_eq!((handed.field("user"), handed.field("pass"), handed.reading.fields.len()), ("u", "old", 2));
    assert!(matches!(handed.identity, Identity::Kv2 { version: 1, .. }));

    let (steps, verdict) = bench.drive(&at, &source, &handed, Strategy::WriteNewVersion, None).await;
    assert_eq!(steps, ["write-new-version"], "destroyed in the same step");
    assert_dead(&verdict, Scope::Vault);

    let now = bao.kv_get(&mount, "apps/db", 0).await.unwrap().unwrap();
    let data = now.data.unwrap();
    assert_eq!(
        (data["user"].clone(), data["other"].clone(), data["n"].clone()),
        (json!("u"), json!("x<y"), json!(1.5))
    );
    let fresh = data["pass"].as_str().unwrap();
    assert!(fresh.len() == 32 && fresh != "old");
    assert_eq!(now.metadata["version"], 2);
    let old = bao.kv_get(&mount, "apps/db", 1).await.unwrap().unwrap();
    assert_eq!((old.data, old.metadata["destroyed"].clone()), (None, json!(true)));

    // login's look-up; capabilities, read; observe, write, destroy, metadata: what we wrote ourselves is not read again.
    assert_eq!((bench.requests("lookup"), bench.requests("capabilities"), bench.all_requests()), (1, 1, 7));
    assert_eq!((bench.requests("read"), bench.requests("metadata")), (2, 1));
}

#[tokio::test]
async fn a_password_policy_makes_the_new_values() {
    let (bao, mount) = mounted().await;
    bao.kv_put(&mount, "x", json!({"a": "1", "b": "2", "c": "3"})).await.unwrap();
    let name = unique("pw");
    bao.password_policy(&name, "length = 12\nrule \"charset\" { charset = \"xyz\" }").await.unwrap();
    let bench = Bench::new();
    let at = bench.by_token(bao.address(), bao.root_token());
    let source = kv2(&mount, "x", &[]);
    let handed = bench.deliver(&at, &source, &["a", "b"]).await;
    let (_, verdict) = bench.drive(&at, &source, &handed, Strategy::WriteNewVersion, Some(&name)).await;
    assert_dead(&verdict, Scope::Vault);
    assert_eq!(bench.requests("read"), 3, "a policy may give the same value again, so it is looked at");
    let data = bao.kv_get(&mount, "x", 0).await.unwrap().unwrap().data.unwrap();
    for key in ["a", "b"] {
        let made = data[key].as_str().unwrap();
        assert!(made.len() == 12 && made.chars().all(|c| "xyz".contains(c)), "{made}");
    }
    assert_eq!(data["c"], "3");

    let (keys, password_policy) = (vec!["a".into()], Some("nowhere".into()));
    let step = Step::WriteNewVersion { cas: Some(2), keys, password_policy, destroy: None };
    let outcome = bench.vault.rotate(&at, &source, &step).await;
    let fault = assert_fault(outcome, "vault-password-policy-not-found", Class::Misconfigured, &["nowhere"]);
    assert_eq!(fault.field.as_deref(), Some("spec.rotation.passwordPolicy"));
}

#[tokio::test]
async fn a_write_over_a_newer_version_is_refused_and_changes_nothing() {
    let (bao, mount) = mounted().await;
    bao.kv_put(&mount, "x", json!({"a": "1"})).await.unwrap();
    bao.kv_put(&mount, "x", json!({"a": "2"})).await.unwrap();
    let bench = Bench::new();
    let at = bench.by_token(bao.address(), bao.root_token());
    let outcome = bench.vault.rotate(&at, &kv2(&mount, "x", &[]), &write(Some(1), &["a"])).await;
    assert_fault(outcome, "vault-cas-mismatch", Class::Transient, &["version 1"]);
    assert_eq!(bao.kv_get(&mount, "x", 0).await.unwrap().unwrap().data.unwrap()["a"], "2");
}

#[tokio::test]
async fn somebody_elses_write_needs_only_the_destroying() {
    let (bao, mount) = mounted().await;
    bao.kv_put(&mount, "x", json!({"a": "1", "b": "same"})).await.unwrap();
    let bench = Bench::new();
    let at = bench.by_token(bao.address(), bao.root_token());
    let source = kv2(&mount, "x", &["a"]);
    let handed = bench.deliver(&at, &source, &["a"]).await;
    bao.kv_put(&mount, "x", json!({"a": "1", "b": "same"})).await.unwrap();
    // The same value in a newer version: write over that one first.
    let verdict = bench.look(&at, &source, &handed, Strategy::WriteNewVersion, None).await;
    let (keys, password_policy) = (vec!["a".into()], None);
    let over = Step::WriteNewVersion { cas: Some(2), keys, password_policy, destroy: Some(1) };
    assert_eq!(verdict, Verdict::Alive(Some(over)));
    bao.kv_put(&mount, "x", json!({"a": "other", "b": "same"})).await.unwrap();
    let (steps, verdict) = bench.drive(&at, &source, &handed, Strategy::WriteNewVersion, None).await;
    assert_eq!(steps, ["destroy-version"]);
    assert_dead(&verdict, Scope::Vault);
}

#[tokio::test]
async fn deleted_and_recreated_paths_are_told_apart() {
    let (bao, mount) = mounted().await;
    bao.kv_put(&mount, "x", json!({"a": "1"})).await.unwrap();
    let bench = Bench::new();
    let at = bench.by_token(bao.address(), bao.root_token());
    let source = kv2(&mount, "x", &[]);
    let handed = bench.deliver(&at, &source, &["a"]).await;
    let sight = async || {
        bench.vault.observe(&at, &source, &handed.identity, &handed.tag_key, ps_core::time::Timestamp::EPOCH).await
    };

    let same = sight().await.unwrap();
    assert_eq!((same.current.as_ref(), same.delivered), (Some(&handed.identity), DeliveredVersion::NotLooked));

    // Soft-deleted: it can be undeleted, so it is not dead, and destroying is the step.
    bao.call("DELETE", &format!("{mount}/data/x"), None).await.unwrap();
    let deleted = sight().await.unwrap();
    assert_eq!((deleted.current, deleted.delivered), (None, DeliveredVersion::Present));
    let outcome = bench.vault.read(&at, &source).await;
    let fault = assert_fault(outcome, "vault-secret-deleted", Class::Misconfigured, &["Undelete"]);
    assert_eq!(fault.field.as_deref(), Some("spec.source.vault.kv.path"));
    assert_fault(
        bench.vault.rotate(&at, &source, &write(Some(1), &["a"])).await,
        "vault-source-changed",
        Class::Transient,
        &[],
    );

    // Gone with its metadata.
    bao.call("DELETE", &format!("{mount}/metadata/x"), None).await.unwrap();
    let gone = sight().await.unwrap();
    assert_eq!((gone.current, gone.delivered), (None, DeliveredVersion::Destroyed));
    bench.vault.rotate(&at, &source, &Step::DestroyVersion(1)).await.unwrap();

    // Made anew: version 1 again, of another birth.
    bao.kv_put(&mount, "x", json!({"a": "2"})).await.unwrap();
    let anew = sight().await.unwrap();
    assert!(matches!(&anew.current, Some(now @ Identity::Kv2 { version: 1, .. }) if *now != handed.identity));
    assert_eq!(anew.delivered, DeliveredVersion::Destroyed);
    let verdict = bench.look(&at, &source, &handed, Strategy::WriteNewVersion, None).await;
    assert_dead(&verdict, Scope::Vault);
}

#[tokio::test]
async fn data_and_metadata_write_one_time_alike() {
    let (bao, mount) = mounted().await;
    for n in 0..5 {
        bao.kv_put(&mount, "x", json!({ "a": n })).await.unwrap();
        let data = bao.kv_get(&mount, "x", 0).await.unwrap().unwrap().metadata["created_time"].clone();
        let metadata =
            bao.kv_metadata(&mount, "x").await.unwrap()["versions"][(n + 1).to_string()]["created_time"].clone();
        assert_eq!(data, metadata, "identities are compared as text");
    }
}

#[tokio::test]
async fn without_a_right_on_the_metadata_the_version_itself_is_asked() {
    let (bao, mount) = mounted().await;
    bao.kv_put(&mount, "x", json!({"a": "1"})).await.unwrap();
    let bench = Bench::new();
    let at = bench.with_policy(bao, &format!("path \"{mount}/data/x\" {{ capabilities = [\"read\"] }}")).await;
    let source = kv2(&mount, "x", &[]);
    let handed = bench.deliver(&at, &source, &["a"]).await;
    let fate = async || {
        let now = ps_core::time::Timestamp::EPOCH;
        bench.vault.observe(&at, &source, &handed.identity, &handed.tag_key, now).await.unwrap().delivered
    };
    bao.kv_put(&mount, "x", json!({"a": "2"})).await.unwrap();
    assert_eq!(fate().await, DeliveredVersion::Present);
    bao.call("POST", &format!("{mount}/delete/x"), Some(&json!({"versions": [1]}))).await.unwrap();
    assert_eq!(fate().await, DeliveredVersion::Present);
    bao.call("POST", &format!("{mount}/destroy/x"), Some(&json!({"versions": [1]}))).await.unwrap();
    assert_eq!(fate().await, DeliveredVersion::Destroyed);
}

#[tokio::test]
async fn values_of_other_types_and_odd_paths_are_read() {
    let (bao, mount) = mounted().await;
    let path = "a b/c%2Fd/ü?#";
    let escaped = "a%20b/c%252Fd/%C3%BC%3F%23";
    let value = json!({"data": {"n": 12, "b": true, "o": {"k": [1, "two"]}, "z": null, "s": "€\n\"<"}});
    bao.call("POST", &format!("{mount}/data/{escaped}"), Some(&value)).await.unwrap();
    let bench = Bench::new();
    let at = bench.by_token(bao.address(), bao.root_token());
    let reading = bench.vault.read(&at, &kv2(&mount, path, &[])).await.unwrap();
    let got: Vec<(&str, &str)> = reading.fields.iter().map(|(k, v)| (k.as_str(), v.expose())).collect();
    assert_eq!(got, [("b", "true"), ("n", "12"), ("o", r#"{"k":[1,"two"]}"#), ("s", "€\n\"<")]);
}

#[tokio::test]
async fn what_is_missing_is_named_with_field_and_remedy() {
    let (bao, mount) = mounted().await;
    let v1 = unique("kv1");
    bao.mount_kv1(&v1).await.unwrap();
    bao.kv1_put(&v1, "data/x", json!({"a": "1"})).await.unwrap();
    bao.kv_put(&mount, "x", json!({"a": "hush"})).await.unwrap();
    let database = unique("db");
    bao.mount(&database, json!({"type": "database"})).await.unwrap();
    let bench = Bench::new();
    let at = bench.by_token(bao.address(), bao.root_token());
    for (source, code, field, words) in [
        (kv2(&mount, "nowhere", &[]), "vault-secret-not-found", "path", "nowhere"),
        (kv2(&mount, "x", &["a", "b", "c"]), "vault-key-missing", "keys", "no key b, c"),
        (kv2(&unique("no"), "x", &[]), "vault-mount-not-found", "mount", "secrets list"),
        (kv2(&v1, "x", &[]), "vault-mount-version", "version", "version: 1"),
        (kv2(&v1, "y", &[]), "vault-mount-version", "version", "version: 1"),
        (kv2(&database, "y", &[]), "vault-mount-type", "mount", "no KV engine"),
        (kv2(&mount, "a/../x", &[]), "vault-path-invalid", "path", "dots"),
    ] {
        let fault = assert_fault(bench.vault.read(&at, &source).await, code, Class::Misconfigured, &[words]);
        assert_eq!(fault.field.as_deref(), Some(format!("spec.source.vault.kv.{field}").as_str()));
        assert!(!fault.to_string().contains("hush"));
    }
    // A mount that went is no proof that its secrets are dead: it may have moved.
    let handed = bench.deliver(&at, &kv2(&mount, "x", &[]), &["a"]).await;
    let new_place = json!({"from": mount, "to": unique("moved")});
    bao.call("POST", "sys/remount", Some(&new_place)).await.unwrap();
    let moved = ps_testbed::wait_until("the mount's move", std::time::Duration::from_secs(20), async || {
        let now = ps_core::time::Timestamp::EPOCH;
        let sight = bench.vault.observe(&at, &kv2(&mount, "x", &[]), &handed.identity, &handed.tag_key, now).await;
        match sight {
            Ok(sight) => sight.current.is_none().then(|| panic!("a moved mount was taken for a dead secret")),
            Err(fault) => (fault.code == "vault-mount-not-found").then_some(fault),
        }
    });
    assert_eq!(moved.await.unwrap().class, Class::Misconfigured);
}
