//! The contract of docs/link-protocol.md, section 8, byte for byte.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ps_core::ids::Digest;
use ps_core::link::State;
use ps_core::service::{
    AcknowledgeRequest, ClaimAnswer, ClaimRequest, CodeStep, DeclineRequest, LinkService, LookupAnswer, LookupRequest,
    Refusal, StateAnswer,
};
use ps_core::time::{Span, Timestamp};
use ps_gateway::counters::Verb;
use ps_gateway::limiter::Rate;
use ps_gateway::verbs::{CIPHERTEXT, Holder, TTL, WINDOW};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::{Conn, PATIENCE, Server, T, post, post_bytes};

#[tokio::test]
async fn answers_have_the_members_that_the_contract_names() {
    let server = Server::start().await;
    let holder = server.put("members").await;
    let members = |value: serde_json::Value| {
        let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names.join(" ")
    };
    let shown = server.call("lookup", &holder.lookup()).await;
    assert_eq!(shown.status, 200);
    assert_eq!(members(shown.json()), "claimWindowMs expiresAt kinds notAfter openingCode preview state");
    assert_eq!(shown.json()["claimWindowMs"], 900_000);
    assert_eq!(shown.json()["expiresAt"], (T + TTL).as_millis());
    let claimed = server.call("claim", &holder.claim()).await;
    assert_eq!(members(claimed.json()), "ciphertext claimedAt notAfter windowEndsAt");
    assert_eq!(claimed.json()["ciphertext"], ps_core::encode::b64(CIPHERTEXT));
    assert_eq!(server.call("claim", &holder.claim_again()).await.body, claimed.body, "the same again");
    let shown = server.call("lookup", &holder.lookup()).await;
    assert_eq!(members(shown.json()), "claimWindowMs expiresAt kinds notAfter openingCode preview state windowEndsAt");
    assert_eq!(shown.json()["state"], "claimed");
    let done = server.call("acknowledge", &holder.acknowledge()).await;
    assert_eq!(done.body, br#"{"state":"retrieved"}"#);
    assert_eq!(server.stored(&holder).await.1.ciphertext, None);
    for reply in [&shown, &claimed, &done] {
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("content-type"), Some("application/json"));
    }
    assert_eq!(server.counters.answered(Verb::Claim, "ok"), 2);
}

#[tokio::test]
async fn every_row_of_the_table_of_refusals() {
    let server = Server::start().await;
    let holder = server.put("rows").await;
    let body = |value: serde_json::Value| serde_json::to_vec(&value).unwrap();
    let b32 = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for bad in [
        b"".to_vec(),
        b"{".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        b"\xff\xfe".to_vec(),
        "[".repeat(8000).into_bytes(),
        body(serde_json::json!({"id": "AAAA", "access": b32})),
        body(serde_json::json!({"id": "AAAAAAAAAAAAAAAAAAAAAA", "access": b32, "more": 1})),
        body(serde_json::json!({"id": "AAAAAAAAAAAAAAAAAAAAAA", "access": null})),
        body(serde_json::json!({"id": "AAAAAAAAAAAAAAAAAAAAAA==", "access": b32})),
    ] {
        for verb in ["lookup", "claim", "acknowledge", "decline", "code"] {
            let reply = server.ask(&post_bytes(verb, "application/json", &bad)).await;
            assert_eq!(reply.refusal(), "400 bad-request", "{verb} {bad:?}");
        }
    }
    assert_eq!(server.call("code", &holder.code(CodeStep::Status)).await.refusal(), "400 not-available");
    assert_eq!(server.ask(&post_bytes("reveal", "application/json", b"{}")).await.refusal(), "400 not-available");
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "*/*"] {
        let lookup = serde_json::to_vec(&holder.lookup()).unwrap();
        assert_eq!(server.ask(&post_bytes("lookup", kind, &lookup)).await.refusal(), "415 bad-request", "{kind}");
    }
    assert_eq!(server.ask(&post_bytes("claim", "application/json", &[b' '; 8193])).await.refusal(), "413 bad-request");
    assert_eq!(server.ask(&post_bytes("claim", "application/json", &[b' '; 8192])).await.refusal(), "400 bad-request");

    let wrong = server.call("claim", &holder.typing(Some("ZZZZ-ZZZZ")).claim()).await;
    assert_eq!((wrong.refusal().as_str(), &wrong.json()["error"]["retryAfterMs"]), ("403 wrong-code", &1000.into()));
    let soon = server.call("claim", &holder.claim()).await;
    assert_eq!((soon.refusal().as_str(), &soon.json()["error"]["retryAfterMs"]), ("429 slow-down", &1000.into()));
    assert_eq!(soon.header("retry-after"), Some("1"));
    server.clock.set(T + Span::from_secs(5));
    let wrong = server.call("claim", &holder.mistyped().claim()).await;
    assert_eq!((wrong.refusal().as_str(), &wrong.json()["error"]["attemptsLeft"]), ("403 wrong-proof", &9.into()));
    server.clock.set(T + Span::from_secs(10));
    server.fence.raise();
    assert_eq!(server.call("claim", &holder.claim()).await.refusal(), "503 not-ready");
    server.fence.lift();
    assert_eq!(server.call("claim", &holder.claim()).await.status, 200);
    assert_eq!(server.call("claim", &holder.elsewhere(1).claim()).await.refusal(), "409 claimed");
    server.clock.set(T + Span::from_secs(10) + WINDOW);
    let gone = server.call("claim", &holder.claim_again()).await;
    assert_eq!((gone.refusal().as_str(), &gone.json()["error"]["state"]), ("410 gone", &"retrieved".into()));
}

