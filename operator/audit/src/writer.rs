//! The one writer of a trail: a thread that takes whatever has queued up, writes it at once and syncs once.
//!
//! A second operator may write the same file (one that was stopped and goes on, a standby that took over). So each
//! append holds the file's lock, and looks first whether the chain has moved on.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ps_core::audit::Event;
use ps_core::error::{Class, Fault};
use tokio::sync::{mpsc, oneshot};

use crate::line::{Head, bounded, encode};
use crate::tail::{io_fault, read_tail};

/// Longest wait for somebody else's append. Whoever is stopped in the middle of one keeps the lock.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// One append takes at most this many requests, and stops taking more after this many bytes.
const BATCH_JOBS: usize = 256;
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Events of one call, and where its answer goes.
pub(crate) struct Job {
    pub(crate) events: Vec<Event>,
    pub(crate) done: oneshot::Sender<Result<(), Fault>>,
}

pub(crate) struct Writer {
    file: File,
    path: PathBuf,
    ledger: String,
    head: Arc<Mutex<Head>>,
    /// Length of the file after our last append; other than that, somebody else wrote. `None`: not known.
    end: Option<u64>,
    mirror: Option<Box<dyn Write + Send>>,
}

impl Writer {
    /// Opens or makes the file, and finds the end of its chain. Gives the bytes of a torn last line that were removed.
    pub(crate) fn open(path: &Path, ledger: &str, mirror: Option<Box<dyn Write + Send>>) -> Result<(Self, u64), Fault> {
        let open = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
        let file = open.map_err(|e| open_fault(&e))?;
        if !file.metadata().is_ok_and(|meta| meta.is_file()) {
            let fault = Fault::new(Class::Misconfigured, "audit-not-a-file", "the audit trail's path is not a file");
            return Err(fault.remedy("name a regular file; a copy on stdout is a setting of its own"));
        }
        // The file's name must survive a crash too.
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|f| f.sync_all()).map_err(|e| io_fault("syncing the folder of", &e))?;
        let head = Arc::new(Mutex::new(Head::empty(ledger)));
        let mut writer = Self { file, path: path.to_owned(), ledger: ledger.to_owned(), head, end: None, mirror };
        let torn = writer.locked(Self::catch_up)?;
        Ok((writer, torn))
    }

    pub(crate) fn head(&self) -> Arc<Mutex<Head>> {
        Arc::clone(&self.head)
    }

    /// Works until every sender is gone.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = queue.blocking_recv() {
            let mut jobs = vec![first];
            while jobs.len() < BATCH_JOBS {
                let Ok(job) = queue.try_recv() else { break };
                jobs.push(job);
            }
            self.append(jobs);
        }
    }

    fn append(&mut self, jobs: Vec<Job>) {
        let mut waiting = jobs.into_iter().peekable();
        while waiting.peek().is_some() {
            let mut taken = Vec::new();
            let outcome = self.locked(|writer| {
                writer.catch_up()?;
                let mut batch = Batch::new(writer.current());
                while batch.bytes.len() < BATCH_BYTES {
                    let Some(job) = waiting.next() else { break };
                    let fits = batch.push(&writer.ledger, &job.events);
                    taken.push((job.done, fits));
                }
                writer.write(&batch)?;
                Ok(batch)
            });
            match outcome {
                Ok(batch) => {
                    taken.into_iter().for_each(|(done, fits)| answer(done, fits));
                    self.copy(&batch.bytes);
                }
                Err(fault) => {
                    self.end = None;
                    let failed = taken.into_iter().map(|(done, _)| done).chain(waiting.by_ref().map(|job| job.done));
                    failed.for_each(|done| answer(done, Err(fault.clone())));
                }
            }
        }
    }

    fn write(&mut self, batch: &Batch) -> Result<(), Fault> {
        if batch.bytes.is_empty() {
            return Ok(());
        }
        let start = self.end;
        let written = self.file.write_all(&batch.bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // What is half there goes; if even that fails, the next append finds it.
            if let Some(Err(second)) = start.map(|start| self.file.set_len(start)) {
                tracing::warn!(error = %second, "a half-written audit line stays until the next append");
            }
            return Err(io_fault("writing", &error));
        }
        self.end = start.map(|start| start.saturating_add(batch.bytes.len() as u64));
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = batch.head.clone();
        Ok(())
    }

    /// Sees whether somebody else wrote, and removes a line that a crash left unfinished. Gives its bytes.
    fn catch_up(&mut self) -> Result<u64, Fault> {
        let ours = self.file.metadata().map_err(|e| io_fault("reading", &e))?;
        let named = std::fs::metadata(&self.path).map_err(|_| moved())?;
        if (ours.dev(), ours.ino()) != (named.dev(), named.ino()) {
            return Err(moved());
        }
        if self.end == Some(ours.len()) {
            return Ok(0);
        }
        let tail = read_tail(&self.file, &self.ledger)?;
        if tail.torn > 0 {
            let cut = self.file.set_len(tail.end).and_then(|()| self.file.sync_data());
            cut.map_err(|e| io_fault("mending", &e))?;
            tracing::warn!(
                bytes = tail.torn,
                "an unfinished last line of the audit trail, left by a crash, was removed"
            );
        }
        self.end = Some(tail.end);
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = tail.head;
        Ok(tail.torn)
    }

    fn current(&self) -> Head {
        self.head.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn locked<T>(&mut self, action: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        let until = Instant::now() + LOCK_WAIT;
        loop {
            match self.file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(io_fault("locking", &error)),
                Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => {
                    let message = "another process has held the audit trail for two seconds";
                    return Err(Fault::new(Class::Transient, "audit-locked", message)
                        .remedy("see whether a second operator on this trail hangs or is stopped"));
                }
            }
        }
        let outcome = action(self);
        match self.file.unlock() {
            Ok(()) => outcome,
            Err(error) => outcome.and_then(|_| Err(io_fault("unlocking", &error))),
        }
    }

    /// The copy for a log collector. It comes after the file and the answers, and never fails an append; a collector that
    /// stops reading holds up the next one.
    fn copy(&mut self, bytes: &[u8]) {
        let Some(mirror) = &mut self.mirror else { return };
        if let Err(error) = mirror.write_all(bytes).and_then(|()| mirror.flush()) {
            tracing::warn!(error = %error.kind(), "the copy of the audit trail has ended: it can't be written");
            self.mirror = None;
        }
    }
}

