//! `S`, the 32 bytes that make a link, and its two written forms (section 2).
//!
//! A [`FreshSecret`] has sealed nothing yet. [`crate::seal()`] consumes it and gives a [`LinkSecret`] back, which can
//! be written and opened but not sealed with again: each key seals exactly one message, and the compiler sees to it.

use std::convert::Infallible;
use std::fmt;

use ps_core::secret::{SecretBytes, SecretString};
use zeroize::Zeroize as _;

use crate::Error;
use crate::text::{b64_len, secret_b64, secret_from_b64};

/// What every fragment of this version starts with.
pub const FRAGMENT_PREFIX: &str = "ps1.";
/// Bytes of `S`.
pub(crate) const SECRET_BYTES: usize = 32;

/// 32 random bytes that have not sealed anything yet. Not `Clone`: one secret, one link.
///
/// ```compile_fail,E0382
/// # use ps_envelope::FreshSecret;
/// fn twice(secret: FreshSecret) -> [FreshSecret; 2] {
///     [secret, secret]
/// }
/// ```
pub struct FreshSecret(LinkSecret);

impl FreshSecret {
    /// Takes 32 bytes of a cryptographic random generator and wipes this function's copy of them.
    /// Prefer [`FreshSecret::from_fill`], which leaves no copy with the caller either.
    #[must_use]
    pub fn from_random(mut random: [u8; SECRET_BYTES]) -> Self {
        let Ok(secret) = Self::from_fill(|out| {
            out.copy_from_slice(&random);
            Ok::<(), Infallible>(())
        });
        random.zeroize();
        secret
    }

    /// Lets `fill` write 32 random bytes into the place where they stay.
    ///
    /// # Errors
    /// Whatever `fill` returns.
    pub fn from_fill<E>(fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        Ok(Self(LinkSecret(SecretBytes::try_fill(SECRET_BYTES, fill)?)))
    }

    pub(crate) fn used(self) -> LinkSecret {
        self.0
    }
}

impl fmt::Debug for FreshSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FreshSecret(…)")
    }
}

/// `S` of a link that exists. Stored nowhere (invariant 2): it goes into one mail or onto one screen.
pub struct LinkSecret(SecretBytes);

impl LinkSecret {
    /// The fragment, without `#`: `ps1.` and 43 characters.
    ///
    /// # Errors
    /// None in practice.
    pub fn to_fragment(&self) -> Result<SecretString, Error> {
        secret_b64(FRAGMENT_PREFIX, &self.0)
    }

    /// The whole link under `public_url`, which may have a path and one trailing slash.
    ///
    /// # Errors
    /// [`Error::PublicUrl`] unless it starts with `http://` or `https://`, has a host, and neither query,
    /// fragment, white space nor control characters.
    pub fn to_url(&self, public_url: &str) -> Result<SecretString, Error> {
        let base = public_url.strip_suffix('/').unwrap_or(public_url);
        let rest = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://"));
        let foreign = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '#' | '?' | '\\' | '"' | '<' | '>');
        if rest.is_none_or(|r| r.is_empty() || r.starts_with('/')) || base.contains(foreign) {
            return Err(Error::PublicUrl);
        }
        secret_b64(&format!("{base}/#{FRAGMENT_PREFIX}"), &self.0)
    }

    /// Reads a fragment, without `#`. Exactly the form of section 2; repairing mangled links is the page's work.
    ///
    /// # Errors
    /// [`Error::Fragment`] for anything else.
    pub fn parse_fragment(fragment: &str) -> Result<Self, Error> {
        let text = fragment.strip_prefix(FRAGMENT_PREFIX).ok_or(Error::Fragment)?;
        if text.len() != b64_len(SECRET_BYTES) {
            return Err(Error::Fragment);
        }
        // 43 characters are 32 bytes and two unused bits.
        secret_from_b64(text.as_bytes()).map(Self).ok_or(Error::Fragment)
    }

    /// The bytes of `S`. Each call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

impl fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> LinkSecret {
        FreshSecret::from_random([7; 32]).used()
    }

    #[test]
    fn a_fragment_reads_back() {
        let text = secret().to_fragment().unwrap();
        assert_eq!(text.expose().len(), 47);
        assert_eq!(LinkSecret::parse_fragment(text.expose()).unwrap().expose(), [7; 32]);
    }

    #[test]
    fn a_url_keeps_the_secret_behind_the_hash() {
        let fragment = secret().to_fragment().unwrap();
        for base in ["https://s.example", "https://s.example/"] {
            let url = secret().to_url(base).unwrap();
            assert_eq!(url.expose(), format!("https://s.example/#{}", fragment.expose()));
        }
        assert!(secret().to_url("https://s.example:8443/sub/path").is_ok());
        for bad in
            ["", "s.example", "ftp://s.example", "https://", "https:///x", "https://a#b", "https://a?b", "https://a b"]
        {
            assert_eq!(secret().to_url(bad).err(), Some(Error::PublicUrl), "{bad}");
        }
    }

    #[test]
    fn nothing_prints() {
        let text = format!("{:?} {:?}", secret(), FreshSecret::from_random([7; 32]));
        assert!(!text.contains('7') && !text.contains("Bwc"), "{text}");
    }
}
