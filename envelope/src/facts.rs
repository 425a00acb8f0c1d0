//! What a message is bound to besides its key: the associated data (section 4).

use ps_core::encode::push_lp;
use ps_core::ids::LinkId;
use ps_core::link::{Kdf, Verification, kinds_text};
use ps_core::time::Timestamp;

use crate::Error;
use crate::cipher::Purpose;

/// Times are below this, so that JavaScript can count them.
const TIME_LIMIT: i64 = 1 << 53;

/// The facts of a link that are sealed into both of its messages. Kinds are in canonical order and without
/// repetitions, and there are KDF parameters exactly if there is a passphrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    not_after: Timestamp,
    kinds: Vec<Verification>,
    kdf: Option<Kdf>,
}

impl Facts {
    /// The facts of a new link; the sealer's kinds may come in any order.
    ///
    /// # Errors
    /// [`Error::Time`] if `not_after` is outside `[0, 2^53)` milliseconds.
    pub fn new(not_after: Timestamp, kinds: &[Verification]) -> Result<Self, Error> {
        let mut kinds = kinds.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        let kdf = kinds.contains(&Verification::Passphrase).then_some(Kdf::Argon2id19456x2x1);
        Self::checked(not_after, kinds, kdf)
    }

    /// The facts that a gateway tells. They are only believed because the messages open under them.
    ///
    /// # Errors
    /// [`Error::Kinds`] for names that are unknown, repeated or out of order, [`Error::Kdf`] for parameters that
    /// are unknown, missing or superfluous, [`Error::Time`] as above.
    pub fn from_lookup(not_after: Timestamp, kinds: &[impl AsRef<str>], kdf: Option<&str>) -> Result<Self, Error> {
        let names = kinds.iter().map(|name| Verification::parse(name.as_ref()));
        let kinds = names.collect::<Option<Vec<_>>>().ok_or(Error::Kinds)?;
        if !kinds.is_sorted_by(|a, b| a < b) {
            return Err(Error::Kinds);
        }
        let kdf = kdf.map(|name| Kdf::parse(name).ok_or(Error::Kdf)).transpose()?;
        Self::checked(not_after, kinds, kdf)
    }

    fn checked(not_after: Timestamp, kinds: Vec<Verification>, kdf: Option<Kdf>) -> Result<Self, Error> {
        if !(0..TIME_LIMIT).contains(&not_after.as_millis()) {
            return Err(Error::Time);
        }
        if kdf.is_some() != kinds.contains(&Verification::Passphrase) {
            return Err(Error::Kdf);
        }
        Ok(Self { not_after, kinds, kdf })
    }

    /// The latest expiry that the record can ever have.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Kinds of verification, in canonical order.
    #[must_use]
    pub fn kinds(&self) -> &[Verification] {
        &self.kinds
    }

    /// KDF parameters, if a passphrase is demanded.
    #[must_use]
    pub fn kdf(&self) -> Option<Kdf> {
        self.kdf
    }

    /// Whether a passphrase goes into the keys.
    #[must_use]
    pub fn needs_passphrase(&self) -> bool {
        self.kdf.is_some()
    }

    /// Whether `R` goes into the key.
    #[must_use]
    pub fn needs_factor(&self) -> bool {
        self.kinds.iter().any(|k| matches!(k, Verification::EmailCode | Verification::Oidc))
    }

    /// The associated data of one message of the link `id`.
    #[must_use]
    pub fn aad(&self, purpose: Purpose, id: LinkId) -> Vec<u8> {
        let mut aad = Vec::with_capacity(160);
        push_lp(&mut aad, b"password-sender/v1");
        push_lp(&mut aad, purpose.as_str().as_bytes());
        push_lp(&mut aad, &id.0);
        // Not negative, so the two's complement is the unsigned number.
        push_lp(&mut aad, &self.not_after.as_millis().to_be_bytes());
        push_lp(&mut aad, kinds_text(&self.kinds).as_bytes());
        push_lp(&mut aad, self.kdf.map_or("", Kdf::as_str).as_bytes());
        aad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_cannot_tell_nonsense() {
        let at = Timestamp::from_secs(1);
        let kdf = Some("argon2id-19456-2-1");
        assert!(Facts::from_lookup(at, &["passphrase", "emailCode", "oidc"], kdf).is_ok());
        assert!(Facts::from_lookup(at, &[] as &[&str], None).is_ok());
        for (kinds, kdf, want) in [
            (&["oidc", "emailCode"][..], None, Error::Kinds),
            (&["oidc", "oidc"], None, Error::Kinds),
            (&["sms"], None, Error::Kinds),
            (&["Passphrase"], kdf, Error::Kinds),
            (&["passphrase"], None, Error::Kdf),
            (&["oidc"], kdf, Error::Kdf),
            (&["passphrase"], Some("argon2id-8-1-1"), Error::Kdf),
            (&["passphrase"], Some(""), Error::Kdf),
        ] {
            assert_eq!(Facts::from_lookup(at, kinds, kdf).err(), Some(want), "{kinds:?}");
        }
    }

    #[test]
    fn times_stay_countable() {
        assert!(Facts::new(Timestamp::from_millis(TIME_LIMIT - 1), &[]).is_ok());
        for bad in [-1, TIME_LIMIT, i64::MIN, i64::MAX] {
            assert_eq!(Facts::new(Timestamp::from_millis(bad), &[]).err(), Some(Error::Time), "{bad}");
        }
    }

    #[test]
    fn a_sealer_may_name_kinds_in_any_order() {
        let facts = Facts::new(Timestamp::EPOCH, &[Verification::Oidc, Verification::Passphrase, Verification::Oidc]);
        assert_eq!(kinds_text(facts.unwrap().kinds()), "passphrase,oidc");
    }
}
