//! From requests to commands of [`crate::link`], and from outcomes to answers: what every service over link records shares.

use crate::ids::LinkId;
use crate::link::rules::MAX_WRONG_PROOFS;
use crate::link::{self, Command, Link, Outcome, Proof, State};
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
}

impl From<&LookupRequest> for Asked {
    fn from(request: &LookupRequest) -> Self {
        let LookupRequest { id, access } = request;
        Self { id: *id, access: *access, command: Command::Lookup { access: access.0 } }
    }
}

impl From<&ClaimRequest> for Asked {
    fn from(request: &ClaimRequest) -> Self {
        match request {
            ClaimRequest::First { id, access, opening_code, proof, token_hash } => {
                let code = opening_code.as_ref().map(|code| code.hash(*id));
                let (access, proof, token_hash) = (*access, Proof(proof.0), *token_hash);
                Self { id: *id, access, command: Command::Claim { access: access.0, code, proof, token_hash } }
            }
            ClaimRequest::Again { id, access, proof, token } => {
                let command = Command::ClaimAgain { access: access.0, proof: Proof(proof.0), token: token.0 };
                Self { id: *id, access: *access, command }
            }
        }
    }
}

impl From<&AcknowledgeRequest> for Asked {
    fn from(request: &AcknowledgeRequest) -> Self {
        let AcknowledgeRequest { id, access, token } = request;
        Self { id: *id, access: *access, command: Command::Acknowledge { access: access.0, token: token.0 } }
    }
}

impl From<&DeclineRequest> for Asked {
    fn from(request: &DeclineRequest) -> Self {
        let DeclineRequest { id, access, opening_code, decline } = request;
        let code = opening_code.as_ref().map(|code| code.hash(*id));
        Self { id: *id, access: *access, command: Command::Decline { access: access.0, code, preimage: decline.0 } }
    }
}

/// The answer to a lookup of `link`.
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
        opening_code: sealed.claim_needs_code(),
        window_ends_at: link.window_ends_at().filter(|_| state == State::Claimed),
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

/// A refusal of the rules as one of the table, for a service that has neither e-mailed codes nor sign-ins.
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
        link::Refusal::VerificationDue => Refusal::NotAvailable,
        link::Refusal::Claimed => Refusal::Claimed,
        link::Refusal::Invalid => Refusal::BadRequest,
    }
}
