//! The program, killed between a commit and its reply, or stopped while another one serves: nothing is doubled, nothing lost.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ps_core::link::email_code::{CodeKey, EmailCode, is_right};
use ps_core::link::verification::{Ask, CodeState, CodeVerdict, Request, Verdict};
use ps_core::link::{Command, Link, Record, Release, State, Verification, apply};
use ps_core::ports::LinkStore as _;
use ps_core::service::{CodeStep, Revealed};
use ps_core::time::Span;
use ps_gateway::verbs::{Holder, Sample};
use ps_store::EmbeddedStore;
use ps_testbed::{process, wait_until};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::process::{Gateway, now, put};
use crate::support::{Conn, PATIENCE, Reply, post};

const ARGUMENTS: [&str; 4] = ["--listen", "127.0.0.1:0", "--rate", "0"];
const CODE: &str = "12345678";
/// The commit is seen by looking at the store, so a reply may be quicker than SIGKILL: several tries.
const ROUNDS: usize = 8;

struct Place {
    _folder: tempfile::TempDir,
    links: std::path::PathBuf,
    store: EmbeddedStore,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let links = folder.path().join("links");
        let store = EmbeddedStore::open(&links).unwrap();
        Self { _folder: folder, links, store }
    }

    async fn stored(&self, holder: &Holder) -> (u64, Link) {
        let found = self.store.get(holder.id).await.unwrap().unwrap();
        (found.version, found.value.link().unwrap().clone())
    }

    /// Waits, without a pause, for the moment at which a commit is there.
    async fn committed(&self, holder: &Holder, is_there: impl Fn(&Link) -> bool) {
        let seen = async {
            while !is_there(&self.stored(holder).await.1) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.expect("the commit");
    }

    /// A gateway is asked, and killed as soon as the commit is there. Its reply, if there was one.
    async fn killed_after(
        &self,
        holder: &Holder,
        verb: &str,
        body: &impl Serialize,
        is_there: impl Fn(&Link) -> bool,
    ) -> Option<Reply> {
        let mut victim = start(&self.links);
        let mut conn = Conn::open(victim.address).await;
        conn.send(&post(verb, body)).await;
        self.committed(holder, is_there).await;
        victim.child.kill().unwrap();
        victim.child.wait().unwrap();
        conn.reply(false).await
    }

    /// What the operator makes of a request for a code, or of one that was typed.
    async fn judge(&self, holder: &Holder) {
        let (version, link) = self.stored(holder).await;
        let request = link.open_request().expect("a request that waits");
        let verdict = judged(holder, request, link.verdict.as_deref());
        let release = verdict.released.map(|token_hash| Release { r: [7; 32], token_hash });
        let next = apply(&link, &Command::Judge { verdict: Box::new(verdict), release }, now()).next.unwrap();
        self.store.replace(&Record::Link(Box::new(next)), version).await.unwrap();
    }
}

fn start(links: &Path) -> Gateway {
    Gateway::start(links, &ARGUMENTS, &[])
}

