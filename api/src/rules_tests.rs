//! Every CEL rule has a manifest in `testdata/bad-manifests.yaml` that breaks it, and the table is checked against the
//! schema: a new rule without an entry fails the test, and so does a rule that can't be evaluated on the client side.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::cel::{ErrorKind, compile_schema, validate_compiled};
use ps_core::error::Class;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::parse::Kind;
use crate::{validate, validate_update};

/// The file that the operator's own test reads too.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    bases: BTreeMap<String, Value>,
    bad: Vec<Case>,
    changes: Vec<Case>,
}

/// See the head of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    base: String,
    #[serde(default)]
    set: BTreeMap<String, Value>,
    at: Option<String>,
    #[serde(default)]
    values: Vec<Value>,
    field: String,
}

fn file() -> File {
    serde_yaml::from_str(include_str!("../testdata/bad-manifests.yaml")).unwrap()
}

fn kv() -> Value {
    file().bases["kv"].clone()
}

fn database() -> Value {
    file().bases["database"].clone()
}

fn cluster() -> Value {
    file().bases["clusterConnection"].clone()
}

fn vault() -> Value {
    file().bases["connection"].clone()
}

/// `base` with the value at each JSON path below `spec` replaced; a null removes it.
fn with<'a>(mut base: Value, changes: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Value {
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
    field: String,
}

fn table() -> Vec<Bad> {
    let file = file();
    let mut out = Vec::new();
    for (case, is_change) in file.bad.iter().map(|c| (c, false)).chain(file.changes.iter().map(|c| (c, true))) {
        let base = &file.bases[&case.base];
        assert_eq!(
            (case.set.is_empty(), case.at.is_some()),
            (case.at.is_some(), !case.values.is_empty()),
            "{}",
            case.field
        );
        let mut objects: Vec<Value> =
            case.values.iter().map(|value| with(base.clone(), [(case.at.as_deref().unwrap(), value)])).collect();
        if !case.set.is_empty() {
            objects.push(with(base.clone(), case.set.iter().map(|(path, value)| (path.as_str(), value))));
        }
        let kind = Kind::ALL.into_iter().find(|kind| base["kind"] == kind.as_str()).unwrap();
        let old = is_change.then(|| base.clone());
        out.extend(objects.into_iter().map(|object| Bad { kind, object, old: old.clone(), field: case.field.clone() }));
    }
    assert!(out.len() > 150, "{}", out.len());
    out
}

fn crd(kind: Kind) -> Value {
    crate::crd::schema(&crate::crd::crd(kind))
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
    validate(Kind::ClusterConnection, &cluster()).unwrap();
    let moved = with(kv(), [("recipient/email", &json!("bob@vendor.example")), ("redeliver", &json!("2"))]);
    validate_update(Kind::Delivery, &moved, &kv()).unwrap();
    validate_update(Kind::Delivery, &with(kv(), [("revoked", &json!(true))]), &kv()).unwrap();
    // The kind that is meant without being written is no change.
    let kind = |kind: &str| with(kv(), [("source/vault/connectionRef/kind", &json!(kind))]);
    validate_update(Kind::Delivery, &kind("VaultConnection"), &kv()).unwrap();
    validate_update(Kind::Delivery, &kv(), &kind("VaultConnection")).unwrap();
    validate_update(Kind::Delivery, &kind("ClusterVaultConnection"), &kv()).unwrap_err();
    for good in ["1m", "720h", "1h30m", "90s"] {
        validate(Kind::Delivery, &with(kv(), [("link/ttl", &json!(good)), ("link/claimWindow", &json!("1s"))]))
            .unwrap();
    }
    for good in ["https://v", "https://10.0.0.1:8200/", "https://[::1]:8200"] {
        validate(Kind::Connection, &with(vault(), [("address", &json!(good))])).unwrap();
    }
    for good in ["vault", "https://vault.example.com:8200", "openbao", "https://kubernetes.vault.example"] {
        let auth = json!({"kubernetes": {"role": "r", "serviceAccountRef": {"name": "sa"}, "audience": good}});
        validate(Kind::Connection, &with(vault(), [("auth", &auth)])).unwrap();
    }
    for good in [json!({"namespaces": null}), json!({"namespaceSelector": null}), json!({"namespaces": []})] {
        let settings = good.as_object().unwrap();
        validate(Kind::ClusterConnection, &with(cluster(), settings.iter().map(|(k, v)| (k.as_str(), v)))).unwrap();
    }
}

