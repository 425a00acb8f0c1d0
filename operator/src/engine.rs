//! What works while this process leads, whatever store, ledger and source of manifests it has: the workers, the first
//! round, the following of changed records, the end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use ps_controller::{Controller, Queue};
use ps_core::entry::{Attempt, Entry};
use ps_core::ids::Key;
use ps_core::ports::{Ledger, LinkStore};
use tokio::task::JoinSet;

use crate::admin::Health;
use crate::clock::now;
use crate::config::Config;
use crate::first_round::FirstRound;
use crate::metrics::Metrics;
use crate::records::{self, Expected, Orphans};
use crate::restore;
use crate::self_check::{self, Mode, SelfCheck, Target};
use crate::thrift::Thrift;

/// Entries that are read at the same time at start.
const AT_ONCE: usize = 32;

/// How long work under way may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(20);

/// Between two self-checks, after one that succeeded and after one that failed.
const CHECK_EVERY: Duration = Duration::from_secs(3600);
const CHECK_AGAIN: Duration = Duration::from_secs(30);

/// Whether this process may begin anything. Safety never depends on it.
#[async_trait]
pub(crate) trait Leads: Send + Sync {
    /// Waits while nobody knows; `false` once somebody else leads.
    async fn held(&self) -> bool;
}

/// Whether an entry only waits for its time to be forgotten.
fn rests(entry: &Entry) -> bool {
    let over = |a: &Attempt| !a.link_is_live() && (a.obligation.is_none() || a.evidence.is_some());
    entry.attempt > 0 && entry.attempts.iter().all(over)
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) controller: Arc<Controller>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) store: Arc<dyn LinkStore>,
    pub(crate) first: Arc<FirstRound>,
    pub(crate) expected: Arc<Expected>,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) thrift: Arc<Thrift>,
}

