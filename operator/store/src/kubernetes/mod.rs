//! Link records as Secrets, in a namespace that holds nothing else.
//!
//! One Secret per record ([`object`]), compare-and-swap by resourceVersion, and a watch of the metadata that tells what is
//! there and what changed. Reads of one record, and all writes, go to the API server and are as new as it is.
//!
//! Two kinds of process use it ([`Rights`]):
//!
//! - **The operator** may do everything. A record that rests is read once and then kept ([`Settings::cache_bytes`]) while the
//!   watch knows of nothing newer; a decision on one that is newer after all fails by compare-and-swap and is made anew.
//! - **A gateway** has `get`, `list`, `watch` and `update`. An id that its watch does not know costs the API server nothing; nor
//!   does a known one with a wrong `access` ([`KubernetesStore::door`]).
//!
//! **Behind.** A new record reaches a gateway with its watch, milliseconds after the operator put it; until then its id is
//! unknown. A gateway that can't follow must not call an id unknown: while the watch is interrupted, or nothing was heard of the
//! API server for [`PATIENCE`], unknown ids are `NotReady`. What remains is a connection that died without either end noticing
//! while others work: no bookmark for 90 s ends it.
//!
//! **Backwards.** After etcd was restored from a backup, claims may be undone. It is noticed by any of: the API server stands
//! before what it told; a list, or the read of one record, shows an older version than was known. Then the fence is raised,
//! [`KubernetesStore::epoch`] rises, and `changes` says `changes-lost`. See [`fence`] for how a gateway is cleared again.
//!
//! **Spoilt.** Who has a gateway's rights can make a Secret immutable, give it finalizers and owners, or fill it. The operator's
//! replacement takes all that off. An immutable Secret, and one that is being deleted, it deletes under the version that it
//! saw and makes anew; between the two, for moments, the id is unknown, and if the operator ends just there it stays unknown:
//! a missing record is the ledger's to notice. A Secret of more than 2 MiB is `record-unreadable`.

mod cache;
pub mod fence;
mod gatekeeper;
mod keeper;
pub mod object;
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ps_core::error::{Class, Fault};
use ps_core::ids::{Digest, LinkId};
use ps_core::link::Record;
use ps_core::ports::{CasError, LinkStore, RecordSummary, Versioned};
use ps_core::service::Refusal;
use ps_kubernetes::{Client, Row, SecretTable};
use tokio::sync::{Semaphore, SemaphorePermit};

use self::cache::Cache;
use self::object::{Annotations, Door};
use self::view::View;
use crate::MAX_BYTES;
use crate::row;
use crate::service::Fence;

pub use self::fence::replica;
pub use self::gatekeeper::Gatekeeper;
pub use self::keeper::FenceKeeper;

/// How long nothing may be heard of the API server before unknown ids are `NotReady`.
pub const PATIENCE: Duration = Duration::from_secs(6);
/// How long a watch may be behind the mail that it is asked about: an id that is unknown until then is refused.
pub const LAG: Duration = Duration::from_millis(400);
/// How many callers may wait for that at once. Beyond, unknown ids are refused at once.
pub const WAITING: usize = 256;
/// How long a call waits for the first complete list.
const FIRST_LIST: Duration = Duration::from_secs(30);
/// What is compared where there is no record, so that it takes as long.
const NOBODY: Digest = Digest([0; 32]);

/// What this process may do with the Secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// `get`, `list`, `watch`, `update`.
    Gateway,
    /// `create` and `delete` as well.
    Operator,
}

/// How a store behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// See [`Rights`].
    pub rights: Rights,
    /// The largest ciphertext, in bytes; at most [`MAX_BYTES`].
    pub max_bytes: usize,
    /// How many bytes of records the operator keeps; a gateway keeps none.
    pub cache_bytes: usize,
    /// Requests to the API server at the same time; more wait. Bounds memory too: each holds at most one record.
    pub requests: usize,
}

impl Settings {
    /// The defaults: 512 KiB, 8 MiB, 32 requests.
    #[must_use]
    pub const fn new(rights: Rights) -> Self {
        Self { rights, max_bytes: MAX_BYTES, cache_bytes: 8 * 1024 * 1024, requests: 32 }
    }
}

