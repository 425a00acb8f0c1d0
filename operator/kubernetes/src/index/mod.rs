//! What the rows of a table say in their metadata, kept up to date by a watch.
//!
//! The watch carries metadata only. A process's own writes are noted at once ([`Index::note`]), so that it reads what it
//! wrote; other processes' writes come with the watch, milliseconds later. A newer version of a row always wins over an older
//! one, so nothing is unread.
//!
//! [`Index::changed_since`] reports in the order of the watch: a noted write is reported when the watch has reached it, or a
//! reader that has moved on to it would miss an older change of another process.
//!
//! **Backwards.** After etcd was restored from a backup, the API server's numbers start again where the backup was made, and a
//! watch from a position that is "in the future" is silent. So each time that a watch ends the API server is asked where it
//! stands; if that is before what was seen, or a row has an older version than it had, everything is read anew, the
//! [`Index::epoch`] rises, and positions from before mean nothing any more.

mod follow;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ps_core::error::Fault;
use tokio::sync::{Notify, watch};

use crate::fault;
use crate::table::{RowMeta, SecretTable};
use state::State;

/// What rows are looked up by besides their name: a kind of ours and 16 bytes, such as an id or the half of a digest.
pub type Term = (u8, [u8; 16]);

/// What is kept of a row: made from its metadata, small.
pub trait Indexed: Clone + Send + Sync + 'static {
    /// What the row is found by ([`Index::find`]); none unless an implementation says so.
    fn terms(&self) -> Vec<Term> {
        Vec::new()
    }
}

/// What happened in a table after a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes<T> {
    /// Rows that were made or changed, each once, oldest change first: name, what is kept of it, version.
    pub changed: Vec<(String, T, u64)>,
    /// Rows that went: name and the position at which that was known. A bounded number of them is remembered.
    pub deleted: Vec<(String, u64)>,
    /// Where to go on from: everything up to here is in this answer, or was before it.
    pub position: u64,
    /// See [`Index::epoch`]: if it is not the one that `after` belongs to, list everything.
    pub epoch: u64,
}

/// Follows a table. Clones share it; the last one to go stops it.
#[derive(Clone)]
pub struct Index<T: Indexed> {
    shared: Arc<Shared<T>>,
    _task: Arc<AbortOnDrop>,
}

impl<T: Indexed> std::fmt::Debug for Index<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("position", &self.position()).finish_non_exhaustive()
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) struct Shared<T> {
    pub(crate) table: SecretTable,
    parse: Box<dyn Fn(&RowMeta) -> T + Send + Sync>,
    state: Mutex<State<T>>,
    /// Counts what may interest a waiter.
    moved: watch::Sender<u64>,
    restart: Notify,
}

impl<T: Indexed> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes whoever waits for something.
    fn change<R>(&self, with: impl FnOnce(&mut State<T>) -> R) -> R {
        let result = with(&mut self.lock());
        self.moved.send_modify(|count| *count = count.wrapping_add(1));
        result
    }
}

