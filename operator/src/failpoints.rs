//! Failpoints of a real process, for crash tests. Debug builds only: a release build has no such switch.
//!
//! `PASSWORD_SENDER_FAILPOINTS` holds words, separated by commas:
//!
//! | word | at each failpoint |
//! |---|---|
//! | `record:FILE` | its name is added to the file, before anything else is done |
//! | `kill:NAME#N` | at the N-th time (from 1) of this name: SIGKILL to this process |
//! | `stop:NAME#N` | the same with SIGSTOP |
//! | `erase-status:DIR` | every status in `*.status.yaml` there goes; the stamp stays (not at those of [`around`]) |
//! | `erase-status-file:DIR` | the whole files go, with the stamp (not at those of [`around`]) |
//!
//! A signal waits until no file beside a manifest is half written: one that was, would be put over its successor's when the
//! process goes on. A status is only a projection, and the next look at the delivery puts it right.
//!
//! A name is `<port>.<method>.<before|after>`. Nobody keeps a list of them: they are the methods of the ports, and only
//! those that have an effect count. A status is a projection, so putting one is no failpoint. What has an effect and is
//! reached past the controller's ports is an [`Own`].

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use nix::sys::signal::{Signal, raise};
use ps_controller::folder::memory::{Note, ObjectMemory, Unreadable};
use ps_controller::hooks::{Fate, Hook, Phase};
use ps_core::error::{Class, Fault};
use ps_core::ids::Key;

/// The variable.
pub const VARIABLE: &str = "PASSWORD_SENDER_FAILPOINTS";

macro_rules! own {
    ($($(#[$doc:meta])* $variant:ident = $port:literal $method:literal,)*) => {
        /// An effect outside the controller's ports.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Own {
            $($(#[$doc])* $variant,)*
        }

        impl Own {
            /// Every one, as `(port, method)`.
            pub const ALL: &[(&str, &str)] = &[$(($port, $method),)*];

            const fn parts(self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$variant => ($port, $method),)*
                }
            }
        }
    };
}

own! {
    /// The folder source remembers a manifest.
    SaveNote = "notes" "save",
    /// The folder source forgets a manifest.
    RemoveNote = "notes" "remove",
    /// The lease row is asked for by a process that does not have it.
    TakeLease = "lease" "take",
    /// The lease row is written again by the process that has it.
    RenewLease = "lease" "renew",
    /// The lease row is deleted at an orderly end.
    ReleaseLease = "lease" "release",
    /// The ledger-wide entry is read, and made if there is none. Only the first time of a process counts: later ones
    /// find it there.
    MakeCommon = "ledger" "common",
    /// The ledger-wide entry is changed: a restore was noticed or accepted, or the audit trail is known so far.
    ReplaceCommon = "ledger" "replace_common",
}

#[derive(Default)]
struct Failpoints {
    record: Option<Mutex<File>>,
    signal: Option<(String, u64, Signal)>,
    erase: Option<(PathBuf, Erase)>,
    counts: Mutex<HashMap<String, u64>>,
    /// How many files beside manifests are being written or removed.
    files: Mutex<usize>,
    file_is_done: Condvar,
}

/// Longer than a file takes to be written.
const FILE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy)]
enum Erase {
    Status,
    File,
}

/// The hook that the environment asks for, the same for the whole process; `None` without the variable, and in a release
/// build.
///
/// # Errors
/// If the variable is there and can't be understood.
pub fn from_env() -> anyhow::Result<Option<Arc<dyn Hook>>> {
    match shared() {
        Ok(None) => Ok(None),
        Ok(Some(points)) => Ok(Some(points.clone())),
        Err(why) => anyhow::bail!("{why}"),
    }
}

fn shared() -> &'static Result<Option<Arc<Failpoints>>, String> {
    static SHARED: OnceLock<Result<Option<Arc<Failpoints>>, String>> = OnceLock::new();
    SHARED.get_or_init(|| {
        if !cfg!(debug_assertions) {
            return Ok(None);
        }
        let Ok(text) = std::env::var(VARIABLE) else { return Ok(None) };
        Failpoints::parse(&text).map(|points| Some(Arc::new(points))).map_err(|error| format!("{error:#}"))
    })
}

