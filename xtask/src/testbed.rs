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
    /// Starts OpenBao, PostgreSQL and a mail server, prints how to reach them, and keeps them until Ctrl-C
    Up,
    /// Stops a testbed that `up` started elsewhere
    Down,
}

pub(crate) fn run(action: Action) -> Result<ExitCode> {
    match action {
        Action::Install => install(&Piece::ALL)?,
        Action::Up => runtime()?.block_on(up())?,
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
        let start = Instant::now();
        let place = piece.ensure()?;
        println!("{:<12} {:>8}  {}", piece.name(), seconds(start.elapsed()), place.display());
    }
    Ok(())
}

async fn up() -> Result<()> {
    if let Some(pid) = running()? {
        bail!("a testbed is up already (process {pid}); `cargo xtask testbed down` stops it");
    }
    // From here on a signal ends this task instead of the process, so that the files are taken away.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    fs::create_dir_all(state_dir())?;
    let (pid_file, environment_file) = files();
    fs::write(&pid_file, std::process::id().to_string())?;
    let outcome = tokio::select! {
        outcome = serve(&environment_file) => outcome,
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

async fn serve(environment_file: &std::path::Path) -> Result<()> {
    let testbed = Testbed::new();
    let (bao, postgres, smtp) = tokio::try_join!(testbed.bao(), testbed.postgres(), testbed.smtp())?;
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
    println!("# Tests use these servers with");
    println!("export {ENVIRONMENT_VARIABLE}={}", environment_file.display());
    println!("# Ctrl-C, or `cargo xtask testbed down` elsewhere, stops them");
    std::future::pending().await
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
