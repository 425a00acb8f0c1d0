//! A recipient in Chromium, on the page that the gateway child of a real operator serves: e-mailed codes, sign-ins, and
//! links that were mangled on their way. What is served, mailed and judged is the whole product.

use std::time::Duration;
use std::{fs, path::Path};

use ps_testbed::{Browser, OidcServer, Report, RunDir, Screen, Testbed};
use serde_json::{Value, json};

use crate::support::{SOON, Setup, Stand, shared_smtp};
use crate::verification::Demanding;

const PASSPHRASE: &str = "correct horse";

async fn browser(screen: Screen) -> Browser {
    let found = Testbed::connect_or_start().unwrap().browser().await.unwrap().clone();
    found.with_deadline(Duration::from_secs(240)).on(screen)
}

/// Opens the link `link` as the recipient of `on`, who finds a mailed code in `folder`.
async fn open(screen: Screen, on: &Demanding, link: &str, folder: &Path) -> Report {
    let args = json!({
        "link": link, "code": on.invitation.code, "passphrase": PASSPHRASE, "codeFile": folder.join("code"),
    });
    let report = browser(screen).await.run("pass_checks", args).await.unwrap();
    assert_eq!(report.result["value"], on.source.password, "{}", report.result);
    assert!(
        report.page_errors.is_empty() && report.console.is_empty(),
        "{:?} {:?}",
        report.page_errors,
        report.console
    );
    let kept = report.result["kept"].as_str().unwrap();
    let (_, secret) = on.invitation.link.split_once("#ps1.").unwrap();
    assert!(!kept.contains(secret), "the link's secret stays in storage");
    report
}

/// Puts the code into the folder once its mail has come, whole at once.
async fn hand_over_code(on: &Demanding, folder: &Path) {
    let code = on.code(2).await;
    fs::write(folder.join("code.tmp"), code).unwrap();
    fs::rename(folder.join("code.tmp"), folder.join("code")).unwrap();
}

#[tokio::test]
async fn a_mailed_code_is_asked_for_and_typed_on_the_page() {
    tokio::join!(types_a_mailed_code(Screen::Desktop), types_a_mailed_code(Screen::Phone));
}

async fn types_a_mailed_code(screen: Screen) {
    let on = Demanding::start(json!({"emailCode": {}}), &[]).await;
    let folder = RunDir::new("mailbox").unwrap();
    let (report, ()) =
        tokio::join!(open(screen, &on, &on.invitation.link, folder.path()), hand_over_code(&on, folder.path()));
    // The opening code is typed once, and the mailed one is the last thing to type.
    assert_eq!(report.result["states"], json!(["check:mail+code", "check:emailCode", "opened"]));
    on.stand.wait_rotated("shop", SOON).await;
    for (kind, count) in [("CodeMailed", 1), ("CodePassed", 1), ("Verified", 1), ("Claimed", 1), ("Tampered", 0)] {
        assert_eq!(on.stand.audited("shop", kind), count, "{kind}");
    }
}

#[tokio::test]
async fn a_sign_in_leads_to_the_provider_and_back_and_a_passphrase_opens() {
    tokio::join!(signs_in(Screen::Desktop), signs_in(Screen::Phone));
}

/// A delivery that demands a sign-in and more, and the provider that knows its recipient.
async fn demanding_a_sign_in(mut verification: Value) -> (Demanding, OidcServer) {
    let smtp = shared_smtp().await;
    let stand = Stand::prepare(Setup::default(), smtp);
    let home = format!("{}/", stand.public_url());
    let server = OidcServer::start(&home, "client_secret_basic").await.unwrap();
    stand.with_oidc(&server);
    stand.secret("phrase", "passphrase", PASSPHRASE);
    stand.run().await;
    verification["oidc"] = json!({});
    let on = Demanding::on(stand, smtp, verification, &[]).await;
    server.behave(&json!({"email": on.to, "emailVerified": true})).await.unwrap();
    (on, server)
}

