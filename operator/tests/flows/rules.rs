//! Every CEL rule of the generated CRDs, broken in a real operator's folder: each ends in a condition with the rule's own
//! words, nothing is sent, nothing is tried again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use ps_testbed::{SmtpOptions, SmtpServer, Testbed, unique, workspace};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{KvSource, SOON, Setup, Stand, kv_delivery};

/// `api/testdata/bad-manifests.yaml`; its head says what it holds.
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
    /// What each of its manifests sets, by path below `spec`.
    fn settings(&self) -> Vec<BTreeMap<String, Value>> {
        let one = |value: &Value| BTreeMap::from([(self.at.clone().unwrap(), value.clone())]);
        let set = (!self.set.is_empty()).then(|| self.set.clone());
        self.values.iter().map(one).chain(set).collect()
    }
}

/// Sets values by path below `spec`; null removes.
fn set(object: &mut Value, settings: &BTreeMap<String, Value>) {
    for (path, value) in settings {
        let (above, last) = path
            .rsplit_once('/')
            .map_or_else(|| ("/spec".to_owned(), path.as_str()), |(above, last)| (format!("/spec/{above}"), last));
        let parent = object.pointer_mut(&above).unwrap();
        match (parent, value) {
            (Value::Array(items), value) => items[last.parse::<usize>().unwrap()] = value.clone(),
            (Value::Object(members), Value::Null) => drop(members.remove(last).unwrap()),
            (Value::Object(members), value) => drop(members.insert(last.to_owned(), value.clone())),
            (other, _) => panic!("{path}: {other}"),
        }
    }
}

fn named(mut object: Value, name: &str) -> Value {
    object["metadata"]["name"] = json!(name);
    object
}

fn yaml(object: &Value) -> String {
    serde_yaml::to_string(object).unwrap()
}

/// (field as conditions name it, without the indices of lists; what is wrong; what to do) of every rule of every CRD.
fn rules_of_the_crds() -> BTreeSet<(String, String, String)> {
    fn walk(node: &Value, path: &str, found: &mut BTreeSet<(String, String, String)>) {
        for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let (wrong, remedy) = rule["message"].as_str().unwrap().split_once("; ").unwrap();
            let field = rule["fieldPath"].as_str().unwrap_or_default();
            found.insert((format!("{path}{field}"), wrong.to_owned(), remedy.to_owned()));
        }
        for (name, below) in node["properties"].as_object().into_iter().flatten() {
            walk(below, format!("{path}.{name}").trim_start_matches('.'), found);
        }
        if node["items"].is_object() {
            walk(&node["items"], &format!("{path}[]"), found);
        }
    }
    let mut found = BTreeSet::new();
    for file in fs::read_dir(workspace().join("crds")).unwrap() {
        let crd: Value = serde_yaml::from_str(&fs::read_to_string(file.unwrap().path()).unwrap()).unwrap();
        for version in crd["spec"]["versions"].as_array().unwrap() {
            walk(&version["schema"]["openAPIV3Schema"], "", &mut found);
        }
    }
    assert!(found.len() > 50, "{found:#?}");
    found
}

/// Whether a condition's message is of this rule: its field, its first half, its remedy.
fn speaks_of(message: &str, (field, wrong, remedy): &(String, String, String)) -> bool {
    let message: String = message.split(|c: char| c.is_ascii_digit()).collect();
    let bare = |text: &str| -> String { text.split(|c: char| c.is_ascii_digit()).collect() };
    let (first, rest) = remedy.split_at(1);
    message.starts_with(&bare(&format!("{field}: {wrong}")))
        && message.ends_with(&bare(&format!(". {}{rest}", first.to_uppercase())))
}

