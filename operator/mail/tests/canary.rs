//! Nothing that is secret gets into a log, even when everything is logged, on good ways and bad.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is the failure report"
)]

mod common;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use common::{CODE, DEADLINE, LINK, config, link_mail, mailer, somebody};
use ps_core::mail::CodeMail;
use ps_core::ports::{Clock as _, Mailer};
use ps_core::secret::SecretString;
use ps_core::time::Span;
use ps_mail::{OutboxMailer, SmtpConfig, TlsMode};
use ps_testbed::{Fault, Phase, SmtpOptions, SmtpServer};
use tracing_subscriber::fmt::MakeWriter;

/// A one-time code that nothing else holds.
const EMAILED: &str = "7305-9164";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The forms in which a secret could be printed.
fn forms(secret: &str) -> Vec<String> {
    use base64::Engine as _;
    let bytes = secret.as_bytes();
    let base64 = (0..3).map(|skip| {
        let rest = bytes.get(skip..skip + bytes.len().saturating_sub(skip) / 3 * 3).unwrap();
        base64::engine::general_purpose::STANDARD.encode(rest)
    });
    let list = format!("{bytes:?}");
    let hex = bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    base64.chain([secret.to_owned(), list.trim_matches(['[', ']']).to_owned(), hex]).collect()
}

#[tokio::test]
async fn links_codes_passwords_and_addresses_stay_out_of_the_log() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone());
    // It also takes what libraries say through the `log` crate.
    subscriber.init();
    tracing::trace!(planted = "CANARY-CONTROL", "the control");

    let server = SmtpServer::start(SmtpOptions::default()).await.unwrap();
    let to = somebody();
    for (tls, port) in [(TlsMode::Starttls, server.port()), (TlsMode::Implicit, server.tls_port())] {
        let mailer = mailer(SmtpConfig { tls, port, ..config(&server) });
        mailer.send_link(&link_mail(&to)).await.unwrap();
        for phase in [Phase::Rcpt, Phase::Data, Phase::Final] {
            for fault in [Fault::reply(phase, 550, &format!("5.7.1 {LINK} {CODE}")), Fault::close(phase)] {
                server.fault(&fault.times(1)).await.unwrap();
                mailer.send_link(&link_mail(&to)).await.unwrap_err();
            }
        }
        mailer.close().await;
    }
    let code = CodeMail {
        to: link_mail(&to).to,
        message_id: "canary@ours.example".into(),
        sender: String::new(),
        code: SecretString::new(EMAILED.into()),
        expires_at: common::FixedClock.now() + Span::from_secs(600),
    };
    let with_code = mailer(config(&server));
    for fault in [Fault::reply(Phase::Final, 550, &format!("5.7.1 {EMAILED}")), Fault::close(Phase::Final)] {
        server.fault(&fault.times(1)).await.unwrap();
        with_code.send_code(&code).await.unwrap_err();
    }
    with_code.send_code(&code).await.unwrap();
    let wrong = SmtpConfig { password: Some(SecretString::new("wrong-hunter2".into())), ..config(&server) };
    mailer(wrong).ready().await.unwrap_err();
    let folder = tempfile::tempdir().unwrap();
    let outbox =
        OutboxMailer::new(folder.path(), common::presentation("demo@localhost", ""), Arc::new(common::FixedClock))
            .unwrap();
    outbox.send_link(&link_mail(&to)).await.unwrap();
    assert_eq!(server.wait_for_mails(&to, 3, DEADLINE).await.unwrap().len(), 3);

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("CANARY-CONTROL") && log.contains("mail accepted") && log.contains("links are stored at rest"),
        "{log}"
    );
    let fragment = LINK.split_once("#ps1.").unwrap().1;
    for secret in [LINK, fragment, CODE, EMAILED, server.password(), "wrong-hunter2", to.split_once('@').unwrap().0] {
        for form in forms(secret) {
            assert!(!log.contains(&form), "{secret} is in the log");
        }
    }
}
