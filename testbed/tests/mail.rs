//! The mail server, for real: over a small SMTP client that does nothing but what the test says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a panic in a test is the failure report"
)]

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use ps_testbed::{Fault, Phase, ServerName, SmtpOptions, SmtpServer, Testbed, unique};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName as TlsName};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(20);
const NO_ANSWER: Duration = Duration::from_millis(300);

/// A server that takes plain SMTP without a login, so that the test can speak it by hand.
async fn plain_server() -> SmtpServer {
    let options = SmtpOptions { require_auth: false, offer_starttls: false, ..SmtpOptions::default() };
    SmtpServer::start(options).await.unwrap()
}

struct Client(BufReader<TcpStream>);

/// The last step that was made, and its reply: `None` for a dropped connection.
type Outcome = (&'static str, Option<u16>);

impl Client {
    async fn connect(server: &SmtpServer) -> Self {
        Self(BufReader::new(TcpStream::connect(("127.0.0.1", server.port())).await.unwrap()))
    }

    /// The code of the next reply; `None` if the connection is closed.
    async fn reply(&mut self) -> Option<u16> {
        let read = async {
            loop {
                let mut line = String::new();
                if self.0.read_line(&mut line).await.unwrap_or(0) == 0 {
                    return None;
                }
                if line.as_bytes()[3] == b' ' {
                    return line[..3].parse().ok();
                }
            }
        };
        tokio::time::timeout(DEADLINE, read).await.expect("a reply or an end")
    }

    async fn say(&mut self, line: &str) -> Option<u16> {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).await.ok()?;
        self.reply().await
    }

    async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(NO_ANSWER, self.0.read_u8()).await.is_err()
    }

    /// Sends one mail, from the greeting to the final dot, until something else than the right reply comes.
    async fn send(&mut self, recipient: &str) -> Outcome {
        let body =
            "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@t>\r\nX-Mark: here\r\n\r\nHello\r\n..dot\r\n.";
        let greeting = self.reply().await;
        if greeting != Some(220) {
            return ("connect", greeting);
        }
        for (step, line, good) in [
            ("ehlo", "EHLO t.example", 250),
            ("mail", "MAIL FROM:<from@t.example>", 250),
            ("rcpt", &format!("RCPT TO:<{recipient}>"), 250),
            ("data", "DATA", 354),
        ] {
            let code = self.say(line).await;
            if code != Some(good) {
                return (step, code);
            }
        }
        ("final", self.say(body).await)
    }
}

fn mailbox() -> String {
    format!("{}@vendor.example", unique("alice"))
}

#[tokio::test]
async fn a_mail_is_kept_as_it_was_sent() {
    let server = plain_server().await;
    let (to, other) = (mailbox(), mailbox());
    assert_eq!(Client::connect(&server).await.send(&to).await, ("final", Some(250)));
    let mail = server.wait_for_mail(&to.to_uppercase(), DEADLINE).await.unwrap();
    assert_eq!(mail.subject, "Grüße");
    assert_eq!(mail.message_id.as_deref(), Some("<1@t>"));
    assert_eq!(mail.header("X-MARK"), Some("here"));
    assert_eq!((mail.from.as_str(), &mail.recipients), ("from@t.example", &vec![to.clone()]));
    assert!(String::from_utf8(mail.raw().unwrap()).unwrap().ends_with("\r\n\r\nHello\r\n.dot\r\n"));
    assert!(mail.text.unwrap().contains("Hello"));
    assert!(!mail.secure);
    assert!(server.mails(&other).await.unwrap().is_empty());
    let late = server.wait_for_mails(&to, 2, Duration::from_millis(50)).await.unwrap_err();
    assert!(late.to_string().starts_with("1 of 2 mails"), "{late}");
    server.forget_mails(&to).await.unwrap();
    assert!(server.all_mails().await.unwrap().is_empty());
}

#[tokio::test]
async fn each_phase_can_hang_refuse_and_close() {
    let server = plain_server().await;
    let steps = [
        (Phase::Connect, "connect"),
        (Phase::Ehlo, "ehlo"),
        (Phase::Mail, "mail"),
        (Phase::Rcpt, "rcpt"),
        (Phase::Data, "data"),
        (Phase::Final, "final"),
    ];
    for (phase, step) in steps {
        let to = mailbox();
        for code in [451, 554] {
            server.fault(&Fault::reply(phase, code, "no").times(1)).await.unwrap();
            assert_eq!(Client::connect(&server).await.send(&to).await, (step, Some(code)));
        }
        server.fault(&Fault::close(phase).times(1)).await.unwrap();
        assert_eq!(Client::connect(&server).await.send(&to).await, (step, None));

        server.fault(&Fault::hang(phase)).await.unwrap();
        let mut client = Client::connect(&server).await;
        let hung = tokio::time::timeout(NO_ANSWER, client.send(&to)).await;
        assert!(hung.is_err(), "{phase:?} answered {hung:?}");
        assert!(client.is_silent().await);
        server.clear_faults().await.unwrap();

        assert!(server.mails(&to).await.unwrap().is_empty(), "{phase:?} must not store");
        assert_eq!(Client::connect(&server).await.send(&to).await, ("final", Some(250)));
    }
}

