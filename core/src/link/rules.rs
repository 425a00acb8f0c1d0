//! The transitions of a link: `(link, command, now) → (link, outcome)`, pure and total.

mod ask;

use subtle::ConstantTimeEq as _;

use super::record::{Claim, Decline, JournalEntry, JournalEvent, Link, Release, State};
use super::verification::{Ask, Verdict};
use crate::ids::Digest;
use crate::time::{Span, Timestamp};

/// Wrong proofs after which a link locks.
pub const MAX_WRONG_PROOFS: u32 = 10;
/// Wrong proofs after which a claim needs the opening code too, where the link has one. So nobody who holds the link alone, and
/// not the mail, can lock it.
pub const PROOFS_WITHOUT_CODE: u32 = 3;
/// The longest wait that wrong input can cause.
pub const LONGEST_WAIT: Span = Span::from_secs(30);

/// What may be asked of a link. Those with `access` come through a gateway, the others from the operator alone.
#[derive(Clone, Debug)]
pub enum Command {
    /// State and preview, for whoever holds the link.
    Lookup {
        /// Shows that the caller holds the link.
        access: [u8; 32],
    },
    /// The first claim.
    Claim {
        /// Shows that the caller holds the link.
        access: [u8; 32],
        /// Hash of the opening code that was typed ([`super::opening_code_hash`]); `None` if none was.
        code: Option<Digest>,
        /// Derived from `S` and the passphrase.
        proof: Proof,
        /// SHA-256 of a token that only the claimant has.
        token_hash: Digest,
    },
    /// The same claimant asks once more.
    ClaimAgain {
        /// Shows that the caller holds the link.
        access: [u8; 32],
        /// Derived from `S` and the passphrase.
        proof: Proof,
        /// The claim token itself.
        token: [u8; 32],
    },
    /// The claimant says that the secret is saved.
    Acknowledge {
        /// Shows that the caller holds the link.
        access: [u8; 32],
        /// The claim token itself.
        token: [u8; 32],
    },
    /// "This was not meant for me."
    Decline {
        /// Shows that the caller holds the link.
        access: [u8; 32],
        /// Hash of the opening code that was typed.
        code: Option<Digest>,
        /// The decline value derived from `S`.
        preimage: [u8; 32],
    },
    /// Have the operator mail a code, or judge a code or a sign-in.
    Ask {
        /// Shows that the caller holds the link.
        access: [u8; 32],
        /// Hash of the opening code that was typed.
        code: Option<Digest>,
        /// SHA-256 of the token that will claim.
        token_hash: Digest,
        /// What is asked.
        ask: Ask,
    },
    /// Let time do what it does: expire, or end the claim window.
    Settle,
    /// Withdraw the link.
    Revoke,
    /// Move the expiry, at most to `not_after`.
    SetExpiry(Timestamp),
    /// Answer requests, and release `R` to the one claim token that the verdict names.
    Judge {
        /// The verdict.
        verdict: Box<Verdict>,
        /// `R`, exactly where the verdict releases it.
        release: Option<Release>,
    },
    /// Lock the link: too many wrong e-mailed codes.
    Lock,
}

/// The value that claims; it does not print.
#[derive(Clone, Copy)]
pub struct Proof(pub [u8; 32]);

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proof(…)")
    }
}

/// Why a command was refused. Nothing of it tells a stranger whether the link exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Wrong `access`: the same answer as for an unknown id.
    NotFound,
    /// Over; the state says how.
    Gone(State),
    /// Something wrong was typed a moment ago: nothing is looked at before this time.
    SlowDown(Timestamp),
    /// Wrong opening code; the next one is looked at from this time on.
    WrongCode(Timestamp),
    /// Wrong proof.
    WrongProof {
        /// How many are left before the link locks.
        left: u32,
        /// The next one is looked at from this time on.
        wait_until: Timestamp,
    },
    /// An e-mailed code or a sign-in is still due for this token.
    VerificationDue,
    /// The link does not demand what is handed in.
    NotDemanded,
    /// Claimed, and not by this token.
    Claimed,
    /// The command does not fit this state or carries a wrong preimage.
    Invalid,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, or found done already. For a lookup: look at the link.
    Done(State),
    /// The ciphertext may be handed to this claimant.
    Released,
    /// Refused.
    Refused(Refusal),
}

/// The result of [`apply`].
#[derive(Clone, Debug)]
pub struct Step {
    /// The link to store, if it changed. Store it first, then answer with the outcome.
    pub next: Option<Link>,
    /// What to answer.
    pub outcome: Outcome,
}

