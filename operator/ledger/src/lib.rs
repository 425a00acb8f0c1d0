//! The operator's own memory: the embedded ledger, and the conformance suite every ledger passes.
//!
//! - [`EmbeddedLedger`]: SQLite in a folder that the gateway cannot open. Besides the entries it keeps what the folder source
//!   remembers of its files ([`ObjectNote`]) and the lease that elects one operator on a folder.
//! - [`KubernetesLedger`]: Secrets in the operator's namespace.
//! - [`MemoryLedger`]: for simulations.
//! - [`conformance`]: what every ledger must do, for tests of this crate and of others.
#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "a panic in a test is its failure report"))]

pub mod conformance;
mod embedded;
mod index;
mod kubernetes;
mod memory;
mod notes;

pub use embedded::{EmbeddedLedger, FILE};
pub use kubernetes::{KIND as SECRET_TYPE, KubernetesLedger};
pub use memory::{MemoryLedger, Snapshot};
pub use notes::ObjectNote;

/// The largest entry, or object note, in bytes. An entry with a dozen attempts has a fiftieth of that.
pub const MAX_BYTES: usize = 1024 * 1024;
