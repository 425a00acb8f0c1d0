//! The sealed link, version 1: token, key derivation, seal, open, encodings. No I/O, no clock, no randomness.
//!
//! `docs/link-protocol.md` is the contract and `vectors/` its arbiter; section numbers in these modules are its.
//!
//! Where to start: [`seal()`] makes a link from a payload, [`Opener`] is a client, from the fragment to the payload.
//!
//! Wiping: every secret lives in one heap allocation that wipes itself ([`ps_core::secret`]) and is derived in
//! place. Plaintext is encoded straight into the buffer that is then encrypted in place. What we cannot wipe is
//! what the primitives keep on the stack while they work: registers, and the copies that they return by value
//! (each is wiped where we hold it). Hash states wipe themselves by the `zeroize` features of `hmac` and `sha2`.
#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "a panic in a test is its failure report"))]

mod cipher;
mod derive;
mod error;
mod facts;
mod json;
mod opener;
mod opening_code;
pub mod pad;
mod passphrase;
mod payload;
mod seal;
mod text;
mod token;

pub use cipher::{MessageKey, Purpose};
pub use derive::{Derived, FactorSecret, derive, key, proof};
pub use error::Error;
pub use facts::Facts;
pub use opener::{ClaimToken, Opener, Unlocked};
pub use opening_code::OpeningCode;
pub use passphrase::{MAX_PASSPHRASE_BYTES, Passphrase, Stretched};
pub use payload::{
    Field, FieldKind, File, MAX_ITEMS, MAX_PAYLOAD_JSON, MAX_PREVIEW_JSON, MAX_PREVIEW_SENDER, MAX_PREVIEW_TITLE,
    Payload, Preview,
};
pub use seal::{CodedInput, SealInput, SealedLink, seal, seal_coded};
pub use token::{FRAGMENT_PREFIX, FreshSecret, LinkSecret};
