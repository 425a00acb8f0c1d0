//! HashiCorp Vault, built from the Go module in `testbed/vault`: a test tool, never shipped (its licence is BUSL-1.1).
//!
//! It lies in `target/testbed/vault-KEY/bin`, where the key is a hash of what it is built from.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::dirs::{state_dir, workspace};
use crate::install::{lock, on_path};
use crate::process;

const PACKAGE: &str = "github.com/hashicorp/vault";
/// Beside other work, on a slow machine, with its downloads.
const BUILD: Duration = Duration::from_secs(5400);
const REMEDY: &str = "have Go 1.21 or newer on the PATH (it gets the version that go.mod names by itself)";

/// The `vault` program, built if it is missing.
pub(crate) fn ensure_vault() -> Result<PathBuf> {
    let module = workspace().join("testbed/vault");
    let mut hash = Sha256::new();
    for file in ["go.mod", "go.sum"] {
        let path = module.join(file);
        hash.update(fs::read(&path).with_context(|| format!("reading {}", path.display()))?);
    }
    let key: String = hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let folder = state_dir().join(format!("vault-{key}")).join("bin");
    let program = folder.join("vault");
    if program.exists() {
        return Ok(program);
    }
    if on_path("go").is_none() {
        bail!("Vault is built from Go sources, and go is missing: {REMEDY}");
    }
    let _lock = lock("vault")?;
    if program.exists() {
        return Ok(program);
    }
    fs::create_dir_all(&folder)?;
    // Complete under its name or not there at all: a build that is cut off leaves only this.
    let fresh = folder.join("vault.new");
    let mut build = Command::new("go");
    build
        .args(["build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o"])
        .arg(&fresh)
        .arg(PACKAGE)
        .current_dir(&module)
        .envs([("GOFLAGS", "-mod=readonly"), ("GOWORK", "off"), ("CGO_ENABLED", "0")]);
    process::run("go-build", build, b"", BUILD)
        .with_context(|| format!("building Vault in testbed/vault with `go build {PACKAGE}`: {REMEDY}"))?;
    fs::rename(&fresh, &program)?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_a_tool_of_the_module() {
        let module = fs::read_to_string(workspace().join("testbed/vault/go.mod")).unwrap();
        assert!(module.contains(&format!("tool {PACKAGE}\n")), "no `tool {PACKAGE}` in go.mod");
    }
}
