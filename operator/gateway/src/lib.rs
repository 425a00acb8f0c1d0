//! The public HTTP service and its page.
//!
//! The one process that faces the internet. It touches link records and nothing else: no mail, no Vault, no ledger,
//! and it never holds a key (invariant 9). What it serves is [`ps_core::service::LinkService`]; the rules are not here.
//!
//! Where to start: [`router`] is the HTTP contract, [`server`] the connections under it, [`confine`] what the process
//! gives up before it serves. [`verbs`] is the suite that every `LinkService` passes.
//!
//! TLS is not offered: a reverse proxy terminates it and sets `X-Forwarded-For` (`--trusted-proxy`). Nothing that
//! a log could keep names a path or a query: a mangled link may carry the key there.
#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "a panic in a test is its failure report"))]

pub mod admin;
pub mod client;
pub mod confine;
pub mod counters;
mod exposure;
mod headers;
pub mod inherited;
pub mod limiter;
pub mod mount;
pub mod page;
pub mod page_config;
pub mod reach;
pub mod router;
mod seats;
pub mod server;
pub mod verbs;

pub use router::{Settings, router};
