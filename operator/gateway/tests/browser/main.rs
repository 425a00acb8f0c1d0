//! The gateway and its page in a real Chromium: every state in every look, recipients on a desktop and on a phone, and the scanner lab.
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

mod decline;
mod files;
mod lost;
mod mail;
mod returns;
mod scanners;
mod sent;
mod visits;

use std::time::Duration;

use ps_core::link::State;
use ps_testbed::install::ensure_node_packages;
use ps_testbed::{Browser, Screen, Testbed};
use serde_json::{Value, json};

use crate::scanners::without_waits;
use crate::sent::{Sent, put, put_with};
use crate::support::Server;

async fn browser(minutes: u64) -> Browser {
    let found = Testbed::connect_or_start().unwrap().browser().await.unwrap().clone();
    found.with_deadline(Duration::from_secs(60 * minutes))
}

/// A scenario of the page's own, with its gateway in memory: it has states that only an operator behind a gateway brings about.
async fn every_state(screen: Screen, shots: u64) {
    let browser = browser(15).await.on(screen);
    let web = tokio::task::spawn_blocking(|| ensure_node_packages("web")).await.unwrap().unwrap();
    let report = browser.run(web.join("dev/states.mjs").to_str().unwrap(), json!({})).await.unwrap();
    assert!(report.result["shots"].as_u64().unwrap() > shots, "{}", report.result);
    assert!(report.page_errors.is_empty(), "{:?}", report.page_errors);
    // `insecure.test` is answered by the scenario itself.
    let ours = ["http://127.0.0.1:", "http://insecure.test/"];
    let foreign: Vec<_> = report.requests.iter().filter(|r| !ours.iter().any(|one| r.url.starts_with(one))).collect();
    let odd = |url: &str| !url.starts_with("blob:") && !url.starts_with("about:");
    assert!(foreign.iter().all(|r| !odd(&r.url)), "no third party is asked: {foreign:?}");
}

#[tokio::test]
async fn axe_finds_nothing_in_any_state_and_any_look_on_a_desktop() {
    every_state(Screen::Desktop, 130).await;
}

#[tokio::test]
async fn axe_finds_nothing_in_any_state_on_a_phone() {
    every_state(Screen::Phone, 130).await;
}

#[tokio::test]
async fn a_recipient_opens_saves_and_comes_back() {
    let server = Server::start().await;
    for screen in Screen::ALL {
        let sent = put(&server).await;
        let args = json!({"link": sent.link, "code": sent.code, "copy": true});
        opens(&server, &sent, screen, args, "code").await;
    }
}

#[tokio::test]
async fn a_recipient_mistypes_the_passphrase_and_opens() {
    let server = without_waits().await;
    for screen in Screen::ALL {
        let right = "Tr0ub4dor und 3 Bücher";
        let sent = put_with(&server, Some(right)).await;
        let args =
            json!({"link": sent.link, "passphrase": right, "wrongPassphrase": "Tr0ub4dor und 2 Bücher", "copy": true});
        opens(&server, &sent, screen, args, "passphrase").await;
        assert_eq!(sent::record(&server, sent.id).await.tries.wrong_proofs, 1);
    }
}

/// Opens and saves it, with one thing to type.
async fn opens(server: &Server, sent: &Sent, screen: Screen, args: Value, asked: &str) {
    let report = browser(3).await.on(screen).run("open_link", args).await.unwrap();
    let result = &report.result;
    assert_eq!(result["states"], json!(["ask", "opened", "done", "over:mine"]));
    assert_eq!((&result["asked"], &result["hiddenBefore"]), (&json!([asked]), &json!(true)));
    assert_eq!(result["fields"][1]["value"], "correct horse battery staple");
    assert!(report.page_errors.is_empty(), "{:?}", report.page_errors);
    // Chromium prints a refusal, which is an answer.
    let odd = |line: &&Value| !line["text"].as_str().unwrap().contains("Failed to load resource");
    assert_eq!(report.console.iter().find(odd), None);
    assert_eq!(sent::state(server, sent.id).await, State::Retrieved);
}

