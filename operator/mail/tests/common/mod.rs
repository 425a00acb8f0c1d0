//! A mailer and mails for tests against the testbed's server.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a panic in a test is the failure report")]

use std::sync::Arc;
use std::time::Duration;

use ps_core::delivery::Recipient;
use ps_core::mail::LinkMail;
use ps_core::ports::Clock;
use ps_core::secret::SecretString;
use ps_core::time::{Span, Timestamp};
use ps_mail::{Presentation, SmtpConfig, SmtpMailer, Templates, Timeouts, TlsMode};
use ps_testbed::{SmtpServer, unique};

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const LINK: &str = "https://secrets.example/#ps1.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
pub(crate) const CODE: &str = "ABCD-EFGH";

#[derive(Debug)]
pub(crate) struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_795_364_649)
    }
}

/// For a server that answers at once: long enough for a busy machine, short enough for a test.
pub(crate) fn timeouts() -> Timeouts {
    Timeouts { connect: DEADLINE, command: DEADLINE, data: DEADLINE, session: 2 * DEADLINE }
}

/// With the templates of this program.
pub(crate) fn presentation(from: &str, sender_name: &str) -> Presentation {
    Presentation {
        from: from.into(),
        sender_name: sender_name.into(),
        public_url: "https://secrets.example".into(),
        templates: Templates::built_in().unwrap(),
    }
}

/// The server's own login, its CA, STARTTLS.
pub(crate) fn config(server: &SmtpServer) -> SmtpConfig {
    SmtpConfig {
        host: "localhost".into(),
        port: server.port(),
        tls: TlsMode::Starttls,
        ca_pem: Some(std::fs::read_to_string(server.ca_path()).unwrap()),
        server_name: None,
        username: Some(server.user().into()),
        password: Some(SecretString::new(server.password().into())),
        hello_name: "operator.example".into(),
        presentation: presentation("sender@ours.example", "Plattform-Team Köln"),
        timeouts: timeouts(),
        pool_size: 4,
    }
}

pub(crate) fn mailer(config: SmtpConfig) -> SmtpMailer {
    SmtpMailer::new(config, Arc::new(FixedClock)).unwrap()
}

/// An address that no other test uses.
pub(crate) fn somebody() -> String {
    format!("{}@vendor.example", unique("alice"))
}

pub(crate) fn link_mail(to: &str) -> LinkMail {
    LinkMail {
        to: Recipient { email: to.into(), name: Some("Alice Größe".into()), locale: Some("en".into()) },
        message_id: format!("{}@ours.example", unique("m")),
        sender: "Bob & Söhne".into(),
        link: SecretString::new(LINK.into()),
        opening_code: SecretString::new(CODE.into()),
        expires_at: Timestamp::from_secs(1_795_380_000),
        works_for: Some(Span::from_secs(3600)),
        kinds: Vec::new(),
    }
}
