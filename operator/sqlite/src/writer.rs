//! The writer thread: takes all that waits, commits it once, answers, and sees to erasure.

use std::cell::Cell;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use ps_core::error::Fault;
use ps_core::ports::CasError;
use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use crate::checkpoint::{self, Checkpoints};
use crate::open::{self, Guard};
use crate::{ERASE_AFTER, Error, POLL_EVERY, Profile, fault};

/// The most requests in one commit.
const BATCH: usize = 256;
/// How long one try to truncate the log may wait for readers.
const TRUNCATE_PATIENCE: Duration = Duration::from_millis(50);
/// When a truncation that a reader prevented is tried again.
const TRUNCATE_AGAIN: Duration = Duration::from_millis(50);
/// From here on a reader that is in the way is worth a warning.
const TRUNCATE_LATE: Duration = Duration::from_secs(5);

/// A piece of work's turn in a write transaction.
pub struct Turn<'c> {
    connection: &'c Connection,
    erased: &'c Cell<bool>,
    counter: &'c Counter,
}

/// The counter of writes: read once in a transaction, written once before its commit.
struct Counter {
    table: &'static str,
    seq: Cell<Option<i64>>,
    raised: Cell<bool>,
}

impl Turn<'_> {
    /// Says that this work erased something: its bytes will be gone from the write-ahead log, too, within a second of the commit.
    pub fn erased(&self) {
        self.erased.set(true);
    }

    /// The next number of the database's counter ([`Profile::counter`]), starting with 1. None is given twice, by whichever
    /// process. `None` if the counter is gone or spent: somebody has altered the file.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn next_number(&self) -> Result<Option<i64>, Error> {
        let Counter { table, seq, raised } = self.counter;
        let last = match seq.get() {
            Some(last) => Some(last),
            None => self
                .connection
                .prepare_cached(&format!("SELECT seq FROM {table} WHERE one = 1"))?
                .query_row([], |row| row.get::<_, i64>(0))
                .optional()?,
        };
        let next = last.filter(|last| *last >= 0).and_then(|last| last.checked_add(1));
        if next.is_some() {
            seq.set(next);
            raised.set(true);
        }
        Ok(next)
    }
}

impl Deref for Turn<'_> {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        self.connection
    }
}

