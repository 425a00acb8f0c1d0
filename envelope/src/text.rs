//! base64url of secrets, without copies that outlive the call.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ps_core::secret::{SecretBytes, SecretString};
use zeroize::Zeroizing;

use crate::Error;

/// Characters that `len` bytes take; saturates far above every limit of the protocol.
pub(crate) fn b64_len(len: usize) -> usize {
    base64::encoded_len(len, false).unwrap_or(usize::MAX)
}

/// Writes base64url of `bytes` to the start of `out`; `None` if it does not fit.
pub(crate) fn b64_into(bytes: &[u8], out: &mut [u8]) -> Option<usize> {
    URL_SAFE_NO_PAD.encode_slice(bytes, out).ok()
}

/// `prefix` and then base64url of `bytes`, as wiped text.
pub(crate) fn secret_b64(prefix: &str, bytes: &SecretBytes) -> Result<SecretString, Error> {
    let text = SecretBytes::try_fill(prefix.len() + b64_len(bytes.len()), |out| {
        let (head, tail) = out.split_at_mut_checked(prefix.len()).ok_or(Error::Derivation)?;
        head.copy_from_slice(prefix.as_bytes());
        b64_into(bytes.expose(), tail).map(|_| ()).ok_or(Error::Derivation)
    })?;
    SecretString::from_utf8(text).map_err(|_| Error::Derivation)
}

/// Strict inverse of base64url into wiped bytes; `None` unless canonical and without padding.
pub(crate) fn secret_from_b64(text: &[u8]) -> Option<SecretBytes> {
    // The estimate may be up to two bytes more than the result; the buffer is cut to size and wiped.
    let mut out = Zeroizing::new(vec![0_u8; base64::decoded_len_estimate(text.len())]);
    let len = URL_SAFE_NO_PAD.decode_slice(text, &mut out).ok()?;
    SecretBytes::try_fill(len, |exact| out.get(..len).map(|bytes| exact.copy_from_slice(bytes)).ok_or(())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_read_back_and_foreign_forms_are_refused() {
        for len in 0..40_usize {
            let bytes = SecretBytes::new((0..len).map(|n| n as u8 ^ 0xa5).collect());
            let text = secret_b64("", &bytes).unwrap();
            assert_eq!(text.expose(), ps_core::encode::b64(bytes.expose()));
            assert_eq!(secret_from_b64(text.expose().as_bytes()).unwrap().expose(), bytes.expose());
        }
        for bad in ["A", "AB", "AA==", "A A", "AA\n", "+/", "é"] {
            assert!(secret_from_b64(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
