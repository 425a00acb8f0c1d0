//! A mail server that misbehaves at each step: how long it takes, what is said, whether a mail can be there.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is the failure report"
)]

mod common;

use std::time::{Duration, Instant};

use common::{CODE, DEADLINE, LINK, config, link_mail, mailer, somebody, timeouts};
use ps_core::error::Class;
use ps_core::ports::{MailError, Mailer};
use ps_mail::{SmtpConfig, Timeouts};
use ps_testbed::{Fault, Phase, SmtpOptions, SmtpServer};

const SHORT: Duration = Duration::from_millis(400);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(4);

async fn server() -> SmtpServer {
    SmtpServer::start(SmtpOptions::default()).await.unwrap()
}

fn hasty(server: &SmtpServer) -> SmtpConfig {
    let timeouts = Timeouts { connect: 2 * DEADLINE, command: SHORT, data: SHORT, session: 2 * DEADLINE };
    SmtpConfig { timeouts, ..config(server) }
}

#[tokio::test]
async fn a_server_that_hangs_at_any_step_costs_a_bounded_time() {
    let server = server().await;
    for phase in Phase::ALL {
        server.fault(&Fault::hang(phase)).await.unwrap();
        let (mailer, to) = (mailer(hasty(&server)), somebody());
        let start = Instant::now();
        let outcome = mailer.send_link(&link_mail(&to)).await;
        assert!(start.elapsed() < SHORT + SLACK, "{phase:?}: {:?}", start.elapsed());
        match (phase, outcome) {
            (Phase::Final, Err(MailError::Unknown(fault))) | (_, Err(MailError::NotSent(fault))) => {
                assert_eq!((fault.code.as_str(), fault.class), ("smtp-timeout", Class::Transient), "{phase:?}");
                assert!(phase != Phase::Final || !fault.message.is_empty());
            }
            (phase, other) => panic!("{phase:?}: {other:?}"),
        }
        server.clear_faults().await.unwrap();
        assert!(server.mails(&to).await.unwrap().is_empty(), "{phase:?}");
        mailer.send_link(&link_mail(&to)).await.unwrap_or_else(|e| panic!("after {phase:?}: {e}"));
    }
}

#[tokio::test]
async fn all_steps_together_are_bounded_too() {
    let server = server().await;
    server.fault(&Fault::hang(Phase::Auth)).await.unwrap();
    let timeouts = Timeouts { session: SHORT, ..timeouts() };
    let mailer = mailer(SmtpConfig { timeouts, ..config(&server) });
    let start = Instant::now();
    assert!(matches!(mailer.ready().await, Err(MailError::NotSent(f)) if f.code == "smtp-timeout"));
    assert!(start.elapsed() < SHORT + SLACK);
}

