//! One term of leadership: everything is read from the API server, checked for a restore, and then worked on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use ps_audit::FileTrail;
use ps_controller::kubernetes::{KubernetesSource, Options};
use ps_controller::{Controller, Ports, Queue, Settings, StepLog};
use ps_core::decide::Decision;
use ps_core::delivery::Manifest;
use ps_core::entry::Entry;
use ps_core::error::{Class, Fault};
use ps_core::ids::{Key, Stamp};
use ps_core::ports::{Clock, Manifests, Random, lease_over};
use ps_core::status::Status;
use ps_kubernetes::election::{Held, Standing};
use ps_ledger::KubernetesLedger;
use ps_store::kubernetes::{FenceKeeper, KubernetesStore, Rights, Settings as StoreSettings};
use ps_vault::VaultClient;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::budget::budgeted;
use super::{Ended, Ground, Lead};
use crate::adapters::BoundedAudit;
use crate::clock::{SystemClock, SystemRandom, now};
use crate::engine::{Engine, Leads};
use crate::failpoints;
use crate::identities::identities;
use crate::mailing::mailer;
use crate::records::Expected;
use crate::restore;
use crate::story::Story;
use crate::supervise::Stop;

/// How often the main loop comes by.
const BEAT: Duration = Duration::from_secs(2);
/// How often the ledger notes how far the audit trail is known to it, in beats.
const ADVANCE_EVERY: u32 = 16;
/// How long the first lists may take.
const FIRST_LISTS: Duration = Duration::from_secs(60);
/// How long a term waits for the first list of links before it begins without.
const FIRST_LINKS: Duration = Duration::from_secs(15);

