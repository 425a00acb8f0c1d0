//! A real SMTP server with STARTTLS, implicit TLS, AUTH, and faults on demand.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dirs::{self, RunDir};
use crate::http;
use crate::install::ensure_node_packages;
use crate::openbao::blocking;
use crate::process::Process;
use crate::shared::SmtpAddress;
use crate::smtp_fault::{Fault, Phase};
use crate::tls::{Certificates, ServerName};

const START: Duration = Duration::from_secs(30);
/// One long poll of the control port; longer waits are made of several.
const POLL: Duration = Duration::from_secs(20);

/// How the server is set up.
#[derive(Debug, Clone)]
pub struct SmtpOptions {
    /// MAIL needs a login.
    pub require_auth: bool,
    /// STARTTLS is offered on the plain port. Without it, login is offered without TLS: a downgrade.
    pub offer_starttls: bool,
    /// The largest message in bytes; 0 for any.
    pub max_size: u64,
    /// What its certificate says.
    pub server_name: ServerName,
}

impl Default for SmtpOptions {
    fn default() -> Self {
        Self { require_auth: true, offer_starttls: true, max_size: 0, server_name: ServerName::Right }
    }
}

/// A running mail server. Everything that it accepts it keeps in memory, by recipient.
#[derive(Debug)]
pub struct SmtpServer {
    at: SmtpAddress,
    // Its stdin: the server ends when it closes.
    _stdin: Option<Mutex<ChildStdin>>,
    process: Option<Process>,
    _folder: Option<RunDir>,
}

/// A mail as it was received.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mail {
    /// In the order of arrival.
    pub id: u64,
    /// When, RFC 3339.
    pub received_at: String,
    /// The SMTP session that brought it.
    pub session: String,
    /// Whether that session was encrypted.
    pub secure: bool,
    /// Who had logged in.
    pub user: Option<String>,
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub recipients: Vec<String>,
    /// The Message-ID, with its angle brackets.
    pub message_id: Option<String>,
    /// The subject, decoded.
    pub subject: String,
    /// The plain text part, decoded.
    pub text: Option<String>,
    /// The HTML part, decoded.
    pub html: Option<String>,
    /// All header fields in order: lower-case name, and value as it was sent.
    pub headers: Vec<(String, String)>,
    /// File name, type and size of each attachment.
    pub attachments: Vec<Value>,
    raw_base64: String,
}

impl Mail {
    /// The message byte by byte, dots unstuffed.
    ///
    /// # Errors
    /// If the testbed's own server sent nonsense.
    pub fn raw(&self) -> Result<Vec<u8>> {
        Ok(STANDARD.decode(&self.raw_base64)?)
    }

    /// The first header field of that name (any case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// What happened in a session, in order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SmtpEvent {
    /// Its place among all events.
    pub seq: u64,
    /// Which session.
    pub session: String,
    /// At which phase.
    pub phase: Phase,
    /// `accepted` (handed to the server proper), `refused` (wrong login), or the fault's `hang`, `reply`, `close`.
    pub outcome: String,
    /// The recipients known by then.
    pub recipients: Vec<String>,
}

#[derive(Deserialize)]
struct Ports {
    smtp: u16,
    smtps: u16,
    control: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Start<'a> {
    user: &'a str,
    pass: &'a str,
    require_auth: bool,
    offer_starttls: bool,
    max_size: u64,
    key: &'a str,
    cert: &'a str,
}

impl SmtpServer {
    /// Starts one, with a CA, a certificate and a login of its own. Ready in about half a second.
    ///
    /// # Errors
    /// If it can't be installed or started.
    pub async fn start(options: SmtpOptions) -> Result<Self> {
        blocking(move || Self::start_blocking(&options)).await
    }