#[tokio::test]
async fn unknown_ids_and_wrong_access_get_the_same_bytes() {
    let server = Server::start().await;
    let holder = server.put("uniform").await;
    let (unknown, wrong) = (Holder::new("nobody's"), holder.without_access());
    let requests = |h: &Holder| {
        [
            post("lookup", &h.lookup()),
            post("claim", &h.claim()),
            post("claim", &h.claim_again()),
            post("acknowledge", &h.acknowledge()),
            post("decline", &h.not_mine()),
            post("code", &h.code(CodeStep::Status)),
            post("code", &h.mail()),
        ]
    };
    for (unknown, wrong) in requests(&unknown).iter().zip(requests(&wrong)) {
        let (unknown, wrong) = (server.ask(unknown).await, server.ask(&wrong).await);
        assert_eq!(unknown.refusal(), "404 not-found");
        assert_eq!(unknown.body, wrong.body);
        assert_eq!(unknown.headers, wrong.headers);
    }
}

#[tokio::test]
async fn only_post_reaches_a_verb() {
    let server = Server::start().await;
    let holder = server.put("methods").await;
    let before = server.stored(&holder).await;
    let claim = serde_json::to_string(&holder.claim()).unwrap();
    for verb in ["lookup", "claim", "acknowledge", "decline", "code"] {
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "post"] {
            let length = claim.len();
            let head =
                format!("{method} /api/v1/links/{verb}?x=y HTTP/1.1\r\nhost: g\r\norigin: https://evil.example\r\n");
            let request = format!("{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{claim}");
            let mut conn = server.connect().await;
            conn.send(request.as_bytes()).await;
            let reply = conn.reply(method == "HEAD").await.unwrap();
            assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")), "{method} {verb}");
            assert_eq!(reply.header("access-control-allow-origin"), None);
        }
    }
    assert_eq!(server.stored(&holder).await, before);
}

