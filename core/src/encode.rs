//! The encodings that hashes and associated data are made of, in one place (docs/link-protocol.md, section 1).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserializer;
use serde::de::Visitor;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Appends `part` with its length in front: unsigned 32-bit big-endian.
///
/// Parts longer than 4 GiB cannot occur: every caller bounds its input far below.
pub fn push_lp(out: &mut Vec<u8>, part: &[u8]) {
    let len = u32::try_from(part.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(part);
}

/// The concatenation of [`push_lp`] over all parts.
#[must_use]
pub fn lp(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|p| p.len() + 4).sum());
    for part in parts {
        push_lp(&mut out, part);
    }
    out
}

/// SHA-256 (FIPS 180-4).
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// base64url without padding (RFC 4648 section 5).
#[must_use]
pub fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Strict inverse of [`b64`]: no padding, no white space, canonical trailing bits; `None` otherwise.
#[must_use]
pub fn from_b64(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// `from_b64` into an array of exactly `N` bytes.
#[must_use]
pub fn from_b64_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    from_b64(text)?.try_into().ok()
}

/// serde helpers: bytes as base64url text in JSON.
pub mod serde_b64 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Serialises bytes as base64url text.
    ///
    /// # Errors
    /// Whatever the serializer returns.
    pub fn serialize<S: Serializer>(bytes: &impl AsRef<[u8]>, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&super::b64(bytes.as_ref()))
    }

    /// Reads base64url text into bytes, or into an array of the right length.
    ///
    /// # Errors
    /// Text that is not canonical base64url, or of another length. The text itself is not repeated.
    pub fn deserialize<'de, D: Deserializer<'de>, T: TryFrom<Vec<u8>>>(d: D) -> Result<T, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let bytes = super::from_b64(&text).ok_or_else(|| D::Error::custom("not base64url"))?;
        T::try_from(bytes).map_err(|_| D::Error::custom("wrong number of bytes"))
    }
}

/// serde helpers for 32 secret bytes in JSON: the text of [`serde_b64`], and what is made on the way is wiped.
pub mod serde_b64_secret {
    use serde::{Deserializer, Serializer, de::Error as _};
    use zeroize::Zeroizing;

    use super::*;

    /// Serialises bytes as base64url text.
    ///
    /// # Errors
    /// Whatever the serializer returns.
    pub fn serialize<S: Serializer>(bytes: &[u8; 32], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&Zeroizing::new(b64(bytes)))
    }

    /// Reads base64url text into 32 bytes.
    ///
    /// # Errors
    /// Text that is not canonical base64url, or of another length. The text itself is not repeated.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 32], D::Error> {
        let bytes = read_secret_text(d, |text| URL_SAFE_NO_PAD.decode(text).ok().map(Zeroizing::new))?
            .ok_or_else(|| D::Error::custom("not base64url"))?;
        <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| D::Error::custom("wrong number of bytes"))
    }
}

/// Shows secret text to `read` where it lies: no copy is made of it, and one that a deserializer has made is wiped.
pub(crate) fn read_secret_text<'de, D: Deserializer<'de>, T>(
    d: D,
    read: impl FnOnce(&str) -> T,
) -> Result<T, D::Error> {
    struct Text<F>(F);

    impl<T, F: FnOnce(&str) -> T> Visitor<'_> for Text<F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E>(self, text: &str) -> Result<T, E> {
            Ok((self.0)(text))
        }

        fn visit_string<E>(self, text: String) -> Result<T, E> {
            Ok((self.0)(&Zeroizing::new(text)))
        }
    }

    d.deserialize_str(Text(read))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_keep_parts_apart() {
        assert_ne!(lp(&[b"ab", b"c"]), lp(&[b"a", b"bc"]));
        assert_eq!(lp(&[b"ab"]), [0, 0, 0, 2, b'a', b'b']);
    }

    #[test]
    fn base64_is_strict() {
        assert_eq!(from_b64("AA"), Some(vec![0]));
        for bad in ["AB", "AA==", "A", "A A", "AA\n", "+/"] {
            assert_eq!(from_b64(bad), None, "{bad}");
        }
    }

    #[test]
    fn secrets_read_and_write_what_other_bytes_do() {
        #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
        struct Plain(#[serde(with = "serde_b64")] [u8; 32]);
        #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
        struct Secret(#[serde(with = "serde_b64_secret")] [u8; 32]);

        let text = serde_json::to_string(&Plain([200; 32])).unwrap();
        assert_eq!(serde_json::to_string(&Secret([200; 32])).unwrap(), text);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::from_value::<Secret>(value).unwrap(), Secret([200; 32]));
        for json in [&text, r#""AAAA""#, r#""A A""#, "7", "null", r#""\u0041\u0041""#, &text.replace('y', "\\u0079")] {
            let (plain, secret) = (serde_json::from_str::<Plain>(json), serde_json::from_str::<Secret>(json));
            assert_eq!(plain.map(|p| p.0).map_err(|e| e.to_string()), secret.map(|s| s.0).map_err(|e| e.to_string()));
        }
    }
}