/// Leads until a signal, a loss, or a failure.
pub(super) async fn lead(ground: &Ground, lead: Lead, stop: &mut Stop) -> anyhow::Result<Ended> {
    let (config, client) = (&ground.config, &ground.client);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let mut essential: JoinSet<anyhow::Result<()>> = JoinSet::new();

    let settings = StoreSettings { max_bytes: config.store.max_bytes, ..StoreSettings::new(Rights::Operator) };
    let store =
        Arc::new(KubernetesStore::start(client.clone(), &ground.links, settings, ps_store::service::Fence::default()));
    let lists = async { Ok(Arc::new(KubernetesLedger::open(client.clone(), &ground.namespace).await?)) };
    let Some(ledger) = patiently(ground, lists, stop).await? else { return Ok(Ended::Lost) };
    // What is owed does not wait for links: if these can't be listed, the term begins all the same, and the fence stays shut.
    let Some(()) = patiently(ground, linked(&store), stop).await? else { return Ok(Ended::Asked) };
    // Whatever goes backwards from here on was not looked at.
    let epochs = (ledger.epoch(), store.epoch());
    let mut common = restore::common(&*ledger, &SystemRandom).await?.value;
    let options = Options {
        namespaces: config.kubernetes.watch_namespaces.clone(),
        operator_namespace: ground.namespace.clone(),
        instance: ground.me.clone(),
        own_audiences: ps_kubernetes::own_audiences(&ground.places.access),
        newest_seen: common.newest,
        allow_http: config.kubernetes.allow_http,
        vault_addresses: config.kubernetes.vault_addresses.clone(),
    };
    let source = Arc::new(KubernetesSource::new(client.clone(), options, clock.clone(), random.clone()));
    {
        let source = source.clone();
        essential.spawn(async move {
            source.run().await;
            anyhow::bail!("the manifests are not watched any more")
        });
    }
    let lists = async {
        if tokio::time::timeout(FIRST_LISTS, source.synced()).await.is_err() {
            let waits = Fault::new(Class::Transient, "kubernetes-not-listed", "the first lists take too long");
            return Err(source.fault().unwrap_or(waits));
        }
        Ok(())
    };
    if patiently(ground, lists, stop).await?.is_none() {
        return Ok(Ended::Lost);
    }
    // A storage that was set back is one, whoever tells: before anything is decided.
    let told = tokio::time::timeout(Duration::ZERO, source.went_back()).await.ok();
    ground.look().await;
    if let Some(why) = ground.storage.back().or(told) {
        restore::note(&*ledger, &why, now()).await?;
        ground.storage.is_noted();
        source.accept_back();
    }
    ground.connections.ask(&source);

    // Another process may hold its file for long.
    let trail = tokio::select! {
        trail = ground.trail(&common.ledger_id) => Arc::new(trail?),
        () = stop.asked() => return Ok(Ended::Asked),
    };
    common.restored = restore::check(&*ledger, &trail, now()).await?;
    if let Some(why) = &common.restored {
        tracing::error!(
            "a restore was noticed: {why}. Open links are withdrawn and rotated; new manifests wait for `restore accept`"
        );
    }

    let (mailer, smtp) = mailer(config, &clock)?;
    let identities = identities(config, &clock)?;
    let leads = lead.guard();
    let ports = Ports {
        manifests: Arc::new(WhileLeading { source: source.clone(), held: lead.held() }),
        connections: source.clone(),
        ledger: ledger.clone(),
        store: store.clone(),
        vault: ground.vault.clone(),
        mailer,
        identities,
        audit: Arc::new(BoundedAudit::new(trail.clone())),
        clock,
        random,
    };
    let ports = failpoints::from_env()?.map_or_else(|| ports.clone(), |hook| ports.clone().hooked(&hook));
    // What the engine does with the store by itself (orphans, the self-check's link) passes the same failpoints.
    let hooked_store = ports.store.clone();
    let settings = Settings {
        me: ground.me.clone(),
        namespace: ground.namespace.clone(),
        public_url: config.public_url.clone(),
        sender: config.sender.clone(),
        mail_domain: config.mail_domain(),
        mail_hold: config.mail.hold,
        paused: config.paused,
        max_bytes: config.store.max_bytes,
    };
    let expected = Arc::new(Expected::within(&ground.namespace));
    let story = Story::new(ground.metrics.clone(), Arc::new(Notify::new()), expected.clone());
    let story: Arc<dyn StepLog> = Arc::new(Told { story, source: source.clone() });
    let at_start = common.restored.clone();
    let engine = Engine {
        controller: Arc::new(Controller::new(ports, settings, &common, story)),
        queue: Arc::new(budgeted(&source, config.workers)),
        ledger: ledger.clone(),
        store: hooked_store,
        first: Arc::default(),
        expected,
        health: ground.health.clone(),
        metrics: ground.metrics.clone(),
        thrift: Arc::default(),
    };
    let mut workers = engine.start(config.workers, &leads, &source.keys(), &mut essential).await?;
    {
        let (source, queue) = (source.clone(), engine.queue.clone());
        essential.spawn(async move { push_changes(&source, &queue).await });
    }
    engine.first.swept();
    essential.spawn(engine.clone().follow());
    engine.watch_over_links(config, &mut essential)?;
    {
        let (keeper, first) = (FenceKeeper::new(store.clone()), engine.first.clone());
        let (held, controller) = (lead.held(), engine.controller.clone());
        // A restore that was noticed since: not everything was looked at in its light. The next term does.
        let calm = move || controller.restored().is_none_or(|why| at_start.as_ref() == Some(&why));
        let may_answer = move || {
            failpoints::before_the_fence_is_answered();
            std::future::ready(held.as_ref().is_none_or(Held::now) && calm())
        };
        essential.spawn(async move {
            let looked = async {
                first.over().await;
                keeper.open(epochs.1);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = looked => {}
                () = keeper.run(Arc::new(SystemClock), may_answer) => {}
            }
            anyhow::bail!("the fence is not kept any more")
        });
    }

    let term = Term {
        ledger: &ledger,
        store: &store,
        source: &source,
        trail: &trail,
        engine: &engine,
        vault: &ground.vault,
        epochs,
    };
    let ended = term.hold(lead, (&mut essential, &mut workers), stop).await;
    if let Ok(Ended::WentBack(why)) = &ended
        && let Ok(Ok(())) = tokio::time::timeout(BEAT, restore::note(&*ledger, why, now())).await
    {
        // At once, whoever leads next; the next term notes it again if this failed.
        tracing::info!("noted in the ledger");
    }
    ground.health.ready.store(false, Ordering::Relaxed);
    engine.wind_down(workers).await;
    if let Some(smtp) = smtp {
        smtp.close().await;
    }
    ended
}

