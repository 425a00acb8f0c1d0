//! One key, one message: ChaCha20-Poly1305 (RFC 8439) with a zero nonce, in place (section 4).

use std::fmt;

use chacha20poly1305::{AeadInOut as _, ChaCha20Poly1305, KeyInit as _, Nonce, Tag};
use ps_core::ids::LinkId;
use ps_core::secret::SecretBytes;
use zeroize::Zeroizing;

use crate::Error;
use crate::facts::Facts;
use crate::pad::{self, LENGTH_BYTES};
use crate::payload::{MAX_PAYLOAD_JSON, MAX_PREVIEW_JSON};

/// Bytes of the tag behind the ciphertext.
const TAG_BYTES: usize = 16;

/// What a message is for; it is part of the associated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The fields and files.
    Payload,
    /// Title and sender, shown before anything is asked for.
    Preview,
}

impl Purpose {
    /// The name in the associated data.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Payload => "payload",
            Self::Preview => "preview",
        }
    }

    /// The most bytes of JSON that a message of this kind may have.
    #[must_use]
    pub const fn max_json(self) -> usize {
        match self {
            Self::Payload => MAX_PAYLOAD_JSON,
            Self::Preview => MAX_PREVIEW_JSON,
        }
    }

    /// The most bytes that a sealed message of this kind may have.
    #[must_use]
    pub fn max_message(self) -> usize {
        pad::padded_len(self.max_json()) + TAG_BYTES
    }
}

/// A key that knows what it is for. Sealing and opening consume it: each key seals exactly one message, which is what
/// allows the nonce to be zero.
pub struct MessageKey {
    purpose: Purpose,
    bytes: SecretBytes,
}

impl MessageKey {
    pub(crate) fn new(purpose: Purpose, bytes: SecretBytes) -> Self {
        Self { purpose, bytes }
    }

    /// The 32 bytes, for vectors and other implementations' tests. Each call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.bytes.expose()
    }

    /// Frames, pads and seals JSON of `json_len` bytes that `write` puts into the place where it is encrypted.
    pub(crate) fn seal(
        self,
        facts: &Facts,
        id: LinkId,
        json_len: usize,
        write: impl FnOnce(&mut [u8]) -> Result<(), Error>,
    ) -> Result<Vec<u8>, Error> {
        if json_len > self.purpose.max_json() {
            return Err(Error::TooLarge);
        }
        let padded = pad::padded_len(json_len);
        // Room for the tag is there from the start, so that the buffer never moves while it holds plaintext.
        let mut buffer = Zeroizing::new(Vec::with_capacity(padded + TAG_BYTES));
        buffer.resize(padded, 0);
        let (head, rest) = buffer.split_first_chunk_mut::<LENGTH_BYTES>().ok_or(Error::Frame)?;
        *head = u32::try_from(json_len).map_err(|_| Error::TooLarge)?.to_be_bytes();
        write(rest.get_mut(..json_len).ok_or(Error::Frame)?)?;
        let tag = encrypt(self.bytes.expose(), &Nonce::default(), &facts.aad(self.purpose, id), &mut buffer)?;
        buffer.extend_from_slice(&tag);
        // Nothing but ciphertext is left in it.
        Ok(std::mem::take(&mut *buffer))
    }

    /// Opens a message to its padded plaintext; [`pad::unframe`] finds the JSON in it.
    ///
    /// # Errors
    /// [`Error::MessageLength`] or [`Error::NotAuthentic`].
    pub fn open(self, facts: &Facts, id: LinkId, message: &[u8]) -> Result<SecretBytes, Error> {
        let (body, tag) = message.split_last_chunk::<TAG_BYTES>().ok_or(Error::MessageLength)?;
        let padded = body.len() >= pad::padded_len(0) && pad::padme(body.len()) == body.len();
        if !padded || message.len() > self.purpose.max_message() {
            return Err(Error::MessageLength);
        }
        let aad = facts.aad(self.purpose, id);
        SecretBytes::try_fill(body.len(), |plain| {
            plain.copy_from_slice(body);
            decrypt(self.bytes.expose(), &Nonce::default(), &aad, plain, tag)
        })
    }
}

impl fmt::Debug for MessageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { purpose, bytes: _ } = self;
        write!(f, "MessageKey({}, …)", purpose.as_str())
    }
}

/// The cipher as it is used here. The key is copied once, into a state that wipes itself.
fn encrypt(key: &[u8], nonce: &Nonce, aad: &[u8], buffer: &mut [u8]) -> Result<[u8; TAG_BYTES], Error> {
    let cipher = ChaCha20Poly1305::new_from_slice(key).map_err(|_| Error::Length("key"))?;
    cipher.encrypt_inout_detached(nonce, aad, buffer.into()).map(Into::into).map_err(|_| Error::TooLarge)
}

fn decrypt(key: &[u8], nonce: &Nonce, aad: &[u8], buffer: &mut [u8], tag: &[u8; TAG_BYTES]) -> Result<(), Error> {
    let cipher = ChaCha20Poly1305::new_from_slice(key).map_err(|_| Error::Length("key"))?;
    let tag: &Tag = tag.into();
    cipher.decrypt_inout_detached(nonce, aad, buffer.into(), tag).map_err(|_| Error::NotAuthentic)
}

#[cfg(test)]
#[path = "cipher_tests.rs"]
mod tests;
