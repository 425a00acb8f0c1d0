//! The programs of a Kubernetes API, built from the Go module in `testbed/cluster`.
//!
//! They lie in `target/testbed/cluster-KEY/bin`, where the key is a hash of what they are built from; so another
//! `go.sum` builds them anew, and the same one never does.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::dirs::{state_dir, workspace};
use crate::install::{lock, on_path};
use crate::process;

/// The Kubernetes that `testbed/cluster/go.mod` names.
pub const KUBERNETES_VERSION: &str = "1.37.2";

/// Beside other work, on a slow machine, with its downloads.
const BUILD: Duration = Duration::from_secs(5400);
const REMEDY: &str = "have Go 1.21 or newer on the PATH (it gets the version that go.mod names by itself; \
    `apt-get install golang-go` on Debian 13), then `cargo xtask testbed install`";

/// A program of the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClusterProgram {
    Etcd,
    ApiServer,
    ControllerManager,
    Kubectl,
    Helm,
}

impl ClusterProgram {
    fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::ApiServer => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::ControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::Helm => "helm.sh/helm/v4/cmd/helm",
        }
    }

    /// Whether [`ClusterProgram::ensure`] would build.
    pub(crate) fn is_missing(self) -> bool {
        self.path().map_or(true, |path| !path.exists())
    }

    /// The program, built if it is missing.
    pub(crate) fn ensure(self) -> Result<PathBuf> {
        let path = self.path()?;
        if path.exists() {
            return Ok(path);
        }
        if on_path("go").is_none() {
            bail!("{} is built from Go sources, and go is missing: {REMEDY}", self.name());
        }
        let _lock = lock("cluster")?;
        if path.exists() {
            return Ok(path);
        }
        let folder = path.parent().context("no folder")?;
        fs::create_dir_all(folder)?;
        // Complete under its name or not there at all: a build that is cut off leaves only this.
        let fresh = folder.join(format!("{}.new", self.name()));
        let mut build = Command::new("go");
        build
            .args(["build", "-trimpath", "-buildvcs=false", "-ldflags", &linker_flags(), "-o"])
            .arg(&fresh)
            .arg(self.package())
            .current_dir(module())
            .envs([("GOFLAGS", "-mod=readonly"), ("GOWORK", "off"), ("CGO_ENABLED", "0")]);
        process::run("go-build", build, b"", BUILD).with_context(|| {
            format!("building {} in testbed/cluster with `go build {}`: {REMEDY}", self.name(), self.package())
        })?;
        fs::rename(&fresh, &path)?;
        Ok(path)
    }

    fn path(self) -> Result<PathBuf> {
        Ok(state_dir().join(format!("cluster-{}", key()?)).join("bin").join(self.name()))
    }
}

fn module() -> PathBuf {
    workspace().join("testbed/cluster")
}

/// Without version strings, kubectl and Helm refuse the server. They are constants, so that builds repeat.
fn linker_flags() -> String {
    let mut flags = "-s -w".to_owned();
    let mut numbers = KUBERNETES_VERSION.split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        for (variable, value) in [
            ("gitVersion", format!("v{KUBERNETES_VERSION}").as_str()),
            ("gitMajor", major),
            ("gitMinor", minor),
            ("gitTreeState", "clean"),
            ("gitCommit", "testbed"),
            ("buildDate", "2026-01-01T00:00:00Z"),
        ] {
            flags.push_str(&format!(" -X {package}.{variable}={value}"));
        }
    }
    flags
}

fn key() -> Result<String> {
    let mut hash = Sha256::new();
    for file in ["go.mod", "go.sum"] {
        let path = module().join(file);
        hash.update(fs::read(&path).with_context(|| format!("reading {}", path.display()))?);
    }
    hash.update(linker_flags());
    Ok(hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_names_the_version_that_the_programs_say() {
        let module = fs::read_to_string(module().join("go.mod")).unwrap();
        assert!(module.contains(&format!("k8s.io/kubernetes v{KUBERNETES_VERSION} ")));
        let staging = KUBERNETES_VERSION.replacen('1', "0", 1);
        assert!(module.contains(&format!("k8s.io/api => k8s.io/api v{staging}\n")));
    }

    #[test]
    fn every_program_is_a_tool_of_the_module() {
        let module = fs::read_to_string(module().join("go.mod")).unwrap();
        let tools = module.split("tool (").nth(1).unwrap().split(')').next().unwrap().to_owned();
        for program in [
            ClusterProgram::Etcd,
            ClusterProgram::ApiServer,
            ClusterProgram::ControllerManager,
            ClusterProgram::Kubectl,
            ClusterProgram::Helm,
        ] {
            assert!(tools.lines().any(|line| line.trim() == program.package()), "{program:?}");
        }
    }

    #[test]
    fn the_key_is_stable_and_short() {
        let key = key().unwrap();
        assert_eq!(key.len(), 12);
        assert_eq!(key, super::key().unwrap());
    }
}
