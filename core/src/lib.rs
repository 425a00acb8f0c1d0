//! The rules of Password Sender: link and delivery state machines, decisions, error classes, ports.
//!
//! Nothing here does I/O, reads a clock or draws a random number. Time comes in as an argument,
//! decisions go out as data with a reason, and whoever performs them has no choice left to make.
//!
//! Where to start: [`link`] is what a recipient can do to a link, [`entry`] is what the operator
//! remembers about a delivery, [`decide`] is what it does next, [`ports`] is all it may touch. What must
//! hold whatever happens is numbered in [`invariants`].
#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "a panic in a test is its failure report"))]

pub mod audit;
pub mod backoff;
pub mod cleanup;
pub mod decide;
pub mod delivery;
pub mod encode;
pub mod entry;
pub mod error;
pub mod ids;
pub mod invariants;
pub mod link;
pub mod mail;
pub mod nearest;
pub mod page;
pub mod ports;
pub mod rotation;
pub mod secret;
pub mod service;
pub mod status;
pub mod time;