impl<T: Indexed> Index<T> {
    /// Starts to follow a table, in a task of the current tokio runtime. `parse` makes what is kept of a row from its metadata;
    /// it is called for each change, also for rows that somebody else wrote, so it must not trust them.
    #[must_use]
    pub fn start(table: SecretTable, parse: impl Fn(&RowMeta) -> T + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            table,
            parse: Box::new(parse),
            state: Mutex::new(State::default()),
            moved: watch::Sender::new(0),
            restart: Notify::new(),
        });
        let task = tokio::spawn(follow::follow(Arc::clone(&shared)));
        Self { shared, _task: Arc::new(AbortOnDrop(task)) }
    }

    /// Waits until the first complete list is in, at most `limit`.
    ///
    /// # Errors
    /// What keeps it from being read: `kubernetes-denied`, `kubernetes-unreachable`, ….
    pub async fn synced(&self, limit: Duration) -> Result<(), Fault> {
        let done = self.until(|state| state.synced.then_some(()));
        if tokio::time::timeout(limit, done).await.is_ok() {
            return Ok(());
        }
        Err(self.fault().unwrap_or_else(|| fault::silent(&self.shared.table.doing("list", ""))))
    }

    /// Waits until a watch is open, at most `limit`: what the index says is at most milliseconds old then.
    ///
    /// # Errors
    /// What keeps it from being opened.
    pub async fn connected(&self, limit: Duration) -> Result<(), Fault> {
        let done = self.until(|state| (state.synced && state.behind.is_none()).then_some(()));
        if tokio::time::timeout(limit, done).await.is_ok() {
            return Ok(());
        }
        Err(self.fault().unwrap_or_else(|| fault::silent(&self.shared.table.doing("watch", ""))))
    }

    /// What is wrong with the watch now, if something is.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.shared.lock().fault.clone()
    }

    /// When the API server last said something, by the monotonic clock; `None` before the first complete list. A bookmark comes
    /// about every minute: an index that has heard nothing for longer may be behind.
    #[must_use]
    pub fn heard(&self) -> Option<Instant> {
        self.shared.lock().heard
    }

    /// Since when no watch is open, so that other processes' writes are not seen; `None` while one is.
    #[must_use]
    pub fn behind_since(&self) -> Option<Instant> {
        self.shared.lock().behind
    }

    /// Drops the watch and lists everything again.
    pub fn restart(&self) {
        self.shared.restart.notify_one();
    }

    /// For who has read something that only numbers that went backwards explain: an older version of a row, or an answer to a
    /// write that is older than what was known before it. Everything is listed anew, and [`Index::epoch`] rises then,
    /// whatever the list shows. Until then the index keeps what it knew.
    pub fn contradict(&self) {
        self.shared.lock().contradict();
        self.restart();
    }

    /// The newest version that is known, by the watch or by notes: every read from now on comes from there or later, and each
    /// write gets a larger one, unless the API server's numbers go backwards.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.shared.lock().newest()
    }

    /// Changes whenever the index, or its connection, did. Subscribe before you look.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.moved.subscribe()
    }

    /// What is kept of a row, with the row's version.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<(T, u64)> {
        self.shared.lock().get(name)
    }

    /// Rows that have a term, in no order.
    #[must_use]
    pub fn find(&self, term: &Term) -> Vec<(String, T, u64)> {
        self.shared.lock().find(term)
    }

    /// At most `limit` rows in order of name, from after `after` on.
    #[must_use]
    pub fn range(&self, after: Option<&str>, limit: usize) -> Vec<(String, T, u64)> {
        self.shared.lock().range(after, limit)
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.lock().len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every row for which `with` makes something, in order of name. `with` must be quick: it holds the index.
    pub fn collect<R>(&self, with: impl FnMut(&str, &T, u64) -> Option<R>) -> Vec<R> {
        self.shared.lock().collect(with)
    }

    /// The newest version that the watch has reached: every change up to it, by whichever process, is in the index.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.shared.lock().seen
    }

    /// How often the API server's numbers went backwards since the start. While it is the same, versions and positions can be
    /// compared.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.shared.lock().epoch
    }

    /// Waits until the API server's numbers have gone backwards since epoch `since`, and returns the new epoch.
    pub async fn went_backwards(&self, since: u64) -> u64 {
        self.until(|state| (state.epoch != since).then_some(state.epoch)).await
    }

    /// What happened after position `after`: at most `limit` rows.
    #[must_use]
    pub fn changed_since(&self, after: u64, limit: usize) -> Changes<T> {
        self.shared.lock().changed_since(after, limit)
    }

    /// Waits until something happened after position `after` of epoch `epoch`, or the epoch is another.
    pub async fn wait_change(&self, after: u64, epoch: u64) {
        self.until(|state| (state.epoch != epoch || state.has_news(after)).then_some(())).await;
    }

    /// Waits until the index has reached a version, noted or watched: after a row's write by another process, its version.
    pub async fn reached(&self, version: u64) {
        let epoch = self.epoch();
        self.until(|state| (state.seen >= version || state.epoch != epoch).then_some(())).await;
    }

    /// Notes a write, or a read, of this process.
    pub fn note(&self, name: &str, version: u64, annotations: &BTreeMap<String, String>) {
        let meta = RowMeta { name: name.to_owned(), annotations: annotations.clone(), version };
        let value = (self.shared.parse)(&meta);
        self.shared.change(|state| state.put(&meta.name, value, version));
    }

    /// Notes that this process deleted a row that had `version`, or found it gone since.
    pub fn note_deleted(&self, name: &str, version: u64) {
        self.shared.change(|state| state.forget(name, version));
    }

    /// Waits until `found` finds something.
    async fn until<R>(&self, mut found: impl FnMut(&State<T>) -> Option<R>) -> R {
        let mut moved = self.shared.moved.subscribe();
        loop {
            moved.mark_unchanged();
            if let Some(result) = found(&self.shared.lock()) {
                return result;
            }
            if moved.changed().await.is_err() {
                // The sender lives as long as `self`.
                std::future::pending::<()>().await;
            }
        }
    }
}
