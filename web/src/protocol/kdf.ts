/** The passphrase's KDF: Argon2id of RFC 9106. Only the worker imports this file, so that a page without a passphrase never loads it. */
import { argon2id } from '@noble/hashes/argon2.js';
import type { Bytes } from './bytes.ts';

/** `P` with the parameters of `argon2id-19456-2-1`: 19456 KiB, 2 passes, 1 lane, 32 bytes. */
export function stretch(passphrase: Uint8Array, salt: Uint8Array): Bytes {
  return argon2id(passphrase, salt, { m: 19456, t: 2, p: 1, dkLen: 32 }) as Bytes;
}
