//! What a role says is rotated: when it is due, and what is written back.

use ps_testbed::unique;
use serde_json::{Value, json};

use crate::stand::{Holder, shared};

async fn rotation(link: &Holder) -> (Value, Value) {
    let read = shared().await.call("GET", &format!("send/links/{}", link.id), None).await.unwrap();
    (read["data"]["rotation"].clone(), read["data"]["evidence"].clone())
}

#[tokio::test]
async fn a_rotation_is_owed_once_and_until_there_is_evidence() {
    let bao = shared().await;
    let role = unique("rotated");
    let body =
        json!({"rotate_engine": "database", "rotate_mount": "database", "rotate_name": "shop", "rotate_after": "1h"});
    bao.call("POST", &format!("send/roles/{role}"), Some(&body)).await.unwrap();
    let content = json!({"password": "x"});
    let (claimed, declined) = (Holder::of(bao, &role, &content).await, Holder::of(bao, &role, &content).await);
    let path = format!("send/evidence/{}", claimed.id);
    let evidence = json!({"scope": "target", "seen": "rotated at 12:00, version 4"});
    assert_eq!(rotation(&claimed).await.0["owed"], false);
    assert_eq!(bao.request("POST", &path, Some(&evidence)).await.unwrap().0, 400, "nothing is due yet");

    assert_eq!(claimed.claim(bao).await.0, 200);
    let (owed, _) = rotation(&claimed).await;
    assert_eq!((&owed["owed"], &owed["cause"], &owed["engine"]), (&json!(true), &json!("claimed"), &json!("database")));
    let window = bao.call("GET", &format!("send/links/{}", claimed.id), None).await.unwrap();
    assert!(window["data"]["window_ends_at"].is_string());
    assert_eq!(declined.not_mine(bao).await.0, 200);
    let (at_once, _) = rotation(&declined).await;
    assert_eq!(at_once["cause"], "declined");
    let hour_later = owed["due_at_ms"].as_i64().unwrap() - at_once["due_at_ms"].as_i64().unwrap();
    assert!((3_590_000..=3_600_000).contains(&hour_later), "{owed} {at_once}");

    let failed = json!({"scope": "failed", "seen": "the role is gone"});
    assert_eq!(bao.request("POST", &path, Some(&failed)).await.unwrap().0, 204);
    let (owed, shown) = rotation(&claimed).await;
    assert_eq!((&owed["owed"], &shown["scope"]), (&json!(true), &json!("failed")));
    for _ in 0..2 {
        assert_eq!(bao.request("POST", &path, Some(&evidence)).await.unwrap().0, 204);
    }
    assert_eq!(bao.request("POST", &path, Some(&failed)).await.unwrap().0, 204, "a proof stays");
    let (owed, shown) = rotation(&claimed).await;
    assert_eq!((&owed["owed"], &shown["scope"], &shown["seen"]), (&json!(false), &json!("target"), &evidence["seen"]));
}
