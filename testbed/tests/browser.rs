//! Chromium, for real.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a panic in a test is the failure report"
)]

use std::fs;

use ps_testbed::{RunDir, Testbed};
use serde_json::json;

#[tokio::test]
async fn it_opens_clicks_and_finds_what_is_inaccessible() {
    let browser = Testbed::connect_or_start()
        .unwrap()
        .browser()
        .await
        .unwrap();
    let report = browser.run("selftest", json!({"echo": 42})).await.unwrap();
    assert_eq!(report.result["status"], "clicked");
    assert_eq!(report.result["echo"], 42);
    assert_eq!(report.result["violations"], json!([]));
    let found = report.result["badViolations"].to_string();
    assert!(
        found.contains("image-alt") && found.contains("button-name"),
        "{found}"
    );
    assert!(report.page_errors.is_empty());
}

#[tokio::test]
async fn a_scenario_that_throws_says_why() {
    let browser = Testbed::connect_or_start()
        .unwrap()
        .browser()
        .await
        .unwrap();
    let folder = RunDir::new("scenario").unwrap();
    let module = folder.path().join("throws.mjs");
    fs::write(
        &module,
        "export default async () => { throw new Error('on purpose'); };",
    )
    .unwrap();
    let error = browser
        .run(module.to_str().unwrap(), json!({}))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("on purpose"), "{error}");
}
