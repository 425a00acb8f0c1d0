//! What the holder of a sample link asks, right and wrong.

use std::fmt;

use ps_core::ids::{Digest, LinkId};
use ps_core::link::email_code::EmailCode;
use ps_core::service::{
    AcknowledgeRequest, ClaimRequest, CodeRequest, CodeStep, DeclineRequest, LookupRequest, Revealed, TypedCode,
    WireAsk,
};

/// The opening code of every sample (its check character is right).
pub(super) const CODE: &str = "00000000";
/// Another one.
pub(super) const WRONG_CODE: &str = "11111111";

/// Whoever holds a sample link, in one browser.
#[derive(Clone)]
pub struct Holder {
    /// The record's name.
    pub id: LinkId,
    /// Shows that the holder holds it.
    pub access: [u8; 32],
    /// What claims it.
    pub proof: [u8; 32],
    /// What declines it.
    pub decline: [u8; 32],
    /// This browser's claim token.
    pub token: [u8; 32],
    /// What they type.
    pub code: Option<&'static str>,
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Holder {
    /// The holder of the sample named `seed`.
    #[must_use]
    pub fn new(seed: &str) -> Self {
        let value = |what: &str| Digest::of(format!("{seed} {what}").as_bytes()).0;
        let mut id = [0; 16];
        id.iter_mut().zip(value("id")).for_each(|(to, from)| *to = from);
        Self {
            id: LinkId(id),
            access: value("access"),
            proof: value("proof"),
            decline: value("decline"),
            token: value("token"),
            code: Some(CODE),
        }
    }

    /// The same link in another browser.
    #[must_use]
    pub fn elsewhere(&self, browser: usize) -> Self {
        Self { token: Digest::of(format!("browser {browser}").as_bytes()).0, ..self.clone() }
    }

    /// Types another code; `None` for none.
    #[must_use]
    pub fn typing(&self, code: Option<&'static str>) -> Self {
        Self { code, ..self.clone() }
    }

    /// Has another `access`.
    #[must_use]
    pub fn without_access(&self) -> Self {
        Self { access: [0; 32], ..self.clone() }
    }

    /// Has another proof: a wrong passphrase.
    #[must_use]
    pub fn mistyped(&self) -> Self {
        Self { proof: [0; 32], ..self.clone() }
    }

    /// A lookup.
    #[must_use]
    pub fn lookup(&self) -> LookupRequest {
        LookupRequest { id: self.id, access: Revealed(self.access) }
    }

    /// A first claim.
    #[must_use]
    pub fn claim(&self) -> ClaimRequest {
        ClaimRequest::First {
            id: self.id,
            access: Revealed(self.access),
            opening_code: self.code.and_then(TypedCode::parse),
            proof: Revealed(self.proof),
            token_hash: Digest::of(&self.token),
            exposed: false,
        }
    }

    /// A repeated claim.
    #[must_use]
    pub fn claim_again(&self) -> ClaimRequest {
        ClaimRequest::Again {
            id: self.id,
            access: Revealed(self.access),
            proof: Revealed(self.proof),
            token: Revealed(self.token),
            exposed: false,
        }
    }

    /// An acknowledgement.
    #[must_use]
    pub fn acknowledge(&self) -> AcknowledgeRequest {
        AcknowledgeRequest { id: self.id, access: Revealed(self.access), token: Revealed(self.token) }
    }

    /// A decline.
    #[must_use]
    pub fn not_mine(&self) -> DeclineRequest {
        DeclineRequest {
            id: self.id,
            access: Revealed(self.access),
            opening_code: self.code.and_then(TypedCode::parse),
            decline: Revealed(self.decline),
            exposed: false,
        }
    }

    /// A step of a verification.
    #[must_use]
    pub fn code(&self, step: CodeStep) -> CodeRequest {
        CodeRequest { id: self.id, access: Revealed(self.access), token_hash: Digest::of(&self.token), step }
    }

    /// Asks for something of the operator.
    #[must_use]
    pub fn asks(&self, ask: WireAsk) -> CodeRequest {
        self.code(CodeStep::Ask { opening_code: self.code.and_then(TypedCode::parse), ask, exposed: false })
    }

    /// Asks for a code by mail.
    #[must_use]
    pub fn mail(&self) -> CodeRequest {
        self.asks(WireAsk::Mail)
    }

    /// Hands in a code.
    #[must_use]
    pub fn types(&self, code: EmailCode) -> CodeRequest {
        self.asks(WireAsk::Code(code))
    }
}
