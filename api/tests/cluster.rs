//! The CRDs in a real API server: it takes them, refuses what the client side refuses, and prints the columns.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a panic in a test is its failure report"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ps_api::{Document, Kind};
use ps_testbed::{Cluster, Testbed, wait_until, workspace};
use serde::Deserialize;
use serde_json::{Value, json};

/// `testdata/bad-manifests.yaml`; its head says what it holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    bases: BTreeMap<String, Value>,
    bad: Vec<Case>,
    changes: Vec<Case>,
}

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

impl Case {
    fn settings(&self) -> Vec<BTreeMap<String, Value>> {
        let one = |value: &Value| BTreeMap::from([(self.at.clone().unwrap(), value.clone())]);
        let set = (!self.set.is_empty()).then(|| self.set.clone());
        self.values.iter().map(one).chain(set).collect()
    }
}

fn file() -> File {
    serde_yaml::from_str(include_str!("../testdata/bad-manifests.yaml")).unwrap()
}

/// Sets values by path below `spec`; null removes.
fn set(object: &mut Value, settings: &BTreeMap<String, Value>) {
    for (path, value) in settings {
        let (above, last) = path
            .rsplit_once('/')
            .map_or_else(|| ("/spec".to_owned(), path.as_str()), |(above, last)| (format!("/spec/{above}"), last));
        match (object.pointer_mut(&above).unwrap(), value) {
            (Value::Array(items), value) => items[last.parse::<usize>().unwrap()] = value.clone(),
            (Value::Object(members), Value::Null) => drop(members.remove(last).unwrap()),
            (Value::Object(members), value) => drop(members.insert(last.to_owned(), value.clone())),
            (other, _) => panic!("{path}: {other}"),
        }
    }
}

fn kind(object: &Value) -> Kind {
    Kind::ALL.into_iter().find(|kind| object["kind"] == kind.as_str()).unwrap()
}

fn path(kind: Kind, namespace: &str) -> String {
    let plural = match kind {
        Kind::Delivery => "secretdeliveries",
        Kind::Connection => "vaultconnections",
        Kind::ClusterConnection => return "/apis/passwordsender.io/v1alpha1/clustervaultconnections".to_owned(),
    };
    format!("/apis/passwordsender.io/v1alpha1/namespaces/{namespace}/{plural}")
}

fn named(mut object: Value, name: &str) -> Value {
    object["metadata"]["name"] = json!(name);
    object
}

async fn installed() -> &'static Cluster {
    let cluster = Testbed::connect_or_start().unwrap().cluster().await.unwrap();
    cluster.install_crds().await.unwrap();
    cluster
}

#[tokio::test]
async fn the_api_server_refuses_what_the_client_side_refuses() {
    let (cluster, file) = (installed().await, file());
    let namespace = cluster.namespace("rules").await.unwrap();
    let mut asked = 0;
    for (name, base) in &file.bases {
        let create = format!("{}?dryRun=All&fieldValidation=Strict", path(kind(base), &namespace));
        let (status, answer) = cluster.request("POST", &create, Some(base)).await.unwrap();
        assert_eq!(status, 201, "{name}: {answer}");
    }
    for case in &file.bad {
        for settings in case.settings() {
            let mut object = file.bases[&case.base].clone();
            set(&mut object, &settings);
            let create = format!("{}?dryRun=All", path(kind(&object), &namespace));
            let (status, answer) = cluster.request("POST", &create, Some(&object)).await.unwrap();
            assert_eq!(status, 422, "{settings:?} is let through: {answer}");
            let said = answer["message"].as_str().unwrap();
            let named =
                said.contains(&case.field) || said.contains("is a required value") || said.contains(" in body ");
            assert!(named, "{settings:?} should be about {}: {said}", case.field);
            // Both sides say the same words, wherever the server's are a rule's.
            let fault = Document::read(object).unwrap().object.unwrap_err();
            let rule = fault.message.split(" (also wrong").next().unwrap();
            let (place, many) = (fault.field.clone().unwrap_or_default(), said.contains('['));
            assert!(many || said.contains(rule) || !said.contains("failed rule"), "{place}: {rule:?} is not in {said}");
            asked += 1;
        }
    }
    for case in &file.changes {
        for settings in case.settings() {
            let (base, at) = (&file.bases[&case.base], path(kind(&file.bases[&case.base]), &namespace));
            let first = named(base.clone(), &format!("change-{asked}"));
            let mut second = cluster.call("POST", &at, Some(&first)).await.unwrap();
            set(&mut second, &settings);
            let replace = format!("{at}/change-{asked}");
            let (status, answer) = cluster.request("PUT", &replace, Some(&second)).await.unwrap();
            assert_eq!(status, 422, "{settings:?} is let through: {answer}");
            assert!(answer["message"].as_str().unwrap().contains("redeliver"), "{answer}");
            second["spec"]["redeliver"] = json!("another");
            let (status, answer) = cluster.request("PUT", &replace, Some(&second)).await.unwrap();
            assert_eq!(status, 200, "with redeliver: {answer}");
            asked += 1;
        }
    }
    println!("{asked} manifests refused");
    assert!(asked > 150);
}

