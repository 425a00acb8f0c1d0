//! Link rows in a mount's storage, under compare-and-swap, with their history.
//!
//! Only the active node's process writes, so a lock per link makes a change atomic; where the server has transactions, the
//! change is one as well, with the row's old bytes as its guard. A line of history is written with each change that the
//! link's journal tells of: in the same transaction, or just before the row where there are none. So a line may tell of a
//! change that did not happen (its reader looks at the link), and no change goes without a line.

use std::sync::Arc;

use ps_core::ids::LinkId;
use ps_core::time::Timestamp;
use tokio::sync::{Mutex, MutexGuard};

use crate::row::{Happening, Row};
use crate::sequence::Sequence;
use crate::storage::{CommitError, Guard, Storage, StorageFault, Write};

/// Locks for links; two links may share one.
const SHARDS: usize = 256;
/// Where rows are.
pub(crate) const LINKS: &str = "links/";
/// Where history is: folders of 1024 lines.
const EVENTS: &str = "events/";
const FOLDER_BITS: u32 = 10;
/// The number of the newest line of history that was removed.
const TRIMMED: &str = "trimmed";

/// What a change decided.
#[derive(Debug)]
pub enum Change<T> {
    /// Nothing to write.
    Keep(T),
    /// Write this row, and answer then.
    Put(Box<Row>, T),
    /// Remove the row, and answer then.
    Remove(T),
}

/// Why a row was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// There is a row under this id already.
    #[error("there is such a link already")]
    Exists,
    /// The stored bytes are no row of ours, or changed under our lock.
    #[error("what is stored under the link's id can't be used")]
    Damaged,
    /// The storage's.
    #[error(transparent)]
    Storage(#[from] StorageFault),
}

impl From<CommitError> for TableError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict => Self::Damaged,
            CommitError::Failed(fault) => Self::Storage(fault),
        }
    }
}

/// The rows of one mount.
pub struct Table {
    storage: Arc<dyn Storage>,
    locks: Vec<Mutex<()>>,
    sequence: Sequence,
}