impl Engine {
    /// Begins the first round: everything that the ledger knows, and `seen`, is looked at. Answers the workers.
    ///
    /// # Errors
    /// If the ledger can't be read.
    pub(crate) async fn start(
        &self,
        count: usize,
        leads: &Arc<dyn Leads>,
        seen: &[Key],
        essential: &mut JoinSet<anyhow::Result<()>>,
    ) -> anyhow::Result<JoinSet<()>> {
        let known = restore::keys(&*self.ledger).await?;
        self.first.expect(&known);
        let mut resting = Vec::new();
        let entries = known.iter().map(|key| async move { (key, self.ledger.get(key).await) });
        let mut entries = futures_util::stream::iter(entries).buffered(AT_ONCE);
        while let Some((key, entry)) = entries.next().await {
            self.health.beat(now());
            let entry = match entry {
                Ok(Some(entry)) => entry,
                Ok(None) => continue,
                // Its worker says so each time that it tries, and does nothing. The links of all others need not wait for
                // what only a person can mend.
                Err(error) if restore::is_unreadable(&error) => {
                    tracing::error!(delivery = %key, "its entry can't be read: {error}");
                    self.first.done(key);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            self.expected.note(&entry.value);
            if rests(&entry.value) {
                resting.push(key);
            }
        }
        drop(entries);
        let roll_call = self.clone();
        essential.spawn(async move { roll_call.expected.roll_call(&*roll_call.store, &roll_call.queue).await });
        // Links and debts first, then what is new, then what rests.
        for key in &resting {
            self.queue.look(key);
        }
        for key in known.iter().chain(seen).filter(|key| resting.binary_search(key).is_err()) {
            self.queue.push(key);
        }
        let mut workers = JoinSet::new();
        for _ in 0..count {
            workers.spawn(self.clone().work(leads.clone()));
        }
        Ok(workers)
    }

    async fn work(self, leads: Arc<dyn Leads>) {
        while let Some(key) = self.queue.next(now).await {
            if !leads.held().await {
                return;
            }
            let rested = self.controller.work(&key).await;
            self.health.beat(now());
            self.thrift.worked();
            for sibling in &rested.also {
                self.queue.push(sibling);
            }
            match rested.look {
                Some(look) => self.queue.rest(&key, rested.wake, look, now(), self.controller.jitter()),
                None => self.queue.done(&key, rested.wake),
            }
            if rested.settled {
                self.first.done(&key);
            }
        }
    }

    /// Follows the store for ever.
    ///
    /// # Errors
    /// [`records::Damaged`].
    pub(crate) async fn follow(self) -> anyhow::Result<()> {
        records::follow(&*self.store, &*self.ledger, &self.queue).await
    }

    /// Checks before the first mail, and hourly, that links can be opened through `publicUrl`, and revokes links that
    /// nobody knows.
    ///
    /// # Errors
    /// If the check can't be prepared.
    pub(crate) fn watch_over_links(
        &self,
        config: &Config,
        essential: &mut JoinSet<anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        let engine = self.clone();
        essential.spawn(async move { engine.sweep().await });
        let mode = config.self_check.mode;
        if mode == Mode::Off {
            return Ok(());
        }
        let target = Target {
            public_url: config.public_url.clone(),
            connect_to: config.self_check.connect_to,
            ca_file: config.self_check.ca_file.clone(),
        };
        let check = SelfCheck::new(&target, self.store.clone())?;
        if mode == Mode::Required {
            self.controller.set_unready(Some(self_check::pending()));
        }
        let engine = self.clone();
        essential.spawn(async move { engine.self_check(&check, mode).await });
        Ok(())
    }

    async fn self_check(&self, check: &SelfCheck, mode: Mode) -> anyhow::Result<()> {
        self.first.over().await;
        loop {
            let checked = check.check().await;
            self.metrics.self_check.set(i64::from(checked.is_ok()));
            let again = if checked.is_ok() { CHECK_EVERY } else { CHECK_AGAIN };
            match &checked {
                Ok(()) => tracing::info!("a link of our own was opened through publicUrl"),
                Err(fault) => tracing::error!(code = %fault.code, "{fault}"),
            }
            if mode == Mode::Required && self.controller.set_unready(checked.err()) {
                match restore::keys(&*self.ledger).await {
                    Ok(keys) => keys.iter().for_each(|key| self.queue.push(key)),
                    // They come by themselves: whoever waits for this looks again.
                    Err(error) => tracing::warn!("{error:#}"),
                }
            }
            tokio::time::sleep(again).await;
        }
    }

    async fn sweep(&self) -> anyhow::Result<()> {
        let mut orphans = Orphans::from_env();
        loop {
            tokio::time::sleep(orphans.every()).await;
            let revoked = orphans.sweep(&*self.store, &*self.ledger, now()).await;
            self.metrics.orphans.inc_by(revoked);
        }
    }

    /// What every beat does: gauges, and whether a restore was noticed or accepted meanwhile. Then every delivery of the
    /// ledger and of `seen` looks again, and the answer is `true`.
    ///
    /// # Errors
    /// If the ledger can't be read.
    pub(crate) async fn beat(&self, seen: impl FnOnce() -> Vec<Key>) -> anyhow::Result<bool> {
        self.health.beat(now());
        let (ready, timed) = self.queue.depth();
        self.thrift.beat(ready);
        self.metrics.queue_ready.set(i64::try_from(ready).unwrap_or(i64::MAX));
        self.metrics.queue_timed.set(i64::try_from(timed).unwrap_or(i64::MAX));
        let restored = restore::why_restored(&*self.ledger).await?;
        let news = self.controller.set_restored(restored);
        if news {
            for key in restore::keys(&*self.ledger).await?.iter().chain(&seen()) {
                self.queue.push(key);
            }
        }
        Ok(news)
    }

    /// Nothing new begins; what is under way comes to its end, so that a mail that was just accepted is written down, and
    /// the links of messages that die with this process are voided.
    pub(crate) async fn wind_down(&self, mut workers: JoinSet<()>) {
        self.controller.stop();
        self.queue.close();
        let late = "some work did not end in time; it is taken up again at the next start";
        if !ended(&mut workers).await {
            tracing::warn!("{late}");
        }
        // All at once: where a storage is away, each takes its time to fail.
        let mut held = JoinSet::new();
        for key in self.controller.stop() {
            let controller = self.controller.clone();
            held.spawn(async move { drop(controller.work(&key).await) });
        }
        if !ended(&mut held).await {
            tracing::warn!("held messages could not be withdrawn: {late}");
        }
    }
}

/// Whether all of these tasks ended in time.
async fn ended(tasks: &mut JoinSet<()>) -> bool {
    let all = async { while tasks.join_next().await.is_some() {} };
    tokio::time::timeout(LAST_WORDS, all).await.is_ok()
}
