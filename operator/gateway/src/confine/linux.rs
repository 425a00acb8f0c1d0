//! Resource limits, `prctl`, Landlock.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use super::{Confinement, Needs, filter};

/// The newest Landlock that we ask for; the kernel takes what it knows of it.
const NEWEST: ABI = ABI::V6;

pub(super) fn apply(needs: &Needs, report: &mut Confinement) {
    report.note("no core files", setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(text));
    report.note("not dumpable", prctl::set_dumpable(false).map_err(text));
    // As many descriptors as may be had: connections are bounded by the server itself.
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard.min(65_536)));
    if let Err(error) = descriptors {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
    if needs.die_with_parent {
        report.note("dies with its parent", prctl::set_pdeathsig(Signal::SIGKILL).map_err(text));
    }
    report.note("no new privileges", prctl::set_no_new_privs().map_err(text));
    landlock(needs, report);
    report.note("seccomp: listed system calls only", filter::apply(needs.network));
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn landlock(needs: &Needs, report: &mut Confinement) {
    let files = match &needs.folder {
        Some(_) => "landlock: files below the links folder only",
        None => "landlock: reading listed files only, writing none",
    };
    let network = match &needs.network {
        None => "landlock: no TCP bind or connect, no signals or abstract sockets out",
        Some(_) => "landlock: TCP connect to the API server's port only, no bind, no signals or abstract sockets out",
    };
    match restrict(needs) {
        Ok((RulesetStatus::FullyEnforced, _)) => {
            report.note(files, Ok(()));
            report.note(network, Ok(()));
        }
        Ok((RulesetStatus::PartiallyEnforced, _)) => {
            report.note(files, Ok(()));
            report.note("landlock: network and scopes", Err("this kernel knows only a part of Landlock".to_owned()));
        }
        Ok((RulesetStatus::NotEnforced, status)) => {
            report.note(files, Err(format!("this kernel: {status}")));
        }
        Err(error) => report.note(files, Err(error)),
    }
}

fn restrict(needs: &Needs) -> Result<(RulesetStatus, String), String> {
    // What a SQLite database needs of its folder: no execution, no devices, sockets, pipes or symbolic links.
    let inside: BitFlags<AccessFs> = AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::MakeReg
        | AccessFs::RemoveFile
        | AccessFs::Truncate;
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|r| r.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|r| r.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .map_err(text)?;
    if let Some(folder) = &needs.folder {
        let folder = PathFd::new(folder).map_err(text)?;
        ruleset = ruleset.add_rule(PathBeneath::new(folder, inside)).map_err(text)?;
    }
    // What libraries seed themselves from, and would fall back to the clock without.
    for path in needs.readable.iter().map(PathBuf::as_path).chain([Path::new("/dev/urandom")]) {
        let (Ok(fd), Ok(meta)) = (PathFd::new(path), std::fs::metadata(path)) else { continue };
        let read = if meta.is_dir() { AccessFs::ReadFile | AccessFs::ReadDir } else { AccessFs::ReadFile.into() };
        ruleset = ruleset.add_rule(PathBeneath::new(fd, read)).map_err(text)?;
    }
    if let Some(network) = needs.network {
        for port in [Some(network.port), network.names.then_some(53)].into_iter().flatten() {
            ruleset = ruleset.add_rule(NetPort::new(port, AccessNet::ConnectTcp)).map_err(text)?;
        }
    }
    let status = ruleset.restrict_self().map_err(text)?;
    Ok((status.ruleset, format!("{:?}", status.landlock)))
}
