//! Padding: how many bytes a plaintext is stretched to, and the frame around its JSON (section 4).
//!
//! Padmé leaks the length only to within 12 %; everything below 256 bytes looks alike. The rule is from
//! "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs" (PETS 2019), section 4.

use crate::Error;

/// No plaintext is shorter than this.
const SHORTEST: usize = 256;
/// Bytes of the length in front of the JSON.
pub(crate) const LENGTH_BYTES: usize = 4;

/// The padded form of the length `len`: at least `len`, and at most 12 % more.
#[must_use]
pub fn padme(len: usize) -> usize {
    if len < 2 {
        return len;
    }
    let e = len.ilog2();
    // 2 and 3 have e = 1; `e` itself is never 0 here.
    let s = e.checked_ilog2().unwrap_or(0) + 1;
    let mask = (1_usize << e.saturating_sub(s)) - 1;
    len.saturating_add(mask) & !mask
}

/// The length of the whole plaintext around JSON of `json_len` bytes.
#[must_use]
pub fn padded_len(json_len: usize) -> usize {
    padme(json_len.saturating_add(LENGTH_BYTES).max(SHORTEST))
}

/// Finds the JSON in an opened plaintext. Looks at every padding byte.
///
/// # Errors
/// [`Error::Frame`] if the length in front does not fit, the padded length is not the one that belongs to it, or a
/// padding byte is not zero; [`Error::TooLarge`] for more than `max` bytes of JSON.
pub fn unframe(plaintext: &[u8], max: usize) -> Result<&[u8], Error> {
    let (head, rest) = plaintext.split_first_chunk::<LENGTH_BYTES>().ok_or(Error::Frame)?;
    let len = usize::try_from(u32::from_be_bytes(*head)).map_err(|_| Error::Frame)?;
    let (json, padding) = rest.split_at_checked(len).ok_or(Error::Frame)?;
    if plaintext.len() != padded_len(len) || padding.iter().fold(0, |all, byte| all | byte) != 0 {
        return Err(Error::Frame);
    }
    if len > max { Err(Error::TooLarge) } else { Ok(json) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_lengths() {
        for (len, want) in [(0, 256), (252, 256), (253, 272), (268, 272), (269, 288), (1020, 1024), (1021, 1088)] {
            assert_eq!(padded_len(len), want, "{len}");
        }
        for (len, want) in
            [(0, 0), (1, 1), (2, 2), (3, 3), (8, 8), (9, 10), (100, 104), (usize::MAX, usize::MAX & !((1 << 57) - 1))]
        {
            assert_eq!(padme(len), want, "{len}");
        }
    }

    #[test]
    fn a_frame_is_exact() {
        let mut plain = vec![0_u8; 256];
        plain[3] = 2;
        plain[4..6].copy_from_slice(b"{}");
        assert_eq!(unframe(&plain, 10), Ok(&b"{}"[..]));
        assert_eq!(unframe(&plain, 1), Err(Error::TooLarge));
        plain[255] = 1;
        assert_eq!(unframe(&plain, 10), Err(Error::Frame));
        plain[255] = 0;
        plain.push(0);
        assert_eq!(unframe(&plain, 10), Err(Error::Frame));
        assert_eq!(unframe(&[0, 0, 0], 10), Err(Error::Frame));
        assert_eq!(unframe(&[0xff; 256], 10), Err(Error::Frame));
    }

    proptest! {
        #[test]
        fn padding_grows_a_length_by_at_most_twelve_percent(len in 0_usize..3_000_000) {
            let padded = padme(len);
            prop_assert!(padded >= len);
            prop_assert!((padded - len) as f64 <= 0.12 * len as f64, "{} {}", len, padded);
            prop_assert_eq!(padme(padded), padded);
            prop_assert!(padded_len(len) >= len + 4);
        }

        #[test]
        fn unframing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600), head in 0_u32..600) {
            let mut bytes = bytes;
            if let Some(place) = bytes.first_chunk_mut::<4>() {
                *place = head.to_be_bytes();
            }
            if let Ok(json) = unframe(&bytes, 1000) {
                prop_assert_eq!(json.len(), head as usize);
            }
        }
    }
}
