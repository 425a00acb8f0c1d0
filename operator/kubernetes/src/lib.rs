//! What the store, the ledger, the controller and the programs share about talking to a Kubernetes API.
//!
//! - [`client`]: a connection from a service account or a kubeconfig file, with time limits on everything.
//! - [`fault`]: what the API server's refusals mean to whoever operates this.
//! - [`table`]: Secrets of one type in one namespace as rows with compare-and-swap; an answer that was lost is looked up.
//! - [`index`]: what the rows of a table say in their metadata, followed by a watch, with a process's own writes at once.
//! - [`election`]: who works and who stands by. Safety never depends on it.
//!
//! Nothing here logs, prints or quotes what a Secret holds: kube's own parsing of answers would log a Secret that it can't
//! read, so bodies of Secrets never pass through it.
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::panic,
        reason = "a panic in a test is its failure report"
    )
)]

pub mod client;
pub mod election;
pub mod fault;
pub mod index;
pub mod table;

mod exchange;
#[cfg(test)]
mod fake;
mod remake;
mod wire;

pub use client::{Access, connect, own_audiences};
pub use election::{Election, Standing};
pub use fault::Doing;
pub use index::{Changes, Index, Indexed, Term};
pub use kube::Client;
pub use table::{MAX_DATA, Page, Row, RowMeta, SecretTable};
