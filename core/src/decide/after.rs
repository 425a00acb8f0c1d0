//! What is written down after, or just before, an effect: pure transitions of the entry that the acts persist.

use super::{absorb, verify};
use crate::audit::EventKind;
use crate::backoff;
use crate::delivery::NoticeKind;
use crate::entry::{Attempt, Entry, Hold, MailState, MailedCode, Notice, RevokeCause, RotatedFirst};
use crate::error::{Class, Fault};
use crate::ids::Digest;
use crate::link::State;
use crate::link::verification::{CODE_LIFE, CodeState, Request, SignInRefusal};
use crate::time::{Span, Timestamp};

/// For how long nobody else may supersede a pending attempt; its owner renews it at each try.
pub const OWNERSHIP: Span = Span::from_secs(60);
/// The longest wait between two tries of a held message: its owner must not lose it meanwhile.
const LONGEST_HOLD: Span = Span::from_secs(30);
/// Finished attempts that an entry keeps beside the current one.
const KEEP_ATTEMPTS: usize = 8;

/// The entry with a new attempt, about to be put: the intent (invariant 5).
#[must_use]
pub fn begin(entry: &Entry, attempt: Attempt, redeliver: Option<&String>, now: Timestamp) -> Entry {
    let mut next = entry.clone();
    next.attempt = attempt.number;
    next.again = false;
    next.hold = None;
    next.rotated_first = None;
    if redeliver.is_some() {
        next.redeliver_handled = redeliver.cloned();
    }
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

/// A source is about to be rotated for an attempt that is about to begin.
#[must_use]
pub fn rotating_first(entry: &Entry, first: RotatedFirst, now: Timestamp) -> Entry {
    let mut next = entry.clone();
    let facts = [("cause", "beforeDelivery".to_owned())];
    next.emit(EventKind::RotationBegun, first.attempt, now, "a fresh credential is to be delivered", &facts);
    next.rotated_first = Some(first);
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

/// When a message is tried again that the mail server would not take since `since`: later and later, and always while nobody
/// else may supersede its attempt.
#[must_use]
pub fn next_send(class: Class, since: Timestamp, now: Timestamp, jitter: u16) -> Timestamp {
    backoff::next_try(class, since, now, jitter).min(now + LONGEST_HOLD)
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

/// A code of this hash is about to be mailed in answer to a request: the intent. From here on it is one of the link's mails.
#[must_use]
pub fn code_begun(entry: &Entry, number: u32, request: u32, hash: Digest, now: Timestamp) -> Entry {
    let mut next = verify::answered(entry, number, request);
    verify::set(&mut next, number, |v| {
        v.mails += 1;
        v.state = CodeState::Sent;
        v.wait_until = Timestamp::EPOCH;
        v.code = Some(MailedCode { hash, at: now, until: now + CODE_LIFE, tries: 0 });
    });
    next.emit(EventKind::CodeMailed, number, now, "a code is mailed to the recipient", &[]);
    next
}

/// The mail with this code was certainly not sent: the request is open again, and the mail is not counted. `None` if the
/// entry has moved on.
#[must_use]
pub fn code_not_sent(entry: &Entry, number: u32, request: u32, hash: Digest) -> Option<Entry> {
    let mut next = code_undone(entry, number, hash)?;
    verify::set(&mut next, number, |v| {
        v.mails = v.mails.saturating_sub(1);
        v.answered = v.answered.min(request.saturating_sub(1));
        v.state = CodeState::None;
    });
    Some(next)
}

/// The mail with this code was refused for good. `None` if the entry has moved on.
#[must_use]
pub fn code_refused(entry: &Entry, number: u32, hash: Digest, fault: &Fault, now: Timestamp) -> Option<Entry> {
    let mut next = code_undone(entry, number, hash)?;
    verify::set(&mut next, number, |v| v.state = CodeState::NotSent);
    let code = [("code", fault.code.clone())];
    next.emit(EventKind::CodeRefused, number, now, "the mail server refused the mail with a code", &code);
    Some(next)
}

fn code_undone(entry: &Entry, number: u32, hash: Digest) -> Option<Entry> {
    let mut next = entry.clone();
    let code = &mut next.attempt_mut(number)?.verify.as_deref_mut()?.code;
    // Tried already, so it was received after all.
    code.take_if(|c| c.hash == hash && c.tries == 0)?;
    Some(next)
}

/// A sign-in is about to be looked at: it counts, whatever comes of it, and once, also where a provider that can't be reached
/// is tried again.
#[must_use]
pub fn sign_in_begun(entry: &Entry, number: u32, request: u32) -> Entry {
    let mut next = entry.clone();
    verify::set(&mut next, number, |v| {
        if v.looked_at != request {
            v.looked_at = request;
            v.sign_ins = v.sign_ins.saturating_add(1);
        }
    });
    next
}

/// A sign-in was looked at.
#[must_use]
pub fn sign_in_judged(
    entry: &Entry,
    number: u32,
    request: &Request,
    verdict: Result<(), SignInRefusal>,
    now: Timestamp,
) -> Entry {
    match verdict {
        Ok(()) => verify::sign_in_passed(entry, number, request, now),
        Err(why) => sign_in_refused(entry, number, request, why, now),
    }
}

pub(super) fn sign_in_refused(
    entry: &Entry,
    number: u32,
    request: &Request,
    why: SignInRefusal,
    now: Timestamp,
) -> Entry {
    let mut next = verify::answered(entry, number, request.seq);
    verify::set(&mut next, number, |v| v.sign_in_refused = Some((request.token_hash, why)));
    let facts = [("why", why.as_str().to_owned())];
    next.emit(EventKind::SignInRefused, number, now, "a sign-in did not pass", &facts);
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
