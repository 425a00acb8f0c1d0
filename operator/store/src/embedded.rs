//! The embedded store: one SQLite file in a folder that operator and gateway share.
//!
//! A record's version is the store-wide number of the write that made it: no version ever comes back, not even
//! for an id that was deleted and inserted again.

use std::path::Path;

use async_trait::async_trait;
use ps_core::error::{Class, Fault};
use ps_core::ids::LinkId;
use ps_core::link::Record;
use ps_core::ports::{CasError, LinkStore, RecordSummary, Versioned};
use ps_sqlite::{Database, Error, Profile, Turn};
use rusqlite::OptionalExtension as _;
use tokio::sync::watch;

use crate::MAX_BYTES;
use crate::hostile::{changes, get, sql_limit, summaries};
use crate::row::{Content, Row};

/// Name of the database in its folder. SQLite keeps `-wal` and `-shm` beside it.
pub const FILE: &str = "links.db";

/// The largest value that a statement may touch: everything of one record, with room.
const MAX_VALUE: usize = 4 * 1024 * 1024;

const PROFILE: Profile = Profile {
    name: "store",
    application_id: 0x5053_4c4b,
    version: 1,
    schema: "CREATE TABLE store (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  seq INTEGER NOT NULL
) STRICT;
CREATE TABLE links (
  row INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
  seq INTEGER NOT NULL,
  state TEXT,
  next_change INTEGER,
  meta TEXT NOT NULL
) STRICT;
CREATE INDEX links_seq ON links (seq);
CREATE TABLE content (
  row INTEGER PRIMARY KEY,
  ciphertext BLOB,
  preview BLOB
) STRICT;
INSERT INTO store VALUES (1, 0);",
    counter: "store",
    readers: 1,
    max_value: 4 * 1024 * 1024,
};

/// Link records in SQLite. Several handles, in one process or in several, may be open on the same folder.
#[derive(Debug)]
pub struct EmbeddedStore {
    database: Database,
    max_bytes: usize,
}

impl EmbeddedStore {
    /// Opens or makes `folder/links.db` for ciphertexts of at most [`MAX_BYTES`].
    ///
    /// # Errors
    /// A fault with a remedy; `store-schema-foreign` if somebody else has written the file.
    pub fn open(folder: &Path) -> Result<Self, Fault> {
        Self::with_limit(folder, MAX_BYTES)
    }

    /// As [`EmbeddedStore::open`], for ciphertexts of at most `max_bytes`, which is cut to 3 MiB.
    ///
    /// # Errors
    /// See [`EmbeddedStore::open`].
    pub fn with_limit(folder: &Path, max_bytes: usize) -> Result<Self, Fault> {
        Ok(Self { database: Database::open(folder, FILE, PROFILE)?, max_bytes: max_bytes.min(MAX_VALUE - 1024 * 1024) })
    }

    /// How this store erases.
    #[must_use]
    pub const fn erasure(&self) -> &'static str {
        "Erased bytes are overwritten with zeros in links.db (SQLite secure_delete) in the same commit, and the write-ahead log that \
         held them is truncated within a second, or as soon as no process reads an older snapshot; after a crash, at the next \
         start of any process that uses the folder. Blocks that the file system gave back, copies on write and backups are beyond it."
    }

    /// Says that another process has changed records, so that [`LinkStore::changes`] looks at once instead of within two seconds.
    pub fn nudge(&self) {
        self.database.nudge();
    }

    /// Changes with every commit of this handle: when to nudge the other process.
    #[must_use]
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.database.commits()
    }

    /// Erases whatever lies under `id`, readable or not, unconditionally: the last resort for a record that is `record-unreadable`.
    /// Returns whether there was something.
    ///
    /// # Errors
    /// `Failed`.
    pub async fn purge(&self, id: LinkId) -> Result<bool, CasError> {
        self.database
            .write(0, move |turn| {
                let row = turn
                    .prepare_cached("SELECT row FROM links WHERE id = ?1")?
                    .query_row([&id.0[..]], |r| r.get::<_, i64>(0))
                    .optional()?;
                row.map_or(Ok(false), |row| remove(turn, row).map(|()| true))
            })
            .await
    }
}

/// The position that a caller has read to lies behind the store's own: an older copy of the file was put in its place.
pub(crate) fn changes_lost() -> Fault {
    Fault::new(Class::Transient, "changes-lost", "the store is older than what was read from it")
        .remedy("List all records again; if no backup was restored, somebody has altered the store")
}

#[async_trait]
impl LinkStore for EmbeddedStore {
    async fn insert(&self, record: &Record) -> Result<u64, CasError> {
        let id = record.id();
        let new = Row::of(record, self.max_bytes).map_err(CasError::Failed)?;
        self.database.write(new.content.len() + new.meta.len(), move |turn| insert(turn, id, &new)).await
    }

    async fn get(&self, id: LinkId) -> Result<Option<Versioned<Record>>, CasError> {
        let max_bytes = self.max_bytes;
        self.database.peek(move |connection| get(connection, id, max_bytes)).await
    }

    async fn replace(&self, record: &Record, unchanged: u64) -> Result<u64, CasError> {
        let id = record.id();
        let new = Row::of(record, self.max_bytes).map_err(CasError::Failed)?;
        self.database.write(new.content.len() + new.meta.len(), move |turn| replace(turn, id, unchanged, &new)).await
    }

