//! One delivery at a time: observe, decide, act, until it rests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ps_core::decide::{Action, Decision, Observation, Sibling, step};
use ps_core::entry::{Attempt, Common, Entry};
use ps_core::error::Fault;
use ps_core::ids::Key;
use ps_core::ports::{
    AuditSink, CasError, Clock, Connections, Identities, Ledger, LinkStore, Mailer, Manifests, Random, Vault,
};
use ps_core::secret::SecretBytes;
use ps_core::status;
use ps_core::time::{Span, Timestamp};

use crate::act::Trip;
use crate::desk::Desk;
use crate::observe::View;

/// Everything that a controller may touch.
#[derive(Clone)]
pub struct Ports {
    /// Where manifests come from.
    pub manifests: Arc<dyn Manifests>,
    /// Connections and the secrets that they name.
    pub connections: Arc<dyn Connections>,
    /// The operator's memory.
    pub ledger: Arc<dyn Ledger>,
    /// Link records.
    pub store: Arc<dyn LinkStore>,
    /// Vault or OpenBao.
    pub vault: Arc<dyn Vault>,
    /// The mail server.
    pub mailer: Arc<dyn Mailer>,
    /// The identity provider.
    pub identities: Arc<dyn Identities>,
    /// The audit trail.
    pub audit: Arc<dyn AuditSink>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
}

/// What a controller is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A name that no other process, and no earlier start of this one, has.
    pub me: String,
    /// The operator's own namespace, as which clean-up connections are used; empty outside a cluster.
    pub namespace: String,
    /// Where links lead: scheme, host, optional port and path, no trailing slash.
    pub public_url: String,
    /// The sender's name where a manifest gives none.
    pub sender: String,
    /// Domain of Message-IDs.
    pub mail_domain: String,
    /// How long a message may wait in memory for a mail server that refuses it for now.
    pub mail_hold: Span,
    /// Nothing is sent; rotating goes on.
    pub paused: bool,
    /// The largest ciphertext that the store takes.
    pub max_bytes: usize,
}

/// Hears of every step: the terminal's story, metrics.
pub trait StepLog: Send + Sync {
    /// A decision is about to be performed.
    fn step(&self, key: &Key, decision: &Decision);
    /// An act failed; it will be tried again as its class says.
    fn failed(&self, key: &Key, fault: &Fault);
    /// An entry was written.
    fn wrote(&self, before: Option<&Entry>, after: &Entry);
    /// A delivery rests in this status.
    fn rested(&self, key: &Key, status: &status::Status);
}

/// What came of [`Controller::work`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rested {
    /// When something is due.
    pub wake: Option<Timestamp>,
    /// When to look again, not before and a little later at most.
    pub look: Option<Timestamp>,
    /// Deliveries that share a source and should look again now.
    pub also: Vec<Key>,
    /// Whether it was looked at to the end: `false` if something failed on the way, and nothing was decided.
    pub settled: bool,
}

/// Drives deliveries. Any number of tasks may call [`Controller::work`] at once, for different keys.
pub struct Controller {
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
    pub(crate) desk: Desk,
    pub(crate) tag_key: SecretBytes,
    pub(crate) log: Arc<dyn StepLog>,
    started_at: Timestamp,
    restored: Mutex<Restored>,
    unready: Mutex<Option<Fault>>,
    stopping: AtomicBool,
}

/// Why a restore was noticed that nobody has accepted yet, as far as this process has heard.
#[derive(Default)]
struct Restored {
    why: Option<String>,
    /// It was found out by asking, and not every delivery was told.
    untold: bool,
}

/// How long a delivery waits whose storage, manifests or audit trail failed: in a way that may pass, and in one that only a
/// person can mend.
const AGAIN: Span = Span::from_secs(1);
const SLOWLY: Span = Span::from_secs(30);

/// More decisions than any delivery needs in a row: a delivery that exceeds it comes back a little later.
const MOST_STEPS: usize = 64;

impl Controller {
    /// A controller over these ports. `common` is the ledger-wide entry as read at start.
    #[must_use]
    pub fn new(ports: Ports, settings: Settings, common: &Common, log: Arc<dyn StepLog>) -> Self {
        let started_at = ports.clock.now();
        Self {
            tag_key: SecretBytes::new(common.tag_key.0.to_vec()),
            restored: Mutex::new(Restored { why: common.restored.clone(), untold: false }),
            unready: Mutex::default(),
            desk: Desk::default(),
            stopping: AtomicBool::new(false),
            ports,
            settings,
            log,
            started_at,
        }
    }

