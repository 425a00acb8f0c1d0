//! Sealing: from a payload to a link, its record and its two messages (sections 4 and 7).

use std::fmt;

use ps_core::ids::Digest;
use ps_core::link::{Sealed, Verification};
use ps_core::time::{Span, Timestamp};

use crate::Error;
use crate::derive::{Derived, FactorSecret, derive, key, proof};
use crate::facts::Facts;
use crate::opening_code::OpeningCode;
use crate::passphrase::{Passphrase, Stretched};
use crate::payload::{Content as _, Payload, Preview};
use crate::token::{FreshSecret, LinkSecret};

/// All that a link is made of.
#[derive(Debug)]
pub struct SealInput<'a> {
    /// 32 random bytes, used up by this call.
    pub secret: FreshSecret,
    /// Exactly if `kinds` has [`Verification::Passphrase`].
    pub passphrase: Option<&'a Passphrase>,
    /// `R`, exactly if `kinds` has an e-mailed code or OIDC.
    pub factor: Option<&'a FactorSecret>,
    /// `None` only where no mail carries the link.
    pub opening_code: Option<&'a OpeningCode>,
    /// What the recipient gets.
    pub payload: &'a Payload,
    /// What is shown before anything is asked for.
    pub preview: &'a Preview,
    /// The greatest expiry that the record may ever have.
    pub not_after: Timestamp,
    /// How long the claimant may repeat the claim.
    pub claim_window: Span,
    /// What the recipient must pass besides holding the link, in any order.
    pub kinds: &'a [Verification],
}

/// A link that exists, but is not put anywhere yet.
pub struct SealedLink {
    /// For the mail, and then forgotten (invariant 2).
    pub secret: LinkSecret,
    /// The immutable part of the record.
    pub sealed: Sealed,
    /// The sealed payload.
    pub ciphertext: Vec<u8>,
    /// The sealed preview.
    pub preview: Vec<u8>,
}

impl fmt::Debug for SealedLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedLink")
            .field("id", &self.sealed.id)
            .field("bytes", &self.ciphertext.len())
            .finish_non_exhaustive()
    }
}

/// Seals payload and preview. With a passphrase this takes 19 MiB and tens of milliseconds: call it where blocking
/// is allowed.
///
/// # Errors
/// [`Error::Factor`] if passphrase or `R` do not fit the kinds, [`Error::Time`], and whatever is wrong with payload or
/// preview ([`Payload::to_json`], [`Preview::to_json`]). Nothing is half done: there is no effect besides the answer.
pub fn seal(input: SealInput<'_>) -> Result<SealedLink, Error> {
    let SealInput { secret, passphrase, factor, opening_code, payload, preview, not_after, claim_window, kinds } =
        input;
    let facts = Facts::new(not_after, kinds)?;
    check_factor(&facts, factor)?;
    let payload_len = payload.json_len()?;
    let preview_len = preview.json_len()?;

    let secret = secret.used();
    let Derived { id, access, decline, salt, preview_key } = derive(&secret)?;
    let p = stretch(&facts, passphrase, &salt)?;
    let proof = proof(&secret, &p)?;

    let ciphertext = key(&secret, &p, factor)?.seal(&facts, id, payload_len, |out| payload.write_into(out))?;
    let preview = preview_key.seal(&facts, id, preview_len, |out| preview.write_into(out))?;
    let sealed = Sealed {
        id,
        access: Digest::of(access.expose()),
        decline: Digest::of(decline.expose()),
        proof: Digest::of(proof.expose()),
        code: opening_code.map(|code| code.hash(id)),
        kinds: facts.kinds().to_vec(),
        kdf: facts.kdf(),
        not_after,
        claim_window,
        ciphertext_hash: Digest::of(&ciphertext),
        preview_hash: Digest::of(&preview),
    };
    Ok(SealedLink { secret, sealed, ciphertext, preview })
}

/// A link with an opening code, and a passphrase or none: all that somebody can send who has no operator.
#[derive(Debug)]
pub struct CodedInput<'a> {
    /// What the recipient must type besides the code, if anything.
    pub passphrase: Option<&'a Passphrase>,
    /// What the recipient gets.
    pub payload: &'a Payload,
    /// What is shown before anything is asked for.
    pub preview: &'a Preview,
    /// The greatest expiry that the record may ever have.
    pub not_after: Timestamp,
    /// How long the claimant may repeat the claim.
    pub claim_window: Span,
}

/// Draws the key material and an opening code from `random`, and seals. As long as [`seal`] where there is a passphrase.
///
/// # Errors
/// Those of `random` and of [`seal`].
pub fn seal_coded<E: From<Error>>(
    input: CodedInput<'_>,
    random: impl Fn(&mut [u8]) -> Result<(), E>,
) -> Result<(SealedLink, OpeningCode), E> {
    let CodedInput { passphrase, payload, preview, not_after, claim_window } = input;
    let secret = FreshSecret::from_fill(&random)?;
    let code = OpeningCode::from_fill(&random)?;
    let kinds: &[Verification] = if passphrase.is_some() { &[Verification::Passphrase] } else { &[] };
    let link = seal(SealInput {
        secret,
        passphrase,
        factor: None,
        opening_code: Some(&code),
        payload,
        preview,
        not_after,
        claim_window,
        kinds,
    })?;
    Ok((link, code))
}

/// `P`, if passphrase and facts agree about whether there is one.
pub(crate) fn stretch(facts: &Facts, passphrase: Option<&Passphrase>, salt: &[u8; 16]) -> Result<Stretched, Error> {
    match (facts.kdf(), passphrase) {
        (Some(kdf), Some(passphrase)) => passphrase.stretch(kdf, salt),
        (None, None) => Ok(Stretched::none()),
        _ => Err(Error::Factor("passphrase")),
    }
}

/// Whether `R` is there exactly if the facts demand it.
pub(crate) fn check_factor(facts: &Facts, factor: Option<&FactorSecret>) -> Result<(), Error> {
    if facts.needs_factor() == factor.is_some() { Ok(()) } else { Err(Error::Factor("R")) }
}
