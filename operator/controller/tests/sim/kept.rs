//! What operators keep outside of themselves: records, entries, the audit trail and the manifests.

use async_trait::async_trait;
use ps_core::audit::{Event, Writer};
use ps_core::delivery::Manifest;
use ps_core::entry::{Common, Entry, RevokeCause};
use ps_core::error::{Class, Fault};
use ps_core::ids::{Digest, Key, LinkId, Stamp};
use ps_core::invariants::Invariant::IntentFirst;
use ps_core::link::Record;
use ps_core::ports::*;
use ps_core::status::Status;

use crate::ports::{Sim, failing};
use crate::world;

/// Some records can't be written, whatever happens.
fn writable(w: &world::State, id: LinkId) -> Result<(), CasError> {
    let ours = w.ledger.values().find(|(e, _)| e.attempts.iter().any(|a| a.record == id));
    if ours.is_some_and(|(e, _)| w.unwritable.contains(&e.key)) {
        return Err(CasError::Failed(Fault::new(Class::Permanent, "record-refused", "this one is refused for good")));
    }
    Ok(())
}

#[async_trait]
impl LinkStore for Sim {
    async fn insert(&self, record: &Record) -> Result<u64, CasError> {
        let mut w = self.world.lock();
        failing(&w, "store").map_err(CasError::Failed)?;
        if w.store.contains_key(&record.id()) {
            return Err(CasError::AlreadyExists);
        }
        writable(&w, record.id())?;
        let line = format!("{}: record {} is put", self.name, record.id());
        w.say(line);
        let ours =
            w.ledger.values().map(|(entry, _)| entry).find(|e| e.attempts.iter().any(|a| a.record == record.id()));
        if let (Some(entry), Some(_)) = (ours, record.link())
            && let Some(manifest) = w.manifests.get(&entry.key).filter(|m| m.uid == entry.uid)
        {
            assert!(manifest.stamp.is_some(), "{IntentFirst}: {} is put for an object without a stamp", record.id());
        }
        w.written("a record", record);
        let version = w.next_version();
        w.store.insert(record.id(), (record.clone(), version));
        Ok(version)
    }
    async fn get(&self, id: LinkId) -> Result<Option<Versioned<Record>>, CasError> {
        let w = self.world.lock();
        failing(&w, "store").map_err(CasError::Failed)?;
        Ok(w.store.get(&id).map(|(value, version)| Versioned { value: value.clone(), version: *version }))
    }
    async fn replace(&self, record: &Record, unchanged: u64) -> Result<u64, CasError> {
        let mut w = self.world.lock();
        failing(&w, "store").map_err(CasError::Failed)?;
        writable(&w, record.id())?;
        if w.store.get(&record.id()).map(|(_, v)| *v) != Some(unchanged) {
            return Err(CasError::Conflict);
        }
        w.written("a record", record);
        let version = w.next_version();
        w.store.insert(record.id(), (record.clone(), version));
        Ok(version)
    }
    async fn delete(&self, id: LinkId, unchanged: u64) -> Result<(), CasError> {
        let mut w = self.world.lock();
        failing(&w, "store").map_err(CasError::Failed)?;
        if w.store.get(&id).map(|(_, v)| *v) != Some(unchanged) {
            return Err(CasError::Conflict);
        }
        w.store.remove(&id);
        Ok(())
    }
    async fn purge(&self, id: LinkId) -> Result<bool, CasError> {
        Ok(self.world.lock().store.remove(&id).is_some())
    }
    async fn list(&self, after: Option<LinkId>, limit: usize) -> Result<Vec<RecordSummary>, CasError> {
        let w = self.world.lock();
        let all = w.store.iter().filter(|(id, _)| after.is_none_or(|a| **id > a)).take(limit);
        Ok(all
            .map(|(id, (record, version))| RecordSummary {
                id: *id,
                state: record.link().map(|l| l.state),
                next_change: record.link().and_then(|l| l.next_change()),
                seq: *version,
            })
            .collect())
    }
    async fn changes(&self, _: u64, _: usize) -> Result<Vec<RecordSummary>, CasError> {
        std::future::pending().await
    }
}

