/** What a record says about itself, before anything of it is believed: sections 3 and 4 of `docs/link-protocol.md`. */
import { FormError, isCount } from './bytes.ts';
import { KDF, type Binding } from './derive.ts';

/** All kinds of verification, in the order that the associated data has them. */
const KINDS = ['passphrase', 'emailCode', 'oidc'];

/** Checks the facts of a `lookup` and gives what a seal is bound to. */
export function bindingOf(id: Uint8Array, notAfter: unknown, kinds: unknown, kdf: unknown): Binding {
  if (!isCount(notAfter)) throw new FormError('notAfter is not a time');
  if (!Array.isArray(kinds)) throw new FormError('kinds is not a list');
  const places = kinds.map((kind) => KINDS.indexOf(kind as string));
  if (places.some((place, i) => place <= (places[i - 1] ?? -1))) throw new FormError('kinds are unknown or out of order');
  const wanted = kinds.includes('passphrase') ? KDF : undefined;
  if ((kdf ?? undefined) !== wanted) throw new FormError('KDF parameters that are not on the list');
  return { id, notAfter, kinds: kinds as string[], kdf: wanted ?? '' };
}

/** Whether the key of the payload has these factors, no fewer and no more. */
export function factorsFit({ kinds }: Binding, stretched: Uint8Array | undefined, released: Uint8Array | undefined): boolean {
  const release = kinds.some((kind) => kind !== 'passphrase');
  return kinds.includes('passphrase') === (stretched?.length === 32) && release === (released?.length === 32) && (release || !released?.length);
}
