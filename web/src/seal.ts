/** Opening what is sealed, previews and payloads: a file of its own, loaded beside the lookup. */
import { parsePreview, type Preview } from './protocol/payload.ts';
import { PAYLOAD_MAX, PREVIEW_MAX, open } from './protocol/seal.ts';

export interface Seal {
  /** The preview of a link; throws where the seal does not hold. */
  preview(key: Uint8Array, aad: Uint8Array, sealed: Uint8Array): Preview;
  /** The JSON text of a payload; throws likewise. */
  payload(key: Uint8Array, aad: Uint8Array, sealed: Uint8Array): string;
}

export const seal: Seal = {
  preview: (key, aad, sealed) => parsePreview(open(key, aad, sealed, PREVIEW_MAX)),
  payload: (key, aad, sealed) => open(key, aad, sealed, PAYLOAD_MAX),
};
