//! One authenticated session with the mail server, each step of it bounded in time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::Mechanism;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Noop, Quit, Rcpt, Rset, Starttls};
use lettre::transport::smtp::extension::{ClientId, Extension};
use lettre::transport::smtp::response::Response;
use ps_core::secret::SecretString;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use zeroize::Zeroize as _;

use crate::compose::Message;
use crate::config::{Timeouts, TlsMode};
use crate::failure::{Cause, Failure, Phase};
use crate::wiped::WipedBuf;
use crate::wire::Wire;

/// Longest wait for a courtesy: NOOP, RSET, QUIT.
const COURTESY: Duration = Duration::from_secs(2);

/// How a session is made.
pub(crate) struct Dialer {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) mode: TlsMode,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) server_name: ServerName<'static>,
    pub(crate) login: Option<(String, SecretString)>,
    pub(crate) hello: ClientId,
    pub(crate) timeouts: Timeouts,
}

/// An encrypted, authenticated connection.
pub(crate) struct Session {
    smtp: AsyncSmtpConnection,
    wire: Wire,
    pub(crate) used: Instant,
    pub(crate) mails: u32,
}

/// Waits for one step, no longer than its own limit and the whole's.
async fn step<T>(
    phase: Phase,
    limit: Duration,
    deadline: Instant,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let until = deadline.min(Instant::now() + limit);
    timeout_at(until, work).await.unwrap_or_else(|_| Err(Failure::new(phase, Cause::Timeout)))
}

impl Dialer {
    /// Connects, encrypts, logs in.
    pub(crate) async fn open(&self, deadline: Instant) -> Result<Session, Failure> {
        let tcp = step(Phase::Connect, self.timeouts.connect, deadline, self.connect()).await?;
        let wire = match self.mode {
            TlsMode::Implicit => Wire::tls(self.encrypt(tcp, deadline).await?, false),
            TlsMode::Starttls => Wire::tls(self.starttls(tcp, deadline).await?, true),
        };
        let smtp = self.hello(&wire, deadline).await?;
        let mut session = Session { smtp, wire, used: Instant::now(), mails: 0 };
        if let Some((user, password)) = &self.login {
            step(Phase::Auth, self.timeouts.command, deadline, session.login(user, password)).await?;
        }
        session.used = Instant::now();
        Ok(session)
    }

    async fn connect(&self) -> Result<TcpStream, Failure> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|e| Failure::io(Phase::Connect, &e))?;
        // Else the final dot waits for the message's acknowledgement.
        stream.set_nodelay(true).map_err(|e| Failure::io(Phase::Connect, &e))?;
        Ok(stream)
    }

    async fn starttls(
        &self,
        tcp: TcpStream,
        deadline: Instant,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
        let wire = Wire::plain(tcp);
        let mut smtp = self.hello(&wire, deadline).await?;
        if !smtp.server_info().supports_feature(Extension::StartTls) {
            return Err(Failure::new(Phase::Starttls, Cause::NoStarttls));
        }
        let reply = async { smtp.command(Starttls).await.map_err(|e| Failure::reply(Phase::Starttls, &e)) };
        let reply = step(Phase::Starttls, self.timeouts.command, deadline, reply).await?;
        expect(Phase::Starttls, &reply, 220)?;
        drop(smtp);
        let tcp = wire.take_plain().ok_or_else(|| Failure::new(Phase::Starttls, Cause::Protocol))?;
        self.encrypt(tcp, deadline).await
    }

    async fn encrypt(
        &self,
        tcp: TcpStream,
        deadline: Instant,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let handshake = async { connector.connect(self.server_name.clone(), tcp).await.map_err(|e| tls_failure(&e)) };
        step(Phase::Tls, self.timeouts.connect, deadline, handshake).await
    }

    async fn hello(&self, wire: &Wire, deadline: Instant) -> Result<AsyncSmtpConnection, Failure> {
        let stream = Box::new(wire.clone());
        let hello = AsyncSmtpConnection::connect_with_transport(stream, &self.hello);
        let hello = async { hello.await.map_err(|e| Failure::reply(Phase::Hello, &e)) };
        step(Phase::Hello, self.timeouts.command, deadline, hello).await
    }
}