    fn start_blocking(options: &SmtpOptions) -> Result<Self> {
        let packages = ensure_node_packages("testbed/smtp")?;
        let folder = RunDir::new("smtp")?;
        let certificates = Certificates::new(folder.path(), options.server_name)?;
        let (user, password) = (dirs::unique("sender"), dirs::unique("mail"));
        let mut command = Command::new("node");
        command.arg(packages.join("server.mjs")).current_dir(&packages);
        let process = Process::spawn_piped("smtp", command)?;
        let (mut stdin, stdout) = process.take_stdin().zip(process.take_stdout()).context("no pipes")?;
        let start = Start {
            user: &user,
            pass: &password,
            require_auth: options.require_auth,
            offer_starttls: options.offer_starttls,
            max_size: options.max_size,
            key: &certificates.key_pem,
            cert: &certificates.cert_pem,
        };
        let mut line = serde_json::to_vec(&start)?;
        line.push(b'\n');
        stdin.write_all(&line)?;
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut answer = String::new();
            let read = BufReader::new(stdout).read_line(&mut answer);
            sender.send(read.map(|_| answer))
        });
        let answer = receiver.recv_timeout(START).with_context(|| process.log_tail())??;
        let ports: Ports = serde_json::from_str(&answer).with_context(|| process.log_tail())?;
        let at = SmtpAddress {
            port: ports.smtp,
            tls_port: ports.smtps,
            control_port: ports.control,
            user,
            password,
            ca_path: certificates.ca_path,
        };
        Ok(Self { at, _stdin: Some(Mutex::new(stdin)), process: Some(process), _folder: Some(folder) })
    }

    /// One that another process runs.
    pub(crate) fn connect(at: SmtpAddress) -> Self {
        Self { at, _stdin: None, process: None, _folder: None }
    }

    pub(crate) fn environment(&self) -> SmtpAddress {
        self.at.clone()
    }

    /// The port that speaks plain SMTP until STARTTLS, on 127.0.0.1 (say `localhost` for the certificate).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.at.port
    }

    /// The port that speaks TLS from the first byte.
    #[must_use]
    pub fn tls_port(&self) -> u16 {
        self.at.tls_port
    }

    /// The login's user.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.at.user
    }

    /// The login's password.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.at.password
    }

    /// The CA that a client must trust, as a PEM file.
    #[must_use]
    pub fn ca_path(&self) -> &std::path::Path {
        &self.at.ca_path
    }

    /// Where all mails are to be had as JSON, for people.
    #[must_use]
    pub fn mails_url(&self) -> String {
        format!("http://127.0.0.1:{}/mails", self.at.control_port)
    }

    /// SIGKILL: connections are reset, and new ones refused.
    ///
    /// # Errors
    /// If another process started it.
    pub fn kill(&self) -> Result<()> {
        let process = self.process.as_ref().context("this mail server belongs to another process")?;
        process.kill().map(drop)
    }

    /// Adds a fault behind those that there are; the first that applies fires. On a shared server use
    /// [`Fault::only_for`], or start a server of your own.
    ///
    /// # Errors
    /// If the control port does not answer.
    pub async fn fault(&self, fault: &Fault) -> Result<()> {
        self.control("POST", "faults", Some(&serde_json::to_value(fault)?)).await.map(drop)
    }

    /// Refuses a recipient `times` times with 451, then lets it pass.
    ///
    /// # Errors
    /// If the control port does not answer.
    pub async fn greylist(&self, recipient: &str, times: u32) -> Result<()> {
        let fault = Fault::reply(Phase::Rcpt, 451, "4.7.1 Greylisted, come back later");
        self.fault(&fault.times(times).only_for(recipient)).await
    }

    /// Removes all faults. Sessions that hang stay so.
    ///
    /// # Errors
    /// If the control port does not answer.
    pub async fn clear_faults(&self) -> Result<()> {
        self.control("DELETE", "faults", None).await.map(drop)
    }

    /// The mails for a recipient so far, in the order of arrival.
    ///
    /// # Errors
    /// If the control port does not answer.
    pub async fn mails(&self, recipient: &str) -> Result<Vec<Mail>> {
        self.poll(recipient, 0, Duration::ZERO).await
    }

    /// All mails so far.
    ///
    /// # Errors
    /// If the control port does not answer.
    pub async fn all_mails(&self) -> Result<Vec<Mail>> {
        Ok(serde_json::from_value(self.control("GET", "mails", None).await?)?)
    }

    /// Waits until there are `count` mails for a recipient, and gives all that there are then.
    ///
    /// # Errors
    /// If there are fewer when `deadline` is over; the message says how many, and what the server saw.
    pub async fn wait_for_mails(&self, recipient: &str, count: usize, deadline: Duration) -> Result<Vec<Mail>> {
        let end = tokio::time::Instant::now() + deadline;
        loop {
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            let mails = self.poll(recipient, count, left.min(POLL)).await?;
            if mails.len() >= count {
                return Ok(mails);
            }
            if left.is_zero() {
                let events = self.events(recipient).await?;
                bail!("{} of {count} mails for {recipient} after {deadline:?}; sessions: {events:?}", mails.len());
            }
        }
    }

    /// Waits for the first mail to a recipient.
    ///
    /// # Errors
    /// If there is none when `deadline` is over.
    pub async fn wait_for_mail(&self, recipient: &str, deadline: Duration) -> Result<Mail> {
        let mails = self.wait_for_mails(recipient, 1, deadline).await?;
        mails.into_iter().next().context("no mail")
    }

    /// Forgets the mails of a recipient.
    ///
    /// # Errors
    /// If the control port does not answer.
    pub async fn forget_mails(&self, recipient: &str) -> Result<()> {
        self.control("DELETE", &format!("mails?to={}", query(recipient)), None).await.map(drop)
    }

    /// What happened in the sessions that named a recipient.
    ///
    /// # Errors
    /// If the control port does not answer.
    pub async fn events(&self, recipient: &str) -> Result<Vec<SmtpEvent>> {
        let answer = self.control("GET", &format!("events?to={}", query(recipient)), None).await?;
        Ok(serde_json::from_value(answer)?)
    }

    /// What happened in all sessions.
    ///
    /// # Errors
    /// If the control port does not answer.
    pub async fn all_events(&self) -> Result<Vec<SmtpEvent>> {
        Ok(serde_json::from_value(self.control("GET", "events", None).await?)?)
    }

    async fn poll(&self, recipient: &str, min: usize, wait: Duration) -> Result<Vec<Mail>> {
        let path = format!("mails?to={}&min={min}&timeoutMs={}", query(recipient), wait.as_millis());
        Ok(serde_json::from_value(self.control("GET", &path, None).await?)?)
    }

    async fn control(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let url = format!("http://127.0.0.1:{}/{path}", self.at.control_port);
        let (status, answer) = http::request(method, &url, &[], body).await?;
        if status != 200 {
            bail!("the mail server's control port answered {status} to {method} {path}: {answer}");
        }
        Ok(answer)
    }
}

/// Percent-encodes an address for a query.
fn query(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~@".contains(byte);
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
