//! The Kubernetes store against a real API server and etcd.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

mod backwards;
mod conform;
mod erase;
mod fence;
mod hostile;
mod support;
mod watch;
