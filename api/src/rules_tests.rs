//! Every CEL rule has a manifest here that breaks it, and the table is checked against the schema: a new rule without an
//! entry fails the test, and so does a rule that can't be evaluated on the client side.

use std::collections::BTreeSet;

use kube::core::cel::{ErrorKind, compile_schema, validate_compiled};
use ps_core::error::Class;
use serde_json::{Value, json};

use crate::parse::Kind;
use crate::{validate, validate_update};

pub(crate) fn kv() -> Value {
    json!({
        "apiVersion": "passwordsender.io/v1alpha1", "kind": "SecretDelivery", "metadata": {"name": "a"},
        "spec": {
            "recipient": {"email": "alice@vendor.example", "name": "Alice", "locale": "de-AT"},
            "source": {"vault": {"connectionRef": {"name": "prod"}, "kv": {"mount": "secret", "path": "apps/db", "keys": ["user", "pass"]}}},
            "fields": [{"label": "User", "key": "user"}, {"key": "pass", "kind": "password"}],
            "context": {"title": "t", "purpose": "p\nq", "environment": "e", "url": "https://x.example/y?z", "note": "n\t1"},
            "sender": "Platform", "link": {"ttl": "4h", "claimWindow": "15m"}, "deliverBefore": "2026-12-01T00:00:00Z",
            "verification": {"passphrase": {"secretKeyRef": {"name": "s", "key": "k"}}},
            "rotation": {"strategy": "WriteNewVersion", "keys": ["pass"], "passwordPolicy": "strong", "afterRetrieval": "1h30m"},
            "notify": {"email": "x@y", "on": ["Retrieved", "Rotated"]}, "redeliver": "1",
        },
    })
}

pub(crate) fn database() -> Value {
    json!({
        "apiVersion": "passwordsender.io/v1alpha1", "kind": "SecretDelivery", "metadata": {"name": "a"},
        "spec": {
            "recipient": {"email": "alice@vendor.example"},
            "source": {"vault": {"connectionRef": {"name": "prod"}, "database": {"mount": "database", "staticRole": "reporting"}}},
            "fields": [{"key": "username"}, {"key": "password", "kind": "password"}],
            "rotation": {"strategy": "Auto", "afterRetrieval": "1h"},
        },
    })
}

pub(crate) fn vault() -> Value {
    json!({
        "apiVersion": "passwordsender.io/v1alpha1", "kind": "VaultConnection", "metadata": {"name": "a"},
        "spec": {
            "address": "https://vault.example.com:8200", "namespace": "team/prod", "tlsServerName": "vault.internal", "timeout": "10s",
            "caBundle": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "auth": {"appRole": {"mount": "approle", "roleId": "r", "secretIdRef": {"name": "s", "key": "k"}}},
        },
    })
}

/// `base` with the value at each JSON path below `spec` replaced; a null removes it.
fn with(mut base: Value, changes: &[(&str, Value)]) -> Value {
    for (path, value) in changes {
        let mut at = &mut base["spec"];
        let mut steps: Vec<&str> = path.split('/').collect();
        let last = steps.pop().unwrap();
        for step in steps {
            at = match step.parse::<usize>() {
                Ok(i) => &mut at[i],
                Err(_) => &mut at[step],
            };
        }
        match (last.parse::<usize>(), value) {
            (Ok(i), value) => at[i] = value.clone(),
            (Err(_), Value::Null) => drop(at.as_object_mut().unwrap().remove(last)),
            (Err(_), value) => at[last] = value.clone(),
        }
    }
    base
}

struct Bad {
    kind: Kind,
    object: Value,
    old: Option<Value>,
    field: &'static str,
}

