//! Requests that wait for the operator's verdict: one follower of the store's changes wakes them all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ps_core::ids::LinkId;
use ps_core::ports::LinkStore;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Requests that may wait at the same time; more are answered at once, and ask again.
const MOST: usize = 64;
/// Changes that are read at once.
const BATCH: usize = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Waiters {
    room: Arc<Semaphore>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<LinkId, (Arc<Notify>, usize)>,
    following: bool,
}

/// One request that waits. Dropping it ends the wait.
#[derive(Debug)]
pub(super) struct Waiter {
    id: LinkId,
    news: Arc<Notify>,
    state: Arc<Mutex<State>>,
    _room: OwnedSemaphorePermit,
}

impl Default for Waiters {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(MOST)), state: Arc::default() }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Nothing that holds it can panic halfway.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiters {
    /// Waits from now on for changes of a record; `None` if too many wait. `version` is one that the record had, or has.
    pub(super) fn wait<S: LinkStore + ?Sized + 'static>(
        &self,
        store: &Arc<S>,
        id: LinkId,
        version: u64,
    ) -> Option<Waiter> {
        let room = self.room.clone().try_acquire_owned().ok()?;
        let mut state = lock(&self.state);
        let (news, count) = state.waiting.entry(id).or_default();
        *count += 1;
        let news = news.clone();
        if !std::mem::replace(&mut state.following, true) {
            tokio::spawn(follow(store.clone(), version, self.state.clone()));
        }
        drop(state);
        Some(Waiter { id, news, state: self.state.clone(), _room: room })
    }
}

impl Waiter {
    /// The next change of the record. Make the future, then read the record, then wait: no change between is lost.
    pub(super) fn changed(&self) -> impl Future<Output = ()> {
        self.news.clone().notified_owned()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if let Some((_, count)) = state.waiting.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                state.waiting.remove(&self.id);
            }
        }
    }
}

/// Reads changes while somebody waits. It ends with the first change that finds nobody waiting, or when the store fails:
/// whoever waits then asks again by itself.
async fn follow<S: LinkStore + ?Sized>(store: Arc<S>, mut after: u64, state: Arc<Mutex<State>>) {
    loop {
        let changes = store.changes(after, BATCH).await;
        let mut state = lock(&state);
        let Ok(changes) = changes else {
            state.following = false;
            state.waiting.values().for_each(|(news, _)| news.notify_waiters());
            return;
        };
        for change in &changes {
            after = after.max(change.seq);
            if let Some((news, _)) = state.waiting.get(&change.id) {
                news.notify_waiters();
            }
        }
        if state.waiting.is_empty() {
            state.following = false;
            return;
        }
    }
}
