//! The gateway over real sockets, and as a real process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

mod bodies;
mod clients;
mod contract;
mod crowds;
mod hostile;
mod killed;
mod leaks;
mod page;
mod process;
mod several;
mod support;
mod uniform;
mod verbs;
mod verification;