fn table() -> Vec<Bad> {
    let mut out = Vec::new();
    let mut add = |kind, base: Value, changes: &[(&str, Value)], field| {
        out.push(Bad { kind, object: with(base, changes), old: None, field });
    };
    let d = Kind::Delivery;
    let mut email = |bad: &str| add(d, kv(), &[("recipient/email", json!(bad))], "spec.recipient.email");
    for bad in [
        "",
        "alice",
        "a b@c.d",
        "Alice <a@b.c>",
        "a@b@c",
        "a@b.c\r\nBcc: x@y.z",
        "a..b@c.d",
        ".a@b.c",
        "a@-b.c",
        "a@b..c",
        "ä@b.c",
        "\"a\"@b.c",
    ] {
        email(bad);
    }
    email(&format!("{}@b.c", "a".repeat(65)));
    add(d, kv(), &[("recipient/name", json!("A\nB"))], "spec.recipient.name");
    add(d, kv(), &[("recipient/locale", json!("de_AT"))], "spec.recipient.locale");
    add(d, kv(), &[("source/vault/connectionRef/name", json!("Prod"))], "spec.source.vault.connectionRef.name");
    for bad in ["", "/secret", "secret/", "a//b", "../sys", "a/./b", "a/..", "a\nb"] {
        add(d, kv(), &[("source/vault/kv/mount", json!(bad))], "spec.source.vault.kv.mount");
        add(d, kv(), &[("source/vault/kv/path", json!(bad))], "spec.source.vault.kv.path");
        add(d, database(), &[("source/vault/database/mount", json!(bad))], "spec.source.vault.database.mount");
        add(
            d,
            database(),
            &[("source/vault/database/staticRole", json!(bad.replace("secret", "a/b")))],
            "spec.source.vault.database.staticRole",
        );
        add(
            d,
            kv(),
            &[("rotation/passwordPolicy", json!(bad.replace("secret", "a/b")))],
            "spec.rotation.passwordPolicy",
        );
        add(Kind::Connection, vault(), &[("namespace", json!(bad))], "spec.namespace");
        add(Kind::Connection, vault(), &[("auth/appRole/mount", json!(bad))], "spec.auth.appRole.mount");
    }
    add(d, kv(), &[("source/vault/kv/keys", json!(["user", "pass", "user"]))], "spec.source.vault.kv.keys");
    add(d, kv(), &[("source/vault/database", json!({"mount": "m", "staticRole": "r"}))], "spec.source.vault");
    add(d, kv(), &[("source/vault/kv", json!(null))], "spec.source.vault");
    add(d, kv(), &[("fields/0/label", json!("a\u{7f}"))], "spec.fields[0].label");
    add(d, kv(), &[("fields/0/key", json!("us\ner"))], "spec.fields[0].key");
    add(d, kv(), &[("fields/0/key", json!("pass"))], "spec.fields");
    for line in ["context/title", "context/environment", "sender", "redeliver"] {
        add(
            d,
            kv(),
            &[(line, json!("two\nlines"))],
            Box::leak(format!("spec.{}", line.replace('/', ".")).into_boxed_str()),
        );
    }
    for text in ["context/purpose", "context/note"] {
        add(
            d,
            kv(),
            &[(text, json!("a\u{0}"))],
            Box::leak(format!("spec.{}", text.replace('/', ".")).into_boxed_str()),
        );
    }
    for bad in ["javascript:alert(1)", "ftp://x", "https://a b", "https://", "https://ü"] {
        add(d, kv(), &[("context/url", json!(bad))], "spec.context.url");
    }
    for bad in ["", "59s", "721h", "1d", "4", "h", "-1h", "1.5h", "30 m", "999999h"] {
        add(d, kv(), &[("link/ttl", json!(bad))], "spec.link.ttl");
    }
    add(d, kv(), &[("link/claimWindow", json!("0s"))], "spec.link.claimWindow");
    add(d, kv(), &[("link/claimWindow", json!("25h"))], "spec.link.claimWindow");
    add(d, kv(), &[("link/claimWindow", json!("2h"))], "spec.link.claimWindow");
    add(d, kv(), &[("rotation/afterRetrieval", json!("8761h"))], "spec.rotation.afterRetrieval");
    add(d, kv(), &[("rotation/afterRetrieval", json!("forever"))], "spec.rotation.afterRetrieval");
    add(
        d,
        kv(),
        &[("verification/passphrase/secretKeyRef/name", json!("../x"))],
        "spec.verification.passphrase.secretKeyRef.name",
    );
    add(
        d,
        kv(),
        &[("verification/passphrase/secretKeyRef/key", json!(".."))],
        "spec.verification.passphrase.secretKeyRef.key",
    );
    add(d, kv(), &[("notify/email", json!("nobody"))], "spec.notify.email");
    add(d, kv(), &[("notify/on", json!(["Rotated", "Rotated"]))], "spec.notify.on");
    // strategies
    for strategy in [json!("Auto"), json!("RotateRole"), json!(null)] {
        add(
            d,
            kv(),
            &[
                ("rotation/strategy", strategy),
                ("rotation/keys", json!(null)),
                ("rotation/passwordPolicy", json!(null)),
            ],
            "spec.rotation.strategy",
        );
    }
    add(d, database(), &[("rotation/strategy", json!("WriteNewVersion"))], "spec.rotation.strategy");
    add(d, database(), &[("rotation/afterRetrieval", json!(null))], "spec.rotation.afterRetrieval");
    add(d, database(), &[("rotation", json!(null))], "spec.rotation.afterRetrieval");
    add(d, kv(), &[("rotation/afterRetrieval", json!(null))], "spec.rotation.afterRetrieval");
    add(d, database(), &[("rotation/strategy", json!("None"))], "spec.rotation.afterRetrieval");
    add(
        d,
        database(),
        &[("rotation", json!({"strategy": "None", "beforeDelivery": true}))],
        "spec.rotation.beforeDelivery",
    );
    add(d, database(), &[("rotation/passwordPolicy", json!("p"))], "spec.rotation.passwordPolicy");
    add(d, database(), &[("rotation/keys", json!(["password"]))], "spec.rotation.keys");
    add(d, kv(), &[("rotation/keys", json!(["pass", "pass"]))], "spec.rotation.keys");
    add(d, kv(), &[("rotation/keys", json!(null)), ("fields", json!(null))], "spec.rotation.keys");
    add(d, kv(), &[("rotation/keys", json!(["other"]))], "spec.rotation.keys");
    add(
        d,
        kv(),
        &[("source/vault/kv/keys", json!(null)), ("fields", json!(null)), ("source/vault/kv/version", json!(1))],
        "spec.source.vault.kv.keys",
    );
    add(d, kv(), &[("fields", json!([{"key": "pass"}]))], "spec.fields");
    add(d, database(), &[("fields/0/key", json!("user"))], "spec.fields");
    // connections
    let c = Kind::Connection;
    for bad in [
        "",
        "vault.example.com",
        "https://v/vault",
        "http://vault.example.com",
        "https://a b",
        "https://u:p@v",
        "https://v?x",
        "https://v:123456",
        "ftp://v",
        "http://127.0.0.1.evil.example",
    ] {
        add(
            c,
            vault(),
            &[("address", json!(bad)), ("caBundle", json!(null)), ("tlsServerName", json!(null))],
            "spec.address",
        );
    }
    add(c, vault(), &[("address", json!("http://127.0.0.1:8200")), ("tlsServerName", json!(null))], "spec.caBundle");
    add(c, vault(), &[("address", json!("http://[::1]:8200")), ("caBundle", json!(null))], "spec.tlsServerName");
    add(c, vault(), &[("caBundle", json!("AAAA"))], "spec.caBundle");
    add(
        c,
        vault(),
        &[("caBundle", json!("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----"))],
        "spec.caBundle",
    );
    add(c, vault(), &[("tlsServerName", json!("https://v"))], "spec.tlsServerName");
    add(c, vault(), &[("timeout", json!("3m"))], "spec.timeout");
    add(c, vault(), &[("auth/token", json!({"secretKeyRef": {"name": "a", "key": "b"}}))], "spec.auth");
    add(c, vault(), &[("auth", json!({}))], "spec.auth");
    add(
        c,
        vault(),
        &[("auth", json!({"token": {"secretKeyRef": {"name": "A", "key": "b"}}}))],
        "spec.auth.token.secretKeyRef.name",
    );
    add(
        c,
        vault(),
        &[("auth", json!({"token": {"secretKeyRef": {"name": "a", "key": "b/c"}}}))],
        "spec.auth.token.secretKeyRef.key",
    );
    add(c, vault(), &[("auth/appRole/roleId", json!("a\nb"))], "spec.auth.appRole.roleId");
    add(c, vault(), &[("auth/appRole/secretIdRef/name", json!("a b"))], "spec.auth.appRole.secretIdRef.name");
    add(c, vault(), &[("auth/appRole/secretIdRef/key", json!(""))], "spec.auth.appRole.secretIdRef.key");
    // changes
    for change in [
        ("recipient/email", json!("bob@vendor.example")),
        ("source/vault/kv/path", json!("apps/other")),
        ("recipient/name", json!(null)),
    ] {
        out.push(Bad { kind: d, object: with(kv(), &[change]), old: Some(kv()), field: "spec.redeliver" });
    }
    out
}

