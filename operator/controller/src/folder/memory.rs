//! What the folder source must not forget: who an object is, and what it last asked for.
//!
//! A file has no uid, no generation and no history; an API server would keep these. Here they are notes, kept beside the
//! ledger (the binary adapts the embedded ledger to this trait) and never in the folder, which anybody may edit.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use ps_core::error::Fault;
use ps_core::ids::{Digest, Key};
use serde::{Deserialize, Serialize};

/// What is remembered of one delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// Namespace and name.
    pub key: Key,
    /// Random, in the shape of a UUID; another one under the same key is another object.
    pub uid: String,
    /// From 1; counts changes of `spec_digest`.
    pub generation: i64,
    /// Digest of the last good spec with its defaults; of the text while there is no good one.
    pub spec_digest: Digest,
    /// The last good manifest, without comments, as YAML text (its JSON subset). `None` until there is a good one.
    pub last_good: Option<String>,
    /// Name of the file it came from, without its folder.
    pub file: String,
    /// Its deletion is believed.
    pub deleting: bool,
}

/// There is a note of this object, and it can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Namespace and name.
    pub key: Key,
    /// Why, and what helps.
    pub fault: Box<Fault>,
}

/// Keeps notes durably.
#[async_trait]
pub trait ObjectMemory: Send + Sync {
    /// Reads one note.
    ///
    /// # Errors
    /// A transient fault; another one if this note can't be read.
    async fn load(&self, key: &Key) -> Result<Option<Note>, Fault>;
    /// Adds or replaces a note; durable when it returns.
    ///
    /// # Errors
    /// A transient fault.
    async fn save(&self, note: &Note) -> Result<(), Fault>;
    /// Forgets a note; forgetting one that is not there is no error.
    ///
    /// # Errors
    /// A transient fault.
    async fn remove(&self, key: &Key) -> Result<(), Fault>;
    /// Every note. One that can't be read is named all the same: its object must not be taken for a new one, nor for one
    /// that is gone.
    ///
    /// # Errors
    /// A transient fault.
    async fn all(&self) -> Result<Vec<Result<Note, Unreadable>>, Fault>;
}

/// Notes in memory, for tests and for trying things out; they are gone with the process.
#[derive(Debug, Default)]
pub struct VolatileMemory(Mutex<BTreeMap<Key, Note>>);

impl VolatileMemory {
    fn with<T>(&self, use_notes: impl FnOnce(&mut BTreeMap<Key, Note>) -> T) -> T {
        use_notes(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl ObjectMemory for VolatileMemory {
    async fn load(&self, key: &Key) -> Result<Option<Note>, Fault> {
        Ok(self.with(|notes| notes.get(key).cloned()))
    }

    async fn save(&self, note: &Note) -> Result<(), Fault> {
        self.with(|notes| notes.insert(note.key.clone(), note.clone()));
        Ok(())
    }

    async fn remove(&self, key: &Key) -> Result<(), Fault> {
        self.with(|notes| notes.remove(key));
        Ok(())
    }

    async fn all(&self) -> Result<Vec<Result<Note, Unreadable>>, Fault> {
        Ok(self.with(|notes| notes.values().cloned().map(Ok).collect()))
    }
}
