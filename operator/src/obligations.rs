//! `obligations`: which rotations are owed, since when, and what stands in their way. They outlive their objects, so
//! nothing in the cluster, or in the manifests folder, may show them any more.

use ps_core::entry::{Attempt, Entry, Obligation};
use ps_core::error::Fault;
use ps_core::ids::Key;
use ps_core::ports::{CasError, Ledger};
use ps_core::time::Timestamp;
use serde::Serialize;

use crate::restore::{self, UNREADABLE};

/// One rotation that is owed. It names no recipient and no value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Owed {
    /// Namespace and name of the delivery.
    pub delivery: String,
    /// Whether its object is gone.
    pub removed: bool,
    /// Which attempt.
    pub attempt: u32,
    /// What is to be rotated, in the engine's terms.
    pub source: String,
    /// Through which connection.
    pub connection: String,
    /// Why: `retrieved`, `expired`, `revoked` …
    pub cause: &'static str,
    /// When it is due at the latest, RFC 3339.
    pub due: String,
    /// Since when a person must look, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stalled_since: Option<String>,
    /// What stands in its way, and the remedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// The rotations that an entry owes.
pub fn owed(entry: &Entry) -> impl Iterator<Item = Owed> {
    let open = |a: &&Attempt| a.evidence.is_none();
    entry.attempts.iter().filter(open).filter_map(move |a| Some(row(entry, a, a.obligation.as_ref()?)))
}

fn row(entry: &Entry, attempt: &Attempt, obligation: &Obligation) -> Owed {
    let stalled = obligation.stalled.as_ref();
    Owed {
        delivery: entry.key.to_string(),
        removed: entry.removed,
        attempt: attempt.number,
        source: attempt.source.place(),
        connection: format!("{}/{}", attempt.connection.kind.as_str(), attempt.connection.name),
        cause: obligation.cause.as_str(),
        due: obligation.due.to_string(),
        stalled_since: stalled.map(|s| s.since.to_string()),
        fault: stalled.map(|s| s.fault.to_string()),
    }
}

/// What a look at the whole ledger found.
#[derive(Debug, Default)]
pub struct Found {
    /// Every rotation that is owed: those that need a person first, then by due time.
    pub rows: Vec<Owed>,
    /// Entries that can't be read: nobody knows what these owe.
    pub unread: Vec<(Key, Fault)>,
}

impl Found {
    /// An error if the list is not complete, with what is missing.
    ///
    /// # Errors
    /// Names the first entry that can't be read, and how many there are.
    pub fn complete(&self) -> anyhow::Result<()> {
        let Some((key, fault)) = self.unread.first() else { return Ok(()) };
        let count = self.unread.len();
        anyhow::bail!("what {count} entries owe is not listed, as they can't be read, such as that of {key}: {fault}")
    }
}

/// Looks through the ledger.
///
/// # Errors
/// If the ledger can't be read.
pub async fn all(ledger: &dyn Ledger) -> anyhow::Result<Found> {
    let mut found = Found::default();
    for key in restore::keys(ledger).await? {
        match ledger.get(&key).await {
            Ok(Some(entry)) => found.rows.extend(owed(&entry.value)),
            Ok(None) => {}
            Err(CasError::Failed(fault)) if fault.code == UNREADABLE => found.unread.push((key, fault)),
            Err(error) => return Err(error.into()),
        }
    }
    found.rows.sort_by(|a, b| (a.stalled_since.is_none(), &a.due).cmp(&(b.stalled_since.is_none(), &b.due)));
    Ok(found)
}

/// For people: one line each, and below it what a person has to do.
#[must_use]
pub fn table(rows: &[Owed], now: Timestamp) -> String {
    use std::fmt::Write as _;
    if rows.is_empty() {
        return "No rotation is owed.\n".to_owned();
    }
    let now = now.to_string();
    let mut out = String::new();
    for row in rows {
        let state = match (&row.stalled_since, row.due.as_str() <= now.as_str()) {
            (Some(since), _) => format!("STALLED since {since}"),
            (None, true) => format!("due since {}", row.due),
            (None, false) => format!("due at {}", row.due),
        };
        let gone = if row.removed { ", its object is gone" } else { "" };
        let fault = row.fault.as_deref().map(|fault| format!("    {fault}\n")).unwrap_or_default();
        // Writing to a string does not fail.
        if writeln!(
            out,
            "{} attempt {} ({}{gone}): {state}\n    {} through {}\n{}",
            row.delivery, row.attempt, row.cause, row.source, row.connection, fault
        )
        .is_err()
        {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(stalled: bool) -> Owed {
        Owed {
            delivery: "team/db".into(),
            removed: true,
            attempt: 1,
            source: "database:db/static-creds/app".into(),
            connection: "VaultConnection/prod".into(),
            cause: "revoked",
            due: "2026-01-01T00:00:00Z".into(),
            stalled_since: stalled.then(|| "2026-01-02T00:00:00Z".into()),
            fault: stalled.then(|| "no such account. Make one".into()),
        }
    }

    #[test]
    fn the_table_says_who_must_act() {
        let now = Timestamp::parse_rfc3339("2026-01-03T00:00:00Z").unwrap();
        assert_eq!(table(&[], now), "No rotation is owed.\n");
        let told = table(&[sample(true), sample(false)], now);
        assert!(told.contains("team/db attempt 1 (revoked, its object is gone): STALLED since 2026-01-02"), "{told}");
        assert!(told.contains("no such account. Make one"), "{told}");
        assert!(told.contains("due since 2026-01-01"), "{told}");
    }
}