/// One request in the queue.
pub(crate) trait Job: Send {
    /// Does the work and keeps its answer. Returns whether its changes stay.
    fn run(&mut self, turn: &Turn<'_>) -> bool;
    /// Answers, after the commit or its failure.
    fn answer(self: Box<Self>, commit: Result<(), &Fault>);
}

struct Request<T, F> {
    name: &'static str,
    work: Option<F>,
    result: Option<Result<T, CasError>>,
    reply: oneshot::Sender<Result<T, CasError>>,
    /// Bounds the queue; given back when the request is answered.
    _room: OwnedSemaphorePermit,
}

/// A request that runs `work` and sends its answer to `reply`.
pub(crate) fn job<T, F>(
    name: &'static str,
    work: F,
    reply: oneshot::Sender<Result<T, CasError>>,
    room: OwnedSemaphorePermit,
) -> Box<dyn Job>
where
    T: Send + 'static,
    F: FnOnce(&Turn<'_>) -> Result<T, Error> + Send + 'static,
{
    Box::new(Request { name, work: Some(work), result: None, reply, _room: room })
}

impl<T, F> Job for Request<T, F>
where
    T: Send,
    F: FnOnce(&Turn<'_>) -> Result<T, Error> + Send,
{
    fn run(&mut self, turn: &Turn<'_>) -> bool {
        let Some(work) = self.work.take() else {
            return false;
        };
        let result = work(turn).map_err(|e| e.into_cas(self.name));
        let stays = result.is_ok();
        self.result = Some(result);
        stays
    }

    fn answer(self: Box<Self>, commit: Result<(), &Fault>) {
        let answer = match (commit, self.result) {
            (Ok(()), Some(result)) => result,
            // Refused before the commit: it changed nothing, whatever became of the others.
            (Err(_), Some(Err(refused))) => Err(refused),
            (Err(fault), _) => Err(CasError::Failed(fault.clone())),
            // Every request of a committed batch has run; dropping `reply` answers "stopped".
            (Ok(()), None) => return,
        };
        // The caller may have gone away.
        drop(self.reply.send(answer));
    }
}

/// The writer thread's state.
pub(crate) struct Writer {
    connection: Connection,
    guard: Guard,
    profile: Profile,
    log: PathBuf,
    wake: watch::Sender<u64>,
    commits: watch::Sender<u64>,
    checkpoints: Checkpoints,
    /// When something was erased that is still in the log, and when to try to truncate that.
    erased: Option<(Instant, Instant)>,
    warned: bool,
    data_version: i64,
    poll_at: Instant,
}

impl Writer {
    pub(crate) fn new(
        connection: Connection,
        guard: Guard,
        profile: Profile,
        file: PathBuf,
        wake: watch::Sender<u64>,
        commits: watch::Sender<u64>,
        checkpoints: Checkpoints,
    ) -> Self {
        let mut log = file.into_os_string();
        log.push("-wal");
        let now = Instant::now();
        Self {
            connection,
            guard,
            profile,
            log: log.into(),
            wake,
            commits,
            checkpoints,
            // A process that was killed may have left erased bytes in the log.
            erased: Some((now, now)),
            warned: false,
            data_version: 0,
            poll_at: now,
        }
    }

    /// Serves the queue until its senders are gone.
    pub(crate) fn serve(mut self, queue: &Receiver<Box<dyn Job>>) {
        loop {
            let due = self.erased.map_or(self.poll_at, |(_, due)| due.min(self.poll_at));
            match queue.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(first) => {
                    let mut batch = Vec::with_capacity(16);
                    batch.push(first);
                    batch.extend(queue.try_iter().take(BATCH - 1));
                    self.commit(batch);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.housekeep();
        }
        if self.erased.is_some() {
            self.truncate();
        }
    }

    fn commit(&mut self, mut batch: Vec<Box<dyn Job>>) {
        let erased = Cell::new(false);
        let outcome = self.transact(&mut batch, &erased).map_err(|error| {
            if !self.connection.is_autocommit()
                && let Err(e) = self.connection.execute_batch("ROLLBACK")
            {
                tracing::error!(database = self.profile.name, fault = %fault::of(self.profile.name, &e), "rollback failed");
            }
            match error.into_cas(self.profile.name) {
                CasError::Failed(fault) => fault,
                other => fault::foreign(self.profile.name, &other.to_string()),
            }
        });
        if outcome.is_ok() {
            if erased.get() && self.erased.is_none() {
                let now = Instant::now();
                self.erased = Some((now, now + ERASE_AFTER));
            }
            self.commits.send_modify(|count| *count = count.wrapping_add(1));
            self.wake.send_modify(|count| *count = count.wrapping_add(1));
        }
        let writes = batch.len();
        for job in batch {
            job.answer(outcome.as_ref().copied());
        }
        // After the answers: nobody waits for it but the next batch.
        if outcome.is_ok()
            && self.checkpoints.count(writes)
            && let Err(e) = checkpoint::copy(&self.connection)
        {
            tracing::warn!(database = self.profile.name, fault = %fault::of(self.profile.name, &e), "copying the write-ahead log failed");
        }
    }

    fn transact(&mut self, batch: &mut [Box<dyn Job>], erased: &Cell<bool>) -> Result<(), Error> {
        let connection = &self.connection;
        let run = |sql: &str| connection.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
        run("BEGIN IMMEDIATE")?;
        self.guard.check(connection)?;
        let counter = Counter { table: self.profile.counter, seq: Cell::new(None), raised: Cell::new(false) };
        // Alone, a piece of work that fails is undone with the whole transaction.
        let several = batch.len() > 1;
        let mut stayed = false;
        for job in batch {
            let mine = Cell::new(false);
            let numbers = counter.seq.get();
            if several {
                run("SAVEPOINT one")?;
            }
            let stays = job.run(&Turn { connection, erased: &mine, counter: &counter });
            if several {
                if !stays {
                    // Fails if SQLite itself has ended the transaction, on a full disk for example: nothing is committed then.
                    run("ROLLBACK TO one")?;
                }
                run("RELEASE one")?;
            }
            if !stays {
                // What it numbered is gone.
                counter.seq.set(numbers);
            }
            stayed |= stays;
            if stays && mine.get() {
                erased.set(true);
            }
        }
        if !stayed {
            run("ROLLBACK")?;
            return Ok(());
        }
        if counter.raised.get()
            && let Some(seq) = counter.seq.get()
        {
            let sql = format!("UPDATE {} SET seq = ?1 WHERE one = 1", self.profile.counter);
            connection.prepare_cached(&sql)?.execute([seq])?;
        }
        run("COMMIT")?;
        Ok(())
    }

    fn housekeep(&mut self) {
        let now = Instant::now();
        if now >= self.poll_at {
            self.poll_at = now + POLL_EVERY;
            self.poll(now);
        }
        if let Some((since, due)) = self.erased
            && now >= due
        {
            if self.truncate() {
                self.erased = None;
                self.warned = false;
                return;
            }
            self.erased = Some((since, Instant::now() + TRUNCATE_AGAIN));
            if now.duration_since(since) > TRUNCATE_LATE && !self.warned {
                self.warned = true;
                tracing::warn!(
                    database = self.profile.name,
                    "erased bytes are still in the write-ahead log: some process keeps reading the database"
                );
            }
        }
    }

    /// Looks for changes of other processes.
    fn poll(&mut self, now: Instant) {
        let version = self
            .connection
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut statement| statement.query_row([], |row| row.get::<_, i64>(0)));
        match version {
            Ok(version) if version != self.data_version => {
                self.data_version = version;
                self.wake.send_modify(|count| *count = count.wrapping_add(1));
                // The other process truncates its log itself, unless it died.
                if self.erased.is_none() && self.log_is_filled() {
                    self.erased = Some((now, now + ERASE_AFTER));
                }
            }
            Ok(_) => {}
            Err(e) => {
                let fault = fault::of(self.profile.name, &e);
                tracing::warn!(database = self.profile.name, code = fault.code, fault = %fault, "looking for changes failed");
            }
        }
    }

    fn log_is_filled(&self) -> bool {
        std::fs::symlink_metadata(&self.log).is_ok_and(|log| log.len() > 0)
    }

    /// Moves the log into the database and truncates it. Returns whether that is done.
    fn truncate(&mut self) -> bool {
        if !self.log_is_filled() {
            return true;
        }
        let tried = self.connection.busy_timeout(TRUNCATE_PATIENCE).and_then(|()| {
            self.connection.prepare_cached("PRAGMA wal_checkpoint(TRUNCATE)")?.query_row([], |row| row.get::<_, i64>(0))
        });
        let restored = open::patient(&mut self.connection);
        match tried.and_then(|busy| restored.map(|()| busy)) {
            Ok(busy) => busy == 0,
            Err(e) => {
                let fault = fault::of(self.profile.name, &e);
                if fault.code != format!("{}-busy", self.profile.name) {
                    tracing::warn!(database = self.profile.name, code = fault.code, fault = %fault, "truncating the write-ahead log failed");
                }
                false
            }
        }
    }
}
