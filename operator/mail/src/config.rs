//! How the mail server is reached.

use std::time::Duration;

use ps_core::error::{Class, Fault};
use ps_core::secret::SecretString;

use crate::address::is_host_name;
use crate::templates::Templates;

/// Most connections at once.
const MAX_POOL: usize = 4;
const LONGEST_TIMEOUT: Duration = Duration::from_secs(600);

/// How the connection is encrypted. There is no way without, and none that falls back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// Plain until STARTTLS, which must be offered; usually port 587.
    #[default]
    Starttls,
    /// TLS from the first byte (RFC 8314); usually port 465.
    Implicit,
}

/// The longest waits. Each is for one step; `session` bounds all steps before a message's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Finding the host and connecting; the same again for the TLS handshake.
    pub connect: Duration,
    /// One command and its reply.
    pub command: Duration,
    /// The message, from its first byte to the reply to its final dot.
    pub data: Duration,
    /// Everything before the message together: waiting for a free connection, connecting, login, envelope.
    /// One `send` takes at most `session + data`, whatever the server does.
    pub session: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self { connect: secs(5), command: secs(10), data: secs(25), session: secs(25) }
    }
}

/// How mail from here looks.
#[derive(Clone, Debug)]
pub struct Presentation {
    /// The address that mail comes from.
    pub from: String,
    /// The name beside it; empty for "Password Sender".
    pub sender_name: String,
    /// Where links lead, without the slash before `#`: a mail with a code names its host.
    pub public_url: String,
    /// What mails are made with.
    pub templates: Templates,
}

/// A mail server, and what it gets.
#[derive(Clone, Debug)]
pub struct SmtpConfig {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How it is encrypted.
    pub tls: TlsMode,
    /// PEM of the only authorities to trust; `None` for the system's.
    pub ca_pem: Option<String>,
    /// The name that the certificate must have; `None` for `host`.
    pub server_name: Option<String>,
    /// Login, with `password`; `None` for a relay that needs none.
    pub username: Option<String>,
    /// See `username`.
    pub password: Option<SecretString>,
    /// How we say who we are in EHLO: a host name.
    pub hello_name: String,
    /// How the mails look.
    pub presentation: Presentation,
    /// The longest waits.
    pub timeouts: Timeouts,
    /// Connections at once, 1 to 4.
    pub pool_size: usize,
}

impl SmtpConfig {
    /// Checks what can be checked without a server.
    ///
    /// # Errors
    /// Misconfigured, with the field.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let wrong = |field: &str, message: &str| {
            let field = format!("smtp.{field}");
            Err(Fault::new(Class::Misconfigured, "smtp-config", message.to_owned()).field(field))
        };
        if self.host.is_empty()
            || self.host.len() > 253
            || self.host.contains(|c: char| c.is_whitespace() || c.is_control())
        {
            return wrong("host", "is not a host name");
        }
        if self.port == 0 {
            return wrong("port", "is not a port");
        }
        if !is_host_name(&self.hello_name) {
            return wrong("helloName", "is not a host name");
        }
        match (&self.username, &self.password) {
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => return wrong("username", "needs a password, and a password needs it"),
            // RFC 4616: both are ended by NUL.
            (Some(user), Some(password))
                if user.is_empty() || user.contains('\0') || password.expose().contains('\0') =>
            {
                return wrong("username", "or the password is empty or has a NUL character");
            }
            (Some(_), Some(_)) => {}
        }
        if !(1..=MAX_POOL).contains(&self.pool_size) {
            return wrong("poolSize", "is not between 1 and 4");
        }
        let Timeouts { connect, command, data, session } = self.timeouts;
        if [connect, command, data, session].iter().any(|t| t.is_zero() || *t > LONGEST_TIMEOUT) {
            return wrong("timeouts", "are not all between 1 ms and 10 min");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SmtpConfig {
        SmtpConfig {
            host: "mail.example".into(),
            port: 587,
            tls: TlsMode::default(),
            ca_pem: None,
            server_name: None,
            username: Some("user".into()),
            password: Some(SecretString::new("hunter2".into())),
            hello_name: "operator.example".into(),
            presentation: Presentation {
                from: "sender@example.org".into(),
                sender_name: String::new(),
                public_url: "https://secrets.example".into(),
                templates: Templates::built_in().unwrap(),
            },
            timeouts: Timeouts::default(),
            pool_size: 4,
        }
    }

    #[test]
    fn a_whole_send_ends_before_somebody_else_may_supersede_the_attempt() {
        let Timeouts { data, session, .. } = Timeouts::default();
        assert!(data + session < Duration::from_secs(60));
    }

    #[test]
    fn mistakes_are_named_by_field() {
        assert_eq!(config().check(), Ok(()));
        let zero = Timeouts { data: Duration::ZERO, ..Timeouts::default() };
        let bad = [
            ("host", SmtpConfig { host: "a\r\nb".into(), ..config() }),
            ("port", SmtpConfig { port: 0, ..config() }),
            ("helloName", SmtpConfig { hello_name: "x\r\nMAIL".into(), ..config() }),
            ("username", SmtpConfig { username: None, ..config() }),
            ("username", SmtpConfig { password: None, ..config() }),
            ("username", SmtpConfig { password: Some(SecretString::new("a\0b".into())), ..config() }),
            ("poolSize", SmtpConfig { pool_size: 5, ..config() }),
            ("timeouts", SmtpConfig { timeouts: zero, ..config() }),
        ];
        for (field, config) in bad {
            let fault = config.check().unwrap_err();
            assert_eq!(fault.field, Some(format!("smtp.{field}")));
            assert_eq!(fault.class, Class::Misconfigured);
        }
    }

    #[test]
    fn the_password_does_not_print() {
        assert!(!format!("{:?}", config()).contains("hunter2"));
    }
}
