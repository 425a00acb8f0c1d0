//! The e-mailed code: eight digits, and what is kept of them (docs/link-protocol.md, section 8).
//!
//! Eight digits are guessed in a second by whoever has a plain hash of them. So they are hashed under a key that follows
//! from `access`, which is stored nowhere: the ledger keeps the key and the code's hash, the record keeps an attempt
//! that is bound to one claim token.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::encode::{self, lp, push_lp};
use crate::ids::{Digest, LinkId};
use crate::secret::{SecretBytes, SecretString};

/// Digits of a code.
pub const DIGITS: usize = 8;
/// The longest text that is looked at as a code: room for any grouping, none for abuse.
const MAX_TYPED: usize = 64;

/// A code of eight digits. It wipes itself and does not print.
#[derive(Clone)]
pub struct EmailCode(SecretString);

impl EmailCode {
    /// Reads what a person typed: spaces and hyphens are dropped. `None` unless eight ASCII digits remain, or if the text
    /// is longer than 64 bytes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_TYPED {
            return None;
        }
        let mut digits = String::with_capacity(MAX_TYPED);
        digits.extend(text.chars().filter(|c| !matches!(c, ' ' | '-')));
        let code = Self(SecretString::new(digits));
        let shown = code.0.expose();
        (shown.len() == DIGITS && shown.bytes().all(|b| b.is_ascii_digit())).then_some(code)
    }

    /// A code from four bytes that `fill` writes, each code as likely as any other. `None` for the one draw in forty-three that
    /// would favour some codes: draw again.
    ///
    /// # Errors
    /// Whatever `fill` returns.
    pub fn from_fill<E>(fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Option<Self>, E> {
        let drawn = SecretBytes::try_fill(4, fill)?;
        Ok(drawn.expose().first_chunk().copied().and_then(Self::from_random))
    }

    fn from_random(random: [u8; 4]) -> Option<Self> {
        const CODES: u32 = 100_000_000;
        let number = u32::from_be_bytes(random);
        (number < u32::MAX - u32::MAX % CODES).then(|| Self(SecretString::new(format!("{:08}", number % CODES))))
    }

    /// As people read it: `1234-5678`.
    #[must_use]
    pub fn shown(&self) -> SecretString {
        let (first, second) = self.0.expose().split_at_checked(DIGITS / 2).unwrap_or_default();
        SecretString::new(format!("{first}-{second}"))
    }

    /// The eight digits. Each call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for EmailCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailCode(…)")
    }
}

impl Serialize for EmailCode {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for EmailCode {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        encode::read_secret_text(d, Self::parse)?.ok_or_else(|| serde::de::Error::custom("not an e-mailed code"))
    }
}

/// What the codes of one link are hashed under. It wipes itself and does not print.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct CodeKey(#[serde(with = "encode::serde_b64_secret")] [u8; 32]);

impl CodeKey {
    /// The key that follows from `access`.
    #[must_use]
    pub fn from_access(access: &[u8]) -> Self {
        let input = Zeroizing::new(lp(&[b"password-sender/v1 email-code key", access]));
        Self(encode::sha256(&input))
    }

    /// The hash of a code of this link, for the ledger.
    #[must_use]
    pub fn hash(&self, id: LinkId, code: &EmailCode) -> Digest {
        let input = Zeroizing::new(lp(&[b"password-sender/v1 email-code", &id.0, code.expose().as_bytes()]));
        hmac(&self.0, &input)
    }
}

impl fmt::Debug for CodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeKey(…)")
    }
}

/// An attempt as the record keeps it: the code's hash, bound to the claim token that it is handed in for.
#[must_use]
pub fn attempt(code: &Digest, token_hash: &Digest) -> Digest {
    hmac(&code.0, &lp(&[b"password-sender/v1 email-code try", &token_hash.0]))
}

/// Whether an attempt is right, compared in constant time.
#[must_use]
pub fn is_right(code: &Digest, token_hash: &Digest, tried: &Digest) -> bool {
    attempt(code, token_hash).0.ct_eq(&tried.0).into()
}

/// HMAC-SHA256 (RFC 2104) with a key of 32 bytes.
pub(crate) fn hmac(key: &[u8; 32], input: &[u8]) -> Digest {
    // It takes keys of any length; were that to fail, the answer is one that nothing is equal to by chance.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        let mut out = Vec::with_capacity(64);
        push_lp(&mut out, key);
        return Digest::of(&out);
    };
    mac.update(input);
    Digest(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: LinkId = LinkId([1; 16]);

    fn code(text: &str) -> EmailCode {
        EmailCode::parse(text).unwrap()
    }

    #[test]
    fn codes_are_read_as_people_group_them() {
        for text in ["12345678", "1234-5678", " 1 2 3 4-5 6 7 8 "] {
            assert_eq!(code(text).expose(), "12345678", "{text}");
        }
        for bad in ["", "1234567", "123456789", "1234567a", "１２３４５６７８", "1234\t5678", &" ".repeat(65)] {
            assert!(EmailCode::parse(bad).is_none(), "{bad:?}");
        }
        assert_eq!(code("00000012").shown().expose(), "0000-0012");
        assert_eq!(format!("{:?}", code("12345678")), "EmailCode(…)");
    }

    #[test]
    fn every_code_is_as_likely_as_any_other() {
        assert_eq!(EmailCode::from_random([0; 4]).unwrap().expose(), "00000000");
        // 42 times a hundred million: from there on, some codes would come up once more than others.
        assert_eq!(EmailCode::from_random(4_199_999_999_u32.to_be_bytes()).unwrap().expose(), "99999999");
        assert!(EmailCode::from_random(4_200_000_000_u32.to_be_bytes()).is_none());
    }

    #[test]
    fn an_attempt_is_for_one_link_one_code_and_one_token() {
        let (key, other) = (CodeKey::from_access(&[2; 32]), CodeKey::from_access(&[3; 32]));
        let (token, another) = (Digest::of(b"token"), Digest::of(b"another"));
        let hash = key.hash(ID, &code("12345678"));
        let tried = attempt(&hash, &token);
        assert!(is_right(&hash, &token, &tried));
        assert!(!is_right(&hash, &another, &tried));
        for wrong in [
            key.hash(ID, &code("12345679")),
            other.hash(ID, &code("12345678")),
            key.hash(LinkId([9; 16]), &code("12345678")),
        ] {
            assert!(!is_right(&wrong, &token, &tried));
        }
    }

    #[test]
    fn the_hashes_are_those_of_the_protocol() {
        // Computed with Python's hmac and hashlib from the text of section 8.
        let hash = CodeKey::from_access(&[2; 32]).hash(ID, &code("12345678"));
        assert_eq!(hash.to_string(), "45571782d4966da224bbba5a49e75c9ab827f3faacf86269e432f8ae4bd0b876");
        assert_eq!(
            attempt(&hash, &Digest([5; 32])).to_string(),
            "cb178f0fa37d73b2c66abb275d409324781bc693af877670af8e5033902fbf1c"
        );
    }
}
