//! The programs that are measured, and those that measure.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use ps_testbed::process::Process;
use ps_testbed::{RunDir, free_port, workspace};

use super::figures::{Aim, Figures, Table};
use super::stand::http;
use crate::command::{cargo, output, run, target};

/// Everything in one build, so that shared dependencies always get the same features and are built once.
const BUILD: &[&str] = &[
    "build",
    "--profile",
    "bench-release",
    "--locked",
    "-p",
    "ps-envelope",
    "-p",
    "ps-store",
    "-p",
    "ps-mail",
    "-p",
    "ps-gateway",
    "-p",
    "ps-operator",
    "--bin",
    "password-sender-operator",
    "--bin",
    "password-sender-gateway",
    "--example",
    "seal_speed",
    "--example",
    "claim_body",
    "--example",
    "cycles",
    "--example",
    "send_speed",
    "--example",
    "load",
    "--example",
    "strangers",
];
/// Kibibytes of the sealed payloads.
const SIZES: [(u32, Aim, Aim); 3] = [
    (1, Aim::None, Aim::None),
    (64, Aim::AtLeast(0.95), Aim::AtLeast(0.95)),
    (256, Aim::AtLeast(0.95), Aim::AtLeast(0.95)),
];
/// Connections at once.
const CONNECTIONS: [u32; 2] = [8, 64];

/// Connections of those who ask for links that do not exist: each answer takes ten milliseconds, on purpose.
const STRANGERS_AT_ONCE: u32 = 256;

