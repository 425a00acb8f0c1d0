//! A ledger in memory, for simulations: nothing is durable, and two handles are two clones.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ps_core::entry::{Common, Entry};
use ps_core::ids::{Digest, Key, LinkId};
use ps_core::ports::{CasError, Ledger, Versioned};
use ps_core::time::{Span, Timestamp};

use crate::index;
use crate::notes::ObjectNote;

/// Keeps entries in memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryLedger {
    inner: Arc<Mutex<State>>,
}

/// All that a [`MemoryLedger`] held at one moment: to roll back to, as a restored backup would.
#[derive(Clone, Debug)]
pub struct Snapshot(State);

#[derive(Clone, Debug, Default)]
struct State {
    seq: u64,
    entries: BTreeMap<Key, Versioned<Entry>>,
    /// What each entry has, or had, an attempt on.
    sources: BTreeMap<Key, BTreeSet<Digest>>,
    common: Option<Versioned<Common>>,
    objects: BTreeMap<Key, ObjectNote>,
    lease: Option<(String, Timestamp)>,
}

impl MemoryLedger {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What it holds now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.lock().clone())
    }

    /// Forgets everything since `snapshot`.
    pub fn restore(&self, snapshot: &Snapshot) {
        *self.lock() = snapshot.0.clone();
    }

    /// See [`crate::EmbeddedLedger::object`].
    ///
    /// # Errors
    /// None.
    pub async fn object(&self, key: &Key) -> Result<Option<ObjectNote>, CasError> {
        Ok(self.lock().objects.get(key).cloned())
    }

    /// See [`crate::EmbeddedLedger::objects`].
    ///
    /// # Errors
    /// None.
    pub async fn objects(&self, after: Option<&Key>, limit: usize) -> Result<Vec<ObjectNote>, CasError> {
        let state = self.lock();
        let rows = state.objects.range((from(after), Bound::Unbounded));
        Ok(rows.take(limit).map(|(_, note)| note.clone()).collect())
    }

    /// See [`crate::EmbeddedLedger::put_object`].
    ///
    /// # Errors
    /// `Failed`, code `entry-too-large`.
    pub async fn put_object(&self, note: &ObjectNote) -> Result<(), CasError> {
        note.check().map_err(CasError::Failed)?;
        self.lock().objects.insert(note.key.clone(), note.clone());
        Ok(())
    }

    /// See [`crate::EmbeddedLedger::delete_object`].
    ///
    /// # Errors
    /// None.
    pub async fn delete_object(&self, key: &Key) -> Result<bool, CasError> {
        Ok(self.lock().objects.remove(key).is_some())
    }

    /// See [`crate::EmbeddedLedger::try_lease`].
    ///
    /// # Errors
    /// None.
    pub async fn try_lease(&self, owner: &str, until: Timestamp, now: Timestamp) -> Result<bool, CasError> {
        let mut state = self.lock();
        let honest = |end: Timestamp| end > now && end <= now + Span::from_secs(300);
        let held = state.lease.as_ref().is_some_and(|(holder, end)| holder != owner && honest(*end));
        if !held {
            state.lease = Some((owner.to_owned(), until));
        }
        Ok(!held)
    }

    /// See [`crate::EmbeddedLedger::release`].
    ///
    /// # Errors
    /// None.
    pub async fn release(&self, owner: &str) -> Result<bool, CasError> {
        let mut state = self.lock();
        let had = state.lease.take_if(|(holder, _)| holder == owner);
        Ok(had.is_some())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, entry: &Entry) -> u64 {
        self.seq += 1;
        let version = self.seq;
        let value = entry.clone();
        self.sources.entry(entry.key.clone()).or_default().extend(index::sources(entry));
        self.entries.insert(entry.key.clone(), Versioned { value, version });
        version
    }

    fn is(&self, key: &Key, unchanged: u64) -> Result<(), CasError> {
        match self.entries.get(key) {
            Some(found) if found.version == unchanged => Ok(()),
            _ => Err(CasError::Conflict),
        }
    }
}

fn from(after: Option<&Key>) -> Bound<&Key> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn get(&self, key: &Key) -> Result<Option<Versioned<Entry>>, CasError> {
        Ok(self.lock().entries.get(key).cloned())
    }

    async fn insert(&self, entry: &Entry) -> Result<u64, CasError> {
        index::text(entry).map_err(CasError::Failed)?;
        let mut state = self.lock();
        if state.entries.contains_key(&entry.key) {
            return Err(CasError::AlreadyExists);
        }
        Ok(state.put(entry))
    }

    async fn replace(&self, entry: &Entry, unchanged: u64) -> Result<u64, CasError> {
        index::text(entry).map_err(CasError::Failed)?;
        let mut state = self.lock();
        state.is(&entry.key, unchanged)?;
        Ok(state.put(entry))
    }

    async fn delete(&self, key: &Key, unchanged: u64) -> Result<(), CasError> {
        let mut state = self.lock();
        state.is(key, unchanged)?;
        state.entries.remove(key);
        state.sources.remove(key);
        Ok(())
    }

    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, CasError> {
        let state = self.lock();
        let rows = state.entries.range((from(after), Bound::Unbounded));
        Ok(rows.take(limit).map(|(key, _)| key.clone()).collect())
    }

    async fn by_source(&self, source: &Digest) -> Result<Vec<Entry>, CasError> {
        let state = self.lock();
        let keys = state.sources.iter().filter(|(_, had)| had.contains(source));
        Ok(keys.filter_map(|(key, _)| state.entries.get(key)).map(|found| found.value.clone()).collect())
    }

    async fn by_record(&self, record: LinkId) -> Result<Option<Key>, CasError> {
        let state = self.lock();
        let mut entries = state.entries.values();
        let found = entries.find(|e| index::records(&e.value).contains(&record));
        Ok(found.map(|entry| entry.value.key.clone()))
    }

    async fn common(&self, fresh: &Common) -> Result<Versioned<Common>, CasError> {
        let mut state = self.lock();
        if let Some(found) = &state.common {
            return Ok(found.clone());
        }
        if fresh.ledger_id.is_empty() {
            return Err(CasError::Failed(ps_core::ports::common_missing()));
        }
        state.seq += 1;
        let version = state.seq;
        let made = Versioned { value: fresh.clone(), version };
        state.common = Some(made.clone());
        Ok(made)
    }

    async fn replace_common(&self, common: &Common, unchanged: u64) -> Result<u64, CasError> {
        let mut state = self.lock();
        if state.common.as_ref().is_none_or(|found| found.version != unchanged) {
            return Err(CasError::Conflict);
        }
        state.seq += 1;
        let version = state.seq;
        let value = common.clone();
        state.common = Some(Versioned { value, version });
        Ok(version)
    }
}
