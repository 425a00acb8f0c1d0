//! How an opening code is read and written (docs/link-protocol.md, section 6): for whoever makes one, types one or checks one.

use zeroize::Zeroizing;

use crate::encode::lp;
use crate::ids::{Digest, LinkId};
use crate::secret::SecretString;

/// Crockford's base32 alphabet; a letter's value is its place.
pub const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Letters of a code. The last one checks the others, which nothing here looks at.
pub const LETTERS: usize = 8;

/// The value of each letter that a person typed: spaces and hyphens are skipped, case does not matter, `O` is `0`, `I` and `L`
/// are `1`. `None` for another character, or another number of letters.
#[must_use]
pub fn read(typed: &str) -> Option<Zeroizing<[u8; LETTERS]>> {
    let mut values = Zeroizing::new([0_u8; LETTERS]);
    let mut count = 0_usize;
    for byte in typed.bytes().filter(|b| !matches!(b, b' ' | b'-')) {
        *values.get_mut(count)? = value_of(byte)?;
        count += 1;
    }
    (count == LETTERS).then_some(values)
}

/// The normal form: the letters of these values, of which the five low bits count.
#[must_use]
pub fn write(values: &[u8; LETTERS]) -> SecretString {
    let mut text = String::with_capacity(LETTERS);
    text.extend(values.iter().filter_map(|value| ALPHABET.get(usize::from(value & 31))).copied().map(char::from));
    SecretString::new(text)
}

/// Hash of an opening code in normal form, bound to the link (docs/link-protocol.md, section 7).
#[must_use]
pub fn opening_code_hash(id: LinkId, code: &str) -> Digest {
    Digest::of(&Zeroizing::new(lp(&[b"password-sender/v1 opening-code", &id.0, code.as_bytes()])))
}

fn value_of(byte: u8) -> Option<u8> {
    let canonical = match byte.to_ascii_uppercase() {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        other => other,
    };
    ALPHABET.iter().position(|c| *c == canonical).and_then(|at| u8::try_from(at).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(typed: &str) -> Option<String> {
        read(typed).map(|values| write(&values).expose().to_owned())
    }

    #[test]
    fn every_spelling_has_one_normal_form() {
        for typed in ["ABCD-EF01", "abcdef01", " a b-c-d e f o l ", "ABCDEFOI", "- -abcdefoi"] {
            assert_eq!(normal(typed).as_deref(), Some("ABCDEF01"), "{typed}");
        }
        for letters in ALPHABET.chunks(LETTERS) {
            let text = String::from_utf8(letters.to_vec()).unwrap();
            assert_eq!(normal(&text.to_lowercase()), Some(text));
        }
    }

    #[test]
    fn other_characters_and_lengths_are_refused() {
        for bad in
            ["", "ABCDEF0", "ABCDEF012", "ABCDEFU1", "ABCDEF\t01", "ÄBCDEF01", "ABCDEF\u{a0}01", "ABCDEF\u{2011}01"]
        {
            assert_eq!(normal(bad), None, "{bad}");
        }
    }
}
