//! The operator's half of the fence: answers the nonces of gateways once it has looked at the records.

use std::sync::Arc;
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
/// How often a pass is tried when gateways write at the same time.
const CONFLICTS: u32 = 16;

/// Answers gateways' nonces. Closed until [`FenceKeeper::open`].
#[derive(Debug)]
pub struct FenceKeeper {
    store: Arc<KubernetesStore>,
    /// The epoch whose records the operator has looked at.
    looked_at: watch::Sender<Option<u64>>,
}

/// Nothing is kept of the board: it is read when it changes.
#[derive(Clone)]
struct Nothing;

impl Indexed for Nothing {}

impl FenceKeeper {
    /// For the store whose records are looked at; it has [`super::Rights::Operator`].
    #[must_use]
    pub fn new(store: Arc<KubernetesStore>) -> Self {
        Self { store, looked_at: watch::Sender::new(None) }
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
    /// listed anew: if the API server went backwards unnoticed, the epoch ends and nobody is answered. Returns how many were
    /// answered.
    ///
    /// # Errors
    /// A transient fault; or what keeps the board from being read or written.
    pub async fn answer_all(&self, now: Timestamp) -> Result<usize, Fault> {
        for _ in 0..CONFLICTS {
            let board = self.store.board();
            let Some((row, version)) = board.get(fence::NAME).await.map_err(failed)? else {
                match board.create(&board_row(Default::default(), Default::default())).await {
                    Ok(_) | Err(CasError::AlreadyExists | CasError::Conflict) => continue,
                    Err(error) => return Err(failed(error)),
                }
            };
            let pass = fence::pass(&row.annotations, now);
            if !pass.changed || !self.is_open() {
                return Ok(0);
            }
            if pass.answered > 0 {
                // After the questions were read: one that is asked later makes the write below fail.
                self.store.recheck().await?;
            }
            if !self.is_open() {
                return Ok(0);
            }
            match board.replace(&board_row(pass.board, row.data), version).await {
                Ok(_) => {
                    if pass.answered > 0 {
                        tracing::info!(gateways = pass.answered, "let in by the fence");
                    }
                    return Ok(pass.answered);
                }
                Err(CasError::Conflict | CasError::AlreadyExists) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(Fault::new(Class::Transient, "fence-busy", "the fence would not hold still"))
    }

    /// Answers as gateways ask, for ever. Only the operator that leads runs this.
    pub async fn run(&self, clock: Arc<dyn Clock>) {
        let index = Index::start(self.store.board().clone(), |_| Nothing);
        let mut looked_at = self.looked_at.subscribe();
        let mut seen = 0;
        loop {
            looked_at.mark_unchanged();
            let mut wait = ROUND;
            if let Err(fault) = self.answer_all(clock.now()).await {
                tracing::warn!(code = fault.code, "gateways wait at the fence: {fault}");
                wait = AGAIN;
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

fn failed(error: CasError) -> Fault {
    match error {
        CasError::Failed(fault) => fault,
        other => Fault::new(Class::Transient, "fence-busy", other.to_string()),
    }
}
