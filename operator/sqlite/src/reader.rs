//! Reader threads: each with a connection of its own, all fed from one queue.

use std::sync::{Mutex, PoisonError, mpsc};

use rusqlite::Connection;

use crate::Error;
use crate::open::Guard;

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
        self.connection.prepare_cached("BEGIN")?.execute([])?;
        let result = self.guard.check(&self.connection).and_then(|()| work(&self.connection));
        let ended = self.connection.prepare_cached("ROLLBACK").and_then(|mut statement| statement.execute([]));
        let value = result?;
        ended?;
        Ok(value)
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
