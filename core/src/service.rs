//! The five verbs of the gateway: their wire types, and the trait that a gateway serves (docs/link-protocol.md, section 8).
//!
//! Requests are parsed strictly: an unknown, missing, repeated or malformed member refuses the whole body, and so
//! does `null`. What a caller reveals ([`Revealed`]) does not print. [`Refusal`] is the table of refusals.

pub mod answers;
mod code;
mod refusal;

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::encode;
use crate::ids::{Digest, LinkId};
use crate::link::{Kdf, State, Verification, opening_code, opening_code_hash};
use crate::secret::SecretString;
use crate::time::{Span, Timestamp};

pub use code::{
    CodeAnswer, CodeRequest, CodeStep, EmailCodeAnswer, EmailCodeStatus, OidcAnswer, OidcStatus, SignInOffer, WireAsk,
};
pub use refusal::{Refusal, RefusalBody, RefusalDetail};

/// The largest request body, in bytes (section 8).
pub const MAX_REQUEST_BYTES: usize = 8 * 1024;
/// The longest text that is looked at as an opening code: room for any grouping, none for abuse.
const MAX_TYPED_CODE_BYTES: usize = 64;

/// 32 bytes that a caller reveals to show a right: `access`, `proof`, `decline`, a claim token. It wipes itself and
/// does not print.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Revealed(#[serde(with = "encode::serde_b64_secret")] pub [u8; 32]);

impl fmt::Debug for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revealed(…)")
    }
}

/// An opening code in normal form: eight letters of the alphabet of section 6. It wipes itself and does not print.
///
/// The check character is the page's affair: here a code whose check fails is a wrong code like any other.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct TypedCode(SecretString);

impl TypedCode {
    /// Normalises what a person typed: drops spaces and hyphens, upper-cases, reads `O` as `0`, `I` and `L` as `1`.
    /// `None` if that does not leave eight letters of the alphabet, or the text is longer than 64 bytes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_TYPED_CODE_BYTES {
            return None;
        }
        opening_code::read(text).map(|values| Self(opening_code::write(&values)))
    }

    /// The hash that a record keeps of it, bound to the link.
    #[must_use]
    pub fn hash(&self, id: LinkId) -> Digest {
        opening_code_hash(id, self.0.expose())
    }
}

impl fmt::Debug for TypedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TypedCode(…)")
    }
}

impl Serialize for TypedCode {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for TypedCode {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        encode::read_secret_text(d, Self::parse)?.ok_or_else(|| serde::de::Error::custom("not an opening code"))
    }
}

/// Asks for state and preview.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LookupRequest {
    /// The record's name.
    pub id: LinkId,
    /// Shows that the caller holds the link.
    pub access: Revealed,
}

/// A claim, in one of its two forms: the hash of the token the first time, the token itself when repeated.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "ClaimWire", try_from = "ClaimWire")]
pub enum ClaimRequest {
    /// The first claim.
    First {
        /// The record's name.
        id: LinkId,
        /// Shows that the caller holds the link.
        access: Revealed,
        /// What the person typed; a record may demand it.
        opening_code: Option<TypedCode>,
        /// Derived from `S` and the passphrase.
        proof: Revealed,
        /// SHA-256 of the claim token.
        token_hash: Digest,
        /// The page says that the link's token had reached a path or a query.
        exposed: bool,
    },
    /// The same claimant once more.
    Again {
        /// The record's name.
        id: LinkId,
        /// Shows that the caller holds the link.
        access: Revealed,
        /// Derived from `S` and the passphrase.
        proof: Revealed,
        /// The claim token itself.
        token: Revealed,
        /// The page says that the link's token had reached a path or a query.
        exposed: bool,
    },
}

impl ClaimRequest {
    /// The record's name.
    #[must_use]
    pub const fn id(&self) -> LinkId {
        match self {
            Self::First { id, .. } | Self::Again { id, .. } => *id,
        }
    }
}

/// Both forms of a claim as one JSON object.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClaimWire {
    id: LinkId,
    access: Revealed,
    proof: Revealed,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    opening_code: Option<TypedCode>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    token_hash: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    token: Option<Revealed>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    exposed: bool,
}

