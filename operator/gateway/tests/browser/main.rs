//! The gateway and its page in a real Chromium: every state in every look, recipients on desktop and phone, and the scanner lab.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a panic in a test is its failure report, and its functions are named for what they show"
)]

#[path = "../gateway/support.rs"]
#[allow(dead_code, reason = "this test program uses a part of it")]
mod support;

mod sent;

use std::time::Duration;

use ps_core::link::State;
use ps_core::time::Span;
use ps_testbed::install::ensure_node_packages;
use ps_testbed::{Browser, RunDir, Testbed};
use serde_json::json;

use crate::sent::{Sent, put};
use crate::support::{Server, T};

async fn browser(minutes: u64) -> Browser {
    let found = Testbed::connect_or_start().unwrap().browser().await.unwrap().clone();
    found.with_deadline(Duration::from_secs(60 * minutes))
}

/// A scenario of the page's own, with its gateway in memory: it has states that only an operator behind a gateway brings about.
#[tokio::test]
async fn axe_finds_nothing_in_any_state_and_any_look() {
    let browser = browser(15).await;
    let web = tokio::task::spawn_blocking(|| ensure_node_packages("web")).await.unwrap().unwrap();
    let report = browser.run(web.join("dev/states.mjs").to_str().unwrap(), json!({})).await.unwrap();
    assert!(report.result["shots"].as_u64().unwrap() > 80, "{}", report.result);
    assert!(report.page_errors.is_empty(), "{:?}", report.page_errors);
    let foreign: Vec<_> = report.requests.iter().filter(|r| !r.url.starts_with("http://127.0.0.1:")).collect();
    let odd = |url: &str| !url.starts_with("blob:") && !url.starts_with("about:");
    assert!(foreign.iter().all(|r| !odd(&r.url)), "no third party is asked: {foreign:?}");
}

#[tokio::test]
async fn a_recipient_opens_saves_and_comes_back_on_desktop_and_phone() {
    let server = Server::start().await;
    let browser = browser(3).await;
    for (width, height) in [(1280, 900), (320, 640)] {
        let Sent { id, link, code } = put(&server).await;
        let args =
            json!({"link": link, "code": code, "contextOptions": {"viewport": {"width": width, "height": height}}});
        let report = browser.run("open_link", args).await.unwrap();
        let result = &report.result;
        assert_eq!(result["states"], json!(["ask", "opened", "done", "over:mine"]));
        assert_eq!((&result["violations"], &result["hiddenBefore"]), (&json!({}), &json!(true)));
        assert_eq!(result["fields"][1]["value"], "correct horse battery staple");
        assert!(report.page_errors.is_empty() && report.console.is_empty(), "{:?}", report.console);
        assert_eq!(sent::state(&server, id).await, State::Retrieved);
    }
}

#[tokio::test]
async fn a_first_visit_asks_for_little() {
    let server = Server::start().await;
    let Sent { link, .. } = put(&server).await;
    let report = browser(3).await.run("glance_at_link", json!({"link": link})).await.unwrap();
    let mut files: Vec<_> = report.requests.iter().map(|r| r.url.rsplit('/').next().unwrap()).collect();
    files.sort_unstable();
    // The page paints with its first file. What an opened secret needs comes while the person reads.
    let first = ["", "app.js", "en.json", "lookup", "page.json", "seal.js"];
    let later = ["secret.js", "en-later.json", "favicon.ico"];
    assert!(first.iter().all(|name| files.contains(name)), "{files:?}");
    assert!(files.iter().all(|name| first.contains(name) || later.contains(name)), "{files:?}");
}

#[tokio::test]
async fn without_scripts_it_says_what_to_do_and_consumes_nothing() {
    let server = Server::start().await;
    let Sent { id, link, .. } = put(&server).await;
    let args = json!({"link": link, "contextOptions": {"javaScriptEnabled": false}});
    let report = browser(3).await.run("no_script", args).await.unwrap();
    let text = report.result["text"].as_str().unwrap();
    assert!(text.contains("password-sender open") && text.contains("Nothing has been opened"), "{text}");
    assert_eq!((&report.result["title"], &report.result["fields"]), (&json!("One-time link"), &json!(0)));
    let files: Vec<_> = report.requests.iter().map(|r| r.url.as_str()).collect();
    assert!(files.iter().all(|url| !url.contains("/api/")), "{files:?}");
    assert_eq!(sent::state(&server, id).await, State::Open);
}

#[tokio::test]
async fn nothing_that_a_scanner_does_opens_declines_or_locks_a_link() {
    let server = Server::start().await;
    let sent = put(&server).await;
    let args = json!({"link": sent.link});
    let report = browser(10).await.run("scanner_lab", args).await.unwrap();
    let done = &report.result;
    assert!(done["fetched"].as_u64().unwrap() > 300 && done["pressed"].as_u64().unwrap() > 60, "{done}");
    assert_eq!(done["pages"], 1, "the page is the same for whoever asks");
    assert_eq!(sent::state(&server, sent.id).await, State::Open);
    assert!(report.page_errors.is_empty(), "{:?}", report.page_errors);

    // The person whose link it is loses nothing but a moment.
    server.clock.set(T + Span::from_secs(60));
    let profile = RunDir::new("profile").unwrap();
    let args = json!({"link": sent.link, "code": sent.code});
    let opened = browser(3).await.run_in("open_link", args, profile.path()).await.unwrap();
    assert_eq!(opened.result["states"], json!(["ask", "opened", "done", "over:mine"]));
}
