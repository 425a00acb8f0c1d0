//! A growing buffer that leaves nothing behind.

use std::fmt;

use zeroize::Zeroize as _;

/// Bytes that are wiped when dropped, and whose growth leaves no copy of them: a buffer that is too small is wiped once
/// its content has moved.
#[derive(Default)]
pub(crate) struct WipedBuf(Vec<u8>);

impl WipedBuf {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let needed = self.0.len().saturating_add(bytes.len());
        if needed > self.0.capacity() {
            let mut wider = Vec::with_capacity(needed.saturating_mul(2));
            wider.extend_from_slice(&self.0);
            self.0.zeroize();
            self.0 = wider;
        }
        self.0.extend_from_slice(bytes);
    }

    /// The bytes themselves. Each call is a place to review.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for WipedBuf {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for WipedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WipedBuf(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_and_does_not_print() {
        let mut buffer = WipedBuf::with_capacity(1);
        for part in ["a", "bc", "", "def"] {
            buffer.push(part.as_bytes());
        }
        assert_eq!(buffer.expose(), b"abcdef");
        assert_eq!(format!("{buffer:?}"), "WipedBuf(…)");
    }
}
