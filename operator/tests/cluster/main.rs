//! The operator on a real Kubernetes API: real operators and gateways with exactly the rights of `examples/install/`, real
//! OpenBao, PostgreSQL and mail server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub,
    reason = "a panic in a test is its failure report, and its functions are named for what they show"
)]

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, unreachable_pub, reason = "each test program uses a part of it")]
mod support;

#[path = "../crash/earlier.rs"]
#[allow(dead_code, reason = "the crash programs use the rest")]
mod earlier;

mod again;
mod bad_input;
mod bad_input_cases;
mod bad_input_gateway;
mod balancer;
mod beyond;
mod canary;
mod cost;
mod deletion;
mod delivery;
#[path = "../../gateway/tests/cluster/dice.rs"]
mod dice;
mod golden;
mod golden_files;
mod golden_wait;
mod grants;
mod halfway;
mod install;
mod manifests;
mod orphans;
mod outages;
#[allow(dead_code, reason = "the program cluster_crash uses it too")]
mod program;
mod races;
mod rbac;
mod references;
mod sending;
mod stand;
mod terms;
mod tools;
mod verification;