#[tokio::test]
async fn a_recipient_needs_no_pointer_and_always_sees_the_focus() {
    let server = Server::start().await;
    for screen in Screen::ALL {
        let Sent { id, link, code } = put(&server).await;
        let args = json!({"link": link, "code": code});
        let report = browser(3).await.on(screen).run("keyboard_only", args).await.unwrap();
        let fields =
            ["username/copy", "password/show", "password/copy", "copy-all", "acknowledge", "decline", "select"];
        let copied = ["password/show", "password/copy", "copy-all", "acknowledge", "decline", "clear", "select"];
        let orders = json!({
            "ask": ["code", "open", "decline", "select"],
            "opened": fields,
            "copied": copied,
            "done": ["select"],
            "over:mine": ["decline", "select"],
            "decline": ["code", "decline-confirm", "back", "select"],
        });
        assert_eq!(report.result["orders"], orders);
        assert_eq!(report.result["value"], "correct horse battery staple");
        assert!(report.page_errors.is_empty() && report.console.is_empty(), "{:?}", report.console);
        assert_eq!(sent::state(&server, id).await, State::Retrieved);
    }
}

#[tokio::test]
async fn a_link_without_its_key_or_with_another_opens_nothing() {
    let server = Server::start().await;
    let Sent { id, link, .. } = put(&server).await;
    let (page, token) = link.split_once('#').unwrap();
    // One letter in the middle of the secret is another.
    let (head, tail) = token.split_at(20);
    let other = if tail.starts_with('A') { "B" } else { "A" };
    let wrong = format!("{page}#{head}{other}{}", &tail[1..]);
    let cases = [(page, "noLink"), (&link[..link.len() - 7], "noLink"), (&wrong, "over:notFound")];
    for screen in Screen::ALL {
        for (address, state) in cases {
            let report = browser(3).await.on(screen).run("glance_at_link", json!({"link": address})).await.unwrap();
            assert_eq!(report.result, json!({"state": state, "fields": 0}), "{address}");
            let asked: Vec<_> = report.requests.iter().filter(|r| r.url.contains("/api/")).collect();
            assert_eq!(asked.len(), usize::from(state != "noLink"), "{asked:?}");
        }
    }
    assert_eq!(sent::state(&server, id).await, State::Open);
}

#[tokio::test]
async fn a_first_visit_asks_for_little() {
    let server = Server::start().await;
    let Sent { link, .. } = put(&server).await;
    // The page paints with its first file. What an opened secret needs comes while the person reads.
    let first = ["", "app.js", "en.json", "lookup", "page.json", "seal.js"];
    let later = ["secret.js", "en-later.json", "favicon.ico"];
    for screen in Screen::ALL {
        let report = browser(3).await.on(screen).run("glance_at_link", json!({"link": link})).await.unwrap();
        let files: Vec<_> = report.requests.iter().map(|r| r.url.rsplit('/').next().unwrap()).collect();
        assert!(first.iter().all(|name| files.contains(name)), "{files:?}");
        assert!(files.iter().all(|name| first.contains(name) || later.contains(name)), "{files:?}");
    }
}

#[tokio::test]
async fn without_scripts_it_says_what_to_do_and_consumes_nothing() {
    let server = Server::start().await;
    let Sent { id, link, .. } = put(&server).await;
    for screen in Screen::ALL {
        let args = json!({"link": link});
        let report = browser(3).await.on(screen).run("no_script", args).await.unwrap();
        let text = report.result["text"].as_str().unwrap();
        assert!(text.contains("password-sender open") && text.contains("Nothing has been opened"), "{text}");
        assert_eq!((&report.result["title"], &report.result["fields"]), (&json!("One-time link"), &json!(0)));
        let files: Vec<_> = report.requests.iter().map(|r| r.url.as_str()).collect();
        assert!(files.iter().all(|url| !url.contains("/api/")), "{files:?}");
    }
    assert_eq!(sent::state(&server, id).await, State::Open);
}
