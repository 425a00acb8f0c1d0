//! From requests to commands of [`crate::link`], and from outcomes to answers: what every service over link records shares.

use crate::ids::LinkId;
use crate::link::rules::{MAX_WRONG_PROOFS, expose};
use crate::link::{self, Command, Link, Outcome, Proof, State, Step, apply};
use crate::time::{Span, Timestamp};

use super::{
    AcknowledgeRequest, ClaimAnswer, ClaimRequest, DeclineRequest, LookupAnswer, LookupRequest, Refusal, Released,
    Revealed, Sealed, StateAnswer,
};

/// A verb as a command: which link, what shows that the caller holds it, what is to be done.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The record's name.
    pub id: LinkId,
    /// Must match before anything else is looked at.
    pub access: Revealed,
    /// For [`link::apply`].
    pub command: Command,
    /// The page says that the link's token had reached a path or a query: noted with the command, whatever comes of it.
    pub exposed: bool,
}

impl Asked {
    /// What becomes of `link`, whose `access` was compared. Store [`Step::next`] first, if there is one, then answer.
    #[must_use]
    pub fn apply(&self, link: &Link, now: Timestamp) -> Step {
        let noted = if self.exposed { expose(link, &self.access.0, now) } else { None };
        let Step { next, outcome } = apply(noted.as_ref().unwrap_or(link), &self.command, now);
        Step { next: next.or(noted), outcome }
    }
}

impl From<&LookupRequest> for Asked {
    fn from(request: &LookupRequest) -> Self {
        let LookupRequest { id, access } = request;
        Self { id: *id, access: access.clone(), command: Command::Lookup { access: access.0 }, exposed: false }
    }
}

impl From<&ClaimRequest> for Asked {
    fn from(request: &ClaimRequest) -> Self {
        match request {
            ClaimRequest::First { id, access, opening_code, proof, token_hash, exposed } => {
                let code = opening_code.as_ref().map(|code| code.hash(*id));
                let (proof, token_hash) = (Proof(proof.0), *token_hash);
                let command = Command::Claim { access: access.0, code, proof, token_hash };
                Self { id: *id, access: access.clone(), command, exposed: *exposed }
            }
            ClaimRequest::Again { id, access, proof, token, exposed } => {
                let command = Command::ClaimAgain { access: access.0, proof: Proof(proof.0), token: token.0 };
                Self { id: *id, access: access.clone(), command, exposed: *exposed }
            }
        }
    }
}

impl From<&AcknowledgeRequest> for Asked {
    fn from(request: &AcknowledgeRequest) -> Self {
        let AcknowledgeRequest { id, access, token } = request;
        let command = Command::Acknowledge { access: access.0, token: token.0 };
        Self { id: *id, access: access.clone(), command, exposed: false }
    }
}

impl From<&DeclineRequest> for Asked {
    fn from(request: &DeclineRequest) -> Self {
        let DeclineRequest { id, access, opening_code, decline, exposed } = request;
        let code = opening_code.as_ref().map(|code| code.hash(*id));
        let command = Command::Decline { access: access.0, code, preimage: decline.0 };
        Self { id: *id, access: access.clone(), command, exposed: *exposed }
    }
}

/// The answer to a lookup of `link`, without what a sign-in begins with.
///
/// # Errors
/// The refusal that the outcome is.
pub fn looked_up(link: &Link, outcome: &Outcome, now: Timestamp) -> Result<LookupAnswer, Refusal> {
    let state = done(outcome, now)?.state;
    let Link { sealed, expires_at, preview, .. } = link;
    Ok(LookupAnswer {
        state,
        expires_at: *expires_at,
        not_after: sealed.not_after,
        claim_window: sealed.claim_window,
        preview: preview.clone().filter(|_| state.is_live()).map(Sealed),
        kinds: sealed.kinds.clone(),
        kdf: sealed.kdf,
        opening_code: link.claim_needs_code(),
        window_ends_at: link.window_ends_at().filter(|_| state == State::Claimed),
        oidc: None,
    })
}

/// The answer to a claim: `link` is as it is after it.
///
/// # Errors
/// The refusal that the outcome is; `NotReady` for a claimed link that lacks what it must hold.
pub fn claimed(link: &Link, outcome: &Outcome, now: Timestamp) -> Result<ClaimAnswer, Refusal> {
    match outcome {
        Outcome::Released => {
            let Link { sealed, claim, ciphertext, release, .. } = link;
            match (claim, ciphertext, link.window_ends_at()) {
                (Some(claim), Some(ciphertext), Some(window_ends_at)) => Ok(ClaimAnswer {
                    ciphertext: Sealed(ciphertext.clone()),
                    not_after: sealed.not_after,
                    claimed_at: claim.at,
                    window_ends_at,
                    r: release.as_ref().filter(|r| r.token_hash == claim.token_hash).map(|r| Released(r.r)),
                }),
                _ => Err(Refusal::NotReady),
            }
        }
        // Only the claimant gets this far, and has mistyped the passphrase. It is not counted and costs no wait.
        Outcome::Refused(link::Refusal::Invalid) if link.state == State::Claimed => Err(Refusal::WrongProof {
            attempts_left: MAX_WRONG_PROOFS.saturating_sub(link.tries.wrong_proofs),
            retry_after: Span::ZERO,
        }),
        Outcome::Refused(refusal) => Err(refused(*refusal, now)),
        Outcome::Done(state) => Err(Refusal::Gone(*state)),
    }
}

/// The answer to acknowledge and decline.
///
/// # Errors
/// The refusal that the outcome is.
pub fn done(outcome: &Outcome, now: Timestamp) -> Result<StateAnswer, Refusal> {
    match outcome {
        Outcome::Done(state) => Ok(StateAnswer { state: *state }),
        Outcome::Refused(refusal) => Err(refused(*refusal, now)),
        Outcome::Released => Err(Refusal::BadRequest),
    }
}

/// A refusal of the rules as one of the table.
#[must_use]
pub fn refused(refusal: link::Refusal, now: Timestamp) -> Refusal {
    match refusal {
        link::Refusal::NotFound => Refusal::NotFound,
        link::Refusal::Gone(state) => Refusal::Gone(state),
        link::Refusal::SlowDown(until) => Refusal::SlowDown { retry_after: until.since(now) },
        link::Refusal::WrongCode(until) => Refusal::WrongCode { retry_after: until.since(now) },
        link::Refusal::WrongProof { left, wait_until } => {
            Refusal::WrongProof { attempts_left: left, retry_after: wait_until.since(now) }
        }
        link::Refusal::VerificationDue => Refusal::VerificationDue,
        link::Refusal::NotDemanded => Refusal::NotAvailable,
        link::Refusal::Claimed => Refusal::Claimed,
        link::Refusal::Invalid => Refusal::BadRequest,
    }
}
