//! Contends for the lease, for ever.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use ps_core::error::Fault;
use tokio::sync::watch;

use super::decide::{LeaseView, Observed, Step, decide};
use super::{Config, Held, LeaseWrite, OnWrite, Standing};
use crate::fault::{self, Doing};

pub(super) struct Runner {
    leases: Api<Lease>,
    config: Config,
    told: Told,
    stop: watch::Receiver<bool>,
    /// Zero of our clock.
    start: Instant,
    observed: Observed,
    /// How often we began to lead.
    term: u64,
}

/// What others are shown.
pub(super) struct Told {
    pub(super) standing: watch::Sender<Standing>,
    pub(super) troubled: watch::Sender<Option<Fault>>,
    pub(super) held: Held,
    pub(super) on_write: OnWrite,
}

/// What came of one look at the lease.
enum Outcome {
    /// It is ours, by a request that was sent then.
    Ours { sent: Instant },
    /// It is somebody's.
    Theirs { holder: String, until: Duration },
    /// Somebody else was faster.
    Raced,
}

impl Runner {
    pub(super) fn new(client: Client, config: Config, told: Told, stop: watch::Receiver<bool>) -> Self {
        let leases = Api::namespaced(client, &config.namespace);
        let observed = Observed::default();
        Self { leases, config, told, stop, start: Instant::now(), observed, term: 0 }
    }

    pub(super) async fn run(mut self) {
        while !*self.stop.borrow() {
            let leading = self.told.held.until();
            // A leader's request must not outlast what it is for.
            let limit =
                leading.map_or(self.config.renew_deadline, |until| until.saturating_duration_since(Instant::now()));
            let looked = self.unless_stopped(tokio::time::timeout(limit, self.look())).await;
            let mut pause = self.jittered();
            let mut trouble = None;
            match looked {
                None => break,
                Some(Ok(Ok((observed, outcome)))) => {
                    self.observed = observed;
                    self.told.troubled.send_replace(None);
                    pause = self.settle(outcome, pause);
                }
                Some(Ok(Err(fault))) => {
                    tracing::warn!(code = fault.code, "leader election: {fault}");
                    trouble = Some(fault);
                }
                Some(Err(_)) => trouble = Some(fault::silent(&self.doing("update"))),
            }
            if trouble.is_some() {
                self.told.troubled.send_replace(trouble.clone());
            }
            if self.told.held.until().is_some() && !self.told.held.now() {
                self.lose(trouble);
            }
            // Never sleep beyond the end of what is held.
            if let Some(until) = self.told.held.until() {
                pause = pause.min(until.saturating_duration_since(Instant::now()));
            }
            if self.unless_stopped(tokio::time::sleep(pause)).await.is_none() {
                break;
            }
        }
        self.release().await;
    }

    /// Applies what was found. Returns how long to wait.
    fn settle(&mut self, outcome: Outcome, pause: Duration) -> Duration {
        match outcome {
            Outcome::Ours { sent } => {
                let was = self.told.held.until().is_some();
                self.told.held.set(Some(sent + self.config.renew_deadline));
                if !was && self.told.held.now() {
                    self.term += 1;
                    tracing::info!(term = self.term, "leading");
                    self.told.standing.send_replace(Standing::Leading { term: self.term });
                }
                pause
            }
            Outcome::Theirs { holder, until } => {
                if self.told.held.until().is_some() {
                    self.lose(None);
                }
                let standby = Standing::Standby { holder: Some(holder) };
                self.told.standing.send_if_modified(|now| {
                    let changed = *now != standby;
                    *now = standby;
                    changed
                });
                // A look just after it may be over, not a whole period later.
                pause.min(until.saturating_sub(self.start.elapsed()) + Duration::from_millis(20))
            }
            Outcome::Raced => pause.min(Duration::from_millis(100)),
        }
    }

