//! Logins on a real OpenBao: renewed, replaced, few; and what their identities lack.
use std::time::Duration;

use crate::support::{Bench, assert_fault, connection, key, kv1, kv2, role};
use ps_core::delivery::Strategy;
use ps_core::error::Class;
use ps_core::ports::{Auth, Connection, Vault};
use ps_core::time::Span;
use ps_testbed::{OpenBao, Testbed, TokenOptions, Vendor, unique, wait_until};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(30);

struct Place {
    bao: &'static OpenBao,
    mount: String,
    policy: String,
}

/// A mount with one secret, and a policy that may read it.
async fn place() -> Place {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let (mount, policy) = (unique("kv"), unique("policy"));
    bao.mount_kv2(&mount).await.unwrap();
    bao.kv_put(&mount, "x", json!({"a": "1"})).await.unwrap();
    bao.policy(&policy, &format!("path \"{mount}/data/x\" {{ capabilities = [\"read\"] }}")).await.unwrap();
    Place { bao, mount, policy }
}

async fn by_app_role(bench: &Bench, place: &Place, extra: Value) -> Connection {
    let login = place.bao.approle(&unique("role"), &[&place.policy], &extra).await.unwrap();
    bench.secrets.put("login/secret-id", &format!("{}\n", login.secret_id));
    let secret_id = key("login", "secret-id");
    connection(place.bao.address(), Auth::AppRole { mount: "approle".into(), role_id: login.role_id, secret_id })
}

/// Accessors of live tokens of a policy, as root sees them.
async fn tokens_of(place: &Place) -> Vec<String> {
    let all = place.bao.call("LIST", "auth/token/accessors", None).await.unwrap();
    let mut found = Vec::new();
    for accessor in all["data"]["keys"].as_array().unwrap() {
        let body = json!({ "accessor": accessor });
        let (status, looked) = place.bao.request("POST", "auth/token/lookup-accessor", Some(&body)).await.unwrap();
        let policies = looked["data"]["policies"].as_array().cloned().unwrap_or_default();
        if status == 200 && policies.contains(&json!(place.policy)) {
            found.push(accessor.as_str().unwrap().to_owned());
        }
    }
    found
}

#[tokio::test]
async fn a_short_token_is_renewed_past_its_end() {
    let place = place().await;
    let options = TokenOptions { ttl: Some("3s"), ..TokenOptions::default() };
    let token = place.bao.token(&[&place.policy], &options).await.unwrap();
    let bench = Bench::new();
    let at = bench.by_token(place.bao.address(), &format!(" {}\n", token.token));
    let source = kv2(&place.mount, "x", &[]);
    bench.vault.read(&at, &source).await.unwrap();
    let started = std::time::Instant::now();
    // Four renewals of at most three seconds each cannot all lie in the first time to live.
    wait_until("four renewals", LONG, async || (bench.requests("renew") >= 4).then_some(())).await.unwrap();
    assert!(started.elapsed() > Duration::from_secs(3));
    bench.vault.read(&at, &source).await.unwrap();
    assert_eq!(bench.requests("lookup"), 1, "one login");
}

#[tokio::test]
async fn a_token_near_its_last_end_is_replaced_by_app_role() {
    let place = place().await;
    let bench = Bench::new();
    let at = by_app_role(&bench, &place, json!({"token_ttl": "3s", "token_max_ttl": "5s"})).await;
    let source = kv2(&place.mount, "x", &[]);
    bench.vault.read(&at, &source).await.unwrap();
    wait_until("a second login", LONG, async || (bench.requests("login") >= 2).then_some(())).await.unwrap();
    bench.vault.read(&at, &source).await.unwrap();
    let denied = bench.vault.requests_total().iter().any(|count| count.operation == "read" && count.outcome != "ok");
    assert!(!denied, "no read ever met a dead token");
}