    /// Says that a restore was noticed (or accepted, with `None`). Takes effect with the next decision. Returns whether
    /// that is news: then every delivery should look again.
    pub fn set_restored(&self, why: Option<String>) -> bool {
        let mut restored = self.heard();
        let news = restored.why != why || restored.untold;
        *restored = Restored { why, untold: false };
        news
    }

    /// Asks the ledger whether a restore is still to be accepted. A process that was stopped for long has not heard that it was, and
    /// would withdraw what another one has sent since.
    ///
    /// # Errors
    /// `Lost` if it is not: what was decided is of another time.
    pub(crate) async fn confirm_restored(&self) -> Result<(), Trip> {
        let why = self.ports.ledger.common(&Common::blank()).await?.value.restored;
        if why.is_some() {
            return Ok(());
        }
        *self.heard() = Restored { why, untold: true };
        Err(Trip::Lost)
    }

    fn heard(&self) -> MutexGuard<'_, Restored> {
        self.restored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The restore that was noticed and not accepted yet, if any.
    #[must_use]
    pub fn restored(&self) -> Option<String> {
        self.heard().why.clone()
    }

    /// Says why nothing may be sent yet, or (`None`) that it may. Takes effect with the next decision. Returns whether
    /// that is news: then every delivery should look again.
    pub fn set_unready(&self, why: Option<Fault>) -> bool {
        let mut unready = self.unready.lock().unwrap_or_else(PoisonError::into_inner);
        let news = unready.is_some() != why.is_some();
        *unready = why;
        news
    }

    /// From now on nothing new begins; returns the deliveries with a message in memory, whose links must be voided.
    pub fn stop(&self) -> Vec<Key> {
        self.stopping.store(true, Ordering::SeqCst);
        self.desk.holding()
    }