/// Where they are.
pub(super) struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Builds them, optimised.
    pub(super) fn build(anew: bool) -> Result<Self> {
        if anew {
            run(cargo(BUILD))?;
        }
        Ok(Self { folder: target().join("bench-release") })
    }

    pub(super) fn operator(&self) -> PathBuf {
        self.folder.join("password-sender-operator")
    }

    pub(super) fn gateway_program(&self) -> PathBuf {
        self.folder.join("password-sender-gateway")
    }

    pub(super) fn example(&self, name: &str) -> Command {
        let mut command = Command::new(self.folder.join("examples").join(name));
        // Data lie on the disk of the repository: a temporary folder may be memory, where `fsync` costs nothing.
        command.current_dir(workspace()).env("BENCH_DIR", workspace().join("target"));
        command
    }

    fn measure(&self, name: &str, arguments: &[&str]) -> Result<Figures> {
        let mut command = self.example(name);
        command.args(arguments);
        Figures::parse(&output(command)?)
    }

    /// Part `seal`.
    pub(super) fn seal(&self, table: &mut Table) -> Result<()> {
        println!("\n== seal and open against the bare cipher");
        let found = self.measure("seal_speed", &["1200"])?;
        for (kib, seal, open) in SIZES {
            let get = |name: &str| found.get(&format!("{kib}k.{name}"));
            table.add(&format!("{kib} KiB, bare cipher seals"), get("bare_seal_us")?, "µs", Aim::None);
            table.add(&format!("{kib} KiB, sealing a link, whole"), get("seal_us")?, "µs", Aim::None);
            table.add(&format!("{kib} KiB, SHA-256 of it, which the record keeps"), get("sha256_us")?, "µs", Aim::None);
            table.add(&format!("{kib} KiB, seal ÷ bare, whole"), get("seal_ratio")?, "", seal);
            table.add(&format!("{kib} KiB, seal ÷ (bare + SHA-256)"), get("seal_ratio_with_hash")?, "", Aim::None);
            table.add(&format!("{kib} KiB, open ÷ bare, the message"), get("open_message_ratio")?, "", open);
            table.add(&format!("{kib} KiB, open ÷ bare, whole"), get("open_ratio")?, "", open);
        }
        Ok(())
    }

    /// Part `store`.
    pub(super) fn store(&self, table: &mut Table, seconds: u64) -> Result<()> {
        println!("\n== the embedded store, durable: put (insert) + claim (get, apply, replace), one process");
        for connections in CONNECTIONS {
            let found = self.measure("cycles", &[&connections.to_string(), &seconds.to_string()])?;
            let name = |what: &str| format!("store, {connections} at once: {what}");
            table.add(&name("put + claim"), found.get("cycles_per_s")?, "cycles/s", Aim::AtLeast(10_000.0));
            table.add(&name("put, p99"), found.get("put_p99_ms")?, "ms", Aim::AtMost(5.0));
            table.add(&name("claim, p50"), found.get("claim_p50_ms")?, "ms", Aim::None);
            table.add(&name("claim, p99"), found.get("claim_p99_ms")?, "ms", Aim::AtMost(5.0));
            table.add(&name("commits"), found.get("commits_per_s")?, "/s", Aim::None);
            table.add(&name("writes per commit"), found.get("writes_per_commit")?, "", Aim::None);
            let found = self.measure("cycles", &[&connections.to_string(), &seconds.to_string(), "ack"])?;
            table.add(&name("put + claim + acknowledge"), found.get("cycles_per_s")?, "cycles/s", Aim::None);
        }
        Ok(())
    }

    /// Part `gateway`.
    pub(super) fn gateway(&self, table: &mut Table, seconds: u64) -> Result<()> {
        println!("\n== the gateway over HTTP, durable; the load comes from the same cores");
        for connections in CONNECTIONS {
            let folder = RunDir::new("bench-links")?;
            let port = free_port()?;
            let (address, links) = (format!("127.0.0.1:{port}"), folder.path().join("links"));
            let mut gateway = Command::new(self.folder.join("password-sender-gateway"));
            // The limits per client are for the internet: here one client is all there is.
            gateway.arg("--links").arg(&links).args(["--listen", &address, "--rate", "0", "--log", "warn"]);
            let process = Process::spawn("bench-gateway", gateway)?;
            wait_for(port)?;
            let links = links.to_str().context("a path that is not UTF-8")?;
            let name = |what: &str| format!("HTTP, {connections} connections: {what}");
            let (many, long) = (connections.to_string(), seconds.to_string());
            let found = self.measure("load", &[links, &address, &many, &long])?;
            table.add(&name("claims"), found.get("claims_per_s")?, "/s", Aim::AtLeast(10_000.0));
            table.add(&name("claim, p50"), found.get("claim_p50_ms")?, "ms", Aim::None);
            table.add(&name("claim, p99"), found.get("claim_p99_ms")?, "ms", Aim::AtMost(5.0));
            let found = self.measure("load", &[links, &address, &many, &long, "put"])?;
            table.add(
                &name("put by another process + claim"),
                found.get("claims_per_s")?,
                "cycles/s",
                Aim::AtLeast(10_000.0),
            );
            table.add(&name("put, p99, two writers"), found.get("put_p99_ms")?, "ms", Aim::None);
            table.add(&name("claim, p99, two writers"), found.get("claim_p99_ms")?, "ms", Aim::AtMost(5.0));
            drop(process);
        }
        Ok(())
    }

    /// Part `strangers`: each request has an id and a client of its own.
    pub(super) fn strangers(&self, table: &mut Table, count: u64) -> Result<()> {
        println!("\n== {count} requests for links that do not exist, each by another client");
        let folder = RunDir::new("bench-links")?;
        let port = free_port()?;
        let (address, links) = (format!("127.0.0.1:{port}"), folder.path().join("links"));
        let mut gateway = Command::new(self.folder.join("password-sender-gateway"));
        gateway.arg("--links").arg(&links).args(["--listen", &address, "--log", "warn"]);
        gateway.args(["--trusted-proxy", "127.0.0.0/8"]);
        let process = Process::spawn("bench-gateway", gateway)?;
        wait_for(port)?;
        let flood = |count: u64| {
            let (connections, count) = (STRANGERS_AT_ONCE.to_string(), count.to_string());
            self.measure("strangers", &[&address, &connections, &count])
        };
        // Threads, caches and the limits' table are there.
        flood(100_000.min(count))?;
        let (before, _) = memory(process.pid())?;
        let found = flood(count)?;
        let (after, _) = memory(process.pid())?;
        let name = |what: &str| format!("{count} strangers, {STRANGERS_AT_ONCE} at once: {what}");
        table.add(&name("answered"), found.get("strangers_per_s")?, "/s", Aim::None);
        table.add(&name("resident after the first 100 000"), before, "MiB", Aim::None);
        table.add(&name("more after all of them"), after - before, "MiB", Aim::AtMost(2.0));
        Ok(())
    }
}

/// Waits until somebody answers HTTP on a port.
fn wait_for(port: u16) -> Result<()> {
    let end = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        match http(port, "GET", "/", "") {
            Ok(_) => return Ok(()),
            Err(error) if std::time::Instant::now() > end => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Memory of a process in MiB: resident (`VmRSS`), and the part of it that is its own and no file's (`RssAnon`).
pub(super) fn memory(pid: u32) -> Result<(f64, f64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib / 1024.0)
    };
    Ok((field("VmRSS:")?, field("RssAnon:")?))
}

/// The same for the child of this process that runs a program of this name.
pub(super) fn child_time(name: &str) -> Result<f64> {
    for task in fs::read_dir("/proc/self/task")? {
        for child in fs::read_to_string(task?.path().join("children"))?.split_whitespace() {
            if fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|comm| comm.trim() == name) {
                return processor_time(child.parse()?);
            }
        }
    }
    anyhow::bail!("no child of this process runs {name}")
}

/// Seconds of processor time that a process has used.
pub(super) fn processor_time(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no process status")?;
    // utime and stime, in ticks of which Linux has a hundred in a second for everybody who asks.
    let ticks: f64 = fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
    Ok(ticks / 100.0)
}
