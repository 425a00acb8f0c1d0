//! Must something be sent? First what is pending, then whether a new attempt is wanted.

use super::{Action, Gather, Issue, Next, Observation, absorb, hold, owed, tie};
use crate::audit::EventKind;
use crate::delivery::{Manifest, OnSourceRotated, Source, Spec};
use crate::entry::{Attempt, Cause, Entry, Hold, MailState, RevokeCause};
use crate::error::{Class, Fault};
use crate::ids::Stamp;
use crate::time::{Span, Timestamp};

/// So many attempts in a row may be given up before the next one waits: whatever is given up stays in the entry, and its
/// record in the store, until its link would have ended.
const GIVEN_UP_AT_ONCE: usize = 4;
/// The longest that an attempt waits because others were given up.
const LONGEST_REST: Span = Span::from_secs(4 * 3600);

/// A pending attempt belongs to its owner; after `until`, anyone may supersede it.
pub(super) fn pending(entry: &Entry, obs: &Observation, now: Timestamp, g: &mut Gather) -> Next {
    // A process that ends has no later: it tries whatever failed a moment ago.
    if !obs.stopping && g.blocked_by(obs.store_blocked.as_ref(), now) {
        return None;
    }
    for attempt in &entry.attempts {
        let MailState::Pending { owner, until } = &attempt.mail else { continue };
        let number = attempt.number;
        if !obs.stopping && g.blocked_by(obs.record_trouble.get(&number), now) {
            return None;
        }
        let supersede = |why: &str| Some((Action::Supersede(number), why.to_owned()));
        if *owner != obs.me {
            if now < *until {
                g.wake_at(*until);
                return None;
            }
            return supersede("its owner was not heard of in time");
        }
        let Some(held) = obs.held.filter(|h| h.attempt == number) else {
            return supersede("it could not be finished");
        };
        if attempt.link.revoke.is_some() {
            return supersede("withdrawn before it was sent");
        }
        if obs.stopping {
            return supersede("stopping: a held message is never written down");
        }
        if held.deliver_before.is_some_and(|limit| now >= limit) {
            return supersede("deliverBefore has passed while the mail server would not take it");
        }
        if now >= attempt.begun_at + obs.mail_hold {
            return supersede("the mail server would not take it for too long");
        }
        if let Some(trouble) = obs.mail_deferred.as_ref().or(obs.mail_blocked.as_ref()) {
            g.note(trouble.fault.clone());
        }
        if now < held.next_try {
            g.wake_at(held.next_try);
            return None;
        }
        // What the sender has withdrawn meanwhile must not be mailed.
        if g.blind(obs, now) {
            return None;
        }
        if let Some(fault) = stopped(obs) {
            g.note(fault);
            let held_until = attempt.begun_at + obs.mail_hold;
            g.wake_at(held.deliver_before.map_or(held_until, |limit| limit.min(held_until)));
            return None;
        }
        return Some((Action::SendHeld(number), "the held message is tried once more".into()));
    }
    None
}

/// Begins an attempt where one is wanted and nothing stands in the way.
pub(super) fn next(mine: Option<&Manifest>, entry: &Entry, obs: &Observation, now: Timestamp, g: &mut Gather) -> Next {
    let manifest = mine?;
    if entry.removed || obs.stopping {
        return None;
    }
    let spec = match &manifest.spec {
        Ok(spec) => spec,
        Err(fault) => {
            g.note(fault.clone());
            return None;
        }
    };
    // Before the first attempt there is nothing to send again, unless that attempt is held.
    let known = entry.attempt > 0 || entry.hold.is_some();
    let asked = entry.again || (known && entry.is_asked_again(spec.redeliver.as_ref()));
    if spec.revoked || !(asked || wanted(entry)) {
        if let Some(held) = entry.hold {
            g.note(held_fault(held));
        }
        return None;
    }
    if let Some(held) = entry.hold.filter(|_| !asked) {
        g.note(held_fault(held));
        return None;
    }
    if let Some(why) = &obs.restored {
        g.note(tie::restored(why));
        return None;
    }
    if let Some(fault) = stopped(obs) {
        g.note(fault);
        if !obs.paused {
            g.wake_at(now + Span::from_secs(60));
        }
        return None;
    }
    if spec.deliver_before.is_some_and(|limit| now >= limit) {
        let mut late = entry.clone();
        late.hold = Some(Hold::TooLate);
        late.again = false;
        late.redeliver_handled.clone_from(&spec.redeliver);
        late.emit(EventKind::Held, 0, now, "deliverBefore has passed", &[]);
        return (late != *entry).then(|| (Action::Persist(Box::new(late)), "deliverBefore has passed".into()));
    }
    if entry.attempts.iter().any(Attempt::link_is_live) {
        return None;
    }
    if let Some(step) = settle_old(entry, now) {
        return Some(step);
    }
    if entry.attempts.iter().any(owed::is_owed) {
        g.note(Fault::new(Class::Transient, "rotation-first", "what was delivered before is rotated first"));
        return None;
    }
    if let Some(until) = rested(spec, entry, now).filter(|_| !asked) {
        let why = "several attempts in a row were given up; the next one waits";
        let often = || Fault::new(Class::Transient, "given-up-often", why);
        g.note(obs.trouble.get(&(entry.attempt + 1)).map_or_else(often, |trouble| trouble.fault.clone()));
        g.wake_at(spec.deliver_before.map_or(until, |limit| limit.min(until)));
        return None;
    }
    issue(manifest, spec, entry, obs, now, g)
}

