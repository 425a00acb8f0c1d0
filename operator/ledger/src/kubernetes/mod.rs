//! The ledger in a cluster: Secrets in the operator's namespace, one per entry.
//!
//! Writes are compare-and-swap on the API server; [`Ledger::get_latest`] asks it each time. What entries are found by is in
//! annotations and followed by a watch, so lists and searches cost no request; they show this process's own writes at once
//! and other processes' within milliseconds. Why that is enough: docs/decisions/0027-kubernetes-ledger-index.md.
//!
//! **Backwards.** After etcd was restored from a backup, entries may be older than what was done. A read that is older than
//! what is known, an entry that is gone while the API server stands before what it told, and a write whose answer is older
//! than what was known are transient faults (`ledger-went-back`); so is every call on this handle from then on, and from when
//! a list has shown it ([`KubernetesLedger::epoch`]). The restore check opens a new one.

mod cache;
mod meta;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ps_core::entry::{Common, Entry};
use ps_core::error::{Class, Fault};
use ps_core::ids::{Digest, Key, LinkId};
use ps_core::ports::{CasError, Ledger, Versioned};
use ps_kubernetes::{Client, Index, Row, SecretTable};

use crate::index;
use cache::Cache;
use meta::{BARRIER, COMMON, Facts, Kept, UNREADABLE, by_record, by_source, name_of};

/// The type of the Secrets, which nobody can change.
pub const KIND: &str = "passwordsender.io/ledger-entry";

const DATA: &str = "entry";
/// Bytes of entries that are kept in memory.
const CACHE: usize = 8 * 1024 * 1024;
/// Longest wait for the first complete list.
const SYNC: Duration = Duration::from_secs(30);
/// Longest wait for a watch to be open before a search fails.
const CONNECT: Duration = Duration::from_secs(2);
/// Longest wait for the watch to reach what was written.
const REACH: Duration = Duration::from_secs(5);

/// Ledger entries in Secrets. Any number of handles, in any number of processes, may be open on one namespace.
pub struct KubernetesLedger {
    table: SecretTable,
    index: Index<Kept>,
    cache: Mutex<(u64, Cache)>,
    /// The ledger-wide entry as it was read or written last.
    common: Mutex<Option<Versioned<Common>>>,
    /// An answer was older than what was known.
    went_back: AtomicBool,
}

impl std::fmt::Debug for KubernetesLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubernetesLedger")
            .field("table", &self.table)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

impl KubernetesLedger {
    /// Opens the ledger in `namespace`, the operator's own, and reads its whole index: what is listed afterwards is at least as
    /// new as this call. Takes a request per 100 entries.
    ///
    /// The service account needs `get`, `list`, `watch`, `create`, `update` and `delete` on Secrets there. `patch` is used only
    /// to take a finalizer off an entry that is deleted; nobody puts one on unasked.
    ///
    /// # Errors
    /// What keeps the index from being read: `kubernetes-denied`, `kubernetes-unreachable`, ….
    pub async fn open(client: Client, namespace: &str) -> Result<Self, Fault> {
        let labels = [("app.kubernetes.io/managed-by", "password-sender"), ("app.kubernetes.io/component", "ledger")];
        let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let table = SecretTable::new(client, namespace, KIND, labels);
        let index = Index::start(table.clone(), Kept::of);
        index.synced(SYNC).await?;
        Ok(Self {
            table,
            index,
            cache: Mutex::new((0, Cache::new(CACHE))),
            common: Mutex::default(),
            went_back: AtomicBool::new(false),
        })
    }

    /// Waits until every write, by whichever process, that ended before this call is in the index: to be called when this
    /// process begins to lead. One small write.
    ///
    /// # Errors
    /// `Failed`.
    pub async fn catch_up(&self) -> Result<(), CasError> {
        self.sound()?;
        let row = Row { name: BARRIER.to_owned(), ..Row::default() };
        let known = self.index.newest();
        let version = loop {
            let found = self.table.get(BARRIER).await?;
            let (written, other) = match found {
                Some((_, version)) => (self.table.replace(&row, version).await, CasError::Conflict),
                None => (self.table.create(&row).await, CasError::AlreadyExists),
            };
            match written {
                Ok(version) => break version,
                // Somebody else wrote it just now: once more.
                Err(error) if error == other => {}
                Err(error) => return Err(error),
            }
        };
        self.follows(known, version)?;
        if tokio::time::timeout(REACH, self.index.reached(version)).await.is_ok() {
            return Ok(());
        }
        let late =
            || Fault::new(Class::Transient, "kubernetes-unreachable", "the watch of the ledger's Secrets is behind");
        Err(CasError::Failed(self.index.fault().unwrap_or_else(late)))
    }

