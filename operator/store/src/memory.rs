//! A store in memory, for simulations: nothing is durable, and two handles are two clones.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ps_core::ids::LinkId;
use ps_core::link::Record;
use ps_core::ports::{CasError, LinkStore, RecordSummary, Versioned};
use tokio::sync::watch;

use crate::{MAX_BYTES, row};

/// Keeps records in memory. Clones share them.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    max_bytes: usize,
    records: Mutex<Records>,
    wake: watch::Sender<u64>,
}

#[derive(Clone, Debug, Default)]
struct Records {
    seq: u64,
    by_id: BTreeMap<LinkId, Versioned<Record>>,
}

/// All that a [`MemoryStore`] held at one moment: to roll back to, as a restored backup would.
#[derive(Clone, Debug)]
pub struct Snapshot(Records);

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(MAX_BYTES)
    }
}

impl MemoryStore {
    /// An empty store that takes ciphertexts of at most `max_bytes`.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self { inner: Arc::new(Inner { max_bytes, records: Mutex::default(), wake: watch::channel(0).0 }) }
    }

    /// What it holds now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.lock().clone())
    }

    /// Forgets everything since `snapshot`.
    pub fn restore(&self, snapshot: &Snapshot) {
        *self.lock() = snapshot.0.clone();
        self.woke();
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.inner.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn woke(&self) {
        self.inner.wake.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn put(&self, records: &mut Records, record: &Record) -> u64 {
        records.seq += 1;
        let version = records.seq;
        let value = record.clone();
        records.by_id.insert(record.id(), Versioned { value, version });
        self.woke();
        version
    }

    fn fits(&self, record: &Record) -> Result<(), CasError> {
        row::Row::of(record, self.inner.max_bytes).map(drop).map_err(CasError::Failed)
    }
}

impl Records {
    fn is(&self, id: LinkId, unchanged: u64) -> Result<(), CasError> {
        match self.by_id.get(&id) {
            Some(found) if found.version == unchanged => Ok(()),
            _ => Err(CasError::Conflict),
        }
    }
}

fn summary(found: &Versioned<Record>) -> RecordSummary {
    let link = found.value.link();
    RecordSummary {
        id: found.value.id(),
        state: link.map(|link| link.state),
        next_change: link.and_then(ps_core::link::Link::next_change),
        seq: found.version,
    }
}

#[async_trait]
impl LinkStore for MemoryStore {
    async fn insert(&self, record: &Record) -> Result<u64, CasError> {
        self.fits(record)?;
        let mut records = self.lock();
        if records.by_id.contains_key(&record.id()) {
            return Err(CasError::AlreadyExists);
        }
        Ok(self.put(&mut records, record))
    }

    async fn get(&self, id: LinkId) -> Result<Option<Versioned<Record>>, CasError> {
        Ok(self.lock().by_id.get(&id).cloned())
    }

    async fn replace(&self, record: &Record, unchanged: u64) -> Result<u64, CasError> {
        self.fits(record)?;
        let mut records = self.lock();
        records.is(record.id(), unchanged)?;
        Ok(self.put(&mut records, record))
    }

    async fn delete(&self, id: LinkId, unchanged: u64) -> Result<(), CasError> {
        let mut records = self.lock();
        records.is(id, unchanged)?;
        records.by_id.remove(&id);
        Ok(())
    }

    async fn purge(&self, id: LinkId) -> Result<bool, CasError> {
        Ok(self.lock().by_id.remove(&id).is_some())
    }

    async fn list(&self, after: Option<LinkId>, limit: usize) -> Result<Vec<RecordSummary>, CasError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let records = self.lock();
        let rows = records.by_id.range((from, Bound::Unbounded));
        Ok(rows.take(limit).map(|(_, found)| summary(found)).collect())
    }

    async fn changes(&self, after: u64, limit: usize) -> Result<Vec<RecordSummary>, CasError> {
        let mut woken = self.inner.wake.subscribe();
        loop {
            woken.borrow_and_update();
            {
                let records = self.lock();
                if records.seq < after {
                    return Err(CasError::Failed(crate::embedded::changes_lost()));
                }
                let mut found: Vec<_> =
                    records.by_id.values().filter(|found| found.version > after).map(summary).collect();
                found.sort_unstable_by_key(|summary| summary.seq);
                found.truncate(limit.max(1));
                if !found.is_empty() {
                    return Ok(found);
                }
            }
            // The sender lives as long as this handle.
            if woken.changed().await.is_err() {
                return Ok(Vec::new());
            }
        }
    }
}
