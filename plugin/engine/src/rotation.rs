//! What is rotated after a hand-off, when it is due, and what was seen of it. Whoever rotates is the operator's daemon:
//! a plugin can't ask its own server for anything.

use ps_core::link::{Link, State};
use ps_core::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What makes a rotation due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Somebody opened the link.
    Claimed,
    /// Nobody did, in time.
    Expired,
    /// "Not meant for me", or "somebody else had it".
    Declined,
    /// Too many wrong passphrases.
    Locked,
    /// Withdrawn before anybody opened it.
    Revoked,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Claimed, Self::Expired, Self::Declined, Self::Locked, Self::Revoked];

    /// The name in roles and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Expired => "expired",
            Self::Declined => "declined",
            Self::Locked => "locked",
            Self::Revoked => "revoked",
        }
    }
}

/// How it is rotated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "engine")]
pub enum How {
    /// A static role of a database engine: rotated through Vault, proven by what the role then gives.
    Database {
        /// Mount of the engine.
        mount: String,
        /// The static role.
        role: String,
    },
    /// A KV version 2 secret: new values for some keys, proven by its versions.
    Kv {
        /// Mount of the engine.
        mount: String,
        /// Path of the secret.
        path: String,
        /// The keys that get new values.
        keys: Vec<String>,
    },
    /// Any request; that it was answered is all that is known then.
    Request {
        /// Path below `/v1/`.
        path: String,
        /// POST, PUT or DELETE.
        method: String,
        /// The body.
        data: Map<String, Value>,
    },
}

/// A role's word on rotation, kept with each of its links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// How.
    pub how: How,
    /// What makes it due.
    pub on: Vec<Cause>,
    /// How long the credential may be used after the link was opened.
    pub after: Span,
}

impl Terms {
    /// Whether a rotation is owed, for which cause, and when.
    #[must_use]
    pub fn due(&self, link: &Link) -> Option<(Cause, Timestamp)> {
        let at_once = |cause| {
            let at = link.journal.last().map_or(link.expires_at, |entry| entry.at);
            (cause, at)
        };
        // A decline comes before a claim: it does not wait for what the claim promised.
        let found = [
            link.decline.as_ref().map(|decline| (Cause::Declined, decline.at)),
            link.claim.as_ref().map(|claim| (Cause::Claimed, claim.at + self.after)),
            match link.state {
                State::Expired => Some(at_once(Cause::Expired)),
                State::Locked => Some(at_once(Cause::Locked)),
                State::Revoked if link.claim.is_none() => Some(at_once(Cause::Revoked)),
                _ => None,
            },
        ];
        found.into_iter().flatten().find(|(cause, _)| self.on.contains(cause))
    }
}

/// How far evidence reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The system itself refuses the old value.
    Target,
    /// Replaced in Vault; whether the target system knows is not ours to say.
    Vault,
    /// The request was accepted; what it did is not known.
    Request,
    /// It has not worked yet.
    Failed,
}

/// What the daemon wrote about a link's rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// How far it reaches.
    pub scope: Scope,
    /// When it was written, by the mount's clock.
    pub at: Timestamp,
    /// What was seen, for people: versions and times, never values.
    pub seen: String,
}

impl Evidence {
    /// Whether it ends the obligation.
    #[must_use]
    pub fn is_proof(&self) -> bool {
        self.scope != Scope::Failed
    }
}