/// Does `call`, whose effect is `own`, with a failpoint before and one after it.
pub async fn around<T>(own: Own, call: impl Future<Output = T>) -> T {
    let Ok(Some(points)) = shared() else { return call.await };
    let (port, method) = own.parts();
    if own == Own::MakeCommon && points.has_passed(&format!("{port}.{method}.after")) {
        return call.await;
    }
    points.reach(port, method, Phase::Before, false);
    let done = call.await;
    points.reach(port, method, Phase::After, false);
    done
}

/// The failpoint before (or, `done`, after) an effect that is written elsewhere.
pub fn pass(own: Own, done: bool) {
    let (port, method) = own.parts();
    reach(port, method, done);
}

/// The failpoint before the fence is answered. It has no place among [`Own`]: only a cluster has a fence.
pub fn before_the_fence_is_answered() {
    reach("fence", "answer", false);
}

fn reach(port: &str, method: &str, done: bool) {
    if let Ok(Some(points)) = shared() {
        points.reach(port, method, if done { Phase::After } else { Phase::Before }, false);
    }
}

impl Failpoints {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut all = Self::default();
        for word in text.split(',') {
            let (what, value) = word.split_once(':').with_context(|| format!("{VARIABLE}: {word:?} has no colon"))?;
            match what {
                "record" => all.record = Some(Mutex::new(File::options().create(true).append(true).open(value)?)),
                "kill" => all.signal = Some(place(value, Signal::SIGKILL)?),
                "stop" => all.signal = Some(place(value, Signal::SIGSTOP)?),
                "erase-status" => all.erase = Some((value.into(), Erase::Status)),
                "erase-status-file" => all.erase = Some((value.into(), Erase::File)),
                _ => anyhow::bail!("{VARIABLE}: {what:?} is not known"),
            }
        }
        Ok(all)
    }

    fn count(&self, name: &str) -> anyhow::Result<u64> {
        let mut counts = self.counts.lock().map_err(|_| anyhow::anyhow!("a failpoint panicked"))?;
        let count = counts.entry(name.to_owned()).or_default();
        *count += 1;
        Ok(*count)
    }

    fn has_passed(&self, name: &str) -> bool {
        self.counts.lock().is_ok_and(|counts| counts.contains_key(name))
    }

    /// Goes on, or says why a test's file could not be written.
    fn reach(&self, port: &str, method: &str, phase: Phase, erase: bool) -> Fate {
        let phase = if phase == Phase::Before { "before" } else { "after" };
        match self.pass(method, &format!("{port}.{method}.{phase}"), erase) {
            Ok(()) => Fate::Pass,
            Err(error) => {
                tracing::error!("a failpoint failed: {error:#}");
                Fate::Fail
            }
        }
    }

    fn pass(&self, method: &str, name: &str, erase: bool) -> anyhow::Result<()> {
        let count = self.count(name)?;
        if let Some(file) = &self.record {
            let mut file = file.lock().map_err(|_| anyhow::anyhow!("a failpoint panicked"))?;
            writeln!(file, "{name}")?;
        }
        if let Some((folder, erase)) = self.erase.as_ref().filter(|_| erase)
            && (matches!(erase, Erase::Status) || method != "put_stamp")
        {
            erase.all(folder)?;
        }
        if let Some((at, nth, signal)) = &self.signal
            && (at.as_str(), *nth) == (name, count)
        {
            let files = self.files.lock().map_err(|_| anyhow::anyhow!("a failpoint panicked"))?;
            // Held while this process stands still: a write that begins meanwhile asks afterwards whether it still leads.
            let files = self.file_is_done.wait_timeout_while(files, FILE, |n| *n > 0);
            anyhow::ensure!(files.is_ok(), "a failpoint panicked");
            raise(*signal)?;
            drop(files);
        }
        Ok(())
    }

    fn file(&self, phase: Phase) {
        if let Ok(mut files) = self.files.lock() {
            *files = if phase == Phase::Before { *files + 1 } else { files.saturating_sub(1) };
            self.file_is_done.notify_all();
        }
    }
}

