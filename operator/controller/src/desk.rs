//! What a process remembers only while it lives. Losing it costs a repeated look or a new attempt, never correctness.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ps_core::audit::{Event, Writer};
use ps_core::backoff;
use ps_core::decide::{Held, Observation, Trouble};
use ps_core::delivery::{ConnectionRef, SourceSight};
use ps_core::error::{Class, Fault};
use ps_core::ids::{Digest, Key};
use ps_core::mail::LinkMail;
use ps_core::rotation::Step;
use ps_core::time::{Span, Timestamp};

/// A message that the mail server would not take yet. It holds `S`: memory only, wiped when dropped.
#[derive(Clone)]
pub(crate) struct HeldMail {
    pub(crate) attempt: u32,
    /// When it was refused first.
    pub(crate) since: Timestamp,
    pub(crate) next_try: Timestamp,
    pub(crate) deliver_before: Option<Timestamp>,
    pub(crate) mail: Arc<LinkMail>,
}

#[derive(Default)]
struct Scratch {
    sights: BTreeMap<u32, SourceSight>,
    trouble: BTreeMap<u32, Trouble>,
    records: BTreeMap<u32, Trouble>,
    /// The mail server would not take a message of this delivery for now.
    deferred: Option<Trouble>,
    held: Option<HeldMail>,
    /// The last events that this process put onto the audit trail, by what makes their id.
    on_trail: Vec<EventMark>,
}

/// What tells an event of one delivery from every other: incarnation, attempt, writer and sequence.
type EventMark = (String, u32, Writer, u64);

fn mark(event: &Event) -> EventMark {
    (event.incarnation.clone(), event.attempt, event.writer, event.seq)
}

#[derive(Default)]
struct State {
    deliveries: HashMap<Key, Scratch>,
    blocked: BTreeMap<ConnectionRef, Trouble>,
    mail: Option<Trouble>,
    identity: Option<Trouble>,
    store: Option<Trouble>,
    audit: Option<Trouble>,
    /// Deliveries whose status could not be put, and since when.
    unshown: HashMap<Key, Timestamp>,
    steps: HashMap<Digest, LastStep>,
}

/// The last step on a source by this process, for whichever delivery.
struct LastStep {
    step: Step,
    /// Since when the same step is taken again and again.
    since: Timestamp,
    at: Timestamp,
    under_way: bool,
    /// A proof followed: the next step is a new story.
    proven: bool,
}

