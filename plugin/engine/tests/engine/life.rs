//! What time does: expiry, windows, tombstones, history that is trimmed, and what a rotation holds back.

use std::sync::atomic::Ordering;

use ps_core::time::{Span, Timestamp};
use ps_plugin_engine::{Answer, Engine, Kind, LeaseRequest, Operation, Request};
use serde_json::{Value, json};

use crate::faults::{claim, issue};
use crate::memory::{Counting, Memory, T, engine, read, request, write};

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
async fn a_row_that_is_damaged_holds_up_no_other() {
    let memory = Memory::new();
    let engine = engine(&memory).await;
    let (damaged, whole) = (issue(&engine).await, issue(&engine).await);
    tidy(&engine, T).await;
    let key = format!("links/{}", damaged["id"].as_str().unwrap());
    memory.values.lock().unwrap().insert(key.clone(), b"{".to_vec());
    let late = T + Span::from_secs(5 * 3600);
    assert_eq!(tidy(&engine, late).await["settled"], 1);
    assert_eq!(state(&engine, &whole, late).await, "expired");
    // A process that knows of nothing goes on after it as well.
    let engine = Engine::new(memory.clone(), std::sync::Arc::new(Counting::default()));
    assert_eq!(tidy(&engine, late + Span::from_secs(40 * 86_400)).await["forgotten"], 1);
    assert_eq!(memory.values.lock().unwrap().get(&key).map(Vec::as_slice), Some(&b"{"[..]), "left alone");
}

