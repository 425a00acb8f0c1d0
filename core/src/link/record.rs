//! What is kept of a link, and which part of it is written by whom.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::verification::{Request, Verdict};
use crate::encode::{self, push_lp};
use crate::error::{Class, Fault};
use crate::ids::{Digest, LinkId};
use crate::time::{Span, Timestamp};

/// A factor that the recipient must pass besides holding the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verification {
    /// A passphrase, agreed on another channel; it goes into the key.
    Passphrase,
    /// A code that the operator mails on request and judges itself.
    EmailCode,
    /// A sign-in at an OpenID provider, judged by the operator.
    Oidc,
}

impl Verification {
    /// Every one, in canonical order.
    pub const ALL: [Self; 3] = [Self::Passphrase, Self::EmailCode, Self::Oidc];

    /// The name used in JSON and in associated data.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passphrase => "passphrase",
            Self::EmailCode => "emailCode",
            Self::Oidc => "oidc",
        }
    }

    /// Inverse of [`Verification::as_str`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|v| v.as_str() == name)
    }
}

/// Kinds as they enter digests and associated data: names in canonical order, joined by commas, empty for none.
#[must_use]
pub fn kinds_text(kinds: &[Verification]) -> String {
    let mut sorted = kinds.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.iter().map(|k| k.as_str()).collect::<Vec<_>>().join(",")
}

/// Strict inverse of [`kinds_text`]: unknown names, repetitions and another order are refused.
#[must_use]
pub fn parse_kinds(text: &str) -> Option<Vec<Verification>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let kinds = text.split(',').map(Verification::parse).collect::<Option<Vec<_>>>()?;
    (kinds_text(&kinds) == text).then_some(kinds)
}

/// Parameters of the passphrase hash, from a closed list (docs/link-protocol.md, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kdf {
    /// Argon2id, 19456 KiB, 2 passes, 1 lane: the OWASP minimum that a phone's browser still does in a second.
    #[serde(rename = "argon2id-19456-2-1")]
    Argon2id19456x2x1,
}

impl Kdf {
    /// The name used in JSON and in associated data.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Argon2id19456x2x1 => "argon2id-19456-2-1",
        }
    }

    /// Inverse of [`Kdf::as_str`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        (name == Self::Argon2id19456x2x1.as_str()).then_some(Self::Argon2id19456x2x1)
    }
}

/// The immutable part of a record: written once, by the sealer, and covered by the digest in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sealed {
    /// The record's name.
    pub id: LinkId,
    /// SHA-256 of the value that shows that a caller holds the link.
    pub access: Digest,
    /// SHA-256 of the value that says "not meant for me".
    pub decline: Digest,
    /// SHA-256 of the value that claims.
    pub proof: Digest,
    /// Hash of the opening code; `None` only where no mail carries the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Digest>,
    /// Kinds of verification, in canonical order, no repetitions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<Verification>,
    /// Parameters of the passphrase hash; present exactly if `kinds` holds a passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kdf: Option<Kdf>,
    /// The greatest expiry that the record may ever have.
    pub not_after: Timestamp,
    /// How long the claimant may repeat the claim, from the first claim on.
    pub claim_window: Span,
    /// SHA-256 of the sealed payload.
    pub ciphertext_hash: Digest,
    /// SHA-256 of the sealed preview.
    pub preview_hash: Digest,
}

impl Sealed {
    /// The digest that the ledger keeps (docs/link-protocol.md, section 7).
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut out = Vec::with_capacity(512);
        push_lp(&mut out, b"password-sender/v1 record");
        push_lp(&mut out, &self.id.0);
        for hash in [&self.access, &self.decline, &self.proof] {
            push_lp(&mut out, &hash.0);
        }
        push_lp(&mut out, self.code.as_ref().map_or(&[][..], |c| &c.0[..]));
        push_lp(&mut out, kinds_text(&self.kinds).as_bytes());
        push_lp(&mut out, self.kdf.map_or("", Kdf::as_str).as_bytes());
        push_lp(&mut out, &self.not_after.as_millis().to_be_bytes());
        push_lp(&mut out, &self.claim_window.as_millis().to_be_bytes());
        push_lp(&mut out, &self.ciphertext_hash.0);
        push_lp(&mut out, &self.preview_hash.0);
        Digest::of(&out)
    }

    /// Whether an opening code must come with the first claims: not where a passphrase is typed anyway.
    fn claim_needs_code(&self) -> bool {
        self.code.is_some() && !self.kinds.contains(&Verification::Passphrase)
    }

    /// Whether the operator must release `R` before a claim.
    #[must_use]
    pub fn needs_release(&self) -> bool {
        self.kinds.iter().any(|k| matches!(k, Verification::EmailCode | Verification::Oidc))
    }
}

