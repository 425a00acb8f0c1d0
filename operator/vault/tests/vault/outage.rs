//! Outages: a sealed, killed and frozen OpenBao, and answers that only a fake gives.
use std::time::{Duration, Instant};

use crate::support::fake::{FakeVault, Reply};
use crate::support::{Bench, assert_fault, kv2, role, write};
use ps_core::delivery::Strategy;
use ps_core::error::Class;
use ps_core::ports::Vault;
use ps_core::rotation::Step;
use ps_core::time::Span;
use ps_testbed::{OpenBao, wait_until};
use serde_json::json;

#[tokio::test]
async fn sealed_killed_and_frozen_servers_are_told_apart_and_recovered_from() {
    let bao = OpenBao::raft().await.unwrap();
    bao.mount_kv2("kv").await.unwrap();
    bao.kv_put("kv", "x", json!({"a": "1"})).await.unwrap();
    let bench = Bench::new();
    let at = bench.by_token(bao.address(), bao.root_token());
    let source = kv2("kv", "x", &[]);
    bench.vault.read(&at, &source).await.unwrap();

    bao.seal().await.unwrap();
    assert_fault(bench.vault.read(&at, &source).await, "vault-sealed", Class::Transient, &["sealed"]);
    assert_fault(
        bench.vault.rotate(&at, &source, &write(Some(1), &["a"])).await,
        "vault-sealed",
        Class::Transient,
        &[],
    );
    bao.unseal().await.unwrap();
    bench.vault.read(&at, &source).await.unwrap();

    bao.kill().unwrap();
    assert_fault(bench.vault.read(&at, &source).await, "vault-unreachable", Class::Transient, &[]);
    assert_fault(bench.vault.read(&at, &source).await, "vault-unreachable", Class::Transient, &["refused"]);
    bao.restart().await.unwrap();
    bao.unseal().await.unwrap();
    bench.vault.read(&at, &source).await.unwrap();

    let mut hasty = at.clone();
    hasty.timeout = Span::from_millis(300);
    bench.vault.read(&hasty, &source).await.unwrap();
    bao.freeze(true).unwrap();
    // The signal takes its time to stop every thread.
    let frozen = wait_until("a frozen server", Duration::from_secs(20), async || {
        let started = Instant::now();
        let outcome = bench.vault.read(&hasty, &source).await;
        outcome.is_err().then(|| (outcome, started.elapsed()))
    });
    let (outcome, took) = frozen.await.unwrap();
    assert_fault(outcome, "vault-timeout", Class::Transient, &[]);
    assert!(took < Duration::from_secs(5), "{took:?}");
    bao.freeze(false).unwrap();
    bench.vault.read(&at, &source).await.unwrap();
}

fn answer(status: u16, body: &str) -> Reply {
    Reply::Answer(status, "", body.to_owned())
}