#[tokio::test]
async fn the_page_comes_under_every_mangled_path_with_its_headers() {
    let server = Server::start().await;
    let page = server.ask(b"GET / HTTP/1.1\r\nhost: g\r\n\r\n").await;
    assert_eq!(page.status, 200);
    assert!(page.body.starts_with(b"<!doctype html>"));
    // What previews show: neither whose it is, nor what, nor that it is for anybody.
    let html = std::str::from_utf8(&page.body).unwrap();
    assert!(html.contains("<title>One-time link</title>"), "{html}");
    assert!(html.contains("<meta property=\"og:title\" content=\"One-time link\">"), "{html}");
    assert_eq!((html.matches("og:").count(), html.matches("twitter:").count()), (1, 0), "{html}");
    let exact = [
        ("content-type", "text/html; charset=utf-8"),
        ("vary", "accept-encoding"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-robots-tag", "noindex, nofollow, noarchive"),
    ];
    for (name, value) in exact {
        assert_eq!(page.header(name), Some(value), "{name}");
    }
    let policy = page.header("content-security-policy").unwrap();
    let style = policy.split_once("style-src 'sha256-").and_then(|(_, rest)| rest.split_once('\'')).unwrap().0;
    assert_eq!(
        policy.replace(style, "HASH"),
        "default-src 'none'; script-src 'self'; style-src 'sha256-HASH'; connect-src 'self'; img-src 'self'; worker-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types ps",
    );
    assert!(page.header("permissions-policy").unwrap().contains("camera=()"));
    let mut names: Vec<&str> = page.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names.len(), exact.len() + 3, "nothing else but policy, permissions and length: {names:?}");
    for path in ["/%23ps1.AAAA", "/%2523ps1.AAAA/", "/?u=ps1.AAAA", "/a/b?c", "//", "/index.html", "/links/1"] {
        let same = server.ask(format!("GET {path} HTTP/1.1\r\nhost: g\r\n\r\n").as_bytes()).await;
        assert_eq!((same.status, &same.body, &same.headers), (200, &page.body, &page.headers), "{path}");
        let head = server.ask(format!("HEAD {path} HTTP/1.1\r\nhost: g\r\n\r\n").as_bytes()).await;
        assert_eq!((head.status, &head.headers), (200, &page.headers), "{path}");
        for method in ["POST", "PUT", "OPTIONS", "DELETE"] {
            let refused = server.ask(format!("{method} {path} HTTP/1.1\r\nhost: g\r\n\r\n").as_bytes()).await;
            assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")), "{method} {path}");
        }
    }
    for (path, kind) in [("app.js", "javascript"), ("kdf-worker.js", "javascript"), ("en.json", "json")] {
        for folder in ["/", "/%23ps1.AAAA/"] {
            let file = server.ask(format!("GET {folder}{path} HTTP/1.1\r\nhost: g\r\n\r\n").as_bytes()).await;
            assert!(file.header("content-type").unwrap().contains(kind), "{path}");
            assert_eq!(file.header("cross-origin-resource-policy"), Some("same-origin"));
        }
    }
    let nested = Server::ask(&server, b"POST /%23ps1.AAAA/api/v1/links/lookup HTTP/1.1\r\nhost: g\r\n\r\n").await;
    assert_eq!(nested.refusal(), "415 bad-request", "the page asks relative to where it was opened");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_concurrent_claims_one_wins_and_may_repeat() {
    let server = Server::start().await;
    let holder = server.put("race").await;
    let mut conns = Vec::new();
    for browser in 0..64 {
        conns.push((holder.elsewhere(browser), server.connect().await));
    }
    let mut racers = JoinSet::new();
    for (racer, mut conn) in conns {
        racers.spawn(async move {
            let reply = conn.ask(&post("claim", &racer.claim())).await;
            (racer, reply)
        });
    }
    let mut winners = Vec::new();
    while let Some(done) = racers.join_next().await {
        let (racer, reply) = done.unwrap();
        match reply.status {
            200 => winners.push((racer, reply)),
            _ => assert_eq!(reply.refusal(), "409 claimed"),
        }
    }
    assert_eq!(winners.len(), 1);
    let (winner, first) = winners.remove(0);
    for _ in 0..3 {
        assert_eq!(server.call("claim", &winner.claim_again()).await.body, first.body);
    }
    assert_eq!(server.call("acknowledge", &winner.acknowledge()).await.status, 200);
    assert_eq!(server.call("claim", &winner.claim_again()).await.refusal(), "410 gone");
}

/// Holds claims back until it is told to let them go; panics on an acknowledgement.
pub(crate) struct Gate {
    pub(crate) inner: Arc<dyn LinkService>,
    pub(crate) gate: Arc<Semaphore>,
    pub(crate) waiting: Arc<Semaphore>,
}

#[async_trait]
impl LinkService for Gate {
    async fn lookup(&self, r: &LookupRequest, now: Timestamp) -> Result<LookupAnswer, Refusal> {
        self.inner.lookup(r, now).await
    }
    async fn claim(&self, r: &ClaimRequest, now: Timestamp) -> Result<ClaimAnswer, Refusal> {
        self.waiting.add_permits(1);
        self.gate.acquire().await.unwrap().forget();
        self.inner.claim(r, now).await
    }
    async fn acknowledge(&self, _: &AcknowledgeRequest, _: Timestamp) -> Result<StateAnswer, Refusal> {
        panic!("planted")
    }
    async fn decline(&self, r: &DeclineRequest, now: Timestamp) -> Result<StateAnswer, Refusal> {
        self.inner.decline(r, now).await
    }
}

#[tokio::test]
async fn a_reply_lost_on_the_wire_loses_nothing() {
    let (gate, waiting) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (g, w) = (gate.clone(), waiting.clone());
    let server = Server::with(|_, _| {}, |inner| Arc::new(Gate { inner, gate: g, waiting: w })).await;
    let holder = server.put("lost").await;
    let mut conn = server.connect().await;
    conn.send(&post("claim", &holder.claim())).await;
    waiting.acquire().await.unwrap().forget();
    drop(conn);
    while server.counters.open.load(std::sync::atomic::Ordering::Relaxed) > 0 {
        tokio::task::yield_now().await;
    }
    // The client is gone, the server knows it, and the claim is still at work.
    gate.add_permits(2);
    let claimed = async {
        while server.stored(&holder).await.1.state != State::Claimed {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, claimed).await.expect("claimed, though nobody waits for the answer");
    assert_eq!(server.call("lookup", &holder.lookup()).await.json()["state"], "claimed");
    assert_eq!(server.call("claim", &holder.elsewhere(1).claim()).await.refusal(), "409 claimed");
    gate.add_permits(1);
    assert_eq!(server.call("claim", &holder.claim_again()).await.status, 200);
}

#[tokio::test]
async fn a_service_that_panics_or_hangs_answers_not_ready() {
    let (gate, waiting) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let server = Server::with(
        |settings, _| {
            settings.request_timeout = Duration::from_millis(200);
            settings.max_in_flight = 1;
        },
        |inner| Arc::new(Gate { inner, gate: gate.clone(), waiting: waiting.clone() }),
    )
    .await;
    let holder = server.put("panics").await;
    assert_eq!(server.call("acknowledge", &holder.acknowledge()).await.refusal(), "503 not-ready");
    assert_eq!(server.counters.panics.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(server.call("claim", &holder.claim()).await.refusal(), "503 not-ready", "timed out");
    assert_eq!(server.call("lookup", &holder.lookup()).await.refusal(), "503 not-ready", "the one place is taken");
    gate.add_permits(1);
    let free = async { while server.call("lookup", &holder.lookup()).await.status != 200 {} };
    tokio::time::timeout(PATIENCE, free).await.expect("the place is free again");
    assert_eq!(server.stored(&holder).await.1.claim.unwrap().token_hash, Digest::of(&holder.token));
}

#[tokio::test]
async fn one_client_is_slowed_down_and_others_are_not() {
    let server = Server::with(
        |settings, _| {
            settings.rate = Some(Rate { per_second: 1, burst: 3 });
            settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        },
        |service| service,
    )
    .await;
    let holder = server.put("rate").await;
    let from = |client: &str| {
        let body = serde_json::to_string(&holder.lookup()).unwrap();
        let length = body.len();
        let head = "POST /api/v1/links/lookup HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\n";
        format!("{head}x-forwarded-for: {client}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
    };
    let mut conn = Conn::open(server.address).await;
    for _ in 0..3 {
        assert_eq!(conn.ask(&from("6.6.6.6, 203.0.113.1")).await.status, 200);
    }
    let refused = conn.ask(&from("7.7.7.7, 203.0.113.1")).await;
    assert_eq!((refused.refusal().as_str(), refused.header("retry-after")), ("429 slow-down", Some("1")));
    assert_eq!(conn.ask(&from("203.0.113.2")).await.status, 200);
    for _ in 0..20 {
        assert_eq!(conn.ask(b"GET / HTTP/1.1\r\nhost: g\r\n\r\n").await.status, 200, "the page is not limited");
    }
}
