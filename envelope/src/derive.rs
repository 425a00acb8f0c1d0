//! Everything that is derived from `S`, `P` and `R` (section 3): HKDF-SHA256 (RFC 5869), inputs length-prefixed.

use std::fmt;

use hkdf::HkdfExtract;
use ps_core::ids::LinkId;
use ps_core::secret::SecretBytes;
use sha2::Sha256;
use zeroize::Zeroize as _;

use crate::Error;
use crate::cipher::{MessageKey, Purpose};
use crate::passphrase::Stretched;
use crate::token::LinkSecret;

/// What follows from `S` alone.
pub struct Derived {
    /// The record's name.
    pub id: LinkId,
    /// Shows that the caller holds the link; 32 bytes.
    pub access: SecretBytes,
    /// Says "not meant for me"; 32 bytes.
    pub decline: SecretBytes,
    /// For Argon2id. Random to everybody without the link, but no secret of its own.
    pub salt: [u8; 16],
    /// Seals the preview, once.
    pub preview_key: MessageKey,
}

impl fmt::Debug for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, access: _, decline: _, salt: _, preview_key: _ } = self;
        f.debug_struct("Derived").field("id", id).finish_non_exhaustive()
    }
}

/// `R`: 32 random bytes that the operator keeps until an e-mailed code or a sign-in was right.
pub struct FactorSecret(SecretBytes);

impl FactorSecret {
    /// Lets `fill` write 32 random bytes into the place where they stay.
    ///
    /// # Errors
    /// Whatever `fill` returns.
    pub fn from_fill<E>(fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        SecretBytes::try_fill(32, fill).map(Self)
    }

    /// Takes over bytes from the ledger or from the gateway's answer.
    ///
    /// # Errors
    /// [`Error::Length`] unless there are 32.
    pub fn from_bytes(bytes: SecretBytes) -> Result<Self, Error> {
        if bytes.len() == 32 { Ok(Self(bytes)) } else { Err(Error::Length("R")) }
    }

    /// The bytes, for the ledger. Each call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

impl fmt::Debug for FactorSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FactorSecret(…)")
    }
}

/// Derives what follows from `S` alone.
///
/// # Errors
/// None in practice: [`Error::Derivation`] if a primitive refuses the fixed lengths used here.
pub fn derive(s: &LinkSecret) -> Result<Derived, Error> {
    let s = [s.expose()];
    let mut id = [0_u8; 16];
    expand(&s, "password-sender/v1 id", &mut id)?;
    let mut salt = [0_u8; 16];
    expand(&s, "password-sender/v1 salt", &mut salt)?;
    Ok(Derived {
        id: LinkId(id),
        access: expand_secret(&s, "password-sender/v1 access")?,
        decline: expand_secret(&s, "password-sender/v1 decline")?,
        salt,
        preview_key: MessageKey::new(Purpose::Preview, expand_secret(&s, "password-sender/v1 preview")?),
    })
}

/// `proof`, which claims: 32 bytes from `S` and `P`.
///
/// # Errors
/// As [`derive()`].
pub fn proof(s: &LinkSecret, p: &Stretched) -> Result<SecretBytes, Error> {
    expand_secret(&[s.expose(), p.expose()], "password-sender/v1 proof")
}

/// `key`, which seals the payload: from `S`, `P` and `R`.
///
/// # Errors
/// As [`derive()`].
pub fn key(s: &LinkSecret, p: &Stretched, r: Option<&FactorSecret>) -> Result<MessageKey, Error> {
    let r = r.map_or(&[][..], FactorSecret::expose);
    let bytes = expand_secret(&[s.expose(), p.expose(), r], "password-sender/v1 key")?;
    Ok(MessageKey::new(Purpose::Payload, bytes))
}

fn expand_secret(parts: &[&[u8]], label: &str) -> Result<SecretBytes, Error> {
    SecretBytes::try_fill(32, |out| expand(parts, label, out))
}

/// HKDF with an empty salt over `lp` of each part, written straight into `out`.
fn expand(parts: &[&[u8]], label: &str, out: &mut [u8]) -> Result<(), Error> {
    let mut extract = HkdfExtract::<Sha256>::new(None);
    for part in parts {
        extract.input_ikm(&length(part)?);
        extract.input_ikm(part);
    }
    // The pseudo-random key comes back by value; its copy here is wiped, the one inside `hkdf` wipes itself.
    let (mut prk, hkdf) = extract.finalize();
    prk.as_mut_slice().zeroize();
    hkdf.expand_multi_info(&[&length(label.as_bytes())?, label.as_bytes()], out).map_err(|_| Error::Derivation)
}

fn length(part: &[u8]) -> Result<[u8; 4], Error> {
    u32::try_from(part.len()).map(u32::to_be_bytes).map_err(|_| Error::Derivation)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::token::FreshSecret;

    #[test]
    fn every_value_is_its_own() {
        let s = FreshSecret::from_random([1; 32]).used();
        let p = Stretched::from_bytes(SecretBytes::new(vec![2; 32])).unwrap();
        let r = FactorSecret::from_bytes(SecretBytes::new(vec![3; 32])).unwrap();
        let d = derive(&s).unwrap();
        let none = Stretched::none();
        let all = [
            d.access.expose().to_vec(),
            d.decline.expose().to_vec(),
            d.preview_key.expose().to_vec(),
            proof(&s, &none).unwrap().expose().to_vec(),
            proof(&s, &p).unwrap().expose().to_vec(),
            key(&s, &none, None).unwrap().expose().to_vec(),
            key(&s, &p, None).unwrap().expose().to_vec(),
            key(&s, &none, Some(&r)).unwrap().expose().to_vec(),
            key(&s, &p, Some(&r)).unwrap().expose().to_vec(),
            d.id.0.to_vec(),
            d.salt.to_vec(),
        ];
        assert_eq!(all.iter().map(|v| &v[..16]).collect::<HashSet<_>>().len(), all.len());
    }

    #[test]
    fn p_and_r_do_not_trade_places() {
        let s = FreshSecret::from_random([1; 32]).used();
        let x = || SecretBytes::new(vec![9; 32]);
        let as_p = key(&s, &Stretched::from_bytes(x()).unwrap(), None).unwrap();
        let as_r = key(&s, &Stretched::none(), Some(&FactorSecret::from_bytes(x()).unwrap())).unwrap();
        assert_ne!(as_p.expose(), as_r.expose());
    }
}
