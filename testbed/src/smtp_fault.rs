//! How the mail server misbehaves: at which phase, in which way, how often, for whom.

use serde::{Deserialize, Serialize};

/// A step of an SMTP session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The connection, before the greeting.
    Connect,
    /// EHLO; also the second one, after STARTTLS.
    Ehlo,
    /// STARTTLS.
    Starttls,
    /// AUTH.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA, before the message.
    Data,
    /// After the message's final dot.
    Final,
}

impl Phase {
    /// All of them, in the order of a session.
    pub const ALL: [Self; 8] =
        [Self::Connect, Self::Ehlo, Self::Starttls, Self::Auth, Self::Mail, Self::Rcpt, Self::Data, Self::Final];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Hang,
    Reply,
    Close,
}

/// One fault. It fires every time until removed, unless [`Fault::times`] says otherwise.
///
/// ```
/// use ps_testbed::{Fault, Phase};
/// let greylisting = Fault::reply(Phase::Rcpt, 451, "4.7.1 come back later").times(2).only_for("a@b.example");
/// let lost_reply = Fault::close(Phase::Final).stored().times(1);
/// # let _ = (greylisting, lost_reply);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    phase: Phase,
    action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient: Option<String>,
    stored: bool,
}

impl Fault {
    /// Answers nothing, ever; the connection stays.
    #[must_use]
    pub fn hang(phase: Phase) -> Self {
        Self::new(phase, Action::Hang)
    }

    /// Drops the connection without an answer.
    #[must_use]
    pub fn close(phase: Phase) -> Self {
        Self::new(phase, Action::Close)
    }

    /// Answers `code text` instead of what is right.
    #[must_use]
    pub fn reply(phase: Phase, code: u16, text: &str) -> Self {
        Self { code: Some(code), text: Some(text.to_owned()), ..Self::new(phase, Action::Reply) }
    }

    /// Fires this often only.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Fires only for this recipient; for [`Phase::Rcpt`] and later.
    #[must_use]
    pub fn only_for(self, recipient: &str) -> Self {
        Self { recipient: Some(recipient.to_owned()), ..self }
    }

    /// At [`Phase::Final`]: the mail is kept all the same, only the answer is lost or wrong.
    #[must_use]
    pub fn stored(self) -> Self {
        Self { stored: true, ..self }
    }

    fn new(phase: Phase, action: Action) -> Self {
        Self { phase, action, code: None, text: None, times: None, recipient: None, stored: false }
    }
}