#[tokio::test]
async fn an_object_that_nobody_looked_at_says_so_and_old_clients_may_replace_it() {
    let (cluster, file) = (installed().await, file());
    let namespace = cluster.namespace("status").await.unwrap();
    let at = path(Kind::Delivery, &namespace);
    let made = cluster.call("POST", &at, Some(&file.bases["kv"])).await.unwrap();
    assert_eq!(made["status"], json!({"observedGeneration": -1}));
    let one = format!("{at}/a");
    let there = cluster.call("GET", &one, None).await.unwrap();
    assert_eq!(there["status"], json!({"observedGeneration": -1}));
    assert_eq!(there["spec"], file.bases["kv"]["spec"], "no other default");
    // The whole object put back, as `kubectl replace` does, with and without a status.
    let again = cluster.call("PUT", &one, Some(&there)).await.unwrap();
    assert_eq!(again["metadata"]["generation"], 1);
    let mut bare = again.clone();
    bare.as_object_mut().unwrap().remove("status");
    assert_eq!(cluster.call("PUT", &one, Some(&bare)).await.unwrap()["metadata"]["generation"], 1);
    // What the operator writes stays, and conditions are kept by type.
    let status = json!({"status": {"observedGeneration": 1, "summary": "Delivered", "recipient": "a…@vendor.example",
        "expiresAt": "2099-12-01T12:00:00.000Z", "attempt": 1, "conditions": [
            {"type": "Ready", "status": "True", "reason": "Done", "message": "the mail was accepted", "observedGeneration": 1, "lastTransitionTime": "2026-12-01T08:00:00.000Z"},
            {"type": "Rotated", "status": "False", "reason": "NotDue", "message": "m", "observedGeneration": 1, "lastTransitionTime": "2026-12-01T08:00:00.000Z"}]}});
    let written = cluster.call("PATCH", &format!("{one}/status"), Some(&status)).await.unwrap();
    assert_eq!(written["status"]["summary"], "Delivered");
    let mut twice = status.clone();
    twice["status"]["conditions"][1]["type"] = json!("Ready");
    assert_eq!(cluster.request("PATCH", &format!("{one}/status"), Some(&twice)).await.unwrap().0, 422);

    let wide = cluster.kubectl(&["get", "sd", "-n", &namespace, "-o", "wide"]).await.unwrap();
    println!("{wide}");
    for (column, value) in [
        ("STATUS", "Delivered"),
        ("RECIPIENT", "a…@vendor.example"),
        ("EXPIRES", "2099-12-01T12:00:00.000Z"),
        ("ROTATED", "False"),
        ("AGE", ""),
        ("READY", "True"),
        ("CONNECTION", "prod"),
        ("MOUNT", "secret"),
        ("SOURCE", "apps/db"),
        ("MESSAGE", "the mail was accepted"),
    ] {
        assert!(wide.contains(column) && wide.contains(value), "{column} {value}: {wide}");
    }
    let short = cluster.kubectl(&["get", "password-sender", "-n", &namespace]).await.unwrap();
    assert!(short.contains("Delivered") && !short.contains("CONNECTION"), "{short}");
    let select = |name: &str| format!("spec.source.vault.connectionRef.name={name}");
    let by = async |name: &str| {
        cluster
            .kubectl(&["get", "sd", "-n", &namespace, "-o", "name", "--field-selector", &select(name)])
            .await
            .unwrap()
    };
    assert!(by("prod").await.contains("/a") && by("other").await.is_empty());
}

#[tokio::test]
async fn kubectl_explain_teaches() {
    let cluster = installed().await;
    for (path, words) in [
        ("sd.spec.rotation.afterRetrieval", "Example: `1h`"),
        ("vcon.spec.auth.kubernetes.audience", "never the API"),
        ("cvcon.spec.namespaces", "Default: none by name"),
        ("sd.spec.source.vault.connectionRef.kind", "Default: `VaultConnection`"),
        ("sd.status.conditions", "a person must act"),
    ] {
        // Discovery follows the CRDs a moment later.
        let explain = async || cluster.kubectl(&["explain", path]).await.ok();
        let said = wait_until("an explanation", Duration::from_secs(30), explain).await.unwrap();
        let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(words), "{path}: {said}");
    }
}

#[tokio::test]
async fn every_example_is_taken_by_kubectl_as_it_is_written() {
    let cluster = installed().await;
    let mut texts = Vec::new();
    for folder in ["examples", "examples/demo", "examples/kubernetes"] {
        for entry in std::fs::read_dir(workspace().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "yaml") {
                texts.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(texts.len() >= 7, "{texts:?}");
    let in_namespace = |line: &str| line.trim().strip_prefix("namespace: ").map(str::to_owned);
    let namespaces: BTreeSet<String> =
        texts.iter().flat_map(|(_, text)| text.lines().filter_map(in_namespace)).collect();
    for name in namespaces {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let (status, answer) = cluster.request("POST", "/api/v1/namespaces", Some(&namespace)).await.unwrap();
        assert!(status == 201 || status == 409, "{answer}");
    }
    for (name, text) in texts {
        // kubectl reads YAML 1.1, where some words are no texts, and refuses unknown fields.
        let arguments = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
        let done = cluster.kubectl_as(&cluster.admin_kubeconfig(), &arguments, text.as_bytes()).await.unwrap();
        assert!(done.success, "{name}: {}", done.stderr);
    }
}
