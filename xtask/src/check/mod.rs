//! `cargo xtask check`: what must hold of the repository besides its tests.

mod arrows;
mod deny;
mod licences;
mod orphans;
mod places;
mod sizes;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use ps_testbed::workspace;

use crate::command::{Times, cargo, output, run as run_command};
use crate::{command, generate};

/// What a check found: things that are wrong, and things to look at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    pub(crate) errors: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// One check.
struct Check {
    name: &'static str,
    description: &'static str,
    run: fn() -> Result<Findings>,
}

/// All checks, in the order in which they run: the quick ones first.
const CHECKS: &[Check] = &[
    Check { name: "fmt", description: "the code is formatted", run: fmt },
    Check { name: "sizes", description: "no file is too long to read", run: sizes::check },
    Check { name: "orphans", description: "every .rs file is part of a crate", run: orphans::check },
    Check {
        name: "places",
        description: "no file names a registry, a token or a folder of this machine",
        run: places::check,
    },
    Check { name: "arrows", description: "dependencies point where DESIGN.md lets them", run: arrows::check },
    Check { name: "licences", description: "every dependency's licence is one that we accept", run: licences::check },
    Check { name: "clippy", description: "no warning in any target", run: clippy },
    Check { name: "generated", description: "CRDs and web bundle are what their sources say", run: generate::check },
];

#[derive(Args)]
#[command(after_help = help())]
pub(crate) struct Arguments {
    /// Which checks to run
    #[arg(value_name = "CHECK", default_value = "all")]
    checks: Vec<String>,
}

fn help() -> String {
    let lines = CHECKS.iter().map(|check| format!("  {:<10} {}", check.name, check.description));
    format!("Checks:\n  {:<10} all of them\n{}", "all", lines.collect::<Vec<_>>().join("\n"))
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let all = arguments.checks.iter().any(|name| name == "all");
    if let Some(name) = arguments.checks.iter().find(|name| !all && !CHECKS.iter().any(|check| check.name == **name)) {
        bail!("no check {name:?}; see `cargo xtask check --help`");
    }
    let mut times = Times::default();
    let mut bad = Vec::new();
    for check in CHECKS.iter().filter(|check| all || arguments.checks.iter().any(|name| name == check.name)) {
        let findings = times
            .step(check.name, check.run)
            .unwrap_or_else(|error| Findings { errors: vec![format!("{error:#}")], warnings: Vec::new() });
        for warning in &findings.warnings {
            println!("warning: {}: {warning}", check.name);
        }
        for error in &findings.errors {
            println!("error: {}: {error}", check.name);
        }
        println!("{:<10} {}", check.name, if findings.errors.is_empty() { "ok" } else { "FAILED" });
        if !findings.errors.is_empty() {
            bad.push(check.name);
        }
    }
    times.print_slowest(3);
    if bad.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nfailed: {}", bad.join(", "));
    Ok(ExitCode::FAILURE)
}

fn fmt() -> Result<Findings> {
    run_command(cargo(&["fmt", "--all", "--check"]))?;
    Ok(Findings::default())
}

fn clippy() -> Result<Findings> {
    run_command(cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"]))?;
    Ok(Findings::default())
}

/// The files that are in Git, or would be after `git add`.
fn tracked_files() -> Result<Vec<String>> {
    let listing = output(command::command("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
    let exists = |path: &&str| !path.is_empty() && workspace().join(path).is_file();
    Ok(listing.split('\0').filter(exists).map(str::to_owned).collect())
}
