//! SQLite as the store and the ledger use it: hardened opening, one writer thread with group commit, reader threads, erasure.
//!
//! - [`Profile`] says what a database is: its schema, its identity, its limits.
//! - [`Database::open`] makes or opens it. The file may have been written by an attacker who owns the other process that
//!   uses it: nothing in it is trusted, and a schema that is not byte for byte ours is refused.
//! - [`Database::write`] queues work for the writer thread. Everything that waits is committed together; every piece of
//!   work has a savepoint of its own, and its answer comes only after the commit, so that what was answered is durable.
//! - [`Database::read`] runs on a reader thread, in one snapshot; [`Database::peek`] does so where it is called, for reads so small
//!   that waking a thread would cost more.
//! - A thread of its own copies the write-ahead log into the database, so that commits don't wait for that.
//! - [`Turn::erased`] makes the writer overwrite and truncate the write-ahead log within a second.
//!
//! Several processes may have the same database open. No transaction is ever open across an await.
#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "a panic in a test is its failure report"))]

mod checkpoint;
mod fault;
mod open;
mod reader;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use ps_core::error::{Class, Fault};
use ps_core::ports::CasError;
use tokio::sync::{Semaphore, oneshot, watch};

pub use fault::Error;
pub use writer::Turn;

/// Longest wait for another process that holds the database, before `…-busy` is answered.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);
/// How soon after an erase the write-ahead log is truncated, unless a reader is in the way.
pub const ERASE_AFTER: std::time::Duration = std::time::Duration::from_millis(250);
/// How often a writer looks for changes of other processes, where nobody nudges it.
pub const POLL_EVERY: std::time::Duration = std::time::Duration::from_secs(2);

/// Queued writes are bounded by this many KiB of values.
const ROOM_KIB: u32 = 8192;

/// What a database is.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// First word of fault codes and messages: `store`, `ledger`.
    pub name: &'static str,
    /// SQLite's `application_id`: a file with another one is not ours.
    pub application_id: i32,
    /// SQLite's `user_version`: the version of the schema.
    pub version: i32,
    /// The statements that make the schema: tables and indexes only, no triggers, no views.
    pub schema: &'static str,
    /// The table, of one row with `one = 1`, whose column `seq` counts writes: see [`Turn::next_number`].
    pub counter: &'static str,
    /// How many reader threads, at least one is started.
    pub readers: usize,
    /// Greatest size in bytes of a row or value; larger ones, of whoever's making, are an error of that statement.
    pub max_value: i32,
}

/// An open database: a writer thread and some reader threads. Dropping it waits for queued work and ends the threads.
#[derive(Debug)]
pub struct Database {
    profile: Profile,
    file: PathBuf,
    room: Arc<Semaphore>,
    writes: Option<mpsc::Sender<Box<dyn writer::Job>>>,
    reads: Option<mpsc::Sender<reader::Job>>,
    peekers: reader::Peekers,
    wake: watch::Sender<u64>,
    committed: watch::Receiver<u64>,
    threads: Vec<JoinHandle<()>>,
}

impl Database {
    /// Opens `folder/file`, making the folder (mode 0700) and the file (mode 0600) where they don't exist.
    ///
    /// # Errors
    /// `NAME-unwritable`, `NAME-busy`, `NAME-corrupt`, `NAME-version`, `NAME-schema-foreign`, `NAME-file-odd`,
    /// `NAME-failed`, each with a remedy.
    pub fn open(folder: &Path, file: &str, profile: Profile) -> Result<Self, Fault> {
        let file = open::prepare(folder, file, profile)?;
        let (connection, guard) = open::first(&file, profile)?;
        let (wake, _) = watch::channel(0);
        let (commits, committed) = watch::channel(0);
        let mut threads = Vec::new();

        let (reads, queue) = mpsc::channel();
        let queue = Arc::new(std::sync::Mutex::new(queue));
        for _ in 0..profile.readers.max(1) {
            let reader = open::further(&file, profile, &guard)?;
            let queue = Arc::clone(&queue);
            threads.push(spawn(profile, "read", move || {
                reader::serve(reader, &queue);
            })?);
        }
        let (checkpoints, due) = checkpoint::channel();
        let on = file.clone();
        threads.push(spawn(profile, "log", move || checkpoint::serve(&on, profile, &due))?);
        let peekers = reader::Peekers::new(file.clone(), profile, guard.clone());
        let (writes, jobs) = mpsc::channel();
        let writer = writer::Writer::new(connection, guard, profile, file.clone(), wake.clone(), commits, checkpoints);
        threads.push(spawn(profile, "write", move || writer.serve(&jobs))?);
        Ok(Self {
            profile,
            file,
            room: Arc::new(Semaphore::new(ROOM_KIB as usize)),
            writes: Some(writes),
            reads: Some(reads),
            peekers,
            wake,
            committed,
            threads,
        })
    }

