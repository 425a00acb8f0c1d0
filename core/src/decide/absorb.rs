//! What the records tell that the entry does not know yet. A claim or a decline is believed by its preimage only.

use super::{Action, Next, Observation};
use crate::audit::EventKind;
use crate::delivery::{NoticeKind, Strategy};
use crate::entry::{Attempt, Cause, Entry, MailState, Notice, Obligation, RevokeCause};
use crate::link::check::{Expected, Tamper, check};
use crate::link::{JournalEvent, Link, Record, State};
use crate::time::Timestamp;

pub(super) fn next(entry: &Entry, obs: &Observation, now: Timestamp) -> Next {
    let mut next = entry.clone();
    for number in entry.attempts.iter().map(|a| a.number) {
        if let Some(record) = obs.records.get(&number) {
            absorb(&mut next, number, record.as_ref(), now);
        }
    }
    (next != *entry).then(|| (Action::Persist(Box::new(next)), "a link's record has news".into()))
}

/// Takes over into the entry what one record says, or that it can't be believed.
pub fn absorb(entry: &mut Entry, number: u32, record: Option<&Record>, now: Timestamp) {
    let Some(attempt) = entry.attempt(number) else { return };
    if attempt.forgotten || attempt.link.tampered.is_some() || attempt.mail == MailState::Superseded {
        return;
    }
    // Not put yet, or voided by somebody who superseded it and then stopped: the pending rules see to that.
    let pending = matches!(attempt.mail, MailState::Pending { .. } | MailState::Refused { .. });
    if pending && !matches!(record, Some(Record::Link(_))) {
        // Nobody was sent a refused mail's link: without its record it is over.
        if matches!(attempt.mail, MailState::Refused { .. })
            && attempt.link.state.is_live()
            && let Some(attempt) = entry.attempt_mut(number)
        {
            attempt.link.state = State::Revoked;
            attempt.link.ended_at.get_or_insert(now);
        }
        return;
    }
    // A record that ended, was read, and is gone: nothing is left that it could tell.
    if record.is_none() && !attempt.link.state.is_live() {
        return;
    }
    match (believe(attempt, record, now), record) {
        (Ok(()), Some(Record::Link(link))) => read_journal(entry, number, link, now),
        (Ok(()), _) => {}
        (Err(tamper), _) => tampered(entry, number, tamper, now),
    }
}

/// Whether a record is what it may have become since it was put. Whoever is about to write over it asks too: what a forger has
/// written must be found, not replaced.
///
/// # Errors
/// What is wrong with it.
pub fn believe(attempt: &Attempt, record: Option<&Record>, now: Timestamp) -> Result<(), Tamper> {
    let expected = Expected {
        digest: attempt.digest,
        put_at: attempt.begun_at,
        revoke_ordered: attempt.link.revoke.is_some(),
        journal_read: attempt.link.journal_read,
        judge: attempt.judge(),
    };
    check(record, &expected, now)
}

fn read_journal(entry: &mut Entry, number: u32, link: &Link, now: Timestamp) {
    let from = entry.attempt(number).map_or(0, |a| a.link.journal_read);
    for line in link.journal.iter().filter(|j| j.seq >= from) {
        let at = line.at.min(now);
        let (kind, reason) = match line.event {
            JournalEvent::Claimed => (EventKind::Claimed, "the link was opened"),
            JournalEvent::Acknowledged => (EventKind::Acknowledged, "the recipient said that it is saved"),
            JournalEvent::WindowOver => (EventKind::WindowOver, "the claim window ended"),
            JournalEvent::Expired => (EventKind::Expired, "nobody opened the link in time"),
            JournalEvent::Revoked => (EventKind::Revoked, "the link is withdrawn"),
            JournalEvent::Declined => (EventKind::Declined, "the recipient said: not meant for me"),
            JournalEvent::Disputed => (EventKind::Disputed, "somebody else had opened it"),
            JournalEvent::Locked => (EventKind::Locked, "too many wrong passphrases or e-mailed codes"),
            JournalEvent::Exposed => (EventKind::Exposed, "the link's token had reached a path or a query"),
        };
        entry.emit_journal(kind, number, line.seq, at, reason);
        take_over(entry, number, line.event, link, at, now);
        if let Some(attempt) = entry.attempt_mut(number) {
            attempt.link.journal_read = line.seq.saturating_add(1);
        }
    }
    if let Some(attempt) = entry.attempt_mut(number) {
        attempt.link.state = link.state;
        attempt.link.acknowledged = link.acknowledged_at.is_some();
        if !link.state.is_live() {
            attempt.forget_judging();
        }
    }
}

