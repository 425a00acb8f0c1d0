//! What is mailed, before it has words: the mail crate turns these into messages.

use crate::delivery::{NoticeKind, Recipient};
use crate::ids::Key;
use crate::link::Verification;
use crate::secret::SecretString;
use crate::time::{Span, Timestamp};

/// The one mail that carries a link. It holds `S`: it is never written anywhere and wipes itself.
#[derive(Debug)]
pub struct LinkMail {
    /// Who gets it.
    pub to: Recipient,
    /// Stable for one attempt, so that a second sending of the same message is known as such: `<…@…>` without the brackets.
    pub message_id: String,
    /// Who sends the credential, in words; empty for the operator's own name.
    pub sender: String,
    /// The whole link.
    pub link: SecretString,
    /// The opening code as shown, `XXXX-XXXX`.
    pub opening_code: SecretString,
    /// Until when it can be opened.
    pub expires_at: Timestamp,
    /// How long the credential works after it is opened; `None` if it is not rotated.
    pub works_for: Option<Span>,
    /// What the page will ask for beside the opening code, so that it surprises nobody.
    pub kinds: Vec<Verification>,
}

/// The mail that carries a one-time code, asked for on the page of a link that demands one. It wipes itself.
#[derive(Debug)]
pub struct CodeMail {
    /// Who gets it: the link's recipient.
    pub to: Recipient,
    /// Stable for one code, so that a second sending of the same message is known as such.
    pub message_id: String,
    /// Who sends the credential, in words; empty for the operator's own name.
    pub sender: String,
    /// The code as shown: eight digits, `1234-5678`.
    pub code: SecretString,
    /// Until when it is taken.
    pub expires_at: Timestamp,
}

/// A notice to the person who sends credentials. It names no recipient in full and no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeMail {
    /// The sender's address.
    pub to: String,
    /// Stable for one notice.
    pub message_id: String,
    /// What happened.
    pub kind: NoticeKind,
    /// Which delivery.
    pub delivery: Key,
    /// The recipient, masked.
    pub recipient: String,
    /// When it happened.
    pub at: Timestamp,
    /// One or two sentences on what happened and what to do.
    pub text: String,
}