    async fn delete(&self, id: LinkId, unchanged: u64) -> Result<(), CasError> {
        self.database
            .write(0, move |turn| {
                let row = unchanged_row(turn, id, unchanged)?;
                remove(turn, row)
            })
            .await
    }

    async fn purge(&self, id: LinkId) -> Result<bool, CasError> {
        Self::purge(self, id).await
    }

    async fn list(&self, after: Option<LinkId>, limit: usize) -> Result<Vec<RecordSummary>, CasError> {
        self.database
            .read(move |connection| {
                let from = after.as_ref().map_or(&[][..], |id| &id.0[..]);
                summaries(
                    connection,
                    "SELECT id, state, next_change, seq FROM links
                     WHERE id > ?1 AND typeof(id) = 'blob' AND length(id) = 16
                     ORDER BY id LIMIT ?2",
                    (from, sql_limit(limit)),
                )
            })
            .await
    }

    async fn changes(&self, after: u64, limit: usize) -> Result<Vec<RecordSummary>, CasError> {
        let mut woken = self.database.changes();
        loop {
            // Seen before the read: a change during the read wakes the wait below.
            woken.borrow_and_update();
            let found = self.database.read(move |connection| changes(connection, after, limit.max(1))).await?;
            if !found.is_empty() {
                return Ok(found);
            }
            // The sender lives as long as this handle.
            if woken.changed().await.is_err() {
                return Ok(found);
            }
        }
    }
}

fn insert(turn: &Turn<'_>, id: LinkId, new: &Row) -> Result<u64, Error> {
    let seq = next_seq(turn)?;
    let inserted = turn
        .prepare_cached(
            "INSERT INTO links (id, seq, state, next_change, meta) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (id) DO NOTHING",
        )?
        .execute((&id.0[..], seq, new.state, new.next_change, &new.meta))?;
    if inserted == 0 {
        return Err(CasError::AlreadyExists.into());
    }
    put_content(turn, turn.last_insert_rowid(), &new.content)?;
    version(seq)
}

fn replace(turn: &Turn<'_>, id: LinkId, unchanged: u64, new: &Row) -> Result<u64, Error> {
    let unchanged = i64::try_from(unchanged).map_err(|_| CasError::Conflict)?;
    let seq = next_seq(turn)?;
    let row = turn
        .prepare_cached(
            "UPDATE links SET seq = ?3, state = ?4, next_change = ?5, meta = ?6 WHERE id = ?1 AND seq = ?2 RETURNING row",
        )?
        .query_row((&id.0[..], unchanged, seq, new.state, new.next_change, &new.meta), |r| r.get::<_, i64>(0))
        .optional()?
        .ok_or(CasError::Conflict)?;
    let same = turn
        .prepare_cached("SELECT ciphertext IS ?2 AND preview IS ?3 FROM content WHERE row = ?1")?
        .query_row((row, &new.content.ciphertext, &new.content.preview), |r| r.get::<_, bool>(0))
        .optional()?;
    // A claim leaves the content alone: it need not be written again.
    if same != Some(true) && !(same.is_none() && new.content.is_empty()) {
        put_content(turn, row, &new.content)?;
        if same.is_some() {
            turn.erased();
        }
    }
    version(seq)
}

fn put_content(turn: &Turn<'_>, row: i64, content: &Content) -> Result<(), Error> {
    if content.is_empty() {
        turn.prepare_cached("DELETE FROM content WHERE row = ?1")?.execute([row])?;
    } else {
        turn.prepare_cached("INSERT OR REPLACE INTO content (row, ciphertext, preview) VALUES (?1, ?2, ?3)")?
            .execute((row, &content.ciphertext, &content.preview))?;
    }
    Ok(())
}

fn remove(turn: &Turn<'_>, row: i64) -> Result<(), Error> {
    turn.prepare_cached("DELETE FROM content WHERE row = ?1")?.execute([row])?;
    turn.prepare_cached("DELETE FROM links WHERE row = ?1")?.execute([row])?;
    turn.erased();
    Ok(())
}

/// The row of a record that nobody has changed since it had that version.
fn unchanged_row(turn: &Turn<'_>, id: LinkId, unchanged: u64) -> Result<i64, Error> {
    let unchanged = i64::try_from(unchanged).map_err(|_| CasError::Conflict)?;
    turn.prepare_cached("SELECT row FROM links WHERE id = ?1 AND seq = ?2")?
        .query_row((&id.0[..], unchanged), |r| r.get(0))
        .optional()?
        .ok_or_else(|| CasError::Conflict.into())
}

fn next_seq(turn: &Turn<'_>) -> Result<i64, Error> {
    turn.next_number()?.ok_or_else(|| counter_lost().into())
}

fn version(seq: i64) -> Result<u64, Error> {
    u64::try_from(seq).map_err(|_| counter_lost().into())
}

pub(crate) fn counter_lost() -> Fault {
    Fault::new(Class::Permanent, "store-counter-lost", "the store's counter of changes is gone or spent")
        .remedy("Somebody has altered the store: move it away; deliveries whose records are lost are rotated")
}
