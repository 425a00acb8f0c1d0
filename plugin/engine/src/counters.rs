//! What a process has counted since it began.

use std::sync::atomic::{AtomicU64, Ordering};

use ps_core::link::JournalEvent;
use serde_json::{Map, Value};

/// What is counted.
const NAMES: [&str; 15] = [
    "issued",
    "sealed",
    "claimed",
    "acknowledged",
    "window_over",
    "expired",
    "revoked",
    "declined",
    "disputed",
    "locked",
    "exposed",
    "refused",
    "sweeps",
    "forgotten",
    "storage_faults",
];

/// Counters by name.
#[derive(Default)]
pub(crate) struct Counters([AtomicU64; NAMES.len()]);

impl Counters {
    pub(crate) fn add(&self, name: &str, count: u64) {
        let counter = NAMES.iter().position(|known| *known == name).and_then(|at| self.0.get(at));
        if let Some(counter) = counter {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(crate) fn happened(&self, events: &[JournalEvent]) {
        for event in events {
            let name = match event {
                JournalEvent::Claimed => "claimed",
                JournalEvent::Acknowledged => "acknowledged",
                JournalEvent::WindowOver => "window_over",
                JournalEvent::Expired => "expired",
                JournalEvent::Revoked => "revoked",
                JournalEvent::Declined => "declined",
                JournalEvent::Disputed => "disputed",
                JournalEvent::Locked => "locked",
                JournalEvent::Exposed => "exposed",
            };
            self.add(name, 1);
        }
    }

    pub(crate) fn all(&self) -> Map<String, Value> {
        let value = |counter: &AtomicU64| Value::from(counter.load(Ordering::Relaxed));
        NAMES.iter().zip(&self.0).map(|(name, counter)| ((*name).to_owned(), value(counter))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_a_counter() {
        use JournalEvent::{Acknowledged, Claimed, Declined, Disputed, Expired, Exposed, Locked, Revoked, WindowOver};
        let counters = Counters::default();
        counters.happened(&[Claimed, Acknowledged, WindowOver, Expired, Revoked, Declined, Disputed, Locked, Exposed]);
        let counted = counters.all().values().filter(|value| value.as_u64() == Some(1)).count();
        assert_eq!(counted, 9);
    }
}
