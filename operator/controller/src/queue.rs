//! Which delivery is next. Each key is worked on by one task at a time; what changes meanwhile is worked on again.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ps_core::ids::Key;
use ps_core::time::{Span, Timestamp};
use tokio::sync::Notify;

#[derive(Default)]
struct State {
    /// Something happened: a manifest or a record changed.
    fresh: VecDeque<Key>,
    queued: BTreeSet<Key>,
    /// In work; `true` if it must be looked at again afterwards.
    busy: HashMap<Key, bool>,
    timers: BTreeMap<(Timestamp, Key), ()>,
    due: HashMap<Key, Timestamp>,
    /// Whose turn it is where both wait: a flood of changes must not keep a due rotation from its time.
    timer_next: bool,
    closed: bool,
}

/// A queue of keys with timers. What happened goes before what time brings, but never twice in a row.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

impl Queue {
    /// Something happened to this delivery: look at it as soon as a worker is free.
    pub fn push(&self, key: &Key) {
        let mut state = self.state();
        if let Some(again) = state.busy.get_mut(key) {
            *again = true;
            return;
        }
        if state.queued.insert(key.clone()) {
            state.fresh.push_back(key.clone());
        }
        drop(state);
        self.changed.notify_one();
    }

    /// No more work is handed out; [`Queue::next`] answers `None`.
    pub fn close(&self) {
        self.state().closed = true;
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// Waits for the next key to work on; `None` once closed. `now` is asked after each wait.
    pub async fn next(&self, now: impl Fn() -> Timestamp) -> Option<Key> {
        loop {
            let waiting = self.changed.notified();
            let sleep = match self.take(now()) {
                Taken::Key(key) => return Some(key),
                Taken::Closed => {
                    self.changed.notify_one();
                    return None;
                }
                Taken::Wait(sleep) => sleep,
            };
            tokio::select! {
                () = waiting => {}
                () = tokio::time::sleep(sleep.to_std()) => {}
            }
        }
    }

    /// Gives a key back; `wake` is when time alone brings it again.
    pub fn done(&self, key: &Key, wake: Option<Timestamp>) {
        let mut state = self.state();
        let again = state.busy.remove(key).unwrap_or(false);
        if let Some(old) = state.due.remove(key) {
            state.timers.remove(&(old, key.clone()));
        }
        if let Some(at) = wake {
            state.timers.insert((at, key.clone()), ());
            state.due.insert(key.clone(), at);
        }
        if again && state.queued.insert(key.clone()) {
            state.fresh.push_back(key.clone());
        }
        drop(state);
        self.changed.notify_one();
    }

    /// How many keys wait for a worker, and how many for their time.
    #[must_use]
    pub fn depth(&self) -> (usize, usize) {
        let state = self.state();
        (state.fresh.len(), state.timers.len())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, now: Timestamp) -> Taken {
        let mut state = self.state();
        if state.closed {
            return Taken::Closed;
        }
        let overdue = state.timers.first_key_value().is_some_and(|((at, _), ())| *at <= now);
        let timer = std::mem::replace(&mut state.timer_next, true) && overdue;
        if !timer && let Some(key) = state.fresh.pop_front() {
            state.queued.remove(&key);
            state.busy.insert(key.clone(), false);
            let more = !state.fresh.is_empty();
            drop(state);
            if more {
                self.changed.notify_one();
            }
            return Taken::Key(key);
        }
        while let Some(((at, key), ())) = state.timers.first_key_value().map(|(k, v)| (k.clone(), *v)) {
            if at > now {
                return Taken::Wait(at.since(now).min(LONGEST_SLEEP));
            }
            state.timers.remove(&(at, key.clone()));
            state.due.remove(&key);
            if let Some(again) = state.busy.get_mut(&key) {
                *again = true;
                continue;
            }
            if state.queued.contains(&key) {
                continue;
            }
            state.timer_next = false;
            state.busy.insert(key.clone(), false);
            drop(state);
            self.changed.notify_one();
            return Taken::Key(key);
        }
        Taken::Wait(LONGEST_SLEEP)
    }
}

/// The wall clock may jump: timers are compared with it again at least this often.
const LONGEST_SLEEP: Span = Span::from_secs(30);

enum Taken {
    Key(Key),
    Wait(Span),
    Closed,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("default", name)
    }

    #[tokio::test]
    async fn a_flood_of_changes_does_not_keep_a_timer_from_its_time() {
        let queue = Queue::default();
        queue.push(&key("due"));
        let first = queue.next(|| Timestamp::from_secs(1)).await;
        queue.done(&first.unwrap(), Some(Timestamp::from_secs(5)));
        for n in 0..5 {
            queue.push(&key(&format!("fresh-{n}")));
        }
        assert_eq!(queue.next(|| Timestamp::from_secs(4)).await, Some(key("fresh-0")), "not due yet");
        assert_eq!(queue.next(|| Timestamp::from_secs(9)).await, Some(key("due")));
        assert_eq!(queue.next(|| Timestamp::from_secs(9)).await, Some(key("fresh-1")));
    }

    #[tokio::test]
    async fn a_change_during_work_brings_it_again_and_only_once() {
        let queue = Queue::default();
        queue.push(&key("a"));
        let a = queue.next(|| Timestamp::EPOCH).await.unwrap();
        queue.push(&a);
        queue.push(&a);
        assert_eq!(queue.depth(), (0, 0), "busy keys are not handed out twice");
        queue.done(&a, None);
        assert_eq!(queue.depth(), (1, 0));
    }

    #[tokio::test]
    async fn closing_ends_every_waiter() {
        let queue = std::sync::Arc::new(Queue::default());
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.next(|| Timestamp::EPOCH).await })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.close();
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap(), None);
        }
    }
}
