//! Runs `vectors/*.json`: everything is computed from each case's `in` and compared with its `out` or `error`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::collections::HashSet;
use std::sync::LazyLock;

use ps_core::encode::from_b64;
use ps_envelope::Error;
use serde_json::Value;

#[path = "../examples/make-vectors/suites/mod.rs"]
mod make;
#[path = "vectors/run.rs"]
mod run;

/// What the generator makes today; once for all tests, for it stretches some forty passphrases.
static MADE: LazyLock<Vec<(&str, String)>> = LazyLock::new(make::all);

/// The committed file of one suite.
fn load(suite: &str) -> Vec<Value> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("vectors/{suite}.json"));
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(file["protocol"], "password-sender/v1");
    assert_eq!(file["suite"], suite);
    file["cases"].as_array().unwrap().clone()
}

/// Runs every case of a suite; gives the numbers of accepted and of refused ones.
fn check(suite: &str, answer: impl Fn(&Value) -> Result<Value, Error>) -> (usize, usize) {
    let (mut accepted, mut refused, mut names) = (0, 0, HashSet::new());
    for case in load(suite) {
        let name = case["name"].as_str().unwrap();
        assert!(names.insert(name.to_owned()), "{suite}: {name}: twice");
        match (case["accept"].as_bool().unwrap(), answer(&case["in"])) {
            (true, Ok(out)) => {
                assert_eq!(expanded(&out), expanded(&case["out"]), "{suite}: {name}");
                accepted += 1;
            }
            (false, Err(error)) => {
                assert_eq!(error.code(), case["error"].as_str().unwrap(), "{suite}: {name}");
                refused += 1;
            }
            (true, Err(error)) => panic!("{suite}: {name}: refused, {error}"),
            (false, Ok(_)) => panic!("{suite}: {name}: accepted"),
        }
    }
    (accepted, refused)
}

/// Long bytes written out, so that both spellings compare.
fn expanded(value: &Value) -> Value {
    match value {
        Value::Object(members) if members.contains_key("unit") => ps_core::encode::b64(&run::bytes(value)).into(),
        Value::Object(members) => members.iter().map(|(k, v)| (k.clone(), expanded(v))).collect(),
        Value::Array(items) => items.iter().map(expanded).collect(),
        other => other.clone(),
    }
}

macro_rules! suites {
    ($($test:ident $name:literal $run:path, $accepted:literal accepted, $refused:literal refused;)*) => {
        $(#[test]
        fn $test() {
            assert_eq!(check($name, $run), ($accepted, $refused), "accepted, refused");
        })*

        #[test]
        fn every_file_has_its_test() {
            let tested = HashSet::from([$($name),*]);
            let made: HashSet<_> = MADE.iter().map(|(name, _)| *name).collect();
            assert_eq!(tested, made);
        }
    };
}

suites! {
    base64 "base64" run::base64, 6 accepted, 13 refused;
    fragment "fragment" run::fragment, 3 accepted, 23 refused;
    passphrase "passphrase" run::passphrase, 23 accepted, 7 refused;
    opening_code "opening-code" run::opening_code, 14 accepted, 30 refused;
    derive "derive" run::derive, 10 accepted, 6 refused;
    facts "facts" run::facts, 10 accepted, 17 refused;
    aad "aad" run::aad, 16 accepted, 0 refused;
    record "record" run::record, 4 accepted, 0 refused;
    padding "padding" run::padding, 20 accepted, 0 refused;
    frame "frame" run::frame, 6 accepted, 16 refused;
    payload "payload" run::payload, 25 accepted, 82 refused;
    preview "preview" run::preview, 6 accepted, 17 refused;
    open "open" run::open, 19 accepted, 71 refused;
}

#[test]
fn the_files_are_what_the_generator_makes() {
    for (name, text) in MADE.iter() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("vectors/{name}.json"));
        let committed = std::fs::read_to_string(path).unwrap();
        assert!(committed == *text, "{name}.json is out of date: cargo run -p ps-envelope --example make-vectors");
    }
}

#[test]
fn no_refusal_repeats_its_input() {
    let words = ["hunter2", "stapler", "Correct horse", "ops@example.com"];
    for case in load("open") {
        if let Err(error) = run::open(&case["in"]) {
            let told = format!("{error} {error:?} {:?} {}", error.fault(), error.fault());
            assert!(words.iter().all(|w| !told.contains(w)), "{told}");
            let s = case["in"]["s"].as_str().unwrap();
            assert!(!told.contains(s) && from_b64(s).is_some());
        }
    }
}