/// What a store has done since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that the watch knows, tombstones among them.
    pub records: u64,
    /// Records read from the API server.
    pub reads: u64,
    /// Records written to the API server, or tried to.
    pub writes: u64,
    /// Times that the API server was older than what it had told before.
    pub went_back: u64,
}

/// Link records in a namespace of a cluster. Clone the `Arc` that holds it.
#[derive(Debug)]
pub struct KubernetesStore {
    settings: Settings,
    table: SecretTable,
    /// The fence's Secret, of another type.
    board: SecretTable,
    view: Arc<View>,
    cache: Cache,
    requests: Semaphore,
    waiting: Semaphore,
    reads: AtomicU64,
    writes: AtomicU64,
    /// The epoch that the reader of `changes` knows of.
    told: AtomicU64,
    _follow: view::Following,
}

impl KubernetesStore {
    /// Starts to follow the records of `namespace`, in tasks of the current tokio runtime that end with this value. `fence` is
    /// raised whenever the API server went backwards.
    #[must_use]
    pub fn start(client: Client, namespace: &str, settings: Settings, fence: Fence) -> Self {
        let table = |kind| SecretTable::new(client.clone(), namespace, kind, std::collections::BTreeMap::new());
        let view = Arc::new(View::start(table(object::TYPE), fence));
        Self {
            settings: Settings { max_bytes: settings.max_bytes.min(MAX_BYTES), ..settings },
            table: table(object::TYPE),
            board: table(fence::TYPE),
            _follow: view::Following::of(&view),
            view,
            cache: Cache::new(if settings.rights == Rights::Operator { settings.cache_bytes } else { 0 }),
            requests: Semaphore::new(settings.requests.clamp(1, Semaphore::MAX_PERMITS)),
            waiting: Semaphore::new(WAITING),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            told: AtomicU64::new(0),
        }
    }

    /// Waits for the first complete list, at most `limit`.
    ///
    /// # Errors
    /// What keeps it from being read.
    pub async fn synced(&self, limit: Duration) -> Result<(), Fault> {
        self.view.synced(limit).await
    }

    /// Whether what is not known certainly was not there a few seconds ago.
    ///
    /// # Errors
    /// `store-behind`.
    pub fn fresh(&self) -> Result<(), Fault> {
        self.view.fresh()
    }

