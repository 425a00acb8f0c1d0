//! "This was not meant for me", in a browser.

use ps_core::link::{JournalEvent, Link, State};
use ps_testbed::{RunDir, Screen};
use serde_json::{Value, json};

use crate::browser;
use crate::scanners::without_waits;
use crate::sent::{self, Sent, put};
use crate::support::Server;

/// Somebody declines who finds this state; the last state is what they see after a reload.
async fn declines(screen: Screen, sent: &Sent, from: &str, after: &str) {
    let args = json!({"link": sent.link, "code": sent.code, "from": from});
    let report = browser(3).await.on(screen).run("decline_link", args).await.unwrap();
    assert_eq!(report.result["states"], json!([from, "decline", from, "decline", "declined", after]));
    assert!(report.page_errors.is_empty(), "{:?}", report.page_errors);
}

/// Somebody else opens it in a browser of their own, which stays.
async fn opened_by_another(screen: Screen, sent: &Sent, acknowledge: bool) -> RunDir {
    let profile = RunDir::new("profile").unwrap();
    let args = json!({"link": sent.link, "code": sent.code, "acknowledge": acknowledge});
    let report = browser(3).await.on(screen).run_in("open_link", args, profile.path()).await.unwrap();
    assert_eq!(report.result["states"][1], "opened");
    profile
}

async fn sees(screen: Screen, sent: &Sent, profile: &RunDir) -> Value {
    let args = json!({"link": sent.link});
    let report = browser(3).await.on(screen).run_in("glance_at_link", args, profile.path()).await.unwrap();
    report.result["state"].clone()
}

/// The record, whose decline is proven, and what its journal tells.
async fn declined(server: &Server, sent: &Sent) -> (Link, Vec<JournalEvent>) {
    let link = sent::record(server, sent.id).await;
    let decline = link.decline.as_ref().expect("a decline");
    assert!(link.sealed.decline.matches(&decline.preimage), "the operator believes it");
    assert!(link.ciphertext.is_none() && link.preview.is_none(), "erased");
    let journal = link.journal.iter().map(|entry| entry.event).collect();
    (link, journal)
}

#[tokio::test]
async fn an_open_link_is_declined_and_over_for_everybody() {
    let server = without_waits().await;
    for screen in Screen::ALL {
        let sent = put(&server).await;
        declines(screen, &sent, "ask", "over:declined").await;
        let (link, journal) = declined(&server, &sent).await;
        assert_eq!((link.state, link.claim.is_none()), (State::Declined, true));
        assert_eq!(journal, [JournalEvent::Declined]);
        assert_eq!(link.tries.wrong_codes, 1);
        assert_eq!(sees(screen, &sent, &RunDir::new("profile").unwrap()).await, "over:declined");
    }
}

#[tokio::test]
async fn after_somebody_elses_opening_it_is_disputed() {
    let server = without_waits().await;
    for screen in Screen::ALL {
        let sent = put(&server).await;
        let other = opened_by_another(screen, &sent, true).await;
        declines(screen, &sent, "over:retrieved", "over:retrieved").await;
        let (link, journal) = declined(&server, &sent).await;
        assert_eq!((link.state, link.claim.is_some()), (State::Retrieved, true));
        assert_eq!(journal, [JournalEvent::Claimed, JournalEvent::Acknowledged, JournalEvent::Disputed]);
        assert_eq!(sees(screen, &sent, &other).await, "over:mine");
        // Once is enough: the second time changes nothing that the operator reads.
        declines(screen, &sent, "over:retrieved", "over:retrieved").await;
        let (again, _) = declined(&server, &sent).await;
        assert_eq!((&again.journal, &again.decline), (&link.journal, &link.decline));
    }
}

#[tokio::test]
async fn while_somebody_else_may_still_read_it_again_it_is_taken_from_them() {
    let server = without_waits().await;
    for screen in Screen::ALL {
        let sent = put(&server).await;
        let other = opened_by_another(screen, &sent, false).await;
        declines(screen, &sent, "over:claimed", "over:declined").await;
        let (link, journal) = declined(&server, &sent).await;
        assert_eq!((link.state, link.claim.is_some()), (State::Declined, true));
        assert_eq!(journal, [JournalEvent::Claimed, JournalEvent::Declined]);
        assert_eq!(sees(screen, &sent, &other).await, "over:declined");
    }
}