/// A step under way; the next one on the same source waits for its end.
pub(crate) struct UnderWay<'a>(&'a Desk, Digest);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(last) = self.0.state().steps.get_mut(&self.1) {
            last.under_way = false;
        }
    }
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
        obs.store_blocked.clone_from(&state.store);
        obs.identity_blocked.clone_from(&state.identity);
        obs.audit_blocked.clone_from(&state.audit);
        if let Some(scratch) = state.deliveries.get(key) {
            obs.sights.clone_from(&scratch.sights);
            obs.trouble.clone_from(&scratch.trouble);
            obs.record_trouble.clone_from(&scratch.records);
            obs.mail_deferred.clone_from(&scratch.deferred);
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

    /// These events, the whole outbox of an entry, are on the audit trail.
    pub(crate) fn on_trail(&self, key: &Key, outbox: &[Event]) {
        self.state().deliveries.entry(key.clone()).or_default().on_trail = outbox.iter().map(mark).collect();
    }

    /// How many events at the front of an outbox are on the audit trail, as this process knows.
    pub(crate) fn count_on_trail(&self, key: &Key, outbox: &[Event]) -> usize {
        let state = self.state();
        let Some(known) = state.deliveries.get(key).map(|s| &s.on_trail) else { return 0 };
        outbox.iter().take_while(|event| known.contains(&mark(event))).count()
    }

    /// Forgets what a resting delivery does not need. What is on the trail is kept: it would be put there again.
    pub(crate) fn tidy(&self, key: &Key) {
        let mut state = self.state();
        if let Some(scratch) = state.deliveries.get_mut(key) {
            *scratch = Scratch { on_trail: std::mem::take(&mut scratch.on_trail), ..Scratch::default() };
            if scratch.on_trail.is_empty() {
                state.deliveries.remove(key);
            }
        }
    }

    pub(crate) fn forget(&self, key: &Key) {
        let mut state = self.state();
        state.deliveries.remove(key);
        state.unshown.remove(key);
    }

    /// A status was put.
    pub(crate) fn shown(&self, key: &Key) {
        self.state().unshown.remove(key);
    }

    /// A status could not be put: when to try again, which is later and later.
    pub(crate) fn unshown(&self, key: &Key, class: Class, now: Timestamp, jitter: u16) -> Timestamp {
        let since = *self.state().unshown.entry(key.clone()).or_insert(now);
        backoff::next_try(class, since, now, jitter)
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

    /// The mail server would not take a message of one delivery for now: what else that one has to mail waits too.
    pub(crate) fn defer_mail(&self, key: &Key, fault: Fault, now: Timestamp, jitter: u16) {
        let mut state = self.state();
        let scratch = state.deliveries.entry(key.clone()).or_default();
        scratch.deferred = Some(trouble(scratch.deferred.as_ref(), fault, 0, now, jitter));
    }

    /// The mail server has taken a message of this delivery.
    pub(crate) fn mailed(&self, key: &Key) {
        let mut state = self.state();
        state.mail = None;
        if let Some(scratch) = state.deliveries.get_mut(key) {
            scratch.deferred = None;
        }
    }

    pub(crate) fn block_identity(&self, fault: Fault, now: Timestamp, jitter: u16) {
        let mut state = self.state();
        state.identity = Some(trouble(state.identity.as_ref(), fault, 0, now, jitter));
    }

    pub(crate) fn unblock_identity(&self) {
        self.state().identity = None;
    }

    pub(crate) fn block_audit(&self, fault: Fault, now: Timestamp, jitter: u16) {
        let mut state = self.state();
        if state.audit.as_ref().is_none_or(|t| now >= t.until) {
            state.audit = Some(trouble(state.audit.as_ref(), fault, 0, now, jitter));
        }
    }

    pub(crate) fn unblock_audit(&self) {
        self.state().audit = None;
    }

    pub(crate) fn block_store(&self, fault: Fault, now: Timestamp, jitter: u16) {
        let mut state = self.state();
        if state.store.as_ref().is_none_or(|t| now >= t.until) {
            state.store = Some(trouble(state.store.as_ref(), fault, 0, now, jitter));
        }
    }

    /// When this process last saw the source of an attempt.
    pub(crate) fn seen_at(&self, key: &Key, attempt: u32) -> Option<Timestamp> {
        Some(self.state().deliveries.get(key)?.sights.get(&attempt)?.at)
    }

    /// Begins a step on a source, for a decision that rests on a sight of `seen`.
    ///
    /// Two deliveries of one source must not both rotate it because both saw it before: the second one looks again. And a
    /// step that succeeds without an effect that can be seen is not taken again at once: each time it waits longer.
    pub(crate) fn begin_step(
        &self,
        source: Digest,
        step: &Step,
        seen: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<UnderWay<'_>, Fault> {
        let mut state = self.state();
        let mut since = now;
        if let Some(last) = state.steps.get(&source) {
            // A step from the future was taken before the clock was set back, and says nothing.
            let stale = last.at <= now && seen.is_none_or(|seen| seen < last.at);
            if last.under_way || stale {
                return Err(Fault::new(
                    Class::Transient,
                    "rotation-under-way",
                    "another delivery of the same source is rotating it",
                ));
            }
            if last.step == *step && !last.proven && now.since(last.at) < Span::from_secs(3600) {
                since = last.since;
                if now < backoff::next_try(Class::Transient, since, last.at, u16::MAX / 2) {
                    return Err(Fault::new(
                        Class::Transient,
                        "rotation-without-effect",
                        "the same step was taken a moment ago, and nothing has changed yet",
                    ));
                }
            }
        }
        // Steps of long ago say nothing any more.
        state.steps.retain(|_, last| last.under_way || now.since(last.at) < Span::from_secs(3600));
        state.steps.insert(source, LastStep { step: step.clone(), since, at: now, under_way: true, proven: false });
        drop(state);
        Ok(UnderWay(self, source))
    }

    /// A value of this source was proven dead.
    pub(crate) fn proven(&self, source: &Digest) {
        if let Some(last) = self.state().steps.get_mut(source) {
            last.proven = true;
        }
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

    /// The record of one attempt failed in a way of its own.
    pub(crate) fn block_record(&self, key: &Key, attempt: u32, fault: Fault, now: Timestamp, jitter: u16) {
        let mut state = self.state();
        let scratch = state.deliveries.entry(key.clone()).or_default();
        let next = trouble(scratch.records.get(&attempt), fault, 0, now, jitter);
        scratch.records.insert(attempt, next);
    }

    /// A record was written.
    pub(crate) fn unblock_record(&self, key: &Key, attempt: u32) {
        let mut state = self.state();
        state.store = None;
        if let Some(scratch) = state.deliveries.get_mut(key) {
            scratch.records.remove(&attempt);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: Digest = Digest([1; 32]);

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn refused(answer: Result<UnderWay<'_>, Fault>) -> String {
        answer.err().map(|fault| fault.code).unwrap_or_default()
    }

    #[test]
    fn one_step_at_a_time_per_source_and_a_look_before_the_next() {
        let desk = Desk::default();
        let first = desk.begin_step(ROLE, &Step::RotateRole, Some(at(10)), at(10)).unwrap();
        assert_eq!(refused(desk.begin_step(ROLE, &Step::RotateRole, Some(at(11)), at(11))), "rotation-under-way");
        drop(first);
        desk.proven(&ROLE);
        assert_eq!(refused(desk.begin_step(ROLE, &Step::RotateRole, Some(at(9)), at(30))), "rotation-under-way");
        assert!(desk.begin_step(ROLE, &Step::RotateRole, Some(at(30)), at(30)).is_ok(), "it looked again");
        assert!(desk.begin_step(Digest([2; 32]), &Step::RotateRole, None, at(30)).is_ok(), "another source");
    }

    #[test]
    fn the_same_step_without_a_proof_waits_longer_each_time() {
        let desk = Desk::default();
        let mut now = at(1000);
        let mut steps = 0;
        for _ in 0..600 {
            now = now + Span::from_secs(1);
            steps += u32::from(desk.begin_step(ROLE, &Step::RotateRole, Some(now), now).is_ok());
        }
        assert!((5..40).contains(&steps), "{steps} steps in ten minutes");
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_block_a_source() {
        let desk = Desk::default();
        drop(desk.begin_step(ROLE, &Step::RotateRole, Some(at(5000)), at(5000)).unwrap());
        desk.proven(&ROLE);
        assert!(desk.begin_step(ROLE, &Step::RotateRole, Some(at(1400)), at(1400)).is_ok());
    }

    #[test]
    fn a_message_that_is_deferred_concerns_its_own_delivery() {
        let (desk, one, other) = (Desk::default(), Key::new("default", "one"), Key::new("default", "other"));
        let waits = |key: &Key| {
            let mut obs = Observation::default();
            desk.describe(key, &mut obs);
            (obs.mail_deferred.is_some(), obs.mail_blocked.is_some())
        };
        let fault = || Fault::new(Class::Transient, "smtp-deferred", "later");
        desk.defer_mail(&one, fault(), at(10), 0);
        assert_eq!((waits(&one), waits(&other)), ((true, false), (false, false)));
        desk.block_mail(fault(), at(10), 0);
        desk.mailed(&other);
        assert_eq!((waits(&one), waits(&other)), ((true, false), (false, false)));
        desk.mailed(&one);
        assert_eq!(waits(&one), (false, false));
    }
}
