//! The ledger's entry: all that the operator remembers of one delivery. Entries outlive objects.
//!
//! Nothing else is read for a decision: status is a projection of this ([`crate::status`]) and can be lost at any time.

mod common;
mod next;
mod verifying;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::audit::{Event, EventKind, Writer};
use crate::delivery::{ConnectionRef, Identity, NoticeKind, Notify, OnSourceRotated, Source, Strategy, Tags};
use crate::encode;
use crate::error::Fault;
use crate::ids::{Digest, Key, LinkId, Stamp};
use crate::link::State;
use crate::link::check::Tamper;
use crate::ports::Connection;
use crate::rotation::{Begun, Delivered, Evidence};
use crate::time::{Span, Timestamp};

pub use common::{Common, TagKey, TrailHead};
pub use next::{Hold, RotatedFirst};
pub use verifying::{JudgeSecrets, MailedCode, Verifying};

/// What the operator remembers of one delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Which delivery.
    pub key: Key,
    /// The incarnation of the object that it is tied to.
    pub uid: String,
    /// The stamp that the object must carry.
    pub stamp: Stamp,
    /// Whether the object is gone. Obligations stay.
    #[serde(default)]
    pub removed: bool,
    /// Why nothing may be sent, if so; a changed `redeliver` lifts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// The value of `spec.redeliver` that the latest attempt answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redeliver_handled: Option<String>,
    /// Sending again was asked for by a manifest that was made anew.
    #[serde(default)]
    pub again: bool,
    /// Number of the latest attempt; 0 for none.
    #[serde(default)]
    pub attempt: u32,
    /// Attempts that still matter, oldest first; the last is the current one.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// A rotation before the next attempt, written down before it is made (invariant 5). Gone when that attempt begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_first: Option<RotatedFirst>,
    /// What the sender is still to be told.
    #[serde(default)]
    pub notices: Vec<Notice>,
    /// Audit events that are not known to be on the trail yet.
    #[serde(default)]
    pub outbox: Vec<Event>,
    /// The next sequence number of this writer.
    #[serde(default)]
    pub next_seq: u64,
    /// When the entry was made.
    pub created_at: Timestamp,
}

/// One try to hand the credential over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// 1, 2, 3 …
    pub number: u32,
    /// Its record.
    pub record: LinkId,
    /// Digest of the record's immutable fields.
    pub digest: Digest,
    /// Through which connection.
    pub connection: ConnectionRef,
    /// What that connection was when the credential was delivered: its object may go before the obligation is met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Box<Connection>>,
    /// From which source.
    pub source: Source,
    /// The source's place in the ledger's index.
    pub source_key: Digest,
    /// Which incarnation of the credential was delivered.
    pub identity: Identity,
    /// A 16-bit tag per delivered field.
    pub tags: Tags,
    /// `R`, where verification demands it and the link is not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseKey>,
    /// How far the recipient has come with e-mailed codes and sign-ins, where they are demanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Box<Verifying>>,
    /// Digest of the recipient.
    pub recipient_digest: Digest,
    /// Digest of connection and source, as asked for.
    pub source_digest: Digest,
    /// What was promised.
    pub terms: Terms,
    /// The mail that carries the link.
    pub mail: MailState,
    /// Stable id of that mail.
    pub message_id: String,
    /// When the attempt was written down, just before the record was put.
    pub begun_at: Timestamp,
    /// What is known of the link.
    pub link: LinkFacts,
    /// What is owed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obligation: Option<Obligation>,
    /// The delivered value is known dead, whoever did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Whether the record is deleted from the store.
    #[serde(default)]
    pub forgotten: bool,
}

/// `R` in the ledger; it wipes itself and does not print.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct ReleaseKey(#[serde(with = "encode::serde_b64_secret")] pub [u8; 32]);

impl std::fmt::Debug for ReleaseKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReleaseKey(…)")
    }
}