/// Lines that are written at once.
struct Batch {
    bytes: Vec<u8>,
    head: Head,
}

impl Batch {
    fn new(head: Head) -> Self {
        Self { bytes: Vec::new(), head }
    }

    /// All events, or none if one of them does not fit a line whatever is cut.
    fn push(&mut self, ledger: &str, events: &[Event]) -> Result<(), Fault> {
        let (length, head) = (self.bytes.len(), self.head.clone());
        for event in events {
            let Some(line) = encode(&self.head, ledger, &bounded(event)) else {
                self.bytes.truncate(length);
                self.head = head;
                return Err(Fault::new(Class::Permanent, "audit-event-too-long", "an audit event exceeds 64 KiB"));
            };
            self.head = self.head.after(&line);
            self.bytes.extend_from_slice(&line);
            self.bytes.push(b'\n');
        }
        Ok(())
    }
}

/// Whoever asked may be gone by now; the events are on the trail all the same.
fn answer(done: oneshot::Sender<Result<(), Fault>>, outcome: Result<(), Fault>) {
    if done.send(outcome).is_err() {
        tracing::debug!("an append was not waited for");
    }
}

fn moved() -> Fault {
    Fault::new(Class::Misconfigured, "audit-trail-moved", "the audit trail was moved or removed while it is written")
        .remedy("put it back, or restart the operator to begin a new one; never rotate it with a log rotator")
}

fn open_fault(error: &std::io::Error) -> Fault {
    let message = format!("the audit trail can't be opened: {}", error.kind());
    Fault::new(Class::Misconfigured, "audit-open", message)
        .remedy("name a file in a folder that the operator may write")
}
