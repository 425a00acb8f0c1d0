//! The scanner lab: nothing that mail filters, chat programs and phishing detectors do opens, declines or locks a link.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ps_core::link::{JournalEvent, Link, State, Verification};
use ps_core::ports::Clock;
use ps_core::service::SignInOffer;
use ps_core::time::{Span, Timestamp};
use ps_store::service::{Fence, StoreLinkService};
use ps_testbed::{Report, Request, RunDir, Screen};
use serde_json::{Value, json};

use crate::browser;
use crate::sent::{self, Sent, put, put_demanding, put_with};
use crate::support::{Server, T};

/// As many of a scanner's visits come to a form at least: more than wrong passphrases that lock a link.
const VISITS: u64 = 12;
/// As many buttons at least, where the page stays.
const PRESSED: u64 = 60;
const PASSPHRASE: &str = "correct horse";

/// Longer than any wait that wrong input can cause.
const STEP: Span = Span::from_secs(31);

/// A clock that moves on by more than the longest wait whenever somebody looks at it: no try comes too early.
struct Hurried(AtomicI64);

impl Clock for Hurried {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.fetch_add(STEP.as_millis(), Ordering::SeqCst))
    }
}

/// A gateway where every wait is over at once.
pub(crate) async fn without_waits() -> Server {
    let clock = Arc::new(Hurried(AtomicI64::new(T.as_millis())));
    Server::with(|settings, _| settings.clock = clock, |service| service).await
}

/// Lets all of them at a link. They come to a form, and press something, so often at least.
async fn visit(server: &Server, sent: &Sent, screen: Screen, (forms, pressed): (u64, u64)) -> (Link, Report) {
    let report = browser(15).await.on(screen).run("scanner_lab", json!({"link": sent.link})).await.unwrap();
    let done = &report.result;
    let count = |name: &str| done[name].as_u64().unwrap();
    assert!(count("fetched") > 300 && count("pressed") >= pressed && count("forms") >= forms, "{done}");
    assert_eq!(done["pages"], 1, "the page is the same for whoever asks");
    assert!(report.page_errors.is_empty(), "{:?}", report.page_errors);
    (sent::record(server, sent.id).await, report)
}

/// How often this verb was refused with 403.
fn refused(report: &Report, verb: &str) -> u64 {
    let path = format!("/links/{verb}");
    let one = |r: &&Request| r.method == "POST" && r.url.ends_with(&path) && r.status == Some(403);
    report.requests.iter().filter(one).count() as u64
}

/// Lets all of them at an open link, and gives the record, and how many claims were looked at and refused.
async fn scan(server: &Server, sent: &Sent, screen: Screen) -> (Link, u64) {
    let (link, report) = visit(server, sent, screen, (VISITS, PRESSED)).await;
    assert_eq!((link.state, &link.claim, &link.decline), (State::Open, &None, &None));
    let claims = refused(&report, "claim");
    (link, claims)
}

/// What the journal tells of who did what. That a link came mangled is no doing.
fn told(link: &Link) -> Vec<JournalEvent> {
    link.journal.iter().map(|line| line.event).filter(|event| *event != JournalEvent::Exposed).collect()
}

/// The person whose link it is opens it, and is asked for this.
async fn opens(sent: &Sent, asked: Value) {
    let profile = RunDir::new("profile").unwrap();
    let args = json!({"link": sent.link, "code": sent.code, "passphrase": PASSPHRASE});
    let opened = browser(3).await.run_in("open_link", args, profile.path()).await.unwrap();
    assert_eq!(opened.result["asked"], asked);
    assert_eq!(opened.result["states"], json!(["ask", "opened", "done", "over:mine"]));
    assert_eq!(opened.result["fields"][1]["value"], "correct horse battery staple");
}

#[tokio::test]
async fn nothing_that_a_scanner_does_opens_declines_or_locks_a_link() {
    for screen in Screen::ALL {
        let server = Server::start().await;
        let sent = put(&server).await;
        let (link, _) = scan(&server, &sent, screen).await;
        assert_eq!((link.tries.wrong_codes, link.tries.wrong_proofs), (1, 0), "looked at once, then there is a wait");
        // The person whose link it is loses nothing but a moment.
        server.clock.set(T + Span::from_secs(60));
        opens(&sent, json!(["code"])).await;
    }
}

