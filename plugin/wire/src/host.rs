//! The mount's storage, and whether this node may write to it. Each reply has two places for a failure; both are checked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ps_plugin_engine::{CommitError, Guard, Storage, StorageFault, Write};
use tokio::sync::OnceCell;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::proto::pb::storage_client::StorageClient;
use crate::proto::pb::system_view_client::SystemViewClient;
use crate::proto::pb::{
    Empty, StorageDeleteArgs, StorageEntry, StorageGetArgs, StorageListArgs, StoragePutArgs, StorageReply,
    TransactionArgs,
};

/// The largest reply that is read, in bytes: a list of a million keys fits.
const LARGEST: usize = 64 << 20;
/// The bit of the replication state that is set on a standby.
const STANDBY: i32 = 0x4000;
/// How long a node that said that it is active is taken for it.
const BELIEVED: Duration = Duration::from_secs(1);
/// What a server says to the loser of a race between two transactions.
const LOST: &str = "transaction commit failed";

/// What a mount may ask of its server. Clones share one connection.
///
/// A server that becomes a standby takes its mounts down and starts this program anew, so an active one is asked now and then
/// only; and what it says while it changes is not believed for long.
///
/// Where the server has transactions, a commit is one, and the guard is read inside it; but a single write that depends on
/// nothing is whole by itself. Where it has none (Vault), the guard is read first and the writes follow in order, under the
/// engine's own lock: only the active node's process can write.
#[derive(Clone)]
pub struct Host {
    storage: StorageClient<Channel>,
    system: SystemViewClient<Channel>,
    transactional: Arc<OnceCell<bool>>,
    /// Since when this node is known to be the active one.
    active: Arc<Mutex<Option<Instant>>>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

impl Host {
    pub(crate) fn new(channel: Channel) -> Self {
        Self {
            storage: StorageClient::new(channel.clone()).max_decoding_message_size(LARGEST),
            system: SystemViewClient::new(channel),
            transactional: Arc::default(),
            active: Arc::default(),
        }
    }

    /// Begins a transaction; `None` if this server has none.
    async fn begin(&self) -> Result<Option<Transaction>, StorageFault> {
        let mut storage = self.storage.clone();
        let asked =
            self.transactional.get_or_try_init(async || match self.storage.clone().is_transactional(Empty {}).await {
                Ok(reply) => Ok(reply.into_inner().transactional),
                Err(status) if status.code() == Code::Unimplemented => Ok(false),
                Err(status) => Err(fault(&status)),
            });
        if !*asked.await? {
            return Ok(None);
        }
        let reply = storage.begin_tx(Empty {}).await.map_err(|status| fault(&status))?.into_inner();
        clean(reply.err)?;
        // Without a name it would silently run outside of any transaction.
        if reply.txn.is_empty() {
            return Err(StorageFault("the server began a transaction without a name".to_owned()));
        }
        Ok(Some(Transaction { storage, name: reply.txn, over: false }))
    }
}

#[async_trait]
impl Storage for Host {
    async fn is_standby(&self) -> Result<bool, StorageFault> {
        let known = || self.active.lock().unwrap_or_else(PoisonError::into_inner);
        if known().is_some_and(|at| at.elapsed() < BELIEVED) {
            return Ok(false);
        }
        let asked = Instant::now();
        let reply = self.system.clone().replication_state(Empty {}).await.map_err(|status| fault(&status))?;
        let standby = reply.into_inner().state & STANDBY != 0;
        *known() = (!standby).then_some(asked);
        Ok(standby)
    }

    async fn longest_lease(&self) -> Result<Duration, StorageFault> {
        let reply = self.system.clone().max_lease_ttl(Empty {}).await.map_err(|status| fault(&status))?;
        Ok(Duration::from_nanos(u64::try_from(reply.into_inner().ttl).unwrap_or(0)))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StorageFault> {
        let arguments = StorageListArgs { prefix: prefix.to_owned() };
        let reply = self.storage.clone().list(arguments).await.map_err(|status| fault(&status))?.into_inner();
        clean(reply.err).map(|()| reply.keys)
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageFault> {
        get(&mut self.storage.clone(), key, "").await
    }

    async fn commit(&self, guard: Option<Guard<'_>>, writes: &[Write]) -> Result<(), CommitError> {
        if let (None, [write]) = (guard, writes) {
            return Ok(perform(&mut self.storage.clone(), write, "").await?);
        }
        let Some(mut transaction) = self.begin().await? else {
            let mut storage = self.storage.clone();
            if let Some(Guard { key, value }) = guard
                && get(&mut storage, key, "").await?.as_deref() != value
            {
                return Err(CommitError::Conflict);
            }
            for write in writes {
                perform(&mut storage, write, "").await?;
            }
            return Ok(());
        };
        if let Some(Guard { key, value }) = guard
            && get(&mut transaction.storage, key, &transaction.name).await?.as_deref() != value
        {
            return Err(CommitError::Conflict);
        }
        for write in writes {
            perform(&mut transaction.storage, write, &transaction.name).await?;
        }
        transaction
            .commit()
            .await
            .map_err(|fault| if fault.0.contains(LOST) { CommitError::Conflict } else { CommitError::Failed(fault) })
    }
}

/// A transaction. Dropped without a commit, it is rolled back.
struct Transaction {
    storage: StorageClient<Channel>,
    name: String,
    over: bool,
}

impl Transaction {
    /// Makes it all durable, or none of it.
    async fn commit(mut self) -> Result<(), StorageFault> {
        // Whatever comes of it, its name must not be used again: it would silently stand for no transaction at all.
        self.over = true;
        done(self.storage.commit(TransactionArgs { txn: self.name.clone() }).await)
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let (mut storage, txn) = (self.storage.clone(), std::mem::take(&mut self.name));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Nobody waits for it, and the server ends what is not rolled back.
            runtime.spawn(async move { storage.rollback(TransactionArgs { txn }).await.map(drop).unwrap_or_default() });
        }
    }
}

async fn get(storage: &mut StorageClient<Channel>, key: &str, txn: &str) -> Result<Option<Vec<u8>>, StorageFault> {
    let arguments = StorageGetArgs { key: key.to_owned(), txn: txn.to_owned() };
    let reply = storage.get(arguments).await.map_err(|status| fault(&status))?.into_inner();
    clean(reply.err).map(|()| reply.entry.map(|entry| entry.value))
}

async fn perform(storage: &mut StorageClient<Channel>, write: &Write, txn: &str) -> Result<(), StorageFault> {
    let txn = txn.to_owned();
    done(match write {
        Write::Put(key, value) => {
            let entry = Some(StorageEntry { key: key.clone(), value: value.clone() });
            storage.put(StoragePutArgs { entry, txn }).await
        }
        Write::Delete(key) => storage.delete(StorageDeleteArgs { key: key.clone(), txn }).await,
    })
}

fn done(reply: Result<Response<StorageReply>, Status>) -> Result<(), StorageFault> {
    clean(reply.map_err(|status| fault(&status))?.into_inner().err)
}

fn clean(err: String) -> Result<(), StorageFault> {
    if err.is_empty() { Ok(()) } else { Err(StorageFault(err)) }
}

fn fault(status: &Status) -> StorageFault {
    StorageFault(status.message().to_owned())
}
