//! One connection: its pool, its login, and the one task that keeps the token alive.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use ps_core::error::Fault;
use ps_core::ports::{Clock, Connection, Connections};
use ps_core::secret::SecretString;
use ps_core::time::{Span, Timestamp};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::answer::{envelope, errors};
use crate::counts::Counts;
use crate::fault;
use crate::login;
use crate::request::{Operation, Request};
use crate::session::Session;
use crate::transport::{Answer, Transport};

/// Longest pause of the keeper: a clock that jumps, or a machine that slept, is noticed after it.
const LONGEST_PAUSE: Span = Span::from_secs(30);
const SHORTEST_PAUSE: Span = Span::from_millis(500);

/// One connection.
pub(crate) struct Peer {
    at: Connection,
    connections: Arc<dyn Connections>,
    clock: Arc<dyn Clock>,
    counts: Arc<Counts>,
    transport: Transport,
    current: Mutex<Option<Arc<Session>>>,
    /// Held during a login; keeps the last one's fault for those that waited for it.
    flight: tokio::sync::Mutex<Option<Fault>>,
    logins: AtomicU64,
    changed: Arc<Notify>,
}

impl Peer {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// Misconfigured if the connection's settings cannot be used.
    pub(crate) fn new(
        at: Connection,
        connections: Arc<dyn Connections>,
        clock: Arc<dyn Clock>,
        counts: Arc<Counts>,
    ) -> Result<Self, Fault> {
        let transport = Transport::new(&at)?;
        let (current, flight, logins, changed) =
            (Mutex::default(), tokio::sync::Mutex::default(), AtomicU64::new(0), Arc::default());
        Ok(Self { at, connections, clock, counts, transport, current, flight, logins, changed })
    }

    pub(crate) fn at(&self) -> &Connection {
        &self.at
    }

    /// Whether requests of `at` can go over this peer as it is. Who cleans up is nothing to it.
    pub(crate) fn serves(&self, at: &Connection) -> bool {
        let cleanup = at.cleanup.clone();
        Connection { cleanup, ..self.at.clone() } == *at
    }

    /// Goes on with another peer's login, if it is one as the same identity at the same server. The identity may not be
    /// able to log in again: its service account may be gone, and only the token be left.
    pub(crate) fn take_over(&self, other: &Self) {
        let who = |at: &Connection| {
            (at.name.clone(), at.address.clone(), at.vault_namespace.clone(), at.auth.clone(), at.secrets_in.clone())
        };
        if who(&self.at) == who(&other.at) {
            *self.current.lock().unwrap_or_else(PoisonError::into_inner) = other.current();
        }
    }

