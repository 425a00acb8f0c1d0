//! The embedded ledger: one SQLite file in a folder that no other user and not the gateway can open.

use std::path::Path;

use async_trait::async_trait;
use ps_core::entry::{Common, Entry};
use ps_core::error::Fault;
use ps_core::ids::{Digest, Key, LinkId};
use ps_core::ports::{CasError, Ledger, Versioned};
use ps_sqlite::{Database, Error, Profile, Turn};
use rusqlite::{Connection, OptionalExtension as _, Row};

use crate::index;

/// Name of the database in its folder. SQLite keeps `-wal` and `-shm` beside it.
pub const FILE: &str = "ledger.db";

const PROFILE: Profile = Profile {
    name: "ledger",
    application_id: 0x5053_4c44,
    version: 1,
    schema: "CREATE TABLE ledger (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  seq INTEGER NOT NULL,
  common TEXT,
  common_version INTEGER
) STRICT;
CREATE TABLE entries (
  row INTEGER PRIMARY KEY,
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  entry TEXT NOT NULL,
  UNIQUE (namespace, name)
) STRICT;
CREATE TABLE sources (
  source BLOB NOT NULL,
  entry INTEGER NOT NULL,
  PRIMARY KEY (source, entry)
) STRICT, WITHOUT ROWID;
CREATE INDEX sources_entry ON sources (entry);
CREATE TABLE records (
  record BLOB NOT NULL,
  entry INTEGER NOT NULL,
  PRIMARY KEY (record, entry)
) STRICT, WITHOUT ROWID;
CREATE INDEX records_entry ON records (entry);
CREATE TABLE objects (
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  uid TEXT NOT NULL,
  generation INTEGER NOT NULL,
  spec_text TEXT NOT NULL,
  spec_digest TEXT NOT NULL,
  PRIMARY KEY (namespace, name)
) STRICT;
CREATE TABLE lease (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  owner TEXT NOT NULL,
  until INTEGER NOT NULL
) STRICT;
INSERT INTO ledger VALUES (1, 0, NULL, NULL);",
    counter: "ledger",
    readers: 1,
    max_value: 4 * 1024 * 1024,
};

/// Ledger entries in SQLite. Several handles, in one process or in several, may be open on the same folder.
///
/// A version is the ledger-wide number of the write that made it: no version ever comes back.
#[derive(Debug)]
pub struct EmbeddedLedger {
    pub(crate) database: Database,
}

impl EmbeddedLedger {
    /// Opens or makes `folder/ledger.db`.
    ///
    /// # Errors
    /// A fault with a remedy: `ledger-version`, `ledger-schema-foreign`, `ledger-corrupt`, `ledger-unwritable`, `ledger-busy`.
    pub fn open(folder: &Path) -> Result<Self, Fault> {
        Ok(Self { database: Database::open(folder, FILE, PROFILE)? })
    }
}

#[async_trait]
impl Ledger for EmbeddedLedger {
    async fn get(&self, key: &Key) -> Result<Option<Versioned<Entry>>, CasError> {
        let key = key.clone();
        self.database
            .peek(move |connection| {
                let found = connection
                    .prepare_cached("SELECT entry, version FROM entries WHERE namespace = ?1 AND name = ?2")?
                    .query_row((&key.namespace, &key.name), text_and_version)
                    .optional()?;
                found
                    .map(|(text, version)| {
                        let value = parse(&text, Some(&key))?;
                        Ok(Versioned { value, version })
                    })
                    .transpose()
            })
            .await
    }