    /// How often the API server's numbers went backwards since this handle was opened: each time, etcd was restored from a
    /// backup, and the restore check is due. Wait for it with [`KubernetesLedger::went_backwards`].
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.index.epoch()
    }

    /// Waits until the API server's numbers have gone backwards since `epoch`, and returns the new one. At once where they
    /// did since this handle was opened: it answers nothing any more.
    pub async fn went_backwards(&self, epoch: u64) -> u64 {
        if epoch > 0 {
            return self.index.epoch();
        }
        self.index.went_backwards(0).await
    }

    fn cache(&self) -> MutexGuard<'_, (u64, Cache)> {
        let epoch = self.index.epoch();
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.0 != epoch {
            // Versions of before mean nothing any more.
            cache.0 = epoch;
            cache.1.clear();
        }
        cache
    }

    /// That the numbers never went backwards since this handle was opened.
    fn sound(&self) -> Result<(), CasError> {
        if self.index.epoch() > 0 || self.went_back.load(Ordering::SeqCst) { Err(went_back()) } else { Ok(()) }
    }

    /// Only a restored etcd explains what was seen: from here on nothing of this handle is believed.
    fn contradicted(&self) -> CasError {
        self.went_back.store(true, Ordering::SeqCst);
        self.index.contradict();
        went_back()
    }

    /// Checks the answer to a write: it is newer than everything that was known before it.
    fn follows(&self, known: u64, version: u64) -> Result<(), CasError> {
        if version <= known { Err(self.contradicted()) } else { self.sound() }
    }

    /// Reads a row from the API server. What is older than what was known before is a fault, and so is a row that is gone from
    /// a server that stands before what it told.
    async fn fetch(&self, name: &str) -> Result<Option<(Row, u64)>, CasError> {
        self.sound()?;
        let (before, newest) = (self.index.get(name), self.index.newest());
        let found = self.table.get(name).await?;
        match (&found, before) {
            (Some((_, version)), Some((_, before))) if *version < before => return Err(self.contradicted()),
            (None, Some((_, before))) => {
                if self.table.position().await.map_err(CasError::Failed)? < newest {
                    return Err(self.contradicted());
                }
                self.index.note_deleted(name, before);
            }
            _ => {}
        }
        self.sound()?;
        Ok(found)
    }

    /// Reads an entry from the API server, and what it teaches.
    async fn read(&self, name: &str) -> Result<Option<(Row, Versioned<Entry>)>, CasError> {
        let Some((row, version)) = self.fetch(name).await? else {
            self.cache().1.remove(name);
            return Ok(None);
        };
        let bytes = row.data.get(DATA).map(Vec::as_slice).unwrap_or_default();
        let value = serde_json::from_slice::<Entry>(bytes)
            .ok()
            .filter(|entry| name_of(&entry.key) == name)
            .ok_or_else(|| CasError::Failed(index::unreadable("entry")))?;
        let entry = Versioned { value, version };
        self.index.note(name, version, &row.annotations);
        self.cache().1.put(name, entry.clone(), bytes.len());
        Ok(Some((row, entry)))
    }

    /// From memory if it is certain to be as new as the index, or if the index has none, else from the API server.
    async fn named(&self, name: &str) -> Result<Option<Versioned<Entry>>, CasError> {
        self.sound()?;
        if self.index.behind_since().is_none() {
            // One that another process made a moment ago is not there yet; `insert` is what decides.
            let Some((_, version)) = self.index.get(name) else { return Ok(None) };
            if let Some(found) = self.cache().1.get(name, version) {
                return Ok(Some(found));
            }
        }
        Ok(self.read(name).await?.map(|(_, entry)| entry))
    }

    /// The sources that an entry had at a version: `Conflict` if it has another.
    async fn had(&self, name: &str, unchanged: u64) -> Result<Vec<Digest>, CasError> {
        if let Some((Kept::Entry(facts), version)) = self.index.get(name)
            && version == unchanged
        {
            return Ok(facts.sources.clone());
        }
        match self.read(name).await? {
            Some((row, entry)) if entry.version == unchanged => {
                let facts = Facts::read(name, &row.annotations).unwrap_or_else(|| Facts::of(&entry.value, &[]));
                Ok(facts.sources)
            }
            _ => Err(CasError::Conflict),
        }
    }

    /// Notes what was written, when `known` was the newest version known.
    fn wrote(&self, known: u64, row: &Row, entry: &Entry, version: u64) -> Result<u64, CasError> {
        self.follows(known, version)?;
        let size = row.data.values().map(Vec::len).sum();
        self.index.note(&row.name, version, &row.annotations);
        self.cache().1.put(&row.name, Versioned { value: entry.clone(), version }, size);
        Ok(version)
    }

    /// Keeps the ledger-wide entry as it was read, or written, in this row.
    fn keep_common(&self, row: &Row, common: Versioned<Common>) {
        self.index.note(COMMON, common.version, &row.annotations);
        *self.kept_common() = Some(common);
    }

    fn kept_common(&self) -> MutexGuard<'_, Option<Versioned<Common>>> {
        self.common.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries whose annotations somebody changed, from their own text: a search must not miss them.
    async fn unreadable(&self) -> Result<Vec<Entry>, CasError> {
        let mut found = Vec::new();
        for (name, _, _) in self.index.find(&UNREADABLE) {
            found.extend(self.read(&name).await?.map(|(_, entry)| entry.value));
        }
        Ok(found)
    }

    /// Searches wait until a watch is open: a search that misses is worse than none.
    async fn connected(&self) -> Result<(), CasError> {
        self.index.connected(CONNECT).await.map_err(CasError::Failed)?;
        self.sound()
    }
}

