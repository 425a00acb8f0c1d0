//! What time does: expiry, windows, tombstones, history that is trimmed, and what a rotation holds back.

use ps_core::time::{Span, Timestamp};
use ps_plugin_engine::Engine;
use serde_json::{Value, json};

use crate::faults::{claim, issue};
use crate::memory::{Counting, Memory, T, engine, read, write};

const HOUR: Span = Span::from_secs(3600);
const DAY: Span = Span::from_secs(86_400);

async fn tidy(engine: &Engine, now: Timestamp) -> Value {
    write(engine, "tidy", json!({}), now).await.unwrap().unwrap().data
}

async fn state(engine: &Engine, issued: &Value, now: Timestamp) -> Value {
    read(engine, &format!("links/{}", issued["id"].as_str().unwrap()), now).await["state"].clone()
}

#[tokio::test]
async fn links_end_are_erased_and_are_forgotten_in_the_end() {
    let memory = Memory::new();
    let engine = engine(&memory).await;
    let (opened, left) = (issue(&engine).await, issue(&engine).await);
    assert!(write(&engine, "gateway/claim", claim(&opened), T).await.is_ok());
    assert_eq!(tidy(&engine, T + HOUR).await["settled"], 1, "the claim window is over");
    assert_eq!(state(&engine, &opened, T + HOUR).await, "retrieved");
    // Shown as it is before anybody has written it.
    let late = T + Span::from_secs(5 * 3600);
    assert_eq!(state(&engine, &left, late).await, "expired");
    assert_eq!(tidy(&engine, late).await, json!({"settled": 1, "forgotten": 0, "trimmed": 0, "unread": 0}));
    assert!(!memory.text().contains("ciphertext\""), "nothing sealed is left");
    // Another process, which knows of nothing, forgets them in their time.
    let engine = Engine::new(memory.clone(), std::sync::Arc::new(Counting::default()));
    assert_eq!(tidy(&engine, T + Span::from_secs(29 * 86_400)).await["forgotten"], 0);
    let gone = tidy(&engine, T + Span::from_secs(35 * 86_400)).await;
    assert_eq!((&gone["forgotten"], &gone["trimmed"]), (&json!(2), &json!(3)));
    assert_eq!(state(&engine, &opened, T).await, Value::Null);
    // Whoever had not read the lines is told.
    let page = read(&engine, "events", T).await;
    assert_eq!((&page["reset"], page["events"].as_array().unwrap().len()), (&json!(true), 0));
    let query = json!({"after": page["next"]});
    let again = engine.handle(crate::memory::request(ps_plugin_engine::Operation::Read, "events", query), T).await;
    assert_eq!(again.unwrap().unwrap().data["reset"], false, "told once");
}

#[tokio::test]
async fn what_owes_a_rotation_is_not_forgotten() {
    let memory = Memory::new();
    let engine = engine(&memory).await;
    let role = json!({"rotate_engine": "request", "rotate_path": "x/y", "rotate_after": "1h"});
    write(&engine, "roles/any", role, T).await.unwrap();
    let issued = issue(&engine).await;
    assert!(write(&engine, "gateway/claim", claim(&issued), T).await.is_ok());
    let year = T + Span::from_secs(366 * 86_400);
    tidy(&engine, T + DAY).await;
    assert_eq!(tidy(&engine, year).await["forgotten"], 0);
    let path = format!("evidence/{}", issued["id"].as_str().unwrap());
    write(&engine, &path, json!({"scope": "request", "seen": "200"}), year).await.unwrap();
    assert_eq!(tidy(&engine, year).await["forgotten"], 1);
}

#[tokio::test]
async fn the_claim_window_ends_before_the_credential_does() {
    let memory = Memory::new();
    let engine = engine(&memory).await;
    let role = json!({"rotate_engine": "request", "rotate_path": "x/y", "rotate_after": "5m"});
    write(&engine, "roles/any", role, T).await.unwrap();
    let issued = issue(&engine).await;
    let answer = write(&engine, "gateway/claim", claim(&issued), T).await.unwrap().unwrap().data;
    let window = answer["windowEndsAt"].as_i64().unwrap() - answer["claimedAt"].as_i64().unwrap();
    assert_eq!(window, 300_000);
}

#[tokio::test]
async fn history_goes_on_over_pages_and_folders() {
    let memory = Memory::new();
    let engine = engine(&memory).await;
    let mut ids = Vec::new();
    // More writes than one folder of history holds.
    for _ in 0..1100 {
        let issued = issue(&engine).await;
        let path = format!("links/{}", issued["id"].as_str().unwrap());
        let delete = crate::memory::request(ps_plugin_engine::Operation::Delete, &path, Value::Null);
        engine.handle(delete, T).await.unwrap();
        ids.push(issued["id"].clone());
    }
    let (mut after, mut told) = ("0".to_owned(), Vec::new());
    loop {
        let query = json!({"after": after, "limit": "700"});
        let page = engine.handle(crate::memory::request(ps_plugin_engine::Operation::Read, "events", query), T).await;
        let page = page.unwrap().unwrap().data;
        let lines = page["events"].as_array().unwrap();
        if lines.is_empty() {
            break;
        }
        told.extend(lines.iter().map(|line| line["id"].clone()));
        after = page["next"].as_str().unwrap().to_owned();
    }
    assert_eq!(told, ids);
}
