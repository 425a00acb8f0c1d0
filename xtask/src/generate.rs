//! `cargo xtask generate`: the files that are made from others.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;
use ps_testbed::install::ensure_node_packages;
use ps_testbed::{RunDir, workspace};

use crate::artifacts;
use crate::check::Findings;
use crate::command::{command, run as run_command};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Writes nothing; fails if a file is not what would be written
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let findings = if arguments.check { check()? } else { write()? };
    findings.errors.iter().for_each(|error| println!("{error}"));
    Ok(if findings.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Compares what is there with what would be written.
pub(crate) fn check() -> Result<Findings> {
    let mut errors = differences("crds", &crds()?)?;
    // The bundle's own build compares itself, so that the committed one is never touched.
    let web = ensure_node_packages("web")?;
    let mut bundle = command("npm", &["run", "--silent", "check"]);
    bundle.current_dir(web);
    if let Err(error) = run_command(bundle) {
        errors.push(format!("web/dist is not what web/src says ({error}): run `cargo xtask generate`"));
    }
    Ok(Findings { errors, warnings: Vec::new() })
}

fn write() -> Result<Findings> {
    let folder = workspace().join("crds");
    fs::create_dir_all(&folder)?;
    let wanted = crds()?;
    for stale in present(&folder)?.keys().filter(|name| !wanted.contains_key(*name)) {
        fs::remove_file(folder.join(stale))?;
    }
    for (name, text) in &wanted {
        fs::write(folder.join(name), text)?;
        println!("crds/{name}");
    }
    let web = ensure_node_packages("web")?;
    let mut bundle = command("npm", &["run", "--silent", "build"]);
    bundle.current_dir(web);
    run_command(bundle)?;
    println!("web/dist");
    Ok(Findings::default())
}

/// The CRDs by file name, as the example `crds` of ps-api writes them.
fn crds() -> Result<BTreeMap<String, String>> {
    let built = artifacts::build(&["--example", "crds"])?;
    let program =
        built.into_iter().find(|artifact| artifact.target == "crds").context("api/examples/crds.rs is gone")?;
    let folder = RunDir::new("crds")?;
    let mut write = Command::new(program.executable);
    write.arg(folder.path());
    run_command(write)?;
    let files = present(folder.path())?;
    ensure!(!files.is_empty(), "ps-api makes no CRD");
    Ok(files)
}

/// How a folder differs from what it should hold.
fn differences(folder: &str, wanted: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let present = present(&workspace().join(folder))?;
    let mut errors = Vec::new();
    for (name, text) in wanted {
        match present.get(name) {
            None => errors.push(format!("{folder}/{name} is missing: run `cargo xtask generate`")),
            Some(old) if old != text => {
                errors.push(format!("{folder}/{name} is out of date: run `cargo xtask generate`"))
            }
            Some(_) => {}
        }
    }
    let stale = present.keys().filter(|name| !wanted.contains_key(*name));
    errors.extend(stale.map(|name| format!("{folder}/{name} comes from nothing any more: run `cargo xtask generate`")));
    Ok(errors)
}

/// The YAML files of a folder; none if there is no such folder.
fn present(folder: &Path) -> Result<BTreeMap<String, String>> {
    let Ok(listing) = fs::read_dir(folder) else {
        return Ok(BTreeMap::new());
    };
    let mut files = BTreeMap::new();
    for entry in listing {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "yaml") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.insert(name, fs::read_to_string(&path)?);
        }
    }
    Ok(files)
}
