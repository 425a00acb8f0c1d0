//! KV secrets: delivered, opened in Chromium, written over, destroyed, proven.

use std::time::Duration;

use ps_testbed::{Screen, Testbed, unique};
use serde_json::json;

use crate::support::{Invitation, KvSource, Recipient, SOON, Setup, Stand, kv_delivery};

#[tokio::test]
async fn a_secret_reaches_a_browser_once_and_is_then_replaced() {
    tokio::join!(reaches_a_browser_once(Screen::Desktop), reaches_a_browser_once(Screen::Phone));
}

async fn reaches_a_browser_once(screen: Screen) {
    let testbed = Testbed::connect_or_start().unwrap();
    let bao = testbed.bao().await.unwrap();
    // Two of them share the machine.
    let browser = testbed.browser().await.unwrap().clone().with_deadline(Duration::from_secs(120)).on(screen);
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

#[tokio::test]
async fn version_1_is_written_over_whole_and_only_if_every_key_is_named() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let (mount, stand) = (unique("kv1"), Stand::start(Setup::default()).await);
    bao.mount_kv1(&mount).await.unwrap();
    let policy = format!("path \"{mount}/*\" {{ capabilities = [\"read\", \"update\"] }}");
    stand.connect(bao, bao.address(), &policy).await;
    let deliver = async |name: &str, other: Option<&str>| {
        let source = KvSource { mount: mount.clone(), path: name.to_owned(), password: unique("pw") };
        let mut data = json!({"username": "shop", "password": source.password, "port": 5432});
        if let Some(other) = other {
            data["other"] = json!(other);
        }
        bao.kv1_put(&mount, name, data).await.unwrap();
        let to = format!("{}@v.example", unique(name));
        let fields = ["username", "password", "port"].map(|key| json!({"label": key, "key": key}));
        let more =
            json!({"source": {"vault": {"kv": {"version": 1}}}, "fields": fields, "rotation": {"keys": ["password"]}});
        stand.apply(name, &kv_delivery(name, &to, &source, "10m", "1s", more));
        (source, to)
    };
    let (source, to) = deliver("whole", None).await;
    let opened = stand.recipient(&to).await.open().await;
    assert_eq!((&opened["password"], opened["port"].as_str()), (&source.password, "5432"));
    let seen = stand.wait_rotated("whole", SOON).await;
    assert_eq!((seen.text("/status/evidence/by"), seen.text("/status/evidence/scope")), ("Us", "Vault"));
    let now = bao.kv1_get(&mount, "whole").await.unwrap().unwrap();
    assert_eq!((&now["username"], &now["port"], now.len()), (&json!("shop"), &json!(5432), 3));
    assert!(now["password"] != json!(source.password) && now["password"].as_str().unwrap().len() == 32, "{now:?}");

    // What nobody named would be written over as well: that is said before anything is sent.
    let (source, to) = deliver("more", Some("is not delivered")).await;
    let seen = stand.wait_status("more", "the refusal", SOON, |s| s.stalled().is_some()).await;
    let (reason, message) = (seen.condition("Stalled").1, seen.condition("Stalled").2);
    assert_eq!(reason, "Kv1UnnamedKeys");
    assert!(message.contains("spec.source.vault.kv.keys") && message.contains("other"), "{message}");
    assert_eq!(stand.mails(&to, 0, SOON).await.len(), 0);
    assert_eq!(bao.kv1_get(&mount, "more").await.unwrap().unwrap()["password"], json!(source.password));
    let whole = json!({"username": "shop", "password": source.password, "port": 5432});
    bao.kv1_put(&mount, "more", whole).await.unwrap();
    assert_eq!(stand.recipient(&to).await.open().await["password"], source.password);
    stand.wait_rotated("more", SOON).await;
}