/// `NAME#N`.
fn place(text: &str, signal: Signal) -> anyhow::Result<(String, u64, Signal)> {
    let (name, nth) = text.split_once('#').with_context(|| format!("{VARIABLE}: {text:?} is not NAME#N"))?;
    anyhow::ensure!(!name.is_empty(), "{VARIABLE}: {text:?} has no name");
    Ok((name.to_owned(), nth.parse()?, signal))
}

impl Erase {
    fn all(self, folder: &Path) -> anyhow::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if name.starts_with('.') || !name.ends_with(".status.yaml") {
                continue;
            }
            match self {
                Self::File => std::fs::remove_file(&path)?,
                Self::Status => {
                    let mut content: serde_yaml::Mapping = serde_yaml::from_str(&std::fs::read_to_string(&path)?)?;
                    if content.remove("status").is_some() {
                        let fresh = path.with_file_name(".erased");
                        std::fs::write(&fresh, serde_yaml::to_string(&content)?)?;
                        std::fs::rename(&fresh, &path)?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Hook for Failpoints {
    async fn at(&self, port: &'static str, method: &'static str, phase: Phase, effect: bool) -> Fate {
        let is_file = effect && port == "manifests";
        if is_file && phase == Phase::After {
            self.file(phase);
        }
        let fate = if effect && method != "put_status" { self.reach(port, method, phase, true) } else { Fate::Pass };
        if is_file && phase == Phase::Before && fate == Fate::Pass {
            self.file(phase);
        }
        fate
    }
}

/// The folder source's notes, with a hook. They are no port of the controller, but what is written there must survive too.
pub struct HookedNotes {
    /// Where they are kept.
    pub inner: Arc<dyn ObjectMemory>,
    /// Hears of each call.
    pub hook: Arc<dyn Hook>,
}

impl HookedNotes {
    async fn at(&self, own: Own, phase: Phase) -> Result<(), Fault> {
        let (port, method) = own.parts();
        match self.hook.at(port, method, phase, true).await {
            Fate::Pass => Ok(()),
            Fate::Fail => Err(Fault::new(Class::Transient, "injected", "failed on purpose, by a test")),
        }
    }
}

#[async_trait]
impl ObjectMemory for HookedNotes {
    async fn load(&self, key: &Key) -> Result<Option<Note>, Fault> {
        self.inner.load(key).await
    }

    async fn save(&self, note: &Note) -> Result<(), Fault> {
        self.at(Own::SaveNote, Phase::Before).await?;
        self.inner.save(note).await?;
        self.at(Own::SaveNote, Phase::After).await
    }

    async fn remove(&self, key: &Key) -> Result<(), Fault> {
        self.at(Own::RemoveNote, Phase::Before).await?;
        self.inner.remove(key).await?;
        self.at(Own::RemoveNote, Phase::After).await
    }

    async fn all(&self) -> Result<Vec<Result<Note, Unreadable>>, Fault> {
        self.inner.all().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood_or_refused() {
        let wanted = Some(("store.insert.after".to_owned(), 3, Signal::SIGKILL));
        assert!(Failpoints::parse("kill:store.insert.after#3,erase-status:/tmp").is_ok_and(|f| f.signal == wanted));
        for junk in ["", "kill", "kill:", "kill:x", "kill:#1", "kill:x#", "kill:x#y", "hang:x#3", "kill:x#1,"] {
            assert!(Failpoints::parse(junk).is_err(), "{junk:?}");
        }
    }

    #[test]
    fn an_erased_status_leaves_the_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.status.yaml");
        std::fs::write(&file, "# note\nmetadata: {annotations: {stamp: x}}\nstatus: {summary: Delivered}\n").unwrap();
        Erase::Status.all(folder.path()).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("stamp: x") && !text.contains("Delivered"), "{text}");
        Erase::File.all(folder.path()).unwrap();
        assert!(!file.exists());
    }
}