/// Applies one command at one time.
///
/// Checks come in the order that the protocol fixes: access, state, waiting time, opening code, release, proof, token.
/// Nothing is counted before `access` matches (so a stranger can neither count nor lock), and a wrong opening code never locks.
/// Time acts first: an open link past its expiry is Expired whatever is asked. A lookup reports that but stores nothing.
#[must_use]
pub fn apply(link: &Link, command: &Command, now: Timestamp) -> Step {
    let mut next = link.clone();
    settle(&mut next, now);
    let outcome = match command {
        Command::Lookup { access } if holds(link, access) => {
            return Step { outcome: Outcome::Done(next.state), next: None };
        }
        Command::Claim { access, code, proof, token_hash } if holds(link, access) => {
            claim(&mut next, code.as_ref(), proof, *token_hash, now)
        }
        Command::ClaimAgain { access, proof, token } if holds(link, access) => claim_again(&next, proof, token),
        Command::Acknowledge { access, token } if holds(link, access) => acknowledge(&mut next, token, now),
        Command::Decline { access, code, preimage } if holds(link, access) => {
            decline(&mut next, code.as_ref(), preimage, now)
        }
        Command::Ask { access, code, token_hash, ask } if holds(link, access) => {
            ask::put(&mut next, code.as_ref(), *token_hash, ask, now)
        }
        // A wrong `access` learns nothing and changes nothing, not even what time would have changed.
        Command::Lookup { .. }
        | Command::Claim { .. }
        | Command::ClaimAgain { .. }
        | Command::Acknowledge { .. }
        | Command::Decline { .. }
        | Command::Ask { .. } => return Step { next: None, outcome: Outcome::Refused(Refusal::NotFound) },
        Command::Settle => Outcome::Done(next.state),
        Command::Revoke => {
            if next.state.is_live() {
                end(&mut next, State::Revoked, JournalEvent::Revoked, now);
            }
            Outcome::Done(next.state)
        }
        Command::SetExpiry(at) => {
            if next.state == State::Open {
                next.expires_at = (*at).min(next.sealed.not_after);
                settle(&mut next, now);
            }
            Outcome::Done(next.state)
        }
        Command::Judge { verdict, release } => {
            if next.state == State::Open {
                next.request = next.request.filter(|r| r.seq > verdict.answered);
                next.verdict = Some(verdict.clone());
                next.release.clone_from(release);
            }
            Outcome::Done(next.state)
        }
        Command::Lock => {
            if next.state == State::Open {
                end(&mut next, State::Locked, JournalEvent::Locked, now);
            }
            Outcome::Done(next.state)
        }
    };
    let changed = next != *link;
    Step { next: changed.then_some(next), outcome }
}

/// The link with a note that its token was exposed; `None` if `access` is not its own, or it is noted already.
#[must_use]
pub fn expose(link: &Link, access: &[u8; 32], now: Timestamp) -> Option<Link> {
    if !holds(link, access) || link.journal.iter().any(|j| j.event == JournalEvent::Exposed) {
        return None;
    }
    let mut next = link.clone();
    settle(&mut next, now);
    note(&mut next, JournalEvent::Exposed, now);
    Some(next)
}

fn holds(link: &Link, access: &[u8; 32]) -> bool {
    link.sealed.access.matches(access)
}

fn settle(link: &mut Link, now: Timestamp) {
    if link.next_change().is_none_or(|due| now < due) {
        return;
    }
    match link.state {
        State::Open => end(link, State::Expired, JournalEvent::Expired, now),
        State::Claimed => end(link, State::Retrieved, JournalEvent::WindowOver, now),
        _ => {}
    }
}

/// Ends a live link: the ciphertext goes, the tombstone stays.
fn end(link: &mut Link, state: State, event: JournalEvent, now: Timestamp) {
    link.state = state;
    link.ciphertext = None;
    link.preview = None;
    link.release = None;
    link.request = None;
    link.verdict = None;
    note(link, event, now);
}

fn note(link: &mut Link, event: JournalEvent, at: Timestamp) {
    let seq = u32::try_from(link.journal.len()).unwrap_or(u32::MAX);
    link.journal.push(JournalEntry { seq, at, event });
}

fn claim(link: &mut Link, code: Option<&Digest>, proof: &Proof, token_hash: Digest, now: Timestamp) -> Outcome {
    match link.state {
        State::Open => {}
        State::Claimed => return Outcome::Refused(Refusal::Claimed),
        over => return Outcome::Refused(Refusal::Gone(over)),
    }
    if let Some(refusal) = waiting(link, now) {
        return refusal;
    }
    if link.claim_needs_code()
        && let Some(refusal) = check_code(link, code, now)
    {
        return refusal;
    }
    if link.sealed.needs_release() && !link.release.as_ref().is_some_and(|r| same(&r.token_hash, &token_hash)) {
        return Outcome::Refused(Refusal::VerificationDue);
    }
    if !link.sealed.proof.matches(&proof.0) {
        return wrong_proof(link, now);
    }
    link.state = State::Claimed;
    link.request = None;
    link.claim = Some(Claim { proof: proof.0, token_hash, at: now });
    note(link, JournalEvent::Claimed, now);
    Outcome::Released
}