#[async_trait]
impl Ledger for Sim {
    async fn get(&self, key: &Key) -> Result<Option<Versioned<Entry>>, CasError> {
        let w = self.world.lock();
        Ok(w.ledger.get(key).map(|(value, version)| Versioned { value: value.clone(), version: *version }))
    }
    async fn insert(&self, entry: &Entry) -> Result<u64, CasError> {
        let mut w = self.world.lock();
        if w.ledger.contains_key(&entry.key) {
            return Err(CasError::AlreadyExists);
        }
        w.written("an entry", entry);
        Ok(w.keep(entry))
    }
    async fn replace(&self, entry: &Entry, unchanged: u64) -> Result<u64, CasError> {
        let mut w = self.world.lock();
        if w.ledger.get(&entry.key).map(|(_, v)| *v) != Some(unchanged) {
            return Err(CasError::Conflict);
        }
        let withdrawn = |e: &Entry| e.attempts.iter().filter(|a| a.link.revoke == Some(RevokeCause::Restored)).count();
        let before = w.ledger.get(&entry.key).map_or(0, |(e, _)| withdrawn(e));
        assert!(w.restored.is_some() || withdrawn(entry) == before, "withdrawn for a restore that was accepted");
        // What a ledger keeps must survive its own encoding.
        let text = serde_json::to_string(entry).unwrap();
        w.said("an entry", &text);
        w.let_go(&w.ledger[&entry.key].0, Some(entry));
        let entry: Entry = serde_json::from_str(&text).unwrap();
        Ok(w.keep(&entry))
    }
    async fn delete(&self, key: &Key, unchanged: u64) -> Result<(), CasError> {
        let mut w = self.world.lock();
        if w.ledger.get(key).map(|(_, v)| *v) != Some(unchanged) {
            return Err(CasError::Conflict);
        }
        w.let_go(&w.ledger[key].0, None);
        w.ledger.remove(key);
        Ok(())
    }
    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, CasError> {
        let w = self.world.lock();
        Ok(w.ledger.keys().filter(|k| after.is_none_or(|a| *k > a)).take(limit).cloned().collect())
    }
    async fn by_source(&self, source: &Digest) -> Result<Vec<Entry>, CasError> {
        let w = self.world.lock();
        let has = |e: &Entry| e.attempts.iter().any(|a| a.source_key == *source);
        Ok(w.ledger.values().map(|(e, _)| e).filter(|e| has(e)).cloned().collect())
    }
    async fn by_record(&self, record: LinkId) -> Result<Option<Key>, CasError> {
        let w = self.world.lock();
        Ok(w.ledger
            .values()
            .find(|(e, _)| e.attempts.iter().any(|a| !a.forgotten && a.record == record))
            .map(|(e, _)| e.key.clone()))
    }
    async fn common(&self, _: &Common) -> Result<Versioned<Common>, CasError> {
        Ok(Versioned { value: world::common(&self.world.lock()), version: 1 })
    }
    async fn replace_common(&self, _: &Common, _: u64) -> Result<u64, CasError> {
        Ok(1)
    }
}

#[async_trait]
impl AuditSink for Sim {
    async fn append(&self, events: &[Event]) -> Result<(), Fault> {
        let mut w = self.world.lock();
        failing(&w, "audit")?;
        w.written("an event", &events);
        for event in events.iter().filter(|event| event.writer == Writer::Operator) {
            w.audited.entry((event.delivery.clone(), event.incarnation.clone())).or_default().insert(event.seq);
        }
        w.audit.extend_from_slice(events);
        Ok(())
    }
}

#[async_trait]
impl Manifests for Sim {
    async fn get(&self, key: &Key) -> Result<Option<Manifest>, Fault> {
        let w = self.world.lock();
        failing(&w, "manifests")?;
        Ok(w.manifests.get(key).cloned())
    }
    async fn put_stamp(&self, key: &Key, uid: &str, stamp: &Stamp) -> Result<(), Fault> {
        if let Some(m) = self.world.lock().manifests.get_mut(key).filter(|m| m.uid == uid) {
            m.stamp = Some(stamp.clone());
        }
        Ok(())
    }
    async fn release(&self, key: &Key, uid: &str) -> Result<(), Fault> {
        let mut w = self.world.lock();
        if w.manifests.get(key).is_some_and(|m| m.uid == uid && m.deleting) {
            w.manifests.remove(key);
        }
        Ok(())
    }
    async fn put_status(&self, key: &Key, _: &str, status: &Status) -> Result<(), Fault> {
        let mut w = self.world.lock();
        failing(&w, "status")?;
        w.written("a status", status);
        w.shown.insert(key.clone(), status.clone());
        Ok(())
    }
}
