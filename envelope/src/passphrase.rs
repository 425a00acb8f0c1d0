//! A passphrase: normalised, and stretched into `P` (section 3).

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use ps_core::link::Kdf;
use ps_core::secret::{SecretBytes, SecretString};
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroize as _;

use crate::Error;

/// The most bytes a passphrase may have after normalisation.
pub const MAX_PASSPHRASE_BYTES: usize = 1024;

/// A normalised passphrase: without one trailing line end, in Unicode NFC, 1 to 1024 bytes of UTF-8.
pub struct Passphrase(SecretString);

impl Passphrase {
    /// Normalises what was typed or read from a file. The caller's own copy stays the caller's to wipe.
    ///
    /// # Errors
    /// [`Error::PassphraseEmpty`] or [`Error::PassphraseTooLong`], by what is left after normalisation.
    pub fn new(typed: &str) -> Result<Self, Error> {
        let text = typed.strip_suffix("\r\n").or_else(|| typed.strip_suffix('\n')).unwrap_or(typed);
        // Twice through the iterator, so that the result is written once, into a buffer of the right size.
        let mut len = 0_usize;
        for c in text.nfc() {
            len += c.len_utf8();
            if len > MAX_PASSPHRASE_BYTES {
                return Err(Error::PassphraseTooLong);
            }
        }
        if len == 0 {
            return Err(Error::PassphraseEmpty);
        }
        let bytes = SecretBytes::try_fill(len, |out| {
            let mut rest = out;
            for c in text.nfc() {
                let (place, tail) =
                    std::mem::take(&mut rest).split_at_mut_checked(c.len_utf8()).ok_or(Error::Derivation)?;
                c.encode_utf8(place);
                rest = tail;
            }
            Ok(())
        })?;
        SecretString::from_utf8(bytes).map(Self).map_err(|_| Error::Derivation)
    }

    /// The normalised text. Each call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// `P`: Argon2id (RFC 9106, version 0x13) over the passphrase, with `salt` of the link. Takes 19 MiB and tens
    /// of milliseconds: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`Error::Derivation`] if there is no memory for it.
    pub fn stretch(&self, kdf: Kdf, salt: &[u8; 16]) -> Result<Stretched, Error> {
        let (memory_kib, passes, lanes) = match kdf {
            Kdf::Argon2id19456x2x1 => (19_456, 2, 1),
        };
        let params = Params::new(memory_kib, passes, lanes, Some(32)).map_err(|_| Error::Derivation)?;
        let mut memory = Memory(Vec::new());
        memory.0.try_reserve_exact(params.block_count()).map_err(|_| Error::Derivation)?;
        memory.0.resize(params.block_count(), Block::new());
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let bytes = SecretBytes::try_fill(32, |out| {
            argon
                .hash_password_into_with_memory(self.0.expose().as_bytes(), salt, out, memory.0.as_mut_slice())
                .map_err(|_| Error::Derivation)
        })?;
        Ok(Stretched(bytes))
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// Argon2's working memory, wiped whatever happens.
struct Memory(Vec<Block>);

impl Drop for Memory {
    fn drop(&mut self) {
        for block in &mut self.0 {
            block.as_mut().zeroize();
        }
    }
}

/// `P`: 32 bytes, or none where no passphrase is demanded.
pub struct Stretched(SecretBytes);

impl Stretched {
    /// The empty `P`.
    #[must_use]
    pub fn none() -> Self {
        Self(SecretBytes::default())
    }

    /// Takes over a `P` that was computed elsewhere: no bytes or 32.
    ///
    /// # Errors
    /// [`Error::Length`] for any other number of bytes.
    pub fn from_bytes(bytes: SecretBytes) -> Result<Self, Error> {
        if matches!(bytes.len(), 0 | 32) { Ok(Self(bytes)) } else { Err(Error::Length("P")) }
    }

    /// The bytes. Each call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

impl fmt::Debug for Stretched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stretched(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_line_end_goes_and_accents_compose() {
        for (typed, want) in [
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("a\r", "a\r"),
            (" a ", " a "),
            ("e\u{301}", "\u{e9}"),
            ("\u{212b}", "\u{c5}"),
        ] {
            assert_eq!(Passphrase::new(typed).unwrap().expose(), want, "{typed:?}");
        }
    }

    #[test]
    fn bounds_hold_after_normalisation() {
        assert_eq!(Passphrase::new("\r\n").err(), Some(Error::PassphraseEmpty));
        assert!(Passphrase::new(&"a".repeat(1024)).is_ok());
        assert_eq!(Passphrase::new(&"a".repeat(1025)).err(), Some(Error::PassphraseTooLong));
        // 3 bytes decomposed, 2 composed.
        assert!(Passphrase::new(&"e\u{301}".repeat(512)).is_ok());
        assert_eq!(Passphrase::new(&"e\u{301}".repeat(513)).err(), Some(Error::PassphraseTooLong));
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(typed in "\\PC{1,60}") {
            if let Ok(once) = Passphrase::new(&typed) {
                let twice = Passphrase::new(once.expose()).unwrap();
                prop_assert_eq!(once.expose(), twice.expose());
            }
        }
    }
}
