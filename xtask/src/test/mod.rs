//! `cargo xtask test`: everything is built once, then each test program runs, part by part.

mod build;
mod outcome;
mod parts;
mod run;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use ps_testbed::install::Piece;
use ps_testbed::{Testbed, Vendor};

use crate::command::{Times, seconds};
use crate::testbed::{install, runtime};
use outcome::Outcome;
use parts::{PARTS, Part};

const SLOWEST: usize = 10;
/// Named like a part, and never one of `all`: it builds a Vault, which takes ten minutes once.
const VENDORS: &str = "vendors";
/// The parts that run on HashiCorp Vault then.
const ON_VENDORS: [&str; 2] = ["plugin", "vault"];

#[derive(Args)]
#[command(after_help = parts::help())]
pub(crate) struct Arguments {
    /// Which parts to run
    #[arg(value_name = "PART", default_value = "all")]
    parts: Vec<String>,
    /// Only tests whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (vendors, named): (Vec<String>, Vec<String>) =
        arguments.parts.iter().cloned().partition(|name| name == VENDORS);
    let parts = chosen(&named)?;
    let mut times = Times::default();
    if !vendors.is_empty() {
        times.step("build Vault, once", || Vendor::Vault.ensure())?;
    }
    let needs: Vec<Piece> =
        Piece::ALL.into_iter().filter(|piece| parts.iter().any(|part| part.needs.contains(piece))).collect();
    times.step("install", || install(&needs))?;
    let mut total = Outcome::default();
    let (programs, broken) = if !vendors.is_empty() || parts.iter().any(|part| part.uses_cargo()) {
        times.step("build", build::build)?
    } else {
        (Vec::new(), None)
    };
    if let Some(error) = broken {
        total.fail(&format!("build: {error:#}"));
    }
    // One set of servers for all parts, each started for the first part that needs it; they end with this process.
    let testbed = Testbed::new();

    let mut table = Vec::new();
    for part in parts {
        println!("\n== {}: {}", part.name, part.description);
        let start = Instant::now();
        let environment = times.step(&format!("{}: start servers", part.name), || ready(&testbed, part.shared()))?;
        let outcome = run::part(part, &programs, &environment, arguments.only.as_deref(), &mut times)?;
        table.push((part.name, start.elapsed(), outcome.clone()));
        total.add(&outcome);
    }
    if !vendors.is_empty() {
        for part in PARTS.iter().filter(|part| ON_VENDORS.contains(&part.name)) {
            println!("\n== {VENDORS}: {} on HashiCorp Vault", part.name);
            let start = Instant::now();
            let outcome = run::on_vault(part, &programs, arguments.only.as_deref(), &mut times)?;
            table.push((VENDORS, start.elapsed(), outcome.clone()));
            total.add(&outcome);
        }
    }

    println!("\n{:<10} {:>9} {:>7} {:>7}", "part", "time", "passed", "failed");
    for (name, took, outcome) in &table {
        println!("{name:<10} {:>9} {:>7} {:>7}", seconds(*took), outcome.passed, outcome.failed);
    }
    times.print_slowest(SLOWEST);
    if !total.failures.is_empty() {
        println!("\nfailed:");
        for failure in &total.failures {
            println!("  {}", failure.name);
            failure.says.iter().for_each(|line| println!("      {line}"));
        }
    }
    if total.ignored > 0 {
        println!("\n{} tests are marked #[ignore] and did not run", total.ignored);
    }
    println!("\n{} passed, {} failed", total.passed, total.failed);
    let nothing = total.passed + total.failed == 0;
    if nothing {
        eprintln!("error: no test ran");
    }
    Ok(if total.failed > 0 || nothing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn chosen(names: &[String]) -> Result<Vec<&'static Part>> {
    if names.iter().any(|name| name == "all") {
        return Ok(PARTS.iter().collect());
    }
    for name in names {
        if !PARTS.iter().any(|part| part.name == name) {
            let known: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
            bail!("no part {name:?}; there are all, {}", known.join(", "));
        }
    }
    Ok(PARTS.iter().filter(|part| names.iter().any(|name| name == part.name)).collect())
}

/// Starts what a part needs and does not run yet, and gives the value of the environment variable that names it all.
fn ready(testbed: &Testbed, needs: &[Piece]) -> Result<String> {
    runtime()?.block_on(async {
        let bao = async || {
            if needs.contains(&Piece::OpenBao) { testbed.bao().await.map(drop) } else { Ok(()) }
        };
        let postgres = async || {
            if needs.contains(&Piece::Postgres) { testbed.postgres().await.map(drop) } else { Ok(()) }
        };
        let smtp = async || {
            if needs.contains(&Piece::Smtp) { testbed.smtp().await.map(drop) } else { Ok(()) }
        };
        let cluster = async || {
            if needs.contains(&Piece::ApiServer) { testbed.cluster().await.map(drop) } else { Ok(()) }
        };
        tokio::try_join!(bao(), postgres(), smtp(), cluster())?;
        Ok(serde_json::to_string(&testbed.environment())?)
    })
}
