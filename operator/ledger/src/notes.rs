//! What the folder source remembers of its files, and who holds the folder.

use ps_core::error::Fault;
use ps_core::ids::Key;
use ps_core::ports::CasError;
use ps_core::time::{Span, Timestamp};
use rusqlite::{OptionalExtension as _, Row};

use crate::embedded::{EmbeddedLedger, key, parts, sql_limit};
use crate::index;

/// What the folder source remembers of one manifest: it gives files the identity and history that an API server gives objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectNote {
    /// Namespace and name.
    pub key: Key,
    /// The uid that was given to this incarnation.
    pub uid: String,
    /// Counts changes of the spec, from 1.
    pub generation: i64,
    /// The last good spec, as text; it stands while the file does not parse.
    pub spec_text: String,
    /// Digest of that spec, in whatever form the source compares.
    pub spec_digest: String,
}

impl ObjectNote {
    /// Refuses a note that is larger than an entry may be.
    ///
    /// # Errors
    /// `entry-too-large`.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let size = self.uid.len() + self.spec_text.len() + self.spec_digest.len();
        index::fits("object note", &self.key, size)
    }
}

/// No lease is taken for longer than this.
const LONGEST_LEASE: Span = Span::from_secs(300);

impl EmbeddedLedger {
    /// What the folder source remembers of a manifest.
    ///
    /// # Errors
    /// `Failed`.
    pub async fn object(&self, key: &Key) -> Result<Option<ObjectNote>, CasError> {
        let key = key.clone();
        self.database
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(
                        "SELECT namespace, name, uid, generation, spec_text, spec_digest FROM objects
                         WHERE namespace = ?1 AND name = ?2",
                    )?
                    .query_row((&key.namespace, &key.name), note)
                    .optional()?)
            })
            .await
    }

    /// Notes in order of key, at most `limit`, from after `after` on.
    ///
    /// # Errors
    /// `Failed`.
    pub async fn objects(&self, after: Option<&Key>, limit: usize) -> Result<Vec<ObjectNote>, CasError> {
        let after = after.cloned();
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT namespace, name, uid, generation, spec_text, spec_digest FROM objects
                     WHERE (namespace, name) > (?1, ?2)
                     ORDER BY namespace, name LIMIT ?3",
                )?;
                let (namespace, name) = parts(after.as_ref());
                let rows = statement.query_map((namespace, name, sql_limit(limit)), note)?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Remembers a manifest; what was remembered under its key is replaced.
    ///
    /// # Errors
    /// `Failed`; code `entry-too-large` from 1 MiB on.
    pub async fn put_object(&self, note: &ObjectNote) -> Result<(), CasError> {
        note.check().map_err(CasError::Failed)?;
        let note = note.clone();
        self.database
            .write(note.spec_text.len(), move |turn| {
                turn.prepare_cached("INSERT OR REPLACE INTO objects VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute((
                    &note.key.namespace,
                    &note.key.name,
                    &note.uid,
                    note.generation,
                    &note.spec_text,
                    &note.spec_digest,
                ))?;
                Ok(())
            })
            .await
    }

    /// Forgets a manifest. Returns whether there was one.
    ///
    /// # Errors
    /// `Failed`.
    pub async fn delete_object(&self, key: &Key) -> Result<bool, CasError> {
        let key = key.clone();
        self.database
            .write(0, move |turn| {
                let gone = turn
                    .prepare_cached("DELETE FROM objects WHERE namespace = ?1 AND name = ?2")?
                    .execute((&key.namespace, &key.name))?;
                turn.erased();
                Ok(gone > 0)
            })
            .await
    }

    /// Takes or renews the lease on this folder until `until`, if nobody else holds it at `now`. Returns whether `owner` has it.
    ///
    /// A lease that ends later than any honest one (five minutes) was taken by a clock that ran ahead: it does not count.
    /// Safety never depends on it: it keeps a second operator from doing the same work.
    ///
    /// # Errors
    /// `Failed`: nobody knows who has it.
    pub async fn try_lease(&self, owner: &str, until: Timestamp, now: Timestamp) -> Result<bool, CasError> {
        let owner = owner.to_owned();
        self.database
            .write(0, move |turn| {
                let taken = turn
                    .prepare_cached(
                        "INSERT INTO lease (one, owner, until) VALUES (1, ?1, ?2)
                         ON CONFLICT (one) DO UPDATE SET owner = excluded.owner, until = excluded.until
                         WHERE lease.owner = excluded.owner OR lease.until <= ?3 OR lease.until > ?4",
                    )?
                    .execute((owner, until.as_millis(), now.as_millis(), (now + LONGEST_LEASE).as_millis()))?;
                Ok(taken == 1)
            })
            .await
    }

    /// Gives the lease back. Returns whether `owner` had it.
    ///
    /// # Errors
    /// `Failed`.
    pub async fn release(&self, owner: &str) -> Result<bool, CasError> {
        let owner = owner.to_owned();
        self.database
            .write(0, move |turn| {
                let gone = turn.prepare_cached("DELETE FROM lease WHERE owner = ?1")?.execute([owner])?;
                Ok(gone == 1)
            })
            .await
    }
}

fn note(row: &Row<'_>) -> rusqlite::Result<ObjectNote> {
    Ok(ObjectNote {
        key: key(row)?,
        uid: row.get(2)?,
        generation: row.get(3)?,
        spec_text: row.get(4)?,
        spec_digest: row.get(5)?,
    })
}
