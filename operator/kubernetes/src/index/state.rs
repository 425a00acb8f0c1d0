//! The rows of an index: pure.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use ps_core::error::Fault;

use super::{Changes, Indexed, Term};

/// How many deletions are remembered.
const DELETIONS: usize = 4096;

pub(super) struct State<T> {
    rows: BTreeMap<Arc<str>, Slot<T>>,
    /// Versions in order. No two rows have one version: each is the number of a write.
    order: BTreeMap<u64, Arc<str>>,
    terms: HashMap<Term, Vec<Arc<str>>>,
    /// Rows that this process deleted and the watch has not reached: versions up to this one are not put back.
    gone: HashMap<Arc<str>, u64>,
    deletions: VecDeque<(u64, Arc<str>)>,
    /// Every change up to here is in.
    pub(super) seen: u64,
    /// Where the API server must stand at least, as known when the list began that is being made.
    floor: u64,
    /// Something was read that only numbers that went backwards explain: the next list ends the epoch, whatever it shows.
    contradicted: bool,
    pub(super) epoch: u64,
    pub(super) synced: bool,
    pub(super) fault: Option<Fault>,
    pub(super) heard: Option<Instant>,
    /// Since when no watch is open; `None` while one is.
    pub(super) behind: Option<Instant>,
}

struct Slot<T> {
    value: T,
    version: u64,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            order: BTreeMap::new(),
            terms: HashMap::new(),
            gone: HashMap::new(),
            deletions: VecDeque::new(),
            seen: 0,
            floor: 0,
            contradicted: false,
            epoch: 0,
            synced: false,
            fault: None,
            heard: None,
            behind: Some(Instant::now()),
        }
    }
}

impl<T: Indexed> State<T> {
    pub(super) fn get(&self, name: &str) -> Option<(T, u64)> {
        self.rows.get(name).map(|slot| (slot.value.clone(), slot.version))
    }

    pub(super) fn find(&self, term: &Term) -> Vec<(String, T, u64)> {
        let names = self.terms.get(term).into_iter().flatten();
        names.filter_map(|name| self.rows.get(name).map(|slot| triple(name, slot))).collect()
    }

