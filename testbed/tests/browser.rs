//! Chromium, for real.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a panic in a test is the failure report"
)]

use std::fs;
use std::time::Duration;

use ps_testbed::{RunDir, Testbed, wait_until};
use serde_json::json;

#[tokio::test]
async fn it_opens_clicks_and_finds_what_is_inaccessible() {
    let browser = Testbed::connect_or_start().unwrap().browser().await.unwrap();
    let report = browser.run("selftest", json!({"echo": 42})).await.unwrap();
    assert_eq!(report.result["status"], "clicked");
    assert_eq!(report.result["echo"], 42);
    assert_eq!(report.result["violations"], json!([]));
    let found = report.result["badViolations"].to_string();
    assert!(found.contains("image-alt") && found.contains("button-name"), "{found}");
    assert!(report.page_errors.is_empty());
}

#[tokio::test]
async fn a_scenario_that_throws_says_why() {
    let browser = Testbed::connect_or_start().unwrap().browser().await.unwrap();
    let folder = RunDir::new("scenario").unwrap();
    let module = folder.path().join("throws.mjs");
    fs::write(&module, "export default async () => { throw new Error('on purpose'); };").unwrap();
    let error = browser.run(module.to_str().unwrap(), json!({})).await.unwrap_err();
    assert!(error.to_string().contains("on purpose"), "{error}");
}

#[tokio::test]
async fn a_scenario_that_hangs_is_ended_with_its_browser() {
    let folder = RunDir::new("scenario").unwrap();
    let module = folder.path().join("hangs.mjs");
    let code = "export default async ({page}) => { await page.goto('data:text/html,x'); setInterval(() => {}, 1000); \
        await new Promise(() => undefined); };";
    fs::write(&module, code).unwrap();
    let browser = Testbed::connect_or_start().unwrap().browser().await.unwrap().clone();
    let profile = folder.path().join("profile");
    let browser = browser.with_deadline(Duration::from_secs(5));
    let error = browser.run_in(module.to_str().unwrap(), json!({}), &profile).await.unwrap_err();
    assert!(format!("{error:#}").contains("not done"), "{error:#}");
    let marker = profile.to_str().unwrap().to_owned();
    wait_until("the end of its Chromium", Duration::from_secs(30), async || (!somebody_names(&marker)).then_some(()))
        .await
        .unwrap();
}

/// Whether a process has this text in its command line.
fn somebody_names(text: &str) -> bool {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let mut lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| String::from_utf8_lossy(&line).contains(text))
}
