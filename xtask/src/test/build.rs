//! Building all tests once. Running the programs that come out, instead of `cargo test -p` for each crate, keeps
//! Cargo from building shared dependencies again with each crate's own choice of features.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::artifacts;
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

/// Builds all programs, all tests and all examples of the workspace, in one go; the flows start our programs by path.
/// Where something does not compile, the rest is still given, with the failure.
pub(crate) fn build() -> Result<(Vec<Program>, Option<anyhow::Error>)> {
    let (artifacts, error) = artifacts::build_what_builds(&["--lib", "--bins", "--tests", "--examples"])?;
    let metadata = Metadata::load()?;
    let mut programs = Vec::new();
    for artifact in artifacts.into_iter().filter(|artifact| artifact.is_test) {
        let package =
            metadata.members().find(|package| package.id == artifact.package_id).context("an unknown package")?;
        programs.push(Program {
            package: package.name.clone(),
            integration: artifact.kinds.iter().any(|kind| kind == "test"),
            target: artifact.target,
            executable: artifact.executable,
            folder: package.manifest_path.parent().context("a manifest without a folder")?.to_owned(),
        });
    }
    programs.sort_by(|a, b| (&a.package, a.integration, &a.target).cmp(&(&b.package, b.integration, &b.target)));
    Ok((programs, error))
}
