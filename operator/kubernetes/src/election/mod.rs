//! Who works and who stands by: one `Lease` of coordination.k8s.io, with the semantics of Kubernetes' own components.
//!
//! A lease is over when it has not *changed* for its duration, by the watcher's own monotonic clock: nobody's wall clock is
//! compared with anybody's. Each change is a replace with the resourceVersion that was read, so two contenders never both win.
//! A leader that can't renew stops at its deadline, before anybody else may begin.
//!
//! Safety never depends on it: it keeps a second operator from doing the same work.

mod decide;
mod run;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube::Client;
use ps_core::error::Fault;
use tokio::sync::watch;

pub use decide::{LONGEST_LEASE, LeaseView, Observed, Step, decide};

/// Which lease, and how patiently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Namespace of the lease.
    pub namespace: String,
    /// Name of the lease.
    pub name: String,
    /// Who contends: unique per process, such as the pod's name and its uid.
    pub me: String,
    /// How long others wait after the last change before they take over; whole seconds, at least one.
    pub lease_duration: Duration,
    /// How long after its last renewal a leader stops working; shorter than `lease_duration`.
    pub renew_deadline: Duration,
    /// How often the lease is looked at or renewed; shorter than `renew_deadline`.
    pub retry_period: Duration,
}

impl Config {
    /// The times of Kubernetes' own components: 15 s, 10 s and 2 s.
    #[must_use]
    pub fn new(namespace: &str, name: &str, me: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            me: me.to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// Where this process stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Somebody else leads, or nobody is known to.
    Standby {
        /// Who leads, if it is known.
        holder: Option<String>,
    },
    /// This process leads.
    Leading {
        /// Counts how often this process began to lead: a change of it means that it was not leading in between.
        term: u64,
    },
    /// This process led and can't be sure of it any more: work has to stop. It goes on to contend.
    Lost {
        /// Which term it was.
        term: u64,
        /// Why.
        fault: Option<Fault>,
    },
}

/// An election that goes on in a task of its own. Dropping it ends the task without release; see [`Election::stop`].
#[derive(Debug)]
pub struct Election {
    standing: watch::Receiver<Standing>,
    held: Held,
    trouble: watch::Receiver<Option<Fault>>,
    stop: watch::Sender<bool>,
    task: Option<tokio::task::JoinHandle<()>>,
}

/// Until when leadership is sure, to be asked before each effect. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Held(Arc<Mutex<Option<Instant>>>);

impl Held {
    /// The end of what is sure, by the monotonic clock; `None` while standing by.
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        *self.lock()
    }

    /// Whether this process certainly leads now.
    #[must_use]
    pub fn now(&self) -> bool {
        self.until().is_some_and(|until| Instant::now() < until)
    }

    fn set(&self, until: Option<Instant>) {
        *self.lock() = until;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write of the lease, for who wants to come to harm just there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseWrite {
    /// It is made, or taken over.
    Take,
    /// It is held, and written again.
    Renew,
    /// It is given back at an orderly end.
    Release,
}

/// Called before each write of the lease (`false`), and after it (`true`).
pub type OnWrite = Arc<dyn Fn(LeaseWrite, bool) + Send + Sync>;

impl Election {
    /// Begins to contend, in a task of the current tokio runtime.
    #[must_use]
    pub fn run(client: Client, config: Config) -> Self {
        Self::watched(client, config, Arc::new(|_, _| ()))
    }

    /// As [`Election::run`], with a hook around each write.
    #[must_use]
    pub fn watched(client: Client, config: Config, on_write: OnWrite) -> Self {
        let (standing, receiver) = watch::channel(Standing::Standby { holder: None });
        let (stop, stopped) = watch::channel(false);
        let (troubled, trouble) = watch::channel(None);
        let held = Held::default();
        let runner =
            run::Runner::new(client, config, run::Told { standing, troubled, held: held.clone(), on_write }, stopped);
        let task = Some(tokio::spawn(runner.run()));
        Self { standing: receiver, held, trouble, stop, task }
    }

    /// Where this process stands, and every change of it. Changes in quick succession may arrive as one: look at `term`.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Until when leadership is sure: ask before each effect. It ends at the renew deadline after the last renewal was *sent*.
    #[must_use]
    pub fn held(&self) -> Held {
        self.held.clone()
    }

    /// Why the last look at the lease failed, if it did: `kubernetes-denied` without a Role for leases, for one.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.trouble.borrow().clone()
    }

    /// Stops contending. If this process leads, the lease is given back, so that a standby begins at once: end all work first.
    /// Takes at most a few seconds.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            // It ends by itself; if it panicked there is nothing to give back.
            drop(task.await);
        }
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            self.held.set(None);
        }
    }
}