    async fn insert(&self, entry: &Entry) -> Result<u64, CasError> {
        let text = index::text(entry).map_err(CasError::Failed)?;
        let (key, indexed) = (entry.key.clone(), Indexed::of(entry));
        self.database
            .write(text.len(), move |turn| {
                let taken = turn
                    .prepare_cached("SELECT 1 FROM entries WHERE namespace = ?1 AND name = ?2")?
                    .exists((&key.namespace, &key.name))?;
                if taken {
                    return Err(CasError::AlreadyExists.into());
                }
                let version = next_version(turn)?;
                let row = turn
                    .prepare_cached("INSERT INTO entries (namespace, name, version, entry) VALUES (?1, ?2, ?3, ?4)")?
                    .insert((&key.namespace, &key.name, version, &text))?;
                indexed.write(turn, row)?;
                as_version(version)
            })
            .await
    }

    async fn replace(&self, entry: &Entry, unchanged: u64) -> Result<u64, CasError> {
        let text = index::text(entry).map_err(CasError::Failed)?;
        let (key, indexed) = (entry.key.clone(), Indexed::of(entry));
        self.database
            .write(text.len(), move |turn| {
                let row = unchanged_row(turn, &key, unchanged)?;
                let version = next_version(turn)?;
                turn.prepare_cached("UPDATE entries SET version = ?2, entry = ?3 WHERE row = ?1")?
                    .execute((row, version, &text))?;
                indexed.write(turn, row)?;
                // What the entry no longer holds, such as R, does not linger in the log.
                turn.erased();
                as_version(version)
            })
            .await
    }

    async fn delete(&self, key: &Key, unchanged: u64) -> Result<(), CasError> {
        let key = key.clone();
        self.database
            .write(0, move |turn| {
                let row = unchanged_row(turn, &key, unchanged)?;
                for sql in [
                    "DELETE FROM sources WHERE entry = ?1",
                    "DELETE FROM records WHERE entry = ?1",
                    "DELETE FROM entries WHERE row = ?1",
                ] {
                    turn.prepare_cached(sql)?.execute([row])?;
                }
                turn.erased();
                Ok(())
            })
            .await
    }

    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, CasError> {
        let after = after.cloned();
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT namespace, name FROM entries
                     WHERE (namespace, name) > (?1, ?2)
                     ORDER BY namespace, name LIMIT ?3",
                )?;
                let (namespace, name) = parts(after.as_ref());
                let rows = statement.query_map((namespace, name, sql_limit(limit)), key)?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    async fn by_source(&self, source: &Digest) -> Result<Vec<Entry>, CasError> {
        let source = *source;
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT e.entry FROM sources AS s JOIN entries AS e ON e.row = s.entry
                     WHERE s.source = ?1 ORDER BY e.namespace, e.name",
                )?;
                let mut rows = statement.query([&source.0[..]])?;
                let mut found = Vec::new();
                while let Some(row) = rows.next()? {
                    found.push(parse(&row.get::<_, String>(0)?, None)?);
                }
                Ok(found)
            })
            .await
    }

    async fn by_record(&self, record: LinkId) -> Result<Option<Key>, CasError> {
        self.database
            .peek(move |connection| {
                Ok(connection
                    .prepare_cached(
                        "SELECT e.namespace, e.name FROM records AS r JOIN entries AS e ON e.row = r.entry
                         WHERE r.record = ?1 ORDER BY e.namespace, e.name LIMIT 1",
                    )?
                    .query_row([&record.0[..]], key)
                    .optional()?)
            })
            .await
    }

    async fn common(&self, fresh: &Common) -> Result<Versioned<Common>, CasError> {
        if let Some(found) = self.database.read(common).await? {
            return Ok(found);
        }
        if fresh.ledger_id.is_empty() {
            return Err(CasError::Failed(ps_core::ports::common_missing()));
        }
        let fresh = common_text(fresh)?;
        self.database
            .write(fresh.len(), move |turn| {
                // Another operator may have been faster.
                if let Some(found) = common(turn)? {
                    return Ok(found);
                }
                let version = next_version(turn)?;
                put_common(turn, &fresh, version)?;
                common(turn)?.ok_or_else(|| index::unreadable("common entry").into())
            })
            .await
    }

    async fn replace_common(&self, new: &Common, unchanged: u64) -> Result<u64, CasError> {
        let new = common_text(new)?;
        self.database
            .write(new.len(), move |turn| {
                if common(turn)?.is_none_or(|found| found.version != unchanged) {
                    return Err(CasError::Conflict.into());
                }
                let version = next_version(turn)?;
                put_common(turn, &new, version)?;
                as_version(version)
            })
            .await
    }
}

