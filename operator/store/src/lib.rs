//! Link records: the embedded store, and the conformance suite every store passes.
//!
//! A store only keeps records under compare-and-swap; what may become of a link is `ps_core::link`, the same on top of each.
//!
//! - [`EmbeddedStore`]: SQLite in a folder that gateway and operator share, and that the gateway may have been made to spoil.
//! - [`MemoryStore`]: for simulations.
//! - [`conformance`]: what every store must do, for tests of this crate and of others.
//! - [`service`]: the gateway's verbs on top of a store.
#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "a panic in a test is its failure report"))]

pub mod conformance;
mod embedded;
mod hostile;
mod memory;
mod row;
pub mod service;

pub use embedded::{EmbeddedStore, FILE};
pub use memory::{MemoryStore, Snapshot};

/// The largest ciphertext that a store takes unless told otherwise: what a Kubernetes Secret could hold as well.
pub const MAX_BYTES: usize = 512 * 1024;
