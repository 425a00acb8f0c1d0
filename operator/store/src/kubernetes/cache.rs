//! What was read last, bounded in bytes, so that resting records are not read again and again.
//!
//! A cached record is used only while the watch says that it is still the newest that it knows of. That may be a moment
//! behind: a decision made on it is written by compare-and-swap, which fails, and then the entry is dropped.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ps_core::ids::LinkId;
use ps_core::link::Record;
use ps_core::ports::Versioned;

/// What one entry costs besides the sealed bytes: the record's own fields and the two indexes.
const OVERHEAD: usize = 1024;

/// Records by id; the least recently used one goes first.
#[derive(Debug)]
pub(crate) struct Cache {
    max_bytes: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: usize,
    /// Counts uses.
    clock: u64,
    by_id: BTreeMap<LinkId, (u64, Versioned<Record>)>,
    by_use: BTreeMap<u64, LinkId>,
}

impl Cache {
    /// An empty cache that holds at most `max_bytes`; 0 for none.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, inner: Mutex::default() }
    }

    /// The record, if it is held at exactly this version or a newer one (that we wrote, and the watch has yet to tell of).
    pub(crate) fn get(&self, id: LinkId, at_least: u64) -> Option<Versioned<Record>> {
        let mut inner = self.lock();
        let Inner { clock, by_id, by_use, .. } = &mut *inner;
        let (used, found) = by_id.get_mut(&id).filter(|(_, found)| found.version >= at_least)?;
        by_use.remove(used);
        *clock += 1;
        *used = *clock;
        by_use.insert(*clock, id);
        Some(found.clone())
    }

    /// Keeps a record unless a newer version of it is held.
    pub(crate) fn put(&self, found: Versioned<Record>) {
        let size = size(&found.value);
        if size > self.max_bytes {
            self.remove(found.value.id());
            return;
        }
        let id = found.value.id();
        let mut inner = self.lock();
        if inner.by_id.get(&id).is_some_and(|(_, held)| held.version > found.version) {
            return;
        }
        inner.remove(id);
        inner.clock += 1;
        let used = inner.clock;
        inner.bytes += size;
        inner.by_use.insert(used, id);
        inner.by_id.insert(id, (used, found));
        while inner.bytes > self.max_bytes {
            let Some((_, oldest)) = inner.by_use.first_key_value() else { return };
            let oldest = *oldest;
            inner.remove(oldest);
        }
    }

    /// Forgets a record.
    pub(crate) fn remove(&self, id: LinkId) {
        self.lock().remove(id);
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        *self.lock() = Inner::default();
    }

    /// How many bytes it counts now.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remove(&mut self, id: LinkId) {
        if let Entry::Occupied(held) = self.by_id.entry(id) {
            let (used, found) = held.remove();
            self.by_use.remove(&used);
            self.bytes = self.bytes.saturating_sub(size(&found.value));
        }
    }
}

fn size(record: &Record) -> usize {
    let sealed = record.link().map_or(0, |link| {
        [&link.ciphertext, &link.preview].into_iter().flatten().map(Vec::len).sum::<usize>() + 64 * link.journal.len()
    });
    OVERHEAD + sealed
}

#[cfg(test)]
mod tests {
    use ps_core::time::Timestamp;

    use super::*;
    use crate::conformance::sample;

    fn record(id: u8, size: usize, version: u64) -> Versioned<Record> {
        let link = sample(LinkId([id; 16]), Timestamp::EPOCH, &vec![id; size]);
        Versioned { value: Record::Link(Box::new(link)), version }
    }

    #[test]
    fn it_holds_no_more_than_it_may_and_forgets_what_was_used_longest_ago() {
        let cache = Cache::new(10 * (OVERHEAD + 100 + 7));
        for id in 0..10 {
            cache.put(record(id, 100, 1));
        }
        assert!(cache.get(LinkId([0; 16]), 1).is_some(), "all ten fit, and the first was used last");
        cache.put(record(10, 100, 1));
        assert!(cache.get(LinkId([1; 16]), 1).is_none() && cache.get(LinkId([0; 16]), 1).is_some());
        assert!(cache.bytes() <= cache.max_bytes);
        cache.put(record(0, 1_000_000, 2));
        assert!(cache.get(LinkId([0; 16]), 1).is_none(), "too large for it, and the old one is out of date");
        for id in 0..20 {
            cache.remove(LinkId([id; 16]));
        }
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn an_older_version_is_not_given_and_does_not_replace_a_newer_one() {
        let cache = Cache::new(1 << 20);
        cache.put(record(1, 10, 5));
        cache.put(record(1, 20, 4));
        assert_eq!(cache.get(LinkId([1; 16]), 5), Some(record(1, 10, 5)));
        assert_eq!(cache.get(LinkId([1; 16]), 6), None);
        cache.put(record(1, 20, 6));
        assert_eq!(cache.get(LinkId([1; 16]), 5), Some(record(1, 20, 6)), "newer than the watch knows");
        cache.clear();
        assert!(cache.get(LinkId([1; 16]), 0).is_none() && cache.bytes() == 0);
        let none = Cache::new(0);
        none.put(record(1, 10, 1));
        assert_eq!(none.get(LinkId([1; 16]), 0), None);
    }
}
