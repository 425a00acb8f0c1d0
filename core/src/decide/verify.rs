//! What does the recipient ask for: mail a code, judge a code, judge a sign-in? And what must the record say of it?
//!
//! Whatever comes from a gateway is bounded here, not there: three mails, five tries each, twenty sign-ins, over the
//! link's life. A request is answered by its sequence number, so none is answered twice.

use super::{Action, Gather, Next, Observation, after};
use crate::audit::EventKind;
use crate::entry::{Attempt, Entry, MailState, MailedCode, Verifying};
use crate::ids::Digest;
use crate::link::rules::wait_after;
use crate::link::verification::{
    Ask, CODE_LIFE, CodeState, MAIL_GAP, MAX_MAILS, MAX_SIGN_INS, MAX_TRIES, Request, SignInRefusal,
};
use crate::link::{Link, State, email_code};
use crate::time::{Span, Timestamp};

/// A request that waited for longer than this is dropped: whoever made it has given up.
const STALE: Span = CODE_LIFE;
/// How long an unreachable provider is tried for one answer.
pub const SIGN_IN_PATIENCE: Span = Span::from_secs(60);

pub(super) fn next(entry: &Entry, obs: &Observation, now: Timestamp, g: &mut Gather) -> Next {
    if obs.stopping || obs.store_blocked.as_ref().is_some_and(|t| now < t.until) {
        return None;
    }
    for attempt in &entry.attempts {
        let Some((link, verify)) = at_work(attempt, obs) else { continue };
        // Whatever is answered ends in the record: one that can't be written must hold up nothing else.
        if g.blocked_by(obs.record_trouble.get(&attempt.number), now) {
            continue;
        }
        if verify.lock {
            return Some((Action::Lock(attempt.number), "too many wrong codes".into()));
        }
        if let Some(request) = link.request.as_deref().filter(|r| r.seq > verify.answered)
            && let Some(step) = answer(entry, attempt, verify, request, obs, now, g)
        {
            return Some(step);
        }
        let due = attempt.verdict();
        let said = link.verdict.as_deref().map(|v| (v, link.release.as_ref()));
        if due.is_some() && due.as_ref().map(|(v, r)| (v, r.as_ref())) != said {
            return Some((Action::Judge(attempt.number), "the record does not tell what was judged".into()));
        }
    }
    None
}

/// An attempt whose recipient can ask for something: sent, open, believed, not withdrawn.
fn at_work<'a>(attempt: &'a Attempt, obs: &'a Observation) -> Option<(&'a Link, &'a Verifying)> {
    let sent = matches!(attempt.mail, MailState::Accepted { .. } | MailState::Unknown { .. });
    let over = attempt.forgotten || attempt.link.tampered.is_some() || attempt.link.revoke.is_some();
    if !sent || over || attempt.link.state != State::Open {
        return None;
    }
    let link = obs.records.get(&attempt.number)?.as_ref()?.link()?;
    let verify = attempt.verify.as_deref().filter(|v| v.secrets.is_some())?;
    (link.state == State::Open).then_some((link, verify))
}

fn answer(
    entry: &Entry,
    attempt: &Attempt,
    verify: &Verifying,
    request: &Request,
    obs: &Observation,
    now: Timestamp,
    g: &mut Gather,
) -> Next {
    let number = attempt.number;
    let stale = now >= request.at + STALE;
    let write = |reason: &str, change: &dyn Fn(&mut Verifying)| {
        let mut next = answered(entry, number, request.seq);
        if let Some(verify) = next.attempt_mut(number).and_then(|a| a.verify.as_mut()) {
            change(verify);
        }
        Some((Action::Persist(Box::new(next)), reason.to_owned()))
    };
    match &request.ask {
        ask if !verify.demands(ask.kind()) || !ask.is_well_formed() => write("nothing that can be answered", &|_| ()),
        Ask::Mail if verify.mails >= MAX_MAILS => write("no mail with a code is left", &|v| {
            v.state = if v.code.is_none() { CodeState::UsedUp } else { v.state }
        }),
        Ask::Mail if verify.code.as_ref().is_some_and(|c| c.tries < MAX_TRIES && now < c.at + MAIL_GAP) => {
            write("a code was mailed a moment ago", &|_| ())
        }
        Ask::Mail if stale => write("a code was asked for too long ago", &|v| v.state = CodeState::NotSent),
        Ask::Mail => {
            if obs.paused {
                g.wake_at(request.at + STALE);
                return None;
            }
            if let Some(until) = obs.mail_waits(now) {
                g.wake_at(until);
                return None;
            }
            let order = Order { attempt: number, request: request.seq };
            Some((Action::MailCode(order), "the recipient asks for a code".into()))
        }
        Ask::Code(tried) => code(entry, number, verify, request, tried, now),
        Ask::SignIn { .. } if verify.sign_ins >= MAX_SIGN_INS && verify.looked_at != request.seq => {
            Some((sign_in_refused(entry, number, request, SignInRefusal::TooMany, now), "too many sign-ins".into()))
        }
        Ask::SignIn { .. } if stale => {
            Some((sign_in_refused(entry, number, request, SignInRefusal::SignIn, now), "a sign-in of long ago".into()))
        }
        Ask::SignIn { .. } => {
            if let Some(trouble) = obs.identity_blocked.as_ref().filter(|t| now < t.until) {
                if now >= request.at + SIGN_IN_PATIENCE {
                    let refused = sign_in_refused(entry, number, request, SignInRefusal::Provider, now);
                    return Some((refused, "the identity provider can't be reached".into()));
                }
                g.wake_at(trouble.until);
                return None;
            }
            let order = Order { attempt: number, request: request.seq };
            Some((Action::CheckSignIn(order), "the recipient has signed in".into()))
        }
    }
}