fn take_over(entry: &mut Entry, number: u32, event: JournalEvent, link: &Link, at: Timestamp, now: Timestamp) {
    let Some(attempt) = entry.attempt_mut(number) else { return };
    let terms = attempt.terms.clone();
    let revoke = attempt.link.revoke;
    let goes_on = [JournalEvent::Claimed, JournalEvent::Acknowledged, JournalEvent::Disputed, JournalEvent::Exposed];
    if !goes_on.contains(&event) {
        attempt.link.ended_at.get_or_insert(at);
    }
    // Somebody had the link, whatever became of the mail.
    let held_by_somebody =
        matches!(event, JournalEvent::Claimed | JournalEvent::Declined | JournalEvent::Disputed | JournalEvent::Locked);
    if held_by_somebody && !attempt.delivered() {
        attempt.mail = MailState::Unknown { at: now };
    }
    match event {
        JournalEvent::Claimed => {
            // The earlier of the record's time and our own first sight of it (a fast clock gains nothing).
            let claimed = link.claim.as_ref().map_or(now, |c| c.at).min(now);
            attempt.link.claimed_at = Some(claimed);
            raise(entry, number, Cause::Retrieved, claimed + terms.after_retrieval, now);
            tell(entry, number, NoticeKind::Retrieved, at, "The link was opened.");
        }
        JournalEvent::Acknowledged => {
            attempt.link.ended_at.get_or_insert(at);
        }
        JournalEvent::WindowOver => {
            tell(entry, number, NoticeKind::Unacknowledged, at, "Opened, but nobody said that it was saved.");
        }
        JournalEvent::Expired => {
            if terms.on_expiry {
                raise(entry, number, Cause::Expired, now, now);
            }
            tell(entry, number, NoticeKind::Expired, at, "Nobody opened the link in time.");
        }
        JournalEvent::Revoked => {
            let claimed = attempt.link.claimed_at.is_some();
            let asked = matches!(revoke, Some(RevokeCause::Asked | RevokeCause::Removed)) && terms.on_revocation;
            // After a restore it may have been opened since the backup: it is rotated whatever the terms say.
            if claimed || (attempt.delivered() && (asked || revoke == Some(RevokeCause::Restored))) {
                raise(entry, number, Cause::Revoked, now, now);
            }
        }
        JournalEvent::Declined | JournalEvent::Disputed => {
            if event == JournalEvent::Disputed {
                attempt.link.disputed = true;
            }
            raise(entry, number, Cause::Declined, now, now);
            tell(entry, number, NoticeKind::Declined, at, "The recipient says that it was not meant for them.");
        }
        JournalEvent::Locked => {
            if terms.on_locked {
                raise(entry, number, Cause::Locked, now, now);
            }
            tell(
                entry,
                number,
                NoticeKind::Locked,
                at,
                "Too many wrong passphrases or e-mailed codes: the link is locked.",
            );
        }
        JournalEvent::Exposed => {
            let text = "The link's token had reached a path or a query, where servers and proxies log: whoever reads their logs has the link.";
            tell(entry, number, NoticeKind::Exposed, at, text);
        }
    }
}

fn tampered(entry: &mut Entry, number: u32, tamper: Tamper, now: Timestamp) {
    let Some(attempt) = entry.attempt_mut(number) else { return };
    attempt.link.tampered = Some(tamper);
    // Somebody may have had the link: what can't be believed counts as delivered, and is not sent again by itself.
    if !attempt.delivered() {
        attempt.mail = MailState::Unknown { at: now };
    }
    attempt.link.revoke.get_or_insert(RevokeCause::Tampered);
    attempt.link.ended_at.get_or_insert(now);
    if attempt.link.state.is_live() {
        attempt.link.state = State::Revoked;
    }
    entry.emit(EventKind::Tampered, number, now, "the record is not what was put", &[("tamper", tamper.code().into())]);
    raise(entry, number, Cause::Tampered, now, now);
    let text =
        format!("The link's record was altered ({}): it is withdrawn and the credential rotated.", tamper.code());
    tell(entry, number, NoticeKind::Tampered, now, &text);
}

/// Owes a rotation, or brings forward the one that is owed (invariant 6). A later cause never delays an earlier one, and one
/// that waits for others never takes the place of one that does not.
pub fn raise(entry: &mut Entry, number: u32, cause: Cause, due: Timestamp, now: Timestamp) {
    let Some(attempt) = entry.attempt_mut(number) else { return };
    if attempt.terms.strategy == Strategy::None || attempt.evidence.is_some() {
        return;
    }
    let obligation = match &attempt.obligation {
        None => Obligation { cause, raised_at: now, due, begun: None, stalled: None },
        Some(owed) if due < owed.due || (owed.cause.waits() && !cause.waits()) => {
            let cause = if owed.cause.waits() { cause } else { owed.cause };
            Obligation { cause, due: due.min(owed.due), ..owed.clone() }
        }
        Some(_) => return,
    };
    let facts = [("cause", obligation.cause.as_str().to_owned()), ("due", obligation.due.to_string())];
    attempt.obligation = Some(obligation);
    entry.emit(EventKind::RotationDue, number, now, "the delivered credential must die", &facts);
}

/// Puts a notice into the entry if the sender asked for its kind; what went wrong is always told.
pub fn tell(entry: &mut Entry, number: u32, kind: NoticeKind, at: Timestamp, text: &str) {
    let Some(notify) = entry.attempt(number).and_then(|a: &Attempt| a.terms.notify.clone()) else { return };
    let always = matches!(kind, NoticeKind::Tampered | NoticeKind::RotationFailed);
    if always || notify.on.contains(&kind) {
        entry.notices.push(Notice { kind, attempt: number, at, to: notify.email, text: text.to_owned() });
    }
}