/// What an entry is found by.
struct Indexed {
    sources: Vec<Digest>,
    records: Vec<LinkId>,
}

impl Indexed {
    fn of(entry: &Entry) -> Self {
        Self {
            sources: index::sources(entry).into_iter().collect(),
            records: index::records(entry).into_iter().collect(),
        }
    }

    /// Sources are added to what the entry once had; records are what it has now.
    fn write(&self, turn: &Turn<'_>, row: i64) -> Result<(), Error> {
        for source in &self.sources {
            turn.prepare_cached("INSERT OR IGNORE INTO sources (source, entry) VALUES (?1, ?2)")?
                .execute((&source.0[..], row))?;
        }
        turn.prepare_cached("DELETE FROM records WHERE entry = ?1")?.execute([row])?;
        for record in &self.records {
            turn.prepare_cached("INSERT INTO records (record, entry) VALUES (?1, ?2)")?
                .execute((&record.0[..], row))?;
        }
        Ok(())
    }
}

fn parse(text: &str, key: Option<&Key>) -> Result<Entry, Error> {
    serde_json::from_str::<Entry>(text)
        .ok()
        .filter(|entry| key.is_none_or(|key| entry.key == *key))
        .ok_or_else(|| index::unreadable("entry").into())
}

/// The row of an entry that nobody has changed since it had that version.
fn unchanged_row(turn: &Turn<'_>, key: &Key, unchanged: u64) -> Result<i64, Error> {
    let unchanged = i64::try_from(unchanged).map_err(|_| CasError::Conflict)?;
    turn.prepare_cached("SELECT row FROM entries WHERE namespace = ?1 AND name = ?2 AND version = ?3")?
        .query_row((&key.namespace, &key.name, unchanged), |row| row.get(0))
        .optional()?
        .ok_or_else(|| CasError::Conflict.into())
}

fn next_version(turn: &Turn<'_>) -> Result<i64, Error> {
    turn.next_number()?.ok_or_else(|| index::unreadable("counter of writes").into())
}

fn as_version(seq: i64) -> Result<u64, Error> {
    u64::try_from(seq).map_err(|_| index::unreadable("counter of writes").into())
}

fn common(connection: &Connection) -> Result<Option<Versioned<Common>>, Error> {
    let (text, version) = connection
        .prepare_cached("SELECT common, common_version FROM ledger WHERE one = 1")?
        .query_row([], |row| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Option<i64>>(1)?)))?;
    let (Some(text), Some(version)) = (text, version) else {
        return Ok(None);
    };
    let value = serde_json::from_str(&text).map_err(|_| index::unreadable("common entry"))?;
    let version = as_version(version)?;
    Ok(Some(Versioned { value, version }))
}

fn put_common(turn: &Turn<'_>, text: &str, version: i64) -> Result<(), Error> {
    turn.prepare_cached("UPDATE ledger SET common = ?1, common_version = ?2 WHERE one = 1")?
        .execute((text, version))?;
    Ok(())
}

fn common_text(common: &Common) -> Result<String, CasError> {
    serde_json::to_string(common).map_err(|_| CasError::Failed(index::unwritable("common entry")))
}

fn text_and_version(row: &Row<'_>) -> rusqlite::Result<(String, u64)> {
    Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()))
}

pub(crate) fn key(row: &Row<'_>) -> rusqlite::Result<Key> {
    Ok(Key::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?))
}

/// No key comes before two empty texts.
pub(crate) fn parts(after: Option<&Key>) -> (&str, &str) {
    after.map_or(("", ""), |key| (&key.namespace, &key.name))
}

pub(crate) fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
