//! Reader threads: each with a connection of its own, all fed from one queue. And connections for reads in place.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, mpsc};

use rusqlite::Connection;

use crate::open::{self, Guard};
use crate::{Error, Profile};

/// Reads in place at the same time; each has a connection.
const PEEKERS: usize = 2;

/// Work for a reader thread.
pub(crate) type Job = Box<dyn FnOnce(&mut Reader) + Send>;

/// A connection that only reads.
pub(crate) struct Reader {
    connection: Connection,
    guard: Guard,
}

impl Reader {
    pub(crate) fn new(connection: Connection, guard: Guard) -> Self {
        Self { connection, guard }
    }

    /// Runs `work` in one snapshot of a database whose schema is ours.
    pub(crate) fn snapshot<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        match self.begin() {
            Ok(()) => self.end(work),
            Err(error) => {
                self.give_up();
                Err(error)
            }
        }
    }

    /// Begins a snapshot. The check is its first read, so whatever stands in the way shows itself here.
    fn begin(&mut self) -> Result<(), Error> {
        self.connection.prepare_cached("BEGIN")?.execute([])?;
        self.guard.check(&self.connection)
    }

    /// Does the work in a snapshot that has begun, and ends it.
    fn end<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        let result = work(&self.connection);
        let ended = self.connection.prepare_cached("ROLLBACK").and_then(|mut statement| statement.execute([]));
        let value = result?;
        ended?;
        Ok(value)
    }

    /// Ends a snapshot that did not begin well.
    fn give_up(&self) {
        if !self.connection.is_autocommit()
            && let Err(e) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::warn!(error = ?e.sqlite_error_code(), "a read could not be ended");
        }
    }
}

/// Connections for reads in place, opened when they are first needed.
pub(crate) struct Peekers {
    file: PathBuf,
    profile: Profile,
    guard: Guard,
    idle: Mutex<(Vec<Reader>, usize)>,
}

impl std::fmt::Debug for Peekers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peekers").finish_non_exhaustive()
    }
}

impl Peekers {
    pub(crate) fn new(file: PathBuf, profile: Profile, guard: Guard) -> Self {
        Self { file, profile, guard, idle: Mutex::default() }
    }

    /// Runs `work` in one snapshot; gives it back undone if there is no free connection, or something is in the way.
    pub(crate) fn snapshot<T, F>(&self, work: F) -> Result<Result<T, Error>, F>
    where
        F: FnOnce(&Connection) -> Result<T, Error>,
    {
        let Some(mut reader) = self.take() else { return Err(work) };
        let outcome = match reader.begin() {
            Ok(()) => Ok(reader.end(work)),
            Err(_) => {
                reader.give_up();
                Err(work)
            }
        };
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).0.push(reader);
        outcome
    }

    fn take(&self) -> Option<Reader> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let (readers, opened) = &mut *idle;
        if let Some(reader) = readers.pop() {
            return Some(reader);
        }
        if *opened == PEEKERS {
            return None;
        }
        let reader = open::further(&self.file, self.profile, &self.guard).ok()?;
        // It must not wait where it stands: then a reader thread waits.
        reader.connection.busy_timeout(std::time::Duration::ZERO).ok()?;
        *opened += 1;
        Some(reader)
    }
}

/// Serves the queue until its senders are gone.
pub(crate) fn serve(mut reader: Reader, queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        // The lock is held while waiting: exactly one idle thread waits on the channel, the others on the lock.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job(&mut reader),
            Err(mpsc::RecvError) => return,
        }
    }
}