    /// Looks at the lease and does what it asks for.
    async fn look(&self) -> Result<(Observed, Outcome), Fault> {
        let found = self.leases.get_opt(&self.config.name).await.map_err(|e| fault::of(&self.doing("get"), &e))?;
        let lease_view = found.as_ref().map(view);
        let now = self.start.elapsed();
        let observed = self.observed.clone().look(lease_view.as_ref(), now);
        let step = decide(&self.config, lease_view.as_ref(), &observed, now);
        let transitions = match (&step, &lease_view) {
            (Step::Wait { until }, Some(view)) => {
                let outcome = Outcome::Theirs { holder: view.holder.clone(), until: *until };
                return Ok((observed, outcome));
            }
            (Step::Take { transitions }, _) => *transitions,
            (_, view) => view.as_ref().map_or(0, |view| view.transitions),
        };
        let lease = self.lease(found.as_ref(), &step, transitions);
        let write = if step == Step::Renew { LeaseWrite::Renew } else { LeaseWrite::Take };
        (self.told.on_write)(write, false);
        let sent = Instant::now();
        let params = PostParams::default();
        let (doing, written) = match step {
            Step::Create => (self.doing("create"), self.leases.create(&params, &lease).await),
            _ => (self.doing("update"), self.leases.replace(&self.config.name, &params, &lease).await),
        };
        (self.told.on_write)(write, true);
        match written {
            Ok(written) => {
                let observed = observed.look(Some(&view(&written)), self.start.elapsed());
                Ok((observed, Outcome::Ours { sent }))
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok((observed, Outcome::Raced)),
            Err(error) => Err(fault::of(&doing, &error)),
        }
    }

    /// The lease that says that it is ours.
    fn lease(&self, found: Option<&Lease>, step: &Step, transitions: i32) -> Lease {
        let now = MicroTime(Timestamp::now());
        let before = found.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let acquired = if *step == Step::Renew { before.acquire_time.clone() } else { None };
        let seconds = i32::try_from(self.config.lease_duration.as_secs().max(1)).unwrap_or(i32::MAX);
        let metadata = found.map_or_else(
            || ObjectMeta { name: Some(self.config.name.clone()), ..ObjectMeta::default() },
            |lease| lease.metadata.clone(),
        );
        Lease {
            metadata: ObjectMeta { managed_fields: None, ..metadata },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.config.me.clone()),
                lease_duration_seconds: Some(seconds),
                acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
                renew_time: Some(now),
                lease_transitions: Some(transitions),
                ..before
            }),
        }
    }

    fn lose(&mut self, fault: Option<Fault>) {
        self.told.held.set(None);
        tracing::warn!(term = self.term, "no longer leading");
        self.told.standing.send_replace(Standing::Lost { term: self.term, fault });
    }

    /// Gives the lease back if it is ours: the next look of a standby takes it.
    async fn release(&mut self) {
        if self.told.held.until().is_none() {
            return;
        }
        self.told.held.set(None);
        let work = async {
            let found = self.leases.get_opt(&self.config.name).await.ok().flatten()?;
            if view(&found).holder != self.config.me {
                return None;
            }
            let transitions = view(&found).transitions;
            let mut lease = self.lease(Some(&found), &Step::Renew, transitions);
            if let Some(spec) = &mut lease.spec {
                spec.holder_identity = Some(String::new());
                spec.lease_duration_seconds = Some(1);
            }
            (self.told.on_write)(LeaseWrite::Release, false);
            let given = self.leases.replace(&self.config.name, &PostParams::default(), &lease).await.ok();
            (self.told.on_write)(LeaseWrite::Release, true);
            given
        };
        if tokio::time::timeout(self.config.retry_period, work).await.ok().flatten().is_none() {
            tracing::info!("the lease was not given back: a standby waits until it is over");
        }
        self.told.standing.send_replace(Standing::Standby { holder: None });
    }

    async fn unless_stopped<R>(&self, work: impl Future<Output = R>) -> Option<R> {
        let mut stop = self.stop.clone();
        let stopped = async {
            // A sender that is gone, with the election, means the same.
            drop(stop.wait_for(|stop| *stop).await);
        };
        tokio::select! {
            biased;
            () = stopped => None,
            result = work => Some(result),
        }
    }

    /// The retry period, up to a fifth longer, so that contenders don't march in step.
    fn jittered(&self) -> Duration {
        let mut random = [0_u8; 1];
        let part = getrandom::fill(&mut random).map_or(0, |()| u32::from(random[0]));
        self.config.retry_period + self.config.retry_period / 5 * part / 255
    }

    fn doing(&self, verb: &'static str) -> Doing {
        Doing::new(verb, "leases", &self.config.namespace, &self.config.name).of_group("coordination.k8s.io")
    }
}

fn view(lease: &Lease) -> LeaseView {
    let spec = lease.spec.clone().unwrap_or_default();
    LeaseView {
        holder: spec.holder_identity.unwrap_or_default(),
        duration: Duration::from_secs(u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0)),
        transitions: spec.lease_transitions.unwrap_or(0),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}
