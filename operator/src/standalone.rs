//! `standalone`: manifests from a folder, embedded store and ledger, the gateway as a child.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use ps_audit::{FileTrail, Mirror};
use ps_controller::folder::memory::ObjectMemory;
use ps_controller::folder::{FolderSource, Folders};
use ps_controller::{Controller, Ports, Queue, Settings};
use ps_core::ports::{CasError, Clock, Random};
use ps_core::service::SignInOffer;
use ps_ledger::EmbeddedLedger;
use ps_store::EmbeddedStore;
use ps_vault::VaultClient;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::adapters::{BoundedAudit, FolderManifests, NotesInLedger};
use crate::admin::{self, Health};
use crate::child::{Gateway, private_folder};
use crate::clock::{SystemClock, SystemRandom, now};
use crate::config::Config;
use crate::engine::{Engine, Leads};
use crate::failpoints::{self, HookedNotes};
use crate::identities::identities;
use crate::lease::{self, Lease};
use crate::mailing::mailer;
use crate::metrics::Metrics;
use crate::records;
use crate::restore;
use crate::story::Story;
use crate::supervise::{Keeper, Stop, supervise};
use crate::suspects;

/// Where things are.
#[derive(Clone, Debug)]
pub struct Places {
    /// Folder of manifests.
    pub manifests: PathBuf,
    /// Folder of data: `links/`, `ledger.db`, `audit.jsonl`.
    pub data: PathBuf,
    /// The gateway program.
    pub gateway: Option<PathBuf>,
}

/// How the gateway tells pages to begin a sign-in.
fn sign_in(config: &Config) -> anyhow::Result<Option<SignInOffer>> {
    let Some(oidc) = &config.oidc else { return Ok(None) };
    let authorization_endpoint = oidc.authorization_endpoint.clone();
    let authorization_endpoint = authorization_endpoint.context(
        "oidc.authorizationEndpoint: name the provider's authorization_endpoint, so that the page can lead there",
    )?;
    let (client_id, scope) = (oidc.client_id.clone(), oidc.scope.clone());
    Ok(Some(SignInOffer { authorization_endpoint, client_id, scope }))
}

/// Runs until a signal ends it or something essential fails; anew, with a fresh links store, each time that the old one
/// turns out damaged.
///
/// # Errors
/// What failed, with its remedy.
pub async fn run_anew(config: Config, places: Places) -> anyhow::Result<()> {
    // One for all runs, and before anything that may wait: a signal between two runs is not lost.
    let mut stop = Stop::new()?;
    loop {
        match run(config.clone(), places.clone(), &mut stop).await {
            Err(error) if error.is::<records::Damaged>() => {
                tracing::error!("{error:#}: it is put aside, and every live link is withdrawn and rotated");
                suspects::put_aside(&places.data.join("links"))?;
            }
            ended => return ended,
        }
    }
}

