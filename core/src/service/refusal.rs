//! The table of refusals: statuses, codes, bodies (docs/link-protocol.md, section 8).

use serde::{Deserialize, Serialize};

use crate::link::State;
use crate::time::Span;

/// The table of refusals (section 8). Two callers who must not be told apart get equal values, and so equal bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not JSON, a member missing, unknown, malformed or too long; or a command that does not fit the state.
    #[error("The request is malformed")]
    BadRequest,
    /// The body is larger than [`MAX_REQUEST_BYTES`](super::MAX_REQUEST_BYTES).
    #[error("The request is too large")]
    TooLarge,
    /// The body is not declared to be `application/json`.
    #[error("The request must be application/json")]
    NotJson,
    /// The verb is not offered here.
    #[error("This is not offered here")]
    NotAvailable,
    /// Wrong opening code.
    #[error("Wrong opening code")]
    WrongCode {
        /// How long until the next one is looked at.
        retry_after: Span,
    },
    /// Wrong passphrase.
    #[error("Wrong passphrase")]
    WrongProof {
        /// How many are left before the link locks.
        attempts_left: u32,
        /// How long until the next one is looked at.
        retry_after: Span,
    },
    /// An e-mailed code or a sign-in is due first, with this token.
    #[error("An e-mailed code or a sign-in is due first")]
    VerificationDue,
    /// Unknown id or wrong `access`.
    #[error("No such link")]
    NotFound,
    /// Claimed by another token.
    #[error("The link was opened by somebody else")]
    Claimed,
    /// Over; the state says how.
    #[error("The link is over")]
    Gone(State),
    /// This link or this client must wait.
    #[error("Too fast: wait a little")]
    SlowDown {
        /// How long.
        retry_after: Span,
    },
    /// The gateway may not answer claims yet, or its store is busy.
    #[error("Not ready: try again")]
    NotReady,
}

impl Refusal {
    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest | Self::NotAvailable => 400,
            Self::WrongCode { .. } | Self::WrongProof { .. } | Self::VerificationDue => 403,
            Self::NotFound => 404,
            Self::Claimed => 409,
            Self::Gone(_) => 410,
            Self::TooLarge => 413,
            Self::NotJson => 415,
            Self::SlowDown { .. } => 429,
            Self::NotReady => 503,
        }
    }

    /// The stable code; safe as a metric label.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadRequest | Self::TooLarge | Self::NotJson => "bad-request",
            Self::NotAvailable => "not-available",
            Self::WrongCode { .. } => "wrong-code",
            Self::WrongProof { .. } => "wrong-proof",
            Self::VerificationDue => "verification-due",
            Self::NotFound => "not-found",
            Self::Claimed => "claimed",
            Self::Gone(_) => "gone",
            Self::SlowDown { .. } => "slow-down",
            Self::NotReady => "not-ready",
        }
    }

    /// How long to wait, where the refusal says so.
    #[must_use]
    pub const fn retry_after(self) -> Option<Span> {
        match self {
            Self::WrongCode { retry_after } | Self::WrongProof { retry_after, .. } | Self::SlowDown { retry_after } => {
                Some(retry_after)
            }
            _ => None,
        }
    }

    /// The JSON body.
    #[must_use]
    pub fn body(self) -> RefusalBody {
        RefusalBody {
            error: RefusalDetail {
                code: self.code().to_owned(),
                message: self.to_string(),
                retry_after_ms: self.retry_after(),
                attempts_left: match self {
                    Self::WrongProof { attempts_left, .. } => Some(attempts_left),
                    _ => None,
                },
                state: match self {
                    Self::Gone(state) => Some(state),
                    _ => None,
                },
            },
        }
    }

    /// Reads a refusal back, for clients of a gateway. `None` for a status and code that are not in the table.
    #[must_use]
    pub fn from_wire(status: u16, body: &RefusalBody) -> Option<Self> {
        let RefusalDetail { code, message: _, retry_after_ms, attempts_left, state } = &body.error;
        let retry_after = retry_after_ms.unwrap_or(Span::ZERO);
        let refusal = match (status, code.as_str()) {
            (400, "bad-request") => Self::BadRequest,
            (413, "bad-request") => Self::TooLarge,
            (415, "bad-request") => Self::NotJson,
            (400, "not-available") => Self::NotAvailable,
            (403, "wrong-code") => Self::WrongCode { retry_after },
            (403, "wrong-proof") => Self::WrongProof { attempts_left: attempts_left.unwrap_or(0), retry_after },
            (403, "verification-due") => Self::VerificationDue,
            (404, "not-found") => Self::NotFound,
            (409, "claimed") => Self::Claimed,
            (410, "gone") => Self::Gone((*state)?),
            (429, "slow-down") => Self::SlowDown { retry_after },
            (503, "not-ready") => Self::NotReady,
            _ => return None,
        };
        Some(refusal)
    }
}

/// A refusal as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalBody {
    /// The only member.
    pub error: RefusalDetail,
}

/// What a refusal says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusalDetail {
    /// One of the codes of section 8.
    pub code: String,
    /// For people.
    pub message: String,
    /// How long to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<Span>,
    /// Wrong proofs left before the link locks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_left: Option<u32>,
    /// How a link ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_reads_back() {
        let span = Span::from_millis(1500);
        for refusal in [
            Refusal::BadRequest,
            Refusal::TooLarge,
            Refusal::NotJson,
            Refusal::NotAvailable,
            Refusal::WrongCode { retry_after: span },
            Refusal::WrongProof { attempts_left: 9, retry_after: span },
            Refusal::VerificationDue,
            Refusal::NotFound,
            Refusal::Claimed,
            Refusal::Gone(State::Declined),
            Refusal::SlowDown { retry_after: span },
            Refusal::NotReady,
        ] {
            let json = serde_json::to_string(&refusal.body()).expect("writes");
            let body: RefusalBody = serde_json::from_str(&json).expect("reads");
            assert_eq!(Refusal::from_wire(refusal.status(), &body), Some(refusal), "{json}");
        }
        let json =
            serde_json::to_value(Refusal::WrongProof { attempts_left: 9, retry_after: span }.body()).expect("writes");
        let wanted = serde_json::json!({"error":{"code":"wrong-proof","message":"Wrong passphrase","retryAfterMs":1500,"attemptsLeft":9}});
        assert_eq!(json, wanted);
    }
}