    pub(super) fn range(&self, after: Option<&str>, limit: usize) -> Vec<(String, T, u64)> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.rows.range::<str, _>((after, Bound::Unbounded));
        rows.take(limit).map(|(name, slot)| triple(name, slot)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn collect<R>(&self, mut with: impl FnMut(&str, &T, u64) -> Option<R>) -> Vec<R> {
        self.rows.iter().filter_map(|(name, slot)| with(name, &slot.value, slot.version)).collect()
    }

    /// Puts a row, unless a version as new is known. Noted, watched or listed.
    pub(super) fn put(&mut self, name: &str, value: T, version: u64) {
        let known = self.rows.get(name).is_some_and(|slot| slot.version >= version);
        let gone = self.gone.get(name).is_some_and(|gone| *gone >= version);
        if known || gone {
            return;
        }
        self.take(name);
        let name: Arc<str> = Arc::from(name);
        for term in value.terms() {
            self.terms.entry(term).or_default().push(Arc::clone(&name));
        }
        self.order.insert(version, Arc::clone(&name));
        self.rows.insert(name, Slot { value, version });
    }

    /// A row was put by the watch: everything before it is in as well.
    pub(super) fn watched(&mut self, name: &str, value: T, version: u64) {
        self.put(name, value, version);
        self.reach(version);
    }

    /// The watch says that a row went at `version`.
    pub(super) fn watched_deletion(&mut self, name: &str, version: u64) {
        self.gone.remove(name);
        self.remove(name, version);
        self.reach(version);
    }

    /// This process deleted a row that had `version`.
    pub(super) fn forget(&mut self, name: &str, version: u64) {
        let known = self.rows.get(name).map(|slot| slot.version);
        if known.is_some_and(|known| known > version) {
            return;
        }
        self.take(name);
        // Where the watch has already told the deletion, nothing of the row comes again.
        if known.is_some() || version > self.seen {
            self.gone.insert(Arc::from(name), version);
        }
    }

    /// The watch has reached a position.
    pub(super) fn reach(&mut self, position: u64) {
        self.seen = self.seen.max(position);
    }

    /// The newest version that is known, watched or noted: the API server stands there at least.
    pub(super) fn newest(&self) -> u64 {
        self.order.last_key_value().map_or(self.seen, |(version, _)| self.seen.max(*version))
    }

    /// A list begins now: it can't be older than what is known already.
    pub(super) fn begin_list(&mut self) {
        self.floor = self.newest();
    }

    /// Something was read that contradicts what is known.
    pub(super) fn contradict(&mut self) {
        self.contradicted = true;
    }

    /// A complete list of the table as it was at `position`. Returns whether the numbers went backwards.
    pub(super) fn listed(&mut self, rows: Vec<(String, T, u64)>, position: u64) -> bool {
        let older = |(name, _, version): &(String, T, u64)| {
            self.rows.get(name.as_str()).is_some_and(|slot| *version < slot.version && slot.version <= position)
        };
        let before = position < self.seen.max(self.floor);
        let backwards = self.synced && (before || self.contradicted || rows.iter().any(older));
        if backwards {
            let epoch = self.epoch + 1;
            *self = Self { epoch, heard: self.heard, behind: self.behind, ..Self::default() };
        }
        let listed: HashMap<&str, u64> = rows.iter().map(|(name, _, version)| (name.as_str(), *version)).collect();
        let missing: Vec<Arc<str>> = self
            .rows
            .iter()
            .filter(|(name, slot)| slot.version <= position && !listed.contains_key(&***name))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        let ours = self.gone.iter().filter(|(name, version)| **version <= position && !listed.contains_key(&***name));
        let ours: Vec<Arc<str>> = ours.map(|(name, _)| Arc::clone(name)).collect();
        for name in missing.into_iter().chain(ours) {
            self.remove(&name, position);
        }
        for (name, value, version) in rows {
            self.put(&name, value, version);
        }
        self.gone.retain(|_, version| *version > position);
        self.reach(position);
        self.synced = true;
        (self.floor, self.contradicted) = (0, false);
        backwards
    }

    pub(super) fn has_news(&self, after: u64) -> bool {
        let range = (Bound::Excluded(after), Bound::Included(self.seen));
        after < self.seen
            && (self.order.range(range).next().is_some() || self.deletions.back().is_some_and(|(at, _)| *at > after))
    }

    pub(super) fn changed_since(&self, after: u64, limit: usize) -> Changes<T> {
        let mut changed = Vec::new();
        let mut position = self.seen.max(after);
        if after < self.seen {
            for (version, name) in self.order.range((Bound::Excluded(after), Bound::Included(self.seen))) {
                if changed.len() == limit {
                    position = changed.last().map_or(after, |(_, _, version)| *version);
                    break;
                }
                debug_assert!(*version <= self.seen, "a noted write is not reported before its turn");
                changed.extend(self.rows.get(name).map(|slot| triple(name, slot)));
            }
        }
        let told = self.deletions.iter().filter(|(at, _)| *at > after && *at <= position);
        let deleted = told.map(|(at, name)| (name.to_string(), *at)).collect();
        Changes { changed, deleted, position, epoch: self.epoch }
    }

    /// Removes a row, if what is known of it is not newer than the removal, and remembers that.
    fn remove(&mut self, name: &str, at: u64) {
        if self.rows.get(name).is_some_and(|slot| slot.version > at) {
            return;
        }
        self.take(name);
        if self.deletions.len() == DELETIONS {
            self.deletions.pop_front();
        }
        self.deletions.push_back((at, Arc::from(name)));
    }

    fn take(&mut self, name: &str) {
        let Some((name, slot)) = self.rows.remove_entry(name) else { return };
        self.order.remove(&slot.version);
        for term in slot.value.terms() {
            if let Some(names) = self.terms.get_mut(&term) {
                names.retain(|other| *other != name);
                if names.is_empty() {
                    self.terms.remove(&term);
                }
            }
        }
    }
}

fn triple<T: Clone>(name: &str, slot: &Slot<T>) -> (String, T, u64) {
    (name.to_owned(), slot.value.clone(), slot.version)
}
