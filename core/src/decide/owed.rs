//! Which rotation is due, and what is its next step. Also: has somebody else rotated under an open link?

use super::{Action, Gather, Next, Observation, Sibling, absorb};
use crate::audit::EventKind;
use crate::delivery::{NoticeKind, OnSourceRotated, SourceSight, Strategy};
use crate::entry::{Attempt, Cause, Entry, Hold, Obligation, RevokeCause, Stalled};
use crate::error::{Class, Fault};
use crate::link::State;
use crate::rotation::{Begun, By, Evidence, Verdict, replaced, verdict};
use crate::time::{Span, Timestamp};

/// After this long without success a person is told; trying goes on.
pub(super) const STALL_AFTER: Span = Span::from_secs(600);
/// How often a rotation that only a person can help is looked at again.
const SLOW_LOOK: Span = Span::from_secs(600);

/// Whether a rotation is owed for this attempt and not proven.
pub(super) fn is_owed(attempt: &Attempt) -> bool {
    attempt.obligation.is_some() && attempt.evidence.is_none()
}

pub(super) fn next(entry: &Entry, obs: &Observation, now: Timestamp, g: &mut Gather) -> Next {
    for attempt in &entry.attempts {
        let found = match &attempt.obligation {
            Some(obligation) if attempt.evidence.is_none() => owed(entry, attempt, obligation, obs, now, g),
            _ => witness(entry, attempt, obs, now, g),
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// When it may be rotated: what was promised to other recipients of the same source is kept, unless something is wrong.
#[must_use]
fn due(entry: &Entry, attempt: &Attempt, obligation: &Obligation, obs: &Observation) -> Timestamp {
    if !obligation.cause.waits() {
        return obligation.due;
    }
    let own = entry
        .attempts
        .iter()
        .filter(|a| a.number != attempt.number && a.source_key == attempt.source_key && a.evidence.is_none())
        .filter_map(Attempt::promised_until);
    siblings(attempt, obs).filter_map(|s| s.promised_until).chain(own).fold(obligation.due, Timestamp::max)
}

fn siblings<'a>(attempt: &Attempt, obs: &'a Observation) -> impl Iterator<Item = &'a Sibling> {
    let source = attempt.source_key;
    obs.siblings.iter().filter(move |s| s.source_key == source)
}

/// When another delivery of the same source learned something that makes ours worth a look: its value is dead, or it
/// was given another incarnation than ours.
fn news(attempt: &Attempt, obs: &Observation) -> Option<Timestamp> {
    siblings(attempt, obs)
        .flat_map(|s| s.dead_at.into_iter().chain((s.identity != attempt.identity).then_some(s.begun_at)))
        .max()
        .filter(|at| *at > attempt.begun_at)
}

fn owed(
    entry: &Entry,
    attempt: &Attempt,
    obligation: &Obligation,
    obs: &Observation,
    now: Timestamp,
    g: &mut Gather,
) -> Next {
    let due = due(entry, attempt, obligation, obs);
    let number = attempt.number;
    // Somebody else's rotation may have met it already: worth one look when a sibling's proof is news.
    let sight = obs.sights.get(&number);
    // News from a clock that ran ahead is no news yet: a look now could never be younger than it.
    let look_early = news(attempt, obs).is_some_and(|at| at <= now && sight.is_none_or(|s| s.at < at));
    if now < due && !look_early && !sight.is_some_and(|s| is_dead(attempt, s)) {
        g.wake_at(due);
        return None;
    }
    if g.blocked_by(obs.blocked.get(&attempt.connection), now) || g.blocked_by(obs.trouble.get(&number), now) {
        return stall(entry, attempt, obligation, obs, now);
    }
    let free = free_from(entry, attempt, obligation, obs, now);
    if let Some(busy) = free.filter(|free| now < *free) {
        g.wake_at(busy);
        return None;
    }
    // What somebody else's steps may have changed is looked at after them.
    let since = free.into_iter().fold(due.min(now), Timestamp::max);
    let Some(sight) = sight.filter(|s| s.at >= since || (now < due && !look_early)) else {
        return Some((Action::Observe(number), format!("rotation is due ({})", obligation.cause.as_str())));
    };
    match verdict(&attempt.as_delivered(), sight) {
        Verdict::Dead { scope, seen } => {
            let by = if obligation.begun.is_some() { By::Us } else { By::Other };
            let mut next = entry.clone();
            prove(&mut next, number, Evidence { scope, by, at: sight.at, seen }, now);
            Some((Action::Persist(Box::new(next)), "the delivered value is proven dead".into()))
        }
        Verdict::Alive(_) if now < due => {
            g.wake_at(due);
            None
        }
        Verdict::Alive(Some(step)) => {
            if obligation.begun.is_some() {
                let reason = format!("the delivered value still lives: {}", step.name());
                return Some((Action::Rotate { attempt: number, step }, reason));
            }
            let mut next = entry.clone();
            if let Some(o) = next.attempt_mut(number).and_then(|a| a.obligation.as_mut()) {
                o.begun = Some(Begun { at: now, by: obs.me.clone() });
            }
            next.emit(
                EventKind::RotationBegun,
                number,
                now,
                "rotation is due",
                &[("cause", obligation.cause.as_str().into())],
            );
            Some((Action::Persist(Box::new(next)), "rotation begins".into()))
        }
        Verdict::Alive(None) => {
            g.look_at(sight.at + SLOW_LOOK);
            g.note(impossible());
            if now >= sight.at + SLOW_LOOK {
                return Some((Action::Observe(number), "looking again at a source that can't be rotated".into()));
            }
            mark_stalled(entry, attempt, obligation, &impossible(), now)
        }
    }
}

/// From when on this source is free to be rotated by us, where other operators began before us.
fn free_from(
    entry: &Entry,
    attempt: &Attempt,
    obligation: &Obligation,
    obs: &Observation,
    now: Timestamp,
) -> Option<Timestamp> {
    let unproven = entry.attempts.iter().filter(|a| a.source_key == attempt.source_key && a.evidence.is_none());
    let own = unproven.filter_map(|a| Some((a.obligation.as_ref()?.begun.as_ref()?, &entry.key, a.number)));
    let theirs = siblings(attempt, obs).filter_map(|s| Some((s.rotating.as_ref()?, &s.key, 0)));
    let ours = obligation.begun.as_ref().map(|begun| (begun.at, &entry.key, attempt.number));
    own.chain(theirs)
        .filter(|(begun, key, number)| ours.is_none_or(|ours| (begun.at, *key, *number) <= ours))
        .filter_map(|(begun, ..)| begun.free_for(&obs.me, now))
        .max()
}

fn is_dead(attempt: &Attempt, sight: &SourceSight) -> bool {
    matches!(verdict(&attempt.as_delivered(), sight), Verdict::Dead { .. })
}

fn impossible() -> Fault {
    Fault::new(
        Class::Misconfigured,
        "rotation-impossible",
        "the source is gone or is not the one that was delivered, so its old value can't be proven dead",
    )
    .remedy("Restore the role or path in Vault, or make sure by hand that the delivered value is dead")
}

/// A rotation that fails for long, or in a way that waiting can't heal, is told to a person. It is tried on all the same.
fn stall(entry: &Entry, attempt: &Attempt, obligation: &Obligation, obs: &Observation, now: Timestamp) -> Next {
    let trouble = obs.trouble.get(&attempt.number).or_else(|| obs.blocked.get(&attempt.connection))?;
    let hopeless = !trouble.fault.is_transient();
    (hopeless || now >= obligation.due.max(obligation.raised_at) + STALL_AFTER)
        .then(|| mark_stalled(entry, attempt, obligation, &trouble.fault, now))
        .flatten()
}

fn mark_stalled(entry: &Entry, attempt: &Attempt, obligation: &Obligation, fault: &Fault, now: Timestamp) -> Next {
    if obligation.stalled.is_some() {
        return None;
    }
    let mut next = entry.clone();
    if let Some(o) = next.attempt_mut(attempt.number).and_then(|a| a.obligation.as_mut()) {
        o.stalled = Some(Stalled { since: now, fault: fault.clone() });
    }
    next.emit(
        EventKind::RotationStalled,
        attempt.number,
        now,
        "the rotation does not succeed",
        &[("code", fault.code.clone())],
    );
    let text = format!("The rotation does not succeed: {fault}. It is tried on.");
    absorb::tell(&mut next, attempt.number, NoticeKind::RotationFailed, now, &text);
    Some((Action::Persist(Box::new(next)), "the rotation does not succeed".into()))
}

/// Writes the proof down.
fn prove(next: &mut Entry, number: u32, evidence: Evidence, now: Timestamp) {
    let facts = [
        ("scope", format!("{:?}", evidence.scope)),
        ("by", format!("{:?}", evidence.by)),
        ("seen", evidence.seen.clone()),
    ];
    let text = format!("The delivered credential is dead: {}.", evidence.seen);
    if let Some(attempt) = next.attempt_mut(number) {
        attempt.evidence = Some(evidence);
        if let Some(o) = attempt.obligation.as_mut() {
            o.stalled = None;
        }
    }
    next.emit(EventKind::Rotated, number, now, "the delivered value is proven dead", &facts);
    absorb::tell(next, number, NoticeKind::Rotated, now, &text);
}

/// A link that nothing is owed for yet: was its credential replaced by somebody else, or before this ledger was restored?
fn witness(entry: &Entry, attempt: &Attempt, obs: &Observation, now: Timestamp, g: &mut Gather) -> Next {
    let number = attempt.number;
    if !attempt.link_is_live() || !attempt.delivered() || attempt.evidence.is_some() || attempt.link.revoke.is_some() {
        return None;
    }
    let sight = obs.sights.get(&number);
    let since =
        news(attempt, obs).into_iter().chain((attempt.begun_at < obs.started_at).then_some(obs.started_at)).max()?;
    if since > now {
        // A clock was set back: no look can be younger than that yet.
        g.wake_at(since.min(now + SLOW_LOOK));
        return None;
    }
    let Some(sight) = sight.filter(|s| s.at >= since) else {
        if g.blocked_by(obs.blocked.get(&attempt.connection), now) || g.blocked_by(obs.trouble.get(&number), now) {
            return None;
        }
        return Some((Action::Observe(number), "was the credential rotated under the open link?".into()));
    };
    if !replaced(&attempt.as_delivered(), sight) {
        return None;
    }
    let judged = verdict(&attempt.as_delivered(), sight);
    let opened = attempt.link.state != State::Open;
    if opened && attempt.terms.strategy == Strategy::None && matches!(judged, Verdict::Alive(_)) {
        // Neither a link to withdraw, nor a rotation to owe, nor a proof: to write it down would change nothing, and it would
        // be found again at once.
        return None;
    }
    let mut next = entry.clone();
    next.emit(EventKind::SourceRotated, number, now, "the credential was replaced by somebody else", &[]);
    if let Verdict::Dead { scope, seen } = judged {
        prove(&mut next, number, Evidence { scope, by: By::Other, at: sight.at, seen }, now);
    } else {
        absorb::raise(&mut next, number, Cause::Revoked, now, now);
    }
    if !opened {
        if attempt.terms.on_source_rotated == OnSourceRotated::Stall {
            next.hold = Some(Hold::SourceRotated);
        }
        if let Some(a) = next.attempt_mut(number) {
            a.link.revoke = Some(RevokeCause::SourceRotated);
        }
    }
    Some((Action::Persist(Box::new(next)), "the credential was replaced by somebody else".into()))
}
