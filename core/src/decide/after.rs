//! What is written down after, or just before, an effect: pure transitions of the entry that the acts persist.

use super::absorb;
use crate::audit::EventKind;
use crate::delivery::NoticeKind;
use crate::entry::{Attempt, Entry, Hold, MailState, Notice, RevokeCause};
use crate::error::Fault;
use crate::link::State;
use crate::time::{Span, Timestamp};

/// For how long nobody else may supersede a pending attempt; its owner renews it at each try.
pub const OWNERSHIP: Span = Span::from_secs(60);
/// Finished attempts that an entry keeps beside the current one.
const KEEP_ATTEMPTS: usize = 8;

/// The entry with a new attempt, about to be put: the intent (invariant 5).
#[must_use]
pub fn begin(entry: &Entry, attempt: Attempt, redeliver: Option<&String>, now: Timestamp) -> Entry {
    let mut next = entry.clone();
    next.attempt = attempt.number;
    next.again = false;
    next.hold = None;
    next.redeliver_handled = redeliver.cloned();
    let facts = [("record", attempt.record.to_string()), ("recipient", attempt.terms.recipient.clone())];
    let number = attempt.number;
    // Done with, in every respect: only then may an old attempt be forgotten here.
    let done = |a: &Attempt| a.forgotten && (a.obligation.is_none() || a.evidence.is_some());
    while next.attempts.len() >= KEEP_ATTEMPTS
        && let Some(at) = next.attempts.iter().position(done)
    {
        next.attempts.remove(at);
    }
    next.attempts.push(attempt);
    next.emit(EventKind::Issued, number, now, "sealed and about to be put", &facts);
    next
}

/// Still pending, and still ours for a while.
#[must_use]
pub fn still_pending(entry: &Entry, number: u32, me: &str, now: Timestamp) -> Entry {
    let mut next = entry.clone();
    if let Some(attempt) = next.attempt_mut(number) {
        attempt.mail = MailState::Pending { owner: me.to_owned(), until: now + OWNERSHIP };
    }
    next
}

/// The mail server has accepted it.
#[must_use]
pub fn mail_accepted(entry: &Entry, number: u32, now: Timestamp) -> Entry {
    let mut next = entry.clone();
    if let Some(attempt) = next.attempt_mut(number) {
        attempt.mail = MailState::Accepted { at: now };
    }
    next.emit(EventKind::Delivered, number, now, "the mail server accepted it", &[]);
    next
}

/// The reply after DATA was lost: the link stays, and nobody says that it was delivered.
#[must_use]
pub fn mail_unknown(entry: &Entry, number: u32, fault: &Fault, now: Timestamp) -> Entry {
    let mut next = entry.clone();
    if let Some(attempt) = next.attempt_mut(number) {
        attempt.mail = MailState::Unknown { at: now };
    }
    next.emit(
        EventKind::DeliveryUnknown,
        number,
        now,
        "the mail server's answer was lost",
        &[("code", fault.code.clone())],
    );
    next
}

/// Refused for good: nobody has the link, so it is withdrawn and a person must look.
#[must_use]
pub fn mail_refused(entry: &Entry, number: u32, fault: &Fault, now: Timestamp) -> Entry {
    let mut next = entry.clone();
    next.hold = Some(Hold::MailRefused);
    if let Some(attempt) = next.attempt_mut(number) {
        attempt.mail = MailState::Refused { fault: fault.clone() };
        attempt.link.revoke.get_or_insert(RevokeCause::MailRefused);
    }
    next.emit(EventKind::MailRefused, number, now, "the mail server refused it", &[("code", fault.code.clone())]);
    next
}

/// Its id is void: the attempt is given up.
#[must_use]
pub fn superseded(entry: &Entry, number: u32, reason: &str, now: Timestamp) -> Entry {
    let mut next = entry.clone();
    if let Some(attempt) = next.attempt_mut(number) {
        attempt.mail = MailState::Superseded;
        attempt.link.state = State::Revoked;
        attempt.link.ended_at.get_or_insert(now);
    }
    next.emit(EventKind::Superseded, number, now, reason, &[]);
    next
}

/// A notice is out.
#[must_use]
pub fn notified(entry: &Entry, notice: &Notice, now: Timestamp) -> Entry {
    let mut next = entry.clone();
    let before = next.notices.len();
    if let Some(at) = next.notices.iter().position(|n| n == notice) {
        next.notices.remove(at);
    }
    if next.notices.len() < before {
        let kind = [("kind", format!("{:?}", notice.kind))];
        next.emit(EventKind::Notified, notice.attempt, now, "the sender was told", &kind);
    }
    next
}

/// A notice that will never go out: dropped, and said so on the trail.
#[must_use]
pub fn notice_refused(entry: &Entry, notice: &Notice, fault: &Fault, now: Timestamp) -> Entry {
    let mut next = entry.clone();
    next.notices.retain(|n| n != notice);
    next.emit(EventKind::Notified, notice.attempt, now, "the notice was refused", &[("code", fault.code.clone())]);
    next
}

/// Events with these positions are on the trail.
#[must_use]
pub fn flushed(entry: &Entry, count: usize) -> Entry {
    let mut next = entry.clone();
    next.outbox.drain(..count.min(next.outbox.len()));
    next
}

/// The record is gone from the store.
#[must_use]
pub fn record_deleted(entry: &Entry, number: u32) -> Entry {
    let mut next = entry.clone();
    if let Some(attempt) = next.attempt_mut(number) {
        attempt.forgotten = true;
    }
    next
}

/// Tells the sender of something that happened outside a record.
#[must_use]
pub fn told(entry: &Entry, number: u32, kind: NoticeKind, text: &str, now: Timestamp) -> Entry {
    let mut next = entry.clone();
    absorb::tell(&mut next, number, kind, now, text);
    next
}
