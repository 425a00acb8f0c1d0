//! Mail through a real server: what arrives, over which encryption, with which login, over which connection.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is the failure report"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{CODE, DEADLINE, FixedClock, LINK, config, link_mail, mailer, presentation, somebody, timeouts};
use ps_core::delivery::NoticeKind;
use ps_core::error::Class;
use ps_core::ids::Key;
use ps_core::mail::{CodeMail, NoticeMail};
use ps_core::ports::{Clock as _, MailError, Mailer};
use ps_core::secret::SecretString;
use ps_core::time::{Span, Timestamp};
use ps_mail::{Language, SmtpConfig, SmtpMailer, Timeouts, TlsMode};
use ps_testbed::{Fault, Phase, ServerName, SmtpOptions, SmtpServer, Testbed};

async fn shared() -> &'static SmtpServer {
    Testbed::connect_or_start().unwrap().smtp().await.unwrap()
}

fn not_sent(outcome: Result<(), MailError>) -> ps_core::error::Fault {
    match outcome {
        Err(MailError::NotSent(fault)) => fault,
        other => panic!("expected NotSent, got {other:?}"),
    }
}

#[tokio::test]
async fn a_link_arrives_as_it_was_meant_over_starttls_and_over_tls() {
    let server = SmtpServer::start(SmtpOptions::default()).await.unwrap();
    for (tls, port) in [(TlsMode::Starttls, server.port()), (TlsMode::Implicit, server.tls_port())] {
        let mailer = mailer(SmtpConfig { tls, port, ..config(&server) });
        let to = somebody();
        let sent = link_mail(&to);
        mailer.ready().await.unwrap();
        mailer.send_link(&sent).await.unwrap();
        let mail = server.wait_for_mail(&to, DEADLINE).await.unwrap();
        assert!(mail.secure && mail.user.as_deref() == Some(server.user()), "{tls:?}");
        assert_eq!((mail.from.as_str(), mail.recipients.as_slice()), ("sender@ours.example", &[to][..]));
        assert_eq!(mail.message_id, Some(format!("<{}>", sent.message_id)));
        assert_eq!(mail.subject, "Bob & Söhne sends you a credential");
        assert_eq!(mail.header("auto-submitted"), Some("auto-generated"));
        assert_eq!(mail.header("date"), Some("Sun, 22 Nov 2026 16:24:09 +0000"));
        // What a mail program shows: the link alone on its line, and as the only target in HTML.
        let text = mail.text.as_deref().unwrap();
        assert_eq!(text.lines().filter(|line| *line == LINK).count(), 1, "{text}");
        assert_eq!(text.matches("#ps1.").count(), 1, "{text}");
        assert!(text.contains("Hello Alice Größe,") && text.contains(&format!("Opening code: {CODE}")), "{text}");
        let html = mail.html.as_deref().unwrap();
        assert_eq!(html.matches(&format!("href=\"{LINK}\"")).count(), 1, "{html}");
        assert_eq!((html.matches("#ps1.").count(), html.matches(CODE).count()), (1, 1), "{html}");
        assert!(html.contains("Bob &amp; Söhne") && !html.contains("src="), "{html}");
        assert!(mail.attachments.is_empty());
        let raw = mail.raw().unwrap();
        assert!(raw.is_ascii() && raw.split(|&b| b == b'\n').all(|line| line.len() <= 998));
    }
}

#[tokio::test]
async fn each_language_arrives_as_it_was_written() {
    let server = shared().await;
    let mailer = mailer(config(server));
    for language in Language::ALL {
        let to = somebody();
        let mut sent = link_mail(&to);
        sent.to.locale = Some(format!("{}-XX", language.code()));
        mailer.send_link(&sent).await.unwrap();
        let code = CodeMail {
            to: sent.to.clone(),
            message_id: format!("{}@ours.example", ps_testbed::unique("c")),
            sender: sent.sender.clone(),
            code: SecretString::new("1234-5678".into()),
            expires_at: FixedClock.now() + Span::from_secs(600),
        };
        mailer.send_code(&code).await.unwrap();
        let got = server.wait_for_mails(&to, 2, DEADLINE).await.unwrap();
        for mail in &got {
            assert_eq!(mail.header("content-language"), Some(language.tag()), "{language:?}");
            let html = mail.html.as_deref().unwrap();
            assert!(html.contains(&format!("dir=\"{}\"", language.direction())), "{language:?}: {html}");
            assert!(mail.subject.contains("Bob & Söhne") && !mail.subject.contains('\u{fffd}'), "{}", mail.subject);
            assert!(mail.raw().unwrap().is_ascii());
        }
        let text = |at: usize| got[at].text.as_deref().unwrap();
        assert_eq!(text(0).lines().filter(|line| *line == LINK).count(), 1, "{language:?}: {}", text(0));
        assert_eq!((text(0).matches(CODE).count(), text(0).matches("secrets.example").count()), (1, 2), "{language:?}");
        assert!(text(1).lines().any(|line| line == "1234-5678") && !text(1).contains("#ps1."), "{language:?}");
    }
}

