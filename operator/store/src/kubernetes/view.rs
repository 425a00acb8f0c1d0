//! What the watch knows of the records, whether it is up to date, and whether the API server went backwards.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ps_core::error::{Class, Fault};
use ps_core::ids::LinkId;
use ps_core::ports::RecordSummary;
use ps_kubernetes::{Index, Indexed, SecretTable};
use tokio::sync::{Notify, watch};

use super::PATIENCE;
use super::object::{self, Annotations, Sight};
use crate::service::Fence;

/// How often the API server is asked where it stands.
const PROBE: Duration = Duration::from_secs(2);
/// Longest wait for that answer.
const ANSWER: Duration = Duration::from_secs(3);

impl Indexed for Sight {}

/// The followed records.
pub(crate) struct View {
    table: SecretTable,
    fence: Fence,
    /// The newest view; it is replaced as a whole when everything is listed anew.
    index: RwLock<Index<Sight>>,
    state: Mutex<State>,
    /// The epoch, for waiting.
    epoch: watch::Sender<u64>,
    /// Says that a read was older than what is known.
    doubts: Notify,
    /// One list at a time.
    listing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// When the API server last answered while the watch was whole.
    sound: Option<Instant>,
    /// The index's own count of steps backwards that are in our epoch already.
    counted: u64,
    /// A read was older than what is known, and not everything was listed anew since.
    doubt: bool,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("epoch", &self.epoch()).finish_non_exhaustive()
    }
}

/// Keeps a view up to date until it is dropped.
#[derive(Debug)]
pub(crate) struct Following(tokio::task::JoinHandle<()>);

