//! The opening code: seven random characters and a check character that a person types (section 6).
//!
//! It is no factor. It stops software that runs scripts and clicks, and the check character lets a page refuse a
//! mistyped code without asking anybody.

use std::fmt;

use ps_core::ids::{Digest, LinkId};
use ps_core::link::opening_code::{self, LETTERS};
use ps_core::secret::{SecretBytes, SecretString};
use zeroize::{Zeroize as _, Zeroizing};

use crate::Error;

/// Random characters; the check character is one more.
const RANDOM: usize = LETTERS - 1;

/// A well-formed opening code. Not known to be the right one.
pub struct OpeningCode(SecretString);

impl OpeningCode {
    /// A code from 5 random bytes that `fill` writes; they are wiped.
    ///
    /// # Errors
    /// Whatever `fill` returns.
    pub fn from_fill<E>(fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut random = Zeroizing::new([0_u8; 5]);
        fill(random.as_mut_slice())?;
        Ok(Self::from_bits(&random))
    }

    /// A code from 5 random bytes.
    ///
    /// # Errors
    /// None in practice.
    pub fn from_random(random: [u8; 5]) -> Result<Self, Error> {
        Ok(Self::from_bits(&Zeroizing::new(random)))
    }

    /// 35 of the 40 bits are used, so every code is equally likely.
    fn from_bits(random: &[u8; 5]) -> Self {
        let mut bits = random.iter().fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
        let mut values = Zeroizing::new([0_u8; RANDOM]);
        for value in values.iter_mut() {
            *value = (bits & 31) as u8;
            bits >>= 5;
        }
        bits.zeroize();
        Self::from_values(&values)
    }

    fn from_values(random: &[u8; RANDOM]) -> Self {
        let mut values = Zeroizing::new([check(random); LETTERS]);
        values.iter_mut().zip(random).for_each(|(to, from)| *to = *from);
        Self(opening_code::write(&values))
    }

    /// Reads what a person typed: spaces and hyphens are skipped, case does not matter, `O` is `0`, `I` and `L` are `1`.
    ///
    /// # Errors
    /// [`Error::OpeningCode`] for another character, another length than 8, or a wrong check character.
    pub fn parse(typed: &str) -> Result<Self, Error> {
        let values = opening_code::read(typed).ok_or(Error::OpeningCode)?;
        match values.split_first_chunk::<RANDOM>() {
            Some((random, [last])) if check(random) == *last => Ok(Self(opening_code::write(&values))),
            _ => Err(Error::OpeningCode),
        }
    }

    /// The 8 characters that are hashed and sent to the gateway.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The form that people read: `XXXX-XXXX`. For the mail and the sender's terminal only.
    ///
    /// # Errors
    /// None in practice.
    pub fn shown(&self) -> Result<SecretString, Error> {
        let (left, right) = self.0.expose().split_at_checked(4).ok_or(Error::OpeningCode)?;
        let text = SecretBytes::try_fill(9, |out| {
            for (place, byte) in out.iter_mut().zip(left.bytes().chain([b'-']).chain(right.bytes())) {
                *place = byte;
            }
            Ok::<(), Error>(())
        })?;
        SecretString::from_utf8(text).map_err(|_| Error::OpeningCode)
    }

    /// The hash that the record of `id` keeps (section 7).
    #[must_use]
    pub fn hash(&self, id: LinkId) -> Digest {
        opening_code::opening_code_hash(id, self.0.expose())
    }
}

impl fmt::Debug for OpeningCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpeningCode(…)")
    }
}

/// The check value over GF(32) with `x^5 + x^2 + 1`, which is primitive: neighbours have different weights,
/// none of them zero.
fn check(values: &[u8; RANDOM]) -> u8 {
    values.iter().fold(0, |sum, value| {
        let x = sum ^ value;
        (x << 1) ^ if x >= 16 { 0b10_0101 } else { 0 }
    })
}

#[cfg(test)]
mod tests {
    use ps_core::link::opening_code::ALPHABET;

    use super::*;

    #[test]
    fn a_code_reads_back_in_every_spelling() {
        for random in [[0; 5], [0xff; 5], [1, 2, 3, 4, 5], [0x08, 0x42, 0x10, 0x84, 0x21]] {
            let code = OpeningCode::from_random(random).unwrap();
            let shown = code.shown().unwrap();
            assert_eq!(shown.expose().len(), 9);
            let spellings = [
                shown.expose().to_lowercase(),
                format!("  {} ", code.expose()),
                code.expose().replace('0', "o").replace('1', "l"),
                code.expose().replace('0', "O").replace('1', "i"),
                code.expose().chars().flat_map(|c| [c, '-', ' ']).collect(),
            ];
            for typed in spellings {
                assert_eq!(OpeningCode::parse(&typed).unwrap().expose(), code.expose(), "{typed}");
            }
        }
    }

    /// Exhaustive over positions and characters: the code is linear, so what holds for a few words holds for all.
    #[test]
    fn every_wrong_character_and_every_swap_of_neighbours_is_found() {
        for random in [[0; 5], [0xff; 5], [9, 200, 31, 4, 77], [0x12, 0x34, 0x56, 0x78, 0x9a]] {
            let code = OpeningCode::from_random(random).unwrap();
            let good = code.expose().as_bytes();
            for at in 0..8 {
                for other in ALPHABET.iter().filter(|c| **c != good[at]) {
                    let mut bad = good.to_vec();
                    bad[at] = *other;
                    assert!(OpeningCode::parse(std::str::from_utf8(&bad).unwrap()).is_err());
                }
                if at < 7 && good[at] != good[at + 1] {
                    let mut bad = good.to_vec();
                    bad.swap(at, at + 1);
                    assert!(OpeningCode::parse(std::str::from_utf8(&bad).unwrap()).is_err());
                }
            }
        }
    }

    /// The same for swaps, over every pair of values at every pair of neighbours.
    #[test]
    fn swaps_of_all_pairs_are_found() {
        for (a, b) in (0..32_u8).flat_map(|a| (0..32_u8).map(move |b| (a, b))).filter(|(a, b)| a != b) {
            for at in 0..6 {
                let mut values = [0_u8; RANDOM];
                values[at] = a;
                values[at + 1] = b;
                let before = check(&values);
                values.swap(at, at + 1);
                assert_ne!(before, check(&values), "{a} {b} at {at}");
            }
            // The last character and the check character.
            let mut values = [0_u8; RANDOM];
            values[6] = a;
            if check(&values) == b {
                values[6] = b;
                assert_ne!(check(&values), a);
            }
        }
    }

    #[test]
    fn foreign_characters_and_lengths_are_refused() {
        for bad in [
            "",
            "0000000",
            "000000000",
            "U0000000",
            "0000000*",
            "0000\t0000",
            "0000\u{2011}0000",
            "００００００００",
            "0000_0000",
        ] {
            assert_eq!(OpeningCode::parse(bad).err(), Some(Error::OpeningCode), "{bad}");
        }
        assert!(OpeningCode::parse("00000000").is_ok());
    }
}