/// One run.
async fn run(config: Config, places: Places, stop: &mut Stop) -> anyhow::Result<()> {
    let program = places.gateway.clone().map_or_else(Gateway::beside_us, Ok)?;
    private_folder(&places.data)?;
    let links = places.data.join("links");
    private_folder(&links)?;
    let me = name()?;
    // Who is asked to stop while another process holds something in the data folder ends in order too.
    let ledger = tokio::select! {
        opened = lease::open(|| EmbeddedLedger::open(&places.data)) => Arc::new(opened?),
        () = stop.asked() => return Ok(()),
    };
    let metrics = Arc::new(Metrics::new()?);
    let health = Health::new(metrics.clone(), now());
    let listener = tokio::net::TcpListener::bind(config.admin.listen)
        .await
        .with_context(|| format!("admin.listen: {} can't be listened on", config.admin.listen))?;
    let mut essential: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let routes = admin::router(health.clone());
    essential.spawn(async move { Ok(axum::serve(listener, routes).await?) });

    let lease = Arc::new(Lease::new(me.clone(), config.lease));
    if !wait_for_lease(&ledger, &lease, &health, stop).await? {
        return Ok(());
    }
    metrics.leader.set(1);
    let mut starting: JoinSet<()> = JoinSet::new();
    {
        let (lease, ledger) = (lease.clone(), ledger.clone());
        starting.spawn(async move { lease.keep(&ledger).await });
    }

    let audit_file = config.audit.file.clone().unwrap_or_else(|| places.data.join("audit.jsonl"));
    let mirror = || if config.audit.stdout { Mirror::Stdout } else { Mirror::None };
    let opened = async {
        let store = Arc::new(open_store(&links, config.store.max_bytes).await?);
        let common = lease.patiently(async || restore::common(&*ledger, &SystemRandom).await).await?.value;
        let trail = Arc::new(lease::open(|| FileTrail::open(&audit_file, &common.ledger_id, mirror())).await?);
        anyhow::Ok((store, common, trail))
    };
    suspects::let_go(&links, now());
    let (store, common, trail) = tokio::select! {
        opened = opened => opened?,
        () = stop.asked() => {
            // First the renewal ends, or it would take the lease once more.
            starting.shutdown().await;
            give_back(&lease, &ledger).await;
            return Ok(());
        }
    };
    let restored = lease.patiently(async || restore::check(&*ledger, &trail, now()).await).await?;
    if let Some(why) = &restored {
        tracing::error!(
            "a restore was noticed: {why}. Open links are withdrawn and rotated; new manifests wait for `restore accept`"
        );
    }
    let gateway = Gateway {
        program,
        links: links.clone(),
        listen: config.listen,
        trusted_proxies: config.trusted_proxies.clone(),
        sign_in: sign_in(&config)?,
        page: config.page.clone(),
        log_format: config.log.format,
        log: gateway_log(&config.log.level),
        // A moment longer than the lease: until then claims are answered, whoever leads.
        silence: config.lease.to_std() * 2,
    };

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let secrets = config.secrets.clone().unwrap_or_else(|| places.data.join("secrets"));
    let folders = Folders { manifests: places.manifests.clone(), secrets };
    let failpoints = failpoints::from_env()?;
    let notes: Arc<dyn ObjectMemory> = Arc::new(NotesInLedger { ledger: ledger.clone(), lease: lease.clone() });
    let notes = match &failpoints {
        Some(hook) => Arc::new(HookedNotes { inner: notes, hook: hook.clone() }),
        None => notes,
    };
    let open = async || {
        let (folders, notes, clock, random) = (folders.clone(), notes.clone(), clock.clone(), random.clone());
        Ok(FolderSource::open(folders, notes, clock, random).await?)
    };
    let folder = Arc::new(lease.patiently(open).await?);
    for fault in folder.unreadable().values() {
        metrics.fault(fault);
    }
    let (mailer, smtp) = mailer(&config, &clock)?;
    let identities = identities(&config, &clock)?;
    let ports = Ports {
        manifests: Arc::new(FolderManifests { folder: folder.clone(), clock: clock.clone(), lease: lease.clone() }),
        connections: folder.clone(),
        ledger: ledger.clone(),
        store: store.clone(),
        vault: Arc::new(VaultClient::new(folder.clone(), clock.clone())),
        mailer,
        identities,
        audit: Arc::new(BoundedAudit::new(trail.clone())),
        clock,
        random,
    };
    let ports = failpoints.map_or_else(|| ports.clone(), |hook| ports.clone().hooked(&hook));
    // What the engine does with the store by itself (orphans, the self-check's link) passes the same failpoints.
    let hooked_store = ports.store.clone();
    let settings = Settings {
        me: me.clone(),
        namespace: String::new(),
        public_url: config.public_url.clone(),
        sender: config.sender.clone(),
        mail_domain: config.mail_domain(),
        mail_hold: config.mail.hold,
        paused: config.paused,
        max_bytes: config.store.max_bytes,
    };
    let mut common = common;
    common.restored = restored;
    let store_busy = Arc::new(Notify::new());
    let expected = Arc::new(records::Expected::default());
    let story = Arc::new(Story::new(metrics.clone(), store_busy.clone(), expected.clone()));
    let engine = Engine {
        controller: Arc::new(Controller::new(ports, settings, &common, story)),
        queue: Arc::default(),
        ledger: ledger.clone(),
        store: hooked_store,
        first: Arc::default(),
        expected,
        health,
        metrics,
        thrift: Arc::default(),
    };

    // From here on the main loop beats.
    drop(starting);
    let taken = lease.patiently(async || Ok(lease.take(&ledger).await?)).await?;
    anyhow::ensure!(taken, "another operator has taken over this data folder");
    let leads: Arc<dyn Leads> = lease.clone();
    let mut workers = engine.start(config.workers, &leads, &folder.keys(), &mut essential).await?;
    {
        let (folder, queue) = (folder.clone(), engine.queue.clone());
        essential.spawn(async move {
            tokio::select! {
                () = folder.watch() => anyhow::bail!("the manifests folder is not watched any more"),
                () = push_changes(&folder, &queue) => Ok(()),
            }
        });
    }
    {
        let engine = engine.clone();
        essential.spawn(async move {
            records::sweep_orphans(&*engine.store, &*engine.ledger).await;
            engine.first.swept();
            engine.follow().await
        });
    }
    engine.watch_over_links(&config, &mut essential)?;

    tracing::info!(
        manifests = %places.manifests.display(),
        data = %places.data.display(),
        listen = %config.listen,
        admin = %config.admin.listen,
        "running; links lead to {}",
        config.public_url
    );
    let keeper = Keeper {
        ledger: &ledger,
        trail: &trail,
        engine: &engine,
        folder: &folder,
        lease: &lease,
        store_busy: &store_busy,
    };
    let ended = supervise(&gateway, &store, &keeper, (&mut essential, &mut workers), stop).await;

    engine.health.ready.store(false, Ordering::Relaxed);
    // It may take longer than the lease lasts, and nothing is voided without it.
    tokio::select! {
        () = engine.wind_down(workers) => {}
        () = lease.keep(&ledger) => {}
    }
    if let Some(smtp) = smtp {
        smtp.close().await;
    }
    give_back(&lease, &ledger).await;
    ended
}

