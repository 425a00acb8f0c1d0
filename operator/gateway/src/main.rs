//! `password-sender-gateway`: bind, confine, then open the store and serve. In this order: what is opened after the
//! confinement is opened under it.

mod args;
mod backend;
mod self_check;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Parser as _;
use ps_core::page::Brand;
use ps_core::ports::Clock;
use ps_core::time::Timestamp;
use ps_gateway::confine::{self, Confinement, Needs};
use ps_gateway::inherited::{self, Nudges, Waker};
use ps_gateway::limiter::Rate;
use ps_gateway::page::Page;
use ps_gateway::reach::Reach;
use ps_gateway::server::{Bounds, serve};
use ps_gateway::{Settings, admin, page_config, router};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, Confine, LogFormat, Store};
use crate::backend::Backend;

/// What recipients type passes through buffers of libraries.
#[global_allocator]
static ALLOCATOR: ps_hardening::WipeOnFree = ps_hardening::WipeOnFree;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // Inherited descriptors first: before anything is opened, a number can only be what the parent meant.
    let handed: Vec<i32> = [args.listen_fd, args.wake_fd, args.nudge_fd].into_iter().flatten().collect();
    inherited::close_others(&handed);
    start_log(args)?;
    let mut seen = BTreeSet::new();
    if let Some(twice) = handed.iter().find(|number| !seen.insert(**number)) {
        bail!("descriptor {twice} is named twice");
    }
    let inherited = args.listen_fd.map(inherited::listener).transpose().context("--listen-fd")?;
    let waker = args.wake_fd.map(Waker::new).transpose().context("--wake-fd")?;
    let nudges = args.nudge_fd.map(Nudges::new).transpose().context("--nudge-fd")?;
    let public = match (inherited, args.listen) {
        (Some(listener), _) => Some(listener),
        (None, Some(address)) => Some(bind(address).with_context(|| format!("cannot listen on {address}"))?),
        (None, None) => None,
    };
    let admin = args.admin.map(|address| bind(address).with_context(|| format!("cannot listen on {address}")));
    let admin = admin.transpose()?;
    let page = match &args.page_config {
        Some(file) => page_config::load(file).with_context(|| format!("--page-config {}", file.display()))?,
        None => Brand::default(),
    };
    // Before the confinement: the host's name is not for reading later.
    let replica = backend::replica(args);
    let needs = needs(args)?;

    let report = confine::apply(&needs);
    if args.check_confinement {
        return Ok(self_check::run(&needs, &report));
    }
    tell(&report, args.confine)?;
    let Some(public) = public else { bail!("nothing to listen on") };

    // Threads start here, and inherit the confinement.
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("gateway")
        .build()
        .context("cannot start threads")?
        .block_on(work(args, &replica, &page, public, admin, waker, nudges))
        .map(|()| ExitCode::SUCCESS)
}

/// What the confinement must leave.
fn needs(args: &Args) -> anyhow::Result<Needs> {
    if args.store == Store::Embedded {
        let links = args.links.as_ref().context("--links is missing")?;
        make_folder(links).with_context(|| format!("cannot make {}", links.display()))?;
        let die_with_parent = args.nudge_fd.is_some();
        return Ok(Needs { folder: Some(links.clone()), die_with_parent, ..Needs::default() });
    }
    let Reach { network, files } = match args.store {
        Store::Vault => Reach::of_mount(&backend::endpoint(args)?)?,
        _ => Reach::of(&backend::access(args))?,
    };
    Ok(Needs { readable: files, network: Some(network), ..Needs::default() })
}

async fn work(
    args: &Args,
    replica: &str,
    page: &Brand,
    public: TcpListener,
    admin: Option<TcpListener>,
    waker: Option<Waker>,
    nudges: Option<Nudges>,
) -> anyhow::Result<()> {
    let waker = waker.map(Arc::new);
    let Backend { service, fence, watched, changed, background } =
        backend::open(args, replica, nudges.is_some(), waker.clone()).await?;
    let lifted = move || {
        if let Some(waker) = &waker {
            waker.lifted();
        }
    };
    let mut settings = Settings::new(Arc::new(SystemClock));
    settings.rate = (args.rate > 0).then_some(Rate { per_second: args.rate, burst: args.burst });
    settings.max_in_flight = usize::try_from(args.max_in_flight)?;
    settings.trusted_proxies.clone_from(&args.trusted_proxy);
    settings.page = Arc::new(Page::new(page));
    let counters = settings.counters.clone();
    let bounds = Bounds {
        connections: usize::try_from(args.max_connections)?,
        per_client: args.max_connections_per_client,
        trusted_proxies: args.trusted_proxy.clone(),
        ..Bounds::default()
    };

    let (stop, stopping) = watch::channel(false);
    let stopped = |mut stopping: watch::Receiver<bool>| async move {
        // An error means that this function has returned.
        stopping.wait_for(|stop| *stop).await.map(drop).unwrap_or_default();
    };
    let public = tokio::net::TcpListener::from_std(public).context("cannot serve on this socket")?;
    tracing::info!(address = %public.local_addr()?, fenced = fence.is_raised(), "serving");
    let mut tasks = tokio::task::JoinSet::new();
    if let Some(admin) = admin {
        let admin = tokio::net::TcpListener::from_std(admin).context("cannot serve on the admin socket")?;
        tracing::info!(address = %admin.local_addr()?, "serving health and metrics");
        let bounds = Bounds { connections: 64, ..Bounds::default() };
        let router = admin::router(counters.clone(), fence.clone(), watched);
        tasks.spawn(serve(admin, router, bounds, Arc::default(), stopped(stopping.clone())));
    }
    let router = router(service, settings);
    tasks.spawn(serve(public, router, bounds, counters, stopped(stopping)));

    let mut terminate = signal(SignalKind::terminate()).context("cannot handle signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle signals")?;
    let operator = async {
        match nudges {
            Some(nudges) => nudges.obey(fence, args.silence.map(Duration::from_secs), lifted, changed).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminate.recv() => tracing::info!("asked to stop"),
        _ = interrupt.recv() => tracing::info!("asked to stop"),
        gone = operator => {
            gone.context("--nudge-fd")?;
            // Nobody would hear of a claim any more: no graceful end.
            tracing::info!("the operator is gone");
            return Ok(());
        }
        ended = tasks.join_next() => bail!("a server ended by itself: {ended:?}"),
        () = background => bail!("the store's watch ended by itself"),
    }
    stop.send_replace(true);
    while let Some(ended) = tasks.join_next().await {
        ended.context("a server failed")?;
    }
    Ok(())
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn make_folder(links: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(links)
}

fn tell(report: &Confinement, wanted: Confine) -> anyhow::Result<()> {
    let Confinement { in_force, lacking } = report;
    tracing::info!(in_force = %in_force.join("; "), "confined");
    if !lacking.is_empty() {
        tracing::warn!(lacking = %lacking.join("; "), "the kernel lacks a part of the confinement");
    }
    if wanted == Confine::Required && !report.is_complete() {
        bail!("--confine required, and something is lacking: {}", lacking.join("; "));
    }
    Ok(())
}

fn start_log(args: &Args) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log).context("--log is not a filter")?;
    // As the operator's lines, in both formats.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match args.log_format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

/// The operating system's clock.
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}