/// The terms of an attempt. Later edits of the manifest only bring rotation forward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// When an unopened link ends.
    pub expires_at: Timestamp,
    /// The greatest expiry the record may have.
    pub not_after: Timestamp,
    /// How long a claimant may repeat.
    pub claim_window: Span,
    /// How it is rotated.
    pub strategy: Strategy,
    /// Keys whose change is the proof.
    pub keys: Vec<String>,
    /// Password policy for new values.
    pub password_policy: Option<String>,
    /// How long the credential works after the first claim.
    pub after_retrieval: Span,
    /// Rotate when nobody opened it.
    pub on_expiry: bool,
    /// Rotate when it was withdrawn.
    pub on_revocation: bool,
    /// Rotate when it was locked.
    pub on_locked: bool,
    /// When somebody else rotates.
    pub on_source_rotated: OnSourceRotated,
    /// Who is told.
    pub notify: Option<Notify>,
    /// The recipient, masked, for status and notices.
    pub recipient: String,
}

/// The mail that carries a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum MailState {
    /// Its owner is about to send it, or holds it in memory and tries again.
    Pending {
        /// Which process.
        owner: String,
        /// Until when nobody else may supersede the attempt.
        until: Timestamp,
    },
    /// Accepted by the mail server.
    Accepted {
        /// When.
        at: Timestamp,
    },
    /// The reply was lost: the recipient may have it.
    Unknown {
        /// Since when.
        at: Timestamp,
    },
    /// Refused for good.
    Refused {
        /// What the server said, by code.
        fault: Fault,
    },
    /// Given up; the id is void.
    Superseded,
}

/// What the operator has read from the link's record, and believes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkFacts {
    /// Where it stands, as far as read.
    pub state: State,
    /// How many journal entries were read.
    pub journal_read: u32,
    /// The earlier of the record's claim time and our first sight of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_at: Option<Timestamp>,
    /// Whether the claimant acknowledged.
    #[serde(default)]
    pub acknowledged: bool,
    /// Whether somebody said after retrieval that it was not them.
    #[serde(default)]
    pub disputed: bool,
    /// Why it is not believed any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tampered: Option<Tamper>,
    /// Why we ordered it withdrawn, once we did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke: Option<RevokeCause>,
    /// When it left Open or Claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

/// Why a link is withdrawn by the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevokeCause {
    /// `spec.revoked: true`.
    Asked,
    /// The manifest is gone.
    Removed,
    /// Sent again: this one is replaced.
    Redelivered,
    /// The credential was rotated by somebody else.
    SourceRotated,
    /// The record is not believed.
    Tampered,
    /// The mail was refused for good: nobody has the link.
    MailRefused,
    /// A restore was noticed.
    Restored,
}

/// Why a rotation is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The link was opened.
    Retrieved,
    /// Nobody opened it.
    Expired,
    /// Withdrawn.
    Revoked,
    /// "Not meant for me", or disputed.
    Declined,
    /// Locked.
    Locked,
    /// The record is not believed.
    Tampered,
}

impl Cause {
    /// Whether it waits for what other recipients of the same source were promised.
    #[must_use]
    pub const fn waits(self) -> bool {
        matches!(self, Self::Retrieved | Self::Expired)
    }

    /// The word used in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retrieved => "retrieved",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Declined => "declined",
            Self::Locked => "locked",
            Self::Tampered => "tampered",
        }
    }
}

/// A rotation that is owed (invariant 6). It ends by evidence only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Obligation {
    /// Why.
    pub cause: Cause,
    /// Since when it is owed.
    pub raised_at: Timestamp,
    /// When it is due at the latest.
    pub due: Timestamp,
    /// When the first step was about to be taken, and by whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Begun>,
    /// Since when a person has been told that it does not succeed, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled: Option<Stalled>,
}

/// A rotation that does not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stalled {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub fault: Fault,
}

/// Something that the sender is to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What.
    pub kind: NoticeKind,
    /// Of which attempt.
    pub attempt: u32,
    /// When it happened.
    pub at: Timestamp,
    /// To whom.
    pub to: String,
    /// In words.
    pub text: String,
}