#[tokio::test]
async fn a_patient_scanner_does_not_either() {
    let server = without_waits().await;
    let sent = put(&server).await;
    let (link, claims) = scan(&server, &sent, Screen::Phone).await;
    assert!(claims >= VISITS && u64::from(link.tries.wrong_codes) >= claims, "{claims} claims, {:?}", link.tries);
    assert_eq!(link.tries.wrong_proofs, 0);
    opens(&sent, json!(["code"])).await;
}

#[tokio::test]
async fn nor_does_a_patient_scanner_that_guesses_passphrases() {
    let server = without_waits().await;
    let sent = put_with(&server, Some(PASSPHRASE)).await;
    let (link, claims) = scan(&server, &sent, Screen::Desktop).await;
    assert!(claims >= VISITS && u64::from(link.tries.wrong_codes) >= claims - 3, "{claims} claims, {:?}", link.tries);
    assert_eq!(link.tries.wrong_proofs, 3, "without the code from the mail no more are counted");
    opens(&sent, json!(["code", "passphrase"])).await;
}

/// A gateway where every wait is over at once, which offers a sign-in at another one.
async fn with_sign_in() -> (Server, Server) {
    let provider = Server::start().await;
    let clock = Arc::new(Hurried(AtomicI64::new(T.as_millis())));
    let offer = SignInOffer {
        // Its answer is a page without a link, and as good as any.
        authorization_endpoint: format!("http://{}/authorize", provider.address),
        client_id: "links".into(),
        scope: "openid email".into(),
    };
    let service = StoreLinkService::new(provider.store.clone(), Fence::lifted()).with_sign_in(offer);
    let mut server = Server::with(|settings, _| settings.clock = clock, |_| Arc::new(service)).await;
    server.store = provider.store.clone();
    (server, provider)
}

#[tokio::test]
async fn nor_is_a_code_mailed_or_a_sign_in_judged_for_a_patient_scanner() {
    let (server, _provider) = with_sign_in().await;
    let both = [Verification::EmailCode, Verification::Oidc];
    // A code that may be right leads to the provider, where nothing is left to press.
    let cases = [(Screen::Desktop, &both[..1], PRESSED), (Screen::Phone, &both[1..], VISITS)];
    for (screen, kinds, pressed) in cases {
        let sent = put_demanding(&server, kinds).await;
        let (link, report) = visit(&server, &sent, screen, (VISITS, pressed)).await;
        assert_eq!((link.state, &link.claim, &link.decline), (State::Open, &None, &None), "{kinds:?}");
        // What the operator mails and judges is asked for in the record.
        assert_eq!((&link.request, &link.verdict, &link.release), (&None, &None, &None), "{kinds:?}");
        assert_eq!(link.tries.wrong_proofs, 0, "{kinds:?}");
        if kinds == [Verification::EmailCode] {
            let codes = refused(&report, "code");
            assert!(codes > 0 && u64::from(link.tries.wrong_codes) >= codes, "{codes} codes, {:?}", link.tries);
        }
    }
}

#[tokio::test]
async fn whoever_has_claimed_a_link_keeps_it_whatever_scanners_do() {
    let server = Server::start().await;
    let (sent, profile) = (put(&server).await, RunDir::new("profile").unwrap());
    let args = json!({"link": sent.link, "code": sent.code, "acknowledge": false});
    browser(3).await.run_in("open_link", args, profile.path()).await.unwrap();
    let before = sent::record(&server, sent.id).await;
    assert_eq!(before.state, State::Claimed);
    let (link, _) = visit(&server, &sent, Screen::Desktop, (0, PRESSED)).await;
    assert_eq!((link.state, &link.claim, &link.decline), (State::Claimed, &before.claim, &None));
    assert!(link.ciphertext == before.ciphertext && told(&link) == told(&before), "{:?}", link.journal);
    // The same browser gets it again, once whatever was typed wrong is over.
    server.clock.set(T + Span::from_secs(60));
    let args = json!({"link": sent.link, "press": true});
    let again = browser(3).await.run_in("glance_at_link", args, profile.path()).await.unwrap();
    assert_eq!(again.result["state"], "opened");
}

#[tokio::test]
async fn a_retrieved_link_is_disputed_by_no_scanner() {
    let server = without_waits().await;
    let sent = put(&server).await;
    opens(&sent, json!(["code"])).await;
    let before = sent::record(&server, sent.id).await;
    assert_eq!(before.state, State::Retrieved);
    let (link, _) = visit(&server, &sent, Screen::Phone, (0, PRESSED)).await;
    assert_eq!((link.state, &link.decline, told(&link)), (State::Retrieved, &None, told(&before)));
    assert_eq!(link.tries.wrong_proofs, 0);
}
