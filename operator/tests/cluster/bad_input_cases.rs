//! Odd objects: what each changes in a good one, and what its condition must then say.

use serde_json::{Map, Value, json};

/// One odd object.
pub struct Case {
    pub name: &'static str,
    /// What is done to a good one.
    pub change: fn(&mut Value),
    /// A status that somebody writes, if any.
    pub status: Option<fn() -> Value>,
    /// What the sentence names: field and remedy. Nothing for what must be delivered all the same.
    pub says: &'static [&'static str],
    /// Too large to be made a thousand times.
    pub large: bool,
}

const fn case(name: &'static str, says: &'static [&'static str], change: fn(&mut Value)) -> Case {
    Case { name, change, status: None, says, large: false }
}

const fn large(name: &'static str, says: &'static [&'static str], change: fn(&mut Value)) -> Case {
    Case { large: true, ..case(name, says, change) }
}

const fn with_status(name: &'static str, status: fn() -> Value) -> Case {
    Case { status: Some(status), ..case(name, &[], unchanged) }
}

fn unchanged(_: &mut Value) {}

fn set(object: &mut Value, pointer: &str, value: Value) {
    let (above, last) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(above).unwrap().as_object_mut().unwrap().insert(last.to_owned(), value);
}

fn remove(object: &mut Value, pointer: &str) {
    let (above, last) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(above).unwrap().as_object_mut().unwrap().remove(last).unwrap();
}

/// So many lists in one another; `serde_json` reads 128.
fn deep(levels: usize) -> Value {
    (0..levels).fold(json!("x"), |inner, _| json!([inner]))
}

/// All of them.
pub fn cases() -> Vec<Case> {
    vec![
        case("an unknown enum value", &["spec.rotation.strategy", "WriteNewVersion"], |o| {
            set(o, "/spec/rotation/strategy", json!("Teleport"));
        }),
        case("text where a map belongs", &["spec.recipient", "must be a map"], |o| {
            set(o, "/spec/recipient", json!("alice@vendor.example"));
        }),
        case("a list where text belongs", &["spec.recipient.email"], |o| {
            set(o, "/spec/recipient/email", json!(["alice@vendor.example"]));
        }),
        case("a number where a duration belongs", &["spec.link.ttl"], |o| set(o, "/spec/link/ttl", json!(600))),
        case("a duration of another kind", &["spec.link.ttl"], |o| set(o, "/spec/link/ttl", json!("P1D"))),
        case("no recipient", &["spec.recipient", "required", "add it"], |o| remove(o, "/spec/recipient")),
        case("no source", &["spec.source", "required", "add it"], |o| remove(o, "/spec/source")),
        case("two sources", &["spec.source.vault"], |o| {
            set(o, "/spec/source/vault/database", json!({"mount": "db", "staticRole": "r"}));
        }),
        case("a field that a newer version may have", &["spec.sauce"], |o| set(o, "/spec/sauce", json!({"x": 1}))),
        case("a number for a spec", &["spec", "must be"], |o| set(o, "/spec", json!(5))),
        case("a list for a spec", &["spec", "must be"], |o| set(o, "/spec", json!([1, {"a": 2}]))),
        case("null for a spec", &["spec", "required"], |o| set(o, "/spec", Value::Null)),
        case("no spec", &["spec", "required"], |o| remove(o, "/spec")),
        case("a title of two lines", &["spec.context.title"], |o| set(o, "/spec/context/title", json!("a\nBcc: b@c"))),
        case("an address with a line end", &["spec.recipient.email"], |o| {
            set(o, "/spec/recipient/email", json!("a@v.example\r\nBcc: b@c.example"));
        }),
        case("a path that leaves its mount", &["spec.source.vault.kv.path"], |o| {
            set(o, "/spec/source/vault/kv/path", json!("../../sys/seal"));
        }),
        case("a number too large", &["spec"], |o| set(o, "/spec/rotation/afterRetrieval", json!(1e300))),
        case("nested too deeply", &["spec", "nested too deeply"], |o| set(o, "/spec/deep", deep(400))),
        case("nested too deeply in place of text", &["spec", "nested too deeply"], |o| {
            set(o, "/spec/recipient/email", deep(300));
        }),
        case("a stamp of another name", &["copied"], |o| {
            set(o, "/metadata/annotations", json!({"passwordsender.io/stamp": "junk"}));
        }),
        case("a stamp of 100 KB", &["copied"], |o| {
            set(o, "/metadata/annotations", json!({"passwordsender.io/stamp": "junk. \n\u{0}ü".repeat(10_000)}));
        }),
        large("a note of 1 MiB", &["spec.context.note", "longer than"], |o| {
            set(o, "/spec/context/note", json!("n".repeat(1024 * 1024)));
        }),
        large("an enum value of 1 MiB", &["spec.rotation.strategy"], |o| {
            set(o, "/spec/rotation/strategy", json!("S".repeat(1024 * 1024)));
        }),
        large("a field's name of 1 MiB", &["spec"], |o| set(o, "/spec/UNKNOWN", json!({"k".repeat(1024 * 1024): 1}))),
        large("ten thousand fields", &["spec.fields", "more than"], |o| {
            let fields: Vec<Value> =
                (0..10_000).map(|n| json!({"label": format!("F{n}"), "key": "username"})).collect();
            set(o, "/spec/fields", json!(fields));
        }),
        large("ten thousand unknown members", &["spec"], |o| {
            let members: Map<String, Value> = (0..10_000).map(|n| (format!("m{n}"), json!({"n": [n]}))).collect();
            set(o, "/spec/recipient", Value::Object(members));
        }),
        with_status("conditions that are no list", || json!({"conditions": 5, "observedGeneration": "x"})),
        with_status("a status of junk", || json!({"summary": {"a": [1]}, "attempt": -5, "junk": "j".repeat(10_000)})),
        with_status("a status that claims everything", || {
            let at = "2026-01-01T00:00:00Z";
            let is = |kind: &str| {
                json!({"type": kind, "status": "True", "reason": "Forged", "message": "m", "observedGeneration": 1,
                    "lastTransitionTime": at})
            };
            json!({"observedGeneration": 1, "summary": "Rotated", "attempt": 7, "deliveredAt": at, "retrievedAt": at,
                "conditions": [is("Ready"), is("Delivered"), is("Retrieved"), is("Rotated")]})
        }),
        with_status("a status nested too deeply", || json!({"deep": deep(400)})),
        case("an annotation to let go that says something else", &[], |o| {
            set(o, "/metadata/annotations", json!({"passwordsender.io/let-go": "perhaps"}));
        }),
    ]
}
