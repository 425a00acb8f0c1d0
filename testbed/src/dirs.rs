//! Where the testbed keeps things: caches that stay, folders of one run that go, and logs.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

/// Logs of processes that are gone are kept this long, so that a failed run can be looked at.
const KEEP_LOGS: Duration = Duration::from_secs(24 * 3600);

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// The root of the repository.
#[must_use]
pub fn workspace() -> &'static Path {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.parent().unwrap_or(crate_dir)
}

/// `target/testbed`: installed tools, runs and logs.
#[must_use]
pub fn state_dir() -> PathBuf {
    workspace().join("target/testbed")
}

/// `target/testbed/log`: one file per started process.
#[must_use]
pub fn log_dir() -> PathBuf {
    state_dir().join("log")
}

/// A name that no other test uses, in this process or another: `prefix_` and 12 hex digits. Lower case, digits and
/// `_` only, so that it serves as mount, role, user, database and mailbox.
#[must_use]
pub fn unique(prefix: &str) -> String {
    format!("{prefix}_{:012x}", random() & 0xffff_ffff_ffff)
}

/// Not for secrets: the standard library's per-process random keys, over a counter and the process id.
pub(crate) fn random() -> u64 {
    let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
    RandomState::new().hash_one((counter, std::process::id()))
}

/// A fresh folder for one server, removed when dropped. If the process is killed first, the next run removes it.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// A folder under `target/testbed/run`.
    ///
    /// # Errors
    /// If the folder can't be made.
    pub fn new(name: &str) -> Result<Self> {
        sweep();
        Self::below(&state_dir().join("run"), name)
    }

    /// A folder below the system's temporary folder, for a server that runs as another user.
    ///
    /// # Errors
    /// If the folder can't be made.
    pub fn in_temp(name: &str) -> Result<Self> {
        sweep();
        Self::below(&std::env::temp_dir(), &format!("{TEMP_PREFIX}{name}"))
    }

    fn below(parent: &Path, name: &str) -> Result<Self> {
        let path = parent.join(stamped(name));
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self { path })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

const TEMP_PREFIX: &str = "ps-testbed-";

/// The path of a new log file, `NAME-PID-N.log`.
pub(crate) fn new_log(name: &str) -> Result<PathBuf> {
    fs::create_dir_all(log_dir())?;
    Ok(log_dir().join(format!("{}.log", stamped(name))))
}

/// `NAME-PID-N`, so that a later process can tell whether its owner still lives.
fn stamped(name: &str) -> String {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{}-{number}", std::process::id())
}

/// Whether the process that a stamped name belongs to is gone. A name without a stamp has no owner that could be.
fn abandoned(name: &str) -> bool {
    let mut parts = name.trim_end_matches(".log").rsplit('-').skip(1);
    let owner = parts.next().and_then(|part| part.parse::<u32>().ok());
    owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

/// Removes what killed processes left behind, once per process.
fn sweep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for path in entries(&state_dir().join("run")) {
            remove(&path);
        }
        for path in entries(&std::env::temp_dir()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(TEMP_PREFIX) {
                remove(&path);
            }
        }
        for path in entries(&log_dir()) {
            let modified = path.metadata().and_then(|meta| meta.modified());
            let age = modified.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
            if age.is_ok_and(|age| age > KEEP_LOGS) {
                // Another process may have removed it first, and a log that stays harms nobody.
                drop(fs::remove_file(&path));
            }
        }
    });
}

/// The abandoned entries of a folder; none if there is no such folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(folder) else {
        return Vec::new();
    };
    listing
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| abandoned(&path.file_name().unwrap_or_default().to_string_lossy()))
        .collect()
}

fn remove(folder: &Path) {
    // Best effort in a destructor: what stays is swept by the next run.
    drop(fs::remove_dir_all(folder));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_folder_goes_when_dropped() {
        let dir = RunDir::new("dirs").unwrap();
        let path = dir.path().to_owned();
        fs::write(path.join("file"), "x").unwrap();
        drop(dir);
        assert!(!path.exists());
    }

    #[test]
    fn only_names_of_dead_processes_are_abandoned() {
        assert!(!abandoned(&stamped("live")));
        assert!(abandoned("dead-4294967294-0"));
        assert!(abandoned("dead-4294967294-0.log"));
        assert!(!abandoned("somebody-elses"));
        assert!(!abandoned("no stamp"));
    }

    #[test]
    fn unique_names_differ() {
        assert_ne!(unique("a"), unique("a"));
    }
}