impl TryFrom<ClaimWire> for ClaimRequest {
    type Error = &'static str;

    fn try_from(wire: ClaimWire) -> Result<Self, Self::Error> {
        let ClaimWire { id, access, proof, opening_code, token_hash, token, exposed } = wire;
        match (token_hash, token, opening_code) {
            (Some(token_hash), None, opening_code) => {
                Ok(Self::First { id, access, opening_code, proof, token_hash, exposed })
            }
            (None, Some(token), None) => Ok(Self::Again { id, access, proof, token, exposed }),
            _ => Err("either tokenHash, or token without openingCode"),
        }
    }
}

impl From<ClaimRequest> for ClaimWire {
    fn from(request: ClaimRequest) -> Self {
        match request {
            ClaimRequest::First { id, access, opening_code, proof, token_hash, exposed } => {
                Self { id, access, proof, opening_code, token_hash: Some(token_hash), token: None, exposed }
            }
            ClaimRequest::Again { id, access, proof, token, exposed } => {
                Self { id, access, proof, opening_code: None, token_hash: None, token: Some(token), exposed }
            }
        }
    }
}

/// The claimant says that the secret is saved.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AcknowledgeRequest {
    /// The record's name.
    pub id: LinkId,
    /// Shows that the caller holds the link.
    pub access: Revealed,
    /// The claim token itself.
    pub token: Revealed,
}

/// "This was not meant for me."
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeclineRequest {
    /// The record's name.
    pub id: LinkId,
    /// Shows that the caller holds the link.
    pub access: Revealed,
    /// What the person typed. Absent only for a link that was given without a mail.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub opening_code: Option<TypedCode>,
    /// The decline value derived from `S`.
    pub decline: Revealed,
    /// The page says that the link's token had reached a path or a query.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exposed: bool,
}

/// An optional member may be absent, not `null`.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}

/// The answer to a lookup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LookupAnswer {
    /// Where the link stands now.
    pub state: State,
    /// When it expires if nobody claims it.
    pub expires_at: Timestamp,
    /// The latest expiry that it can have; part of the seal.
    pub not_after: Timestamp,
    /// How long a claim may be repeated.
    #[serde(rename = "claimWindowMs")]
    pub claim_window: Span,
    /// The sealed preview; absent once erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Sealed>,
    /// Kinds of verification, in canonical order.
    pub kinds: Vec<Verification>,
    /// KDF parameters, if a passphrase is demanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kdf: Option<Kdf>,
    /// Whether a claim needs the opening code.
    pub opening_code: bool,
    /// When the claimant's right to repeat ends; present while the link is claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_ends_at: Option<Timestamp>,
    /// How a sign-in begins, where one is demanded and the gateway knows a provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc: Option<SignInOffer>,
}

/// The answer to a claim that won, or was repeated by the claimant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimAnswer {
    /// The sealed payload.
    pub ciphertext: Sealed,
    /// Part of the seal.
    pub not_after: Timestamp,
    /// When it was claimed first, by the gateway's clock.
    pub claimed_at: Timestamp,
    /// Until when this claimant may repeat.
    pub window_ends_at: Timestamp,
    /// Key material that the operator released, where the kinds of verification demand it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r: Option<Released>,
}

/// The answer to acknowledge and decline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateAnswer {
    /// Where the link stands now.
    pub state: State,
}

/// A sealed message: ciphertext with its tag.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed(#[serde(with = "encode::serde_b64")] pub Vec<u8>);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

/// `R`, on its way to the holder of one claim token. It wipes itself and does not print.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Released(#[serde(with = "encode::serde_b64_secret")] pub [u8; 32]);

impl fmt::Debug for Released {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Released(…)")
    }
}

