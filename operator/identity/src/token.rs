//! The identity token: what must be true of it (OpenID Connect Core 1.0, 3.1.3.7), with the time as an argument.

use jsonwebtoken::jwk::{Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use ps_core::link::verification::SignInRefusal;
use ps_core::time::{Span, Timestamp};
use serde::Deserialize;

use crate::address;

/// Signatures that are accepted: by public keys only. `none` and HMAC are no signatures of a provider's.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// How far the provider's clock may be off.
const CLOCK_TOLERANCE: Span = Span::from_secs(60);

/// What a token must say.
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) nonce: &'a str,
    pub(crate) email: &'a str,
}

#[derive(Deserialize)]
struct Claims {
    exp: i64,
    iat: i64,
    #[serde(default)]
    aud: Audience,
    #[serde(default)]
    azp: Option<String>,
    #[serde(default)]
    nonce: Option<String>,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    email_verified: Verified,
}

#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
    #[default]
    None,
}

/// A boolean; some providers write it as text.
#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Verified {
    Bool(bool),
    Text(String),
    #[default]
    None,
}

/// What became of a token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It proves that the recipient has signed in, for this link and this browser.
    Passed,
    /// It does not.
    Refused(SignInRefusal),
    /// It is signed with a key that is not among these: they may have been rotated.
    UnknownKey,
}

/// Judges a token.
pub(crate) fn judge(token: &str, keys: &JwkSet, expected: &Expected<'_>, now: Timestamp) -> Verdict {
    let refused = Verdict::Refused(SignInRefusal::SignIn);
    let Ok(header) = decode_header(token) else { return refused };
    if !ALGORITHMS.contains(&header.alg) {
        return refused;
    }
    let fits = |key: &&Jwk| header.kid.is_none() || key.common.key_id == header.kid;
    let mut found = keys.keys.iter().filter(|k| signs(k, header.alg)).filter(fits);
    let (Some(key), None) = (found.next(), found.next()) else { return Verdict::UnknownKey };
    let Ok(key) = DecodingKey::from_jwk(key) else { return refused };
    let mut rules = Validation::new(header.alg);
    rules.set_issuer(&[expected.issuer]);
    rules.set_audience(&[expected.client_id]);
    rules.set_required_spec_claims(&["exp", "iss", "aud"]);
    // Times are judged below, by our own clock.
    (rules.validate_exp, rules.validate_nbf) = (false, false);
    let Ok(token) = decode::<Claims>(token, &key, &rules) else { return refused };
    claims(&token.claims, expected, now).map_or_else(Verdict::Refused, |()| Verdict::Passed)
}

/// Whether a key is one for signatures of this kind.
fn signs(key: &Jwk, algorithm: Algorithm) -> bool {
    let common = &key.common;
    let used = common.public_key_use.as_ref().is_none_or(|u| *u == PublicKeyUse::Signature);
    let named = |named: KeyAlgorithm| named.to_string() == format!("{algorithm:?}");
    used && common.key_algorithm.is_none_or(named) && DecodingKey::from_jwk(key).is_ok() && family(key, algorithm)
}

fn family(key: &Jwk, algorithm: Algorithm) -> bool {
    use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve};
    match (&key.algorithm, algorithm) {
        (
            AlgorithmParameters::RSA(_),
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512,
        ) => true,
        (AlgorithmParameters::EllipticCurve(ec), Algorithm::ES256) => ec.curve == EllipticCurve::P256,
        (AlgorithmParameters::EllipticCurve(ec), Algorithm::ES384) => ec.curve == EllipticCurve::P384,
        (AlgorithmParameters::OctetKeyPair(pair), Algorithm::EdDSA) => pair.curve == EllipticCurve::Ed25519,
        _ => false,
    }
}

fn claims(claims: &Claims, expected: &Expected<'_>, now: Timestamp) -> Result<(), SignInRefusal> {
    let several = matches!(&claims.aud, Audience::Many(all) if all.len() > 1);
    let other_party = claims.azp.as_ref().map_or(several, |azp| azp != expected.client_id);
    let in_time = now < Timestamp::from_secs(claims.exp) + CLOCK_TOLERANCE
        && Timestamp::from_secs(claims.iat) <= now + CLOCK_TOLERANCE;
    let audience = match &claims.aud {
        Audience::One(one) => one == expected.client_id,
        Audience::Many(all) => all.iter().any(|one| one == expected.client_id),
        Audience::None => false,
    };
    if !audience || other_party || !in_time || claims.nonce.as_deref() != Some(expected.nonce) {
        return Err(SignInRefusal::SignIn);
    }
    let Some(email) = &claims.email else { return Err(SignInRefusal::Unverified) };
    // Another's account first: whether it is vouched for is nobody's concern then.
    if !address::same(email, expected.email) {
        return Err(SignInRefusal::Email);
    }
    match &claims.email_verified {
        Verified::Bool(true) => Ok(()),
        Verified::Text(text) if text == "true" => Ok(()),
        _ => Err(SignInRefusal::Unverified),
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
