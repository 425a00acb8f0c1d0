//! How many requests were made: for metrics, and to hold the number per delivery down.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use ps_core::delivery::ConnectionRef;

/// One counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestCount {
    /// The connection it was made over.
    pub connection: ConnectionRef,
    /// What for: `login`, `lookup`, `renew`, `capabilities`, `read`, `metadata`, `mount`, `generate`, `write`, `destroy`, `rotate`.
    pub operation: &'static str,
    /// `ok`, or a class of error as [`ps_core::error::Class::as_str`] words it. An answer 404 is `misconfigured`, even
    /// where it only says that a source is gone.
    pub outcome: &'static str,
    /// Requests since the start.
    pub total: u64,
}

/// All counters of one client.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<BTreeMap<(ConnectionRef, &'static str, &'static str), u64>>);

impl Counts {
    pub(crate) fn add(&self, connection: &ConnectionRef, operation: &'static str, outcome: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((connection.clone(), operation, outcome)).or_default() += 1;
    }

    pub(crate) fn all(&self) -> Vec<RequestCount> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::with_capacity(counts.len());
        for ((connection, operation, outcome), total) in counts.iter() {
            all.push(RequestCount { connection: connection.clone(), operation, outcome, total: *total });
        }
        all
    }
}
