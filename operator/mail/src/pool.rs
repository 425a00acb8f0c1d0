//! A few authenticated connections that are used again.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::failure::{Cause, Failure, Phase};
use crate::session::{Dialer, Session};

/// An idle connection is closed after this long; most servers wait five minutes.
const IDLE: Duration = Duration::from_secs(30);
/// A connection that answered less than this ago is not asked again whether it is alive.
const FRESH: Duration = Duration::from_secs(1);
/// Many servers end a connection after a hundred mails.
const MAILS: u32 = 90;

pub(crate) struct Pool {
    pub(crate) dialer: Dialer,
    idle: Mutex<Idle>,
    permits: Arc<Semaphore>,
}

#[derive(Default)]
struct Idle {
    sessions: Vec<Session>,
    reaped: bool,
}

/// A session that is out of the pool, and its place in it.
pub(crate) struct Lease {
    pub(crate) session: Session,
    /// Whether it was used before, and may have gone stale.
    pub(crate) reused: bool,
    permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(crate) fn new(dialer: Dialer, size: usize) -> Arc<Self> {
        Arc::new(Self { dialer, idle: Mutex::default(), permits: Arc::new(Semaphore::new(size)) })
    }

    /// A session that answers: an idle one, or a new one.
    pub(crate) async fn lease(&self, deadline: Instant) -> Result<Lease, Failure> {
        let busy = || Failure::new(Phase::Queue, Cause::Timeout);
        let permit = timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await;
        let permit = permit.map_err(|_| busy())?.map_err(|_| busy())?;
        while let Some(mut session) = self.take_idle() {
            let idle = session.used.elapsed();
            if idle < IDLE && (idle < FRESH || session.is_alive(deadline).await) {
                return Ok(Lease { session, reused: true, permit });
            }
        }
        let session = self.dialer.open(deadline).await?;
        Ok(Lease { session, reused: false, permit })
    }

    /// A new session in place of one that turned out to be stale.
    pub(crate) async fn renew(&self, stale: Lease, deadline: Instant) -> Result<Lease, Failure> {
        let Lease { session, permit, .. } = stale;
        drop(session);
        Ok(Lease { session: self.dialer.open(deadline).await?, reused: false, permit })
    }

    /// Gives a session back whose last transaction is over.
    pub(crate) fn give_back(self: &Arc<Self>, lease: Lease) {
        if lease.session.mails >= MAILS {
            tokio::spawn(lease.session.quit());
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.sessions.push(lease.session);
        if !std::mem::replace(&mut idle.reaped, true) {
            tokio::spawn(reap(Arc::downgrade(self)));
        }
    }

    /// Ends all idle sessions.
    pub(crate) async fn close(&self) {
        while let Some(session) = self.take_idle() {
            session.quit().await;
        }
    }

    /// The session that was used last.
    fn take_idle(&self) -> Option<Session> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).sessions.pop()
    }

    /// Takes out one session that is idle for too long; else says when the next will be, if there is one.
    fn take_expired(&self) -> Result<Session, Option<Instant>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(at) = idle.sessions.iter().position(|session| now.duration_since(session.used) >= IDLE) {
            return Ok(idle.sessions.remove(at));
        }
        let next = idle.sessions.iter().map(|session| session.used + IDLE).min();
        idle.reaped = next.is_some();
        Err(next)
    }
}

/// Ends idle sessions in time, until there are none or the pool is gone.
async fn reap(pool: Weak<Pool>) {
    loop {
        let Some(expired) = pool.upgrade().map(|pool| pool.take_expired()) else { return };
        match expired {
            Ok(session) => session.quit().await,
            Err(Some(next)) => sleep_until(next).await,
            Err(None) => return,
        }
    }
}
