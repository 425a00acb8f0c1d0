//! The ledger-wide entry: what the operator remembers beside its deliveries.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::encode;
use crate::ids::Digest;
use crate::time::Timestamp;

/// The ledger-wide entry.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Common {
    /// Key of the tags; it never leaves the ledger.
    pub tag_key: TagKey,
    /// Identity of this ledger, in every audit event's chain header: another ledger can't pass for it.
    pub ledger_id: String,
    /// The audit trails that this ledger was last compared with, the latest last.
    #[serde(default)]
    pub trails: Vec<TrailHead>,
    /// The newest resourceVersion of deliveries that was seen, in a cluster: an older API server proves a restore.
    #[serde(default)]
    pub newest: u64,
    /// Set when a restore was noticed and nobody has accepted it yet: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<String>,
    /// When that was noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noticed_at: Option<Timestamp>,
    /// When the restore was noticed that somebody has accepted last: what a trail tells of before then proves no other one. What
    /// was lost with it is older, and what came after is in this ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Timestamp>,
}

/// The key of the tags. It wipes itself and does not print.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct TagKey(#[serde(with = "encode::serde_b64_secret")] pub [u8; 32]);

impl std::fmt::Debug for TagKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TagKey(…)")
    }
}

/// How far one audit trail is known: each operator of a cluster may write one of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrailHead {
    /// Digest of the trail's first line, which no other trail has.
    pub trail: Digest,
    /// Position up to which every event is older than this ledger's state.
    pub head: u64,
}

/// Trails that are remembered; the one that was not heard of for longest is forgotten first.
const MOST_TRAILS: usize = 64;

impl Common {
    /// The entry of a new ledger.
    #[must_use]
    pub const fn new(tag_key: TagKey, ledger_id: String) -> Self {
        Self { tag_key, ledger_id, trails: Vec::new(), newest: 0, restored: None, noticed_at: None, accepted: None }
    }

    /// Names no ledger, so it is never stored: for who asks for one that was made by now.
    #[must_use]
    pub const fn blank() -> Self {
        Self::new(TagKey([0; 32]), String::new())
    }

    /// A restore is noticed. The first reason stays.
    pub fn notice(&mut self, why: &str, now: Timestamp) {
        if self.restored.is_none() {
            self.restored = Some(why.to_owned());
            self.noticed_at = Some(now);
        }
    }

    /// A person accepts the restore that was noticed.
    pub fn accept(&mut self) {
        self.restored = None;
        self.accepted = self.accepted.max(self.noticed_at.take());
    }

    /// Position up to which a trail is known; 0 for one that was never compared.
    #[must_use]
    pub fn known_head(&self, trail: &Digest) -> u64 {
        self.trails.iter().find(|known| known.trail == *trail).map_or(0, |known| known.head)
    }

    /// Everything on this trail up to `head` is known from now on.
    pub fn know(&mut self, trail: Digest, head: u64) {
        if self.trails.last().is_some_and(|last| last.trail == trail && last.head == head) {
            return;
        }
        self.trails.retain(|known| known.trail != trail);
        self.trails.push(TrailHead { trail, head });
        let surplus = self.trails.len().saturating_sub(MOST_TRAILS);
        self.trails.drain(..surplus);
    }
}

impl std::fmt::Debug for Common {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { tag_key: _, ledger_id, trails, newest, restored, noticed_at, accepted } = self;
        f.debug_struct("Common")
            .field("ledger_id", ledger_id)
            .field("trails", trails)
            .field("newest", newest)
            .field("restored", restored)
            .field("noticed_at", noticed_at)
            .field("accepted", accepted)
            .finish_non_exhaustive()
    }
}