/// Gives the lease back, so that a standby need not wait for its end.
async fn give_back(lease: &Lease, ledger: &EmbeddedLedger) {
    if let Err(error) = lease.release(ledger).await {
        tracing::warn!(%error, "the lease could not be released");
    }
}

/// A name that no other process, and no earlier start, has.
pub(crate) fn name() -> anyhow::Result<String> {
    let mut random = [0_u8; 8];
    SystemRandom.fill(&mut random)?;
    Ok(format!("{}-{}", std::process::id(), ps_core::encode::b64(&random)))
}

fn gateway_log(level: &str) -> String {
    let ours = ["password_sender_gateway", "ps_gateway", "ps_store", "ps_sqlite"];
    let ours = ours.map(|name| format!("{name}={level}")).join(",");
    format!("warn,{ours}")
}

/// Waits until this process holds the data folder; `false` if it was told to stop before.
async fn wait_for_lease(
    ledger: &EmbeddedLedger,
    lease: &Lease,
    health: &Health,
    stop: &mut Stop,
) -> anyhow::Result<bool> {
    let mut told = false;
    loop {
        health.beat(now());
        match lease.take(ledger).await {
            Ok(true) => return Ok(true),
            Ok(false) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::info!("another operator works on this data folder: standing by");
                }
            }
            Err(CasError::Failed(fault)) if fault.is_transient() => {
                tracing::warn!(code = %fault.code, "standing by: {fault}");
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = tokio::time::sleep(lease.ask_every()) => {}
            () = stop.asked() => return Ok(false),
        }
    }
}

async fn push_changes(folder: &FolderSource, queue: &Queue) {
    loop {
        queue.push(&folder.next_change().await);
    }
}

/// Opens the store. A file that only somebody with write access to the folder can have made is put aside: every live
/// link is then missing, which is `Tampered`, and its credential is rotated. Obligations lie in the ledger.
async fn open_store(links: &Path, max_bytes: usize) -> anyhow::Result<EmbeddedStore> {
    match lease::open(|| EmbeddedStore::with_limit(links, max_bytes)).await {
        Err(fault) if records::is_damage(&fault) => {
            tracing::error!(code = %fault.code, "the links store is damaged: {fault}. It is put aside");
            suspects::put_aside(links)?;
            Ok(EmbeddedStore::with_limit(links, max_bytes)?)
        }
        other => Ok(other?),
    }
}

/// Checks that a path is a folder.
///
/// # Errors
/// If it is not.
pub fn folder(path: &Path, what: &str) -> anyhow::Result<()> {
    anyhow::ensure!(path.is_dir(), "{what}: {} is not a folder", path.display());
    Ok(())
}