/// Waits for the first lists. `None` if they can't be had now, or if this process is told to stop: the term is over.
///
/// # Errors
/// What does not pass by itself.
async fn patiently<T>(
    ground: &Ground,
    lists: impl Future<Output = Result<T, Fault>>,
    stop: &mut Stop,
) -> anyhow::Result<Option<T>> {
    let mut lists = std::pin::pin!(lists);
    loop {
        ground.health.beat(now());
        tokio::select! {
            listed = &mut lists => match listed {
                Ok(listed) => return Ok(Some(listed)),
                Err(fault) if fault.is_transient() => {
                    tracing::warn!(code = %fault.code, "the Kubernetes API: {fault}");
                    return Ok(None);
                }
                Err(fault) => return Err(fault).context("the Kubernetes API"),
            },
            () = stop.asked() => return Ok(None),
            () = tokio::time::sleep(BEAT) => {}
        }
    }
}

/// What is looked after while this process leads.
struct Term<'a> {
    ledger: &'a KubernetesLedger,
    store: &'a KubernetesStore,
    source: &'a KubernetesSource,
    trail: &'a FileTrail,
    engine: &'a Engine,
    vault: &'a VaultClient,
    /// Of ledger and links, before anything was looked at.
    epochs: (u64, u64),
}

impl Term<'_> {
    async fn hold(
        &self,
        lead: Lead,
        (essential, workers): (&mut JoinSet<anyhow::Result<()>>, &mut JoinSet<()>),
        stop: &mut Stop,
    ) -> anyhow::Result<Ended> {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut beats, mut over) = (0_u32, false);
        let mut lost = std::pin::pin!(lead.lost());
        let (ledger_epoch, store_epoch) = self.epochs;
        loop {
            tokio::select! {
                () = stop.asked() => {
                    tracing::info!("stopping");
                    return Ok(Ended::Asked);
                }
                () = &mut lost => return Ok(Ended::Lost),
                ended = essential.join_next() => {
                    let ended = ended.context("every task has ended")?.context("a task panicked")?;
                    return ended.and_then(|()| anyhow::bail!("an essential task has ended"));
                }
                ended = workers.join_next() => {
                    ended.context("every worker has ended")?.context("a worker panicked")?;
                    // They end by themselves where the Lease is lost.
                    return Ok(Ended::Lost);
                }
                why = self.source.went_back() => return Ok(Ended::WentBack(why)),
                _ = self.ledger.went_backwards(ledger_epoch) => return Ok(Ended::WentBack("the ledger was set back".into())),
                _ = self.store.went_back(store_epoch) => return Ok(Ended::WentBack("the link records were set back".into())),
                () = self.engine.first.over(), if !over => {
                    over = true;
                    self.engine.health.ready.store(true, Ordering::Relaxed);
                    tracing::info!("every known delivery was looked at; gateways are cleared");
                }
                _ = beat.tick() => {
                    self.beat(beats).await;
                    beats = beats.wrapping_add(1);
                }
            }
        }
    }

    /// Logins of connections that are gone, and that nothing owed needs, are let run out.
    fn let_logins_go(&self) {
        let needed = self.engine.expected.in_use().all();
        let gone = self.vault.retain(|name| needed.contains(name) || self.source.may_have(name));
        if gone > 0 {
            tracing::info!(gone, "connections that are gone were closed");
        }
    }

    /// The API server may be away: then nothing is noted, and the next beat tries again.
    async fn beat(&self, count: u32) {
        self.engine.metrics.events_dropped.set(i64::try_from(self.source.events_dropped()).unwrap_or(i64::MAX));
        if count.is_multiple_of(ADVANCE_EVERY) {
            self.let_logins_go();
        }
        let done = match self.engine.beat(|| self.source.keys()).await {
            // An accepted restore: what this trail tells is known from now on.
            Ok(news) if news || count.is_multiple_of(ADVANCE_EVERY) => {
                restore::advance(self.ledger, self.trail, self.source.newest()).await
            }
            done => done.map(|_| ()),
        };
        if let Err(error) = done {
            tracing::warn!("{error:#}");
        }
    }
}