async fn signs_in(screen: Screen) {
    let passphrase = json!({"secretKeyRef": {"name": "phrase", "key": "passphrase"}});
    let (on, server) = demanding_a_sign_in(json!({"passphrase": passphrase})).await;
    let folder = RunDir::new("mailbox").unwrap();
    let report = open(screen, &on, &on.invitation.link, folder.path()).await;
    assert_eq!(report.result["states"], json!(["check:signIn+code", "ask", "opened"]));
    let to_provider: Vec<_> = report.requests.iter().filter(|r| r.url.starts_with(server.issuer())).collect();
    assert!(!to_provider.is_empty());
    let (_, secret) = on.invitation.link.split_once("#ps1.").unwrap();
    assert!(report.requests.iter().all(|r| !r.url.contains(secret)), "the provider and the gateway see nothing of it");
    // What came back is in no address any more.
    assert_eq!(report.result["addresses"][1], Value::from(on.invitation.link.as_str()));
    on.stand.wait_rotated("shop", SOON).await;
    assert_eq!((on.stand.audited("shop", "SignInPassed"), on.stand.audited("shop", "SignInRefused")), (1, 0));
    assert_eq!((on.stand.audited("shop", "Claimed"), on.stand.audited("shop", "Tampered")), (1, 0));
}

#[tokio::test]
async fn whoever_turns_back_from_a_sign_in_loses_nothing_and_signs_in_later() {
    tokio::join!(turns_back(Screen::Desktop), turns_back(Screen::Phone));
}

async fn turns_back(screen: Screen) {
    let (on, server) = demanding_a_sign_in(json!({})).await;
    let args = json!({"link": on.invitation.link, "code": on.invitation.code, "issuer": server.issuer()});
    let report = browser(screen).await.run("turn_back", args).await.unwrap();
    let states = [&["check:signIn"; 5][..], &["noLink", "check:signIn", "ask", "opened", "done"]].concat();
    assert_eq!(report.result["states"], json!(states));
    assert_eq!(report.result["value"], on.source.password);
    assert!(
        report.page_errors.is_empty() && report.console.is_empty(),
        "{:?} {:?}",
        report.page_errors,
        report.console
    );
    let (_, secret) = on.invitation.link.split_once("#ps1.").unwrap();
    assert!(report.requests.iter().all(|r| !r.url.contains(secret)), "the provider and the gateway see nothing of it");
    on.stand.wait_rotated("shop", SOON).await;
    // What was broken off reaches nobody: only the last sign-in is judged.
    for (kind, count) in [("SignInPassed", 1), ("SignInRefused", 0), ("Claimed", 1), ("Declined", 0), ("Tampered", 0)] {
        assert_eq!(on.stand.audited("shop", kind), count, "{kind}");
    }
    assert_eq!(server.counts().await.unwrap().token, 1, "codes that were exchanged");
}

#[tokio::test]
async fn a_mangled_link_opens_is_taken_out_of_the_address_and_is_told_as_exposed() {
    tokio::join!(opens_a_mangled_link(Screen::Desktop), opens_a_mangled_link(Screen::Phone));
}

async fn opens_a_mangled_link(screen: Screen) {
    let on = Demanding::start(json!({}), &["Exposed"]).await;
    let mangled = on.invitation.link.replace("/#", "/%23");
    assert_ne!(mangled, on.invitation.link);
    let folder = RunDir::new("mailbox").unwrap();
    let report = open(screen, &on, &mangled, folder.path()).await;
    assert_eq!(report.result["states"], json!(["ask+code", "opened"]));
    for address in report.result["addresses"].as_array().unwrap() {
        assert_eq!(*address, Value::from(on.invitation.link.as_str()), "the address bar");
    }
    // Only the first request carries it: files and verbs are asked for without it.
    let (_, secret) = on.invitation.link.split_once("#ps1.").unwrap();
    let with_it: Vec<_> = report.requests.iter().filter(|r| r.url.contains(secret)).collect();
    assert!(
        with_it.iter().all(|r| r.method == "GET") && !with_it.iter().any(|r| r.url.contains("/api/")),
        "{with_it:?}"
    );
    on.stand.wait_rotated("shop", SOON).await;
    assert_eq!(on.stand.audited("shop", "Exposed"), 1);
    let notices = on.stand.mails(&format!("sender.{}", on.to), 2, SOON).await;
    assert!(notices.iter().any(|mail| mail.subject.contains("exposed")), "{notices:?}");
    assert!(!on.stand.log_text().contains(secret), "log");
}