#[tokio::test]
async fn what_was_written_without_our_knowing_ends_in_its_time() {
    let memory = Memory::new();
    let engine = engine(&memory).await;
    let issued = issue(&engine).await;
    tidy(&engine, T).await;
    memory.reply_lost.store(true, Ordering::SeqCst);
    assert!(write(&engine, "link/any", json!({"password": "p"}), T).await.is_err());
    memory.reply_lost.store(true, Ordering::SeqCst);
    assert!(write(&engine, "gateway/claim", claim(&issued), T).await.is_err());
    tidy(&engine, T).await;
    assert_eq!(tidy(&engine, T + HOUR).await["settled"], 1, "the window of the claim is over");
    assert_eq!(tidy(&engine, T + Span::from_secs(5 * 3600)).await["settled"], 1, "the other link has expired");
    assert!(!memory.text().contains("ciphertext\""), "nothing sealed is left");
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

async fn lease(engine: &Engine, issued: &Value, now: Timestamp) -> Answer {
    let path = format!("lease/{}", issued["id"].as_str().unwrap());
    engine.handle(request(Operation::Read, &path, Value::Null), now).await
}

async fn claims(engine: &Engine, issued: &Value, now: Timestamp) -> Value {
    write(engine, "gateway/claim", claim(issued), now).await.unwrap().unwrap().data
}

async fn leased_role(engine: &Engine) {
    write(engine, "roles/any", json!({"require_lease": true}), T).await.unwrap();
}

#[tokio::test]
async fn a_link_without_the_lease_that_its_role_demands_dies_after_a_minute() {
    let memory = Memory::new();
    let engine = engine(&memory).await;
    leased_role(&engine).await;
    let (soon, late, leased) = (issue(&engine).await, issue(&engine).await, issue(&engine).await);
    assert_eq!(soon["expires_at"], (T + Span::from_secs(60)).to_string());
    let (before, after) = (T + Span::from_secs(59), T + Span::from_secs(61));
    assert!(claims(&engine, &soon, before).await["ciphertext"].is_string());
    lease(&engine, &leased, before).await.unwrap();
    assert_eq!(claims(&engine, &late, after).await["http_status_code"], 410);
    assert_eq!(state(&engine, &late, after).await, "expired");
    assert_eq!(lease(&engine, &late, after).await.unwrap_err().kind, Kind::Status(410), "too late for a lease as well");
    assert_eq!(claims(&engine, &late, after).await["http_status_code"], 410);
    // With a lease it lives for as long as it was asked to.
    let hours = T + Span::from_secs(4 * 3600 - 1);
    assert!(claims(&engine, &leased, hours).await["ciphertext"].is_string());
}

#[tokio::test]
async fn a_lease_promises_no_more_than_the_server_grants() {
    let memory = Memory::new();
    let engine = engine(&memory).await;
    let (plain, short) = (issue(&engine).await, write(&engine, "link/any", json!({"password": "p", "ttl": "10m"}), T));
    let short = short.await.unwrap().unwrap().data;
    leased_role(&engine).await;
    let demanded = issue(&engine).await;
    memory.longest_lease.store(1800, Ordering::SeqCst);
    let half = T + Span::from_secs(1800);
    for (issued, expires_at, warnings) in
        [(&plain, half, 1), (&demanded, half, 1), (&short, T + Span::from_secs(600), 0)]
    {
        let answer = lease(&engine, issued, T).await.unwrap().unwrap();
        assert_eq!(answer.data["expires_at"], expires_at.to_string());
        assert_eq!(
            answer.lease.as_ref().unwrap().ttl.as_secs(),
            u64::try_from(expires_at.since(T).as_millis() / 1000).unwrap()
        );
        assert_eq!(answer.warnings.len(), warnings);
        assert!(answer.warnings.iter().all(|warning| warning.contains("max_lease_ttl")), "{:?}", answer.warnings);
    }
    // Renewed, it still ends where the server ends it, counted from its first day.
    let internal = lease(&engine, &plain, T).await.unwrap().unwrap().lease.unwrap().internal;
    let renew = async |now: Timestamp| {
        let increment = std::time::Duration::from_secs(7200);
        let lease = Some(LeaseRequest { internal: internal.clone(), increment });
        let data = serde_json::Map::new();
        engine
            .handle(Request { operation: Operation::Renew, path: String::new(), data, lease, wrapped: false }, now)
            .await
    };
    let later = T + Span::from_secs(1000);
    assert_eq!(renew(later).await.unwrap().unwrap().lease.unwrap().ttl.as_secs(), 800);
    // Tuned lower since: not prolonged, and not shortened behind anybody's back.
    memory.longest_lease.store(900, Ordering::SeqCst);
    let refused = renew(later).await.unwrap_err();
    assert!(refused.kind == Kind::Invalid && refused.message.contains("max_lease_ttl"), "{refused:?}");
    let shown = read(&engine, &format!("links/{}", plain["id"].as_str().unwrap()), later).await;
    assert_eq!((&shown["state"], &shown["expires_at"]), (&json!("open"), &json!(half.to_string())));
}

#[tokio::test]
async fn the_settings_of_the_mount_hold_and_a_role_may_ask_for_less() {
    let memory = Memory::new();
    let engine = engine(&memory).await;
    let settings = json!({"default_ttl": "20m", "max_ttl": "3h", "claim_window": "5m", "keep": "48h"});
    write(&engine, "config", settings, T).await.unwrap();
    let shown = read(&engine, "config", T).await;
    let wanted = json!({"public_url": "https://l.example", "default_ttl": "20m", "max_ttl": "3h", "claim_window": "5m",
        "keep": "48h"});
    assert_eq!(shown, wanted);
    let after = |minutes: i64| (T + Span::from_secs(minutes * 60)).to_string();
    let opened = issue(&engine).await;
    assert_eq!(opened["expires_at"], after(20), "the mount's default");
    write(&engine, "roles/brief", json!({"default_ttl": "10m"}), T).await.unwrap();
    let brief = write(&engine, "link/brief", json!({"password": "p"}), T).await.unwrap().unwrap().data;
    assert_eq!(brief["expires_at"], after(10), "the role's");
    for (ttl, allowed) in [("3h", true), ("181m", false)] {
        let asked = write(&engine, "link/any", json!({"password": "p", "ttl": ttl}), T).await;
        match asked {
            Ok(answer) => assert!(allowed && answer.unwrap().data["expires_at"] == after(180)),
            Err(failure) => {
                assert!(!allowed && failure.kind == Kind::Invalid && failure.message.contains("3h"), "{failure}");
            }
        }
    }
    write(&engine, "gateway/claim", claim(&opened), T).await.unwrap();
    let path = format!("links/{}", opened["id"].as_str().unwrap());
    assert_eq!(read(&engine, &path, T).await["window_ends_at"], after(5));
    tidy(&engine, T + HOUR).await;
    assert_eq!(tidy(&engine, T + DAY).await["forgotten"], 0);
    assert_ne!(read(&engine, &path, T + DAY).await, Value::Null);
    assert!(tidy(&engine, T + DAY + DAY + DAY).await["forgotten"].as_u64().unwrap() > 0);
    assert_eq!(read(&engine, &path, T + DAY + DAY + DAY).await, Value::Null);
}

#[tokio::test]
async fn the_largest_role_fits_beside_the_largest_content_and_a_larger_one_is_refused() {
    let memory = Memory::new();
    let engine = engine(&memory).await;
    let long = "k".repeat(1025);
    let many: Vec<String> = (0..65).map(|number| number.to_string()).collect();
    let wide: Vec<String> = (0..64).map(|number| format!("{number:>01024}")).collect();
    let kv = |keys: Value| json!({"rotate_engine": "kv", "rotate_mount": "m", "rotate_name": "n", "rotate_keys": keys, "rotate_after": "1h"});
    let request = |size: usize| {
        json!({"rotate_engine": "request", "rotate_path": "p", "rotate_data": {"x": "x".repeat(size)},
            "rotate_after": "1h"})
    };
    let before = memory.text();
    for (body, word) in [
        (kv(json!([long])), "rotate_keys"),
        (kv(json!(many)), "rotate_keys"),
        (kv(json!(wide)), "a role"),
        (request(32 << 10), "rotate_data"),
        (request(1 << 20), "rotate_data"),
        (kv(json!("k".repeat(1 << 20))), "rotate_keys"),
    ] {
        let failure = write(&engine, "roles/any", body, T).await.unwrap_err();
        assert_eq!(failure.kind, Kind::Invalid);
        assert!(failure.message.contains(word) && failure.message.contains("at most"), "{failure}");
    }
    assert_eq!(memory.text(), before);
    write(&engine, "roles/any", kv(json!(wide[..60])), T).await.unwrap();
    // What is sealed is padded: the largest content that is still taken.
    let mut size = 512 << 10;
    while write(&engine, "link/any", json!({"password": "p".repeat(size)}), T).await.is_err() {
        size -= 4 << 10;
    }
    assert!(size >= 480 << 10, "{size}");
    let largest = memory.values.lock().unwrap().values().map(Vec::len).max().unwrap();
    assert!((600 << 10..1 << 20).contains(&largest), "{largest} bytes in one value");
}