/// Waits for the first list of links, and says why if it does not come.
///
/// # Errors
/// None: what is owed does not wait for links.
async fn linked(store: &KubernetesStore) -> Result<(), Fault> {
    if let Err(fault) = store.synced(FIRST_LINKS).await {
        tracing::error!(code = %fault.code, "the links can't be listed; what is owed is done without: {fault}");
    }
    Ok(())
}

async fn push_changes(source: &KubernetesSource, queue: &Queue) -> anyhow::Result<()> {
    loop {
        queue.push(&source.next_change().await);
    }
}

impl Lead {
    fn held(&self) -> Option<Held> {
        match self {
            Self::Elected { held, .. } => Some(held.clone()),
            Self::Always => None,
        }
    }

    fn guard(&self) -> Arc<dyn Leads> {
        Arc::new(Guard(self.held()))
    }

    /// Waits until this process can't be sure to lead any more.
    async fn lost(self) {
        let Self::Elected { mut standing, .. } = self else { return std::future::pending().await };
        let term = match &*standing.borrow() {
            Standing::Leading { term } => *term,
            _ => return,
        };
        // An election that ended elects nobody.
        if standing.wait_for(|now| *now != Standing::Leading { term }).await.is_err() {}
    }
}

struct Guard(Option<Held>);

#[async_trait]
impl Leads for Guard {
    async fn held(&self) -> bool {
        self.0.as_ref().is_none_or(Held::now)
    }
}

/// The source of manifests, as long as this process is sure to lead: one that was stopped for long must not take what it
/// saw before for what is there now. Each step begins with a look at the manifest, so that is where this is asked.
struct WhileLeading {
    source: Arc<KubernetesSource>,
    held: Option<Held>,
}

impl WhileLeading {
    fn must_hold(&self) -> Result<(), Fault> {
        if self.held.as_ref().is_none_or(Held::now) {
            return Ok(());
        }
        Err(lease_over("this operator is not sure to lead any more"))
    }
}

#[async_trait]
impl Manifests for WhileLeading {
    async fn get(&self, key: &Key) -> Result<Option<Manifest>, Fault> {
        self.must_hold()?;
        self.source.get(key).await
    }

    async fn confirm_gone(&self, key: &Key) -> Result<(), Fault> {
        self.must_hold()?;
        self.source.confirm_gone(key).await
    }

    /// Not asked: it is in the middle of an act that began with a look, it names the version that it changes, and whoever
    /// leads by now would put the same stamp there.
    async fn put_stamp(&self, key: &Key, uid: &str, stamp: &Stamp) -> Result<(), Fault> {
        self.source.put_stamp(key, uid, stamp).await
    }

    async fn release(&self, key: &Key, uid: &str) -> Result<(), Fault> {
        self.must_hold()?;
        self.source.release(key, uid).await
    }

    async fn put_status(&self, key: &Key, uid: &str, status: &Status) -> Result<(), Fault> {
        self.must_hold()?;
        self.source.put_status(key, uid, status).await
    }
}

/// The story, told as Events too.
struct Told {
    story: Story,
    source: Arc<KubernetesSource>,
}

impl StepLog for Told {
    fn step(&self, key: &Key, decision: &Decision) {
        self.story.step(key, decision);
    }

    fn failed(&self, key: &Key, fault: &Fault) {
        self.story.failed(key, fault);
    }

    fn wrote(&self, before: Option<&Entry>, after: &Entry) {
        self.story.wrote(before, after);
        self.source.wrote(before, after);
    }

    fn rested(&self, key: &Key, status: &Status) {
        self.story.rested(key, status);
        self.source.rested(key, status);
    }
}