#[tokio::test]
async fn statuses_that_a_healthy_server_does_not_give() {
    let source = kv2("kv", "x", &[]);
    for (reply, code, class, words) in [
        (Reply::Answer(429, "retry-after: 11\r\n", String::new()), "vault-rate-limited", Class::Transient, "11 s"),
        (answer(503, r#"{"errors":["overloaded"]}"#), "vault-error-5xx", Class::Transient, "overloaded"),
        (answer(502, "<html>hush</html>"), "vault-error-5xx", Class::Transient, "502"),
        (answer(412, ""), "vault-behind", Class::Transient, "412"),
        (answer(473, ""), "vault-standby", Class::Transient, "473"),
        (
            Reply::Answer(307, "location: http://127.0.0.1:9/\r\n", String::new()),
            "vault-standby",
            Class::Transient,
            "307",
        ),
        (answer(200, "<html>hush</html>"), "vault-unreadable-answer", Class::Transient, "something else"),
        (
            answer(200, r#"{"data":{"data":{"a":"hush"},"metadata":[]}}"#),
            "vault-unreadable-answer",
            Class::Transient,
            "",
        ),
        (
            answer(200, r#"{"data":{"data":"hush","metadata":{"version":1}}}"#),
            "vault-unreadable-answer",
            Class::Transient,
            "",
        ),
        (answer(200, &" ".repeat(1024 * 1024 + 1)), "vault-answer-too-large", Class::Misconfigured, "1 MiB"),
        (
            Reply::Raw(
                b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n".iter().copied().chain(endless()).collect(),
            ),
            "vault-answer-too-large",
            Class::Misconfigured,
            "1 MiB",
        ),
        (Reply::Raw(b"SSH-2.0-hush\r\n".to_vec()), "vault-unreachable", Class::Transient, "broke"),
        (
            Reply::Raw(b"HTTP/1.1 200 X\r\ncontent-length: 50\r\n\r\n{\"data\"".to_vec()),
            "vault-unreachable",
            Class::Transient,
            "broke",
        ),
        (Reply::Close, "vault-unreachable", Class::Transient, ""),
        (Reply::Hang, "vault-timeout", Class::Transient, ""),
        (Reply::Drip(Duration::from_millis(20)), "vault-timeout", Class::Transient, ""),
    ] {
        let fake = FakeVault::start(std::slice::from_ref(&reply)).await;
        let bench = Bench::new();
        let mut at = bench.by_token(&fake.address, "canary-token");
        at.timeout = Span::from_millis(500);
        let fault = assert_fault(bench.vault.read(&at, &source).await, code, class, &[words, "team-a/prod"]);
        let text = format!("{fault} {fault:?}");
        assert!(!text.contains("hush") && !text.contains("canary"), "{text}");
        let reads = fake.seen().iter().filter(|head| head.contains("GET /v1/kv/data/x")).count();
        assert_eq!(reads, 1, "nothing is repeated here: when, is the controller's to say");
    }
}

/// Chunks of more than 1 MiB together.
fn endless() -> Vec<u8> {
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    chunk.repeat(20)
}

#[tokio::test]
async fn a_rotation_that_failed_and_happened_is_seen_by_the_next_look() {
    let creds = |password: &str, rotated: &str| {
        answer(
            200,
            &json!({"data": {"username": "u", "password": password, "last_vault_rotation": rotated, "ttl": 60}})
                .to_string(),
        )
    };
    let fake = FakeVault::start(&[
        creds("old", "2025-11-22T10:00:00.5Z"),
        creds("old", "2025-11-22T10:00:00.5Z"),
        answer(500, r#"{"errors":["syntax error near \"new-password\""]}"#),
        creds("new-password", "2025-11-22T10:00:07.25+00:00"),
    ])
    .await;
    let bench = Bench::new();
    let at = bench.by_token(&fake.address, "t");
    let source = role("db", "app");
    let handed = bench.deliver(&at, &source, &["password"]).await;
    let alive = bench.look(&at, &source, &handed, Strategy::RotateRole, None).await;
    assert_eq!(alive, ps_core::rotation::Verdict::Alive(Some(Step::RotateRole)));
    let fault = assert_fault(
        bench.vault.rotate(&at, &source, &Step::RotateRole).await,
        "vault-error-5xx",
        Class::Transient,
        &["db/rotate-role/app"],
    );
    assert!(!fault.to_string().contains("new-password"), "a database quotes the statement: {fault}");
    let verdict = bench.look(&at, &source, &handed, Strategy::RotateRole, None).await;
    crate::support::assert_dead(&verdict, ps_core::rotation::Scope::Target);
    let posts = fake.seen().iter().filter(|head| head.starts_with("POST")).count();
    assert_eq!(posts, 1, "an unsure rotation is not repeated by the transport");
}

#[tokio::test]
async fn a_rotation_that_is_yet_to_come_is_not_delivered() {
    let creds = |rotated: ps_core::time::Timestamp| {
        let data = json!({"username": "u", "password": "p", "last_vault_rotation": rotated.to_string(), "ttl": 60});
        answer(200, &json!({"data": data}).to_string())
    };
    let bench = Bench::new();
    let now = ps_core::ports::Clock::now(&*bench.clock);
    let fake = FakeVault::start(&[creds(now + Span::from_secs(3600)), creds(now + Span::from_secs(30))]).await;
    let at = bench.by_token(&fake.address, "t");
    let outcome = bench.vault.read(&at, &role("db", "app")).await;
    let fault = assert_fault(outcome, "vault-time-ahead", Class::Misconfigured, &["app", "later than now"]);
    assert!(!fault.remedy.is_empty() && fault.field.is_some());
    bench.vault.read(&at, &role("db", "app")).await.unwrap();
}

#[tokio::test]
async fn writes_that_are_refused_never_quote_vault() {
    for (status, code, class) in [
        (400, "vault-bad-request", Class::Misconfigured),
        (405, "vault-patch-unsupported", Class::Misconfigured),
        (500, "vault-error-5xx", Class::Transient),
    ] {
        let fake = FakeVault::start(&[answer(status, r#"{"errors":["bad value 'hush'"]}"#)]).await;
        let bench = Bench::new();
        let at = bench.by_token(&fake.address, "t");
        let outcome = bench.vault.rotate(&at, &kv2("kv", "x", &[]), &write(Some(1), &["a"])).await;
        let fault = assert_fault(outcome, code, class, &["kv/data/x"]);
        assert!(!fault.to_string().contains("hush"));
        let head = &fake.seen()[0];
        assert!(head.starts_with("PATCH /v1/kv/data/x") && head.contains("application/merge-patch+json"), "{head}");
    }
}

#[tokio::test]
async fn namespaces_and_steps_that_do_not_fit() {
    let fake =
        FakeVault::start(&[answer(200, r#"{"data":{"data":{"a":"1"},"metadata":{"version":1,"created_time":"t"}}}"#)])
            .await;
    let bench = Bench::new();
    let mut at = bench.by_token(&fake.address, "t");
    at.vault_namespace = "team/a".into();
    bench.vault.read(&at, &kv2("kv", "x", &[])).await.unwrap();
    assert!(fake.seen()[0].to_ascii_lowercase().contains("x-vault-namespace: team/a"));
    at.vault_namespace = "a\nb".into();
    assert_fault(
        bench.vault.read(&at, &kv2("kv", "x", &[])).await,
        "vault-namespace-invalid",
        Class::Misconfigured,
        &[],
    );
    at.vault_namespace.clear();
    assert_fault(
        bench.vault.rotate(&at, &kv2("kv", "x", &[]), &Step::RotateRole).await,
        "vault-step-mismatch",
        Class::Permanent,
        &[],
    );
}