    pub(crate) fn connections(&self) -> &dyn Connections {
        &*self.connections
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A random byte; without randomness there is no spread, which harms nothing.
    pub(crate) fn jitter(&self) -> u8 {
        let mut byte = [0_u8];
        getrandom::fill(&mut byte).map_or(0, |()| byte[0])
    }

    /// Sends one request with the connection's token. After a refusal that a login can heal: one login, and once more.
    ///
    /// # Errors
    /// There is no answer, or no login. Every status is an answer.
    pub(crate) async fn call(&self, request: &Request) -> Result<Answer, Fault> {
        let session = self.session().await?;
        let answer = self.send(Some(&session.token), request).await?;
        if answer.status != 403 {
            if answer.status < 500 {
                session.accept();
            }
            return Ok(answer);
        }
        let dead = login::is_dead(&errors(&answer.body));
        // Whether the capabilities can be asked for is no reason to log in.
        let asks = request.operation == Operation::Capabilities;
        if (asks && !dead) || !session.is_worth_a_login(self.now(), dead) {
            return Ok(answer);
        }
        match self.log_in(Some(&session)).await {
            Ok(fresh) if fresh.token.expose() != session.token.expose() => {
                let answer = self.send(Some(&fresh.token), request).await?;
                if answer.status != 403 {
                    fresh.accept();
                }
                Ok(answer)
            }
            Err(fault) if dead => Err(fault),
            _ => Ok(answer),
        }
    }

    /// Sends one request, without any login, and counts it.
    ///
    /// # Errors
    /// There is no answer.
    pub(crate) async fn send(&self, token: Option<&SecretString>, request: &Request) -> Result<Answer, Fault> {
        let outcome =
            self.transport.exchange(token, request).await.map_err(|e| fault::no_answer(&self.at, request, &e));
        let label = match &outcome {
            Ok(answer) => fault::outcome(answer.status),
            Err(fault) => fault.class.as_str(),
        };
        let operation = request.operation.as_str();
        self.counts.add(&self.at.name, operation, label);
        if tracing::enabled!(tracing::Level::DEBUG) {
            let answer = outcome.as_ref().ok();
            let status = answer.map(|answer| answer.status).unwrap_or_default();
            let said = answer.and_then(|answer| envelope(&answer.body));
            let (request_id, warnings) = said.map(|said| (said.request_id, said.warnings)).unwrap_or_default();
            let request_id = request_id.filter(|id| id.len() <= 64).unwrap_or_default();
            let warnings = warnings.unwrap_or_default().len();
            let (connection, path) = (fault::name(&self.at), request.path.as_str());
            tracing::debug!(connection, operation, path, status, request_id, warnings, "asked Vault");
        }
        outcome
    }

    /// The current session, logging in if there is none or it is over.
    pub(crate) async fn session(&self) -> Result<Arc<Session>, Fault> {
        match self.current().filter(|session| !session.is_over(self.now())) {
            Some(session) => Ok(session),
            None => self.log_in(None).await,
        }
    }

    /// Logs in, unless somebody did so meanwhile. Those that wait share the outcome, so that an outage costs one login.
    async fn log_in(&self, stale: Option<&Arc<Session>>) -> Result<Arc<Session>, Fault> {
        let before = self.logins.load(Ordering::Acquire);
        let mut last = self.flight.lock().await;
        let now = self.now();
        let usable =
            |session: &Arc<Session>| !session.is_over(now) && stale.is_none_or(|stale| !Arc::ptr_eq(stale, session));
        if let Some(session) = self.current().filter(usable) {
            return Ok(session);
        }
        if let Some(fault) = &*last
            && self.logins.load(Ordering::Acquire) != before
        {
            return Err(fault.clone());
        }
        let outcome = login::login(self).await;
        self.logins.fetch_add(1, Ordering::AcqRel);
        *last = outcome.as_ref().err().cloned();
        let session = Arc::new(outcome?);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&session));
        self.changed.notify_one();
        tracing::info!(connection = %fault::name(&self.at), "logged in to Vault");
        Ok(session)
    }

    fn drop_session(&self, over: &Arc<Session>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|session| Arc::ptr_eq(session, over)) {
            *current = None;
        }
    }

    fn current(&self) -> Option<Arc<Session>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Renews or replaces the token if that is due, and says how long to pause.
    async fn tend(&self) -> Span {
        let Some(session) = self.current() else { return LONGEST_PAUSE };
        let Some(lease) = session.lease() else { return LONGEST_PAUSE };
        if self.now() < lease.due() {
            return lease.due().since(self.now()).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        }
        let outcome = if lease.can_renew() && !session.is_over(self.now()) {
            login::renew(self, &session, &lease).await.map(|lease| session.renewed(lease))
        } else {
            self.log_in(Some(&session)).await.map(drop)
        };
        let connection = fault::name(&self.at);
        match outcome {
            Ok(()) => tracing::debug!(%connection, "the token goes on"),
            Err(fault) if fault.is_transient() => tracing::warn!(%connection, code = fault.code, "not renewed yet"),
            Err(fault) if lease.can_renew() => {
                tracing::warn!(%connection, code = fault.code, "Vault does not renew the token; logging in anew");
                if let Err(fault) = self.log_in(Some(&session)).await {
                    tracing::warn!(%connection, code = fault.code, "no login");
                }
            }
            Err(fault) => tracing::warn!(%connection, code = fault.code, "no login"),
        }
        if session.is_over(self.now()) {
            // No login took its place. From here on only somebody who needs one tries: an identity that is gone must not
            // cost a login each second for ever.
            self.drop_session(&session);
        }
        // Soon again if it did not work, or if what is left is short.
        let left = self.current().and_then(|s| s.lease()).map(|lease| {
            let now = self.now();
            if now < lease.due() {
                lease.due().since(now)
            } else {
                Span::from_millis(lease.end().since(now).as_millis() / 4)
            }
        });
        left.unwrap_or(LONGEST_PAUSE).clamp(Span::from_secs(1), LONGEST_PAUSE)
    }
}

/// Owns a peer and the task that keeps its token alive; the task ends with it.
pub(crate) struct Keeper {
    peer: Arc<Peer>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Must be called inside a runtime.
    pub(crate) fn start(peer: Arc<Peer>) -> Self {
        let (weak, changed) = (Arc::downgrade(&peer), Arc::clone(&peer.changed));
        Self { peer, task: tokio::spawn(keep(weak, changed)) }
    }

    pub(crate) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(peer: Weak<Peer>, changed: Arc<Notify>) {
    loop {
        let pause = match peer.upgrade() {
            Some(peer) => peer.tend().await.to_std(),
            None => return,
        };
        // An early wake only means an early look.
        let _woken: Result<(), _> = tokio::time::timeout(pause.max(Duration::from_millis(1)), changed.notified()).await;
    }
}
