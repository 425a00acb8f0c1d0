//! What goes on the audit trail: one event per change of state, with an id that its writer can derive again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::encode::push_lp;
use crate::ids::{Digest, Key};
use crate::time::Timestamp;

/// Who saw or made the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Writer {
    /// The operator, from its ledger. Sequence numbers count from 0 per delivery and incarnation.
    Operator,
    /// A record's journal, as the operator read it. Sequence numbers are the journal's, per attempt.
    Record,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EventKind {
    /// A delivery was taken up for the first time.
    Accepted,
    /// An object under a known name was tied to its entry again (restore).
    Adopted,
    /// An attempt was begun: read, sealed, put.
    Issued,
    /// An attempt was given up before its mail was accepted; its id is void.
    Superseded,
    /// The mail was accepted.
    Delivered,
    /// Whether the mail was accepted is not known.
    DeliveryUnknown,
    /// The mail was refused for good.
    MailRefused,
    /// The link was claimed.
    Claimed,
    /// The claimant said that the secret is saved.
    Acknowledged,
    /// The claim window ended without an acknowledgement.
    WindowOver,
    /// Nobody opened the link in time.
    Expired,
    /// Withdrawal was ordered.
    RevokeOrdered,
    /// The link is withdrawn.
    Revoked,
    /// "Not meant for me".
    Declined,
    /// "Somebody else had it", after retrieval.
    Disputed,
    /// Too many wrong proofs, or wrong e-mailed codes.
    Locked,
    /// A code was mailed to the recipient, or is about to be.
    CodeMailed,
    /// The mail with a code was refused for good.
    CodeRefused,
    /// A wrong e-mailed code.
    CodeWrong,
    /// The right e-mailed code.
    CodePassed,
    /// A sign-in did not pass.
    SignInRefused,
    /// A sign-in passed.
    SignInPassed,
    /// All that is demanded was passed: the link can be opened.
    Verified,
    /// The page says that the link's token had reached a path or a query.
    Exposed,
    /// The record is not what was put, or tells of an impossible past.
    Tampered,
    /// A rotation is due at a known time.
    RotationDue,
    /// A rotation was begun.
    RotationBegun,
    /// The delivered value is proven dead.
    Rotated,
    /// The rotation does not succeed; it is tried on, and a person is told.
    RotationStalled,
    /// The delivered value was replaced by somebody else while the link was open.
    SourceRotated,
    /// Nothing is sent, for the reason given.
    Held,
    /// A notice went to the sender.
    Notified,
    /// The object is gone; what is owed stays.
    Removed,
}

/// One audit event. It names no person in full, no secret and no path of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Which delivery.
    pub delivery: Key,
    /// Which incarnation of its entry: the first 16 hex digits of the stamp's hash.
    pub incarnation: String,
    /// Which attempt; 0 for none.
    pub attempt: u32,
    /// Who saw it.
    pub writer: Writer,
    /// The writer's own count, without gaps.
    pub seq: u64,
    /// When it happened, by the writer's clock.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// Why, in a sentence.
    pub reason: String,
    /// Further facts, each a short word or number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
}

impl Event {
    /// The derived id: the same change yields the same id, however often it is written.
    #[must_use]
    pub fn id(&self) -> String {
        let mut out = Vec::new();
        let writer = match self.writer {
            Writer::Operator => "operator",
            Writer::Record => "record",
        };
        for part in [&self.delivery.namespace, &self.delivery.name, &self.incarnation] {
            push_lp(&mut out, part.as_bytes());
        }
        push_lp(&mut out, &self.attempt.to_be_bytes());
        push_lp(&mut out, writer.as_bytes());
        push_lp(&mut out, &self.seq.to_be_bytes());
        hex::encode(&Digest::of(&out).0[..16])
    }
}