fn crd(kind: Kind) -> Value {
    crate::crd::schema(&match kind {
        Kind::Delivery => crate::crd::delivery(),
        Kind::Connection => crate::crd::connection(),
    })
}

/// (path of the schema node, rule) of every rule below `node`.
fn rules(node: &Value, path: &str, out: &mut BTreeSet<(String, String)>) {
    for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let field = rule["fieldPath"].as_str().unwrap_or_default();
        out.insert((format!("{path}{field}"), rule["rule"].as_str().unwrap().to_owned()));
    }
    for (name, below) in node["properties"].as_object().into_iter().flatten() {
        rules(below, format!("{path}.{name}").trim_start_matches('.'), out);
    }
    if node["items"].is_object() {
        rules(&node["items"], &format!("{path}[]"), out);
    }
}

#[test]
fn good_manifests_pass() {
    validate(Kind::Delivery, &kv()).unwrap();
    validate(Kind::Delivery, &database()).unwrap();
    validate(Kind::Connection, &vault()).unwrap();
    let moved = with(kv(), &[("recipient/email", json!("bob@vendor.example")), ("redeliver", json!("2"))]);
    validate_update(Kind::Delivery, &moved, &kv()).unwrap();
    validate_update(Kind::Delivery, &with(kv(), &[("revoked", json!(true))]), &kv()).unwrap();
    for good in ["1m", "720h", "1h30m", "90s"] {
        validate(Kind::Delivery, &with(kv(), &[("link/ttl", json!(good)), ("link/claimWindow", json!("1s"))])).unwrap();
    }
    for good in ["https://v", "https://10.0.0.1:8200/", "https://[::1]:8200"] {
        validate(Kind::Connection, &with(vault(), &[("address", json!(good))])).unwrap();
    }
}

