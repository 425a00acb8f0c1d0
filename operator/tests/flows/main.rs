//! From manifest to proven rotation, with real processes and servers: the operator's own program with its gateway, OpenBao,
//! PostgreSQL, a mail server and Chromium. One program, so that it is linked once and shares its servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a panic in a test is its failure report, and its functions are named for what they show"
)]

#[path = "../support/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "each test program uses a part of it")]
mod support;

mod browser;
mod canary;
mod claims;
mod damaged_store;
mod endings;
mod held_ledger;
mod kv;
mod languages;
mod logs;
mod mail_outages;
mod manifests;
mod own_links;
mod page;
mod restore;
mod rules;
mod static_role;
mod taken_over_gateway;
mod takeover;
mod unreadable;
mod vault_outages;
mod verification;
mod verification_attacks;
