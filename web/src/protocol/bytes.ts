/** Byte encodings of the link protocol, section 1 of `docs/link-protocol.md`. */

/** Bytes in a buffer of their own: what WebCrypto takes. */
export type Bytes = Uint8Array<ArrayBuffer>;

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** A value that does not have the form that the protocol gives it. Carries no part of the value. */
export class FormError extends Error {
  constructor(what: string) {
    super(what);
    this.name = 'FormError';
  }
}

export function utf8(text: string): Bytes {
  return new TextEncoder().encode(text) as Bytes;
}

export function concat(...parts: readonly Uint8Array[]): Bytes {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** `lp(x)`: the length as unsigned 32-bit big-endian, then `x`. */
export function lp(value: Uint8Array | string): Bytes {
  const bytes = typeof value === 'string' ? utf8(value) : value;
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, bytes.length);
  return concat(length, bytes);
}

/** `u64(n)`: unsigned 64-bit big-endian, of an integer in `[0, 2^53)`. */
export function u64(n: number): Bytes {
  if (!isCount(n)) throw new FormError('not an integer in [0, 2^53)');
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(n));
  return bytes;
}

/** Whether a value is an integer in `[0, 2^53)`: every time and duration of the protocol. */
export function isCount(n: unknown): n is number {
  return Number.isSafeInteger(n) && (n as number) >= 0;
}

/** base64url of RFC 4648 §5 without padding. */
export function b64(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 3) {
    const left = bytes.length - i;
    const word = ((bytes[i] ?? 0) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    for (let k = 0; k <= Math.min(left, 3); k++) text += ALPHABET[(word >> (18 - 6 * k)) & 63];
  }
  return text;
}

/**
 * Reads canonical base64url: no padding, no white space, unused trailing bits zero.
 * `length` is the number of bytes demanded, if one is.
 */
export function unb64(text: string, length?: number): Bytes {
  const out = new Uint8Array(Math.floor((text.length * 6) / 8));
  if (text.length % 4 === 1 || (length !== undefined && out.length !== length)) throw new FormError('base64url of a wrong length');
  let word = 0;
  let bits = 0;
  let at = 0;
  for (const char of text) {
    const value = ALPHABET.indexOf(char);
    if (value < 0) throw new FormError('not base64url');
    word = ((word << 6) | value) & 0xffff;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out[at++] = word >> bits;
    }
  }
  if (word & ((1 << bits) - 1)) throw new FormError('base64url is not canonical');
  return out;
}

/** Best effort: a JavaScript engine may have copies that nobody can reach. */
export function wipe(...all: (Uint8Array | undefined)[]): void {
  for (const bytes of all) bytes?.fill(0);
}
