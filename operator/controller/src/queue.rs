//! Which delivery is next. Each key is worked on by one task at a time; what changes meanwhile is worked on again.
//!
//! Three lanes: what happened (a new manifest, a changed record), what time brings (a rotation that is due), and
//! housekeeping (a look at something that rests). The first two take turns; housekeeping comes when they are empty, and at
//! every eighth turn. Budgets keep one slow connection, or one tenant, from taking every worker.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ps_core::ids::Key;
use ps_core::time::{Span, Timestamp};
use tokio::sync::Notify;

/// A group of keys of which so many may be worked on at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The group's name. Groups of different kinds must have different names.
    pub group: String,
    /// How many at once; 0 counts as 1.
    pub most: usize,
}

/// Which groups a key belongs to.
type SharesOf = Box<dyn Fn(&Key) -> Vec<Share> + Send + Sync>;

/// Where a key waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    /// Something happened, or is due.
    Urgent,
    /// Nothing is known to have happened.
    Housekeeping,
}

#[derive(Default)]
struct State {
    /// Something happened: a manifest or a record changed.
    fresh: VecDeque<Key>,
    /// Known ones, to be looked at once there is time.
    resting: VecDeque<Key>,
    queued: HashMap<Key, Lane>,
    busy: HashMap<Key, Busy>,
    timers: BTreeSet<(Timestamp, Lane, Key)>,
    /// The timers of each key: at most one for each lane.
    due: HashMap<Key, Due>,
    /// How many of a group are worked on.
    working: HashMap<String, usize>,
    /// Keys whose group has its share of workers.
    parked: BTreeMap<String, VecDeque<(Key, Lane)>>,
    /// Whose turn it is where both wait: a flood of changes must not keep a due rotation from its time.
    timer_next: bool,
    turn: u32,
    closed: bool,
}

/// When time alone brings a key again: what is due then, and a mere look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Due {
    urgent: Option<Timestamp>,
    look: Option<Timestamp>,
}

/// In work.
struct Busy {
    /// It must be looked at again afterwards.
    again: Option<Lane>,
    groups: Vec<String>,
}

/// A queue of keys with timers.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
    shares: Option<SharesOf>,
}

/// Housekeeping gets at least one turn of this many.
const TURNS: u32 = 8;
/// By how much of its wait a wake-up of housekeeping is put off at most, and by how much at all.
const SPREAD: (i64, Span) = (8, Span::from_secs(300));

impl Queue {
    /// A queue that hands out no more keys of a group at once than its share: with connection and namespace as groups, a Vault
    /// that hangs, or a tenant with many deliveries, takes no more workers than that. A key waits for all its groups. `shares`
    /// is asked under the queue's lock: it must be quick, and must not use the queue.
    #[must_use]
    pub fn with_budget(shares: impl Fn(&Key) -> Vec<Share> + Send + Sync + 'static) -> Self {
        Self { shares: Some(Box::new(shares)), ..Self::default() }
    }

    /// Something happened to this delivery: look at it as soon as a worker is free.
    pub fn push(&self, key: &Key) {
        self.add(key, Lane::Urgent);
    }

    /// Look at this delivery when nothing more urgent waits: at start, for those that are known to rest.
    pub fn look(&self, key: &Key) {
        self.add(key, Lane::Housekeeping);
    }

