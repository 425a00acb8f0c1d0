/**
 * ChaCha20-Poly1305 of RFC 8439, opening only, with the constant nonce of our protocol. Small, since every visitor loads it;
 * the tests hold it against the shared vectors and, at every length, against a library. Not of constant time: it runs where
 * the plaintext is shown, and nobody else can measure it.
 */
import { FormError, concat, type Bytes } from './bytes.ts';

/** The words that a quarter round mixes: four columns, then four diagonals. */
const QUARTERS = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0, 5, 10, 15, 1, 6, 11, 12, 2, 7, 8, 13, 3, 4, 9, 14];
const PRIME = (1n << 130n) - 5n;
const CLAMP = 0x0ffffffc0ffffffc0ffffffc0fffffffn;
const TAG_BYTES = 16;

/** The keystream block of a counter: section 2.3. Every platform with a browser is little-endian, as the cipher is. */
function block(start: Uint32Array, counter: number): Uint8Array {
  start[12] = counter;
  const x = start.slice();
  const mix = (a: number, b: number, c: number, bits: number): void => {
    x[a]! += x[b]!;
    const mixed = x[c]! ^ x[a]!;
    x[c] = (mixed << bits) | (mixed >>> (32 - bits));
  };
  for (let at = 0; at < 320; at += 4) {
    const [a, b, c, d] = [0, 1, 2, 3].map((n) => QUARTERS[(at + n) % 32]!) as [number, number, number, number];
    mix(a, b, d, 16);
    mix(c, d, b, 12);
    mix(a, b, d, 8);
    mix(c, d, b, 7);
  }
  start.forEach((word, i) => (x[i]! += word));
  return new Uint8Array(x.buffer);
}

function number(bytes: Uint8Array, at: number): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return view.getBigUint64(at, true) | (view.getBigUint64(at + 8, true) << 64n);
}

/** Poly1305 over `aad` and ciphertext, each padded to 16 bytes, and their lengths: sections 2.5 and 2.8. */
function tag(once: Uint8Array, aad: Uint8Array, text: Uint8Array): bigint {
  const lengths = new BigUint64Array([BigInt(aad.length), BigInt(text.length)]);
  const filled = (part: Uint8Array): Uint8Array => concat(part, new Uint8Array(-part.length & 15));
  const all = concat(filled(aad), filled(text), new Uint8Array(lengths.buffer));
  const r = number(once, 0) & CLAMP;
  let sum = 0n;
  for (let at = 0; at < all.length; at += 16) sum = ((sum + number(all, at) + (1n << 128n)) * r) % PRIME;
  return BigInt.asUintN(128, sum + number(once, 16));
}

/** The plaintext of a sealed message: ciphertext and its tag. */
export function decrypt(key: Uint8Array, aad: Uint8Array, sealed: Uint8Array): Bytes {
  const start = new Uint32Array(16);
  start.set([0x61707865, 0x3320646e, 0x79622d32, 0x6b206574]);
  start.set(new Uint32Array(key.slice().buffer), 4);
  const text = sealed.slice(0, -TAG_BYTES) as Bytes;
  if (sealed.length < TAG_BYTES || tag(block(start, 0), aad, text) !== number(sealed, text.length)) throw new FormError('the seal does not hold');
  for (let at = 0; at < text.length; at += 64) {
    const stream = block(start, 1 + at / 64);
    for (let i = 0; i < Math.min(64, text.length - at); i++) text[at + i]! ^= stream[i]!;
    stream.fill(0);
  }
  start.fill(0);
  return text;
}
