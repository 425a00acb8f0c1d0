//! The scanner lab: nothing that mail filters, chat programs and phishing detectors do opens, declines or locks a link.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ps_core::link::{Link, State};
use ps_core::ports::Clock;
use ps_core::time::{Span, Timestamp};
use ps_testbed::{Request, RunDir, Screen};
use serde_json::{Value, json};

use crate::browser;
use crate::sent::{self, Sent, put, put_with};
use crate::support::{Server, T};

/// As many of a scanner's visits come to a form at least: more than wrong passphrases that lock a link.
const VISITS: u64 = 12;
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

/// Lets all of them at a link, and gives the record, and how many claims were looked at and refused.
async fn scan(server: &Server, sent: &Sent, screen: Screen) -> (Link, u64) {
    let report = browser(15).await.on(screen).run("scanner_lab", json!({"link": sent.link})).await.unwrap();
    let done = &report.result;
    let count = |name: &str| done[name].as_u64().unwrap();
    assert!(count("fetched") > 300 && count("pressed") > 60 && count("forms") >= VISITS, "{done}");
    assert_eq!(done["pages"], 1, "the page is the same for whoever asks");
    assert!(report.page_errors.is_empty(), "{:?}", report.page_errors);
    let link = sent::record(server, sent.id).await;
    assert_eq!((link.state, &link.claim, &link.decline), (State::Open, &None, &None));
    let claim = |r: &&Request| r.method == "POST" && r.url.ends_with("/links/claim") && r.status == Some(403);
    (link, report.requests.iter().filter(claim).count() as u64)
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