    fn add(&self, key: &Key, lane: Lane) {
        let mut state = self.state();
        state.enqueue(key, lane);
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

    /// Gives a key back; `wake` is when time alone brings it again, as urgent as anything that happens.
    pub fn done(&self, key: &Key, wake: Option<Timestamp>) {
        self.give_back(key, Due { urgent: wake, look: None });
    }

    /// The same for one that is to be looked at, too, as housekeeping. That is put off by up to an eighth of the wait (five
    /// minutes at most), as `jitter` (any number) says, so that ten thousand that were seen together don't come together.
    pub fn rest(&self, key: &Key, wake: Option<Timestamp>, look: Timestamp, now: Timestamp, jitter: u16) {
        let most = (look.since(now).as_millis() / SPREAD.0).min(SPREAD.1.as_millis());
        let look = look + Span::from_millis(most * i64::from(jitter) / i64::from(u16::MAX));
        self.give_back(key, Due { urgent: wake, look: Some(look) });
    }

    fn give_back(&self, key: &Key, due: Due) {
        let mut state = self.state();
        let busy = state.busy.remove(key);
        state.forget_timers(key);
        let lanes = [(due.urgent, Lane::Urgent), (due.look, Lane::Housekeeping)];
        state.timers.extend(lanes.into_iter().filter_map(|(at, lane)| Some((at?, lane, key.clone()))));
        if due != Due::default() {
            state.due.insert(key.clone(), due);
        }
        if let Some(Busy { again, groups }) = busy {
            groups.iter().for_each(|group| state.leave(group));
            if let Some(lane) = again {
                state.enqueue(key, lane);
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    /// How many keys wait for a worker, and how many for their time.
    #[must_use]
    pub fn depth(&self) -> (usize, usize) {
        let state = self.state();
        (state.queued.len(), state.timers.len())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, now: Timestamp) -> Taken {
        let mut state = self.state();
        if state.closed {
            return Taken::Closed;
        }
        loop {
            let Some((key, lane)) = state.choose(now) else {
                let next = state.timers.first().map(|(at, _, _)| at.since(now));
                return Taken::Wait(next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP));
            };
            let shares = self.shares.as_ref().map(|of| of(&key)).unwrap_or_default();
            if let Some(full) = shares.iter().find(|share| state.room(share) == 0) {
                // It stays queued, and goes on when one of that group is given back.
                state.parked.entry(full.group.clone()).or_default().push_back((key.clone(), lane));
                state.queued.insert(key, lane);
                // Its place in its other groups is for the next one that waits there.
                for share in &shares {
                    if state.room(share) > 0 {
                        state.unpark(&share.group);
                    }
                }
                continue;
            }
            for share in &shares {
                *state.working.entry(share.group.clone()).or_default() += 1;
            }
            // Others of a group may have waited for this one's other group: there is room for them as well.
            for share in &shares {
                if state.room(share) > 0 {
                    state.unpark(&share.group);
                }
            }
            let groups = shares.into_iter().map(|share| share.group).collect();
            state.busy.insert(key.clone(), Busy { again: None, groups });
            let more = !state.fresh.is_empty() || !state.resting.is_empty() || !state.timers.is_empty();
            drop(state);
            if more {
                self.changed.notify_one();
            }
            return Taken::Key(key);
        }
    }
}

impl State {
    fn enqueue(&mut self, key: &Key, lane: Lane) {
        if let Some(busy) = self.busy.get_mut(key) {
            busy.again = if busy.again == Some(Lane::Urgent) { busy.again } else { Some(lane) };
            return;
        }
        match (self.queued.get(key), lane) {
            (None, _) => {}
            // Something happened to one that rests: it need not wait any longer.
            (Some(Lane::Housekeeping), Lane::Urgent) if !self.is_parked(key) => self.resting.retain(|k| k != key),
            (Some(_), _) => return,
        }
        self.queued.insert(key.clone(), lane);
        match lane {
            Lane::Urgent => self.fresh.push_back(key.clone()),
            Lane::Housekeeping => self.resting.push_back(key.clone()),
        }
    }

    /// A key that is worked on, or given back, has the timers that come of that, and no older ones.
    fn forget_timers(&mut self, key: &Key) {
        let Some(Due { urgent, look }) = self.due.remove(key) else { return };
        for (at, lane) in [(urgent, Lane::Urgent), (look, Lane::Housekeeping)] {
            if let Some(at) = at {
                self.timers.remove(&(at, lane, key.clone()));
            }
        }
    }

    fn is_parked(&self, key: &Key) -> bool {
        self.parked.values().flatten().any(|(parked, _)| parked == key)
    }

    /// One of a group was given back.
    fn leave(&mut self, group: &str) {
        if let Some(n) = self.working.get_mut(group) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                self.working.remove(group);
            }
        }
        self.unpark(group);
    }

    /// How many more of a group may be worked on.
    fn room(&self, share: &Share) -> usize {
        share.most.max(1).saturating_sub(self.working.get(&share.group).copied().unwrap_or_default())
    }

    /// The next that waits for a group goes on, before others of its lane.
    fn unpark(&mut self, group: &str) {
        let Some(waiting) = self.parked.get_mut(group) else { return };
        let next = waiting.pop_front();
        if waiting.is_empty() {
            self.parked.remove(group);
        }
        match next {
            Some((key, Lane::Urgent)) => self.fresh.push_front(key),
            Some((key, Lane::Housekeeping)) => self.resting.push_front(key),
            None => {}
        }
    }

    /// The next key by its lane; it is no longer queued. Its budget has not been looked at.
    fn choose(&mut self, now: Timestamp) -> Option<(Key, Lane)> {
        self.turn = self.turn.wrapping_add(1);
        self.settle_timers(now);
        let due = self.timers.first().is_some_and(|(at, lane, _)| *at <= now && *lane == Lane::Urgent);
        let timer = std::mem::replace(&mut self.timer_next, true) && due;
        let rests = self.turn.is_multiple_of(TURNS) && !self.resting.is_empty();
        if rests || (self.fresh.is_empty() && !due) {
            let key = self.resting.pop_front()?;
            self.queued.remove(&key);
            return Some((key, Lane::Housekeeping));
        }
        if !timer && let Some(key) = self.fresh.pop_front() {
            self.queued.remove(&key);
            return Some((key, Lane::Urgent));
        }
        self.timer_next = false;
        let (_, lane, key) = self.timers.first()?.clone();
        self.forget_timers(&key);
        Some((key, lane))
    }

    /// Due timers of housekeeping go to its lane, and those of keys that are queued or in work anyway go away, until an
    /// urgent one is first.
    fn settle_timers(&mut self, now: Timestamp) {
        while let Some((at, lane, key)) = self.timers.first().cloned() {
            let elsewhere = self.busy.contains_key(&key) || self.queued.contains_key(&key);
            if at > now || (lane == Lane::Urgent && !elsewhere) {
                return;
            }
            self.timers.pop_first();
            if let Some(due) = self.due.get_mut(&key) {
                match lane {
                    Lane::Urgent => due.urgent = None,
                    Lane::Housekeeping => due.look = None,
                }
            }
            // A key in work is looked at again; one that rests in a queue moves up if it is due.
            self.enqueue(&key, lane);
        }
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
#[path = "queue_tests.rs"]
mod tests;
