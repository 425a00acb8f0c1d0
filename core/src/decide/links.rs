//! Which links must end now: withdrawn by the manifest, by a restore, by a new delivery, or by time.

use super::{Action, Gather, Next, Observation, deliver};
use crate::audit::EventKind;
use crate::delivery::Manifest;
use crate::entry::{Entry, Hold, MailState, RevokeCause};
use crate::link::Record;
use crate::time::Timestamp;

/// Writes the order to withdraw into the entry, before any record is touched: the operator must know its own
/// revocations from forged ones.
pub(super) fn order_ends(mine: Option<&Manifest>, entry: &Entry, obs: &Observation, now: Timestamp) -> Next {
    let spec = mine.and_then(|m| m.spec.as_ref().ok());
    if let Some(read) = spec.filter(|_| entry.hold == Some(Hold::RestoredUnread)) {
        let mut next = entry.clone();
        next.hold = Some(Hold::Restored);
        next.redeliver_handled.clone_from(&read.redeliver);
        return Some((Action::Persist(Box::new(next)), "what it asked for before the restore counts as sent".into()));
    }
    let again = spec.is_some_and(|s| entry.is_asked_again(s.redeliver.as_ref())) || entry.again;
    let cause = if entry.removed {
        RevokeCause::Removed
    } else if spec.is_some_and(|s| s.revoked) {
        RevokeCause::Asked
    } else if obs.restored.is_some() {
        RevokeCause::Restored
    } else if again {
        RevokeCause::Redelivered
    } else {
        return None;
    };
    let mut next = entry.clone();
    for attempt in &entry.attempts {
        if attempt.link_is_live() && attempt.link.revoke.is_none() {
            next.emit(EventKind::RevokeOrdered, attempt.number, now, reason(cause), &[]);
            if let Some(target) = next.attempt_mut(attempt.number) {
                target.link.revoke = Some(cause);
            }
        }
    }
    if obs.restored.is_some() {
        hold_restored(&mut next, mine, obs, now);
    }
    (next != *entry).then(|| (Action::Persist(Box::new(next)), reason(cause).into()))
}

/// What a restored ledger says was not sent may have been sent since (invariant 8): a pending mail counts as sent, and
/// what would be sent next, for whatever reason, waits for a person.
fn hold_restored(next: &mut Entry, mine: Option<&Manifest>, obs: &Observation, now: Timestamp) {
    for attempt in &mut next.attempts {
        if matches!(&attempt.mail, MailState::Pending { owner, .. } if *owner != obs.me) {
            attempt.mail = MailState::Unknown { at: now };
        }
    }
    let asked = match mine.map(|m| &m.spec) {
        Some(Ok(spec)) => std::mem::replace(&mut next.redeliver_handled, spec.redeliver.clone()) != spec.redeliver,
        _ => false,
    };
    let hold = match mine.map(|m| &m.spec) {
        Some(Err(_)) => Hold::RestoredUnread,
        None if obs.blind.is_some() => Hold::RestoredUnread,
        _ if asked || next.again || (next.hold.is_none() && deliver::wanted(next)) => Hold::Restored,
        _ => return,
    };
    next.again = false;
    if next.hold.replace(hold) != Some(hold) {
        next.emit(EventKind::Held, 0, now, "a restore was noticed", &[]);
    }
}

const fn reason(cause: RevokeCause) -> &'static str {
    match cause {
        RevokeCause::Asked => "the sender withdraws the link",
        RevokeCause::Removed => "the manifest is gone",
        RevokeCause::Redelivered => "it is to be sent again",
        RevokeCause::SourceRotated => "the credential was rotated by somebody else",
        RevokeCause::Tampered => "the record is not believed",
        RevokeCause::MailRefused => "the mail was refused for good",
        RevokeCause::Restored => "a restore was noticed",
    }
}

/// Carries out orders and time on the records.
pub(super) fn end(entry: &Entry, obs: &Observation, now: Timestamp, g: &mut Gather) -> Next {
    if g.blocked_by(obs.store_blocked.as_ref(), now) {
        return None;
    }
    for attempt in entry.attempts.iter().filter(|a| !a.forgotten) {
        let Some(Some(record)) = obs.records.get(&attempt.number) else { continue };
        if g.blocked_by(obs.record_trouble.get(&attempt.number), now) {
            continue;
        }
        if let Some(tamper) = attempt.link.tampered {
            if matches!(record, Record::Link(_)) {
                return Some((Action::Void(attempt.number), format!("tampered with: {}", tamper.code())));
            }
            continue;
        }
        let Some(link) = record.link() else { continue };
        // A pending attempt is ended by superseding it, so that its owner can't send it any more.
        if matches!(attempt.mail, MailState::Pending { .. } | MailState::Superseded) {
            continue;
        }
        if let Some(cause) = attempt.link.revoke
            && link.state.is_live()
        {
            return Some((Action::Revoke(attempt.number), reason(cause).into()));
        }
        if let Some(due) = link.next_change() {
            if due <= now {
                return Some((Action::Settle(attempt.number), "its time is over".into()));
            }
            g.wake_at(due);
        }
    }
    None
}