impl Session {
    /// RFC 4616, or the older LOGIN where the server knows no other. Past lettre, which would keep copies.
    async fn login(&mut self, user: &str, password: &SecretString) -> Result<(), Failure> {
        let info = self.smtp.server_info();
        if info.supports_auth_mechanism(Mechanism::Plain) {
            let mut answer = WipedBuf::with_capacity(user.len() + password.len() + 2);
            for part in [b"\0", user.as_bytes(), b"\0", password.expose().as_bytes()] {
                answer.push(part);
            }
            self.say_base64(b"AUTH PLAIN ", answer.expose(), 235).await
        } else if info.supports_auth_mechanism(Mechanism::Login) {
            self.say_base64(b"AUTH LOGIN", b"", 334).await?;
            self.say_base64(b"", user.as_bytes(), 334).await?;
            self.say_base64(b"", password.expose().as_bytes(), 235).await
        } else {
            Err(Failure::new(Phase::Auth, Cause::NoLogin))
        }
    }

    async fn say_base64(&mut self, before: &[u8], secret: &[u8], code: u16) -> Result<(), Failure> {
        let mut encoded = vec![0; secret.len().div_ceil(3) * 4];
        let length = STANDARD.encode_slice(secret, &mut encoded).unwrap_or_default();
        let mut line = WipedBuf::with_capacity(before.len() + length + 2);
        line.push(before);
        line.push(encoded.get(..length).unwrap_or_default());
        line.push(b"\r\n");
        encoded.zeroize();
        self.write(line.expose()).await.map_err(|e| Failure::io(Phase::Auth, &e))?;
        let reply = self.smtp.read_response().await.map_err(|e| Failure::reply(Phase::Auth, &e))?;
        expect(Phase::Auth, &reply, code)
    }

    /// Sends one message. A failure says whether the server can have accepted it, and whether the session lives on.
    pub(crate) async fn send(&mut self, message: &Message, limits: Timeouts, deadline: Instant) -> Result<(), Failure> {
        let command = limits.command;
        let from = Mail::new(Some(message.from.smtp()), Vec::new());
        let reply = step(Phase::Mail, command, deadline, answer(Phase::Mail, self.smtp.command(from))).await?;
        expect(Phase::Mail, &reply, 250)?;
        let to = Rcpt::new(message.to.smtp(), Vec::new());
        let reply = step(Phase::Rcpt, command, deadline, answer(Phase::Rcpt, self.smtp.command(to))).await?;
        // 251: it forwards.
        expect(Phase::Rcpt, &reply, 250).or_else(|_| expect(Phase::Rcpt, &reply, 251))?;
        let reply = step(Phase::Data, command, deadline, answer(Phase::Data, self.smtp.command(Data))).await?;
        expect(Phase::Data, &reply, 354)?;

        // A server that gets no final dot must throw the message away (RFC 5321, 4.1.1.4): until then it is not sent.
        let deadline = Instant::now() + limits.data;
        let body = async { self.write_stuffed(message.bytes.expose()).await.map_err(|e| Failure::io(Phase::Body, &e)) };
        step(Phase::Body, limits.data, deadline, body).await?;
        let end = async {
            self.write(b".\r\n").await.map_err(|e| Failure::io(Phase::Final, &e))?;
            self.smtp.read_response().await.map_err(|e| Failure::reply(Phase::Final, &e))
        };
        let reply = step(Phase::Final, limits.data, deadline, end).await?;
        self.used = Instant::now();
        self.mails = self.mails.saturating_add(1);
        if reply.code().severity == lettre::transport::smtp::response::Severity::PositiveCompletion {
            return Ok(());
        }
        Err(Failure::new(Phase::Final, Cause::Protocol))
    }

