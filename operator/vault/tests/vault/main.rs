//! ps-vault against a real OpenBao and a real PostgreSQL, and against a fake for what real servers do not do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is the failure report"
)]

mod database;
mod kv1;
mod kv2;
mod login;
mod outage;
mod secrecy;
mod support;
mod tls;
