//! The real binary: against the real gateway's router over loopback, on files, and at a terminal.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

mod check;
mod decline;
mod help;
mod open;
mod operator;
mod page;
mod support;
mod terminal;
mod tls;
mod trail;
