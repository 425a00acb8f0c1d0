//! What a record says of e-mailed codes and sign-ins: one request of the recipient's, and the operator's verdict.
//!
//! A gateway writes the request, the operator alone the verdict and `R` ([`super::Release`]). A verdict carries a MAC
//! under a key that lies in the ledger only: one that a gateway has made up is found ([`super::check`]).

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::email_code::hmac;
use super::record::{Link, Verification};
use crate::encode::{self, lp};
use crate::ids::{Digest, LinkId};
use crate::time::{Span, Timestamp};

/// Mails with a code, over the link's life.
pub const MAX_MAILS: u32 = 3;
/// Wrong attempts at one code.
pub const MAX_TRIES: u32 = 5;
/// How long a code is valid, from the moment that it is about to be mailed.
pub const CODE_LIFE: Span = Span::from_secs(600);
/// For how long after a mail another request asks for nothing: that one is on its way.
pub const MAIL_GAP: Span = Span::from_secs(30);
/// Answers of sign-ins that are looked at, over the link's life.
pub const MAX_SIGN_INS: u32 = 20;
/// How long a request that the operator has not answered keeps others out.
pub const REQUEST_HOLDS: Span = Span::from_secs(60);
/// The longest authorization code, in bytes.
pub const MAX_AUTHORIZATION_CODE: usize = 2048;

/// What the recipient's side asks of the operator, through the record.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Above that of every request that was answered.
    pub seq: u32,
    /// The gateway's time.
    pub at: Timestamp,
    /// SHA-256 of the claim token that it is made for.
    pub token_hash: Digest,
    /// What is asked.
    pub ask: Ask,
}

/// What can be asked. It prints its kind only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ask {
    /// Mail a code.
    Mail,
    /// Judge a code: see [`super::email_code::attempt`].
    Code(Digest),
    /// Judge the answer of a sign-in.
    SignIn {
        /// The provider's authorization code, 1 to [`MAX_AUTHORIZATION_CODE`] visible ASCII characters. Of no use without the
        /// client's secret.
        code: String,
        /// The PKCE verifier, 43 to 128 unreserved characters (RFC 7636, 4.1).
        verifier: String,
    },
}

impl Ask {
    /// Which kind of verification it belongs to.
    #[must_use]
    pub const fn kind(&self) -> Verification {
        match self {
            Self::Mail | Self::Code(_) => Verification::EmailCode,
            Self::SignIn { .. } => Verification::Oidc,
        }
    }

    /// Whether its texts are as long, and made of, what they may be.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let Self::SignIn { code, verifier } = self else { return true };
        let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        (1..=MAX_AUTHORIZATION_CODE).contains(&code.len())
            && code.bytes().all(|b| b.is_ascii_graphic())
            && (43..=128).contains(&verifier.len())
            && verifier.bytes().all(unreserved)
    }
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mail => "Mail",
            Self::Code(_) => "Code(…)",
            Self::SignIn { .. } => "SignIn(…)",
        })
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seq, at, token_hash: _, ask } = self;
        f.debug_struct("Request").field("seq", seq).field("at", at).field("ask", ask).finish_non_exhaustive()
    }
}

/// How it stands with e-mailed codes, as the operator tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CodeState {
    /// No code is out.
    #[default]
    None,
    /// A code is out.
    Sent,
    /// A code is out, and the last attempt at it was wrong.
    Wrong,
    /// As many wrong attempts as a code allows, or as many mails as a link has.
    UsedUp,
    /// It was handed in too late.
    Expired,
    /// The mail server refused it, or did not take it in time.
    NotSent,
}

/// The operator's verdict on e-mailed codes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CodeVerdict {
    /// How it stands.
    pub state: CodeState,
    /// Until when the code that is out is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Attempts that are left for it.
    pub tries_left: u32,
    /// Mails that are left for the link.
    pub mails_left: u32,
    /// The next attempt is not to be looked at before this time.
    pub wait_until: Timestamp,
    /// The token for which a code was right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<Digest>,
}

/// Why a sign-in did not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SignInRefusal {
    /// The provider did not accept the answer, or what it gave is not valid for this link and token.
    SignIn,
    /// The provider does not vouch for the account's address.
    Unverified,
    /// It is the account of another address.
    Email,
    /// The provider could not be reached.
    Provider,
    /// More answers than are looked at.
    TooMany,
}

impl SignInRefusal {
    /// Its name in answers, audit and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "signIn",
            Self::Unverified => "unverified",
            Self::Email => "email",
            Self::Provider => "provider",
            Self::TooMany => "tooMany",
        }
    }
}

/// The operator's verdict on sign-ins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignInVerdict {
    /// The token whose last sign-in did not pass, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<(Digest, SignInRefusal)>,
    /// The token for which a sign-in passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<Digest>,
}

/// All that the operator has judged so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The latest request that this answers.
    pub answered: u32,
    /// On codes; present exactly where the link demands them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_code: Option<CodeVerdict>,
    /// On sign-ins; present exactly where the link demands them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<SignInVerdict>,
    /// The token that `R` is released to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<Digest>,
    /// HMAC over all of this and the record's name.
    pub mac: Digest,
}

impl Verdict {
    /// Signs it for the record `id`.
    #[must_use]
    pub fn signed(mut self, id: LinkId, key: &JudgeKey) -> Self {
        self.mac = self.mac_for(id, key);
        self
    }

    /// Whether it is the operator's own, compared in constant time.
    #[must_use]
    pub fn is_ours(&self, id: LinkId, key: &JudgeKey) -> bool {
        self.mac_for(id, key).0.ct_eq(&self.mac.0).into()
    }

    fn mac_for(&self, id: LinkId, key: &JudgeKey) -> Digest {
        let bare = Self { mac: Digest([0; 32]), ..self.clone() };
        // Every type here serialises: no maps, no failing impls.
        let text = serde_json::to_vec(&bare).unwrap_or_default();
        hmac(&key.0, &lp(&[b"password-sender/v1 verdict", &id.0, &text]))
    }
}

/// What verdicts of one link are signed with: 32 random bytes that only the ledger has. It wipes itself and does
/// not print.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct JudgeKey(#[serde(with = "encode::serde_b64_secret")] pub [u8; 32]);

impl fmt::Debug for JudgeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JudgeKey(…)")
    }
}

impl Link {
    /// The request that the operator has not answered yet.
    #[must_use]
    pub fn open_request(&self) -> Option<&Request> {
        let answered = self.verdict.as_ref().map_or(0, |v| v.answered);
        self.request.as_deref().filter(|r| r.seq > answered)
    }
}
