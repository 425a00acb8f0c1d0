//! What a recipient asks of the operator: the request in the record.

use super::super::record::{Link, State, Verification};
use super::super::verification::{Ask, CODE_LIFE, CodeState, MAIL_GAP, REQUEST_HOLDS, Request, Verdict};
use super::{Outcome, Refusal, check_code, waiting};
use crate::ids::Digest;
use crate::time::{Span, Timestamp};

/// Puts a request into the record, unless it needs none: what is asked for is there, or on its way.
pub(super) fn put(link: &mut Link, code: Option<&Digest>, token_hash: Digest, ask: &Ask, now: Timestamp) -> Outcome {
    match link.state {
        State::Open => {}
        State::Claimed => return Outcome::Refused(Refusal::Claimed),
        over => return Outcome::Refused(Refusal::Gone(over)),
    }
    if !link.sealed.kinds.contains(&ask.kind()) {
        return Outcome::Refused(Refusal::NotDemanded);
    }
    if !ask.is_well_formed() {
        return Outcome::Refused(Refusal::Invalid);
    }
    if let Some(refusal) = waiting(link, now) {
        return refusal;
    }
    if link.sealed.code.is_some()
        && let Some(refusal) = check_code(link, code, now)
    {
        return refusal;
    }
    if let Some(open) = link.open_request()
        && now < open.at + REQUEST_HOLDS
    {
        let same = open.ask == *ask && (*ask == Ask::Mail || open.token_hash == token_hash);
        let busy = Outcome::Refused(Refusal::SlowDown(now + Span::from_secs(1)));
        return if same { Outcome::Done(link.state) } else { busy };
    }
    if let Some(verdict) = &link.verdict {
        if verdict.needs_nothing(ask, &token_hash, now) {
            return Outcome::Done(link.state);
        }
        let wait = verdict.email_code.as_ref().map_or(Timestamp::EPOCH, |c| c.wait_until);
        if matches!(ask, Ask::Code(_)) && now < wait {
            return Outcome::Refused(Refusal::SlowDown(wait));
        }
    }
    let answered = link.verdict.as_ref().map_or(0, |v| v.answered);
    let seq = link.request.as_ref().map_or(answered, |r| r.seq.max(answered)).saturating_add(1);
    link.request = Some(Box::new(Request { seq, at: now, token_hash, ask: ask.clone() }));
    Outcome::Done(link.state)
}

impl Verdict {
    /// Whether the operator would do nothing: passed already, no mail left or one on its way, no code to try.
    fn needs_nothing(&self, ask: &Ask, token_hash: &Digest, now: Timestamp) -> bool {
        let passed = match ask.kind() {
            Verification::Oidc => self.sign_in.as_ref().and_then(|s| s.passed),
            _ => self.email_code.as_ref().and_then(|c| c.passed),
        };
        let Some(codes) = &self.email_code else { return passed == Some(*token_hash) };
        passed == Some(*token_hash)
            || match ask {
                Ask::Mail => {
                    let out = matches!(codes.state, CodeState::Sent | CodeState::Wrong);
                    let fresh = codes.expires_at.is_some_and(|until| now + CODE_LIFE < until + MAIL_GAP);
                    codes.mails_left == 0 || (out && fresh)
                }
                Ask::Code(_) => codes.tries_left == 0 || codes.expires_at.is_none_or(|until| now >= until),
                Ask::SignIn { .. } => false,
            }
    }
}
