//! The operator binary: arguments, configuration, wiring, supervision, admin endpoints.
#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "a panic in a test is its failure report"))]

pub mod adapters;
pub mod admin;
pub mod child;
pub mod clock;
pub mod cluster;
pub mod config;
mod engine;
pub mod failpoints;
mod first_round;
pub mod identities;
mod in_use;
pub mod lease;
pub mod logging;
pub mod mailing;
pub mod metrics;
pub mod obligations;
mod openings;
pub mod preview;
pub mod records;
mod repeat;
pub mod restore;
pub mod self_check;
pub mod standalone;
pub mod story;
mod supervise;
pub mod suspects;
mod thrift;
pub mod vault_agent;
