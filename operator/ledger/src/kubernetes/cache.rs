//! Entries that were read or written lately, with the version that they had.

use std::collections::{BTreeMap, HashMap};

use ps_core::entry::Entry;
use ps_core::ports::Versioned;

/// A bounded number of bytes of entries; the one not asked for for the longest time goes first.
#[derive(Debug)]
pub(super) struct Cache {
    entries: HashMap<String, Cached>,
    /// When each was last asked for: a number that rises, and its name.
    order: BTreeMap<u64, String>,
    clock: u64,
    bytes: usize,
    limit: usize,
}

#[derive(Debug)]
struct Cached {
    entry: Versioned<Entry>,
    size: usize,
    at: u64,
}

impl Cache {
    /// A cache of at most `limit` bytes of entries, counted as the JSON that they are stored as.
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), clock: 0, bytes: 0, limit }
    }

    /// The entry, if it is here in that version.
    pub(super) fn get(&mut self, name: &str, version: u64) -> Option<Versioned<Entry>> {
        let cached = self.entries.get_mut(name).filter(|cached| cached.entry.version == version)?;
        self.clock += 1;
        self.order.remove(&cached.at);
        cached.at = self.clock;
        self.order.insert(cached.at, name.to_owned());
        Some(cached.entry.clone())
    }

    /// Keeps an entry of `size` bytes, unless a newer one is here.
    pub(super) fn put(&mut self, name: &str, entry: Versioned<Entry>, size: usize) {
        if size > self.limit || self.entries.get(name).is_some_and(|cached| cached.entry.version > entry.version) {
            return;
        }
        self.remove(name);
        self.clock += 1;
        self.bytes += size;
        self.order.insert(self.clock, name.to_owned());
        self.entries.insert(name.to_owned(), Cached { entry, size, at: self.clock });
        while self.bytes > self.limit {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            if let Some(gone) = self.entries.remove(&oldest) {
                self.bytes -= gone.size;
            }
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Some(gone) = self.entries.remove(name) {
            self.order.remove(&gone.at);
            self.bytes -= gone.size;
        }
    }

    /// Forgets everything: versions mean nothing any more.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.limit);
    }
}

#[cfg(test)]
mod tests {
    use ps_core::ids::Key;

    use super::*;
    use crate::conformance::sample;

    fn entry(version: u64) -> Versioned<Entry> {
        Versioned { value: sample(Key::new("team", "a"), &[]), version }
    }

    #[test]
    fn only_the_asked_version_is_given_and_the_newest_is_kept() {
        let mut cache = Cache::new(100);
        cache.put("a", entry(2), 10);
        cache.put("a", entry(1), 10);
        assert_eq!((cache.get("a", 1), cache.get("a", 2)), (None, Some(entry(2))));
        cache.put("a", entry(3), 20);
        assert_eq!((cache.get("a", 2), cache.get("a", 3), cache.bytes), (None, Some(entry(3)), 20));
        cache.remove("a");
        assert_eq!((cache.get("a", 3), cache.bytes, cache.order.len()), (None, 0, 0));
    }

    #[test]
    fn what_was_not_asked_for_goes_first_and_the_bound_holds() {
        let mut cache = Cache::new(100);
        for name in ["a", "b", "c"] {
            cache.put(name, entry(1), 30);
        }
        assert!(cache.get("a", 1).is_some());
        cache.put("d", entry(1), 30);
        assert!(cache.get("b", 1).is_none() && cache.get("a", 1).is_some() && cache.get("d", 1).is_some());
        assert_eq!((cache.bytes, cache.order.len(), cache.entries.len()), (90, 3, 3));
        cache.put("e", entry(1), 101);
        assert!(cache.get("e", 1).is_none() && cache.get("d", 1).is_some(), "larger than the cache");
        cache.put("f", entry(1), 100);
        assert_eq!((cache.bytes, cache.entries.len()), (100, 1));
        cache.clear();
        assert_eq!((cache.bytes, cache.entries.len()), (0, 0));
    }
}
