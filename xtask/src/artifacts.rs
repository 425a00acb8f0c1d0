//! Building with Cargo, and finding what came out.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;

use crate::command::{cargo, line};

/// A program that Cargo built.
pub(crate) struct Artifact {
    /// Cargo's id of the package.
    pub(crate) package_id: String,
    /// The target's name.
    pub(crate) target: String,
    /// `lib`, `bin`, `test`, `example`.
    pub(crate) kinds: Vec<String>,
    /// Built with the test harness (or in its place).
    pub(crate) is_test: bool,
    pub(crate) executable: PathBuf,
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

/// Builds targets of the whole workspace: always all of it, because a part would choose other features for shared
/// dependencies, and build those again.
pub(crate) fn build(targets: &[&str]) -> Result<Vec<Artifact>> {
    let (artifacts, error) = build_what_builds(targets)?;
    error.map_or(Ok(artifacts), Err)
}

/// As [`build`], but a crate that does not compile keeps nothing else from being built. Gives what was, and the failure.
pub(crate) fn build_what_builds(targets: &[&str]) -> Result<(Vec<Artifact>, Option<anyhow::Error>)> {
    let mut build =
        cargo(&["build", "--workspace", "--locked", "--keep-going", "--message-format=json-render-diagnostics"]);
    let output = build.args(targets).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let error = (!output.status.success()).then(|| anyhow!("{}: {}", line(&build), output.status));
    let mut artifacts = Vec::new();
    for text in String::from_utf8(output.stdout)?.lines().filter(|text| text.starts_with('{')) {
        let message: Message = serde_json::from_str(text).context("reading cargo's messages")?;
        if let (Some(package_id), Some(target), Some(executable)) =
            (message.package_id, message.target, message.executable)
            && message.reason == "compiler-artifact"
        {
            let is_test = message.profile.is_some_and(|profile| profile.test);
            artifacts.push(Artifact { package_id, target: target.name, kinds: target.kind, is_test, executable });
        }
    }
    Ok((artifacts, error))
}