#[tokio::test]
async fn every_rule_of_the_crds_ends_in_a_condition_that_names_field_and_remedy() {
    let path = workspace().join("api/testdata/bad-manifests.yaml");
    let file: File = serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let smtp = SmtpServer::start(SmtpOptions::default()).await.unwrap();
    let stand = Stand::with_smtp(Setup::default(), &smtp).await;
    let source = KvSource::new(bao).await;
    let anywhere = format!("path \"{}/*\" {{ capabilities = [\"read\", \"patch\", \"update\"] }}", source.mount);
    stand.connect(bao, bao.address(), &anywhere).await;
    let start = Instant::now();

    // What is changed badly was good before, and delivered.
    bao.kv_put(&source.mount, "apps/db", json!({"user": "shop", "pass": unique("pw")})).await.unwrap();
    stand.secret("s", "k", &format!("correct horse battery {}", unique("staple")));
    let real = BTreeMap::from([
        ("source/vault/kv/mount".to_owned(), json!(source.mount)),
        ("source/vault/connectionRef/name".to_owned(), json!("vault")),
    ]);
    let mut changes = Vec::new();
    for (index, case) in file.changes.iter().enumerate() {
        let name = format!("change-{index:02}");
        let mut object = named(file.bases[&case.base].clone(), &name);
        set(&mut object, &real);
        stand.apply(&name, &yaml(&object));
        changes.push((name, object, case));
    }
    for (name, ..) in &changes {
        stand.wait_status(name, "the first form delivered", SOON, |s| s.is("Delivered")).await;
    }
    let sent = smtp.all_mails().await.unwrap().len();
    assert_eq!(sent, changes.len());

    // All at once: (delivery whose status tells, field, whether it is a connection's fault).
    let mut all: Vec<(String, &str, bool)> = Vec::new();
    for (name, mut object, case) in changes {
        set(&mut object, &case.settings().remove(0));
        stand.apply(&name, &yaml(&object));
        all.push((name, &case.field, false));
    }
    for (case, settings) in file.bad.iter().flat_map(|case| case.settings().into_iter().map(move |s| (case, s))) {
        let name = format!("bad-{:03}", all.len());
        let base = &file.bases[&case.base];
        let mut object = named(base.clone(), &name);
        set(&mut object, &settings);
        stand.apply(&name, &yaml(&object));
        let connection = base["kind"] != "SecretDelivery";
        if connection {
            // A connection has no status of its own: those who use it tell.
            let mut user = named(file.bases["database"].clone(), &name);
            let reference = &mut user["spec"]["source"]["vault"]["connectionRef"];
            reference["name"] = json!(name);
            if base["kind"] != "VaultConnection" {
                reference["kind"] = base["kind"].clone();
            }
            stand.apply(&format!("{name}-user"), &yaml(&user));
        }
        all.push((name, &case.field, connection));
    }
    assert!(all.len() > 150, "{}", all.len());

    let mut open = rules_of_the_crds();
    for (name, field, _) in &all {
        let said = |s: &crate::support::Seen| s.stalled().is_some() && s.condition("Stalled").2.contains(field);
        let seen = stand.wait_status(name, &format!("a stall that names {field}"), SOON * 2, said).await;
        let (_, reason, message) = seen.condition("Stalled");
        assert_eq!((reason, seen.condition("Ready").0), ("InvalidSpec", "False"), "{name}: {message}");
        let remedy = message.split_once(". ").map(|(_, remedy)| remedy).unwrap_or_default();
        assert!(!remedy.is_empty(), "{name}: no remedy in {message:?}");
        open.retain(|rule| !speaks_of(message, rule));
    }
    assert!(open.is_empty(), "no manifest's condition speaks of: {open:#?}");

    // Something good after all the bad is delivered, and is all that was sent since.
    let to = format!("{}@v.example", unique("good"));
    stand.apply("good", &kv_delivery("good", &to, &source, "1h", "1h", Value::Null));
    smtp.wait_for_mail(&to, SOON).await.unwrap();
    assert_eq!(smtp.all_mails().await.unwrap().len(), sent + 1);

    // What the folder itself refuses is never begun; what a connection lacks is tried again after 22 s at the earliest.
    let log = stand.log_text();
    let patience = usize::try_from(start.elapsed().as_secs() / 22).unwrap();
    for (name, _, connection) in &all {
        let of = format!("delivery=default/{name} ");
        let about: Vec<&str> = log.lines().filter(|line| line.contains(&of)).collect();
        let issues = about.iter().filter(|line| line.contains("action=\"issue\"")).count();
        let first_form = usize::from(name.starts_with("change"));
        // Once before the connection was seen, once with it.
        let most = if *connection { 2 + patience } else { first_form };
        assert!(issues <= most, "{name} was tried {issues} times");
        let most = 6 + 30 * first_form + 10 * most;
        assert!((1..=most).contains(&about.len()), "{name}: {} lines, not {most}", about.len());
    }
    assert!(start.elapsed() < Duration::from_secs(120), "{:?}", start.elapsed());
}
