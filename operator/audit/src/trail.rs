//! The trail in a file.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use ps_core::audit::Event;
use ps_core::error::{Class, Fault};
use ps_core::ids::Digest;
use ps_core::ports::AuditSink;
use tokio::sync::{mpsc, oneshot};

use crate::line::Head;
use crate::read::EventReader;
use crate::writer::{Job, Writer};

/// Appends that may wait; further ones wait for room.
const QUEUE: usize = 1024;

/// Where lines are copied to once they are durable, for a log collector.
pub enum Mirror {
    /// Nowhere.
    None,
    /// To standard output.
    Stdout,
    /// To anything else.
    Writer(Box<dyn Write + Send>),
}

/// An audit trail in a file of mode 0600. It has a thread of its own that writes, and ends once this is dropped.
pub struct FileTrail {
    queue: mpsc::Sender<Job>,
    head: Arc<Mutex<Head>>,
    path: PathBuf,
    torn: u64,
    identity: OnceLock<Digest>,
}

impl FileTrail {
    /// Opens the trail of `ledger`, or begins it. A last line that a crash left without its newline is removed: nobody
    /// was told that it is durable. Blocks while it reads the file's end.
    ///
    /// # Errors
    /// Misconfigured if it can't be opened, belongs to another ledger, or its end is not in order; transient if the
    /// file system fails or another process holds it.
    pub fn open(path: &Path, ledger: &str, mirror: Mirror) -> Result<Self, Fault> {
        let mirror: Option<Box<dyn Write + Send>> = match mirror {
            Mirror::None => None,
            Mirror::Stdout => Some(Box::new(std::io::stdout())),
            Mirror::Writer(writer) => Some(writer),
        };
        let (writer, torn) = Writer::open(path, ledger, mirror)?;
        let head = writer.head();
        let (queue, jobs) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new().name("audit".into()).spawn(move || writer.run(jobs));
        thread.map_err(|e| crate::tail::io_fault("starting the writer of", &e))?;
        Ok(Self { queue, head, path: path.to_owned(), torn, identity: OnceLock::new() })
    }

    /// Where the chain stood after the last append of this process, or at opening: keep it elsewhere.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Digest of the first line: what tells this trail from every other one of the same ledger. `None` while it is empty.
    ///
    /// # Errors
    /// Transient if it can't be read.
    pub fn identity(&self) -> Result<Option<Digest>, Fault> {
        if let Some(known) = self.identity.get() {
            return Ok(Some(*known));
        }
        let found = crate::read::first_line(&self.path)?.map(|line| Digest::of(&line));
        Ok(found.map(|digest| *self.identity.get_or_init(|| digest)))
    }

    /// How many bytes of an unfinished last line were removed at opening: 0 unless a crash left one.
    #[must_use]
    pub fn torn_at_open(&self) -> u64 {
        self.torn
    }

    /// The events from position `n` on, as they are in the file by now: for the restore check ([`crate::witness`]).
    ///
    /// # Errors
    /// Transient if it can't be read.
    pub fn read_from(&self, n: u64) -> Result<EventReader, Fault> {
        EventReader::open(&self.path, n)
    }
}

#[async_trait]
impl AuditSink for FileTrail {
    async fn append(&self, events: &[Event]) -> Result<(), Fault> {
        if events.is_empty() {
            return Ok(());
        }
        let (done, outcome) = oneshot::channel();
        self.queue.send(Job { events: events.to_vec(), done }).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }
}

impl fmt::Debug for FileTrail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queue: _, head: _, path, torn, identity: _ } = self;
        f.debug_struct("FileTrail").field("path", path).field("torn", torn).finish_non_exhaustive()
    }
}

fn gone() -> Fault {
    Fault::new(Class::Transient, "audit-writer-gone", "the audit trail's writer has ended")
        .remedy("restart the operator")
}
