//! Events and chains for tests, written by the trail itself.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a panic in a test is the failure report")]

use std::collections::BTreeMap;

use ps_audit::{FileTrail, Mirror};
use ps_core::audit::{Event, EventKind, Writer};
use ps_core::ids::Key;
use ps_core::ports::AuditSink;
use ps_core::time::Timestamp;

pub(crate) const LEDGER: &str = "ledger-1";

/// Event `seq` of a stream: even streams are an operator's, odd ones a record's.
pub(crate) fn event(stream: u32, seq: u64) -> Event {
    Event {
        delivery: Key::new("default", format!("delivery-{}", stream / 2)),
        incarnation: "0123456789abcdef".into(),
        attempt: 1 + stream % 2,
        writer: if stream.is_multiple_of(2) { Writer::Operator } else { Writer::Record },
        seq,
        at: Timestamp::from_millis(1_795_000_000_000 + i64::try_from(seq % 1000).unwrap()),
        kind: EventKind::Claimed,
        reason: "für Tests".into(),
        facts: BTreeMap::from([("scope".to_owned(), "Vault".to_owned())]),
    }
}

pub(crate) fn chain(events: &[Event]) -> Vec<u8> {
    chain_of(LEDGER, events)
}

/// The bytes of a trail with these events.
pub(crate) fn chain_of(ledger: &str, events: &[Event]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let trail = FileTrail::open(&path, ledger, Mirror::None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(trail.append(events)).unwrap();
    std::fs::read(&path).unwrap()
}

/// The lines of a trail, without newlines.
pub(crate) fn lines(trail: &[u8]) -> Vec<&[u8]> {
    trail.strip_suffix(b"\n").unwrap_or(trail).split(|&b| b == b'\n').collect()
}