    /// Where the file is.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Does `work` in a write transaction, together with whatever else waits, and answers after the commit.
    /// `bytes` is roughly how much `work` holds in memory: it bounds the queue. If the caller goes away, the work is done all the same.
    ///
    /// # Errors
    /// What `work` answered, in which case it changed nothing; or a fault, in which case nobody knows whether it changed something.
    pub async fn write<T, F>(&self, bytes: usize, work: F) -> Result<T, CasError>
    where
        T: Send + 'static,
        F: FnOnce(&Turn<'_>) -> Result<T, Error> + Send + 'static,
    {
        let kib = u32::try_from(bytes / 1024).unwrap_or(u32::MAX).saturating_add(1).min(ROOM_KIB);
        let room = Arc::clone(&self.room).acquire_many_owned(kib).await.map_err(|_| self.stopped())?;
        let (reply, answer) = oneshot::channel();
        let job = writer::job(self.profile.name, work, reply, room);
        self.writes.as_ref().and_then(|queue| queue.send(job).ok()).ok_or_else(|| self.stopped())?;
        answer.await.map_err(|_| self.stopped())?
    }

    /// Does `work` in a read transaction: one snapshot, at least as new as every write that was answered before.
    ///
    /// # Errors
    /// What `work` answered, or a fault.
    pub async fn read<T, F>(&self, work: F) -> Result<T, CasError>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Connection) -> Result<T, Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let name = self.profile.name;
        let job: reader::Job = Box::new(move |reader| {
            let result = reader.snapshot(work).map_err(|e| e.into_cas(name));
            // The caller may have gone away.
            drop(reply.send(result));
        });
        self.reads.as_ref().and_then(|queue| queue.send(job).ok()).ok_or_else(|| self.stopped())?;
        answer.await.map_err(|_| self.stopped())?
    }

    /// As [`Database::read`], but at once and on the calling thread where that is possible: for a row or a few, found by
    /// an index. It never waits for another process; where it would have to, a reader thread does the work.
    ///
    /// # Errors
    /// What `work` answered, or a fault.
    pub async fn peek<T, F>(&self, work: F) -> Result<T, CasError>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Connection) -> Result<T, Error> + Send + 'static,
    {
        match self.peekers.snapshot(work) {
            Ok(result) => result.map_err(|e| e.into_cas(self.profile.name)),
            Err(work) => self.read(work).await,
        }
    }

    /// Changes whenever the database may have changed, by whichever process. Subscribe, then read, then wait.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.wake.subscribe()
    }

    /// Changes with every commit of this handle only: what to tell another process about.
    #[must_use]
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.committed.clone()
    }

    /// Says that another process has changed the database. Without it, that is found within [`POLL_EVERY`].
    pub fn nudge(&self) {
        self.wake.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn stopped(&self) -> CasError {
        let name = self.profile.name;
        CasError::Failed(
            Fault::new(Class::Transient, &format!("{name}-stopped"), format!("the {name}'s worker thread has ended"))
                .remedy("Restart the process; the log says why the thread ended"),
        )
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.writes = None;
        self.reads = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(database = self.profile.name, "a worker thread panicked");
            }
        }
    }
}

fn spawn(profile: Profile, role: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Fault> {
    std::thread::Builder::new().name(format!("{}-{role}", profile.name)).stack_size(512 * 1024).spawn(work).map_err(
        |e| {
            Fault::new(
                Class::Transient,
                &format!("{}-failed", profile.name),
                format!("no thread for the {}: {e}", profile.name),
            )
            .remedy("Raise the limit of threads of this process")
        },
    )
}
