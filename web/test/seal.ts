/** Sealing, which the page never does: for the tests' gateway, with a library's cipher. */
import { chacha20poly1305 } from '@noble/ciphers/chacha.js';
import { concat, lp, type Bytes } from '../src/protocol/bytes.ts';
import { padme } from '../src/protocol/seal.ts';

/** `u32 length ‖ JSON ‖ zeros`. */
export function pad(json: Uint8Array): Bytes {
  const padded = new Uint8Array(padme(Math.max(256, 4 + json.length)));
  padded.set(lp(json));
  return padded;
}

/** Each key seals exactly one message, so the nonce is constant. */
export function seal(key: Uint8Array, aad: Uint8Array, json: Uint8Array): Bytes {
  return concat(chacha20poly1305(key, new Uint8Array(12), aad).encrypt(pad(json)));
}