/// One request to work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Of which attempt.
    pub attempt: u32,
    /// Its sequence number.
    pub request: u32,
}

/// Judges a code. A code that is over, or not there, is not looked at: it costs no try.
fn code(entry: &Entry, number: u32, verify: &Verifying, request: &Request, tried: &Digest, now: Timestamp) -> Next {
    let mut next = answered(entry, number, request.seq);
    let reason = match &verify.code {
        None => "no code is out",
        Some(code) if code.tries >= MAX_TRIES => "the code is used up",
        Some(code) if now >= code.until => {
            set(&mut next, number, |v| v.state = CodeState::Expired);
            "the code is over"
        }
        Some(code) if email_code::is_right(&code.hash, &request.token_hash, tried) => {
            set(&mut next, number, |v| {
                (v.code, v.state, v.code_passed) = (None, CodeState::None, Some(request.token_hash));
            });
            next.emit(EventKind::CodePassed, number, now, "the recipient has typed the mailed code", &[]);
            release(&mut next, number, request.token_hash, now);
            "the code is right"
        }
        Some(code) => {
            wrong(&mut next, number, code, now);
            "the code is wrong"
        }
    };
    Some((Action::Persist(Box::new(next)), reason.into()))
}

fn wrong(next: &mut Entry, number: u32, code: &MailedCode, now: Timestamp) {
    let tries = code.tries + 1;
    let used_up = tries >= MAX_TRIES;
    set(next, number, |v| {
        v.lock = used_up && v.mails >= MAX_MAILS;
        v.state = if used_up { CodeState::UsedUp } else { CodeState::Wrong };
        v.wait_until = if used_up { Timestamp::EPOCH } else { now + wait_after(tries) };
        if let Some(code) = &mut v.code {
            code.tries = tries;
        }
    });
    let left = [("triesLeft", MAX_TRIES.saturating_sub(tries).to_string())];
    next.emit(EventKind::CodeWrong, number, now, "a wrong e-mailed code", &left);
}

/// Releases `R` to a token that has passed all that is demanded. A later one takes the place of an earlier one.
fn release(next: &mut Entry, number: u32, token: Digest, now: Timestamp) {
    let mut released = false;
    set(next, number, |v| {
        if v.has_passed(&token) {
            v.released.retain(|t| *t != token);
            v.released.push(token);
            released = true;
        }
    });
    if released {
        next.emit(EventKind::Verified, number, now, "all that is demanded was passed: the link can be opened", &[]);
    }
}

/// The entry after a sign-in that passed.
#[must_use]
pub(super) fn sign_in_passed(entry: &Entry, number: u32, request: &Request, now: Timestamp) -> Entry {
    let mut next = answered(entry, number, request.seq);
    set(&mut next, number, |v| (v.sign_in_passed, v.sign_in_refused) = (Some(request.token_hash), None));
    next.emit(EventKind::SignInPassed, number, now, "the recipient has signed in", &[]);
    release(&mut next, number, request.token_hash, now);
    next
}

fn sign_in_refused(entry: &Entry, number: u32, request: &Request, why: SignInRefusal, now: Timestamp) -> Action {
    Action::Persist(Box::new(after::sign_in_refused(entry, number, request, why, now)))
}

pub(super) fn answered(entry: &Entry, number: u32, seq: u32) -> Entry {
    let mut next = entry.clone();
    set(&mut next, number, |v| v.answered = v.answered.max(seq));
    next
}

pub(super) fn set(entry: &mut Entry, number: u32, change: impl FnOnce(&mut Verifying)) {
    if let Some(verify) = entry.attempt_mut(number).and_then(|a| a.verify.as_deref_mut()) {
        change(verify);
    }
}
