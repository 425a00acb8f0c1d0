//! The engine over a storage in memory: compare-and-swap, what fails, what time does, what is never told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

mod faults;
mod life;
mod memory;
mod swap;
