//! What an entry says of the next attempt: why there is none, and what is done before it.

use serde::{Deserialize, Serialize};

use crate::delivery::Identity;
use crate::ids::Digest;
use crate::rotation::Begun;

/// A source that is rotated before it is delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RotatedFirst {
    /// The number of the attempt that it is for.
    pub attempt: u32,
    /// The source, as the ledger indexes it.
    pub source_key: Digest,
    /// The incarnation that it replaces.
    pub identity: Identity,
    /// Since when, and by whom.
    pub begun: Begun,
}

/// Why nothing is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hold {
    /// The manifest was deleted and made anew; it was delivered before.
    AlreadyDelivered,
    /// The source was rotated under the open link, and the manifest says to wait.
    SourceRotated,
    /// The mail was refused for good.
    MailRefused,
    /// The time in `deliverBefore` has passed.
    TooLate,
    /// A restore was noticed before it was sent, as far as this ledger knows: it may have been sent since.
    Restored,
    /// The same, noticed while the manifest could not be read: what it asks for once it can is what was asked then.
    RestoredUnread,
}
