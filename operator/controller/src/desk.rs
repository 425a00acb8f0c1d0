//! What a process remembers only while it lives. Losing it costs a repeated look or a new attempt, never correctness.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ps_core::backoff;
use ps_core::decide::{Held, Observation, Trouble};
use ps_core::delivery::{ConnectionRef, SourceSight};
use ps_core::error::Fault;
use ps_core::ids::Key;
use ps_core::mail::LinkMail;
use ps_core::time::Timestamp;

/// A message that the mail server would not take yet. It holds `S`: memory only, wiped when dropped.
#[derive(Clone)]
pub(crate) struct HeldMail {
    pub(crate) attempt: u32,
    pub(crate) next_try: Timestamp,
    pub(crate) deliver_before: Option<Timestamp>,
    pub(crate) mail: Arc<LinkMail>,
}

#[derive(Default)]
struct Scratch {
    sights: BTreeMap<u32, SourceSight>,
    trouble: BTreeMap<u32, Trouble>,
    held: Option<HeldMail>,
}

#[derive(Default)]
struct State {
    deliveries: HashMap<Key, Scratch>,
    blocked: BTreeMap<ConnectionRef, Trouble>,
    mail: Option<Trouble>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Desk(Mutex<State>);

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in another task leaves only forgettable things behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what this process knows to an observation.
    pub(crate) fn describe(&self, key: &Key, obs: &mut Observation) {
        let state = self.state();
        obs.blocked.clone_from(&state.blocked);
        obs.mail_blocked.clone_from(&state.mail);
        if let Some(scratch) = state.deliveries.get(key) {
            obs.sights.clone_from(&scratch.sights);
            obs.trouble.clone_from(&scratch.trouble);
            obs.held = scratch.held.as_ref().map(|h| Held {
                attempt: h.attempt,
                next_try: h.next_try,
                deliver_before: h.deliver_before,
            });
        }
    }

    pub(crate) fn saw(&self, key: &Key, attempt: u32, sight: SourceSight) {
        self.state().deliveries.entry(key.clone()).or_default().sights.insert(attempt, sight);
    }

    /// After a step of ours, what was seen before is worth nothing.
    pub(crate) fn forget_sight(&self, key: &Key, attempt: u32) {
        if let Some(scratch) = self.state().deliveries.get_mut(key) {
            scratch.sights.remove(&attempt);
        }
    }

    pub(crate) fn hold(&self, key: &Key, held: HeldMail) {
        self.state().deliveries.entry(key.clone()).or_default().held = Some(held);
    }

    pub(crate) fn held(&self, key: &Key, attempt: u32) -> Option<HeldMail> {
        let state = self.state();
        state.deliveries.get(key)?.held.clone().filter(|h| h.attempt == attempt)
    }

    pub(crate) fn drop_held(&self, key: &Key) {
        if let Some(scratch) = self.state().deliveries.get_mut(key) {
            scratch.held = None;
        }
    }

    /// Whether any delivery has a message in memory.
    pub(crate) fn holding(&self) -> Vec<Key> {
        self.state().deliveries.iter().filter(|(_, s)| s.held.is_some()).map(|(k, _)| k.clone()).collect()
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.state().deliveries.remove(key);
    }

    /// A connection failed in a way that may heal: everything that uses it waits.
    pub(crate) fn block(&self, connection: &ConnectionRef, fault: Fault, now: Timestamp, jitter: u16) {
        let mut state = self.state();
        let next = trouble(state.blocked.get(connection), fault, 0, now, jitter);
        state.blocked.insert(connection.clone(), next);
    }

    pub(crate) fn unblock(&self, connection: &ConnectionRef) {
        self.state().blocked.remove(connection);
    }

    pub(crate) fn block_mail(&self, fault: Fault, now: Timestamp, jitter: u16) {
        let mut state = self.state();
        state.mail = Some(trouble(state.mail.as_ref(), fault, 0, now, jitter));
    }

    pub(crate) fn unblock_mail(&self) {
        self.state().mail = None;
    }

    /// One delivery failed in a way of its own.
    pub(crate) fn fail(&self, key: &Key, attempt: u32, generation: i64, fault: Fault, now: Timestamp, jitter: u16) {
        let mut state = self.state();
        let scratch = state.deliveries.entry(key.clone()).or_default();
        let same = scratch.trouble.get(&attempt).filter(|t| t.generation == generation);
        let next = trouble(same, fault, generation, now, jitter);
        scratch.trouble.insert(attempt, next);
    }

    pub(crate) fn succeed(&self, key: &Key, attempt: u32) {
        if let Some(scratch) = self.state().deliveries.get_mut(key) {
            scratch.trouble.remove(&attempt);
        }
    }
}

fn trouble(before: Option<&Trouble>, fault: Fault, generation: i64, now: Timestamp, jitter: u16) -> Trouble {
    let since = before.map_or(now, |t| t.since);
    let until = backoff::next_try(fault.class, since, now, jitter);
    Trouble { fault, since, until, generation }
}
