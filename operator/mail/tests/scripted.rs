//! Servers that do what no real one can be made to: each test plays one, line by line.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is the failure report"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{DEADLINE, link_mail, mailer, timeouts};
use ps_core::error::{Class, Fault};
use ps_core::ports::{MailError, Mailer};
use ps_core::secret::SecretString;
use ps_mail::{SmtpConfig, Timeouts, TlsMode};
use ps_testbed::{Certificates, ServerName};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What the client says (its beginning), and what it is answered. An empty word: the server speaks first.
type Script<'a> = &'a [(&'a str, &'a str)];

struct Played {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    config: SmtpConfig,
}

async fn play() -> Played {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::new(folder.path(), ServerName::Right).unwrap();
    let chain = CertificateDer::pem_slice_iter(certificates.cert_pem.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(certificates.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let server = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = SmtpConfig {
        host: "127.0.0.1".into(),
        port: listener.local_addr().unwrap().port(),
        tls: TlsMode::Implicit,
        ca_pem: Some(certificates.ca_pem),
        server_name: Some("localhost".into()),
        username: Some("user".into()),
        password: Some(SecretString::new("pass".into())),
        hello_name: "operator.example".into(),
        presentation: common::presentation("sender@ours.example", ""),
        timeouts: timeouts(),
        pool_size: 1,
    };
    Played { listener, acceptor: TlsAcceptor::from(Arc::new(server)), config }
}

/// Plays a script, and gives what the client said. Ends when the client says something else, or goes.
async fn speak<S: AsyncRead + AsyncWrite + Unpin>(stream: S, script: Script<'_>) -> (Vec<String>, S) {
    let mut stream = BufReader::new(stream);
    let mut said = Vec::new();
    for (word, reply) in script {
        if !word.is_empty() {
            let mut line = String::new();
            loop {
                line.clear();
                if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                    return (said, stream.into_inner());
                }
                // The message goes on until its dot.
                if *word != ".\r\n" || line == *word {
                    break;
                }
            }
            said.push(line.trim_end().to_owned());
            if !line.starts_with(word) {
                return (said, stream.into_inner());
            }
        }
        stream.get_mut().write_all(reply.as_bytes()).await.unwrap();
        stream.get_mut().flush().await.unwrap();
    }
    (said, stream.into_inner())
}

impl Played {
    async fn accept(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }

    /// One mail against a script over TLS: what came of it, and what the client said.
    async fn send(self, script: Script<'_>) -> (Result<(), MailError>, Vec<String>) {
        let mailer = mailer(self.config.clone());
        let mail = link_mail("alice@vendor.example");
        let server = async {
            let stream = self.acceptor.accept(self.accept().await).await.unwrap();
            speak(stream, script).await.0
        };
        tokio::time::timeout(2 * DEADLINE, async { tokio::join!(mailer.send_link(&mail), server) }).await.unwrap()
    }
}

fn not_sent(outcome: Result<(), MailError>) -> Fault {
    match outcome {
        Err(MailError::NotSent(fault)) => fault,
        other => panic!("expected NotSent, got {other:?}"),
    }
}

const HELLO: (&str, &str) = ("EHLO operator.example", "250-here\r\n250 AUTH PLAIN LOGIN\r\n");

#[tokio::test]
async fn what_is_slipped_in_behind_starttls_is_never_read() {
    let played = play().await;
    let mailer = mailer(SmtpConfig { tls: TlsMode::Starttls, ..played.config.clone() });
    let server = async {
        const PLAIN: Script<'_> = &[
            ("", "220 here\r\n"),
            ("EHLO", "250-here\r\n250 STARTTLS\r\n"),
            // Somebody on the way answers EHLO, AUTH and more before TLS begins.
            ("STARTTLS", "220 go\r\n250-evil\r\n250 AUTH LOGIN\r\n334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n235 ok\r\n"),
        ];
        let (_, tcp) = speak(played.accept().await, PLAIN).await;
        let stream = played.acceptor.accept(tcp).await.unwrap();
        speak(stream, &[HELLO, ("AUTH PLAIN AHVzZXIAcGFzcw==", "235 ok\r\n"), ("QUIT", "221 bye\r\n")]).await.0
    };
    let client = async {
        mailer.ready().await.unwrap();
        mailer.close().await;
    };
    let (said, ()) = tokio::time::timeout(2 * DEADLINE, async { tokio::join!(server, client) }).await.unwrap();
    assert_eq!(said.len(), 3, "{said:?}");
}

