//! OpenBao's own UI, in a real Chromium: it shows what the plugin says of itself, and what it proposes works.

use std::path::Path;
use std::time::Duration;

use ps_plugin_engine::Operation;
use ps_plugin_engine::paths::ALL;
use ps_testbed::{Browser, OpenBao, TokenOptions, Vendor, log_dir, unique};
use serde_json::{Value, json};

use crate::stand::{NAME, prepare};

/// What somebody needs who administers the mount in the UI.
const POLICY: &str = r#"path "send/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}
path "sys/internal/specs/openapi" {
  capabilities = ["read"]
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_ui_describes_every_path_and_what_it_proposes_works() {
    let bao = OpenBao::raft().await.unwrap();
    if Vendor::chosen() == Vendor::Vault {
        // Built from its sources, Vault has no UI; the document that a UI would read is looked at in `paths`.
        let page = reqwest::get(format!("{}/ui/", bao.address())).await.unwrap().text().await.unwrap();
        assert!(page.contains("UI is not available"), "it has one now: {page}");
        return;
    }
    prepare(&bao).await;
    let policy = unique("ui");
    bao.policy(&policy, POLICY).await.unwrap();
    let token = bao.token(&[&policy], &TokenOptions::default()).await.unwrap().token;
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugin/ui.mjs");
    let picture = log_dir().join("plugin-in-the-ui.png");
    let role = unique("role");
    let args = json!({"address": bao.address(), "token": token, "mount": "send", "role": role, "picture": picture});
    let browser = Browser::find().await.unwrap().with_deadline(Duration::from_secs(180));
    let report = browser.run(scenario.to_str().unwrap(), args).await.unwrap();
    assert!(report.page_errors.is_empty(), "{:?}", report.page_errors);
    let Value::Object(seen) = &report.result else { panic!("{}", report.result) };
    assert!(seen["listed"].as_str().unwrap().contains(NAME), "{}", seen["listed"]);

    let mut wanted: Vec<Value> = Vec::new();
    for path in ALL {
        for (operation, summary, _) in path.operations {
            let method = match operation {
                Operation::Write => "POST",
                Operation::Delete => "DELETE",
                _ => "GET",
            };
            wanted.push(json!({"method": method, "path": format!("/send/{}", path.pattern), "summary": summary}));
        }
    }
    let described = seen["described"].as_array().unwrap();
    for one in &wanted {
        assert!(described.contains(one), "the explorer does not show {one}: {described:?}");
    }
    assert_eq!(described.len(), wanted.len(), "{described:?}");

    let tried = seen["tried"].as_array().unwrap();
    let of = |method: &str, path: &str| {
        let found = tried.iter().find(|one| one["method"] == method && one["path"] == path);
        found.unwrap_or_else(|| panic!("{method} {path} was not tried"))
    };
    for (method, path, wanted) in [
        ("post", "config", "204"),
        ("get", "config", "200"),
        ("post", "roles/{name}", "204"),
        ("get", "roles/", "200"),
        ("post", "link/{role}", "200"),
        ("get", "links/{id}", "200"),
        ("get", "events", "200"),
        ("delete", "links/{id}", "204"),
        // What it proposes is no claim, and its refusal is a documented one.
        ("post", "gateway/claim", "400"),
        ("delete", "roles/{name}", "204"),
        ("get", "roles/{name}", "404"),
    ] {
        // A status that the document does not name is marked "Undocumented".
        assert_eq!(of(method, path)["status"], wanted, "{}", of(method, path));
    }
    assert_eq!(of("get", "links/{id}")["data"]["state"], "open");
    let history = of("get", "events");
    assert!(history["sent"].as_str().unwrap().ends_with("/events?after=0&limit=1"), "{history}");
    assert_eq!(history["data"]["events"].as_array().unwrap().len(), 1, "the revocation: {history}");
    let words = of("post", "link/{role}")["words"].as_str().unwrap();
    assert!(words.contains("becomes a field of the link"), "{words}");
    let config = bao.call("GET", "send/config", None).await.unwrap();
    assert_eq!(config["data"]["max_ttl"], "72h", "the UI's proposal was taken");
}