    /// How often the API server went backwards. While it is the same, positions can be compared.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.view.epoch()
    }

    /// Waits until the API server has gone backwards since epoch `since`; the new epoch.
    pub async fn went_back(&self, since: u64) -> u64 {
        self.view.went_back(since).await
    }

    /// Lists everything anew and compares it with what was known: afterwards [`KubernetesStore::epoch`] tells whether the API
    /// server had gone backwards before this call.
    ///
    /// # Errors
    /// If it can't be listed.
    pub async fn recheck(&self) -> Result<(), Fault> {
        self.view.recheck(FIRST_LIST).await
    }

    /// The newest version of a record that is known without asking.
    #[must_use]
    pub fn known(&self, id: LinkId) -> Option<u64> {
        self.view.find(&object::name(id)).map(|(_, version)| version)
    }

    /// Waits until every change up to `version` was heard of.
    pub async fn reached(&self, version: u64) {
        self.view.reached(version).await;
    }

    /// What it has done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            records: u64::try_from(self.view.len()).unwrap_or(u64::MAX),
            reads: self.reads.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
            went_back: self.view.epoch(),
        }
    }

    /// How this store erases.
    #[must_use]
    pub const fn erasure(&self) -> &'static str {
        "The Secret is replaced as a whole, so from then on no read of what is there now returns erased bytes. Kubernetes also \
         answers for the past, to whoever may list or watch these Secrets: a list of an exact older resourceVersion returns \
         them until the API server has compacted etcd past it (--etcd-compaction-interval, 5 minutes by default: within two \
         of them), and a watch from an older resourceVersion until later events on Secrets have pushed them out of the API \
         server's watch cache, or it is restarted; with --watch-cache-sizes=secrets#0, until the same compaction. They are \
         ciphertext, whose key was never there. etcd's file and its log hold the bytes until it is defragmented and the log is \
         cut; etcd snapshots and backups keep them for as long as they are kept. With encryption at rest \
         (EncryptionConfiguration) what is left there is encrypted once more."
    }

    /// Whether a caller with this `access` may have the record of that id read, decided by the watch alone, in a time that does
    /// not tell an unknown id from a wrong `access`.
    ///
    /// # Errors
    /// `NotFound`; `NotReady` if the watch is behind, so that nobody knows.
    pub fn door(&self, id: LinkId, access: &[u8; 32]) -> Result<(), Refusal> {
        match self.view.find(&object::name(id)) {
            Some((sight, _)) => match sight.door(access) {
                Door::Open => Ok(()),
                Door::Shut => Err(Refusal::NotFound),
            },
            None => {
                std::hint::black_box(NOBODY.matches(access));
                Err(if self.fresh().is_ok() { Refusal::NotFound } else { Refusal::NotReady })
            }
        }
    }

    /// As [`KubernetesStore::door`], for somebody whose link may be younger than what the watch has shown: the mail can be
    /// faster. What would be refused is looked at again for [`LAG`], which costs the API server nothing; an unknown id and a
    /// wrong `access` take as long. At most [`WAITING`] callers wait; the rest are refused at once.
    ///
    /// # Errors
    /// As for [`KubernetesStore::door`].
    pub async fn knock(&self, id: LinkId, access: &[u8; 32]) -> Result<(), Refusal> {
        let mut moved = self.view.moves();
        let said = self.door(id, access);
        if said != Err(Refusal::NotFound) {
            return said;
        }
        let Ok(_place) = self.waiting.try_acquire() else { return said };
        let mut over = std::pin::pin!(tokio::time::sleep(LAG));
        loop {
            tokio::select! {
                () = &mut over => return self.door(id, access),
                changed = moved.changed() => {
                    if changed.is_err() || self.door(id, access).is_ok() {
                        return self.door(id, access);
                    }
                }
            }
        }
    }

    /// The table of the fence's Secret.
    pub(crate) const fn board(&self) -> &SecretTable {
        &self.board
    }

    async fn read(&self, id: LinkId, known: Option<u64>) -> Result<Option<Versioned<Record>>, CasError> {
        let name = object::name(id);
        let found = {
            let _permit = self.permit().await?;
            self.reads.fetch_add(1, Ordering::Relaxed);
            match self.table.get(&name).await {
                // Somebody has filled it.
                Err(CasError::Failed(fault)) if fault.code == "object-too-large" => {
                    return Err(CasError::Failed(row::unreadable(id)));
                }
                found => found?,
            }
        };
        let Some((row, version)) = found else {
            self.cache.remove(id);
            if let Some(known) = known {
                self.view.note_deleted(&name, known);
            }
            return Ok(None);
        };
        if known.is_some_and(|known| version < known) {
            // The read began after the newer version was known: only a restored etcd forgets.
            self.view.doubt();
            return Err(CasError::Failed(crate::embedded::changes_lost()));
        }
        self.view.note(&name, version, &row.annotations);
        let Row { annotations, data, .. } = row;
        let record = object::read(id, &annotations, data, self.settings.max_bytes);
        let value = record.ok_or_else(|| CasError::Failed(row::unreadable(id)))?;
        Ok(Some(Versioned { value, version }))
    }

    async fn write(&self, record: &Record, unchanged: Option<u64>) -> Result<u64, CasError> {
        let (annotations, data) = object::of(record, self.settings.max_bytes).map_err(CasError::Failed)?;
        let id = record.id();
        let row = Row { name: object::name(id), annotations, data };
        let written = {
            let _permit = self.permit().await?;
            self.writes.fetch_add(1, Ordering::Relaxed);
            match unchanged {
                None => self.table.create(&row).await,
                // A gateway has no more rights than to replace.
                Some(unchanged) if self.settings.rights == Rights::Gateway => self.table.replace(&row, unchanged).await,
                Some(unchanged) => self.table.replace_or_remake(&row, unchanged).await,
            }
        };
        match written {
            Ok(version) => {
                self.view.note(&row.name, version, &row.annotations);
                self.keep(record, version);
                Ok(version)
            }
            Err(error) => {
                self.cache.remove(id);
                Err(error)
            }
        }
    }

    fn keep(&self, record: &Record, version: u64) {
        if self.settings.rights == Rights::Operator {
            self.cache.put(Versioned { value: record.clone(), version });
        }
    }

    fn may(&self, what: &str) -> Result<(), CasError> {
        if self.settings.rights == Rights::Operator {
            return Ok(());
        }
        Err(CasError::Failed(
            Fault::new(Class::Permanent, "store-rights", format!("a gateway may not {what} link records"))
                .remedy("Report this: it is a defect of Password Sender"),
        ))
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, CasError> {
        // It is never closed.
        self.requests.acquire().await.map_err(|_| CasError::Failed(view::behind("the store is being closed")))
    }

    /// The view after its first complete list.
    async fn view(&self) -> Result<&View, CasError> {
        self.view.synced(FIRST_LIST).await.map_err(CasError::Failed)?;
        Ok(&self.view)
    }
}