impl Table {
    /// The rows in `storage`. Reads nothing yet.
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, locks: (0..SHARDS).map(|_| Mutex::default()).collect(), sequence: Sequence::default() }
    }

    /// One row.
    ///
    /// # Errors
    /// Damage, and the storage's.
    pub async fn get(&self, id: LinkId) -> Result<Option<Row>, TableError> {
        let Some(bytes) = self.storage.get(&key(id)).await? else { return Ok(None) };
        parse(&bytes, id).map(Some)
    }

    /// Adds a row whose id somebody else has chosen, and gives its version.
    ///
    /// # Errors
    /// `Exists`, and the storage's.
    pub async fn insert(&self, row: Row, now: Timestamp) -> Result<u64, TableError> {
        let id = row.id();
        let _lock = self.lock(id).await;
        let key = key(id);
        // The guard says that nothing is there, and the storage looks.
        self.write(None, Some(Guard { key: &key, value: None }), row, now).await.map_err(|error| match error {
            TableError::Damaged => TableError::Exists,
            other => other,
        })
    }

    /// Adds a row whose id was just made here from 256 random bits, and gives its version. No other row can have it, so nobody
    /// looks, and it is one write.
    ///
    /// # Errors
    /// The storage's.
    pub async fn add(&self, row: Row, now: Timestamp) -> Result<u64, TableError> {
        let _lock = self.lock(row.id()).await;
        self.write(None, None, row, now).await
    }

    /// Decides about a row (`None`: there is none) and writes what was decided. Nobody else changes it meanwhile; what is
    /// answered is durable. Beside the answer: the version that was written, if one was.
    ///
    /// # Errors
    /// Damage, and the storage's. Then nothing of the decision may be told.
    pub async fn change<T>(
        &self,
        id: LinkId,
        now: Timestamp,
        decide: impl FnOnce(Option<&Row>) -> Change<T> + Send,
    ) -> Result<(T, Option<u64>), TableError> {
        let _lock = self.lock(id).await;
        let key = key(id);
        let bytes = self.storage.get(&key).await?;
        let before = bytes.as_deref().map(|bytes| parse(bytes, id)).transpose()?;
        match decide(before.as_ref()) {
            Change::Keep(answer) => Ok((answer, None)),
            Change::Put(row, answer) => {
                let guard = Guard { key: &key, value: bytes.as_deref() };
                let version = self.write(before.as_ref(), Some(guard), *row, now).await?;
                Ok((answer, Some(version)))
            }
            Change::Remove(answer) => {
                let guard = Guard { key: &key, value: bytes.as_deref() };
                self.storage.commit(Some(guard), &[Write::Delete(key.clone())]).await?;
                Ok((answer, None))
            }
        }
    }

    /// The ids of all rows, in the storage's order.
    ///
    /// # Errors
    /// The storage's.
    pub async fn ids(&self) -> Result<Vec<LinkId>, StorageFault> {
        Ok(self.storage.list(LINKS).await?.iter().filter_map(|name| LinkId::parse(name)).collect())
    }

    /// Lines of history with numbers above `after`, oldest first, at most `limit`. A line appears only when all before it
    /// have, so that a reader who goes on from the last number misses none.
    ///
    /// # Errors
    /// The storage's.
    pub async fn history(&self, after: u64, limit: usize) -> Result<Vec<(u64, Happening)>, TableError> {
        let finished = self.sequence.finished().await;
        let mut found = Vec::new();
        let first = after.saturating_add(1) >> FOLDER_BITS;
        for folder in self.folders().await?.into_iter().filter(|folder| *folder >= first) {
            for number in
                self.lines(folder).await?.into_iter().filter(|n| (after.saturating_add(1)..=finished).contains(n))
            {
                if found.len() >= limit {
                    return Ok(found);
                }
                if let Some(bytes) = self.storage.get(&line_key(number)).await? {
                    let line = serde_json::from_slice(&bytes).map_err(|_| TableError::Damaged)?;
                    found.push((number, line));
                }
            }
        }
        Ok(found)
    }

    /// The first number that no write was given yet, or a later one.
    ///
    /// # Errors
    /// The storage's.
    pub async fn unreserved(&self) -> Result<u64, TableError> {
        Ok(crate::sequence::stored(&*self.storage).await?)
    }

    /// The number up to which history was removed.
    ///
    /// # Errors
    /// Damage, and the storage's.
    pub async fn trimmed(&self) -> Result<u64, TableError> {
        let Some(bytes) = self.storage.get(TRIMMED).await? else { return Ok(0) };
        std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok()).ok_or(TableError::Damaged)
    }

    /// Removes lines of history from before `until`, oldest first, at most `limit`; gives how many.
    ///
    /// # Errors
    /// The storage's.
    pub async fn trim(&self, until: Timestamp, limit: usize) -> Result<usize, TableError> {
        let mut old = Vec::new();
        'folders: for folder in self.folders().await? {
            for number in self.lines(folder).await? {
                let Some(bytes) = self.storage.get(&line_key(number)).await? else { continue };
                let is_old = serde_json::from_slice::<Happening>(&bytes).map_or(true, |line| line.at < until);
                if !is_old || old.len() >= limit {
                    break 'folders;
                }
                old.push(number);
            }
        }
        if let Some(last) = old.last() {
            // First this: a reader must learn that lines are gone.
            let write = Write::Put(TRIMMED.to_owned(), last.to_string().into_bytes());
            self.storage.commit(None, &[write]).await?;
        }
        for number in &old {
            self.storage.commit(None, &[Write::Delete(line_key(*number))]).await?;
        }
        Ok(old.len())
    }

    async fn folders(&self) -> Result<Vec<u64>, StorageFault> {
        let names = self.storage.list(EVENTS).await?;
        let number = |name: &String| u64::from_str_radix(name.strip_suffix('/')?, 16).ok();
        let mut folders: Vec<u64> = names.iter().filter_map(number).collect();
        folders.sort_unstable();
        Ok(folders)
    }

    async fn lines(&self, folder: u64) -> Result<Vec<u64>, StorageFault> {
        let names = self.storage.list(&format!("{EVENTS}{folder:012x}/")).await?;
        let low = names.iter().filter_map(|name| u64::from_str_radix(name, 16).ok());
        let mut lines: Vec<u64> = low.map(|low| (folder << FOLDER_BITS) | low).collect();
        lines.sort_unstable();
        Ok(lines)
    }

    async fn lock(&self, id: LinkId) -> Option<MutexGuard<'_, ()>> {
        let [first, ..] = id.0;
        match self.locks.get(usize::from(first)) {
            Some(lock) => Some(lock.lock().await),
            None => None,
        }
    }

    async fn write(
        &self,
        before: Option<&Row>,
        guard: Option<Guard<'_>>,
        mut row: Row,
        now: Timestamp,
    ) -> Result<u64, TableError> {
        let ticket = self.sequence.next(&*self.storage).await?;
        row.version = ticket.number;
        let id = row.id();
        let events = row.happened_since(before);
        let mut writes = Vec::with_capacity(2);
        if let Some(link) = row.link().filter(|_| !events.is_empty()) {
            let line = Happening { id, at: now, state: link.state, events };
            writes.push(Write::Put(line_key(ticket.number), bytes(&line)?));
        }
        writes.push(Write::Put(key(id), bytes(&row)?));
        self.storage.commit(guard, &writes).await?;
        Ok(ticket.number)
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

/// An id is derived from a link's secret and tells nothing of it, so it may stand in a key, which storage keeps in clear.
fn key(id: LinkId) -> String {
    format!("{LINKS}{id}")
}

fn line_key(number: u64) -> String {
    format!("{EVENTS}{:012x}/{:03x}", number >> FOLDER_BITS, number & ((1 << FOLDER_BITS) - 1))
}

fn bytes(value: &impl serde::Serialize) -> Result<Vec<u8>, TableError> {
    serde_json::to_vec(value).map_err(|_| TableError::Damaged)
}

fn parse(bytes: &[u8], id: LinkId) -> Result<Row, TableError> {
    let row: Row = serde_json::from_slice(bytes).map_err(|_| TableError::Damaged)?;
    if row.id() == id { Ok(row) } else { Err(TableError::Damaged) }
}