/// What a gateway serves. A method that answers `Ok` has made its change durable before.
///
/// Implemented by `core::link` over a store, and by a client of a Vault mount; one suite tests both.
#[async_trait]
pub trait LinkService: Send + Sync {
    /// State and preview. Changes nothing.
    ///
    /// # Errors
    /// A [`Refusal`].
    async fn lookup(&self, request: &LookupRequest, now: Timestamp) -> Result<LookupAnswer, Refusal>;
    /// Claims, or repeats a claim.
    ///
    /// # Errors
    /// A [`Refusal`].
    async fn claim(&self, request: &ClaimRequest, now: Timestamp) -> Result<ClaimAnswer, Refusal>;
    /// Erases what was claimed.
    ///
    /// # Errors
    /// A [`Refusal`].
    async fn acknowledge(&self, request: &AcknowledgeRequest, now: Timestamp) -> Result<StateAnswer, Refusal>;
    /// Ends the link, or disputes its retrieval.
    ///
    /// # Errors
    /// A [`Refusal`].
    async fn decline(&self, request: &DeclineRequest, now: Timestamp) -> Result<StateAnswer, Refusal>;
    /// A step of an e-mailed code or a sign-in. May wait a few seconds for the operator.
    ///
    /// # Errors
    /// A [`Refusal`]; [`Refusal::NotAvailable`] unless an implementation offers it.
    async fn code(&self, _request: &CodeRequest, _now: Timestamp) -> Result<CodeAnswer, Refusal> {
        Err(Refusal::NotAvailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const B16: &str = "AAAAAAAAAAAAAAAAAAAAAA";
    const B32: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn claim(rest: &str) -> Result<ClaimRequest, serde_json::Error> {
        serde_json::from_str(&format!(r#"{{"id":"{B16}","access":"{B32}","proof":"{B32}"{rest}}}"#))
    }

    #[test]
    fn a_claim_has_exactly_one_of_two_forms() {
        let hash = format!(r#","tokenHash":"{B32}""#);
        let token = format!(r#","token":"{B32}""#);
        let code = r#","openingCode":"abcd-efgh""#;
        assert!(matches!(claim(&hash), Ok(ClaimRequest::First { opening_code: None, .. })));
        assert!(matches!(claim(&format!("{hash}{code}")), Ok(ClaimRequest::First { opening_code: Some(_), .. })));
        assert!(matches!(claim(&token), Ok(ClaimRequest::Again { .. })));
        for bad in [
            String::new(),
            format!("{hash}{token}"),
            format!("{token}{code}"),
            format!("{hash}{hash}"),
            format!(r#"{hash},"extra":1"#),
            format!(r#"{hash},"token":null"#),
            format!(r#"{hash},"openingCode":null"#),
            format!(r#"{hash},"openingCode":"ABC""#),
            r#","tokenHash":"AAAA""#.to_owned(),
            format!(r#","tokenHash":"{B32}=""#),
            r#","token":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB""#.to_owned(),
        ] {
            assert!(claim(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn both_forms_write_what_they_read() {
        for rest in [format!(r#","tokenHash":"{B32}","openingCode":"0123-45o1""#), format!(r#","token":"{B32}""#)] {
            let once = serde_json::to_string(&claim(&rest).expect("parses")).expect("writes");
            let twice: ClaimRequest = serde_json::from_str(&once).expect("parses again");
            assert_eq!(serde_json::to_string(&twice).expect("writes"), once);
        }
    }

    #[test]
    fn codes_are_normalised_as_the_protocol_says() {
        for text in ["ABCD-EF01", "abcdef01", " a b-c-d e f o l ", "ABCDEFOI"] {
            assert_eq!(TypedCode::parse(text).as_ref().map(|c| c.0.expose()), Some("ABCDEF01"), "{text}");
        }
        for bad in ["", "ABCDEF0", "ABCDEF012", "ABCDEFU1", "ABCDEF\t01", "ÄBCDEF01", "ABCDEF\u{a0}01", &" ".repeat(65)]
        {
            assert!(TypedCode::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn nothing_revealed_prints() {
        let request = claim(&format!(r#","tokenHash":"{B32}","openingCode":"ABCDEF01""#)).expect("parses");
        let text = format!("{request:?}");
        assert!(!text.contains("ABCDEF01"), "{text}");
        assert_eq!(text.matches("Revealed(…)").count(), 2, "{text}");
    }
}
