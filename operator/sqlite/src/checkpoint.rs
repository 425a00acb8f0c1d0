//! The thread that copies the write-ahead log into the database while the writer goes on.
//!
//! SQLite would do it within every so-manieth commit, which then waits for two more `fsync`s and all the pages between. Here
//! a commit waits only if the log has become long all the same: a log is begun anew only by somebody who found it copied
//! to its end, and under steady load the thread never does.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rusqlite::Connection;

use crate::{Profile, fault, open};

/// Writes between two checkpoints; one write changes four pages or so.
const EVERY: usize = 256;
/// From this many pages on (16 MiB) the writer itself copies the rest, and begins the log anew.
const LONG: i64 = 4096;

/// What the writer has of it.
pub(crate) struct Checkpoints {
    due: SyncSender<()>,
    long: Arc<AtomicBool>,
    writes: usize,
}

/// What the thread has of it.
pub(crate) struct Due {
    due: Receiver<()>,
    long: Arc<AtomicBool>,
}

pub(crate) fn channel() -> (Checkpoints, Due) {
    let (sender, receiver) = sync_channel(1);
    let long = Arc::new(AtomicBool::new(false));
    (Checkpoints { due: sender, long: Arc::clone(&long), writes: 0 }, Due { due: receiver, long })
}

impl Checkpoints {
    /// Counts writes, and wakes the thread when it is time. Answers whether the writer must do a checkpoint itself.
    pub(crate) fn count(&mut self, writes: usize) -> bool {
        self.writes += writes;
        if self.writes >= EVERY {
            self.writes = 0;
            // Full: the thread is at it, or about to be. Closed: it has ended, and the log must not grow for ever.
            if let Err(std::sync::mpsc::TrySendError::Disconnected(())) = self.due.try_send(()) {
                return true;
            }
        }
        self.long.swap(false, Ordering::Relaxed)
    }
}

/// Serves until the writer is gone.
pub(crate) fn serve(file: &Path, profile: Profile, due: &Due) {
    let mut connection = None;
    while due.due.recv().is_ok() {
        let copied = match &connection {
            Some(connection) => copy(connection),
            None => match open::checkpointer(file, profile) {
                Ok(fresh) => copy(connection.insert(fresh)),
                Err(e) => Err(e),
            },
        };
        let long = copied.unwrap_or_else(|e| {
            let fault = fault::of(profile.name, &e);
            tracing::warn!(database = profile.name, code = fault.code, fault = %fault, "copying the write-ahead log failed");
            true
        });
        if long {
            due.long.store(true, Ordering::Relaxed);
        }
    }
}

/// Copies what can be copied without holding anybody up. Answers whether the log is long by now.
pub(crate) fn copy(connection: &Connection) -> Result<bool, rusqlite::Error> {
    let pages =
        connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row([], |row| row.get::<_, i64>(1))?;
    Ok(pages >= LONG)
}
