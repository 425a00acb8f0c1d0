//! What went wrong on the way, and what that means for the mail: not sent, refused, or nobody knows.
//!
//! No text of the server's gets into a fault once it has been told a recipient: spam filters quote the links that they
//! refuse, and a fault ends up in a status (invariant 1). Its codes do (RFC 5321, 4.2; RFC 3463).

use std::io;

use ps_core::error::{Class, Fault};
use ps_core::ports::MailError;

/// A step of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waiting for one of our own connections to be free.
    Queue,
    /// Finding the host, and TCP.
    Connect,
    /// The TLS handshake.
    Tls,
    /// The greeting and EHLO.
    Hello,
    Starttls,
    Auth,
    Mail,
    Rcpt,
    /// DATA, before the message.
    Data,
    /// The message, without its final dot.
    Body,
    /// From the final dot on.
    Final,
}

impl Phase {
    fn words(self) -> &'static str {
        match self {
            Self::Queue => "waiting for a free connection",
            Self::Connect => "connecting",
            Self::Tls => "the TLS handshake",
            Self::Hello => "the greeting",
            Self::Starttls => "STARTTLS",
            Self::Auth => "the login",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Body => "the message",
            Self::Final => "the end of the message",
        }
    }
}

/// What happened at a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Longer than allowed.
    Timeout,
    /// The connection failed or ended.
    Io(io::ErrorKind),
    /// The server says no.
    Reply {
        /// The three digits.
        code: u16,
        /// `x.y.z`, if there is one.
        enhanced: Option<String>,
    },
    /// The server says something that is not SMTP, or out of turn.
    Protocol,
    /// The certificate is not to be trusted, or no TLS is spoken there.
    Untrusted(String),
    /// STARTTLS is not offered.
    NoStarttls,
    /// No login is offered that we know.
    NoLogin,
}

/// A step with what happened at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) phase: Phase,
    pub(crate) cause: Cause,
}

impl Failure {
    pub(crate) fn new(phase: Phase, cause: Cause) -> Self {
        Self { phase, cause }
    }

    pub(crate) fn io(phase: Phase, error: &io::Error) -> Self {
        Self::new(phase, Cause::Io(error.kind()))
    }

    /// What lettre reports for a command. Its text is used for the enhanced code only.
    pub(crate) fn reply(phase: Phase, error: &lettre::transport::smtp::Error) -> Self {
        let text = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        let cause = match error.status() {
            Some(code) => Cause::Reply { code: code.into(), enhanced: enhanced(&text) },
            // Its word for a connection that ended where a reply was due.
            None if text == "incomplete response" => Cause::Io(io::ErrorKind::UnexpectedEof),
            None if error.is_response() || error.is_client() => Cause::Protocol,
            None => {
                let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
                Cause::Io(source.map_or(io::ErrorKind::Other, io::Error::kind))
            }
        };
        Self::new(phase, cause)
    }

    /// Whether the connection is of no further use.
    pub(crate) fn ends_session(&self) -> bool {
        !matches!(self.cause, Cause::Reply { code, .. } if code != 421)
    }

    /// Whether a connection from the pool has turned out to be stale: a fresh one may work.
    pub(crate) fn is_stale(&self) -> bool {
        self.phase == Phase::Mail && self.ends_session() && self.cause != Cause::Timeout
    }

    /// What it means for the mail, and for whom it is to do something about it.
    pub(crate) fn into_error(self) -> MailError {
        let fault = self.fault();
        match (&self.cause, self.phase) {
            (Cause::Reply { .. }, Phase::Rcpt | Phase::Data | Phase::Final) if fault.class == Class::Permanent => {
                MailError::Refused(fault)
            }
            // RFC 5321, 3.8: 421 is about the connection. Whatever else comes this late is about this message or its recipient.
            (Cause::Reply { code: 400..=499, .. }, Phase::Rcpt | Phase::Data | Phase::Final)
                if !self.ends_session() =>
            {
                MailError::Deferred(fault)
            }
            (Cause::Reply { code: 400.., .. }, _) => MailError::NotSent(fault),
            (_, Phase::Final) => MailError::Unknown(fault),
            _ => MailError::NotSent(fault),
        }
    }