/// The fault of a record that is too large for its store: `what` of it has `size` bytes.
#[must_use]
pub fn too_large(what: &str, size: usize, limit: usize) -> Fault {
    let message = format!("the link's {what} has {size} bytes, the store takes {limit}");
    Fault::new(Class::Permanent, "record-too-large", message).remedy("Deliver fewer or smaller fields")
}

/// Where a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Nobody has claimed it.
    Open,
    /// One claimant has it and may repeat.
    Claimed,
    /// Claimed, and the window is over or the claimant acknowledged. Erased.
    Retrieved,
    /// Nobody claimed it in time. Erased.
    Expired,
    /// Withdrawn by the sender. Erased.
    Revoked,
    /// "Not meant for me". Erased.
    Declined,
    /// Too many wrong proofs. Erased.
    Locked,
}

impl State {
    /// The name used in the gateway's answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Claimed => "claimed",
            Self::Retrieved => "retrieved",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Declined => "declined",
            Self::Locked => "locked",
        }
    }

    /// Whether the ciphertext is still there.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Open | Self::Claimed)
    }
}

/// The first and only claim.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The revealed proof: the preimage by which the operator believes the claim (invariant 9).
    #[serde(with = "encode::serde_b64")]
    pub proof: [u8; 32],
    /// SHA-256 of the claim token; only its holder may repeat.
    pub token_hash: Digest,
    /// The gateway's time at the claim.
    pub at: Timestamp,
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { proof: _, token_hash, at } = self;
        f.debug_struct("Claim").field("token_hash", token_hash).field("at", at).finish_non_exhaustive()
    }
}

/// "Not meant for me".
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decline {
    /// The revealed preimage by which the operator believes it.
    #[serde(with = "encode::serde_b64")]
    pub preimage: [u8; 32],
    /// The gateway's time.
    pub at: Timestamp,
}

impl fmt::Debug for Decline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { preimage: _, at } = self;
        f.debug_struct("Decline").field("at", at).finish_non_exhaustive()
    }
}

/// `R`, released by the operator to the holder of one claim token. It wipes `R`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// 32 bytes of key material that the operator kept until the code or the sign-in was right.
    #[serde(with = "encode::serde_b64_secret")]
    pub r: [u8; 32],
    /// SHA-256 of the only claim token that it is for.
    #[zeroize(skip)]
    pub token_hash: Digest,
}

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { r: _, token_hash } = self;
        f.debug_struct("Release").field("token_hash", token_hash).finish_non_exhaustive()
    }
}

/// Failure counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tries {
    /// Wrong opening codes so far. They only slow the link down.
    #[serde(default)]
    pub wrong_codes: u32,
    /// Wrong proofs so far. Too many lock the link.
    #[serde(default)]
    pub wrong_proofs: u32,
    /// Nothing typed is looked at before this time.
    #[serde(default)]
    pub wait_until: Timestamp,
}

/// One line of a record's journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// 0, 1, 2 … without gaps.
    pub seq: u32,
    /// The writer's time.
    pub at: Timestamp,
    /// What happened.
    pub event: JournalEvent,
}

/// What a journal can say: every transition of state, and what changes within a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JournalEvent {
    /// Open → Claimed.
    Claimed,
    /// Claimed → Retrieved by acknowledgement, or a late acknowledgement of a Retrieved link.
    Acknowledged,
    /// Claimed → Retrieved because the claim window ended.
    WindowOver,
    /// Open → Expired.
    Expired,
    /// Open or Claimed → Revoked.
    Revoked,
    /// Open or Claimed → Declined.
    Declined,
    /// Retrieved, and then somebody said that it was not them.
    Disputed,
    /// Open → Locked.
    Locked,
    /// The page says that the link's token had reached a path or a query. Noted once, in any state.
    Exposed,
}

