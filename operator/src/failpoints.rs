//! Failpoints of a real process, for crash tests. Debug builds only: a release build has no such switch.
//!
//! `PASSWORD_SENDER_FAILPOINTS` holds words, separated by commas:
//!
//! | word | at each failpoint |
//! |---|---|
//! | `record:FILE` | its name is added to the file, before anything else is done |
//! | `kill:N` | at the N-th (from 1): SIGKILL to this process |
//! | `stop:N` | at the N-th: SIGSTOP to this process |
//! | `erase-status:DIR` | every status in `*.status.yaml` there goes; the stamp stays |
//! | `erase-status-file:DIR` | the whole files go, with the stamp |
//!
//! A name is `<port>.<method>.<before|after>`. Nobody keeps a list of them: they are the methods of the ports, and only
//! those that have an effect count. A status is a projection, so putting one is no failpoint.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use async_trait::async_trait;
use nix::sys::signal::{Signal, raise};
use ps_controller::folder::memory::{Note, ObjectMemory};
use ps_controller::hooks::{Fate, Hook, Phase};
use ps_core::error::{Class, Fault};
use ps_core::ids::Key;

/// The variable.
pub const VARIABLE: &str = "PASSWORD_SENDER_FAILPOINTS";

#[derive(Default)]
struct Failpoints {
    record: Option<Mutex<File>>,
    signal: Option<(u64, Signal)>,
    erase: Option<(PathBuf, Erase)>,
    count: AtomicU64,
}

#[derive(Clone, Copy)]
enum Erase {
    Status,
    File,
}

/// The hook that the environment asks for; `None` without the variable, and in a release build.
///
/// # Errors
/// If the variable is there and can't be understood.
pub fn from_env() -> anyhow::Result<Option<Arc<dyn Hook>>> {
    if !cfg!(debug_assertions) {
        return Ok(None);
    }
    let Ok(text) = std::env::var(VARIABLE) else { return Ok(None) };
    Ok(Some(Arc::new(Failpoints::parse(&text)?)))
}

impl Failpoints {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut all = Self::default();
        for word in text.split(',') {
            let (what, value) = word.split_once(':').with_context(|| format!("{VARIABLE}: {word:?} has no colon"))?;
            match what {
                "record" => all.record = Some(Mutex::new(File::options().create(true).append(true).open(value)?)),
                "kill" => all.signal = Some((value.parse()?, Signal::SIGKILL)),
                "stop" => all.signal = Some((value.parse()?, Signal::SIGSTOP)),
                "erase-status" => all.erase = Some((value.into(), Erase::Status)),
                "erase-status-file" => all.erase = Some((value.into(), Erase::File)),
                _ => anyhow::bail!("{VARIABLE}: {what:?} is not known"),
            }
        }
        Ok(all)
    }

    fn pass(&self, method: &str, name: &str) -> anyhow::Result<()> {
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(file) = &self.record {
            let mut file = file.lock().map_err(|_| anyhow::anyhow!("a failpoint panicked"))?;
            writeln!(file, "{name}")?;
        }
        if let Some((folder, erase)) = &self.erase
            && (matches!(erase, Erase::Status) || method != "put_stamp")
        {
            erase.all(folder)?;
        }
        if let Some((at, signal)) = self.signal
            && at == count
        {
            raise(signal)?;
        }
        Ok(())
    }
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
        if !effect || method == "put_status" {
            return Fate::Pass;
        }
        let phase = if phase == Phase::Before { "before" } else { "after" };
        match self.pass(method, &format!("{port}.{method}.{phase}")) {
            Ok(()) => Fate::Pass,
            Err(error) => {
                tracing::error!("a failpoint failed: {error:#}");
                Fate::Fail
            }
        }
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
    async fn at(&self, method: &'static str, phase: Phase) -> Result<(), Fault> {
        match self.hook.at("notes", method, phase, true).await {
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
        self.at("save", Phase::Before).await?;
        self.inner.save(note).await?;
        self.at("save", Phase::After).await
    }

    async fn remove(&self, key: &Key) -> Result<(), Fault> {
        self.at("remove", Phase::Before).await?;
        self.inner.remove(key).await?;
        self.at("remove", Phase::After).await
    }

    async fn all(&self) -> Result<Vec<Note>, Fault> {
        self.inner.all().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood_or_refused() {
        assert!(Failpoints::parse("kill:3,erase-status:/tmp").is_ok_and(|f| f.signal == Some((3, Signal::SIGKILL))));
        for junk in ["", "kill", "kill:", "kill:x", "hang:3", "kill:1,"] {
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