#[test]
fn each_bad_manifest_names_its_field_and_a_remedy() {
    for Bad { kind, object, old, field } in table() {
        let fault = match &old {
            Some(old) => validate_update(kind, &object, old),
            None => validate(kind, &object),
        }
        .expect_err(&field);
        assert_eq!((fault.code.as_str(), fault.class), ("invalid-spec", Class::Misconfigured), "{fault}");
        let named = fault.field.as_deref() == Some(field.as_str()) || fault.message.contains(&field);
        assert!(named, "{field}: {fault} for {}", object["spec"]);
        assert!(!fault.remedy.is_empty(), "{fault}");
    }
}

#[test]
fn every_rule_is_evaluated_and_broken_by_some_manifest() {
    for kind in Kind::ALL {
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
    Kind::ALL.into_iter().for_each(|kind| walk(&crd(kind)));
}

#[test]
fn every_field_teaches_and_is_bounded() {
    fn walk(node: &Value, path: &str) {
        let words = node["description"].as_str().unwrap_or_default();
        assert!(words.len() > 10 && words.len() < 1000, "{path}: {words:?}");
        // An element says what it is; its list has the example.
        let field = !path.ends_with("[]");
        let wanted = path.starts_with("spec") && field;
        // To YAML 1.1, which kubectl reads, these are no texts.
        let leaf = path.rsplit('.').next().unwrap_or_default().to_lowercase();
        assert!(!["on", "off", "yes", "no", "y", "n", "true", "false", "null"].contains(&leaf.as_str()), "{path}");
        if wanted {
            let or = words.contains("Default:") || words.contains("Required");
            assert!(or, "{path} says neither its default nor that it is required: {words}");
        }
        if field {
            assert!(words.contains("Example:"), "{path} has no example: {words}");
        }
        if wanted && node["type"] == "string" && node["enum"].is_null() {
            assert!(node["maxLength"].is_u64(), "{path} is not bounded, so its rules have no bounded cost");
        }
        if wanted && node["type"] == "array" {
            assert!(node["maxItems"].is_u64(), "{path} is not bounded");
        }
        if wanted && node["additionalProperties"].is_object() {
            assert!(node["maxProperties"].is_u64(), "{path} is not bounded");
        }
        let default = if path == "status" { json!({"observedGeneration": -1}) } else { Value::Null };
        assert_eq!(node["default"], default, "{path}");
        assert!(node.get("nullable").is_none(), "{path}");
        node["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .for_each(|(name, below)| walk(below, format!("{path}.{name}").trim_start_matches('.')));
        if node["items"]["type"] == "object" {
            walk(&node["items"], &format!("{path}[]"));
        }
    }
    for kind in Kind::ALL {
        walk(&crd(kind)["properties"]["spec"], "spec");
    }
    walk(&crd(Kind::Delivery)["properties"]["status"], "status");
}

#[test]
fn crds_have_their_names_and_stay_small_enough_for_kubectl() {
    let mut taken = BTreeSet::new();
    for kind in Kind::ALL {
        let crd = crate::crd::crd(kind);
        let names = &crd["spec"]["names"];
        assert_eq!(names["kind"], kind.as_str());
        assert_eq!(names["categories"], json!(["password-sender"]));
        for name in ["plural", "singular"]
            .map(|n| names[n].clone())
            .into_iter()
            .chain(names["shortNames"].as_array().unwrap().clone())
        {
            assert!(taken.insert(name.to_string()), "{name} is there twice");
        }
        let scope = if kind.is_namespaced() { "Namespaced" } else { "Cluster" };
        assert_eq!(crd["spec"]["scope"], scope);
        // `kubectl apply` keeps the whole object in an annotation, and annotations end at 256 KiB.
        assert!(crd.to_string().len() < 128 * 1024, "{}", crd.to_string().len());
        assert!(crd["metadata"]["annotations"].is_null() && crd["metadata"]["labels"].is_null());
    }
    let fields = crate::crd::crd(Kind::Delivery)["spec"]["versions"][0]["selectableFields"].clone();
    let paths = [".spec.source.vault.connectionRef.name", ".spec.recipient.email", ".status.summary"];
    assert_eq!(fields, json!(paths.map(|path| json!({"jsonPath": path}))));
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
