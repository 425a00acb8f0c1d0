/** Derived values: section 3 of `docs/link-protocol.md`. HKDF (RFC 5869) and SHA-256 are the browser's own. */
import { concat, lp, u64, utf8, FormError, type Bytes } from './bytes.ts';

const LABEL = 'password-sender/v1 ';
/** The name of the one set of KDF parameters that this client accepts. */
export const KDF = 'argon2id-19456-2-1';
const NOTHING = new Uint8Array(0);

/** What follows from `S` alone. */
export interface LinkKeys {
  readonly id: Bytes;
  readonly access: Bytes;
  readonly decline: Bytes;
  readonly salt: Bytes;
  readonly previewKey: Bytes;
}

/** `HKDF(ikm, label, n)` with an empty salt and `info = lp(label)`. */
export async function hkdf(ikm: Bytes, label: string, bytes: number): Promise<Bytes> {
  const key = await crypto.subtle.importKey('raw', ikm, 'HKDF', false, ['deriveBits']);
  const params = { name: 'HKDF', hash: 'SHA-256', salt: NOTHING, info: lp(LABEL + label) };
  return new Uint8Array(await crypto.subtle.deriveBits(params, key, bytes * 8));
}

export async function sha256(bytes: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
}

export async function linkKeys(secret: Uint8Array): Promise<LinkKeys> {
  const ikm = lp(secret);
  const [id, access, decline, salt, previewKey] = await Promise.all([
    hkdf(ikm, 'id', 16),
    hkdf(ikm, 'access', 32),
    hkdf(ikm, 'decline', 32),
    hkdf(ikm, 'salt', 16),
    hkdf(ikm, 'preview', 32),
  ]);
  return { id, access, decline, salt, previewKey };
}

/** `proof`, from `S` and `P`; `P` is empty without a passphrase. */
export function deriveProof(secret: Uint8Array, stretched: Uint8Array = NOTHING): Promise<Bytes> {
  return hkdf(concat(lp(secret), lp(stretched)), 'proof', 32);
}

/** `key`, from `S`, `P` and `R`; `R` is empty unless an e-mailed code or a sign-in is demanded. */
export function deriveKey(secret: Uint8Array, stretched: Uint8Array = NOTHING, released: Uint8Array = NOTHING): Promise<Bytes> {
  return hkdf(concat(lp(secret), lp(stretched), lp(released)), 'key', 32);
}

/** A passphrase as it enters the KDF: one trailing line end removed, NFC, UTF-8, 1 to 1024 bytes. */
export function normalPassphrase(text: string): Bytes {
  const bytes = utf8(text.replace(/\r?\n$/, '').normalize('NFC'));
  if (bytes.length < 1 || bytes.length > 1024) throw new FormError('a passphrase has 1 to 1024 bytes');
  return bytes;
}

/** What a sealed message is bound to. */
export interface Binding {
  readonly id: Uint8Array;
  readonly notAfter: number;
  /** In the order `passphrase`, `emailCode`, `oidc`. */
  readonly kinds: readonly string[];
  /** Empty without a passphrase. */
  readonly kdf: string;
}

/** The associated data of a payload or a preview: section 4. */
export function associatedData(purpose: 'payload' | 'preview', to: Binding): Bytes {
  return concat(lp('password-sender/v1'), lp(purpose), lp(to.id), lp(u64(to.notAfter)), lp(to.kinds.join(',')), lp(to.kdf));
}
