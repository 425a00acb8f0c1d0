//! What is kept up while everything runs: the lease, the gateway child, its fence, and the way to stop.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use ps_audit::FileTrail;
use ps_controller::folder::FolderSource;
use ps_ledger::EmbeddedLedger;
use ps_store::EmbeddedStore;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::child::{Gateway, Running, Said};
use crate::clock::now;
use crate::engine::Engine;
use crate::first_round::FirstRound;
use crate::lease::{self, Lease};
use crate::metrics::Metrics;
use crate::records::StoreFile;
use crate::restore;

/// How often the ledger notes how far the audit trail is known to it.
const ADVANCE_EVERY: u32 = 16;

/// What is kept up while everything runs.
pub(crate) struct Keeper<'a> {
    pub(crate) ledger: &'a EmbeddedLedger,
    pub(crate) trail: &'a FileTrail,
    pub(crate) engine: &'a Engine,
    pub(crate) folder: &'a FolderSource,
    pub(crate) lease: &'a Lease,
    pub(crate) store_busy: &'a Notify,
}

impl Keeper<'_> {
    /// What passes by itself (a ledger that somebody holds, a disk that is full for a while) ends nothing as long as the
    /// lease lasts: the next beat tries again. After it, another operator may work here, so this one must not.
    async fn beat(&self, count: u32) -> anyhow::Result<()> {
        self.engine.health.beat(now());
        let Err(error) = self.try_to_beat(count).await else { return Ok(()) };
        let Some(fault) = lease::passing(&error) else { return Err(error) };
        self.engine.metrics.fault(fault);
        if let Err(over) = self.lease.must_hold() {
            return Err(error.context(over));
        }
        tracing::warn!(code = %fault.code, class = fault.class.as_str(), "the next beat tries again: {fault}");
        Ok(())
    }

    async fn try_to_beat(&self, count: u32) -> anyhow::Result<()> {
        if !self.lease.take(self.ledger).await? {
            anyhow::bail!("another operator has taken over this data folder");
        }
        self.engine.beat(|| self.folder.keys()).await?;
        if count.is_multiple_of(ADVANCE_EVERY) {
            restore::advance(self.ledger, self.trail, 0).await?;
        }
        Ok(())
    }
}

/// Keeps the gateway running and the lease held, until asked to stop or something essential ends.
pub(crate) async fn supervise(
    gateway: &Gateway,
    store: &EmbeddedStore,
    keeper: &Keeper<'_>,
    (essential, workers): (&mut JoinSet<anyhow::Result<()>>, &mut JoinSet<()>),
    stop: &mut Stop,
) -> anyhow::Result<()> {
    let ended = keep_up(gateway, store, keeper, (essential, workers), stop).await;
    if ended.is_err() {
        // Whoever runs anew in this process finds the admin address free.
        essential.shutdown().await;
    }
    ended
}

async fn keep_up(
    gateway: &Gateway,
    store: &EmbeddedStore,
    keeper: &Keeper<'_>,
    (essential, workers): (&mut JoinSet<anyhow::Result<()>>, &mut JoinSet<()>),
    stop: &mut Stop,
) -> anyhow::Result<()> {
    let mut beat = tokio::time::interval(keeper.lease.renew_every());
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut beats, mut over) = (0_u32, false);
    let file = StoreFile::of(&gateway.links)?;
    let Engine { first, health, metrics, .. } = keeper.engine;
    let mut running: Option<Running> = None;
    // At the start, when it has ended, and at each beat: an address that is taken is not asked for at every commit.
    let mut due = true;
    let mut commits = store.commits();
    loop {
        if running.is_none() && std::mem::take(&mut due) {
            running = start_gateway(gateway, first, metrics);
        }
        tokio::select! {
            () = stop.asked() => {
                tracing::info!("stopping");
                if let Some(child) = running {
                    child.end().await;
                }
                return Ok(());
            }
            ended = essential.join_next() => {
                let ended = ended.context("every task has ended")?.context("a task panicked")?;
                return ended.and_then(|()| anyhow::bail!("an essential task has ended"));
            }
            _ = workers.join_next() => anyhow::bail!("a worker has ended"),
            _ = beat.tick() => {
                keeper.beat(beats).await?;
                file.check()?;
                if let Some(child) = &running {
                    child.alive();
                }
                beats = beats.wrapping_add(1);
                due = true;
            }
            // A verdict: the gateway's requests that wait for it look again. The sender lives as long as the store.
            Ok(()) = commits.changed() => {
                if let Some(child) = &running {
                    child.alive();
                }
            }
            () = first.over(), if !over => {
                over = true;
                if let Some(child) = &running {
                    lift(child);
                }
            }
            () = keeper.store_busy.notified() => {
                // Two seconds of a busy database: a gateway that was taken over could hold it for ever.
                if let Some(child) = running.take() {
                    tracing::error!("the store was held for too long; the gateway is started again");
                    health.ready.store(false, Ordering::Relaxed);
                    child.end().await;
                    due = true;
                }
            }
            said = said(&mut running) => match said {
                Said::Changed => store.nudge(),
                Said::Lifted => {
                    health.ready.store(true, Ordering::Relaxed);
                    store.nudge();
                }
                Said::Ended(how) => {
                    tracing::error!(%how, "the gateway ended; it is started again");
                    health.ready.store(false, Ordering::Relaxed);
                    (running, due) = (None, true);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            },
        }
    }
}

async fn said(running: &mut Option<Running>) -> Said {
    match running {
        Some(child) => child.said().await,
        None => std::future::pending().await,
    }
}

/// Starts the gateway if its address is to be had. A predecessor's gateway may live a moment longer than it did: the
/// next beat tries again.
fn start_gateway(gateway: &Gateway, first: &FirstRound, metrics: &Metrics) -> Option<Running> {
    // The socket is the child's alone: if this process hangs, its child ends, and the address is free for a successor.
    let started = gateway.bind().and_then(|listener| gateway.start(&listener));
    match started {
        Ok(child) => {
            metrics.gateway_starts.inc();
            tracing::info!(pid = child.pid(), "the gateway runs as a child process");
            if first.is_over() {
                lift(&child);
            }
            Some(child)
        }
        Err(error) => {
            tracing::error!("the gateway is not running: {error:#}");
            None
        }
    }
}

fn lift(child: &Running) {
    if let Err(error) = child.lift_fence() {
        tracing::error!(%error, "the gateway can't be told to answer claims");
    }
}

/// SIGTERM or SIGINT.
pub(crate) struct Stop {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
    /// Once asked, always asked: who hears of it may be in the middle of something and leave it to the next one.
    heard: bool,
}

impl Stop {
    pub(crate) fn new() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())?, heard: false })
    }

    /// Waits for the first of them; at once from then on.
    pub(crate) async fn asked(&mut self) {
        if self.heard {
            return;
        }
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
        self.heard = true;
    }
}
