//! The Kubernetes source against a real API server: what it sees, what it writes and how often, what it survives.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

mod events;
mod stand;
mod tenants;
mod watches;
mod writes;
