//! A storage that fails at any write, a standby, and damaged values: nothing is told that is not durable.

use std::sync::atomic::Ordering;

use proptest::prelude::*;
use ps_core::encode::b64;
use ps_core::ids::Digest;
use ps_envelope::{Facts, Opener};
use ps_plugin_engine::{Engine, Kind, Operation, Response};
use serde_json::{Value, json};

use crate::memory::{Memory, T, engine, read, request, write};

/// A claim of the link in this answer.
pub(crate) fn claim(issued: &Value) -> Value {
    let fragment = issued["url"].as_str().unwrap().split_once('#').unwrap().1.to_owned();
    let opener = Opener::from_fragment(&fragment).unwrap();
    let unlocked = opener.unlock(Facts::new(T, &[]).unwrap(), None).unwrap();
    json!({
        "id": opener.id().to_string(),
        "access": b64(opener.access().expose()),
        "proof": b64(unlocked.proof().expose()),
        "openingCode": issued["opening_code"],
        "tokenHash": Digest::of(&[7; 32]),
    })
}

pub(crate) async fn issue(engine: &Engine) -> Value {
    write(engine, "link/any", json!({"password": "p"}), T).await.unwrap().unwrap().data
}

#[tokio::test]
async fn a_claim_that_was_not_stored_is_not_answered() {
    for piecemeal in [false, true] {
        for writes in 0..2 {
            let memory = Memory::new();
            let engine = engine(&memory).await;
            let issued = issue(&engine).await;
            memory.piecemeal.store(piecemeal, Ordering::SeqCst);
            memory.writes_left.store(writes, Ordering::SeqCst);
            let failure = write(&engine, "gateway/claim", claim(&issued), T).await.unwrap_err();
            assert_eq!((failure.kind, failure.message.as_str()), (Kind::Host, "the disk is full"));
            memory.writes_left.store(-1, Ordering::SeqCst);
            let shown = read(&engine, &format!("links/{}", issued["id"].as_str().unwrap()), T).await;
            assert_eq!(shown["state"], "open", "piecemeal {piecemeal}, {writes} writes");
            // Without transactions a line of history may tell of what did not happen; never the other way round.
            let told = read(&engine, "events", T).await["events"].as_array().unwrap().len();
            assert!(told <= usize::from(piecemeal));
            assert!(write(&engine, "gateway/claim", claim(&issued), T).await.is_ok());
            let told = read(&engine, "events", T).await["events"].as_array().unwrap().len();
            assert!(told >= 1);
        }
    }
}

#[tokio::test]
async fn a_link_that_was_not_stored_is_not_given_out() {
    let memory = Memory::new();
    let engine = engine(&memory).await;
    for writes in 0..2 {
        memory.writes_left.store(writes, Ordering::SeqCst);
        let failure = write(&engine, "link/any", json!({"password": "p"}), T).await.unwrap_err();
        assert_eq!(failure.kind, Kind::Host);
    }
}

#[tokio::test]
async fn a_standby_answers_help_and_sends_everything_else_on() {
    let memory = Memory::new();
    let engine = engine(&memory).await;
    let issued = issue(&engine).await;
    let before = memory.text();
    memory.standby.store(true, Ordering::SeqCst);
    let link = format!("links/{}", issued["id"].as_str().unwrap());
    for (operation, path, data) in [
        (Operation::Write, "gateway/claim", claim(&issued)),
        (Operation::Write, "gateway/lookup", json!({})),
        (Operation::Write, "link/any", json!({"password": "p"})),
        (Operation::Read, &link, Value::Null),
        (Operation::Delete, &link, Value::Null),
        (Operation::Read, "config", Value::Null),
        (Operation::List, "links/", Value::Null),
        (Operation::Revoke, &link, Value::Null),
        (Operation::Read, "events", Value::Null),
    ] {
        let failure = engine.handle(request(operation, path, data), T).await.unwrap_err();
        assert_eq!(
            (failure.kind, failure.message.as_str()),
            (Kind::Host, "cannot write to readonly storage"),
            "{path}"
        );
    }
    assert!(engine.handle(request(Operation::Help, "link/any", Value::Null), T).await.unwrap().is_some());
    assert!(engine.handle(request(Operation::Rollback, "", Value::Null), T).await.unwrap().is_none());
    assert_eq!(memory.text(), before);
}

#[tokio::test]
async fn damaged_values_are_told_and_left_alone() {
    let memory = Memory::new();
    let engine = engine(&memory).await;
    let issued = issue(&engine).await;
    let id = issued["id"].as_str().unwrap();
    memory.values.lock().unwrap().insert(format!("links/{id}"), b"{}".to_vec());
    let failure = write(&engine, "gateway/claim", claim(&issued), T).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Internal);
    memory.values.lock().unwrap().insert("config".to_owned(), b"[".to_vec());
    engine.invalidate("config");
    let failure = write(&engine, "link/any", json!({"password": "p"}), T).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Internal);
    memory.reads_fail.store(true, Ordering::SeqCst);
    assert_eq!(engine.initialize().await, Err("storage is sealed".to_owned()));
}

