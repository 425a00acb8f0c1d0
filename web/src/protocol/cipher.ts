/** ChaCha20-Poly1305 of RFC 8439, opening only, with the constant nonce of our protocol: each key opens one message. */
import { chacha20poly1305 } from '@noble/ciphers/chacha.js';
import { FormError, type Bytes } from './bytes.ts';

const NONCE = new Uint8Array(12);

/** The plaintext of a sealed message: ciphertext and its tag. */
export function decrypt(key: Uint8Array, aad: Uint8Array, sealed: Uint8Array): Bytes {
  try {
    return chacha20poly1305(key, NONCE, aad).decrypt(sealed) as Bytes;
  } catch {
    throw new FormError('the seal does not hold');
  }
}
