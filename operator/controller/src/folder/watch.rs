//! Waking up when the folder changes, and handing out the keys that are to be looked at again.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use notify::{EventKind, RecursiveMode, Watcher as _};
use ps_core::ids::Key;
use tokio::sync::Notify;

use super::names::{is_interesting, is_status};
use super::{FolderSource, lock};

/// The folder is looked at this often even if nothing woke us: network file systems report nothing.
const SLOW: Duration = Duration::from_secs(30);
/// Events come in swarms; one look serves them all.
const SWARM: Duration = Duration::from_millis(20);
/// After a look that failed inside.
const RETRY: Duration = Duration::from_secs(1);

impl FolderSource {
    /// Watches the folder until dropped. Run it beside the controller; everything it finds comes out of
    /// [`FolderSource::changes`].
    pub async fn watch(&self) {
        let mut eye = Eye::default();
        loop {
            eye.open(self.path());
            let wait = match self.rescan().await {
                Ok(again) => again.map_or(SLOW, |at| at.since(self.clock.now()).to_std().clamp(SWARM, SLOW)),
                Err(fault) => {
                    tracing::warn!(code = %fault.code, "the folder can't be taken over: {fault}");
                    RETRY
                }
            };
            // A timeout is as good a reason to look as an event.
            if tokio::time::timeout(wait, eye.woken.notified()).await.is_ok() {
                tokio::time::sleep(SWARM).await;
            }
        }
    }

    /// Keys to look at again, each once however often it changed meanwhile. Every known key comes first after a start.
    /// One consumer at a time.
    pub fn changes(&self) -> impl Stream<Item = Key> + '_ {
        futures_util::stream::unfold(self, |source| async move { Some((source.next_change().await, source)) })
    }

    /// The next key of [`FolderSource::changes`].
    pub async fn next_change(&self) -> Key {
        loop {
            if let Some(key) = lock(&self.dirty).pop_first() {
                return key;
            }
            // A wake-up between the look and this line is kept by `Notify`.
            self.wake.notified().await;
        }
    }

    pub(super) fn mark(&self, keys: BTreeSet<Key>) {
        if !keys.is_empty() {
            lock(&self.dirty).extend(keys);
            self.wake.notify_one();
        }
    }
}

/// The system's watch on a folder, renewed when the folder is another one.
#[derive(Default)]
struct Eye {
    woken: Arc<Notify>,
    watching: Option<(Identity, notify::RecommendedWatcher)>,
    failed: bool,
}

/// Which folder it is, whatever its path leads to today.
type Identity = (u64, u64);

impl Eye {
    /// Watches the folder that the path leads to now; without a watch, the slow rhythm remains.
    fn open(&mut self, folder: &Path) {
        let identity = identity(folder);
        if self.watching.as_ref().map(|(watched, _)| *watched) == identity {
            return;
        }
        self.watching = None;
        let Some(identity) = identity else { return };
        let woken = Arc::clone(&self.woken);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| matters(&event)) {
                woken.notify_one();
            }
        });
        match watcher.and_then(|mut w| w.watch(folder, RecursiveMode::NonRecursive).map(|()| w)) {
            Ok(watcher) => {
                self.watching = Some((identity, watcher));
                self.failed = false;
            }
            Err(error) if !self.failed => {
                self.failed = true;
                tracing::warn!(kind = ?error.kind, "the folder can't be watched; it is looked at every {SLOW:?} instead");
            }
            Err(_) => {}
        }
    }
}

/// Whether an event is about something we read. Our own status files are not.
fn matters(event: &notify::Event) -> bool {
    // Opening and reading, which we do ourselves, change nothing; the end of a write comes as an access too.
    let reading = matches!(
        event.kind,
        EventKind::Access(kind) if kind != notify::event::AccessKind::Close(notify::event::AccessMode::Write)
    );
    let concerns_us = |path: &std::path::PathBuf| match path.file_name().and_then(|name| name.to_str()) {
        // Not even asked whether it is a folder: ten events come with every status that we write.
        Some(name) if is_status(name) => false,
        Some(name) if is_interesting(name) => true,
        _ => path.is_dir(),
    };
    // Without a path, and for the folder itself, it is better to look.
    !reading && (event.paths.is_empty() || event.paths.iter().any(concerns_us) || event.need_rescan())
}

fn identity(folder: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(folder).ok().map(|meta| (meta.dev(), meta.ino()))
}
