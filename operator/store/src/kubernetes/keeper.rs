//! The operator's half of the fence: answers the nonces of gateways once it has looked at the records.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ps_core::error::{Class, Fault};
use ps_core::ports::{CasError, Clock};
use ps_core::time::Timestamp;
use ps_kubernetes::{Index, Indexed};
use tokio::sync::watch;

use super::{KubernetesStore, board_row, fence};

/// How often the board is looked at when nothing happens: to drop old entries.
const ROUND: Duration = Duration::from_secs(60);
/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// After a pass that had something to do.
const BETWEEN: Duration = Duration::from_secs(2);
/// How often a pass is tried when gateways write at the same time.
const CONFLICTS: u32 = 16;

/// Answers gateways' nonces. Closed until [`FenceKeeper::open`].
#[derive(Debug)]
pub struct FenceKeeper {
    store: Arc<KubernetesStore>,
    /// The epoch whose records the operator has looked at.
    looked_at: watch::Sender<Option<u64>>,
    /// A pass had something to do since this was last asked.
    worked: AtomicBool,
}

/// Nothing is kept of the board: it is read when it changes.
#[derive(Clone)]
struct Nothing;

impl Indexed for Nothing {}

impl FenceKeeper {
    /// For the store whose records are looked at; it has [`super::Rights::Operator`].
    #[must_use]
    pub fn new(store: Arc<KubernetesStore>) -> Self {
        Self { store, looked_at: watch::Sender::new(None), worked: AtomicBool::new(false) }
    }

    /// Lets gateways in: every record was looked at since [`KubernetesStore::epoch`] became `epoch`, and the ledger is believed.
    /// It holds until that epoch ends.
    pub fn open(&self, epoch: u64) {
        self.looked_at.send_replace(Some(epoch));
    }

    /// Lets no further gateway in. Those that are in stay.
    pub fn close(&self) {
        self.looked_at.send_replace(None);
    }

    /// Whether gateways are let in now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self.looked_at.borrow() == Some(self.store.epoch())
    }

    /// One pass: makes the board if there is none, and answers every nonce on it if open. Before an answer everything is
    /// listed anew, once: if the API server went backwards unnoticed, the epoch ends and nobody is answered; who asks later
    /// than that waits for the next pass. Then, just before the answer is written, `may_answer` is asked: whether this operator
    /// still leads, and nothing else speaks against it. Returns how many were answered.
    ///
    /// Whatever else is on the board is dropped, and one that can't be written any more is made anew: gateways ask again.
    ///
    /// # Errors
    /// A transient fault; or what keeps the board from being read or written.
    pub async fn answer_all<F: Future<Output = bool>>(
        &self,
        now: Timestamp,
        may_answer: impl Fn() -> F,
    ) -> Result<usize, Fault> {
        let board = self.store.board();
        let mut checked: Option<(BTreeSet<String>, u64)> = None;
        for _ in 0..CONFLICTS {
            let (row, version) = match board.get(fence::NAME).await {
                Ok(Some(found)) => found,
                Ok(None) => match board.create(&board_row(Default::default(), Default::default())).await {
                    Ok(_) | Err(CasError::AlreadyExists | CasError::Conflict) => continue,
                    Err(error) => return Err(failed(error)),
                },
                Err(CasError::Failed(fault)) if fault.class == Class::Permanent => {
                    self.make_anew(&fault).await?;
                    continue;
                }
                Err(error) => return Err(failed(error)),
            };
            let mut pass = fence::pass(&row.annotations, now, checked.as_ref().map(|(nonces, _)| nonces));
            if !self.is_open() || !pass.changed && row.data.is_empty() {
                return Ok(0);
            }
            if let Some((_, seen)) = &checked
                && version < *seen
            {
                return Err(busy("the fence is older than it was"));
            }
            self.worked.store(true, Ordering::Relaxed);
            if checked.is_none() && pass.answered > 0 {
                // After the questions were read.
                self.store.recheck().await?;
                checked = Some((std::mem::take(&mut pass.asked), version));
            }
            if !self.is_open() || !may_answer().await {
                return Ok(0);
            }
            match board.replace_or_remake(&board_row(pass.board, Default::default()), version).await {
                Ok(_) => {
                    if pass.answered > 0 {
                        tracing::info!(gateways = pass.answered, "let in by the fence");
                    }
                    return Ok(pass.answered);
                }
                Err(CasError::Conflict | CasError::AlreadyExists) => {}
                Err(CasError::Failed(fault)) if fault.class == Class::Permanent => self.make_anew(&fault).await?,
                Err(error) => return Err(failed(error)),
            }
        }
        Err(busy("the fence would not hold still"))
    }

    /// A board that can't be used is got rid of; the next round makes another.
    async fn make_anew(&self, fault: &Fault) -> Result<(), Fault> {
        tracing::warn!(code = fault.code, "somebody has spoilt the fence; it is made anew: {fault}");
        self.store.board().purge(fence::NAME).await.map(|_| ()).map_err(failed)
    }

    /// Answers as gateways ask, for ever, at most every two seconds. Only the operator that leads runs this; `may_answer` as for
    /// [`FenceKeeper::answer_all`].
    pub async fn run<F: Future<Output = bool>>(&self, clock: Arc<dyn Clock>, may_answer: impl Fn() -> F) {
        let index = Index::start(self.store.board().clone(), |_| Nothing);
        let mut looked_at = self.looked_at.subscribe();
        let mut seen = 0;
        loop {
            looked_at.mark_unchanged();
            let mut wait = ROUND;
            if let Err(fault) = self.answer_all(clock.now(), &may_answer).await {
                tracing::warn!(code = fault.code, "gateways wait at the fence: {fault}");
                wait = AGAIN;
            }
            if self.worked.swap(false, Ordering::Relaxed) {
                // It lists everything, or writes: whoever has a gateway's rights could ask for that without end.
                tokio::time::sleep(BETWEEN).await;
            }
            let epoch = index.epoch();
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = index.wait_change(seen, epoch) => {}
                // The sender lives as long as `self`.
                _ = looked_at.changed() => {}
            }
            seen = if index.epoch() == epoch { index.position() } else { 0 };
        }
    }
}

fn busy(why: &str) -> Fault {
    Fault::new(Class::Transient, "fence-busy", why)
}

fn failed(error: CasError) -> Fault {
    match error {
        CasError::Failed(fault) => fault,
        other => busy(&other.to_string()),
    }
}
