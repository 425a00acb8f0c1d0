//! Secrets that wipe themselves and cannot print.
//!
//! There is no `Deref`, `Display`, `PartialEq` or `Serialize`: reading one is a call named `expose`,
//! so that every reader is found by searching for that word.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Overwrites bytes with zeros, so that the compiler can't leave it out. Eight at a time: `zeroize` alone stores each byte
/// by itself, which takes as long as the cipher does.
fn wipe(bytes: &mut [u8]) {
    let (head, words, tail) = bytemuck::pod_align_to_mut::<u8, u64>(bytes);
    head.zeroize();
    words.zeroize();
    tail.zeroize();
}

/// Bytes that are wiped when dropped and never printed.
///
/// The bytes live in one heap allocation that is never grown in place, so no stale copy is left
/// behind by a reallocation.
#[derive(Clone, Default)]
pub struct SecretBytes(Box<[u8]>);

impl Zeroize for SecretBytes {
    fn zeroize(&mut self) {
        wipe(&mut self.0);
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl ZeroizeOnDrop for SecretBytes {}

impl SecretBytes {
    /// Takes ownership of bytes. A vector with spare capacity is copied once and wiped.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        if bytes.len() == bytes.capacity() {
            return Self(bytes.into_boxed_slice());
        }
        let mut source = bytes;
        let exact = source.as_slice().into();
        wipe(&mut source);
        Self(exact)
    }

    /// Builds a secret in place: `fill` writes into `len` zero bytes.
    ///
    /// # Errors
    /// Whatever `fill` returns; the partly filled bytes are wiped.
    pub fn try_fill<E>(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self(vec![0_u8; len].into_boxed_slice());
        fill(&mut secret.0)?;
        Ok(secret)
    }

    /// The bytes themselves. Each call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes; it is not treated as secret.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(…)")
    }
}

/// Text that is wiped when dropped and never printed. Same rules as [`SecretBytes`].
#[derive(Clone, Default, Zeroize, ZeroizeOnDrop)]
pub struct SecretString(SecretBytes);

impl SecretString {
    /// Takes ownership of text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(SecretBytes::new(text.into_bytes()))
    }

    /// Takes bytes that are UTF-8.
    ///
    /// # Errors
    /// Returns the bytes, still secret, if they are not UTF-8.
    pub fn from_utf8(bytes: SecretBytes) -> Result<Self, SecretBytes> {
        if std::str::from_utf8(bytes.expose()).is_ok() { Ok(Self(bytes)) } else { Err(bytes) }
    }

    /// The text itself. Each call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &str {
        // Both constructors checked it; an empty text is the harmless answer to an impossible case.
        std::str::from_utf8(self.0.expose()).unwrap_or_default()
    }

    /// Length in bytes of the UTF-8 form.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the text is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretString(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_wiped_wherever_it_lies() {
        for len in 0..40 {
            for start in 0..9 {
                let mut room = [0xa5_u8; 64];
                wipe(&mut room[start..start + len]);
                let wiped = |at: &usize| (start..start + len).contains(at);
                assert!((0..64).all(|at| room[at] == if wiped(&at) { 0 } else { 0xa5 }), "{start} {len}");
            }
        }
        let mut secret = SecretBytes::new(vec![7; 33]);
        secret.zeroize();
        assert_eq!(secret.expose(), [0; 33]);
    }

    /// Compiles only while each of them wipes itself.
    #[test]
    fn every_secret_of_the_rules_wipes_itself() {
        fn wipes<T: ZeroizeOnDrop>() {}
        wipes::<SecretString>();
        wipes::<crate::entry::ReleaseKey>();
        wipes::<crate::entry::TagKey>();
        wipes::<crate::link::Release>();
        wipes::<crate::link::email_code::CodeKey>();
        wipes::<crate::link::verification::JudgeKey>();
        wipes::<crate::service::Released>();
        wipes::<crate::service::Revealed>();
        wipes::<crate::service::TypedCode>();
    }

    #[test]
    fn debug_shows_neither_text_nor_bytes_nor_length() {
        let text = format!("{:?}", SecretString::new("hunter2".into()));
        let bytes = format!("{:#?}", SecretBytes::new(vec![104, 117, 110]));
        assert_eq!(text, "SecretString(…)");
        assert_eq!(bytes, "SecretBytes(…)");
    }

    #[test]
    fn spare_capacity_does_not_survive() {
        let mut spare = Vec::with_capacity(64);
        spare.extend_from_slice(b"abc");
        let secret = SecretBytes::new(spare);
        assert_eq!(secret.expose(), b"abc");
        assert_eq!(secret.len(), 3);
    }

    #[test]
    fn text_that_is_not_utf8_comes_back() {
        assert!(SecretString::from_utf8(SecretBytes::new(vec![0xff])).is_err());
    }
}