fn went_back() -> CasError {
    CasError::Failed(
        Fault::new(
            Class::Transient,
            "ledger-went-back",
            "the API server's ledger is older than what it told before: etcd was restored from a backup",
        )
        .remedy("The operator checks for a restore by itself; see `restore accept`"),
    )
}

fn row(entry: &Entry, had: &[Digest]) -> Result<Row, CasError> {
    let text = index::text(entry).map_err(CasError::Failed)?;
    Ok(Row {
        name: name_of(&entry.key),
        annotations: Facts::of(entry, had).annotations(),
        data: [(DATA.to_owned(), text.into_bytes())].into(),
    })
}

fn common_row(common: &Common) -> Result<Row, CasError> {
    let text = serde_json::to_vec(common).map_err(|_| CasError::Failed(index::unwritable("common entry")))?;
    Ok(Row { name: COMMON.to_owned(), data: [(DATA.to_owned(), text)].into(), ..Row::default() })
}

#[async_trait]
impl Ledger for KubernetesLedger {
    async fn get(&self, key: &Key) -> Result<Option<Versioned<Entry>>, CasError> {
        self.named(&name_of(key)).await
    }

    async fn get_latest(&self, key: &Key) -> Result<Option<Versioned<Entry>>, CasError> {
        Ok(self.read(&name_of(key)).await?.map(|(_, entry)| entry))
    }

    async fn insert(&self, entry: &Entry) -> Result<u64, CasError> {
        self.sound()?;
        let row = row(entry, &[])?;
        let known = self.index.newest();
        match self.table.create(&row).await {
            Ok(version) => self.wrote(known, &row, entry, version),
            Err(CasError::AlreadyExists) => {
                // Somebody else was faster: the next read must find it.
                self.read(&row.name).await?;
                Err(CasError::AlreadyExists)
            }
            Err(error) => Err(error),
        }
    }

    async fn replace(&self, entry: &Entry, unchanged: u64) -> Result<u64, CasError> {
        self.sound()?;
        let name = name_of(&entry.key);
        let had = self.had(&name, unchanged).await?;
        let row = row(entry, &had)?;
        let known = self.index.newest();
        match self.table.replace(&row, unchanged).await {
            Ok(version) => self.wrote(known, &row, entry, version),
            Err(error) => {
                // What we have of it is old, or may be: the next read asks.
                self.cache().1.remove(&name);
                Err(error)
            }
        }
    }

