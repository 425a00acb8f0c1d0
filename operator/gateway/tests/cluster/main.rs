//! Real gateway processes on Secrets of a real Kubernetes API.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

mod dice;
mod many;
mod one;
mod stand;
#[allow(dead_code, reason = "shared with the other tests, which use more of it")]
#[path = "../gateway/support.rs"]
mod support;
