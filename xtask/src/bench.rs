//! `cargo xtask bench`: figures beside their aims. Nothing here is asserted in tests: a figure belongs to its machine.

mod cluster;
mod figures;
mod machine;
mod plugin;
mod programs;
mod stand;
mod standalone;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use crate::testbed::{install, runtime};
use figures::Table;
use programs::Programs;
use ps_testbed::install::Piece;

/// Parts, and what they measure.
const PARTS: &[(&str, &str)] = &[
    ("seal", "seal and open against the bare cipher"),
    ("store", "durable put + claim cycles on the embedded store"),
    ("gateway", "claims over HTTP on the real gateway process"),
    ("strangers", "memory of the gateway under requests for links that do not exist"),
    ("start", "start to ready, and memory at rest"),
    ("deliveries", "1000 manifests to 1000 mails, and the mail server alone"),
    ("open", "memory with 10 000 open links"),
    ("rotation", "due time to proven rotation, and requests to Vault"),
    (PLUGIN, "links through a mount against response wrapping, on one node and on three; only if it is named"),
    (CLUSTER, "the operator in a cluster; only if it is named: it takes a quarter of an hour"),
];
/// Not among `all`.
const CLUSTER: &str = "cluster";
/// Neither this: it builds programs of its own.
const PLUGIN: &str = "plugin";

#[derive(Args)]
#[command(after_help = help())]
pub(crate) struct Arguments {
    /// Which parts to run
    #[arg(value_name = "PART", default_value = "all")]
    parts: Vec<String>,
    /// Seconds of each run under load
    #[arg(long, value_name = "N", default_value_t = 6)]
    seconds: u64,
    /// Manifests of the part `deliveries`
    #[arg(long, value_name = "N", default_value_t = 1000)]
    files: usize,
    /// Requests of the part `strangers`; ten million take a quarter of an hour
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    strangers: u64,
    /// Deliveries at the end of the part `cluster`
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    deliveries: usize,
    /// Measures what was built before, as it is
    #[arg(long)]
    no_build: bool,
}

fn help() -> String {
    let parts = PARTS.iter().map(|(name, what)| format!("  {name:<12} {what}"));
    format!("Parts (default: all):\n{}", parts.collect::<Vec<_>>().join("\n"))
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let all = arguments.parts.iter().any(|part| part == "all");
    if let Some(unknown) =
        arguments.parts.iter().find(|part| *part != "all" && !PARTS.iter().any(|(name, _)| name == part))
    {
        bail!("no part {unknown:?}\n{}", help());
    }
    let wanted =
        |part: &str| (all && part != CLUSTER && part != PLUGIN) || arguments.parts.iter().any(|name| name == part);
    let mut table = Table::default();
    println!("{}", machine::description()?);
    if wanted(PLUGIN) {
        install(&[Piece::OpenBao])?;
        plugin::run(&mut table, arguments.seconds, !arguments.no_build)?;
    }
    if arguments.parts.iter().all(|part| part == PLUGIN) {
        println!("\n{}", table.markdown());
        return Ok(ExitCode::SUCCESS);
    }
    install(&[Piece::OpenBao, Piece::Postgres, Piece::Smtp])?;
    let programs = Programs::build(!arguments.no_build)?;
    if wanted("seal") {
        programs.seal(&mut table)?;
    }
    if wanted("store") {
        programs.store(&mut table, arguments.seconds)?;
    }
    if wanted("gateway") {
        programs.gateway(&mut table, arguments.seconds)?;
    }
    if wanted("strangers") {
        programs.strangers(&mut table, arguments.strangers)?;
    }
    let runtime = runtime()?;
    if wanted("start") {
        runtime.block_on(standalone::start(&programs, &mut table))?;
    }
    if wanted("deliveries") {
        runtime.block_on(standalone::deliveries(&programs, &mut table, arguments.files))?;
    }
    if wanted("open") {
        runtime.block_on(standalone::open_links(&programs, &mut table))?;
    }
    if wanted("rotation") {
        runtime.block_on(standalone::rotation(&programs, &mut table))?;
    }
    if wanted(CLUSTER) {
        install(&Piece::CLUSTER)?;
        runtime.block_on(cluster::cluster(&programs, &mut table, arguments.deliveries))?;
    }
    println!("\n{}", table.markdown());
    Ok(ExitCode::SUCCESS)
}