    /// A dot before each line that begins with one (RFC 5321, 4.5.2), without a copy of the message.
    async fn write_stuffed(&mut self, message: &[u8]) -> io::Result<()> {
        for slice in stuffed(message) {
            self.wire.write_all(slice).await?;
        }
        self.wire.flush().await
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.write_all(bytes).await?;
        self.wire.flush().await
    }

    /// Whether the server still answers.
    pub(crate) async fn is_alive(&mut self, deadline: Instant) -> bool {
        let noop = answer(Phase::Hello, self.smtp.command(Noop));
        let alive = step(Phase::Hello, COURTESY, deadline, noop).await.is_ok();
        self.used = Instant::now();
        alive
    }

    /// Forgets a transaction that was begun, so that another can be. False if that fails.
    pub(crate) async fn reset(&mut self) -> bool {
        let deadline = Instant::now() + COURTESY;
        step(Phase::Hello, COURTESY, deadline, answer(Phase::Hello, self.smtp.command(Rset))).await.is_ok()
    }

    /// Says goodbye; the connection ends in any case.
    pub(crate) async fn quit(mut self) {
        let deadline = Instant::now() + COURTESY;
        let bye = step(Phase::Hello, COURTESY, deadline, answer(Phase::Hello, self.smtp.command(Quit))).await;
        if bye.is_err() {
            tracing::trace!("the mail server did not answer QUIT");
        }
    }
}

async fn answer(phase: Phase, work: impl Future<Output = Result<Response, SmtpError>>) -> Result<Response, Failure> {
    work.await.map_err(|e| Failure::reply(phase, &e))
}

/// lettre takes any 2yz and 3yz for a yes.
fn expect(phase: Phase, reply: &Response, code: u16) -> Result<(), Failure> {
    if reply.has_code(code) { Ok(()) } else { Err(Failure::new(phase, Cause::Protocol)) }
}

fn tls_failure(error: &io::Error) -> Failure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let cause = match inner {
        Some(why) => Cause::Untrusted(why.to_string().chars().filter(|c| !c.is_control()).take(200).collect()),
        None => Cause::Io(error.kind()),
    };
    Failure::new(Phase::Tls, cause)
}

/// The slices of a stuffed message: the message itself, cut before each line that begins with a dot, with dots between.
fn stuffed(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = message;
    let mut at_line_start = true;
    let mut dot_due = false;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if !dot_due && at_line_start && rest.starts_with(b".") {
            dot_due = true;
            return Some(&b"."[..]);
        }
        dot_due = false;
        let next = rest.windows(3).position(|w| w == b"\r\n.").map_or(rest.len(), |at| at + 2);
        let (slice, later) = rest.split_at(next);
        rest = later;
        at_line_start = true;
        Some(slice)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dots_are_doubled_at_line_starts_only() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b"", b""),
            (b"a.b\r\n", b"a.b\r\n"),
            (b".\r\n", b"..\r\n"),
            (b"..\r\n.\r\n", b"...\r\n..\r\n"),
            (b"a\r\n.\r\n.b\r\n", b"a\r\n..\r\n..b\r\n"),
            (b"a\n.b\r\n", b"a\n.b\r\n"),
        ];
        for (message, expected) in cases {
            assert_eq!(stuffed(message).collect::<Vec<_>>().concat(), expected);
        }
    }

    proptest! {
        #[test]
        fn a_stuffed_message_has_no_end_in_it_and_reads_the_same(lines in proptest::collection::vec("[.a]{0,4}", 0..12)) {
            let message = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
            let sent = String::from_utf8(stuffed(message.as_bytes()).collect::<Vec<_>>().concat()).unwrap();
            let framed = ["\r\n", &sent].concat();
            prop_assert!(!framed.contains("\r\n.\r\n"));
            let read = sent.split_inclusive("\r\n").map(|line| line.strip_prefix('.').unwrap_or(line)).collect::<String>();
            prop_assert_eq!(read, message);
        }
    }
}