impl Following {
    pub(crate) fn of(view: &Arc<View>) -> Self {
        Self(tokio::spawn(view.clone().follow()))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl View {
    pub(crate) fn start(table: SecretTable, fence: Fence) -> Self {
        Self {
            index: RwLock::new(index(&table)),
            table,
            fence,
            state: Mutex::default(),
            epoch: watch::Sender::new(0),
            doubts: Notify::new(),
            listing: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) async fn synced(&self, limit: Duration) -> Result<(), Fault> {
        self.index().synced(limit).await
    }

    /// See [`super::KubernetesStore::fresh`].
    pub(crate) fn fresh(&self) -> Result<(), Fault> {
        let index = self.index();
        self.count(&index);
        let Some(heard) = index.heard() else { return Err(behind("not everything was listed yet")) };
        if let Some(fault) = index.fault() {
            return Err(behind(&fault.message));
        }
        let (sound, doubt) = {
            let state = self.lock();
            (state.sound.map_or(heard, |sound| sound.max(heard)), state.doubt)
        };
        if doubt {
            return Err(behind("the API server is older than what it has told"));
        }
        if sound.elapsed() > PATIENCE {
            return Err(behind("the API server does not answer"));
        }
        Ok(())
    }

    pub(crate) fn find(&self, name: &str) -> Option<(Sight, u64)> {
        let index = self.index();
        let found = index.get(name);
        // After the look: what it has shown of a new epoch is not told before the fence is up.
        self.count(&index);
        found
    }

    pub(crate) fn len(&self) -> usize {
        self.index().len()
    }

    pub(crate) fn position(&self) -> u64 {
        self.index().position()
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.count(&self.index());
        *self.epoch.borrow()
    }

    pub(crate) async fn went_back(&self, since: u64) -> u64 {
        let mut epoch = self.epoch.subscribe();
        // The sender lives as long as this value.
        epoch.wait_for(|epoch| *epoch != since).await.map_or(since, |epoch| *epoch)
    }

    /// Every change of what is known.
    pub(crate) fn moves(&self) -> tokio::sync::watch::Receiver<u64> {
        self.index().subscribe()
    }

    /// Waits until the watch has come to a version, or that can't be told any more.
    pub(crate) async fn reached(&self, version: u64) {
        let (mut moved, epoch) = (self.epoch.subscribe(), self.epoch());
        loop {
            moved.mark_unchanged();
            let index = self.index();
            tokio::select! {
                () = index.reached(version) => return,
                _ = moved.changed() => {}
            }
            if self.epoch() != epoch {
                return;
            }
        }
    }

    pub(crate) fn note(&self, name: &str, version: u64, annotations: &Annotations) {
        self.index().note(name, version, annotations);
    }

    pub(crate) fn note_deleted(&self, name: &str, version: u64) {
        self.index().note_deleted(name, version);
    }

    /// A read showed an older version than was known.
    pub(crate) fn doubt(&self) {
        self.lock().doubt = true;
        self.fence.raise();
        self.doubts.notify_one();
    }

    /// In order of id.
    pub(crate) fn list(&self, after: Option<LinkId>, limit: usize) -> Vec<RecordSummary> {
        let mut found = self.index().collect(|name, sight, version| {
            let id = object::id(name)?;
            after.is_none_or(|after| id > after).then(|| sight.summary(id, version))
        });
        found.sort_unstable_by_key(|summary| summary.id);
        found.truncate(limit);
        found
    }

    /// Waits for changes after a position; nothing if the epoch is no longer `epoch`.
    pub(crate) async fn changes(&self, after: u64, limit: usize, epoch: u64) -> Vec<RecordSummary> {
        let mut ended = self.epoch.subscribe();
        let mut from = after;
        loop {
            let now = *ended.borrow_and_update();
            let index = self.index();
            self.count(&index);
            if now != epoch || self.epoch() != epoch {
                return Vec::new();
            }
            let own = index.epoch();
            let news = index.changed_since(from, limit);
            let told: Vec<RecordSummary> = news
                .changed
                .iter()
                .filter_map(|(name, sight, version)| Some(sight.summary(object::id(name)?, *version)))
                .collect();
            if !told.is_empty() {
                return told;
            }
            from = news.position;
            tokio::select! {
                () = index.wait_change(from, own) => {}
                // A new index has taken the place of this one, or the epoch ended.
                _ = ended.changed() => {}
            }
        }
    }

    /// The version that the API server stands at.
    pub(crate) async fn revision(&self) -> Result<u64, Fault> {
        let page = tokio::time::timeout(ANSWER, self.table.page(None, 1)).await;
        Ok(page.map_err(|_| behind("the API server does not answer"))??.position)
    }

    /// Lists everything anew into a new index, compares, and goes on with the new one.
    pub(crate) async fn recheck(&self, limit: Duration) -> Result<(), Fault> {
        let _one = self.listing.lock().await;
        let old = self.index();
        // Before the new list begins, so that it can't be older by right.
        let known = old.collect(|name, _, version| Some((name.to_owned(), version)));
        let (position, steps) = (old.position(), old.epoch());
        let new = index(&self.table);
        new.synced(limit).await?;
        let older = |(name, version): &(String, u64)| new.get(name).is_some_and(|(_, found)| found < *version);
        let backwards =
            old.heard().is_some() && old.epoch() == steps && (new.position() < position || known.iter().any(older));
        let whole = new.fault().is_none();
        self.count(&old);
        if backwards {
            // Before anybody can see what is older.
            self.fence.raise();
        }
        {
            let mut state = self.lock();
            let mut current = self.index.write().unwrap_or_else(PoisonError::into_inner);
            state.counted = new.epoch();
            if whole {
                state.sound = Some(Instant::now());
            }
            *current = new;
        }
        if backwards {
            tracing::error!(position, "the Kubernetes API went backwards: etcd was restored from a backup");
            self.step_back();
        } else {
            // Whoever waits on the old index must come over.
            self.epoch.send_modify(|_| {});
        }
        Ok(())
    }

    /// Takes over the steps backwards that the index has seen by itself, at once and not when a task comes round to it.
    fn count(&self, index: &Index<Sight>) {
        let steps = index.epoch();
        let mut state = self.lock();
        if steps > state.counted {
            state.counted = steps;
            drop(state);
            self.step_back();
        }
    }

    fn step_back(&self) {
        // First the fence, then those who would lift it.
        self.fence.raise();
        self.epoch.send_modify(|epoch| *epoch += 1);
    }

    async fn follow(self: Arc<Self>) {
        let mut behind_since: Option<Instant> = None;
        loop {
            let index = self.index();
            let steps = index.epoch();
            tokio::select! {
                () = tokio::time::sleep(PROBE) => {}
                _ = index.went_backwards(steps) => {
                    self.count(&index);
                    continue;
                }
                () = self.doubts.notified() => {
                    self.settle_doubt().await;
                    continue;
                }
            }
            // Before the question: the watch goes on while it is answered.
            let known = index.newest();
            match self.revision().await {
                Ok(revision) if revision < known => {
                    tracing::warn!(revision, known, "the API server stands before what it has told");
                    self.doubt();
                }
                Ok(_) => {
                    let long = behind_since.take().is_some_and(|since| since.elapsed() > PATIENCE);
                    // After a long silence the watch may still wait for what was sent meanwhile: list, and be sure.
                    if long && let Err(fault) = self.recheck(super::FIRST_LIST).await {
                        tracing::warn!(code = fault.code, "the records can't be listed: {fault}");
                        behind_since = Instant::now().checked_sub(PATIENCE);
                    } else if index.fault().is_none() {
                        self.lock().sound = Some(Instant::now());
                    }
                }
                Err(_) => {
                    behind_since.get_or_insert_with(Instant::now);
                }
            }
        }
    }

    /// Lists anew until that works. What was seen is certain, so the epoch ends also if the list shows nothing older.
    async fn settle_doubt(&self) {
        let before = self.epoch();
        while let Err(fault) = self.recheck(super::FIRST_LIST).await {
            tracing::warn!(code = fault.code, "the records can't be listed: {fault}");
            tokio::time::sleep(PROBE).await;
        }
        if self.epoch() == before {
            self.step_back();
        }
        self.lock().doubt = false;
    }

    fn index(&self) -> Index<Sight> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn index(table: &SecretTable) -> Index<Sight> {
    Index::start(table.clone(), |meta| Sight::of(&meta.annotations))
}

/// Nobody knows at the moment whether a record is there.
pub(crate) fn behind(why: &str) -> Fault {
    Fault::new(Class::Transient, "store-behind", format!("the link records can't be followed at the moment ({why})"))
        .remedy("See whether the Kubernetes API can be reached, and whether the Role allows to list and watch Secrets")
}
