/** The gateway's verbs: section 8 of `docs/link-protocol.md`. Nothing here decides; nothing here throws. */
import { b64, isCount, unb64, type Bytes } from './protocol/bytes.ts';

export const LINK_STATES = ['open', 'claimed', 'retrieved', 'expired', 'revoked', 'declined', 'locked'] as const;
export type LinkState = (typeof LINK_STATES)[number];

/** Why there is no answer: the gateway's own code, or `unreachable` (nobody knows whether it was done), or `unexpected`. */
export interface Refusal {
  readonly code: string;
  readonly retryAfterMs?: number;
  readonly attemptsLeft?: number;
  readonly state?: LinkState;
}

export type Answer<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly refusal: Refusal };

export interface Lookup {
  readonly state: LinkState;
  readonly expiresAt: number;
  readonly notAfter: number;
  readonly claimWindowMs: number;
  readonly openingCode: boolean;
  readonly windowEndsAt?: number;
  readonly preview?: Bytes;
  /** Not judged here: see `bindingOf`. */
  readonly kinds: unknown;
  readonly kdf: unknown;
}

export interface Claimed {
  readonly ciphertext: Bytes;
  readonly notAfter: number;
  readonly claimedAt: number;
  readonly windowEndsAt: number;
  readonly r?: Bytes;
}

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;
type Json = Record<string, unknown>;

/** What every request carries. */
export interface Holder {
  readonly id: Uint8Array;
  readonly access: Uint8Array;
}

/** Longer than a slow phone needs for a megabyte, shorter than a person's patience. */
const PATIENCE_MS = 30_000;

export class Api {
  readonly #fetch: Fetch;
  readonly #base: string;

  /** `base` is the folder of the page. */
  constructor(fetch: Fetch, base: string) {
    this.#fetch = fetch;
    this.#base = base;
  }

  lookup(holder: Holder): Promise<Answer<Lookup>> {
    return this.#ask('lookup', holder, {}, (json) => ({
      state: state(json.state),
      expiresAt: count(json.expiresAt),
      notAfter: count(json.notAfter),
      claimWindowMs: count(json.claimWindowMs),
      openingCode: boolean(json.openingCode),
      kinds: json.kinds,
      kdf: json.kdf,
      ...(json.windowEndsAt == null ? {} : { windowEndsAt: count(json.windowEndsAt) }),
      ...(json.preview == null ? {} : { preview: bytes(json.preview) }),
    }));
  }

  /** The first claim names the hash of the token, a repeated one the token itself. */
  claim(holder: Holder, how: { proof: Bytes; tokenHash: Bytes; openingCode?: string } | { proof: Bytes; token: Bytes }): Promise<Answer<Claimed>> {
    return this.#ask('claim', holder, how, (json) => ({
      ciphertext: bytes(json.ciphertext),
      notAfter: count(json.notAfter),
      claimedAt: count(json.claimedAt),
      windowEndsAt: count(json.windowEndsAt),
      ...(json.r == null ? {} : { r: bytes(json.r) }),
    }));
  }

  acknowledge(holder: Holder, token: Bytes): Promise<Answer<LinkState>> {
    return this.#ask('acknowledge', holder, { token }, (json) => state(json.state));
  }

  decline(holder: Holder, openingCode: string, decline: Bytes): Promise<Answer<LinkState>> {
    return this.#ask('decline', holder, { openingCode, decline }, (json) => state(json.state));
  }

  async #ask<T>(verb: string, holder: Holder, members: Record<string, string | Bytes>, read: (json: Json) => T): Promise<Answer<T>> {
    const body: Record<string, string> = { id: b64(holder.id), access: b64(holder.access) };
    for (const [name, value] of Object.entries(members)) body[name] = typeof value === 'string' ? value : b64(value);
    let json: Json;
    let status: number;
    try {
      const response = await this.#fetch(this.#base + 'api/v1/links/' + verb, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
        cache: 'no-store',
        credentials: 'omit',
        redirect: 'error',
        referrerPolicy: 'no-referrer',
        signal: AbortSignal.timeout(PATIENCE_MS),
      });
      status = response.status;
      json = (await response.json()) as Json;
    } catch {
      // No connection, a cut answer, or a page of some proxy on the way.
      return { ok: false, refusal: { code: 'unreachable' } };
    }
    try {
      return status === 200 ? { ok: true, value: read(json) } : { ok: false, refusal: refusal(json.error as Json) };
    } catch {
      return { ok: false, refusal: { code: status >= 500 ? 'unreachable' : 'unexpected' } };
    }
  }
}

function refusal(error: Json): Refusal {
  if (typeof error.code !== 'string') throw new TypeError('code');
  return {
    code: error.code,
    ...(isCount(error.retryAfterMs) ? { retryAfterMs: error.retryAfterMs } : {}),
    ...(isCount(error.attemptsLeft) ? { attemptsLeft: error.attemptsLeft } : {}),
    ...(LINK_STATES.includes(error.state as LinkState) ? { state: error.state as LinkState } : {}),
  };
}

function count(value: unknown): number {
  if (!isCount(value)) throw new TypeError('count');
  return value;
}

function boolean(value: unknown): boolean {
  if (typeof value !== 'boolean') throw new TypeError('boolean');
  return value;
}

function bytes(value: unknown): Bytes {
  return unb64(value as string);
}

function state(value: unknown): LinkState {
  if (!LINK_STATES.includes(value as LinkState)) throw new TypeError('state');
  return value as LinkState;
}