#[tokio::test]
async fn a_notice_arrives() {
    let server = shared().await;
    let to = somebody();
    let notice = NoticeMail {
        to: to.clone(),
        message_id: format!("{}@ours.example", ps_testbed::unique("n")),
        kind: NoticeKind::Declined,
        delivery: Key::new("team", "alice-db"),
        recipient: "a…@vendor.example".into(),
        at: Timestamp::from_secs(1_795_364_649),
        text: "The link is withdrawn.\nThe credential is replaced now.".into(),
    };
    mailer(config(server)).send_notice(&notice).await.unwrap();
    let mail = server.wait_for_mail(&to, DEADLINE).await.unwrap();
    assert_eq!(mail.subject, "The recipient says that the credential was not meant for them: team/alice-db");
    for part in [mail.text.unwrap(), mail.html.unwrap()] {
        assert!(part.contains("a…@vendor.example") && part.contains("The link is withdrawn."), "{part}");
    }
}

#[tokio::test]
async fn a_server_that_can_not_prove_its_name_gets_neither_login_nor_mail() {
    let theirs = SmtpServer::start(SmtpOptions::default()).await.unwrap();
    let other_ca = std::fs::read_to_string(theirs.ca_path()).unwrap();
    for name in [ServerName::Right, ServerName::Wrong, ServerName::Expired] {
        let server = SmtpServer::start(SmtpOptions { server_name: name, ..SmtpOptions::default() }).await.unwrap();
        for (tls, port) in [(TlsMode::Starttls, server.port()), (TlsMode::Implicit, server.tls_port())] {
            let good = SmtpConfig { tls, port, ..config(&server) };
            let bad = match name {
                ServerName::Right => vec![
                    SmtpConfig { ca_pem: Some(other_ca.clone()), ..good.clone() },
                    SmtpConfig { ca_pem: None, ..good },
                ],
                ServerName::Wrong | ServerName::Expired => vec![good],
            };
            for config in bad {
                let fault = not_sent(mailer(config).ready().await);
                assert_eq!(
                    (fault.code.as_str(), fault.class),
                    ("smtp-tls", Class::Misconfigured),
                    "{name:?} {tls:?}: {fault}"
                );
            }
        }
        let events = server.all_events().await.unwrap();
        assert!(events.iter().all(|e| !matches!(e.phase, Phase::Auth | Phase::Mail)), "{events:?}");
    }
}

#[tokio::test]
async fn the_certificate_may_be_for_another_name_that_is_configured() {
    let server =
        SmtpServer::start(SmtpOptions { server_name: ServerName::Wrong, ..SmtpOptions::default() }).await.unwrap();
    let named = SmtpConfig { server_name: Some("elsewhere.example".into()), ..config(&server) };
    mailer(named).ready().await.unwrap();
}

#[tokio::test]
async fn nothing_is_sent_without_encryption() {
    let server = SmtpServer::start(SmtpOptions { offer_starttls: false, ..SmtpOptions::default() }).await.unwrap();
    let fault = not_sent(mailer(config(&server)).send_link(&link_mail(&somebody())).await);
    assert_eq!((fault.code.as_str(), fault.class), ("smtp-no-starttls", Class::Misconfigured));
    // Plain where TLS is due, and TLS where plain is due.
    let swapped = SmtpConfig { tls: TlsMode::Implicit, ..config(&server) };
    assert_eq!(not_sent(mailer(swapped).ready().await).class, Class::Misconfigured);
    let short = Timeouts { command: Duration::from_millis(300), ..timeouts() };
    let swapped = SmtpConfig { port: server.tls_port(), timeouts: short, ..config(&server) };
    assert_eq!(not_sent(mailer(swapped).ready().await).class, Class::Transient);
    assert!(server.all_events().await.unwrap().iter().all(|e| !matches!(e.phase, Phase::Auth | Phase::Mail)));
}

#[tokio::test]
async fn a_refused_login_waits_and_a_missing_one_too() {
    let server = shared().await;
    let wrong = SmtpConfig { password: Some(SecretString::new("hunter2".into())), ..config(server) };
    let fault = not_sent(mailer(wrong).ready().await);
    assert_eq!((fault.code.as_str(), fault.class), ("smtp-login-refused", Class::Denied));
    assert!(!format!("{fault} {fault:?}").contains("hunter2"));
    let none = SmtpConfig { username: None, password: None, ..config(server) };
    let fault = not_sent(mailer(none).send_link(&link_mail(&somebody())).await);
    assert_eq!((fault.code.as_str(), fault.class), ("smtp-login-refused", Class::Denied));
}