fn claim_again(link: &Link, proof: &Proof, token: &[u8; 32]) -> Outcome {
    match link.state {
        State::Claimed => {}
        State::Open => return Outcome::Refused(Refusal::Invalid),
        over => return Outcome::Refused(Refusal::Gone(over)),
    }
    // Not counted: whoever claimed has passed the proof already, and another holder of the link must not lock them out.
    if !is_claimant(link, token) {
        return Outcome::Refused(Refusal::Claimed);
    }
    if !link.sealed.proof.matches(&proof.0) {
        return Outcome::Refused(Refusal::Invalid);
    }
    Outcome::Released
}

fn acknowledge(link: &mut Link, token: &[u8; 32], now: Timestamp) -> Outcome {
    match link.state {
        State::Open => Outcome::Refused(Refusal::Invalid),
        State::Claimed | State::Retrieved if !is_claimant(link, token) => Outcome::Refused(Refusal::Claimed),
        State::Claimed => {
            link.acknowledged_at = Some(now);
            end(link, State::Retrieved, JournalEvent::Acknowledged, now);
            Outcome::Done(State::Retrieved)
        }
        State::Retrieved => {
            if link.acknowledged_at.is_none() {
                link.acknowledged_at = Some(now);
                note(link, JournalEvent::Acknowledged, now);
            }
            Outcome::Done(State::Retrieved)
        }
        over => Outcome::Refused(Refusal::Gone(over)),
    }
}

fn decline(link: &mut Link, code: Option<&Digest>, preimage: &[u8; 32], now: Timestamp) -> Outcome {
    match link.state {
        State::Open | State::Claimed | State::Retrieved => {}
        State::Declined => return Outcome::Done(State::Declined),
        over => return Outcome::Refused(Refusal::Gone(over)),
    }
    if let Some(refusal) = waiting(link, now) {
        return refusal;
    }
    if link.sealed.code.is_some()
        && let Some(refusal) = check_code(link, code, now)
    {
        return refusal;
    }
    if !link.sealed.decline.matches(preimage) {
        return Outcome::Refused(Refusal::Invalid);
    }
    if link.state == State::Retrieved {
        if link.decline.is_none() {
            link.decline = Some(Decline { preimage: *preimage, at: now });
            note(link, JournalEvent::Disputed, now);
        }
        return Outcome::Done(State::Retrieved);
    }
    link.decline = Some(Decline { preimage: *preimage, at: now });
    end(link, State::Declined, JournalEvent::Declined, now);
    Outcome::Done(State::Declined)
}

fn waiting(link: &Link, now: Timestamp) -> Option<Outcome> {
    (now < link.tries.wait_until).then_some(Outcome::Refused(Refusal::SlowDown(link.tries.wait_until)))
}

fn check_code(link: &mut Link, code: Option<&Digest>, now: Timestamp) -> Option<Outcome> {
    let right = match (&link.sealed.code, code) {
        (Some(due), Some(given)) => same(due, given),
        (due, _) => due.is_none(),
    };
    if right {
        return None;
    }
    link.tries.wrong_codes = link.tries.wrong_codes.saturating_add(1);
    link.tries.wait_until = now + wait_after(link.tries.wrong_codes);
    Some(Outcome::Refused(Refusal::WrongCode(link.tries.wait_until)))
}

fn wrong_proof(link: &mut Link, now: Timestamp) -> Outcome {
    link.tries.wrong_proofs = link.tries.wrong_proofs.saturating_add(1);
    if link.tries.wrong_proofs >= MAX_WRONG_PROOFS {
        end(link, State::Locked, JournalEvent::Locked, now);
        return Outcome::Refused(Refusal::Gone(State::Locked));
    }
    link.tries.wait_until = now + wait_after(link.tries.wrong_proofs);
    Outcome::Refused(Refusal::WrongProof {
        left: MAX_WRONG_PROOFS - link.tries.wrong_proofs,
        wait_until: link.tries.wait_until,
    })
}

/// One second after the first failure, doubling, at most [`LONGEST_WAIT`].
pub(crate) fn wait_after(failures: u32) -> Span {
    let exponent = failures.saturating_sub(1).min(5);
    Span::from_secs(1_i64 << exponent).min(LONGEST_WAIT)
}

fn is_claimant(link: &Link, token: &[u8; 32]) -> bool {
    link.claim.as_ref().is_some_and(|c| c.token_hash.matches(token))
}

fn same(a: &Digest, b: &Digest) -> bool {
    a.0.ct_eq(&b.0).into()
}

#[cfg(test)]
mod tests;