#[test]
fn each_bad_manifest_names_its_field_and_a_remedy() {
    for Bad { kind, object, old, field } in table() {
        let fault = match &old {
            Some(old) => validate_update(kind, &object, old),
            None => validate(kind, &object),
        }
        .expect_err(field);
        assert_eq!((fault.code.as_str(), fault.class), ("invalid-spec", Class::Misconfigured), "{fault}");
        let named = fault.field.as_deref() == Some(field) || fault.message.contains(field);
        assert!(named, "{field}: {fault} for {}", object["spec"]);
        assert!(!fault.remedy.is_empty(), "{fault}");
    }
}

#[test]
fn every_rule_is_evaluated_and_broken_by_some_manifest() {
    for kind in [Kind::Delivery, Kind::Connection] {
        let schema = crd(kind);
        let compiled = compile_schema(&schema);
        assert!(!compiled.has_errors(), "{:?}", compiled.compilation_errors());
        let mut open = BTreeSet::new();
        rules(&schema, "", &mut open);
        assert!(open.len() > 10);
        for bad in table().into_iter().filter(|bad| bad.kind == kind) {
            let Err(errors) = validate_compiled(&compiled, &bad.object, bad.old.as_ref()) else { continue };
            for error in errors.into_vec() {
                // Only a duration that is none may keep a rule over two durations from being evaluated.
                let excused = error.kind == ErrorKind::EvaluationError && error.rule.contains("duration(");
                assert!(excused || error.kind == ErrorKind::ValidationFailure, "{error}");
                if error.kind == ErrorKind::ValidationFailure {
                    let place: String = error.field_path.split(['0', '1', '2', '3']).collect();
                    open.remove(&(place, error.rule));
                }
            }
        }
        assert!(open.is_empty(), "no manifest of the table breaks: {open:#?}");
    }
}