#[tokio::test]
async fn a_revoked_token_costs_one_login_however_many_wait() {
    let place = place().await;
    let bench = Bench::new();
    let at = by_app_role(&bench, &place, json!({"token_ttl": "1h"})).await;
    let source = kv2(&place.mount, "x", &[]);
    let read_all = async || {
        let all = together((0..16).map(|_| bench.vault.read(&at, &source))).await;
        all.into_iter().filter(Result::is_ok).count()
    };
    assert_eq!(read_all().await, 16);
    assert_eq!(bench.requests("login"), 1, "sixteen first reads, one login");

    for accessor in tokens_of(&place).await {
        place.bao.call("POST", "auth/token/revoke-accessor", Some(&json!({ "accessor": accessor }))).await.unwrap();
    }
    assert_eq!(read_all().await, 16);
    assert_eq!(bench.requests("login"), 2, "sixteen refused reads, one more login");
}

/// Polls all futures together on this task.
async fn together<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.map(|f| (Box::pin(f), None)).collect();
    std::future::poll_fn(|context| {
        for (future, output) in &mut waiting {
            if output.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *output = Some(value);
            }
        }
        if waiting.iter().all(|(_, output)| output.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    waiting.into_iter().filter_map(|(_, output)| output).collect()
}

#[tokio::test]
async fn a_token_whose_clock_ran_out_is_replaced_before_it_is_used() {
    let place = place().await;
    let bench = Bench::new();
    let at = by_app_role(&bench, &place, json!({"token_ttl": "1h"})).await;
    let source = kv2(&place.mount, "x", &[]);
    bench.vault.read(&at, &source).await.unwrap();
    bench.clock.push(Span::from_secs(3601));
    bench.vault.read(&at, &source).await.unwrap();
    assert_eq!(bench.requests("login"), 2);
}

#[tokio::test]
async fn a_new_token_in_the_secret_is_taken_after_the_old_one_died() {
    let place = place().await;
    let options = TokenOptions { ttl: Some("10m"), ..TokenOptions::default() };
    let old = place.bao.token(&[&place.policy], &options).await.unwrap();
    let bench = Bench::new();
    let at = bench.by_token(place.bao.address(), &old.token);
    let source = kv2(&place.mount, "x", &[]);
    bench.vault.read(&at, &source).await.unwrap();
    place.bao.call("POST", "auth/token/revoke-accessor", Some(&json!({"accessor": old.accessor}))).await.unwrap();
    let fault = assert_fault(
        bench.vault.read(&at, &source).await,
        "vault-login-denied",
        Class::Denied,
        &["key token of secret login"],
    );
    assert_eq!(fault.field.as_deref(), Some("spec.auth.token.secretKeyRef"));
    assert!(!fault.to_string().contains(&old.token));
    bench.secrets.put("login/token", &place.bao.token(&[&place.policy], &options).await.unwrap().token);
    bench.vault.read(&at, &source).await.unwrap();
}

#[tokio::test]
async fn logins_that_fail_say_what_to_change() {
    let place = place().await;
    let bench = Bench::new();
    let source = kv2(&place.mount, "x", &[]);
    let mut at = by_app_role(&bench, &place, Value::Null).await;
    bench.secrets.put("login/secret-id", "canary-secret-id");
    let fault = assert_fault(
        bench.vault.read(&at, &source).await,
        "vault-login-denied",
        Class::Denied,
        &["secret-id", "roleId"],
    );
    assert!(!fault.to_string().contains("canary"));
    if let Auth::AppRole { mount, .. } = &mut at.auth {
        *mount = "nowhere".into();
    }
    assert_fault(bench.vault.read(&at, &source).await, "vault-login-denied", Class::Denied, &["auth/nowhere"]);
    bench.secrets.put("login/token", " \n");
    at.auth = Auth::Token { secret: key("login", "token") };
    assert_fault(
        bench.vault.read(&at, &source).await,
        "vault-login-secret-empty",
        Class::Misconfigured,
        &["spec.auth.token.secretKeyRef: "],
    );
    for (address, code) in [
        ("http://127.0.0.1:1/vault", "vault-address-invalid"),
        ("ftp://127.0.0.1", "vault-address-invalid"),
        ("http://user:pw@127.0.0.1", "vault-address-invalid"),
        ("not a url", "vault-address-invalid"),
    ] {
        let at = bench.by_token(address, "t");
        assert_fault(bench.vault.read(&at, &source).await, code, Class::Misconfigured, &["team-a/prod"]);
    }
}

#[tokio::test]
async fn lacking_rights_are_named_before_they_are_needed() {
    let place = place().await;
    let bench = Bench::new();
    let (bao, mount) = (place.bao, &place.mount);
    let at = bench.with_policy(bao, &format!("path \"{mount}/data/x\" {{ capabilities = [\"read\"] }}")).await;
    let source = kv2(mount, "x", &[]);
    bench.vault.check_rights(&at, &source, Strategy::None).await.unwrap();
    let outcome = bench.vault.check_rights(&at, &source, Strategy::WriteNewVersion).await;
    let line = format!("path \"{mount}/destroy/x\" {{ capabilities = [\"update\"] }}");
    let patch = format!("patch on {mount}/data/x");
    assert_fault(outcome, "vault-capability-missing", Class::Denied, &["spec.source.vault.kv.path: ", &line, &patch]);
    let outcome = bench.vault.check_rights(&at, &role("db", "app"), Strategy::RotateRole).await;
    let fields = ["spec.source.vault.database.staticRole: ", "update on db/rotate-role/app"];
    assert_fault(outcome, "vault-capability-missing", Class::Denied, &fields);

    // What was found is remembered, what was lacking is asked again.
    let before = bench.requests("capabilities");
    bench.vault.check_rights(&at, &source, Strategy::None).await.unwrap();
    assert_eq!(bench.requests("capabilities"), before);
    bench.vault.check_rights(&at, &source, Strategy::WriteNewVersion).await.unwrap_err();
    assert_eq!(bench.requests("capabilities"), before + 1);

    // A denied read names path, operation and the line to add; a young token is not replaced for it.
    let outcome = bench.vault.read(&at, &kv2(mount, "other", &[])).await;
    let line = format!("path \"{mount}/data/other\" {{ capabilities = [\"read\"] }}");
    assert_fault(outcome, "vault-denied", Class::Denied, &["spec.source.vault.kv.path: ", "read of", &line]);
    let outcome = bench.vault.read(&at, &role("db", "other")).await;
    assert_fault(outcome, "vault-denied", Class::Denied, &["spec.source.vault.database.staticRole: ", "read of"]);
    assert_eq!(bench.requests("lookup"), 1);
}

#[tokio::test]
async fn an_identity_that_may_not_ask_for_its_rights_goes_on() {
    let place = place().await;
    let body = json!({"policies": [place.policy], "no_default_policy": true, "ttl": "10m"});
    let made = place.bao.call("POST", "auth/token/create", Some(&body)).await.unwrap();
    let bench = Bench::new();
    let at = bench.by_token(place.bao.address(), made["auth"]["client_token"].as_str().unwrap());
    let source = kv2(&place.mount, "x", &[]);
    bench.vault.check_rights(&at, &source, Strategy::WriteNewVersion).await.unwrap();
    bench.vault.read(&at, &source).await.unwrap();
    assert_eq!(bench.requests("lookup"), 1);
}

#[tokio::test]
async fn policies_that_a_role_got_later_come_with_a_new_login() {
    let place = place().await;
    let bench = Bench::new();
    let login = place.bao.approle(&unique("role"), &["default"], &Value::Null).await.unwrap();
    bench.secrets.put("login/secret-id", &login.secret_id);
    let auth =
        Auth::AppRole { mount: "approle".into(), role_id: login.role_id.clone(), secret_id: key("login", "secret-id") };
    let at = connection(place.bao.address(), auth);
    let source = kv2(&place.mount, "x", &[]);
    assert_fault(bench.vault.read(&at, &source).await, "vault-denied", Class::Denied, &[]);
    let roles = place.bao.call("LIST", "auth/approle/role", None).await.unwrap();
    for name in roles["data"]["keys"].as_array().unwrap() {
        let role = format!("auth/approle/role/{}", name.as_str().unwrap());
        let id = place.bao.call("GET", &format!("{role}/role-id"), None).await.unwrap();
        if id["data"]["role_id"] == json!(login.role_id) {
            place.bao.call("POST", &role, Some(&json!({"token_policies": [place.policy]}))).await.unwrap();
        }
    }
    bench.clock.push(Span::from_secs(61));
    bench.vault.read(&at, &source).await.unwrap();
    assert_eq!(bench.requests("login"), 2);
}

#[tokio::test]
async fn a_namespace_is_a_vault_of_its_own() {
    let place = place().await;
    let name = unique("ns");
    let (status, answer) = place.bao.request("POST", &format!("sys/namespaces/{name}"), None).await.unwrap();
    if Vendor::chosen() == Vendor::Vault {
        assert_eq!(status, 404, "a Vault without a licence has no namespaces: {answer}");
        return;
    }
    assert_eq!(status, 200, "{answer}");
    let inside = format!("{name}/{}", place.mount);
    place.bao.call("POST", &format!("{name}/sys/mounts/{}", place.mount), Some(&json!({"type": "kv"}))).await.unwrap();
    place.bao.kv1_put(&inside, "x", json!({"a": "inside"})).await.unwrap();
    let bench = Bench::new();
    let mut at = bench.by_token(place.bao.address(), place.bao.root_token());
    let outside = bench.vault.read(&at, &kv2(&place.mount, "x", &[])).await.unwrap();
    assert_eq!(outside.fields["a"].expose(), "1");
    at.vault_namespace = name;
    let reading = bench.vault.read(&at, &kv1(&place.mount, "x", &[])).await.unwrap();
    assert_eq!(reading.fields["a"].expose(), "inside");
}

#[tokio::test]
async fn a_login_goes_on_while_only_the_settings_of_its_connection_change() {
    let place = place().await;
    let bench = Bench::new();
    let at = by_app_role(&bench, &place, json!({"token_ttl": "1h"})).await;
    let source = kv2(&place.mount, "x", &[]);
    bench.vault.read(&at, &source).await.unwrap();
    let other_timeout = Connection { timeout: Span::from_secs(19), ..at.clone() };
    let other_cleanup = Connection { cleanup: Some("c".into()), ..other_timeout.clone() };
    for same in [&other_timeout, &other_cleanup, &at, &other_cleanup] {
        bench.vault.read(same, &source).await.unwrap();
    }
    assert_eq!(bench.requests("login"), 1, "who logs in is the same");
    let elsewhere = Connection { address: place.bao.address().replace("127.0.0.1", "localhost"), ..at.clone() };
    bench.vault.read(&elsewhere, &source).await.unwrap();
    assert_eq!(bench.requests("login"), 2, "a token is shown to nobody but whom it is from");
    let again = by_app_role(&bench, &place, json!({"token_ttl": "1h"})).await;
    bench.vault.read(&again, &source).await.unwrap();
    assert_eq!(bench.requests("login"), 3, "another identity");
}

#[tokio::test]
async fn the_renewal_ends_with_the_client() {
    let place = place().await;
    let options = TokenOptions { ttl: Some("2s"), ..TokenOptions::default() };
    let token = place.bao.token(&[&place.policy], &options).await.unwrap();
    let bench = Bench::new();
    let at = bench.by_token(place.bao.address(), &token.token);
    bench.vault.read(&at, &kv2(&place.mount, "x", &[])).await.unwrap();
    drop(bench);
    let body = json!({"accessor": token.accessor});
    let ended = wait_until("the token's end", LONG, async || {
        let (status, _) = place.bao.request("POST", "auth/token/lookup-accessor", Some(&body)).await.ok()?;
        (status != 200).then_some(())
    });
    ended.await.unwrap();
}
