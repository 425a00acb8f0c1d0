//! Numbers of writes: never the same twice, across restarts too, and known to be finished up to a point.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};

use tokio::sync::Mutex;

use crate::storage::{CommitError, Storage, StorageFault, Write};

/// Where the storage keeps the first number that nobody was given.
const KEY: &str = "sequence";
/// How many numbers one write of [`KEY`] is for. A restart skips what is left of them.
const BLOCK: u64 = 4096;

/// Gives out numbers, from 1 on.
#[derive(Default)]
pub(crate) struct Sequence {
    /// The next number, and the first that is not ours; `None` until the first is asked for.
    block: Mutex<Option<(u64, u64)>>,
    open: Arc<SyncMutex<BTreeSet<u64>>>,
}

/// A number in use. When it is dropped its write is over, however it went.
pub(crate) struct Ticket {
    pub(crate) number: u64,
    open: Arc<SyncMutex<BTreeSet<u64>>>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

impl Sequence {
    /// The next number.
    pub(crate) async fn next(&self, storage: &dyn Storage) -> Result<Ticket, StorageFault> {
        let mut block = self.block.lock().await;
        let (number, end) = match *block {
            Some((next, end)) if next < end => (next, end),
            known => {
                let start = match known {
                    Some((_, end)) => end,
                    None => stored(storage).await?,
                };
                let end = start.saturating_add(BLOCK);
                let write = Write::Put(KEY.to_owned(), end.to_string().into_bytes());
                match storage.commit(None, &[write]).await {
                    Ok(()) => (start, end),
                    Err(CommitError::Failed(fault)) => return Err(fault),
                    Err(CommitError::Conflict) => return Err(StorageFault("numbering: try again".to_owned())),
                }
            }
        };
        *block = Some((number + 1, end));
        // Under the block's lock: whoever asks how far all is finished must not come between.
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
        Ok(Ticket { number, open: self.open.clone() })
    }

    /// The greatest number up to which every write is over.
    pub(crate) async fn finished(&self) -> u64 {
        let block = self.block.lock().await;
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).first().copied();
        match (open, *block) {
            (Some(first), _) => first.saturating_sub(1),
            (None, Some((next, _))) => next.saturating_sub(1),
            // Nothing was written since this process began.
            (None, None) => u64::MAX,
        }
    }
}

/// The first number that no block has taken.
pub(crate) async fn stored(storage: &dyn Storage) -> Result<u64, StorageFault> {
    let Some(bytes) = storage.get(KEY).await? else { return Ok(1) };
    let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| StorageFault("the mount's sequence is damaged".to_owned()))
}