#[async_trait]
impl LinkStore for KubernetesStore {
    async fn insert(&self, record: &Record) -> Result<u64, CasError> {
        self.may("add")?;
        self.write(record, None).await
    }

    async fn get(&self, id: LinkId) -> Result<Option<Versioned<Record>>, CasError> {
        let known = self.known(id);
        match (self.settings.rights, known) {
            (Rights::Gateway, None) => self.fresh().map(|()| None).map_err(CasError::Failed),
            (Rights::Gateway, Some(_)) => self.read(id, known).await,
            (Rights::Operator, _) => {
                if let Some(known) = known
                    && self.fresh().is_ok()
                    && let Some(kept) = self.cache.get(id, known)
                {
                    return Ok(Some(kept));
                }
                let found = self.read(id, known).await?;
                if let Some(found) = &found {
                    self.keep(&found.value, found.version);
                }
                Ok(found)
            }
        }
    }

    async fn replace(&self, record: &Record, unchanged: u64) -> Result<u64, CasError> {
        self.write(record, Some(unchanged)).await
    }

    async fn delete(&self, id: LinkId, unchanged: u64) -> Result<(), CasError> {
        self.may("delete")?;
        let name = object::name(id);
        self.cache.remove(id);
        let _permit = self.permit().await?;
        self.table.delete(&name, unchanged).await?;
        self.view.note_deleted(&name, unchanged);
        Ok(())
    }

    async fn purge(&self, id: LinkId) -> Result<bool, CasError> {
        self.may("delete")?;
        let name = object::name(id);
        self.cache.remove(id);
        let known = self.known(id);
        let _permit = self.permit().await?;
        let was_there = self.table.purge(&name).await?;
        if let Some(known) = known {
            self.view.note_deleted(&name, known);
        }
        Ok(was_there)
    }

    async fn list(&self, after: Option<LinkId>, limit: usize) -> Result<Vec<RecordSummary>, CasError> {
        let view = self.view().await?;
        view.fresh().map_err(CasError::Failed)?;
        Ok(view.list(after, limit))
    }

    async fn changes(&self, after: u64, limit: usize) -> Result<Vec<RecordSummary>, CasError> {
        let view = self.view().await?;
        let epoch = view.epoch();
        if self.told.swap(epoch, Ordering::SeqCst) != epoch {
            self.cache.clear();
            return Err(CasError::Failed(crate::embedded::changes_lost()));
        }
        if after > view.position() && after > view.revision().await.map_err(CasError::Failed)? {
            return Err(CasError::Failed(crate::embedded::changes_lost()));
        }
        let found = view.changes(after, limit.max(1), epoch).await;
        if found.is_empty() {
            self.told.store(view.epoch(), Ordering::SeqCst);
            self.cache.clear();
            return Err(CasError::Failed(crate::embedded::changes_lost()));
        }
        Ok(found)
    }
}

/// Annotations as a board of the fence.
pub(crate) fn board_row(annotations: Annotations, data: object::Data) -> Row {
    Row { name: fence::NAME.to_owned(), annotations, data }
}
