//! The operator binary: arguments, configuration, wiring, supervision, admin endpoints.
#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "a panic in a test is its failure report"))]

mod adapters;
mod admin;
mod child;
pub mod clock;
pub mod config;
mod failpoints;
pub mod hardening;
pub mod logging;
mod metrics;
pub mod restore;
pub mod standalone;
mod story;
