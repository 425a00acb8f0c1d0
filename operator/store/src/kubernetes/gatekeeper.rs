//! The gateway's half of the fence: ask with a fresh nonce, wait for the answer, lift, and again when the API server goes
//! backwards.

use std::sync::Arc;
use std::time::Duration;

use ps_core::error::{Class, Fault};
use ps_core::ports::CasError;

use super::fence::{self, Reply};
use super::{KubernetesStore, board_row};
use crate::service::Fence;

/// How often the board is read while an answer is awaited: at first, and when it takes longer.
const EAGER: Duration = Duration::from_millis(250);
const PATIENT: Duration = Duration::from_secs(1);
/// How many eager looks there are.
const EAGER_LOOKS: u32 = 40;

/// Lifts a gateway's fence when the operator has answered. Claims that are allowed go on while the operator is away: an answer
/// holds until the process ends or the API server goes backwards.
#[derive(Debug)]
pub struct Gatekeeper {
    store: Arc<KubernetesStore>,
    fence: Fence,
    replica: String,
}

impl Gatekeeper {
    /// For the replica of that name ([`fence::replica`]), with the fence that the store raises.
    #[must_use]
    pub fn new(store: Arc<KubernetesStore>, fence: Fence, replica: &str) -> Self {
        Self { store, fence, replica: fence::replica(replica) }
    }

    /// Does its work, for ever.
    pub async fn run(self) {
        loop {
            self.fence.raise();
            let epoch = self.store.epoch();
            self.answered(epoch).await;
            if self.store.epoch() == epoch && self.store.fresh().is_ok() {
                self.fence.lift();
                // Whatever came between the look and the lift.
                if self.store.epoch() == epoch && self.store.fresh().is_ok() {
                    tracing::info!(replica = self.replica, "fence lifted");
                    self.store.went_back(epoch).await;
                    tracing::warn!("fence raised: the Kubernetes API went backwards");
                }
            }
        }
    }

    /// Waits until the operator has answered a nonce of this call, or the epoch is another.
    async fn answered(&self, epoch: u64) {
        let mut nonce = None;
        let mut looks = 0;
        // Said when it changes, not at each look.
        let mut trouble = String::new();
        while self.store.epoch() == epoch {
            let done = match self.look(&mut nonce).await {
                // Asked anew, or answered while the watch is behind: what is seen may be old.
                Ok(Reply::Answered) => self.store.fresh().is_ok(),
                Ok(Reply::Unasked | Reply::Waiting) => false,
                Err(fault) => {
                    if trouble != fault.code {
                        tracing::warn!(code = fault.code, "the fence can't be read or written: {fault}");
                        trouble = fault.code;
                    }
                    false
                }
            };
            if done {
                return;
            }
            looks += 1;
            tokio::time::sleep(if looks < EAGER_LOOKS { EAGER } else { PATIENT }).await;
        }
    }

    /// Reads the board once, and puts the question if it is not there.
    async fn look(&self, nonce: &mut Option<String>) -> Result<Reply, Fault> {
        let nonce = match nonce {
            Some(nonce) => nonce.clone(),
            None => nonce.insert(fresh_nonce()?).clone(),
        };
        let failed = |error| match error {
            CasError::Failed(fault) => fault,
            // Somebody else was faster; the next look tells.
            other => Fault::new(Class::Transient, "fence-busy", other.to_string()),
        };
        let Some((row, version)) = self.store.board().get(fence::NAME).await.map_err(failed)? else {
            // The operator has not been here yet.
            return Ok(Reply::Unasked);
        };
        let reply = fence::reply(&row.annotations, &self.replica, &nonce);
        if reply != Reply::Unasked {
            return Ok(reply);
        }
        let mut board = row.annotations;
        fence::ask(&mut board, &self.replica, &nonce);
        match self.store.board().replace(&board_row(board, row.data), version).await {
            Ok(_) => Ok(Reply::Waiting),
            Err(CasError::Conflict | CasError::AlreadyExists) => Ok(Reply::Unasked),
            Err(error) => Err(failed(error)),
        }
    }
}

fn fresh_nonce() -> Result<String, Fault> {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random)
        .map_err(|_| Fault::new(Class::Transient, "no-randomness", "the operating system has no randomness to give"))?;
    Ok(fence::nonce(random))
}