#[tokio::test]
async fn a_relay_without_login_is_fine() {
    let server = SmtpServer::start(SmtpOptions { require_auth: false, ..SmtpOptions::default() }).await.unwrap();
    let to = somebody();
    let config = SmtpConfig { username: None, password: None, ..config(&server) };
    mailer(config).send_link(&link_mail(&to)).await.unwrap();
    let events = server.events(&to).await.unwrap();
    assert!(events.iter().any(|e| e.phase == Phase::Final && e.outcome == "accepted"), "{events:?}");
    assert!(server.all_events().await.unwrap().iter().all(|e| e.phase != Phase::Auth));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_so() {
    let port = ps_testbed::free_port().unwrap();
    let server = shared().await;
    let fault = not_sent(mailer(SmtpConfig { port, ..config(server) }).ready().await);
    assert_eq!((fault.code.as_str(), fault.class), ("smtp-unreachable", Class::Transient));
}

#[tokio::test]
async fn one_connection_carries_many_mails() {
    let server = shared().await;
    let mailer = mailer(config(server));
    let to = somebody();
    mailer.ready().await.unwrap();
    for _ in 0..5 {
        mailer.send_link(&link_mail(&to)).await.unwrap();
    }
    let mails = server.wait_for_mails(&to, 5, DEADLINE).await.unwrap();
    assert!(mails.iter().all(|mail| mail.session == mails[0].session), "{mails:?}");
    mailer.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_share_four_connections() {
    let server = shared().await;
    let mailer = Arc::new(mailer(config(server)));
    let to = somebody();
    let sends = (0..20).map(|_| {
        let (mailer, to) = (Arc::clone(&mailer), to.clone());
        tokio::spawn(async move { mailer.send_link(&link_mail(&to)).await })
    });
    for send in sends.collect::<Vec<_>>() {
        send.await.unwrap().unwrap();
    }
    let mails = server.wait_for_mails(&to, 20, DEADLINE).await.unwrap();
    let sessions = mails.iter().map(|mail| &mail.session).collect::<std::collections::BTreeSet<_>>();
    assert!(sessions.len() <= 4, "{sessions:?}");
}

#[tokio::test]
async fn a_pooled_connection_that_the_server_closed_is_replaced_unseen() {
    let server = SmtpServer::start(SmtpOptions::default()).await.unwrap();
    let mailer = mailer(config(&server));
    for fault in [Fault::close(Phase::Mail), Fault::reply(Phase::Mail, 421, "4.4.2 idle for too long")] {
        let to = somebody();
        mailer.send_link(&link_mail(&to)).await.unwrap();
        server.fault(&fault.times(1)).await.unwrap();
        mailer.send_link(&link_mail(&to)).await.unwrap();
        let mails = server.wait_for_mails(&to, 2, DEADLINE).await.unwrap();
        assert_ne!(mails[0].session, mails[1].session);
    }
    // On a fresh connection the same is said to the caller.
    mailer.close().await;
    server.fault(&Fault::close(Phase::Mail).times(1)).await.unwrap();
    assert_eq!(not_sent(mailer.send_link(&link_mail(&somebody())).await).code, "smtp-connection-lost");
}

#[tokio::test]
async fn a_server_that_was_restarted_gets_the_next_mail() {
    let mut server = SmtpServer::start(SmtpOptions::default()).await.unwrap();
    let first = mailer(config(&server));
    first.send_link(&link_mail(&somebody())).await.unwrap();
    server.kill().unwrap();
    assert_eq!(not_sent(first.ready_soon().await).class, Class::Transient);
    server = SmtpServer::start(SmtpOptions::default()).await.unwrap();
    mailer(config(&server)).ready().await.unwrap();
}

/// Asks until the connection's end has arrived.
trait ReadySoon {
    async fn ready_soon(&self) -> Result<(), MailError>;
}

impl ReadySoon for SmtpMailer {
    async fn ready_soon(&self) -> Result<(), MailError> {
        let asked = ps_testbed::wait_until("the connection's end", DEADLINE, async || self.ready().await.err());
        Err(asked.await.unwrap())
    }
}

#[tokio::test]
async fn what_can_not_be_mailed_never_reaches_the_server() {
    let server = shared().await;
    let mailer = mailer(config(server));
    for bad in ["a@b.example\r\nRCPT TO:<c@d.example>", "ä@b.example", "\"a b\"@c.example", ""] {
        let outcome = mailer.send_link(&link_mail(bad)).await;
        assert!(matches!(outcome, Err(MailError::Refused(f)) if f.class == Class::Permanent), "{bad:?}");
    }
    let wrong = SmtpConfig { presentation: presentation("x\r\n@y", ""), ..config(server) };
    assert!(SmtpMailer::new(wrong, Arc::new(FixedClock)).is_err());
}
