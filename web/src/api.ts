/** The gateway's verbs: section 8 of `docs/link-protocol.md`. Nothing here decides; nothing here throws. */
import type { SignIn } from './checks/rules.ts';
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
  /** Where a sign-in begins. */
  readonly oidc?: SignIn;
}

/** How an e-mailed code and a sign-in stand. Each member is there as the kinds demand. */
export interface Checks {
  readonly state?: LinkState;
  readonly emailCode?: { readonly status: string; readonly triesLeft?: number; readonly mailsLeft?: number; readonly retryAfterMs?: number };
  readonly oidc?: { readonly status: string; readonly reason?: string };
  /** The operator has not answered: ask again after this. */
  readonly retryAfterMs?: number;
}

export interface Claimed {
  readonly ciphertext: Bytes;
  readonly claimedAt: number;
  readonly windowEndsAt: number;
  readonly r?: Bytes;
}

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;
export type Json = Record<string, unknown>;

/** What every request carries. */
export interface Holder {
  readonly id: Uint8Array;
  readonly access: Uint8Array;
}

/** Members of a request. What is absent is not sent. */
export type Members = Record<string, string | true | Bytes | undefined>;

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
    return this.ask('lookup', holder, {}, (json) => ({
      state: state(json.state),
      expiresAt: count(json.expiresAt),
      notAfter: count(json.notAfter),
      claimWindowMs: count(json.claimWindowMs),
      openingCode: boolean(json.openingCode),
      kinds: json.kinds,
      kdf: json.kdf,
      ...(json.windowEndsAt == null ? {} : { windowEndsAt: count(json.windowEndsAt) }),
      ...(json.preview == null ? {} : { preview: bytes(json.preview) }),
      ...(json.oidc == null ? {} : { oidc: signIn(json.oidc as Json) }),
    }));
  }

  acknowledge(holder: Holder, token: Bytes): Promise<Answer<LinkState>> {
    return this.ask('acknowledge', holder, { token }, (json) => state(json.state));
  }

  decline(holder: Holder, members: Members): Promise<Answer<LinkState>> {
    return this.ask('decline', holder, members, (json) => state(json.state));
  }

  /** Any verb; `read` throws where an answer is not what it should be. */
  async ask<T>(verb: string, holder: Holder, members: Members, read: (json: Json) => T): Promise<Answer<T>> {
    const body: Json = {};
    for (const [name, value] of Object.entries({ id: holder.id, access: holder.access, ...members })) body[name] = value instanceof Uint8Array ? b64(value) : value;
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
  return { code: text(error.code), ...counts(error, 'retryAfterMs', 'attemptsLeft'), ...(LINK_STATES.includes(error.state as LinkState) ? { state: error.state as LinkState } : {}) };
}

/** Those of these members that are there and are counts. */
export function counts<K extends string>(json: Json, ...names: K[]): Partial<Record<K, number>> {
  return Object.fromEntries(names.filter((name) => isCount(json[name])).map((name) => [name, json[name]])) as Partial<Record<K, number>>;
}

function signIn(json: Json): SignIn {
  return { authorizationEndpoint: text(json.authorizationEndpoint), clientId: text(json.clientId), scope: text(json.scope) };
}

export function text(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError('text');
  return value;
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

export function state(value: unknown): LinkState {
  if (!LINK_STATES.includes(value as LinkState)) throw new TypeError('state');
  return value as LinkState;
}
