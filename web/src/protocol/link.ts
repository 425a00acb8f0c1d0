/** The link: section 2 of `docs/link-protocol.md`, and the recovery of links that something on the way has mangled. */
import { FormError, b64, unb64, type Bytes } from './bytes.ts';

/** What an address holds. `exposed`: the token stood outside the fragment, so servers on the way have seen it. */
export type Found =
  | { is: 'link'; secret: Bytes; exposed: boolean }
  | { is: 'broken'; exposed: boolean }
  | { is: 'none' };

/** `S` from a fragment without its `#`. Accepts exactly `ps1.` and 43 characters of canonical base64url. */
export function parseFragment(fragment: string): Bytes {
  if (!/^ps1\.[\w-]{43}$/.test(fragment)) throw new FormError('not a link of version 1');
  return unb64(fragment.slice(4), 32);
}

/** The fragment of a link, without `#`. */
export function fragmentOf(secret: Uint8Array): string {
  return 'ps1.' + b64(secret);
}

/**
 * Finds the token in an address: in the fragment, else in the path or the query, where rewriting gateways put it
 * (`%23`, `%2523`, the whole link inside a parameter), perhaps beside the fragment. Drops white space of wrapped lines and what
 * follows the token.
 */
export function findLink(hash: string, rest: string): Found {
  const [inHash, elsewhere] = [search(hash), search(rest)];
  const found = inHash?.secret ? inHash : (elsewhere ?? inHash);
  return found ? { ...found, exposed: !!elsewhere && '' + elsewhere.secret === '' + found.secret } : { is: 'none' };
}

/** The folder of the page, from the address of its script. A mangled link may be a folder itself: `/%23ps1.…/app.js`. */
export function folderOf(script: string): string {
  const folder = new URL('.', script);
  const parts = folder.pathname.split('/');
  const at = parts.findIndex(search);
  if (at > 0) folder.pathname = parts.slice(0, at).join('/') + '/';
  return folder.href;
}

function search(text: string): { is: 'link'; secret: Bytes } | { is: 'broken'; secret?: undefined } | undefined {
  let seen = false;
  // Each round takes off one layer of percent-encoding: `%252523` has three.
  for (let round = 0; round < 5; round++) {
    seen ||= /ps1\./i.test(text);
    for (const candidate of [text, text.replace(/=?[\s\u00ad\u200b]+/g, '')]) {
      // After the 43 characters: the end, or anything outside the alphabet, or only emphasis marks of a chat (`_`, `-`).
      const token = /ps1\.[\w-]{43}(?=[_-]*(?![\w-]))/.exec(candidate)?.[0];
      if (token) {
        try {
          return { is: 'link', secret: parseFragment(token) };
        } catch {
          return { is: 'broken' };
        }
      }
    }
    const decoded = text.replace(/(?:%[0-9a-f]{2})+/gi, decodePart);
    if (decoded === text) break;
    text = decoded;
  }
  return seen ? { is: 'broken' } : undefined;
}

function decodePart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return ' ';
  }
}
