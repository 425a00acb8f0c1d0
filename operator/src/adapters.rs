//! Small adapters between crates that must not know each other.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ps_controller::folder::FolderSource;
use ps_controller::folder::memory::{Note, ObjectMemory, Unreadable};
use ps_core::audit::Event;
use ps_core::delivery::Manifest;
use ps_core::error::{Class, Fault};
use ps_core::ids::{Key, Stamp};
use ps_core::ports::{AuditSink, CasError, Clock, Manifests};
use ps_core::status::Status;
use ps_ledger::{EmbeddedLedger, ObjectNote};
use tokio::time::Instant;

use crate::lease::Lease;

/// The folder source's notes, kept in the embedded ledger.
pub struct NotesInLedger {
    /// The ledger.
    pub ledger: Arc<EmbeddedLedger>,
    /// Whoever does not lead writes nothing down.
    pub lease: Arc<Lease>,
}

fn storage(error: CasError) -> Fault {
    match error {
        CasError::Failed(fault) => fault,
        CasError::AlreadyExists | CasError::Conflict => {
            Fault::new(Class::Transient, "ledger-conflict", "a note was changed by somebody else meanwhile")
        }
    }
}

fn unreadable() -> Fault {
    let message = "what is remembered of this manifest in ledger.db can't be read, so nothing is done for its file";
    let remedy = "Run the version of the operator that wrote the ledger, or restore the data folder from a backup";
    Fault::new(Class::Permanent, "note-unreadable", message).remedy(remedy)
}

/// The note in a row of the ledger.
fn note(object: &ObjectNote) -> Result<Note, Fault> {
    let note: Option<Note> = serde_json::from_str(&object.spec_text).ok();
    note.filter(|note| note.key == object.key).ok_or_else(unreadable)
}

#[async_trait]
impl ObjectMemory for NotesInLedger {
    async fn load(&self, key: &Key) -> Result<Option<Note>, Fault> {
        let found = self.ledger.object(key).await.map_err(storage)?;
        found.map(|object| note(&object)).transpose()
    }

    async fn save(&self, note: &Note) -> Result<(), Fault> {
        self.lease.must_hold()?;
        let object = ObjectNote {
            key: note.key.clone(),
            uid: note.uid.clone(),
            generation: note.generation,
            spec_text: serde_json::to_string(note).map_err(|_| unreadable())?,
            spec_digest: note.spec_digest.to_string(),
        };
        self.ledger.put_object(&object).await.map_err(storage)
    }

    async fn remove(&self, key: &Key) -> Result<(), Fault> {
        self.lease.must_hold()?;
        self.ledger.delete_object(key).await.map(|_| ()).map_err(storage)
    }

    async fn all(&self) -> Result<Vec<Result<Note, Unreadable>>, Fault> {
        let (mut notes, mut after) = (Vec::new(), None);
        loop {
            let page = self.ledger.objects(after.as_ref(), 500).await.map_err(storage)?;
            let Some(last) = page.last() else { return Ok(notes) };
            after = Some(last.key.clone());
            notes.extend(page.iter().map(|object| {
                note(object).map_err(|fault| Unreadable { key: object.key.clone(), fault: Box::new(fault) })
            }));
        }
    }
}

/// How long the audit trail may take for one append.
const AUDIT_LIMIT: Duration = Duration::from_secs(5);

/// How long a trail that hangs is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(10);

/// The audit trail with a limit: one that hangs (a blocked pipe, a hung file system) must not hold up rotations. While
/// it hangs, appends fail at once; the events stay in the ledger's outbox.
pub struct BoundedAudit {
    inner: Arc<dyn AuditSink>,
    blocked_until: Mutex<Option<Instant>>,
}

impl BoundedAudit {
    /// Bounds `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn AuditSink>) -> Self {
        Self { inner, blocked_until: Mutex::new(None) }
    }
}

#[async_trait]
impl AuditSink for BoundedAudit {
    async fn append(&self, events: &[Event]) -> Result<(), Fault> {
        let slow = || Fault::new(Class::Transient, "audit-slow", "the audit trail does not take events in time");
        let blocked = || self.blocked_until.lock().unwrap_or_else(PoisonError::into_inner);
        if blocked().is_some_and(|until| Instant::now() < until) {
            return Err(slow());
        }
        let done = tokio::time::timeout(AUDIT_LIMIT, self.inner.append(events)).await;
        done.unwrap_or_else(|_| {
            *blocked() = Some(Instant::now() + LEFT_ALONE);
            Err(slow())
        })
    }
}

/// The folder as a source of manifests whose status also shows what is wrong with the file itself.
pub struct FolderManifests {
    /// The folder.
    pub folder: Arc<FolderSource>,
    /// For transition times.
    pub clock: Arc<dyn Clock>,
    /// Whoever does not lead sees and says nothing.
    pub lease: Arc<Lease>,
}

#[async_trait]
impl Manifests for FolderManifests {
    async fn get(&self, key: &Key) -> Result<Option<Manifest>, Fault> {
        self.lease.must_hold()?;
        self.folder.get(key).await
    }

    async fn put_stamp(&self, key: &Key, uid: &str, stamp: &Stamp) -> Result<(), Fault> {
        self.lease.must_hold()?;
        self.folder.put_stamp(key, uid, stamp).await
    }

    async fn release(&self, key: &Key, uid: &str) -> Result<(), Fault> {
        self.lease.must_hold()?;
        self.folder.release(key, uid).await
    }

    async fn put_status(&self, key: &Key, uid: &str, status: &Status) -> Result<(), Fault> {
        self.lease.must_hold()?;
        let Some(fault) = self.folder.fault(key) else { return self.folder.put_status(key, uid, status).await };
        let mut shown = status.clone();
        shown.overlay(&fault, self.clock.now());
        self.folder.put_status(key, uid, &shown).await
    }
}

#[cfg(test)]
#[path = "adapters_tests.rs"]
mod tests;