/// A link's record as long as its id has not been voided.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// Written once by the sealer.
    pub sealed: Sealed,
    /// Where it stands.
    pub state: State,
    /// Judgement: when an open link expires; never later than `sealed.not_after`. Operator only.
    pub expires_at: Timestamp,
    /// Judgement: `R`, once a code or a sign-in was right. Operator only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// What the recipient's side asks of the operator, while the link is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Box<Request>>,
    /// Judgement: what the operator has answered, while the link is live. Operator only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Box<Verdict>>,
    /// The claim, kept by every later state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// When the claimant said that the secret is saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<Timestamp>,
    /// The decline, in Declined and in a disputed Retrieved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decline: Option<Decline>,
    /// Failure counters.
    #[serde(default)]
    pub tries: Tries,
    /// What happened, in order; at most a few dozen entries.
    #[serde(default)]
    pub journal: Vec<JournalEntry>,
    /// The sealed payload; `None` once erased.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_b64")]
    pub ciphertext: Option<Vec<u8>>,
    /// The sealed preview; `None` once erased.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_b64")]
    pub preview: Option<Vec<u8>>,
}

impl Link {
    /// A new open link. `expires_at` is cut to `sealed.not_after`.
    #[must_use]
    pub fn new(sealed: Sealed, expires_at: Timestamp, ciphertext: Vec<u8>, preview: Vec<u8>) -> Self {
        Self {
            expires_at: expires_at.min(sealed.not_after),
            sealed,
            state: State::Open,
            release: None,
            request: None,
            verdict: None,
            claim: None,
            acknowledged_at: None,
            decline: None,
            tries: Tries::default(),
            journal: Vec::new(),
            ciphertext: Some(ciphertext),
            preview: Some(preview),
        }
    }

    /// Whether an opening code must come with a claim: also beside a passphrase, once that was wrong three times.
    #[must_use]
    pub fn claim_needs_code(&self) -> bool {
        self.sealed.claim_needs_code()
            || (self.sealed.code.is_some() && self.tries.wrong_proofs >= super::rules::PROOFS_WITHOUT_CODE)
    }

    /// When the claimant's right to repeat ends, if there is a claimant.
    #[must_use]
    pub fn window_ends_at(&self) -> Option<Timestamp> {
        self.claim.as_ref().map(|c| c.at + self.sealed.claim_window)
    }

    /// When time alone will change this link next: expiry or the end of the claim window.
    #[must_use]
    pub fn next_change(&self) -> Option<Timestamp> {
        match self.state {
            State::Open => Some(self.expires_at),
            State::Claimed => self.window_ends_at(),
            _ => None,
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("id", &self.sealed.id)
            .field("state", &self.state)
            .field("expires_at", &self.expires_at)
            .field("journal", &self.journal.len())
            .field("bytes", &self.ciphertext.as_ref().map(Vec::len))
            .finish_non_exhaustive()
    }
}

/// What a store keeps under an id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Record {
    /// The tombstone of a superseded attempt: nothing can be inserted under this id any more.
    Void {
        /// The id that is used up.
        id: LinkId,
    },
    /// A link, open or over.
    Link(Box<Link>),
}

impl Record {
    /// The record's name.
    #[must_use]
    pub fn id(&self) -> LinkId {
        match self {
            Self::Void { id } => *id,
            Self::Link(link) => link.sealed.id,
        }
    }

    /// The link, unless the id was voided.
    #[must_use]
    pub fn link(&self) -> Option<&Link> {
        match self {
            Self::Void { .. } => None,
            Self::Link(link) => Some(link),
        }
    }
}

mod optional_b64 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::encode;

    pub(super) fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, s: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => s.serialize_some(&encode::b64(bytes)),
            None => s.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<u8>>, D::Error> {
        Option::<String>::deserialize(d)?
            .map(|text| encode::from_b64(&text).ok_or_else(|| D::Error::custom("not base64url")))
            .transpose()
    }
}