/// Until when the next attempt waits, if it does: the more attempts to this recipient were given up in a row, the longer.
fn rested(spec: &Spec, entry: &Entry, now: Timestamp) -> Option<Timestamp> {
    let last = entry.current().filter(|a| a.recipient_digest == spec.recipient_digest())?;
    let in_a_row = entry.attempts.iter().rev().take_while(|a| a.mail == MailState::Superseded).count();
    let more = in_a_row.checked_sub(GIVEN_UP_AT_ONCE)?;
    let rest = Span::from_secs(60_i64 << more.min(10)).min(LONGEST_REST);
    let until = last.begun_at + rest;
    // A clock that was set back delays nothing.
    (last.begun_at <= now && now < until).then_some(until)
}

/// Why this operator sends nothing at all now, if so.
fn stopped(obs: &Observation) -> Option<Fault> {
    let paused = || Fault::new(Class::Transient, "paused", "sending is paused for the whole operator");
    if obs.paused { Some(paused()) } else { obs.unready.clone() }
}

/// The first attempt of a delivery that has no entry yet, if nothing stands in its way: then the entry is written once, with
/// that attempt in it. Only where reading the source leaves nothing behind that the entry would have to know of before.
pub(super) fn at_first_sight(m: &Manifest, spec: &Spec, obs: &Observation, now: Timestamp) -> Next {
    let leaves_nothing = matches!(spec.source, Source::Kv1 { .. } | Source::Kv2 { .. } | Source::DatabaseStatic { .. });
    if !leaves_nothing || spec.rotation.before_delivery {
        return None;
    }
    // As it would be: its stamp is drawn when it is made.
    let blank = Entry::new(m.key.clone(), m.uid.clone(), Stamp::new(&m.key, [0; 16]), now);
    next(Some(m), &blank, obs, now, &mut Gather::default()).filter(|(action, _)| matches!(action, Action::Issue(_)))
}

fn issue(m: &Manifest, spec: &Spec, entry: &Entry, obs: &Observation, now: Timestamp, g: &mut Gather) -> Next {
    let number = entry.attempt + 1;
    let stuck = obs.trouble.get(&number).filter(|t| t.generation == m.generation || t.fault.is_transient());
    if g.blocked_by(obs.store_blocked.as_ref(), now)
        || g.blocked_by(obs.blocked.get(&spec.connection), now)
        || g.blocked_by(stuck, now)
        || g.blocked_by(obs.mail_blocked.as_ref(), now)
    {
        return None;
    }
    let order = Issue { number, spec: spec.clone(), generation: m.generation };
    Some((
        Action::Issue(Box::new(order)),
        if number == 1 { "to be delivered".into() } else { format!("attempt {number}") },
    ))
}

/// Whether the entry itself calls for an attempt: none was made, the last was given up, or its credential was rotated
/// away and the manifest says to send the new one.
pub(super) fn wanted(entry: &Entry) -> bool {
    let Some(last) = entry.current() else { return true };
    last.mail == MailState::Superseded
        || (last.link.revoke == Some(RevokeCause::SourceRotated)
            && last.terms.on_source_rotated == OnSourceRotated::Reissue)
}

/// Before a credential is sent again, what was opened before is rotated now rather than later: the new recipient gets
/// a value that nobody else has.
fn settle_old(entry: &Entry, now: Timestamp) -> Next {
    let mut next = entry.clone();
    for attempt in entry.attempts.iter().filter(|a| owed::is_owed(a)) {
        if attempt.obligation.as_ref().is_some_and(|o| o.cause.waits()) {
            absorb::raise(&mut next, attempt.number, Cause::Revoked, now, now);
        }
    }
    (next != *entry).then(|| (Action::Persist(Box::new(next)), "sent again: the old value is rotated first".into()))
}

/// The status of a hold.
pub(crate) fn held_fault(held: Hold) -> Fault {
    match held {
        Hold::AlreadyDelivered => hold(
            "already-delivered",
            "a delivery of this name was made before; nothing is sent again",
            "Set or change spec.redeliver to send, or onRecreate: Send to send whenever it is made anew",
        ),
        Hold::SourceRotated => hold(
            "source-rotated",
            "the credential was rotated by somebody else while the link was open; the link is withdrawn",
            "Change spec.redeliver to send the new value, or set rotation.onSourceRotated: Reissue",
        ),
        Hold::MailRefused => hold(
            "mail-refused",
            "the mail server refused the message for good; the link is withdrawn",
            "Check spec.recipient.email, then change spec.redeliver to send again",
        ),
        Hold::TooLate => hold(
            "too-late",
            "spec.deliverBefore has passed; nothing is sent",
            "Set a later deliverBefore and change spec.redeliver",
        ),
        Hold::Restored | Hold::RestoredUnread => hold(
            "restored",
            "the ledger was restored from a time before this was sent, so it may have been sent since; nothing is sent again",
            "Ask the recipient, then change spec.redeliver to send",
        ),
    }
}
