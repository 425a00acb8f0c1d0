//! Resource limits, `prctl`, Landlock.

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use super::{Confinement, filter};

/// The newest Landlock that we ask for; the kernel takes what it knows of it.
const NEWEST: ABI = ABI::V6;

pub(super) fn apply(folder: &Path, die_with_parent: bool, report: &mut Confinement) {
    report.note("no core files", setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(text));
    report.note("not dumpable", prctl::set_dumpable(false).map_err(text));
    // As many descriptors as may be had: connections are bounded by the server itself.
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard.min(65_536)));
    if let Err(error) = descriptors {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
    if die_with_parent {
        report.note("dies with its parent", prctl::set_pdeathsig(Signal::SIGKILL).map_err(text));
    }
    report.note("no new privileges", prctl::set_no_new_privs().map_err(text));
    landlock(folder, report);
    report.note("seccomp: listed system calls only", filter::apply());
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn landlock(folder: &Path, report: &mut Confinement) {
    match restrict(folder) {
        Ok((RulesetStatus::FullyEnforced, _)) => {
            report.note("landlock: files below the links folder only", Ok(()));
            report.note("landlock: no TCP bind or connect, no signals or abstract sockets out", Ok(()));
        }
        Ok((RulesetStatus::PartiallyEnforced, _)) => {
            report.note("landlock: files below the links folder only", Ok(()));
            report.note("landlock: network and scopes", Err("this kernel knows only a part of Landlock".to_owned()));
        }
        Ok((RulesetStatus::NotEnforced, status)) => {
            report.note("landlock: files below the links folder only", Err(format!("this kernel: {status}")));
        }
        Err(error) => report.note("landlock: files below the links folder only", Err(error)),
    }
}

fn restrict(folder: &Path) -> Result<(RulesetStatus, String), String> {
    // What a SQLite database needs of its folder: no execution, no devices, sockets, pipes or symbolic links.
    let inside: BitFlags<AccessFs> = AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::MakeReg
        | AccessFs::RemoveFile
        | AccessFs::Truncate;
    let folder = PathFd::new(folder).map_err(text)?;
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|r| r.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|r| r.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .and_then(|r| r.add_rule(PathBeneath::new(folder, inside)))
        .map_err(text)?;
    // SQLite seeds its generator from it, and would fall back to the clock.
    if let Ok(random) = PathFd::new("/dev/urandom") {
        ruleset = ruleset.add_rule(PathBeneath::new(random, AccessFs::ReadFile)).map_err(text)?;
    }
    let status = ruleset.restrict_self().map_err(text)?;
    Ok((status.ruleset, format!("{:?}", status.landlock)))
}