#[tokio::test]
async fn the_older_login_works_where_there_is_no_other() {
    let (outcome, said) = play()
        .await
        .send(&[
            ("", "220 here\r\n"),
            ("EHLO", "250-here\r\n250 AUTH LOGIN\r\n"),
            ("AUTH LOGIN\r\n", "334 VXNlcm5hbWU6\r\n"),
            ("dXNlcg==\r\n", "334 UGFzc3dvcmQ6\r\n"),
            ("cGFzcw==\r\n", "235 ok\r\n"),
            ("MAIL FROM:<sender@ours.example>\r\n", "250 ok\r\n"),
            ("RCPT TO:<alice@vendor.example>\r\n", "251 will forward\r\n"),
            ("DATA", "354 go\r\n"),
            (".\r\n", "250 queued\r\n"),
        ])
        .await;
    assert_eq!(outcome, Ok(()), "{said:?}");
}

#[tokio::test]
async fn a_server_without_a_login_that_we_know_gets_no_password() {
    for offer in ["250 here\r\n", "250-here\r\n250 AUTH CRAM-MD5 XOAUTH2\r\n"] {
        let (outcome, said) = play().await.send(&[("", "220 here\r\n"), ("EHLO", offer), ("never", "")]).await;
        let fault = not_sent(outcome);
        assert_eq!((fault.code.as_str(), fault.class), ("smtp-no-login", Class::Misconfigured));
        assert_eq!(said, ["EHLO operator.example"]);
    }
}

#[tokio::test]
async fn an_answer_that_is_none_after_the_dot_is_unknown() {
    for end in ["354 go on\r\n", "nonsense\r\n", "25", ""] {
        let script = [
            ("", "220 here\r\n"),
            HELLO,
            ("AUTH PLAIN", "235 ok\r\n"),
            ("MAIL", "250 ok\r\n"),
            ("RCPT", "250 ok\r\n"),
            ("DATA", "354 go\r\n"),
            (".\r\n", end),
        ];
        let (outcome, _) = play().await.send(&script).await;
        assert!(matches!(outcome, Err(MailError::Unknown(_))), "{end:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_yes_of_the_wrong_kind_is_no_yes() {
    // 250 to DATA: the server did not ask for the message, so it is not given.
    let (outcome, said) = play()
        .await
        .send(&[
            ("", "220 here\r\n"),
            HELLO,
            ("AUTH", "235 ok\r\n"),
            ("MAIL", "250 ok\r\n"),
            ("RCPT", "250 ok\r\n"),
            ("DATA", "250 ok\r\n"),
            ("never", ""),
        ])
        .await;
    assert_eq!(not_sent(outcome).code, "smtp-protocol");
    assert!(said.iter().all(|line| !line.contains("ps1.")), "{said:?}");
    // 334 to a complete login: it is not logged in.
    let (outcome, said) =
        play().await.send(&[("", "220 here\r\n"), HELLO, ("AUTH", "334 more\r\n"), ("never", "")]).await;
    assert_eq!(not_sent(outcome).code, "smtp-protocol");
    assert_eq!(said.len(), 2, "{said:?}");
}

#[tokio::test]
async fn endless_and_odd_greetings_end() {
    let endless = "220-".to_owned() + &"x".repeat(200_000);
    let many = "220-more\r\n".repeat(20_000);
    let greetings: [&str; 5] =
        [&endless, &many, "HTTP/1.1 400 Bad Request\r\n\r\n", "\u{0}\u{1}\u{2}\r\n", "999 x\r\n"];
    for greeting in greetings {
        let played = play().await;
        let config = SmtpConfig {
            timeouts: Timeouts { command: Duration::from_secs(2), ..timeouts() },
            ..played.config.clone()
        };
        let mailer = mailer(config);
        let server = async {
            let mut stream = played.acceptor.accept(played.accept().await).await.unwrap();
            // The client may hang up in the middle of it.
            if stream.write_all(greeting.as_bytes()).await.is_ok() {
                stream.flush().await.ok();
            }
            stream
        };
        let (outcome, _stream) = tokio::join!(mailer.ready(), server);
        assert_eq!(not_sent(outcome).class, Class::Transient);
    }
}