#[tokio::test]
async fn settings_are_read_once_and_again_when_somebody_wrote_them() {
    let memory = Memory::new();
    let engine = engine(&memory).await;
    issue(&engine).await;
    let reads = memory.reads.load(Ordering::SeqCst);
    issue(&engine).await;
    assert_eq!(memory.reads.load(Ordering::SeqCst), reads, "nothing is read to issue a link");
    // Our own writes are seen at once.
    write(&engine, "roles/any", json!({"require_passphrase": true}), T).await.unwrap();
    assert!(write(&engine, "link/any", json!({"password": "p"}), T).await.is_err());
    engine.handle(request(Operation::Delete, "roles/any", Value::Null), T).await.unwrap();
    assert!(write(&engine, "link/any", json!({"password": "p", "passphrase": "long enough words"}), T).await.is_err());
    // Another node's are, when the server tells of them.
    for (key, value) in [("roles/any", "{\"require_passphrase\":false,\"require_lease\":false}"), ("links/x", "{}")] {
        memory.values.lock().unwrap().insert(key.to_owned(), value.as_bytes().to_vec());
        engine.invalidate(key);
        issue(&engine).await;
    }
    memory.values.lock().unwrap().remove("roles/any");
    engine.invalidate("roles/any");
    assert!(write(&engine, "link/any", json!({"password": "p"}), T).await.is_err());
    // A write that failed may happen later.
    memory.writes_left.store(0, Ordering::SeqCst);
    assert!(write(&engine, "roles/any", json!({}), T).await.is_err());
    memory.writes_left.store(-1, Ordering::SeqCst);
    assert!(write(&engine, "link/any", json!({"password": "p"}), T).await.is_err());
    let late = "{\"require_passphrase\":false,\"require_lease\":false}";
    memory.values.lock().unwrap().insert("roles/any".to_owned(), late.as_bytes().to_vec());
    issue(&engine).await;
    memory.values.lock().unwrap().remove("roles/any");
    assert!(write(&engine, "link/any", json!({"password": "p"}), T).await.is_err(), "nothing is remembered any more");
}

/// What a server calls by a name that is none of ours (`patch`, `scan`, `resolve-path`): nothing is done, whatever it brings.
#[tokio::test]
async fn an_unknown_operation_does_nothing_on_any_path() {
    let memory = Memory::new();
    let engine = engine(&memory).await;
    let issued = issue(&engine).await;
    let id = issued["id"].as_str().unwrap();
    let before = memory.text();
    for path in ps_plugin_engine::paths::ALL {
        let asked = path.pattern.replace("{name}", "any").replace("{role}", "any").replace("{id}", id);
        let failure = engine.handle(request(Operation::Other, &asked, claim(&issued)), T).await.unwrap_err();
        assert_eq!(failure.kind, Kind::UnsupportedOperation, "{asked}");
    }
    assert_eq!(memory.text(), before);
    assert_eq!(read(&engine, &format!("links/{id}"), T).await["state"], "open");
    assert!(write(&engine, "gateway/claim", claim(&issued), T).await.unwrap().unwrap().data["ciphertext"].is_string());
}

fn junk() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        Just(Value::from("AAAAAAAAAAAAAAAAAAAAAA")),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z_]{0,12}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn body() -> impl Strategy<Value = Value> {
    const NAMES: &[&str] = &[
        "ttl",
        "public_url",
        "max_ttl",
        "claim_window",
        "keep",
        "require_lease",
        "rotate_engine",
        "rotate_on",
        "rotate_after",
        "rotate_data",
        "rotate_mount",
        "rotate_name",
        "rotate_keys",
        "fields",
        "title",
        "passphrase",
        "sealed",
        "ciphertext",
        "preview",
        "id",
        "access",
        "proof",
        "token",
        "tokenHash",
        "openingCode",
        "decline",
        "after",
        "limit",
        "scope",
        "seen",
    ];
    prop::collection::btree_map(
        prop_oneof![prop::sample::select(NAMES).prop_map(str::to_owned), "\\PC{0,9}"],
        junk(),
        0..8,
    )
    .prop_map(|map| Value::Object(map.into_iter().collect()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever is sent wherever: an answer, or a failure without a word of what was sent.
    #[test]
    fn junk_makes_no_trouble(
        path in prop_oneof![
            prop::sample::select(&[
                "config", "roles/any", "roles/", "link/any", "sealed/any", "links/", "links/AAAAAAAAAAAAAAAAAAAAAA",
                "lease/AAAAAAAAAAAAAAAAAAAAAA", "evidence/AAAAAAAAAAAAAAAAAAAAAA", "gateway/lookup", "gateway/claim",
                "gateway/acknowledge", "gateway/decline", "gateway/code", "events", "tidy", "metrics",
            ][..]).prop_map(str::to_owned),
            "\\PC{0,30}",
        ],
        operation in prop::sample::select(&[
            Operation::Write, Operation::Read, Operation::List, Operation::Delete, Operation::Help, Operation::Renew,
            Operation::Revoke, Operation::Rollback, Operation::Other,
        ][..]),
        data in body(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let memory = Memory::new();
            let engine = engine(&memory).await;
            let before = memory.text();
            let answer = engine.handle(request(operation, &path, data.clone()), T).await;
            if let Err(failure) = answer {
                prop_assert!(failure.kind != Kind::Host, "{failure}");
                prop_assert_eq!(memory.text(), before);
            } else if let Ok(Some(Response { data, lease, .. })) = answer {
                prop_assert!(data.get("url").is_none() || lease.is_none());
            }
            Ok(())
        })?;
    }
}
