//! `run`: manifests, ledger and link records in a Kubernetes API; gateways run by themselves.
//!
//! One operator of several is elected ([`ps_kubernetes::election`]); the others stand by. Safety never depends on it: every
//! write is a compare-and-swap, and a leader that is not sure to lead begins nothing new.

mod budget;
mod ground;
mod leading;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use ps_core::error::Fault;
use ps_core::ports::CasError;
use ps_kubernetes::Access;
use ps_kubernetes::election::{self, Election, Held, LeaseWrite, Standing};
use ps_ledger::KubernetesLedger;
use ps_vault::VaultClient;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::{self, Health};
use crate::clock::{SystemClock, now};
use crate::config::Config;
use crate::failpoints::{self, Own};
use crate::metrics::Metrics;
use crate::standalone::name;
use crate::supervise::Stop;

pub(crate) use self::ground::Ground;
pub use self::ground::Places;
use self::ground::{OfThisTerm, Storage};

/// A pause between two terms: what ended the first may need a moment to pass.
const BETWEEN_TERMS: Duration = Duration::from_secs(1);

/// Whether this process leads, as the election says; always, where none is held.
pub(crate) enum Lead {
    Elected { held: Held, standing: watch::Receiver<Standing> },
    Always,
}

/// Why a term ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// A signal.
    Asked,
    /// Another operator leads now, or may.
    Lost,
    /// The API server's storage was set back: everything that was read before counts for nothing.
    WentBack(String),
}

/// Runs until a signal ends it or something essential fails.
///
/// # Errors
/// What failed, with its remedy.
pub async fn run(config: Config, places: Places) -> anyhow::Result<()> {
    let namespace = config.kubernetes.own_namespace()?;
    let links = config.kubernetes.links(&namespace)?;
    let client = ps_kubernetes::connect(&places.access, "password-sender-operator").await?;
    let metrics = Arc::new(Metrics::new()?);
    let health = Health::new(metrics.clone(), now());
    let listener = tokio::net::TcpListener::bind(config.admin.listen)
        .await
        .with_context(|| format!("admin.listen: {} can't be listened on", config.admin.listen))?;
    let mut admin: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let routes = admin::router(health.clone());
    admin.spawn(async move { Ok(axum::serve(listener, routes).await?) });
    let connections = Arc::new(OfThisTerm::default());
    let vault = Arc::new(VaultClient::new(connections.clone(), Arc::new(SystemClock)));
    let me = format!("{}-{}", hostname(), name()?);
    let storage = Storage::default();
    let ground = Ground { config, places, client, namespace, links, me, metrics, health, storage, connections, vault };
    let mut stop = Stop::new()?;

    let elect = ground.config.kubernetes.leader_election.clone();
    let election = elect.enabled.then(|| {
        let times = election::Config {
            lease_duration: elect.lease_duration.to_std(),
            renew_deadline: elect.renew_deadline.to_std(),
            retry_period: elect.retry_period.to_std(),
            ..election::Config::new(&ground.namespace, &elect.lease_name, &ground.me)
        };
        Election::watched(ground.client.clone(), times, Arc::new(|write, done| failpoints::pass(own(write), done)))
    });
    tracing::info!(namespace = %ground.namespace, links = %ground.links, "running; links lead to {}", ground.config.public_url);
    let ended = terms(&ground, election.as_ref(), &mut stop).await;
    ground.metrics.leader.set(0);
    if let Some(election) = election {
        election.stop().await;
    }
    ended
}

/// Stands by, leads, and stands by again, for ever.
async fn terms(ground: &Ground, election: Option<&Election>, stop: &mut Stop) -> anyhow::Result<()> {
    loop {
        let lead = match election {
            None => Lead::Always,
            Some(election) => {
                if !stand_by(ground, election, stop).await {
                    return Ok(());
                }
                Lead::Elected { held: election.held(), standing: election.standing() }
            }
        };
        ground.metrics.leader.set(1);
        // Who leads is ready once everything was looked at.
        ground.health.ready.store(false, Ordering::Relaxed);
        let ended = leading::lead(ground, lead, stop).await.or_else(|error| {
            if !passes(&error) {
                return Err(error);
            }
            tracing::warn!("{error:#}");
            Ok(Ended::Lost)
        });
        ground.health.ready.store(false, Ordering::Relaxed);
        ground.metrics.leader.set(0);
        match ended? {
            Ended::Asked => return Ok(()),
            Ended::Lost => tracing::warn!("another operator may lead: standing by"),
            Ended::WentBack(why) => {
                tracing::error!("{why}: everything is read anew");
                ground.storage.went_back(why);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(BETWEEN_TERMS) => {}
            () = stop.asked() => return Ok(()),
        }
    }
}

/// Whether a term ended by something that passes by itself: the next one may go well.
fn passes(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let storage = cause.downcast_ref().and_then(|error| match error {
            CasError::Failed(fault) => Some(fault),
            CasError::AlreadyExists | CasError::Conflict => None,
        });
        storage.or_else(|| cause.downcast_ref()).is_some_and(Fault::is_transient)
    })
}

/// Waits until this process leads; `false` if it was told to stop before. A standby is ready: it can take over.
async fn stand_by(ground: &Ground, election: &Election, stop: &mut Stop) -> bool {
    let mut standing = election.standing();
    let mut told = false;
    loop {
        ground.health.beat(now());
        let leads = matches!(*standing.borrow_and_update(), Standing::Leading { .. });
        if leads && election.held().now() {
            return true;
        }
        if !std::mem::replace(&mut told, true) {
            tracing::info!("standing by");
        }
        ground.health.ready.store(true, Ordering::Relaxed);
        let later = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            ground.look().await;
        };
        tokio::select! {
            changed = standing.changed() => {
                if changed.is_err() {
                    return false;
                }
            }
            () = later => {}
            () = stop.asked() => return false,
        }
    }
}

const fn own(write: LeaseWrite) -> Own {
    match write {
        LeaseWrite::Take => Own::TakeLease,
        LeaseWrite::Renew => Own::RenewLease,
        LeaseWrite::Release => Own::ReleaseLease,
    }
}

/// In a pod, the pod's name.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "operator".to_owned() } else { name.trim().to_owned() }
}

/// The ledger in the cluster, for commands that look at it beside a running operator.
///
/// # Errors
/// If it can't be reached or read.
pub async fn ledger(access: &Access, namespace: &str) -> anyhow::Result<Arc<KubernetesLedger>> {
    let client = ps_kubernetes::connect(access, "password-sender-operator").await?;
    Ok(Arc::new(KubernetesLedger::open(client, namespace).await?))
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use ps_core::error::Class;

    use super::*;

    #[test]
    fn a_term_may_fail_by_what_passes_and_the_program_only_by_what_stays() {
        let fault = |class| Fault::new(class, "code", "message");
        let storage = |class| anyhow::Error::from(CasError::Failed(fault(class))).context("the ledger");
        assert!(passes(&storage(Class::Transient)) && passes(&anyhow::Error::from(fault(Class::Transient))));
        assert!(!passes(&storage(Class::Permanent)) && !passes(&anyhow::Error::from(fault(Class::Misconfigured))));
        assert!(!passes(&CasError::Conflict.into()) && !passes(&anyhow!("a task panicked")));
    }
}
