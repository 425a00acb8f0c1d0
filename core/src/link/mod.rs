//! A link: what its record holds, what may be done to it, and what its reader may believe.
//!
//! ```text
//! Open ─claim─► Claimed ─acknowledge / window over─► Retrieved (acknowledged: yes / no)
//! Open ─► Expired | Revoked | Declined | Locked
//! Claimed ─revoke─► Revoked, ─decline─► Declined: erased at once, the claim kept, so rotation is due
//! Retrieved ─decline─► Retrieved (disputed): rotate now
//! ```
//!
//! Where an e-mailed code or a sign-in is demanded, an open link also carries what the recipient asks of the operator and
//! what the operator has judged ([`verification`]).
//!
//! [`rules::apply`] is the only code that makes these transitions; the gateway and the operator both run it
//! on top of a store's compare-and-swap. [`check::check`] is how the operator reads a record that a
//! compromised gateway may have written.

pub mod check;
pub mod email_code;
pub mod opening_code;
mod record;
pub mod rules;
#[cfg(test)]
pub(crate) mod sample;
pub mod verification;

pub use opening_code::opening_code_hash;
pub use record::{
    Claim, Decline, JournalEntry, JournalEvent, Kdf, Link, Record, Release, Sealed, State, Tries, Verification,
    kinds_text, parse_kinds, too_large,
};
pub use rules::{Command, Outcome, Proof, Refusal, Step, apply};
