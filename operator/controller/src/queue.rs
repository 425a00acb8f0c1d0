//! Which delivery is next. Each key is worked on by one task at a time; what changes meanwhile is worked on again.
//!
//! Three lanes: what happened (a new manifest, a changed record), what time brings (a rotation that is due), and
//! housekeeping (a look at something that rests). The first two take turns; housekeeping comes when they are empty, and at
//! every eighth turn. A budget keeps one slow connection from taking every worker.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ps_core::ids::Key;
use ps_core::time::{Span, Timestamp};
use tokio::sync::Notify;

/// Which group a key belongs to; `None` for none.
type GroupOf = Box<dyn Fn(&Key) -> Option<String> + Send + Sync>;

/// Where a key waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    timers: BTreeMap<(Timestamp, Key), Lane>,
    due: HashMap<Key, Timestamp>,
    /// How many of a group are worked on.
    working: HashMap<String, usize>,
    /// Keys whose group has its share of workers.
    parked: BTreeMap<String, VecDeque<(Key, Lane)>>,
    /// Whose turn it is where both wait: a flood of changes must not keep a due rotation from its time.
    timer_next: bool,
    turn: u32,
    closed: bool,
}

/// In work.
struct Busy {
    /// It must be looked at again afterwards.
    again: Option<Lane>,
    group: Option<String>,
}

/// A queue of keys with timers.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
    budget: Option<(usize, GroupOf)>,
}

/// Housekeeping gets at least one turn of this many.
const TURNS: u32 = 8;
/// By how much of its wait a wake-up of housekeeping is put off at most, and by how much at all.
const SPREAD: (i64, Span) = (8, Span::from_secs(300));

impl Queue {
    /// A queue that hands out at most `most` keys of one group at once: with the connection as group, a Vault that hangs,
    /// or a tenant with many deliveries, takes no more workers than that. `group` is asked under the queue's lock: it must
    /// be quick, and must not use the queue.
    #[must_use]
    pub fn with_budget(most: usize, group: impl Fn(&Key) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { budget: Some((most.max(1), Box::new(group))), ..Self::default() }
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
        self.give_back(key, wake, Lane::Urgent);
    }

    /// Gives a key back that rests: the look at `wake` is housekeeping. It is put off by up to an eighth of the wait (five
    /// minutes at most), as `jitter` (any number) says, so that ten thousand that were seen together don't come together.
    pub fn rest(&self, key: &Key, wake: Option<Timestamp>, now: Timestamp, jitter: u16) {
        let spread = |at: Timestamp| {
            let most = (at.since(now).as_millis() / SPREAD.0).min(SPREAD.1.as_millis());
            at + Span::from_millis(most * i64::from(jitter) / i64::from(u16::MAX))
        };
        self.give_back(key, wake.map(spread), Lane::Housekeeping);
    }

    fn give_back(&self, key: &Key, wake: Option<Timestamp>, lane: Lane) {
        let mut state = self.state();
        let busy = state.busy.remove(key);
        if let Some(old) = state.due.remove(key) {
            state.timers.remove(&(old, key.clone()));
        }
        if let Some(at) = wake {
            state.timers.insert((at, key.clone()), lane);
            state.due.insert(key.clone(), at);
        }
        if let Some(Busy { again, group }) = busy {
            if let Some(group) = group {
                state.leave(&group);
            }
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
                let next = state.timers.first_key_value().map(|((at, _), _)| at.since(now));
                return Taken::Wait(next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP));
            };
            let group = self.budget.as_ref().and_then(|(most, of)| of(&key).map(|group| (*most, group)));
            let group = match group {
                Some((most, group)) if state.working.get(&group).is_some_and(|n| *n >= most) => {
                    // It stays queued, and goes on when one of its group is given back.
                    state.parked.entry(group).or_default().push_back((key.clone(), lane));
                    state.queued.insert(key, lane);
                    continue;
                }
                group => group.map(|(_, group)| group),
            };
            if let Some(group) = &group {
                *state.working.entry(group.clone()).or_default() += 1;
            }
            state.busy.insert(key.clone(), Busy { again: None, group });
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

    fn is_parked(&self, key: &Key) -> bool {
        self.parked.values().flatten().any(|(parked, _)| parked == key)
    }