#[tokio::test]
async fn a_reply_can_be_lost_after_the_mail_was_stored() {
    let server = plain_server().await;
    let (to, other) = (mailbox(), mailbox());
    server.fault(&Fault::close(Phase::Final).stored().times(1).only_for(&to)).await.unwrap();
    assert_eq!(Client::connect(&server).await.send(&other).await, ("final", Some(250)));
    assert_eq!(Client::connect(&server).await.send(&to).await, ("final", None));
    assert_eq!(Client::connect(&server).await.send(&to).await, ("final", Some(250)));
    assert_eq!(server.wait_for_mails(&to, 2, DEADLINE).await.unwrap().len(), 2);
    let events = server.events(&to).await.unwrap();
    let finals: Vec<&str> = events.iter().filter(|e| e.phase == Phase::Final).map(|e| e.outcome.as_str()).collect();
    assert_eq!(finals, ["close", "accepted"]);
}

#[tokio::test]
async fn greylisting_ends() {
    let server = plain_server().await;
    let to = mailbox();
    server.greylist(&to, 2).await.unwrap();
    for expected in [("rcpt", Some(451)), ("rcpt", Some(451)), ("final", Some(250))] {
        assert_eq!(Client::connect(&server).await.send(&to).await, expected);
    }
}

#[tokio::test]
async fn without_tls_there_is_no_login_and_without_login_no_mail() {
    let server = Testbed::connect_or_start().unwrap().smtp().await.unwrap();
    let mut client = Client::connect(server).await;
    assert_eq!(client.reply().await, Some(220));
    assert_eq!(client.say("EHLO t.example").await, Some(250));
    assert_eq!(client.say("MAIL FROM:<from@t.example>").await, Some(530));
    assert_eq!(client.say("AUTH PLAIN AGEAYg==").await, Some(538));
    assert_eq!(client.say("STARTTLS").await, Some(220));
}

#[tokio::test]
async fn its_ports_speak_tls_with_a_certificate_of_its_ca() {
    let server = Testbed::connect_or_start().unwrap().smtp().await.unwrap();
    let right = format!("\0{}\0{}", server.user(), server.password());
    let (ca, ports) = (server.ca_path().to_owned(), [(server.port(), true), (server.tls_port(), false)]);
    for (port, starttls) in ports {
        for (login, code) in [(right.clone(), "235"), (format!("{right}x"), "535")] {
            let ca = ca.clone();
            let work = move || tls_login(&ca, port, starttls, &login);
            let reply = tokio::task::spawn_blocking(work).await.unwrap().unwrap();
            assert!(reply.starts_with(code), "{reply}");
        }
    }
}

#[tokio::test]
async fn a_wrong_or_old_certificate_is_refused() {
    for server_name in [ServerName::Wrong, ServerName::Expired] {
        let server = SmtpServer::start(SmtpOptions { server_name, ..SmtpOptions::default() }).await.unwrap();
        let (ca, port) = (server.ca_path().to_owned(), server.tls_port());
        let outcome = tokio::task::spawn_blocking(move || tls_login(&ca, port, false, "")).await.unwrap();
        assert!(outcome.unwrap_err().to_string().contains("certificate"), "{server_name:?}");
    }
}

/// Logs in over TLS; the server's reply to AUTH.
fn tls_login(ca: &std::path::Path, port: u16, starttls: bool, login: &str) -> std::io::Result<String> {
    let mut socket = std::net::TcpStream::connect(("127.0.0.1", port))?;
    socket.set_read_timeout(Some(DEADLINE))?;
    if starttls {
        for (say, expected) in [("", "220"), ("EHLO t.example\r\n", "250"), ("STARTTLS\r\n", "220")] {
            assert!(exchange(&mut socket, say)?.starts_with(expected));
        }
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = TlsName::try_from("localhost").unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, socket);
    if !starttls {
        assert!(exchange(&mut stream, "")?.starts_with("220"));
    }
    assert!(exchange(&mut stream, "EHLO t.example\r\n")?.starts_with("250"));
    let login = base64::engine::general_purpose::STANDARD.encode(login);
    exchange(&mut stream, &format!("AUTH PLAIN {login}\r\n"))
}

/// Says something, and reads until the last line of the reply.
fn exchange(stream: &mut (impl Read + Write), say: &str) -> std::io::Result<String> {
    stream.write_all(say.as_bytes())?;
    let mut reply = Vec::new();
    loop {
        let mut part = [0; 512];
        let length = stream.read(&mut part)?;
        reply.extend_from_slice(&part[..length]);
        let text = String::from_utf8_lossy(&reply);
        let last = text.trim_end().lines().next_back().unwrap_or_default();
        if length == 0 || (text.ends_with('\n') && last.as_bytes().get(3) == Some(&b' ')) {
            return Ok(text.into_owned());
        }
    }
}
