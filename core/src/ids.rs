//! Names of things, each a type of its own so that one cannot stand for another.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::encode;

/// The name of a link's record: 16 bytes derived from `S`. It is safe to log: it opens nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinkId(#[serde(with = "encode::serde_b64")] pub [u8; 16]);

impl LinkId {
    /// Reads the base64url form (22 characters).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        encode::from_b64_array(text).map(Self)
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode::b64(&self.0))
    }
}

impl fmt::Debug for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkId({self})")
    }
}

/// A SHA-256 digest. Not secret, compared in constant time where it guards something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(#[serde(with = "encode::serde_b64")] pub [u8; 32]);

impl Digest {
    /// SHA-256 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(encode::sha256(bytes))
    }

    /// Whether `preimage` hashes to this digest, compared in constant time.
    #[must_use]
    pub fn matches(&self, preimage: &[u8]) -> bool {
        use subtle::ConstantTimeEq as _;
        encode::sha256(preimage).ct_eq(&self.0).into()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Which delivery: namespace and name of the manifest, both DNS labels or subdomains (RFC 1123).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// Kubernetes namespace; the folder source uses `default` where a manifest names none.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
}

impl Key {
    /// A key from its two parts; the parts are validated by the source that makes it.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// `sha256(namespace/name)`, the public half of a stamp.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(format!("{}/{}", self.namespace, self.name).as_bytes())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The annotation that ties an object to its ledger entry: `<hex sha256(namespace/name)>.<32 hex digits of randomness>`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stamp(String);

impl Stamp {
    /// A stamp for `key` from 16 random bytes.
    #[must_use]
    pub fn new(key: &Key, random: [u8; 16]) -> Self {
        Self(format!("{}.{}", key.digest(), hex::encode(random)))
    }

    /// Takes over an annotation's text, whatever it says.
    #[must_use]
    pub fn from_annotation(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether this stamp was made for `key`; a copied object carries the stamp of another name.
    #[must_use]
    pub fn is_for(&self, key: &Key) -> bool {
        self.0.split_once('.').is_some_and(|(name, _)| name == key.digest().to_string())
    }

    /// The annotation's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stamp({})", self.0)
    }
}

impl Stamp {
    /// The first 16 hex digits of its SHA-256: names an incarnation without giving the stamp away.
    #[must_use]
    pub fn incarnation(&self) -> String {
        hex::encode(&Digest::of(self.0.as_bytes()).0[..8])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stamp_is_for_one_name_only() {
        let stamp = Stamp::new(&Key::new("a", "b"), [7; 16]);
        assert!(stamp.is_for(&Key::new("a", "b")));
        for other in [Key::new("b", "a"), Key::new("a", "bb"), Key::new("a/b", "")] {
            assert!(!stamp.is_for(&other), "{other}");
        }
        for junk in ["", ".", "no dot", "x.y"] {
            assert!(!Stamp::from_annotation(junk).is_for(&Key::new("a", "b")), "{junk}");
        }
        assert_eq!(Stamp::from_annotation(stamp.as_str()), stamp);
        assert_eq!(stamp.as_str().len(), 64 + 1 + 32);
    }

    #[test]
    fn an_incarnation_does_not_give_its_stamp_away() {
        let (one, two) = (Stamp::new(&Key::new("a", "b"), [1; 16]), Stamp::new(&Key::new("a", "b"), [2; 16]));
        assert_ne!(one.incarnation(), two.incarnation());
        assert_eq!(one.incarnation().len(), 16);
        assert!(!one.as_str().contains(&one.incarnation()));
    }

    proptest! {
        #[test]
        fn a_link_id_reads_back_what_it_writes(bytes: [u8; 16], junk in ".{0,30}") {
            prop_assert_eq!(LinkId::parse(&LinkId(bytes).to_string()), Some(LinkId(bytes)));
            if let Some(id) = LinkId::parse(&junk) {
                prop_assert_eq!(id.to_string(), junk);
            }
        }
    }
}