    /// One of a group was given back: the next that waits for it goes on, before others of its lane.
    fn leave(&mut self, group: &str) {
        if let Some(n) = self.working.get_mut(group) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                self.working.remove(group);
            }
        }
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
        let due = self.timers.first_key_value().is_some_and(|((at, _), lane)| *at <= now && *lane == Lane::Urgent);
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
        let ((at, key), lane) = self.timers.pop_first()?;
        debug_assert!(at <= now, "only due timers are taken");
        self.due.remove(&key);
        Some((key, lane))
    }

    /// Due timers of housekeeping go to its lane, and those of keys that are queued or in work anyway go away, until an
    /// urgent one is first.
    fn settle_timers(&mut self, now: Timestamp) {
        while let Some(((at, key), lane)) = self.timers.first_key_value().map(|(k, lane)| (k.clone(), *lane)) {
            let elsewhere = self.busy.contains_key(&key) || self.queued.contains_key(&key);
            if at > now || (lane == Lane::Urgent && !elsewhere) {
                return;
            }
            self.timers.remove(&(at, key.clone()));
            self.due.remove(&key);
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

    const NOON: Timestamp = Timestamp::from_secs(1000);

    async fn next(queue: &Queue) -> Option<String> {
        let key = tokio::time::timeout(std::time::Duration::from_millis(20), queue.next(|| NOON)).await.ok().flatten();
        key.map(|k| k.name)
    }

    #[tokio::test]
    async fn what_happened_goes_before_what_rests_and_what_rests_is_not_forgotten() {
        let queue = Queue::default();
        for n in 0..4 {
            queue.look(&key(&format!("rests-{n}")));
        }
        for n in 0..20 {
            queue.push(&key(&format!("new-{n}")));
        }
        let mut order = Vec::new();
        for _ in 0..24 {
            order.extend(next(&queue).await);
        }
        let place = |name: &str| order.iter().position(|n| n == name).unwrap();
        assert_eq!(order.len(), 24);
        assert!(place("new-5") < place("rests-0"), "{order:?}");
        assert!(place("rests-0") < place("new-19") && place("rests-3") > place("new-19"), "{order:?}");
    }

    #[tokio::test]
    async fn one_that_rests_moves_up_when_something_happens_to_it() {
        let queue = Queue::default();
        queue.look(&key("a"));
        queue.look(&key("b"));
        queue.push(&key("b"));
        queue.push(&key("b"));
        assert_eq!(queue.depth(), (2, 0));
        assert_eq!([next(&queue).await, next(&queue).await, next(&queue).await], [Some("b".into()), Some("a".into()), None]);
        // In work: urgent wins, whatever comes after.
        queue.push(&key("b"));
        queue.look(&key("b"));
        queue.look(&key("c"));
        queue.done(&key("b"), None);
        assert_eq!(next(&queue).await, Some("b".into()));
    }

    #[tokio::test]
    async fn due_rotations_go_before_due_looks() {
        let queue = Queue::default();
        for name in ["looked-at", "owed"] {
            queue.push(&key(name));
            next(&queue).await.unwrap();
        }
        queue.rest(&key("looked-at"), Some(Timestamp::from_secs(10)), Timestamp::from_secs(9), 0);
        queue.done(&key("owed"), Some(Timestamp::from_secs(20)));
        assert_eq!([next(&queue).await, next(&queue).await], [Some("owed".into()), Some("looked-at".into())]);
        assert_eq!(next(&queue).await, None);
    }

    #[test]
    fn looks_are_spread_and_never_come_early() {
        let queue = Queue::default();
        let now = Timestamp::from_secs(0);
        let mut times = Vec::new();
        for (n, jitter) in [0, u16::MAX / 2, u16::MAX].into_iter().enumerate() {
            let key = key(&n.to_string());
            queue.rest(&key, Some(Timestamp::from_secs(800)), now, jitter);
            times.push(queue.state().due[&key].as_millis() / 1000);
        }
        assert_eq!(times, [800, 849, 900]);
        queue.rest(&key("far"), Some(Timestamp::from_secs(1_000_000)), now, u16::MAX);
        assert_eq!(queue.state().due[&key("far")], Timestamp::from_secs(1_000_300));
    }

    #[tokio::test]
    async fn one_connection_gets_no_more_than_its_share_of_workers() {
        let queue = Queue::with_budget(2, |key| key.name.split_once('-').map(|(group, _)| group.to_owned()));
        for name in ["slow-1", "slow-2", "slow-3", "slow-4", "quick-1", "free"] {
            queue.push(&key(name));
        }
        let mut taken = Vec::new();
        while let Some(name) = next(&queue).await {
            taken.push(name);
        }
        assert_eq!(taken, ["slow-1", "slow-2", "quick-1", "free"]);
        assert_eq!(queue.depth(), (2, 0), "those that wait for their group are seen");
        queue.push(&key("slow-3"));
        assert_eq!(queue.depth(), (2, 0), "and not queued twice");
        queue.done(&key("slow-1"), Some(Timestamp::from_secs(5000)));
        assert_eq!([next(&queue).await, next(&queue).await], [Some("slow-3".into()), None]);
        queue.push(&key("slow-2"));
        queue.done(&key("slow-2"), None);
        assert_eq!([next(&queue).await, next(&queue).await], [Some("slow-4".into()), None], "its own repetition waits behind");
        queue.done(&key("slow-3"), None);
        queue.done(&key("slow-4"), None);
        assert_eq!([next(&queue).await, next(&queue).await], [Some("slow-2".into()), None]);
        queue.done(&key("slow-2"), None);
        assert!(queue.state().working.keys().all(|group| group == "quick"), "counts end with the work");
    }

    #[tokio::test]
    async fn a_timer_that_comes_due_while_its_group_is_full_is_not_lost() {
        let queue = Queue::with_budget(1, |_| Some("g".into()));
        queue.push(&key("a"));
        next(&queue).await.unwrap();
        queue.done(&key("a"), Some(Timestamp::from_secs(500)));
        queue.push(&key("b"));
        // `b` and the due `a` take turns; whichever is second waits for the first.
        let first = next(&queue).await.unwrap();
        assert_eq!(next(&queue).await, None);
        queue.done(&key(&first), None);
        let second = next(&queue).await.unwrap();
        assert_ne!(first, second);
        queue.done(&key(&second), None);
        assert_eq!((next(&queue).await, queue.depth()), (None, (0, 0)));
    }
}
