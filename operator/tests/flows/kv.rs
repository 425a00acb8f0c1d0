//! KV version 2: delivered, opened in Chromium, written over, destroyed, proven.

use ps_testbed::{Testbed, unique};
use serde_json::json;

use crate::support::{Invitation, KvSource, Recipient, SOON, Setup, Stand, kv_delivery};

#[tokio::test]
async fn a_secret_reaches_a_browser_once_and_is_then_replaced() {
    let testbed = Testbed::connect_or_start().unwrap();
    let (bao, browser) = (testbed.bao().await.unwrap(), testbed.browser().await.unwrap());
    let source = KvSource::new(bao).await;
    let stand = Stand::start(Setup::default()).await;
    stand.connect_by_approle(bao, &source.policy()).await;
    let to = format!("{}@vendor.example", unique("alice"));
    let more = json!({"completion": "OnRotated", "link": {"claimWindow": "10s"}});
    stand.apply("shop", &kv_delivery("shop", &to, &source, "10m", "15s", more));

    let mail = stand.mail(&to).await;
    assert!(mail.secure && mail.user.is_some(), "sent over TLS after a login");
    let invitation = Invitation::of(&mail);
    assert!(invitation.link.starts_with(&format!("{}/#ps1.", stand.public_url())));
    for part in [mail.text.as_deref(), mail.html.as_deref()] {
        assert!(!part.unwrap().contains(&source.password));
    }
    let seen = stand.wait_status("shop", "delivered", SOON, |s| s.is("Delivered")).await;
    assert_eq!(seen.condition("Rotated").0, "False");
    assert_eq!(seen.condition("Reconciling").0, "True", "OnRotated is not reached yet");

    // A scanner follows the link, runs its scripts and fetches everything: nothing is consumed.
    let scanner = browser.run("scan_link", json!({"link": invitation.link})).await.unwrap();
    assert_eq!(scanner.result["states"], json!(["ask", "ask"]));
    assert!(source.is_untouched(bao).await);

    let report = browser.run("open_link", json!({"link": invitation.link, "code": invitation.code})).await.unwrap();
    assert_eq!(report.result["title"], "Database of the web shop");
    assert_eq!(
        report.result["fields"],
        json!([
            {"key": "username", "kind": "text", "value": "shop"},
            {"key": "password", "kind": "password", "value": source.password},
        ])
    );
    assert_eq!(report.result["hiddenBefore"], true, "a password is not in the document before it is asked for");
    assert_eq!(report.result["violations"], json!({}), "axe");
    assert_eq!(report.result["states"], json!(["ask", "opened", "done", "over:mine"]));
    assert!(
        report.page_errors.is_empty() && report.console.is_empty(),
        "{:?} {:?}",
        report.page_errors,
        report.console
    );
    let ours = stand.public_url();
    assert!(report.requests.iter().all(|r| r.url.starts_with(&ours)), "{:?}", report.requests);
    let secret_part = invitation.fragment().strip_prefix("ps1.").unwrap();
    assert!(report.requests.iter().all(|r| !r.url.contains(secret_part)), "the fragment left the browser");

    let seen = stand.wait_rotated("shop", SOON).await;
    source.assert_replaced(bao).await;
    assert_eq!(seen.text("/status/evidence/scope"), "Vault");
    assert_eq!(seen.text("/status/evidence/by"), "Us");
    assert!(seen.condition("Rotated").2.contains("target system was not told"), "{:?}", seen.condition("Rotated"));
    assert!(
        seen.is("Retrieved") && seen.condition("Retrieved").2.contains("saved"),
        "{:?}",
        seen.condition("Retrieved")
    );
    assert_eq!((seen.summary(), seen.is("Ready")), ("Rotated", true));
    assert_eq!(Recipient::new(&invitation).claim().await.code(), "gone");
    assert_eq!(stand.mails(&to, 1, SOON).await.len(), 1);
    for kind in
        ["Accepted", "Issued", "Delivered", "Claimed", "Acknowledged", "RotationDue", "RotationBegun", "Rotated"]
    {
        assert_eq!(stand.audited("shop", kind), 1, "{kind}");
    }
}

#[tokio::test]
async fn a_password_policy_of_vault_makes_the_new_value() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = KvSource::new(bao).await;
    let policy = unique("letters");
    bao.password_policy(&policy, "length = 17\nrule \"charset\" { charset = \"xyz\" }").await.unwrap();
    let stand = Stand::start(Setup::default()).await;
    let generate = format!("path \"sys/policies/password/{policy}/generate\" {{ capabilities = [\"read\"] }}");
    stand.connect(bao, bao.address(), &format!("{}\n{generate}", source.policy())).await;
    let to = format!("{}@vendor.example", unique("bob"));
    let more = json!({"rotation": {"passwordPolicy": policy}});
    stand.apply("shop", &kv_delivery("shop", &to, &source, "10m", "1s", more));
    assert_eq!(stand.recipient(&to).await.open().await["password"], source.password);
    stand.wait_rotated("shop", SOON).await;
    let now = source.now(bao).await;
    let fresh = now["password"].as_str().unwrap();
    assert!(fresh.len() == 17 && fresh.chars().all(|c| "xyz".contains(c)), "{fresh}");
}
