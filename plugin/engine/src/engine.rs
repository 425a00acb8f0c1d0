//! One mount: what it keeps in memory, and the closed list of what it answers.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ps_core::ids::LinkId;
use ps_core::time::{Span, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use ps_core::ports::Random;

use crate::counters::Counters;
use crate::fields::Fields;
use crate::known::Known;
use crate::message::{Answer, Failure, Kind, Operation, Request};
use crate::paths::{Route, route};
use crate::row::Row;
use crate::schedule::Schedule;
use crate::settings::{Config, Role};
use crate::storage::{CommitError, Storage, StorageFault, Write};
use crate::table::{Change, Table, TableError};
use crate::{events, gateway, help, issue, leases, links, roles, sealed, tidy};

/// By these words a server knows that the active node must be asked. They come from us only where a standby was asked.
const ASK_ACTIVE: &str = "cannot write to readonly storage";

/// Passphrases that are hashed at the same time.
const HASHING: usize = 4;

/// Where the mount's settings are.
pub(crate) const CONFIG: &str = "config";
/// Where roles are.
pub(crate) const ROLES: &str = "roles/";

/// The engine of one mount. It may be used by any number of tasks at once.
pub struct Engine {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) table: Table,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) counters: Counters,
    pub(crate) schedule: Mutex<Schedule>,
    /// One place for each passphrase that is hashed at the same time: each takes 19 MiB.
    pub(crate) hashing: tokio::sync::Semaphore,
    /// Held by the one round of housekeeping that runs.
    pub(crate) tidying: tokio::sync::Mutex<()>,
    /// Held while settings are read and written again: of two edits at a time neither is lost.
    pub(crate) editing: tokio::sync::Mutex<()>,
    known: Known,
    /// How long tombstones are kept, as last read; milliseconds.
    keep: AtomicI64,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine over a mount's storage. It reads nothing yet.
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>, random: Arc<dyn Random>) -> Self {
        Self {
            table: Table::new(storage.clone()),
            storage,
            random,
            counters: Counters::default(),
            schedule: Mutex::default(),
            hashing: tokio::sync::Semaphore::new(HASHING),
            tidying: tokio::sync::Mutex::default(),
            editing: tokio::sync::Mutex::default(),
            known: Known::default(),
            keep: AtomicI64::new(Config::default().keep.as_millis()),
        }
    }

    /// Storage keys that a server should wrap with its seal as well: the sealed payloads.
    #[must_use]
    pub fn seal_wrapped() -> Vec<String> {
        vec![crate::table::LINKS.to_owned()]
    }

    /// One read, so that a mount whose storage can't be reached is refused when it is enabled.
    ///
    /// # Errors
    /// The storage's, in words.
    pub async fn initialize(&self) -> Result<(), String> {
        self.config().await.map(drop).map_err(|failure| failure.message)
    }

    /// Another node has written the value under this key of the storage.
    pub fn invalidate(&self, key: &str) {
        if key == CONFIG || key.starts_with(ROLES) {
            self.known.forget();
        }
    }

    /// Answers one request at the time `now`.
    ///
    /// # Errors
    /// A [`Failure`] with the HTTP status and words for people. What failed has changed nothing that was not answered.
    pub async fn handle(&self, request: Request, now: Timestamp) -> Answer {
        let Request { operation, path, data, lease, wrapped } = request;
        match operation {
            Operation::Help => return Ok(Some(help::help(&path))),
            Operation::Rollback => return self.rollback(now).await,
            Operation::Renew | Operation::Revoke => {
                self.active().await?;
                let lease = lease.ok_or_else(|| Failure::new(Kind::Invalid, "no lease is named"))?;
                return match operation {
                    Operation::Renew => leases::renew(self, &lease, now).await,
                    _ => leases::revoke(self, &lease, now).await,
                };
            }
            Operation::Write | Operation::Read | Operation::List | Operation::Delete | Operation::Other => {}
        }
        let Some(route) = route(&path) else { return Err(Failure::new(Kind::UnsupportedPath, "")) };
        let fields = Fields::new(data);
        let work = async {
            match (operation, route) {
                (Operation::Read, Route::Config) => roles::read_config(self).await,
                (Operation::Write, Route::Config) => roles::write_config(self, fields).await,
                (Operation::List, Route::Roles) => roles::list(self).await,
                (Operation::Read, Route::Role(name)) => roles::read(self, &name).await,
                (Operation::Write, Route::Role(name)) => roles::write(self, &name, fields).await,
                (Operation::Delete, Route::Role(name)) => roles::delete(self, &name).await,
                (Operation::Write, Route::Link(role)) => issue::link(self, &role, fields, wrapped, now).await,
                (Operation::Write, Route::Sealed(role)) => sealed::put(self, &role, fields, now).await,
                (Operation::List, Route::Links) => links::list(self).await,
                (Operation::Read, Route::LinkId(id)) => links::read(self, id, now).await,
                (Operation::Delete, Route::LinkId(id)) => links::revoke(self, id, now).await,
                (Operation::Read, Route::Lease(id)) => leases::put(self, id, now).await,
                (Operation::Write, Route::Evidence(id)) => links::evidence(self, id, fields, now).await,
                (Operation::Write, Route::Gateway(verb)) => gateway::serve(self, verb, fields, now).await,
                (Operation::Read, Route::Events) => events::page(self, fields).await,
                (Operation::Write, Route::Tidy) => tidy::now(self, fields, now).await,
                (Operation::Read, Route::Metrics) => tidy::metrics(self, now).await,
                _ => Err(Failure::new(Kind::UnsupportedOperation, "")),
            }
        };
        if operation == Operation::Other {
            return Err(Failure::new(Kind::UnsupportedOperation, ""));
        }
        self.active().await?;
        let answer = work.await;
        if answer.as_ref().is_err_and(|failure| failure.kind == Kind::Host) {
            self.counters.add("storage_faults", 1);
        }
        answer
    }

    /// Fails on a standby, with the words that send the request to the active node.
    async fn active(&self) -> Result<(), Failure> {
        if self.storage.is_standby().await.map_err(host)? {
            return Err(Failure::new(Kind::Host, ASK_ACTIVE));
        }
        Ok(())
    }

    async fn rollback(&self, now: Timestamp) -> Answer {
        // Runs on standbys too. Whatever fails is tried again in a minute.
        if self.storage.is_standby().await.is_ok_and(|standby| !standby)
            && let Err(failure) = tidy::sweep(self, now).await
        {
            tracing::warn!(%failure, "housekeeping did not finish");
        }
        Ok(None)
    }

    /// Decides about a link and makes that durable; notes what is due when, and counts what happened.
    pub(crate) async fn change<T>(
        &self,
        id: LinkId,
        now: Timestamp,
        decide: impl FnOnce(Option<&Row>) -> Change<T> + Send,
    ) -> Result<T, Failure> {
        let keep = self.keep();
        let mut noted = None;
        let changed = self
            .table
            .change(id, now, |row| {
                let change = decide(row);
                noted = match &change {
                    Change::Keep(_) => row.map(|row| (row.next_change(keep), Vec::new())),
                    Change::Put(next, _) => Some((next.next_change(keep), next.happened_since(row))),
                    Change::Remove(_) => None,
                };
                change
            })
            .await;
        if matches!(changed, Err(TableError::Storage(_))) && noted.is_some() {
            self.look_at(id, now);
        }
        let (answer, _) = changed.map_err(failure)?;
        let mut schedule = self.schedule.lock().unwrap_or_else(PoisonError::into_inner);
        match noted {
            Some((next, events)) => {
                schedule.set(id, next);
                drop(schedule);
                self.counters.happened(&events);
            }
            None => schedule.remove(id),
        }
        Ok(answer)
    }

    /// Adds a link that a client has sealed.
    pub(crate) async fn insert(&self, row: Row, now: Timestamp) -> Result<(), Failure> {
        let (id, next) = (row.id(), row.next_change(self.keep()));
        let inserted = self.table.insert(row, now).await;
        self.inserted(id, next, inserted, now)
    }

    /// Adds a link that was sealed here.
    pub(crate) async fn add(&self, row: Row, now: Timestamp) -> Result<(), Failure> {
        let (id, next) = (row.id(), row.next_change(self.keep()));
        let added = self.table.add(row, now).await;
        self.inserted(id, next, added, now)
    }

    fn inserted(
        &self,
        id: LinkId,
        next: Option<Timestamp>,
        inserted: Result<u64, TableError>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        if matches!(inserted, Err(TableError::Storage(_))) {
            self.look_at(id, now);
        }
        inserted.map_err(failure)?;
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner).set(id, next);
        Ok(())
    }

    /// Nobody knows whether this link was written: the next round of housekeeping looks.
    fn look_at(&self, id: LinkId, now: Timestamp) {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner).set(id, Some(now));
    }

    pub(crate) fn keep(&self) -> Span {
        Span::from_millis(self.keep.load(Ordering::Relaxed))
    }

    pub(crate) async fn config(&self) -> Result<Arc<Config>, Failure> {
        let epoch = match self.known.config() {
            Ok(config) => return Ok(config),
            Err(epoch) => epoch,
        };
        let config: Arc<Config> = Arc::new(self.stored(CONFIG).await?.unwrap_or_default());
        self.keep.store(config.keep.as_millis(), Ordering::Relaxed);
        self.known.keep_config(epoch, &config);
        Ok(config)
    }

    pub(crate) async fn role(&self, name: &str) -> Result<Option<Arc<Role>>, Failure> {
        let epoch = match self.known.role(name) {
            Ok(role) => return Ok(Some(role)),
            Err(epoch) => epoch,
        };
        let Some(role) = self.stored(&role_key(name)).await? else { return Ok(None) };
        let role = Arc::new(role);
        self.known.keep_role(epoch, name, &role);
        Ok(Some(role))
    }

    async fn stored<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Failure> {
        let Some(bytes) = self.storage.get(key).await.map_err(host)? else { return Ok(None) };
        let read = serde_json::from_slice(&bytes);
        read.map(Some).map_err(|_| Failure::new(Kind::Internal, "stored settings can't be read"))
    }

    /// Writes settings.
    pub(crate) async fn store(&self, key: String, value: &impl Serialize) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(value).map_err(|_| Failure::new(Kind::Internal, "settings can't be written"))?;
        self.write(Write::Put(key, bytes)).await
    }

    /// Writes or deletes settings.
    pub(crate) async fn write(&self, write: Write) -> Result<(), Failure> {
        let written = self.storage.commit(None, &[write]).await;
        match written {
            Ok(()) => self.known.forget(),
            Err(_) => self.known.doubt(),
        }
        written.map_err(|error| match error {
            CommitError::Failed(fault) => host(fault),
            CommitError::Conflict => Failure::new(Kind::Internal, "settings were changed by somebody else: try again"),
        })
    }
}

pub(crate) fn role_key(name: &str) -> String {
    format!("{ROLES}{name}")
}

pub(crate) fn host(fault: StorageFault) -> Failure {
    Failure::new(Kind::Host, fault.0)
}

pub(crate) fn failure(error: TableError) -> Failure {
    match error {
        TableError::Storage(fault) => host(fault),
        TableError::Exists => Failure::new(Kind::Status(409), error.to_string()),
        TableError::Damaged => Failure::new(Kind::Internal, error.to_string()),
    }
}