    /// When this controller started.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    pub(crate) fn base_observation(&self) -> Observation {
        Observation {
            me: self.settings.me.clone(),
            started_at: self.started_at,
            mail_hold: self.settings.mail_hold,
            paused: self.settings.paused,
            unready: self.unready.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            restored: self.restored(),
            stopping: self.stopping.load(Ordering::SeqCst),
            ..Observation::default()
        }
    }

    /// Drives one delivery until it rests. Never fails: what fails is logged, noted in the status, and tried again.
    pub async fn work(&self, key: &Key) -> Rested {
        let mut also = Vec::new();
        let mut issued = None;
        for _ in 0..MOST_STEPS {
            let view = match self.observe(key).await {
                Ok(view) => view,
                Err(trip) => {
                    self.let_go(key).await;
                    return self.tripped(key, &trip, also);
                }
            };
            if let Some(number) = issued.take() {
                also.extend(given_another(&view, number));
            }
            let now = self.now();
            let decision = step(view.manifest.as_ref(), view.entry(), &view.obs, now);
            if decision.action == Action::Rest {
                let again = self.show(key, &view, &decision, now).await;
                self.tidy(key, &view);
                let look = decision.look.into_iter().chain(again).min();
                return Rested { wake: decision.wake, look, also, settled: links_were_seen(&view) };
            }
            self.log.step(key, &decision);
            if concerns_siblings(&decision, view.entry()) {
                also.extend(view.obs.siblings.iter().map(|s| s.key.clone()));
            }
            if let Action::Issue(order) = &decision.action {
                issued = Some(order.number);
            }
            match self.act(key, &view, &decision).await {
                Ok(()) | Err(Trip::Lost) => {}
                Err(trip) if trip.goes_on() => self.note_trouble(key, &view, trip),
                Err(trip) => {
                    let settled = links_were_seen(&view) && decision.action.comes_after_links();
                    return Rested { settled, ..self.tripped(key, &trip, also) };
                }
            }
        }
        Rested { wake: Some(self.now() + Span::from_secs(1)), look: None, also, settled: false }
    }

    /// The ledger can't be read, so nothing can be decided; but a person may ask to let an object go whatever it says.
    async fn let_go(&self, key: &Key) {
        if let Ok(Some(manifest)) = self.ports.manifests.get(key).await
            && manifest.deleting
            && manifest.let_go
            && let Err(fault) = self.ports.manifests.release(key, &manifest.uid).await
        {
            self.log.failed(key, &fault);
        }
    }

    /// Storage or manifests failed: nothing can be decided, so the delivery comes back a little later.
    fn tripped(&self, key: &Key, trip: &Trip, also: Vec<Key>) -> Rested {
        let fault = trip.fault();
        self.log.failed(key, &fault);
        let wait = if fault.is_transient() { AGAIN } else { SLOWLY };
        let jitter = Span::from_millis(i64::from(self.jitter()) * wait.as_millis() / 4 / i64::from(u16::MAX));
        Rested { wake: Some(self.now() + wait + jitter), look: None, also, settled: false }
    }

    fn note_trouble(&self, key: &Key, view: &View, trip: Trip) {
        let (now, jitter) = (self.now(), self.jitter());
        self.log.failed(key, &trip.fault());
        let generation = view.manifest.as_ref().map_or(0, |m| m.generation);
        match trip {
            Trip::Mail(fault) => self.desk.block_mail(fault, now, jitter),
            Trip::Deferred(fault) => self.desk.defer_mail(key, fault, now, jitter),
            Trip::Identity(fault) => self.desk.block_identity(fault, now, jitter),
            Trip::Store(fault) => self.desk.block_store(fault, now, jitter),
            Trip::Record { attempt, fault } => self.desk.block_record(key, attempt, fault, now, jitter),
            Trip::Vault { connection, fault, .. } if fault.is_transient() => {
                self.desk.block(&connection, fault, now, jitter);
            }
            Trip::Vault { attempt, fault, .. } | Trip::Delivery { attempt, fault } => {
                self.desk.fail(key, attempt, generation, fault, now, jitter);
            }
            Trip::Audit(fault) => self.desk.block_audit(fault, now, jitter),
            Trip::Lost | Trip::Storage(_) | Trip::Manifests(_) => {}
        }
    }

    /// A random number, for times that are not to come together.
    #[must_use]
    pub fn jitter(&self) -> u16 {
        let mut two = [0_u8; 2];
        // Without randomness there is no jitter, which is no reason to stop.
        if self.ports.random.fill(&mut two).is_err() {
            return u16::MAX / 2;
        }
        u16::from_be_bytes(two)
    }

    /// Puts the status. What could not be put is told at no other time, so this says when to try again.
    async fn show(&self, key: &Key, view: &View, decision: &Decision, now: Timestamp) -> Option<Timestamp> {
        let Some(manifest) = &view.manifest else {
            self.desk.shown(key);
            return None;
        };
        let wake = decision.wake.into_iter().chain(decision.look).min();
        let status = status::project(Some(manifest), view.entry(), decision.note.as_ref(), wake, now);
        self.log.rested(key, &status);
        match self.ports.manifests.put_status(key, &manifest.uid, &status).await {
            Ok(()) => {
                self.desk.shown(key);
                None
            }
            Err(fault) => {
                self.log.failed(key, &fault);
                Some(self.desk.unshown(key, fault.class, self.now(), self.jitter()))
            }
        }
    }

    fn tidy(&self, key: &Key, view: &View) {
        let quiet = view.entry().is_none_or(|e| e.removed) && view.obs.held.is_none() && view.obs.trouble.is_empty();
        let quiet = quiet && view.obs.record_trouble.is_empty();
        if quiet {
            self.desk.tidy(key);
        }
    }
}

/// Whether every record of the delivery was read, so that nothing was left undone with its links.
fn links_were_seen(view: &View) -> bool {
    let read = |a: &Attempt| a.forgotten || view.obs.records.contains_key(&a.number);
    view.obs.store_blocked.is_none() && view.entry().is_none_or(|e| e.attempts.iter().all(read))
}

/// Other deliveries of a new attempt's source that were given another incarnation of it, perhaps because it was rotated for
/// this one: they should look again, at open links above all.
fn given_another(view: &View, number: u32) -> Vec<Key> {
    let Some(new) = view.entry().and_then(|e| e.attempt(number)) else { return Vec::new() };
    let another = |s: &&Sibling| s.source_key == new.source_key && s.dead_at.is_none() && s.identity != new.identity;
    view.obs.siblings.iter().filter(another).map(|s| s.key.clone()).collect()
}

/// A proof or a claim may change what other deliveries of the same source should do.
fn concerns_siblings(decision: &Decision, before: Option<&Entry>) -> bool {
    let Action::Persist(after) = &decision.action else { return false };
    let facts = |e: &Entry| {
        e.attempts.iter().map(|a| (a.evidence.is_some(), a.link.claimed_at, a.obligation.is_some())).collect::<Vec<_>>()
    };
    before.is_none_or(|before| facts(before) != facts(after))
}

impl From<CasError> for Trip {
    fn from(error: CasError) -> Self {
        match error {
            CasError::AlreadyExists | CasError::Conflict => Self::Lost,
            CasError::Failed(fault) => Self::Storage(fault),
        }
    }
}
