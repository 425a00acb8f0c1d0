//! `cargo xtask testbed`: install, up, down.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ps_testbed::install::Piece;
use ps_testbed::{ENVIRONMENT_VARIABLE, Testbed, state_dir};
use tokio::signal::unix::{SignalKind, signal};

use crate::command::seconds;

const STOP: Duration = Duration::from_secs(20);

#[derive(Subcommand)]
pub(crate) enum Action {
    /// Gets every piece that is missing
    Install,
    /// Starts OpenBao, PostgreSQL, a mail server and a Kubernetes API, prints how to reach them, and keeps them until Ctrl-C
    Up {
        /// Without the Kubernetes API, which takes ten minutes to build once
        #[arg(long)]
        no_cluster: bool,
    },
    /// Stops a testbed that `up` started elsewhere
    Down,
}

pub(crate) fn run(action: Action) -> Result<ExitCode> {
    match action {
        Action::Install => install(&Piece::ALL)?,
        Action::Up { no_cluster } => {
            if !no_cluster {
                install(&Piece::CLUSTER)?; // before signals are caught, so that Ctrl-C ends a long build
            }
            runtime()?.block_on(up(!no_cluster))?;
        }
        Action::Down => down()?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Gets what is missing of these.
pub(crate) fn install(pieces: &[Piece]) -> Result<()> {
    for piece in pieces {
        if let Some(warning) = piece.warning() {
            println!("{} {warning}", piece.name());
        }
        let start = Instant::now();
        let place = piece.ensure()?;
        println!("{:<22} {:>8}  {}", piece.name(), seconds(start.elapsed()), place.display());
    }
    Ok(())
}

async fn up(with_cluster: bool) -> Result<()> {
    if let Some(pid) = running()? {
        bail!("a testbed is up already (process {pid}); `cargo xtask testbed down` stops it");
    }
    // From here on a signal ends this task instead of the process, so that the files are taken away.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    fs::create_dir_all(state_dir())?;
    let (pid_file, environment_file) = files();
    fs::write(&pid_file, std::process::id().to_string())?;
    let outcome = tokio::select! {
        outcome = serve(&environment_file, with_cluster) => outcome,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    for file in [pid_file, environment_file] {
        fs::remove_file(&file).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
    }
    println!("testbed is down");
    outcome
}

async fn serve(environment_file: &std::path::Path, with_cluster: bool) -> Result<()> {
    let testbed = Testbed::new();
    let cluster = async || if with_cluster { testbed.cluster().await.map(Some) } else { Ok(None) };
    let (bao, postgres, smtp, cluster) =
        tokio::try_join!(testbed.bao(), testbed.postgres(), testbed.smtp(), cluster())?;
    if let Some(cluster) = cluster {
        cluster.install_crds().await?;
    }
    fs::write(environment_file, serde_json::to_string_pretty(&testbed.environment())?)?;
    println!("# OpenBao, in memory, KV version 2 at secret/");
    println!("export BAO_ADDR={0} VAULT_ADDR={0}", bao.address());
    println!("export BAO_TOKEN={0} VAULT_TOKEN={0}", bao.root_token());
    println!("# PostgreSQL");
    println!("export PGHOST=127.0.0.1 PGPORT={} PGDATABASE=postgres", postgres.port());
    println!("export PGUSER={} PGPASSWORD={}", postgres.admin_user(), postgres.admin_password());
    println!("# Mail, on localhost: SMTP with STARTTLS, and SMTP over TLS");
    println!("export SMTP_PORT={} SMTPS_PORT={}", smtp.port(), smtp.tls_port());
    println!("export SMTP_USER={} SMTP_PASSWORD={}", smtp.user(), smtp.password());
    println!("export SMTP_CA={}", smtp.ca_path().display());
    println!("# All mails as JSON: curl -s {}", smtp.mails_url());
    if let Some(cluster) = cluster {
        println!("# Kubernetes API with our CRDs; no nodes, so no pod starts");
        println!("export KUBECONFIG={}", cluster.admin_kubeconfig().display());
        println!("# Its kubectl and helm, before any others");
        println!("export PATH={}:$PATH", tools()?);
        println!("# Its audit log: {}; etcd: {}", cluster.audit_log().display(), cluster.etcd());
    }
    println!("# Tests use these servers with");
    println!("export {ENVIRONMENT_VARIABLE}={}", environment_file.display());
    println!("# Ctrl-C, or `cargo xtask testbed down` elsewhere, stops them");
    std::future::pending().await
}

/// The folder of kubectl and Helm.
fn tools() -> Result<String> {
    let kubectl = Piece::Kubectl.ensure()?;
    Ok(kubectl.parent().context("kubectl lies in no folder")?.display().to_string())
}

fn down() -> Result<()> {
    let Some(pid) = running()? else {
        println!("no testbed is up");
        return Ok(());
    };
    kill(pid, Signal::SIGTERM)?;
    let start = Instant::now();
    while running()?.is_some() {
        if start.elapsed() > STOP {
            bail!("process {pid} is still there after {STOP:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("testbed is down");
    Ok(())
}

/// The process that `up` runs in, if it lives and is an xtask (the id may have gone to another program since).
fn running() -> Result<Option<Pid>> {
    let Ok(text) = fs::read_to_string(files().0) else {
        return Ok(None);
    };
    let pid: i32 = text.trim().parse().context("target/testbed/up.pid is no process id")?;
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let ours = String::from_utf8_lossy(&command_line).contains("xtask");
    Ok(ours.then_some(Pid::from_raw(pid)))
}

fn files() -> (PathBuf, PathBuf) {
    (state_dir().join("up.pid"), state_dir().join("up.json"))
}
