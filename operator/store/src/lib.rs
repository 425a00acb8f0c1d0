//! Link records: the embedded and the Kubernetes store, and the conformance suite every store passes.
//!
//! A store only keeps records under compare-and-swap; what may become of a link is `ps_core::link`, the same on top of each.
//!
//! - [`EmbeddedStore`]: SQLite in a folder that gateway and operator share, and that the gateway may have been made to spoil.
//! - [`kubernetes`]: Secrets in a namespace, for any number of gateways.
//! - [`MemoryStore`]: for simulations.
//! - [`conformance`]: what every store must do, for tests of this crate and of others.
//! - [`service`]: the gateway's verbs on top of a store.
#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "a panic in a test is its failure report"))]

pub mod conformance;
mod embedded;
mod hostile;
pub mod kubernetes;
mod memory;
mod row;
pub mod service;

pub use embedded::{EmbeddedStore, FILE};
pub use memory::{MemoryStore, Snapshot};

/// The largest ciphertext that a store takes unless told otherwise, and the largest that a Kubernetes Secret can hold beside the
/// rest of a record (the API server allows 1 MiB in sum). An operator refuses a larger `store.maxBytes` before it reads Vault.
pub const MAX_BYTES: usize = 512 * 1024;