    fn fault(&self) -> Fault {
        let at = self.phase.words();
        match &self.cause {
            Cause::Timeout if self.phase == Phase::Queue => {
                Fault::new(Class::Transient, "smtp-busy", "all connections to the mail server are in use")
            }
            Cause::Timeout => {
                Fault::new(Class::Transient, "smtp-timeout", format!("the mail server was silent at {at}"))
            }
            Cause::Io(kind) if self.phase == Phase::Connect => {
                Fault::new(Class::Transient, "smtp-unreachable", format!("the mail server can't be reached: {kind}"))
                    .remedy("see that host and port are right and not blocked")
            }
            Cause::Io(kind) => {
                Fault::new(Class::Transient, "smtp-connection-lost", format!("the connection was lost at {at}: {kind}"))
            }
            Cause::Protocol => {
                let message = format!("the mail server does not speak SMTP at {at}");
                Fault::new(Class::Transient, "smtp-protocol", message)
                    .remedy("see that host, port and TLS mode are right")
            }
            Cause::Untrusted(why) => Fault::new(
                Class::Misconfigured,
                "smtp-tls",
                format!("the mail server's TLS is not to be trusted: {why}"),
            )
            .remedy("see that port and TLS mode fit, and name the authority and the server's name if they are your own")
            .field("smtp.tls"),
            Cause::NoStarttls => {
                Fault::new(Class::Misconfigured, "smtp-no-starttls", "the mail server does not offer STARTTLS")
                    .remedy("use a port with TLS; mail is never sent without")
                    .field("smtp.tls")
            }
            Cause::NoLogin => {
                let message = "the mail server offers neither PLAIN nor LOGIN after TLS";
                Fault::new(Class::Misconfigured, "smtp-no-login", message).field("smtp.username")
            }
            Cause::Reply { code, enhanced } => refusal(self.phase, *code, enhanced.as_deref()),
        }
    }
}

fn refusal(phase: Phase, code: u16, enhanced: Option<&str>) -> Fault {
    let at = phase.words();
    let shown = enhanced.map_or_else(|| code.to_string(), |enhanced| format!("{code} {enhanced}"));
    let fault = |class, name: &str, message: String| Fault::new(class, name, format!("{message} ({shown})"));
    let login = "see that the mail server's user and password are right and may send from this address";
    match (code, phase) {
        (400..=499, _) => {
            fault(Class::Transient, "smtp-deferred", format!("the mail server asks to come back later at {at}"))
        }
        // RFC 4954, 6: login required, wrong, too weak, or without the encryption that it needs.
        (530 | 534 | 535 | 538, _) | (500..=599, Phase::Auth) => {
            fault(Class::Denied, "smtp-login-refused", "the mail server refuses the login".to_owned())
                .remedy(login)
                .field("smtp.username")
        }
        (500..=599, Phase::Mail) => {
            fault(Class::Misconfigured, "smtp-sender-refused", "the mail server refuses the sender".to_owned())
                .remedy(login)
                .field("smtp.from")
        }
        (500..=599, Phase::Rcpt) => fault(
            Class::Permanent,
            "smtp-recipient-refused",
            format!("the mail server refuses the recipient{}", why(enhanced)),
        )
        .remedy("see that the address is right, or send to another"),
        (500..=599, Phase::Data | Phase::Body | Phase::Final) => fault(
            Class::Permanent,
            "smtp-message-refused",
            format!("the mail server refuses the message{}", why(enhanced)),
        )
        .remedy("ask who runs the mail server why"),
        (500..=599, _) => fault(Class::Misconfigured, "smtp-refused", format!("the mail server refuses us at {at}"))
            .remedy("ask who runs the mail server whether it takes mail from here"),
        _ => fault(Class::Transient, "smtp-protocol", format!("the mail server answers out of turn at {at}")),
    }
}

/// The enhanced codes that people meet most (RFC 3463).
fn why(enhanced: Option<&str>) -> &'static str {
    match enhanced {
        Some("5.1.1" | "5.1.0" | "5.1.6") => ": no such mailbox",
        Some("5.1.2" | "5.1.10" | "5.4.4") => ": no such domain",
        Some("5.2.1") => ": the mailbox is disabled",
        Some("5.2.2") => ": the mailbox is full",
        Some("5.3.4" | "5.2.3") => ": too large",
        Some(code) if code.starts_with("5.7.") => ": its policy forbids it",
        _ => "",
    }
}

