//! Building all tests once. Running the programs that come out, instead of `cargo test -p` for each crate, keeps
//! Cargo from building shared dependencies again with each crate's own choice of features.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::command::{cargo, line, run};
use crate::metadata::Metadata;

/// A test program.
pub(crate) struct Program {
    /// The crate that it is from.
    pub(crate) package: String,
    /// `tests/NAME.rs` (true), or the unit tests of a library or program.
    pub(crate) integration: bool,
    /// The target's name.
    pub(crate) target: String,
    pub(crate) executable: PathBuf,
    /// Where it is run: its crate's folder, as Cargo does.
    pub(crate) folder: PathBuf,
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    package_id: Option<String>,
    target: Option<Target>,
    executable: Option<PathBuf>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds all programs and all tests of the workspace.
pub(crate) fn build() -> Result<Vec<Program>> {
    // The programs first: the flows start them by path.
    run(cargo(&[
        "build",
        "--workspace",
        "--bins",
        "--exclude",
        "xtask",
        "--locked",
    ]))?;
    let mut build = cargo(&[
        "test",
        "--workspace",
        "--no-run",
        "--locked",
        "--message-format=json-render-diagnostics",
    ]);
    let output = build
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("{}: {}", line(&build), output.status);
    }
    let metadata = Metadata::load()?;
    let mut programs = Vec::new();
    for text in String::from_utf8(output.stdout)?
        .lines()
        .filter(|text| text.starts_with('{'))
    {
        let message: Message = serde_json::from_str(text).context("reading cargo's messages")?;
        let (Some(id), Some(target), Some(executable)) =
            (message.package_id, message.target, message.executable)
        else {
            continue;
        };
        if message.reason != "compiler-artifact"
            || !message.profile.is_some_and(|profile| profile.test)
        {
            continue;
        }
        let package = metadata
            .packages
            .iter()
            .find(|package| package.id == id)
            .context("an unknown package")?;
        programs.push(Program {
            package: package.name.clone(),
            integration: target.kind.iter().any(|kind| kind == "test"),
            target: target.name,
            executable,
            folder: package
                .manifest_path
                .parent()
                .context("a manifest without a folder")?
                .to_owned(),
        });
    }
    programs.sort_by(|a, b| {
        (&a.package, a.integration, &a.target).cmp(&(&b.package, b.integration, &b.target))
    });
    Ok(programs)
}
