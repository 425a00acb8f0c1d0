//! The plugin in a real OpenBao (or, with `PS_VENDOR=vault`, in a real Vault): in memory, on raft, and on three nodes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

mod cancelled;
mod claims;
mod crash;
mod document;
mod help;
mod hostile;
mod leases;
mod memory;
mod methods;
mod nodes;
mod page;
mod paths;
mod process;
mod programs;
mod races;
mod rotation;
mod sender;
mod stand;
mod storage;
mod ui;
mod verbs;