impl Entry {
    /// The entry of a delivery seen for the first time: no attempt, no promise.
    #[must_use]
    pub fn new(key: Key, uid: String, stamp: Stamp, now: Timestamp) -> Self {
        let mut entry = Self {
            key,
            uid,
            stamp,
            removed: false,
            hold: None,
            redeliver_handled: None,
            again: false,
            attempt: 0,
            attempts: Vec::new(),
            rotated_first: None,
            notices: Vec::new(),
            outbox: Vec::new(),
            next_seq: 0,
            created_at: now,
        };
        entry.emit(EventKind::Accepted, 0, now, "first seen", &[]);
        entry
    }

    /// The current attempt.
    #[must_use]
    pub fn current(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// An attempt by its number.
    pub fn attempt_mut(&mut self, number: u32) -> Option<&mut Attempt> {
        self.attempts.iter_mut().find(|a| a.number == number)
    }

    /// An attempt by its number.
    #[must_use]
    pub fn attempt(&self, number: u32) -> Option<&Attempt> {
        self.attempts.iter().find(|a| a.number == number)
    }

    /// Which incarnation of the entry, for audit ids: it changes when an entry is made anew under the same key.
    #[must_use]
    pub fn incarnation(&self) -> String {
        self.stamp.incarnation()
    }

    /// Whether this value of `spec.redeliver` asks for another delivery: one that was not answered yet. To take it away asks
    /// for nothing.
    #[must_use]
    pub fn is_asked_again(&self, redeliver: Option<&String>) -> bool {
        redeliver.is_some() && redeliver != self.redeliver_handled.as_ref()
    }

    /// Puts an event of this writer into the outbox.
    pub fn emit(&mut self, kind: EventKind, attempt: u32, at: Timestamp, reason: &str, facts: &[(&str, String)]) {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.push_event(kind, attempt, Writer::Operator, seq, at, reason, facts);
    }

    /// Puts an event of a record's journal into the outbox, under the journal's own sequence.
    pub fn emit_journal(&mut self, kind: EventKind, attempt: u32, seq: u32, at: Timestamp, reason: &str) {
        self.push_event(kind, attempt, Writer::Record, u64::from(seq), at, reason, &[]);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one event; a builder would say it twice")]
    fn push_event(
        &mut self,
        kind: EventKind,
        attempt: u32,
        writer: Writer,
        seq: u64,
        at: Timestamp,
        reason: &str,
        facts: &[(&str, String)],
    ) {
        let facts = facts.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect::<BTreeMap<_, _>>();
        let (delivery, incarnation) = (self.key.clone(), self.incarnation());
        let reason = reason.to_owned();
        self.outbox.push(Event { delivery, incarnation, attempt, writer, seq, at, kind, reason, facts });
    }
}

impl Attempt {
    /// Whether somebody may have the link: its mail was accepted, may have been, or it was claimed.
    #[must_use]
    pub fn delivered(&self) -> bool {
        matches!(self.mail, MailState::Accepted { .. } | MailState::Unknown { .. }) || self.link.claimed_at.is_some()
    }

    /// Until when the recipient was promised that the credential works: from the first claim.
    #[must_use]
    pub fn promised_until(&self) -> Option<Timestamp> {
        self.link.claimed_at.map(|at| at + self.terms.after_retrieval)
    }

    /// What a verdict needs to know.
    #[must_use]
    pub fn as_delivered(&self) -> Delivered<'_> {
        Delivered {
            identity: &self.identity,
            tags: &self.tags,
            keys: &self.terms.keys,
            strategy: self.terms.strategy,
            password_policy: self.terms.password_policy.as_deref(),
        }
    }

    /// Whether the link could still be opened, as far as was read.
    #[must_use]
    pub fn link_is_live(&self) -> bool {
        self.link.state.is_live() && !matches!(self.mail, MailState::Superseded)
    }
}
