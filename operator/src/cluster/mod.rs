//! `run`: manifests, ledger and link records in a Kubernetes API; gateways run by themselves.
//!
//! One operator of several is elected ([`ps_kubernetes::election`]); the others stand by. Safety never depends on it: every
//! write is a compare-and-swap, and a leader that is not sure to lead begins nothing new.

mod leading;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use ps_audit::{FileTrail, Mirror};
use ps_core::error::Fault;
use ps_kubernetes::election::{self, Election, Held, Standing};
use ps_kubernetes::{Access, Client};
use ps_ledger::KubernetesLedger;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::{self, Health};
use crate::clock::now;
use crate::config::Config;
use crate::lease;
use crate::metrics::Metrics;
use crate::standalone::name;
use crate::supervise::Stop;

/// The audit trail's file where none is configured, in the folder of `--data`.
const TRAIL: &str = "audit.jsonl";

/// A pause between two terms: what ended the first may need a moment to pass.
const BETWEEN_TERMS: Duration = Duration::from_secs(1);

/// How to reach the API server, and where local files lie.
#[derive(Clone, Debug)]
pub struct Places {
    /// The API server.
    pub access: Access,
    /// A folder for the audit trail, if `audit.file` names none.
    pub data: PathBuf,
}

/// What every term of leadership starts from.
pub(crate) struct Ground {
    pub(crate) config: Config,
    pub(crate) places: Places,
    pub(crate) client: Client,
    /// The operator's own namespace.
    pub(crate) namespace: String,
    /// The namespace of link records.
    pub(crate) links: String,
    pub(crate) me: String,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) health: Arc<Health>,
}

impl Ground {
    /// Opens the audit trail of this ledger.
    ///
    /// # Errors
    /// What does not pass by itself.
    pub(crate) async fn trail(&self, ledger_id: &str) -> Result<FileTrail, Fault> {
        let file = self.config.audit.file.clone().unwrap_or_else(|| self.places.data.join(TRAIL));
        let mirror = || if self.config.audit.stdout { Mirror::Stdout } else { Mirror::None };
        lease::open(|| FileTrail::open(&file, ledger_id, mirror())).await
    }
}

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
    let links = config.kubernetes.links(&namespace);
    let client = ps_kubernetes::connect(&places.access, "password-sender-operator").await?;
    let metrics = Arc::new(Metrics::new()?);
    let health = Health::new(metrics.clone(), now());
    let listener = tokio::net::TcpListener::bind(config.admin.listen)
        .await
        .with_context(|| format!("admin.listen: {} can't be listened on", config.admin.listen))?;
    let mut admin: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let routes = admin::router(health.clone());
    admin.spawn(async move { Ok(axum::serve(listener, routes).await?) });
    let ground =
        Ground { config, places, client, namespace, links, me: format!("{}-{}", hostname(), name()?), metrics, health };
    let mut stop = Stop::new()?;

    let elect = ground.config.kubernetes.leader_election.clone();
    let election = elect.enabled.then(|| {
        let times = election::Config {
            lease_duration: elect.lease_duration.to_std(),
            renew_deadline: elect.renew_deadline.to_std(),
            retry_period: elect.retry_period.to_std(),
            ..election::Config::new(&ground.namespace, &elect.lease_name, &ground.me)
        };
        Election::run(ground.client.clone(), times)
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
    let mut went_back = None;
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
        let ended = leading::lead(ground, lead, went_back.take(), stop).await;
        ground.health.ready.store(false, Ordering::Relaxed);
        ground.metrics.leader.set(0);
        match ended? {
            Ended::Asked => return Ok(()),
            Ended::Lost => tracing::warn!("another operator may lead: standing by"),
            Ended::WentBack(why) => {
                tracing::error!("{why}: everything is read anew");
                went_back = Some(why);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(BETWEEN_TERMS) => {}
            () = stop.asked() => return Ok(()),
        }
    }
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
        tokio::select! {
            changed = standing.changed() => {
                if changed.is_err() {
                    return false;
                }
            }
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
            () = stop.asked() => return false,
        }
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
