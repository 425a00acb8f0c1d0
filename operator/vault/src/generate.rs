//! New values: from a password policy of Vault's, or made here.

use ps_core::error::{Class, Fault};
use ps_core::secret::{SecretBytes, SecretString};
use serde::Deserialize;
use zeroize::Zeroize;

use crate::answer::{envelope, secret};
use crate::fault;
use crate::path::{self, field};
use crate::peer::Peer;
use crate::request::{Operation, Request};

/// Letters, digits, and the marks that need no quoting in URLs (RFC 3986), shells and connection strings.
const ALPHABET: &[u8; 66] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
/// With 66 signs, more than 192 bits: 32 × log2(66) = 193.4, less 0.35 for the letter at the start and 0.2 for having
/// every class.
const LENGTH: usize = 32;
/// Below this a byte chooses a sign without bias.
const UNBIASED: u8 = 198; // 3 × 66
const POOL: usize = 64;

/// One new value for each key.
///
/// # Errors
/// Misconfigured `vault-password-policy-not-found`; else as any request; transient if the system has no randomness.
pub(crate) async fn values<'a>(
    peer: &Peer,
    keys: &'a [String],
    policy: Option<&str>,
) -> Result<Vec<(&'a str, SecretString)>, Fault> {
    if keys.is_empty() {
        let message = "no key is named whose value is to be replaced";
        return Err(Fault::new(Class::Misconfigured, "vault-no-keys", message).field(field::ROTATION_KEYS));
    }
    let mut values = Vec::with_capacity(keys.len());
    for key in keys {
        let value = match policy {
            Some(policy) => from_policy(peer, policy).await?,
            None => password(getrandom::fill).map_err(|_| {
                Fault::new(Class::Transient, "no-randomness", "the operating system gives no random bytes")
            })?,
        };
        values.push((key.as_str(), value));
    }
    Ok(values)
}

async fn from_policy(peer: &Peer, policy: &str) -> Result<SecretString, Fault> {
    #[derive(Deserialize)]
    struct Generated {
        #[serde(deserialize_with = "secret")]
        password: SecretString,
    }
    let path =
        path::join(&[("sys/policies/password", None), (policy, Some(field::PASSWORD_POLICY)), ("generate", None)])?;
    let request = Request::get(Operation::Generate, path);
    let answer = peer.call(&request).await?;
    if answer.status == 404 {
        let message = format!("connection {}: there is no password policy {policy}", fault::name(peer.at()));
        return Err(Fault::new(Class::Misconfigured, "vault-password-policy-not-found", message)
            .field(field::PASSWORD_POLICY)
            .remedy("Write the policy to sys/policies/password, or leave the field out"));
    }
    if !answer.is_success() {
        return Err(fault::for_field(fault::of_status(peer.at(), &request, &answer), field::PASSWORD_POLICY));
    }
    let generated: Option<Generated> =
        envelope(&answer.body).and_then(|envelope| serde_json::from_str(envelope.data?.get()).ok());
    match generated {
        Some(Generated { password }) if !password.is_empty() => Ok(password),
        _ => Err(fault::unreadable(peer.at(), &request)),
    }
}

/// A password with every class of sign that starts with a letter (some tools take a leading `-` for an option). All such
/// passwords are equally likely: bytes that would bias the choice are dropped, and so is a whole draw that misses a class.
fn password<E>(fill: impl Fn(&mut [u8]) -> Result<(), E>) -> Result<SecretString, E> {
    loop {
        let drawn = SecretBytes::try_fill(LENGTH, |out| draw(out, &fill))?;
        if has_every_class(drawn.expose())
            && let Ok(password) = SecretString::from_utf8(drawn)
        {
            return Ok(password);
        }
    }
}

fn draw<E>(out: &mut [u8], fill: &impl Fn(&mut [u8]) -> Result<(), E>) -> Result<(), E> {
    let mut pool = [0_u8; POOL];
    let mut signs = out.iter_mut();
    'fill: loop {
        if let Err(error) = fill(&mut pool) {
            pool.zeroize();
            return Err(error);
        }
        for byte in pool.iter().filter(|byte| **byte < UNBIASED) {
            let Some(sign) = signs.next() else { break 'fill };
            *sign = ALPHABET.get(usize::from(*byte) % ALPHABET.len()).copied().unwrap_or_default();
        }
    }
    pool.zeroize();
    Ok(())
}

fn has_every_class(signs: &[u8]) -> bool {
    let any = |class: fn(&u8) -> bool| signs.iter().any(class);
    signs.first().is_some_and(u8::is_ascii_alphabetic)
        && any(u8::is_ascii_uppercase)
        && any(u8::is_ascii_lowercase)
        && any(u8::is_ascii_digit)
        && any(u8::is_ascii_punctuation)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn passwords_have_every_class_and_differ() {
        let made: BTreeSet<String> = (0..500).map(|_| password(getrandom::fill).unwrap().expose().to_owned()).collect();
        assert_eq!(made.len(), 500);
        for one in &made {
            assert_eq!(one.len(), LENGTH);
            assert!(has_every_class(one.as_bytes()) && one.bytes().all(|b| ALPHABET.contains(&b)), "{one}");
        }
    }

    #[test]
    fn bytes_that_would_bias_are_dropped_and_failures_reported() {
        let next = Cell::new(UNBIASED);
        let mut out = [0; 70];
        draw(&mut out, &|pool: &mut [u8]| {
            for byte in pool {
                *byte = next.get();
                next.set(next.get().wrapping_add(1));
            }
            Ok::<(), ()>(())
        })
        .unwrap();
        assert_eq!(&out[..66], ALPHABET, "198..=255 are skipped, then 0 is the first sign");
        assert_eq!(&out[66..], b"ABCD");
        assert!(password(|_: &mut [u8]| Err(())).is_err());
    }

    #[test]
    fn it_is_as_strong_as_it_says() {
        // Chance that a draw is kept, by inclusion and exclusion over the missing classes, given a first letter.
        let sizes = [26.0, 26.0, 10.0, 4.0_f64];
        let all: f64 = sizes.iter().sum();
        let mut kept = 0.0;
        for missing in 0_u32..16 {
            let gone = |class: usize| missing & (1 << class) != 0;
            let letters: f64 = (0..2).filter(|c| !gone(*c)).map(|c| sizes[c]).sum();
            let left: f64 = (0..4).filter(|c| !gone(*c)).map(|c| sizes[c]).sum();
            let sign = if missing.count_ones() % 2 == 0 { 1.0 } else { -1.0 };
            kept += sign * letters / all * (left / all).powi(31);
        }
        let bits = 32.0 * all.log2() + kept.log2();
        assert!(bits > 192.0, "{bits}");
    }
}