fn judged(holder: &Holder, request: &Request, before: Option<&Verdict>) -> Verdict {
    let mut codes = before.and_then(|verdict| verdict.email_code.clone()).unwrap_or(CodeVerdict {
        state: CodeState::None,
        expires_at: None,
        tries_left: 0,
        mails_left: 3,
        wait_until: request.at,
        passed: None,
    });
    match &request.ask {
        Ask::Mail => {
            (codes.state, codes.tries_left, codes.mails_left) = (CodeState::Sent, 5, codes.mails_left - 1);
            codes.expires_at = Some(request.at + Span::from_secs(600));
        }
        Ask::Code(tried) => {
            let hash = CodeKey::from_access(&holder.access).hash(holder.id, &EmailCode::parse(CODE).unwrap());
            assert!(is_right(&hash, &request.token_hash, tried));
            (codes.passed, codes.state, codes.expires_at) = (Some(request.token_hash), CodeState::None, None);
        }
        Ask::SignIn { .. } => panic!("nobody signs in here"),
    }
    let (released, mac) = (codes.passed, ps_core::ids::Digest([0; 32]));
    Verdict { answered: request.seq, email_code: Some(codes), sign_in: None, released, mac }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_survives_kill_9_and_is_repeated() {
    let place = Place::new();
    let other = start(&place.links);
    let mut lost = 0;
    for round in 0..ROUNDS {
        let holder = put(&place.store, &format!("acknowledged {round}")).await;
        assert_eq!(other.call("claim", &holder.claim()).await.status, 200);
        let retrieved = |link: &Link| link.state == State::Retrieved;
        let first = place.killed_after(&holder, "acknowledge", &holder.acknowledge(), retrieved).await;
        lost += usize::from(first.is_none());
        let before = place.stored(&holder).await;
        assert!(before.1.ciphertext.is_none(), "erased in the same commit");
        let restarted = start(&place.links);
        let again = restarted.call("acknowledge", &holder.acknowledge()).await;
        assert_eq!((again.status, &again.json()["state"]), (200, &"retrieved".into()), "round {round}");
        assert!(first.is_none_or(|first| first.body == again.body));
        let stranger = holder.elsewhere(1).acknowledge();
        assert_ne!(restarted.call("acknowledge", &stranger).await.status, 200, "who has not claimed it");
        assert_eq!(restarted.call("claim", &holder.claim_again()).await.refusal(), "410 gone");
        assert_eq!(place.stored(&holder).await, before, "said twice, written once");
    }
    println!("of {ROUNDS} replies {lost} were lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decline_survives_kill_9_and_is_repeated() {
    let place = Place::new();
    let mut lost = 0;
    for round in 0..ROUNDS {
        let holder = put(&place.store, &format!("declined {round}")).await;
        let declined = |link: &Link| link.state == State::Declined;
        let first = place.killed_after(&holder, "decline", &holder.not_mine(), declined).await;
        lost += usize::from(first.is_none());
        let before = place.stored(&holder).await;
        assert!(before.1.ciphertext.is_none(), "erased in the same commit");
        let preimage = before.1.decline.as_ref().map(|decline| decline.preimage);
        assert_eq!(preimage, Some(holder.decline), "what the operator believes");
        let restarted = start(&place.links);
        let again = restarted.call("decline", &holder.not_mine()).await;
        assert_eq!((again.status, &again.json()["state"]), (200, &"declined".into()), "round {round}");
        assert!(first.is_none_or(|first| first.body == again.body));
        assert_eq!(restarted.call("claim", &holder.claim()).await.refusal(), "410 gone");
        assert_eq!(place.stored(&holder).await, before, "said twice, written once");
    }
    println!("of {ROUNDS} replies {lost} were lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_a_code_survives_kill_9_and_counts_once() {
    let place = Place::new();
    let Sample { holder, link } = Sample::new("a code", &[Verification::EmailCode], now());
    place.store.insert(&Record::Link(Box::new(link))).await.unwrap();
    let asked = |link: &Link| link.open_request().is_some();
    // Nobody judges while it waits for a verdict, so no reply can be quicker.
    let reply = place.killed_after(&holder, "code", &holder.mail(), asked).await;
    assert!(reply.is_none(), "{reply:?}");
    let before = place.stored(&holder).await;
    let mut gateway = start(&place.links);
    let again = gateway.call("code", &holder.mail()).await.json();
    assert_eq!(again["emailCode"]["status"], "sending", "{again}");
    assert_eq!(place.stored(&holder).await, before, "asked for twice, written once: one mail");
    place.judge(&holder).await;
    let sent = gateway.call("code", &holder.code(CodeStep::Status)).await.json();
    assert_eq!((&sent["emailCode"]["status"], &sent["emailCode"]["mailsLeft"]), (&"sent".into(), &2.into()), "{sent}");
    gateway.child.kill().unwrap();
    gateway.child.wait().unwrap();

    let typed = holder.types(EmailCode::parse(CODE).unwrap());
    let reply = place.killed_after(&holder, "code", &typed, asked).await;
    assert!(reply.is_none(), "{reply:?}");
    place.judge(&holder).await;
    let gateway = start(&place.links);
    let status = gateway.call("code", &holder.code(CodeStep::Status)).await.json();
    assert_eq!((&status["emailCode"]["status"], &status["state"]), (&"passed".into(), &"open".into()), "{status}");
    assert_eq!(gateway.call("claim", &holder.elsewhere(1).claim()).await.refusal(), "403 verification-due");
    let claimed = gateway.call("claim", &holder.claim()).await;
    assert_eq!((claimed.status, &claimed.json()["r"]), (200, &serde_json::to_value(Revealed([7; 32])).unwrap()));
}

fn signal(gateway: &Gateway, signal: Signal) {
    kill(Pid::from_raw(gateway.child.id().cast_signed()), signal).unwrap();
}

async fn stop(gateway: &Gateway) {
    signal(gateway, Signal::SIGSTOP);
    let stopped = async || process::is_stopped(gateway.child.id()).then_some(());
    wait_until("all its threads to stand still", PATIENCE, stopped).await.unwrap();
}

/// Sends the claims of these browsers, each on a connection of its own.
async fn send_claims(gateway: &Gateway, holder: &Holder, browsers: std::ops::Range<usize>) -> Vec<(usize, Conn)> {
    let mut conns = Vec::new();
    for browser in browsers {
        let mut conn = Conn::open(gateway.address).await;
        conn.send(&post("claim", &holder.elsewhere(browser).claim())).await;
        conns.push((browser, conn));
    }
    conns
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stopped_gateway_was_asked_comes_too_late_when_it_goes_on() {
    let place = Place::new();
    let (slow, other) = (start(&place.links), start(&place.links));
    let holder = put(&place.store, "too late").await;
    stop(&slow).await;
    let waiting = send_claims(&slow, &holder, 1..9).await;
    let won = other.call("claim", &holder.claim()).await;
    assert_eq!(won.status, 200);
    signal(&slow, Signal::SIGCONT);
    for (browser, mut conn) in waiting {
        assert_eq!(conn.reply(false).await.unwrap().refusal(), "409 claimed", "browser {browser}");
    }
    for gateway in [&slow, &other] {
        assert_eq!(gateway.call("claim", &holder.claim_again()).await.body, won.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_in_the_middle_of_claims_while_another_one_serves_one_wins() {
    let place = Place::new();
    let (slow, other) = (start(&place.links), start(&place.links));
    let mut by_the_slow = 0;
    for round in 0..3 * ROUNDS {
        let holder = put(&place.store, &format!("stopped {round}")).await;
        let first = send_claims(&slow, &holder, 0..8).await;
        // Anywhere between having read nothing and having answered; in every third round after the commit.
        if round % 3 == 0 {
            place.committed(&holder, |link| link.state == State::Claimed).await;
        }
        stop(&slow).await;
        let mut answers: JoinSet<(usize, Reply)> = JoinSet::new();
        let read = |(browser, mut conn): (usize, Conn)| async move { (browser, conn.reply(false).await.unwrap()) };
        for waiting in send_claims(&other, &holder, 8..16).await {
            answers.spawn(read(waiting));
        }
        // The other one answers meanwhile, unless the stopped one holds the database.
        let meanwhile = tokio::time::timeout(Duration::from_secs(1), answers.join_next()).await;
        let mut replies: Vec<(usize, Reply)> = meanwhile.ok().flatten().map(Result::unwrap).into_iter().collect();
        signal(&slow, Signal::SIGCONT);
        for waiting in first {
            answers.spawn(read(waiting));
        }
        replies.extend(answers.join_all().await);
        assert_eq!(replies.len(), 16);
        let (won, lost): (Vec<_>, Vec<_>) = replies.into_iter().partition(|(_, reply)| reply.status == 200);
        assert_eq!(won.len(), 1, "round {round}");
        for (browser, reply) in lost {
            assert!(["409 claimed", "503 not-ready"].contains(&reply.refusal().as_str()), "{browser}: {reply:?}");
        }
        let (winner, first) = &won[0];
        by_the_slow += usize::from(*winner < 8);
        for gateway in [&slow, &other] {
            assert_eq!(gateway.call("claim", &holder.elsewhere(*winner).claim_again()).await.body, first.body);
            assert_eq!(gateway.call("claim", &holder.elsewhere(16).claim()).await.refusal(), "409 claimed");
        }
        assert_eq!(slow.call("acknowledge", &holder.elsewhere(*winner).acknowledge()).await.status, 200);
        assert_eq!(other.call("claim", &holder.elsewhere(*winner).claim_again()).await.refusal(), "410 gone");
    }
    println!("of {} rounds the stopped one won {by_the_slow}", 3 * ROUNDS);
}
