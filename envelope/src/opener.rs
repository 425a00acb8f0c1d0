//! A client: from the fragment to the payload. It does no I/O; the caller asks the gateway in between.
//!
//! 1. [`Opener::from_fragment`] gives the id and the values that `lookup` and `decline` need.
//! 2. With the answer as [`Facts`], [`Opener::open_preview`] shows title and sender.
//! 3. [`Opener::unlock`] takes the passphrase, if one is demanded, and gives the proof that `claim` needs.
//! 4. [`Unlocked::open`] opens what the claim gave.

use std::fmt;

use ps_core::ids::{Digest, LinkId};
use ps_core::secret::{SecretBytes, SecretString};

use crate::Error;
use crate::cipher::Purpose;
use crate::derive::{Derived, FactorSecret, derive, key, proof};
use crate::facts::Facts;
use crate::pad;
use crate::passphrase::{Passphrase, Stretched};
use crate::payload::{Payload, Preview};
use crate::seal::{check_factor, stretch};
use crate::text::{secret_b64, secret_from_b64};
use crate::token::LinkSecret;

/// The holder of a link.
pub struct Opener {
    secret: LinkSecret,
    id: LinkId,
    access: SecretBytes,
    decline: SecretBytes,
    salt: [u8; 16],
}

impl Opener {
    /// From what follows `#` in the link.
    ///
    /// # Errors
    /// [`Error::Fragment`].
    pub fn from_fragment(fragment: &str) -> Result<Self, Error> {
        Self::new(LinkSecret::parse_fragment(fragment)?)
    }

    /// From `S` itself.
    ///
    /// # Errors
    /// None in practice.
    pub fn new(secret: LinkSecret) -> Result<Self, Error> {
        let Derived { id, access, decline, salt, preview_key: _ } = derive(&secret)?;
        Ok(Self { secret, id, access, decline, salt })
    }

    /// The record's name.
    #[must_use]
    pub fn id(&self) -> LinkId {
        self.id
    }

    /// The value that every request carries beside the id; 32 bytes.
    #[must_use]
    pub fn access(&self) -> &SecretBytes {
        &self.access
    }

    /// The value that says "not meant for me"; 32 bytes. To send it revokes the link.
    #[must_use]
    pub fn decline(&self) -> &SecretBytes {
        &self.decline
    }

    /// Opens the preview. It proves that the gateway's facts are those that were sealed.
    ///
    /// # Errors
    /// Whatever is wrong with the message, its padding or its JSON.
    pub fn open_preview(&self, facts: &Facts, message: &[u8]) -> Result<Preview, Error> {
        let plain = derive(&self.secret)?.preview_key.open(facts, self.id, message)?;
        Preview::from_json(pad::unframe(plain.expose(), Purpose::Preview.max_json())?)
    }

    /// Takes the passphrase, exactly if the facts demand one. A wrong one is noticed by the gateway, not here.
    /// Takes 19 MiB and tens of milliseconds if there is one.
    ///
    /// # Errors
    /// [`Error::Factor`] if passphrase and facts do not fit together.
    pub fn unlock(&self, facts: Facts, passphrase: Option<&Passphrase>) -> Result<Unlocked<'_>, Error> {
        let p = stretch(&facts, passphrase, &self.salt)?;
        let proof = proof(&self.secret, &p)?;
        Ok(Unlocked { opener: self, facts, p, proof })
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A link whose passphrase, if any, was given.
pub struct Unlocked<'a> {
    opener: &'a Opener,
    facts: Facts,
    p: Stretched,
    proof: SecretBytes,
}

impl Unlocked<'_> {
    /// The value that claims; 32 bytes.
    #[must_use]
    pub fn proof(&self) -> &SecretBytes {
        &self.proof
    }

    /// Opens the payload that a claim gave, with the `R` that came beside it where the facts demand one.
    ///
    /// # Errors
    /// [`Error::Factor`] if `R` is missing or superfluous, else whatever is wrong with the message.
    pub fn open(&self, r: Option<&FactorSecret>, message: &[u8]) -> Result<Payload, Error> {
        check_factor(&self.facts, r)?;
        let plain = key(&self.opener.secret, &self.p, r)?.open(&self.facts, self.opener.id, message)?;
        Payload::from_json(pad::unframe(plain.expose(), Purpose::Payload.max_json())?)
    }
}

impl fmt::Debug for Unlocked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unlocked").field("id", &self.opener.id).finish_non_exhaustive()
    }
}

/// 32 random bytes that a client keeps under the id before it claims. Only their holder may claim again.
pub struct ClaimToken(SecretBytes);

impl ClaimToken {
    /// Lets `fill` write 32 random bytes into the place where they stay.
    ///
    /// # Errors
    /// Whatever `fill` returns.
    pub fn from_fill<E>(fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        SecretBytes::try_fill(32, fill).map(Self)
    }

    /// Reads the form that [`ClaimToken::to_text`] writes.
    ///
    /// # Errors
    /// [`Error::Length`] for anything else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        secret_from_b64(text.as_bytes()).filter(|t| t.len() == 32).map(Self).ok_or(Error::Length("token"))
    }

    /// base64url, for `claim` again, `acknowledge` and the client's own memory.
    ///
    /// # Errors
    /// None in practice.
    pub fn to_text(&self) -> Result<SecretString, Error> {
        secret_b64("", &self.0)
    }

    /// `tokenHash` of the first claim.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest::of(self.0.expose())
    }
}

impl fmt::Debug for ClaimToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClaimToken(…)")
    }
}
