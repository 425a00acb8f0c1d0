/** Opening sealed messages: section 4 of `docs/link-protocol.md`. Each key opens one message. */
import { FormError, wipe } from './bytes.ts';
import { decrypt } from './cipher.ts';

/** The most bytes that the JSON may have. */
export const PAYLOAD_MAX = 1 << 20;
export const PREVIEW_MAX = 4096;

/** Padmé: the length rounded up so that it tells little about what is inside. */
export function padme(length: number): number {
  const e = Math.floor(Math.log2(length));
  const mask = 2 ** (e - Math.floor(Math.log2(e)) - 1) - 1;
  return (length + mask) & ~mask;
}

/** The JSON text of a padded message. */
export function unpad(padded: Uint8Array, max: number): string {
  const length = padded.length < 256 ? -1 : new DataView(padded.buffer, padded.byteOffset).getUint32(0);
  if (length < 0 || length > max || padded.length !== padme(Math.max(256, 4 + length))) throw new FormError('wrong padded length');
  if (padded.subarray(4 + length).some((byte) => byte !== 0)) throw new FormError('padding is not zero');
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(padded.subarray(4, 4 + length));
  } catch {
    throw new FormError('not UTF-8');
  }
}

/** Opens a sealed message and gives its JSON text. */
export function open(key: Uint8Array, aad: Uint8Array, sealed: Uint8Array, max: number): string {
  if (sealed.length < 256 + 16 || sealed.length > padme(max + 4) + 16) throw new FormError('a sealed message of a wrong length');
  const padded = decrypt(key, aad, sealed);
  const text = unpad(padded, max);
  wipe(padded);
  return text;
}
