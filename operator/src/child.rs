//! The gateway as a confined child process: a listening socket and two pipes are all that it is given.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use ps_core::page::PageConfig;
use ps_core::service::SignInOffer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use crate::config::LogFormat;
use crate::repeat::repeat;

/// Claims may be answered.
const LIFT: u8 = b'f';
/// We live, and may have changed records.
const ALIVE: u8 = b'c';

/// How to start a gateway.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// The program.
    pub program: PathBuf,
    /// The only folder that it may use.
    pub links: PathBuf,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Proxies whose forwarded address is believed.
    pub trusted_proxies: Vec<std::net::IpAddr>,
    /// How pages begin a sign-in, where a provider is configured.
    pub sign_in: Option<SignInOffer>,
    /// What the page says of its operator, which it gets through its standard input.
    pub page: PageConfig,
    /// How what it says is repeated.
    pub log_format: LogFormat,
    /// Its log filter.
    pub log: String,
    /// It ends when it has not heard of us for so long ([`Running::alive`]): then the address is free for whoever leads.
    pub silence: std::time::Duration,
}

/// A running gateway. Dropping it ends the process.
pub struct Running {
    child: Child,
    nudge: pipe::Sender,
    wake: pipe::Receiver,
    buffer: Vec<u8>,
}

impl Gateway {
    /// The gateway program beside this one.
    ///
    /// # Errors
    /// If it is not there.
    pub fn beside_us() -> anyhow::Result<PathBuf> {
        let us = std::env::current_exe().context("the path of this program is not known")?;
        let beside = us.with_file_name("password-sender-gateway");
        anyhow::ensure!(
            beside.is_file(),
            "{} is missing: install password-sender-gateway beside this program, or name it with --gateway",
            beside.display()
        );
        Ok(beside)
    }

    /// Takes the address. Binding is ours, so that the child needs no right to.
    ///
    /// # Errors
    /// If somebody else has it.
    pub fn bind(&self) -> anyhow::Result<TcpListener> {
        let listener =
            TcpListener::bind(self.listen).with_context(|| format!("{} can't be listened on", self.listen))?;
        listener.set_nonblocking(true).context("the socket can't be made non-blocking")?;
        Ok(listener)
    }

    /// Starts it, fenced. Call this from the main task: the kernel ends the child with the thread that started it.
    ///
    /// # Errors
    /// If the program can't be started.
    pub fn start(&self, listener: &TcpListener) -> anyhow::Result<Running> {
        let (nudge_theirs, nudge_ours) = nix::unistd::pipe2(OFlag::O_CLOEXEC).context("no pipe")?;
        let (wake_ours, wake_theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC).context("no pipe")?;
        let theirs = [listener.as_raw_fd(), nudge_theirs.as_raw_fd(), wake_theirs.as_raw_fd()];
        let mut command = Command::new(&self.program);
        command
            .arg("--links")
            .arg(&self.links)
            .args(["--listen-fd", &theirs[0].to_string(), "--nudge-fd", &theirs[1].to_string()])
            .args(["--silence", &self.silence.as_secs().max(1).to_string()])
            .args(["--wake-fd", &theirs[2].to_string(), "--log-format", "json", "--log", &self.log])
            .args(self.trusted_proxies.iter().flat_map(|p| ["--trusted-proxy".to_owned(), p.to_string()]))
            .args(self.sign_in.iter().flat_map(options))
            .args(["--page-config", "-"])
            .env_clear()
            .stdin(Stdio::piped())
            // Our own standard output may carry the audit mirror, and a shared descriptor could be made non-blocking:
            // it gets neither. What it says comes through a pipe, line by line.
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // This process starts no other program, so nobody else can inherit them meanwhile.
        keep_on_exec(listener, true)?;
        keep_on_exec(&nudge_theirs, true)?;
        keep_on_exec(&wake_theirs, true)?;
        let child = command.spawn();
        keep_on_exec(listener, false)?;
        let mut child = child.with_context(|| format!("{} could not be started", self.program.display()))?;
        if let Some(said) = child.stderr.take() {
            tokio::spawn(repeat(said, self.log_format));
        }
        if let Some(mut input) = child.stdin.take() {
            let page = serde_json::to_vec(&self.page).context("the page's configuration can't be written")?;
            // JSON is YAML, too. The child reads all of it before it does anything else; one that died shows otherwise.
            tokio::spawn(async move { input.write_all(&page).await.ok() });
        }
        Ok(Running { child, nudge: sender(nudge_ours)?, wake: receiver(wake_ours)?, buffer: vec![0; 256] })
    }
}

/// A sign-in as the gateway's options.
fn options(offer: &SignInOffer) -> [String; 3] {
    let SignInOffer { authorization_endpoint, client_id, scope } = offer;
    [
        format!("--oidc-authorization-endpoint={authorization_endpoint}"),
        format!("--oidc-client-id={client_id}"),
        format!("--oidc-scope={scope}"),
    ]
}

fn keep_on_exec(fd: &impl std::os::fd::AsFd, keep: bool) -> anyhow::Result<()> {
    let flag = if keep { FdFlag::empty() } else { FdFlag::FD_CLOEXEC };
    fcntl(fd, FcntlArg::F_SETFD(flag)).context("a descriptor's flags could not be set")?;
    Ok(())
}

fn sender(fd: OwnedFd) -> anyhow::Result<pipe::Sender> {
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("no pipe")?;
    pipe::Sender::from_owned_fd(fd).context("no pipe")
}

fn receiver(fd: OwnedFd) -> anyhow::Result<pipe::Receiver> {
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("no pipe")?;
    pipe::Receiver::from_owned_fd(fd).context("no pipe")
}

/// What a running gateway did.
#[derive(Debug)]
pub enum Said {
    /// It changed records.
    Changed,
    /// It answers claims from now on.
    Lifted,
    /// It ended.
    Ended(String),
}

impl Running {
    /// Lets it answer claims.
    ///
    /// # Errors
    /// If it is gone.
    pub fn lift_fence(&self) -> std::io::Result<()> {
        // Not `try_write`: that refuses until the runtime has once seen that the pipe has room. The pipe does not block.
        nix::unistd::write(&self.nudge, &[LIFT])?;
        Ok(())
    }

    /// Says that this process lives, and may have changed records.
    pub fn alive(&self) {
        // A full pipe means that it does not read; an end of it is heard of otherwise.
        if let Err(error) = nix::unistd::write(&self.nudge, &[ALIVE]) {
            tracing::debug!(%error, "the gateway does not listen");
        }
    }

    /// Waits until it changes something or ends.
    pub async fn said(&mut self) -> Said {
        match self.wake.read(&mut self.buffer).await {
            Ok(n) if self.buffer.get(..n).is_some_and(|said| said.contains(&LIFT)) => Said::Lifted,
            Ok(n) if n > 0 => Said::Changed,
            // Its end of the pipe is closed: it has ended, or is about to.
            Ok(_) | Err(_) => match self.child.wait().await {
                Ok(status) => Said::Ended(status.to_string()),
                Err(error) => Said::Ended(error.to_string()),
            },
        }
    }

    /// Ends it and waits.
    pub async fn end(mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::warn!(%error, "the gateway could not be ended");
        }
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }
}

/// Makes a folder that only this user may enter.
///
/// # Errors
/// If it can't be made.
pub fn private_folder(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("{} can't be made", path.display()))
}
