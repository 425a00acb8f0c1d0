//! The lease on a data folder: one operator works, another one stands by. Safety never depends on it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ps_core::error::Fault;
use ps_core::ports::{CasError, lease_over};
use ps_core::time::Span;
use ps_ledger::EmbeddedLedger;

use crate::clock::now;
use crate::engine::Leads;
use crate::failpoints::{self, Own};

/// How often something that another process holds is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Opens something in the data folder. While another process holds it (one that was stopped in the middle of a write
/// holds it until it goes on or ends), this waits as a standby does, and says so once.
///
/// # Errors
/// What does not pass by itself.
pub async fn open<T>(mut open: impl FnMut() -> Result<T, Fault>) -> Result<T, Fault> {
    let mut told = false;
    loop {
        match open() {
            Err(fault) if fault.is_transient() => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(code = %fault.code, "standing by: {fault}");
                }
                tokio::time::sleep(AGAIN).await;
            }
            done => return done,
        }
    }
}

/// The fault behind an error, if it passes by itself.
#[must_use]
pub fn passing(error: &anyhow::Error) -> Option<&Fault> {
    let fault = error.chain().find_map(|cause| match cause.downcast_ref() {
        Some(CasError::Failed(fault)) => Some(fault),
        _ => cause.downcast_ref::<Fault>(),
    });
    fault.filter(|fault| fault.is_transient())
}

/// How often [`Lease::held`] looks again.
const PAUSE: Duration = Duration::from_millis(50);

/// This process' lease, or its wish for one.
pub struct Lease {
    me: String,
    span: Span,
    until: AtomicI64,
    lost: AtomicBool,
}

impl Lease {
    /// Not taken yet. `me` is a name that no other process, and no earlier start, has; `span` is how long the lease holds
    /// without renewal.
    #[must_use]
    pub const fn new(me: String, span: Span) -> Self {
        Self { me, span, until: AtomicI64::new(0), lost: AtomicBool::new(false) }
    }

    /// Takes or renews it; `false` if somebody else has it.
    ///
    /// # Errors
    /// If the ledger can't tell.
    pub async fn take(&self, ledger: &EmbeddedLedger) -> Result<bool, CasError> {
        let at = now();
        let until = at + self.span;
        let own = if self.until.load(Ordering::Relaxed) > 0 { Own::RenewLease } else { Own::TakeLease };
        let taken = failpoints::around(own, ledger.try_lease(&self.me, until, at)).await?;
        if taken {
            self.until.store(until.as_millis(), Ordering::Relaxed);
        } else if self.until.load(Ordering::Relaxed) > 0 {
            self.lost.store(true, Ordering::Relaxed);
        }
        Ok(taken)
    }

    /// Gives it back at an orderly end; `false` if somebody else has it by now.
    ///
    /// # Errors
    /// If the ledger can't be written.
    pub async fn release(&self, ledger: &EmbeddedLedger) -> Result<bool, CasError> {
        failpoints::around(Own::ReleaseLease, ledger.release(&self.me)).await
    }

    /// How often it is renewed: often enough that three losses in a row do no harm.
    #[must_use]
    pub fn renew_every(&self) -> Duration {
        self.span.to_std() / 4
    }

    /// Renews it for ever: while a start or an end takes long, nobody else beats for it. Errors are left to the main loop's beat.
    pub async fn keep(&self, ledger: &EmbeddedLedger) {
        loop {
            tokio::time::sleep(self.renew_every()).await;
            if let Err(error) = self.take(ledger).await {
                tracing::debug!(%error, "the lease was not renewed");
            }
        }
    }

    /// Does a step of the start again while what stands in its way passes by itself, as long as this lease lasts.
    ///
    /// # Errors
    /// What does not pass, or did not in time.
    pub async fn patiently<T>(&self, mut step: impl AsyncFnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
        loop {
            let error = match step().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let Some(fault) = passing(&error) else { return Err(error) };
            if let Err(over) = self.must_hold() {
                return Err(error.context(over));
            }
            tracing::warn!(code = %fault.code, "the start goes on when this is over: {fault}");
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// How often a standby asks for it.
    #[must_use]
    pub fn ask_every(&self) -> Duration {
        self.span.to_std() / 16
    }

    /// Refuses once it is over: a process that was stopped for long must not take what it saw before for what is there
    /// now. Each step begins with a look at the manifest, so that is where this is asked.
    ///
    /// # Errors
    /// Transient, code `lease-over`.
    pub fn must_hold(&self) -> Result<(), Fault> {
        if now().as_millis() < self.until.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(lease_over("this operator was not heard of for so long that another one may work on its data folder"))
    }
}

#[async_trait]
impl Leads for Lease {
    /// Waits while it is over: a process that was stopped for long begins nothing before it knows whether it still leads.
    /// `false` once it is lost to somebody else.
    async fn held(&self) -> bool {
        while now().as_millis() >= self.until.load(Ordering::Relaxed) {
            if self.lost.load(Ordering::Relaxed) {
                return false;
            }
            tokio::time::sleep(PAUSE).await;
        }
        !self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