    async fn delete(&self, key: &Key, unchanged: u64) -> Result<(), CasError> {
        self.sound()?;
        let name = name_of(key);
        self.cache().1.remove(&name);
        self.table.delete(&name, unchanged).await?;
        self.index.note_deleted(&name, unchanged);
        Ok(())
    }

    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, CasError> {
        self.connected().await?;
        let mut keys = self.index.collect(|_, kept, _| match kept {
            Kept::Entry(facts) if after.is_none_or(|after| facts.key > *after) => Some(Arc::clone(facts)),
            _ => None,
        });
        let repaired = self.unreadable().await?;
        keys.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        keys.truncate(limit);
        let mut keys: Vec<Key> = keys.iter().map(|facts| facts.key.clone()).collect();
        if !repaired.is_empty() {
            keys.extend(
                repaired.into_iter().map(|entry| entry.key).filter(|key| after.is_none_or(|after| key > after)),
            );
            keys.sort_unstable();
            keys.dedup();
            keys.truncate(limit);
        }
        Ok(keys)
    }

    async fn by_source(&self, source: &Digest) -> Result<Vec<Entry>, CasError> {
        self.connected().await?;
        let mut found = Vec::new();
        for (name, kept, _) in self.index.find(&by_source(source)) {
            if matches!(&kept, Kept::Entry(facts) if facts.sources.contains(source)) {
                found.extend(self.named(&name).await?.map(|entry| entry.value));
            }
        }
        let repaired = self.unreadable().await?;
        found.extend(repaired.into_iter().filter(|entry| index::sources(entry).contains(source)));
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        found.dedup_by(|a, b| a.key == b.key);
        Ok(found)
    }

    async fn by_record(&self, record: LinkId) -> Result<Option<Key>, CasError> {
        self.connected().await?;
        let indexed = self.index.find(&by_record(record)).into_iter().filter_map(|(_, kept, _)| match kept {
            Kept::Entry(facts) => Some(facts.key.clone()),
            _ => None,
        });
        let mut keys: Vec<Key> = indexed.collect();
        let repaired = self.unreadable().await?;
        keys.extend(
            repaired.into_iter().filter(|entry| index::records(entry).contains(&record)).map(|entry| entry.key),
        );
        Ok(keys.into_iter().min())
    }

    async fn common(&self, fresh: &Common) -> Result<Versioned<Common>, CasError> {
        loop {
            if let Some((row, version)) = self.fetch(COMMON).await? {
                let value = row.data.get(DATA).and_then(|bytes| serde_json::from_slice(bytes).ok());
                let value = value.ok_or_else(|| CasError::Failed(index::unreadable("common entry")))?;
                let common = Versioned { value, version };
                self.keep_common(&row, common.clone());
                return Ok(common);
            }
            if fresh.ledger_id.is_empty() {
                return Err(CasError::Failed(ps_core::ports::common_missing()));
            }
            let known = self.index.newest();
            match self.table.create(&common_row(fresh)?).await {
                Ok(version) => {
                    self.follows(known, version)?;
                    return Ok(Versioned { value: fresh.clone(), version });
                }
                // Another operator was faster.
                Err(CasError::AlreadyExists) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn known_common(&self) -> Result<Versioned<Common>, CasError> {
        self.sound()?;
        if self.index.behind_since().is_none()
            && let Some((_, version)) = self.index.get(COMMON)
            && let Some(kept) = self.kept_common().clone().filter(|kept| kept.version == version)
        {
            return Ok(kept);
        }
        self.common(&Common::blank()).await
    }

    async fn replace_common(&self, common: &Common, unchanged: u64) -> Result<u64, CasError> {
        self.sound()?;
        let row = common_row(common)?;
        let known = self.index.newest();
        let version = self.table.replace(&row, unchanged).await?;
        self.follows(known, version)?;
        self.keep_common(&row, Versioned { value: common.clone(), version });
        Ok(version)
    }
}
