//! Links through a mount against response wrapping, on the same server: `mount_speed NODES SECONDS CONNECTIONS`.
//!
//! Prints `name value` lines. Raft with fsync; each connection issues a link and claims it, or wraps a value and unwraps it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is what it is for")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ps_core::encode::b64;
use ps_core::ids::Digest;
use ps_envelope::{Facts, Opener};
use ps_testbed::OpenBaoNodes;
use reqwest::Client;
use serde_json::{Value, json};

const NAME: &str = "password-sender-plugin";
/// Starts that are measured.
const STARTS: usize = 15;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new();
    match runtime.context("no runtime").and_then(|runtime| runtime.block_on(run())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let mut next = || numbers.next().context("NODES SECONDS CONNECTIONS")?.context("a number");
    let (nodes, seconds, connections) = (next()?, next()?, next()?);
    let program = std::env::current_exe()?.parent().and_then(|p| p.parent()).context("no folder")?.join(NAME);
    println!("figure start_ms {:.1}", start_time(&program)?.as_secs_f64() * 1e3);
    let cluster = OpenBaoNodes::start(nodes).await?;
    let mut sha256 = String::new();
    for node in cluster.nodes() {
        sha256 = node.install_plugin(NAME, &program)?;
    }
    let active = cluster.active().await?;
    active.register_plugin(NAME, NAME, &sha256, &[]).await?;
    let start = Instant::now();
    active.mount("send", json!({ "type": NAME })).await?;
    println!("figure mount_ms {:.1}", start.elapsed().as_secs_f64() * 1e3);
    active.call("POST", "send/config", Some(&json!({"public_url": "https://l.example"}))).await?;
    active.call("POST", "send/roles/any", Some(&json!({}))).await?;
    println!("figure rest_mib {:.1}", memory(active.pid()?)?);
    let target = Arc::new(Target {
        client: Client::builder().no_proxy().build()?,
        base: format!("{}/v1", active.address()),
        token: active.root_token().to_owned(),
    });
    for (name, kind) in [("wrap", Kind::Wrap), ("link", Kind::Link)] {
        load(&target, kind, Duration::from_secs(1), connections).await?;
        let (cycles, mut took) = load(&target, kind, Duration::from_secs(seconds as u64), connections).await?;
        took.sort_unstable();
        let p99 = took.get(took.len() * 99 / 100).or(took.last()).copied().unwrap_or_default();
        println!("figure {name}_per_second {:.1}", cycles as f64 / seconds as f64);
        println!("figure {name}_p99_ms {:.1}", p99.as_secs_f64() * 1e3);
    }
    println!("figure after_mib {:.1}", memory(active.pid()?)?);
    Ok(())
}

#[derive(Clone, Copy)]
enum Kind {
    Wrap,
    Link,
}

struct Target {
    client: Client,
    base: String,
    token: String,
}

impl Target {
    async fn post(&self, path: &str, body: &Value, wrap: bool) -> Result<Value> {
        let mut request =
            self.client.post(format!("{}/{path}", self.base)).header("X-Vault-Token", &self.token).json(body);
        if wrap {
            request = request.header("X-Vault-Wrap-TTL", "3600s");
        }
        let response = request.send().await?;
        ensure!(response.status().is_success(), "{path}: {}", response.status());
        Ok(response.json().await?)
    }

    /// Issues and takes once; gives the longer of the two requests.
    async fn cycle(&self, kind: Kind) -> Result<Duration> {
        let start = Instant::now();
        match kind {
            Kind::Wrap => {
                let wrapped = self.post("sys/wrapping/wrap", &json!({"password": "hunter2"}), true).await?;
                let half = start.elapsed();
                let token = wrapped.pointer("/wrap_info/token").and_then(Value::as_str).context("no token")?;
                self.post("sys/wrapping/unwrap", &json!({ "token": token }), false).await?;
                Ok(half.max(start.elapsed() - half))
            }
            Kind::Link => {
                let issued = self.post("send/link/any", &json!({"password": "hunter2"}), false).await?;
                let half = start.elapsed();
                let claim = claim(issued.get("data").context("no data")?)?;
                let between = start.elapsed();
                self.post("send/gateway/claim", &claim, false).await?;
                Ok(half.max(start.elapsed() - between))
            }
        }
    }
}

fn claim(issued: &Value) -> Result<Value> {
    let url = issued.get("url").and_then(Value::as_str).context("no url")?;
    let opener = Opener::from_fragment(url.split_once('#').context("no fragment")?.1)?;
    let facts = Facts::new(ps_core::time::Timestamp::EPOCH, &[])?;
    let proof = b64(opener.unlock(facts, None)?.proof().expose());
    Ok(json!({
        "id": opener.id().to_string(),
        "access": b64(opener.access().expose()),
        "proof": proof,
        "openingCode": issued.get("opening_code"),
        "tokenHash": Digest::of(url.as_bytes()),
    }))
}

async fn load(target: &Arc<Target>, kind: Kind, time: Duration, connections: usize) -> Result<(usize, Vec<Duration>)> {
    let end = Instant::now() + time;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let target = target.clone();
        tasks.spawn(async move {
            let mut took = Vec::new();
            while Instant::now() < end {
                took.push(target.cycle(kind).await?);
            }
            Ok::<_, anyhow::Error>(took)
        });
    }
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.extend(done??);
    }
    Ok((all.len(), all))
}

/// From the start of a process to the line that tells a server where it listens; the median of several.
fn start_time(program: &Path) -> Result<Duration> {
    // It pins the certificate's bytes, whatever they are, and nobody connects here.
    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let folder = tempfile::tempdir()?;
    let mut took = Vec::new();
    for _ in 0..STARTS {
        let start = Instant::now();
        let mut child = Command::new(program)
            .env("VAULT_BACKEND_PLUGIN", "6669da05-b1c8-4f49-97d9-c8e5bed98e20")
            .env("PLUGIN_PROTOCOL_VERSIONS", "5")
            .env("PLUGIN_CLIENT_CERT", CERTIFICATE)
            .env("PLUGIN_UNIX_SOCKET_DIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut line)?;
        took.push(start.elapsed());
        child.kill()?;
        child.wait()?;
        ensure!(line.starts_with("1|5|unix|"), "no handshake: {line:?}");
    }
    took.sort_unstable();
    took.get(STARTS / 2).copied().context("no start was measured")
}

/// Resident memory of the server's plugin process, in MiB.
fn memory(server: u32) -> Result<f64> {
    let parent = format!("PPid:\t{server}");
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let path: PathBuf = entry.path();
        let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        let ours = std::fs::read_to_string(path.join("cmdline")).is_ok_and(|line| line.contains(NAME));
        if ours && status.lines().any(|line| line == parent) {
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
            let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
            return Ok(kib / 1024.0);
        }
    }
    anyhow::bail!("the plugin does not run")
}