/// The `x.y.z` at the start of a reply's text (RFC 2034, 4).
fn enhanced(text: &str) -> Option<String> {
    let word = text.split_whitespace().next()?;
    let parts = word.split('.').collect::<Vec<_>>();
    let is_number = |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    (parts.len() == 3 && parts.iter().all(is_number)).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(phase: Phase, cause: Cause) -> MailError {
        Failure::new(phase, cause).into_error()
    }

    fn reply(phase: Phase, code: u16) -> MailError {
        error(phase, Cause::Reply { code, enhanced: None })
    }

    const BEFORE: [Phase; 10] = [
        Phase::Queue,
        Phase::Connect,
        Phase::Tls,
        Phase::Hello,
        Phase::Starttls,
        Phase::Auth,
        Phase::Mail,
        Phase::Rcpt,
        Phase::Data,
        Phase::Body,
    ];

    #[test]
    fn only_a_lost_reply_to_the_final_dot_is_unknown() {
        for cause in [Cause::Timeout, Cause::Io(io::ErrorKind::ConnectionReset), Cause::Protocol] {
            for phase in BEFORE {
                let MailError::NotSent(fault) = error(phase, cause.clone()) else { panic!("{phase:?} {cause:?}") };
                assert_eq!(fault.class, Class::Transient);
            }
            assert!(matches!(error(Phase::Final, cause), MailError::Unknown(_)));
        }
        // An answer that is none: 3yz after the final dot.
        assert!(matches!(reply(Phase::Final, 354), MailError::Unknown(_)));
    }

    #[test]
    fn a_later_is_never_a_no() {
        for phase in BEFORE.into_iter().chain([Phase::Final]) {
            for code in [421, 450, 451, 452, 454] {
                let of_one = code != 421 && matches!(phase, Phase::Rcpt | Phase::Data | Phase::Final);
                let fault = match reply(phase, code) {
                    MailError::Deferred(fault) if of_one => fault,
                    MailError::NotSent(fault) if !of_one => fault,
                    other => panic!("{phase:?} {code}: {other:?}"),
                };
                assert_eq!(fault.class, Class::Transient, "{phase:?} {code}");
            }
        }
    }

    #[test]
    fn a_no_is_final_only_where_it_is_about_this_mail() {
        for phase in [Phase::Rcpt, Phase::Data, Phase::Final] {
            assert!(matches!(reply(phase, 550), MailError::Refused(f) if f.class == Class::Permanent), "{phase:?}");
        }
        for (phase, class) in [
            (Phase::Hello, Class::Misconfigured),
            (Phase::Starttls, Class::Misconfigured),
            (Phase::Mail, Class::Misconfigured),
            (Phase::Auth, Class::Denied),
        ] {
            assert!(
                matches!(reply(phase, 554), MailError::NotSent(f) if f.class == class && !f.remedy.is_empty()),
                "{phase:?}"
            );
        }
        for phase in [Phase::Auth, Phase::Mail, Phase::Rcpt, Phase::Data] {
            assert!(matches!(reply(phase, 530), MailError::NotSent(f) if f.class == Class::Denied), "{phase:?}");
        }
    }

    #[test]
    fn what_a_person_must_change_waits_for_the_person() {
        for cause in [Cause::Untrusted("expired".into()), Cause::NoStarttls, Cause::NoLogin] {
            let MailError::NotSent(fault) = error(Phase::Tls, cause) else { panic!("it was not sent") };
            assert!(fault.class == Class::Misconfigured && fault.field.is_some());
        }
    }

    #[test]
    fn enhanced_codes_are_read_and_nothing_else() {
        assert_eq!(enhanced("5.1.1 <alice@vendor.example> unknown").as_deref(), Some("5.1.1"));
        for text in ["", "no such user", "5.1", "5.1.1.1 x", "1234.1.1", "https://x/#ps1.abc", "5.x.1"] {
            assert_eq!(enhanced(text), None, "{text}");
        }
    }
}