#[test]
fn every_message_names_its_field_and_a_remedy() {
    fn walk(node: &Value) {
        for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let message = rule["message"].as_str().expect("a message");
            let (wrong, remedy) = message.split_once("; ").unwrap_or_else(|| panic!("no remedy: {message}"));
            assert!(!wrong.is_empty() && !remedy.is_empty() && message.len() < 400, "{message}");
        }
        node["properties"].as_object().into_iter().flatten().for_each(|(_, below)| walk(below));
        if node["items"].is_object() {
            walk(&node["items"]);
        }
    }
    walk(&crd(Kind::Delivery));
    walk(&crd(Kind::Connection));
}

#[test]
fn every_field_is_documented_and_bounded() {
    fn walk(node: &Value, path: &str) {
        let words = node["description"].as_str().unwrap_or_default();
        assert!(words.len() > 10, "{path} has no description");
        if path.starts_with("spec.") && node["type"] == "string" && node["enum"].is_null() {
            assert!(node["maxLength"].is_u64(), "{path} is not bounded, so its rules have no bounded cost");
        }
        if path.starts_with("spec.") && node["type"] == "array" {
            assert!(node["maxItems"].is_u64(), "{path} is not bounded");
        }
        assert!(node.get("default").is_none() && node.get("nullable").is_none(), "{path}");
        node["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .for_each(|(name, below)| walk(below, format!("{path}.{name}").trim_start_matches('.')));
        if node["items"]["type"] == "object" {
            walk(&node["items"], &format!("{path}[]"));
        }
    }
    for kind in [Kind::Delivery, Kind::Connection] {
        walk(&crd(kind)["properties"]["spec"], "spec");
    }
    walk(&crd(Kind::Delivery)["properties"]["status"], "status");
}

#[test]
fn status_has_the_shape_of_the_operators_own() {
    use ps_core::status::{Condition, Status, StatusEvidence};
    let text = || Some("2026-12-01T00:00:00Z".to_owned());
    let full = Status {
        observed_generation: 3,
        summary: "Delivered".into(),
        attempt: 1,
        recipient: "a…@b".into(),
        delivered_at: text(),
        expires_at: text(),
        retrieved_at: text(),
        rotation_due_at: text(),
        evidence: Some(StatusEvidence { scope: "Target".into(), by: "Us".into(), at: "t".into(), seen: "s".into() }),
        next_wake_up: text(),
        conditions: vec![Condition {
            r#type: "Ready".into(),
            status: "True".into(),
            reason: "Delivered".into(),
            message: "m".into(),
            observed_generation: 3,
            last_transition_time: "t".into(),
        }],
    };
    let written = serde_json::to_value(&full).unwrap();
    let read: crate::SecretDeliveryStatus = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), written);
    let known = crd(Kind::Delivery)["properties"]["status"].clone();
    assert_eq!(crate::check::check(&known, &written, "status"), []);
    for name in known["properties"].as_object().unwrap().keys() {
        assert!(written.get(name).is_some(), "status.{name} is in the schema, but the operator never writes it");
    }
    assert_eq!(known["properties"]["conditions"]["x-kubernetes-list-map-keys"], json!(["type"]));
}
