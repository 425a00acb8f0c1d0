//! What is stored under a link's id: its record, and what only a mount knows of it.

use ps_core::ids::LinkId;
use ps_core::link::{JournalEvent, Link, Record, State};
use ps_core::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use crate::rotation::{Evidence, Terms};

/// One stored link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Number of the write that made it; never the same twice.
    pub version: u64,
    /// The role that it was issued under; empty for a voided id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// When it was issued.
    #[serde(default)]
    pub issued_at: Timestamp,
    /// Set while the link waits for its lease: the expiry that it gets then. Until then it expires within a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaits_lease: Option<Timestamp>,
    /// What is to be rotated after the hand-off, as the role said when the link was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// The link.
    pub record: Record,
}

impl Row {
    /// A row that was never written.
    #[must_use]
    pub fn new(record: Record) -> Self {
        Self {
            version: 0,
            role: String::new(),
            issued_at: Timestamp::EPOCH,
            awaits_lease: None,
            terms: None,
            evidence: None,
            record,
        }
    }

    /// The link, unless its id is voided.
    #[must_use]
    pub fn link(&self) -> Option<&Link> {
        self.record.link()
    }

    /// The record's name.
    #[must_use]
    pub fn id(&self) -> LinkId {
        self.record.id()
    }

    /// When something must be done about it, by time alone: settle it, or remove its tombstone. `None`: a rotation is owed,
    /// and the tombstone stays until there is evidence.
    #[must_use]
    pub fn next_change(&self, keep: Span) -> Option<Timestamp> {
        let Some(link) = self.link() else { return Some(self.issued_at + keep) };
        if link.state.is_live() {
            return link.next_change();
        }
        let owed = self.terms.as_ref().is_some_and(|terms| terms.due(link).is_some());
        if owed && !self.evidence.as_ref().is_some_and(Evidence::is_proof) {
            return None;
        }
        let ended = link.journal.last().map_or(link.expires_at, |entry| entry.at);
        Some(link.sealed.not_after.max(ended + keep))
    }

    /// What happened since `before`.
    #[must_use]
    pub fn happened_since(&self, before: Option<&Self>) -> Vec<JournalEvent> {
        let seen = before.and_then(Self::link).map_or(0, |link| link.journal.len());
        let journal = self.link().map_or(&[][..], |link| &link.journal);
        journal.iter().skip(seen).map(|entry| entry.event).collect()
    }
}

/// One line of the mount's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// Which link.
    pub id: LinkId,
    /// When it was written.
    pub at: Timestamp,
    /// Where the link stood then.
    pub state: State,
    /// What had happened.
    pub events: Vec<JournalEvent>,
}
