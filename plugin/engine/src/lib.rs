//! The secrets engine for one-time links: what a mount answers, on which path, from which state.
//!
//! The rules of a link are `ps_core::link`, the envelope is `ps_envelope`; here is what a mount adds: roles and limits, leases,
//! history, and what is to be rotated afterwards. No I/O, no clock, no randomness: storage comes through a port
//! ([`Storage`]), time and random bytes as arguments.
//!
//! Where to start: [`Engine::handle`] is the closed list of what is answered; [`paths`] is the same list for people and for
//! OpenAPI; [`table`] is how a link is kept. Nothing is answered before it is durable, and on a standby nothing but help is
//! answered: the server's own words send the request to the active node.
#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "a panic in a test is its failure report"))]

mod counters;
mod engine;
mod events;
mod fields;
mod gateway;
mod help;
mod issue;
mod known;
mod leases;
mod links;
mod message;
pub mod paths;
mod payload;
mod roles;
pub mod rotation;
mod row;
mod schedule;
mod sealed;
mod sequence;
mod settings;
mod storage;
pub mod table;
mod tidy;

pub use engine::{Engine, Random};
pub use message::{Answer, Failure, Kind, Lease, LeaseRequest, Operation, Request, Response};
pub use row::{Happening, Row};
pub use settings::{Config, Role};
pub use storage::{CommitError, Guard, Storage, StorageFault, Write};