#[tokio::test]
async fn later_and_no_mean_what_they_say_at_each_step() {
    let server = server().await;
    for phase in Phase::ALL {
        for code in [421, 451, 550] {
            // A text that quotes what it refuses, as spam filters do.
            let text = format!("5.7.1 refused: {LINK} {CODE}");
            let text = if code < 500 { text.replacen('5', "4", 1) } else { text };
            server.fault(&Fault::reply(phase, code, &text).times(1)).await.unwrap();
            let (mailer, to) = (mailer(config(&server)), somebody());
            let error = mailer.send_link(&link_mail(&to)).await.unwrap_err();
            let refused = code == 550 && matches!(phase, Phase::Rcpt | Phase::Data | Phase::Final);
            let deferred = code == 451 && matches!(phase, Phase::Rcpt | Phase::Data | Phase::Final);
            let fault = match &error {
                MailError::Refused(fault) if refused => fault,
                MailError::Deferred(fault) if deferred => fault,
                MailError::NotSent(fault) if !refused && !deferred => fault,
                other => panic!("{phase:?} {code}: {other:?}"),
            };
            let class = match (code, phase) {
                (550, Phase::Auth) => Class::Denied,
                (550, Phase::Rcpt | Phase::Data | Phase::Final) => Class::Permanent,
                (550, _) => Class::Misconfigured,
                _ => Class::Transient,
            };
            assert_eq!(fault.class, class, "{phase:?} {code}: {fault}");
            assert!(fault.to_string().contains(&code.to_string()), "{fault}");
            let shown = format!("{error} {error:?} {fault:?}");
            assert!(!shown.contains("ps1.") && !shown.contains(CODE) && !shown.contains("alice"), "{shown}");
            server.clear_faults().await.unwrap();
            assert!(server.mails(&to).await.unwrap().is_empty(), "{phase:?} {code}");
            mailer.send_link(&link_mail(&to)).await.unwrap_or_else(|e| panic!("after {phase:?} {code}: {e}"));
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_dropped_is_not_sent_before_the_dot_and_unknown_after_it() {
    let server = server().await;
    for phase in Phase::ALL {
        server.fault(&Fault::close(phase).times(1)).await.unwrap();
        let (mailer, to) = (mailer(config(&server)), somebody());
        match (phase, mailer.send_link(&link_mail(&to)).await) {
            (Phase::Final, Err(MailError::Unknown(fault))) | (_, Err(MailError::NotSent(fault))) => {
                assert_eq!(fault.class, Class::Transient, "{phase:?}: {fault}");
            }
            (phase, other) => panic!("{phase:?}: {other:?}"),
        }
        server.clear_faults().await.unwrap();
    }
}

#[tokio::test]
async fn a_lost_reply_is_unknown_whether_the_mail_is_there_or_not() {
    let server = server().await;
    let closed = Fault::close(Phase::Final);
    for (fault, count) in [(closed.clone(), 0), (closed.stored(), 1), (Fault::hang(Phase::Final).stored(), 1)] {
        server.fault(&fault.times(1)).await.unwrap();
        let (mailer, to) = (mailer(hasty(&server)), somebody());
        let mail = link_mail(&to);
        let outcome = mailer.send_link(&mail).await;
        assert!(matches!(outcome, Err(MailError::Unknown(_))), "{count}: {outcome:?}");
        let there = server.wait_for_mails(&to, count, DEADLINE).await.unwrap();
        assert_eq!(there.len(), count);
        // The same message once more is known as such by its id.
        mailer.send_link(&mail).await.unwrap();
        let there = server.wait_for_mails(&to, count + 1, DEADLINE).await.unwrap();
        assert!(
            there.iter().all(|m| m.message_id == there[0].message_id && m.header("date") == there[0].header("date"))
        );
        server.clear_faults().await.unwrap();
    }
}

#[tokio::test]
async fn greylisting_is_overcome_by_the_same_message() {
    let server = server().await;
    let (mailer, to) = (mailer(config(&server)), somebody());
    server.greylist(&to, 2).await.unwrap();
    let mail = link_mail(&to);
    for _ in 0..2 {
        let outcome = mailer.send_link(&mail).await;
        assert!(matches!(outcome, Err(MailError::Deferred(f)) if f.code == "smtp-deferred"));
    }
    mailer.send_link(&mail).await.unwrap();
    let mails = server.wait_for_mails(&to, 1, DEADLINE).await.unwrap();
    assert_eq!(mails[0].message_id, Some(format!("<{}>", mail.message_id)));
    // A refusal is no reason to connect and log in again.
    let events = server.all_events().await.unwrap();
    assert_eq!(events.iter().filter(|e| e.phase == Phase::Auth).count(), 1, "{events:?}");
}

#[tokio::test]
async fn connections_in_use_are_waited_for_no_longer_than_allowed() {
    let server = server().await;
    server.fault(&Fault::hang(Phase::Final).times(1)).await.unwrap();
    let limits = Timeouts { session: SHORT, data: DEADLINE, ..timeouts() };
    let mailer = mailer(SmtpConfig { timeouts: limits, pool_size: 1, ..config(&server) });
    let to = somebody();
    let mail = link_mail(&to);
    let (hanging, waiting) = (mailer.send_link(&mail), async {
        let seen = ps_testbed::wait_until("the hanging mail", DEADLINE, async || {
            server.events(&to).await.unwrap().iter().any(|e| e.phase == Phase::Final).then_some(())
        });
        seen.await.unwrap();
        mailer.ready().await
    });
    tokio::select! {
        early = hanging => panic!("the server answered: {early:?}"),
        late = waiting => assert!(matches!(late, Err(MailError::NotSent(f)) if f.code == "smtp-busy")),
    }
    // The send that was dropped has given its place back.
    let again = common::mailer(config(&server));
    again.ready().await.unwrap();
    ps_testbed::wait_until("a free place", DEADLINE, async || mailer.ready().await.ok()).await.unwrap();
}
