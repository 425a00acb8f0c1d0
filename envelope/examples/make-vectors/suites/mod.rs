//! The test vectors, suite by suite. The expected refusals are written down here, not computed.

use ps_core::encode::{b64, sha256};
use serde_json::{Map, Value, json};

mod content;
mod forms;
mod open;
mod open_refused;
mod payload;
mod payload_refused;
mod sealed;

/// Every suite: its name and the text of its file.
pub(crate) fn all() -> Vec<(&'static str, String)> {
    let suites = [
        ("base64", forms::base64()),
        ("fragment", forms::fragment()),
        ("passphrase", forms::passphrase()),
        ("opening-code", forms::opening_code()),
        ("derive", sealed::derive()),
        ("facts", sealed::facts()),
        ("aad", sealed::aad()),
        ("record", sealed::record()),
        ("padding", content::padding()),
        ("frame", content::frame()),
        ("payload", payload::payload()),
        ("preview", content::preview()),
        ("open", open::open()),
    ];
    suites.into_iter().map(|(name, cases)| (name, file(name, &cases))).collect()
}

/// One case on each line, so that a difference shows where it is.
fn file(suite: &str, cases: &[Value]) -> String {
    let lines: Vec<_> = cases.iter().map(|case| format!("  {}", sorted(case))).collect();
    format!(
        "{{\"protocol\": \"password-sender/v1\", \"suite\": \"{suite}\", \"cases\": [\n{}\n]}}\n",
        lines.join(",\n")
    )
}

/// Members in the order of their names, whatever features `serde_json` was built with.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut names: Vec<_> = members.keys().collect();
            names.sort();
            Value::Object(names.into_iter().map(|n| (n.clone(), sorted(&members[n]))).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

fn good(name: &str, input: Value, output: Value) -> Value {
    json!({"name": name, "accept": true, "in": input, "out": output})
}

fn bad(name: &str, input: Value, error: &str) -> Value {
    json!({"name": name, "accept": false, "in": input, "error": error})
}

/// 32 bytes that anybody can make again.
fn seed(name: &str) -> [u8; 32] {
    sha256(format!("password-sender/v1 vectors {name}").as_bytes())
}

/// Long bytes: a prefix, a unit many times, a suffix.
fn repeated(prefix: &[u8], unit: &[u8], times: usize, suffix: &[u8]) -> Value {
    json!({"prefix": b64(prefix), "unit": b64(unit), "times": times, "suffix": b64(suffix)})
}
