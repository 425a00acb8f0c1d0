/** A gateway in memory with the rules of `docs/link-protocol.md`, section 8: for tests and for looking at the page. Not a model of durability. */
import { b64, concat, lp, unb64, utf8, type Bytes } from '../src/protocol/bytes.ts';
import { associatedData, deriveKey, deriveProof, linkKeys, normalPassphrase, sha256, KDF, type Binding } from '../src/protocol/derive.ts';
import { stretch } from '../src/protocol/kdf.ts';
import { seal } from './seal.ts';
import type { LinkState } from '../src/api.ts';

export interface Recipe {
  secret: Bytes;
  payload: unknown;
  preview?: unknown;
  code?: string;
  passphrase?: string;
  kinds?: string[];
  now: number;
  ttl?: number;
}

/** The verification that the operator would do: what is asked, and what is passed for which token. */
interface Verification {
  r: Bytes;
  /** The code that is out, as the mail shows it. */
  mailed?: string;
  mails: number;
  tries: number;
  emailCode: string;
  emailCodeBy?: string | undefined;
  oidc: string;
  reason?: string | undefined;
  oidcBy?: string | undefined;
  /** Answers that are given as still to come. */
  pending: number;
}

interface Link {
  state: LinkState;
  access: string;
  decline: string;
  proof: string;
  code: string;
  expiresAt: number;
  binding: Binding;
  ciphertext: Bytes | undefined;
  preview: Bytes | undefined;
  tokenHash?: string;
  claimedAt?: number;
  windowEndsAt?: number;
  disputed?: boolean;
  left: number;
  /** Wrong passphrases after which the opening code is due as well: section 8. */
  wrong: number;
  codeUntil: number;
  exposed?: boolean;
  verification: Verification | undefined;
}

type Body = Record<string, string>;
export interface Reply {
  status: number;
  body: unknown;
}

const WINDOW_MS = 900_000;

export class Gateway {
  readonly links = new Map<string, Link>();
  /** Every verb that was asked, in order. */
  readonly asked: { verb: string; body: Body }[] = [];
  now: () => number;
  /** The sign-in that a lookup tells of. */
  provider: { authorizationEndpoint: string; clientId: string; scope: string } | undefined;
  /** Whether a sign-in's answer is accepted: `passed`, or the reason why not. */
  signIn = 'passed';
  /** Whether the person turns back at the sign-in. */
  turnsBack = false;

  constructor(now: () => number) {
    this.now = now;
  }

  async put(recipe: Recipe): Promise<Link> {
    const { secret, now, passphrase } = recipe;
    const keys = await linkKeys(secret);
    const kinds = recipe.kinds ?? (passphrase === undefined ? [] : ['passphrase']);
    const expiresAt = now + (recipe.ttl ?? 4 * 3_600_000);
    const binding = { id: keys.id, notAfter: expiresAt + WINDOW_MS, kinds, kdf: passphrase === undefined ? '' : KDF };
    const p = passphrase === undefined ? undefined : stretch(normalPassphrase(passphrase), keys.salt);
    const verified = kinds.some((kind) => kind !== 'passphrase');
    const r = verified ? crypto.getRandomValues(new Uint8Array(32)) : undefined;
    const preview = recipe.preview ?? { v: 1, title: 'Database password', sender: 'Platform team' };
    const link: Link = {
      state: 'open',
      access: b64(await sha256(keys.access)),
      decline: b64(await sha256(keys.decline)),
      proof: b64(await sha256(await deriveProof(secret, p))),
      code: recipe.code ?? '7K3M9QZB',
      expiresAt,
      binding,
      ciphertext: seal(await deriveKey(secret, p, r), associatedData('payload', binding), utf8(JSON.stringify(recipe.payload))),
      preview: seal(keys.previewKey, associatedData('preview', binding), utf8(JSON.stringify(preview))),
      left: 5,
      wrong: 0,
      codeUntil: 0,
      verification: r && { r, mails: 0, tries: 0, emailCode: 'none', oidc: 'none', pending: 0 },
    };
    this.links.set(b64(keys.id), link);
    return link;
  }

  async answer(verb: string, body: Body): Promise<Reply> {
    this.asked.push({ verb, body });
    const refuse = (status: number, code: string, more: object = {}): Reply => ({ status, body: { error: { code, message: code, ...more } } });
    const hash = async (text: string | undefined): Promise<string> => b64(await sha256(unb64(text ?? '')));
    const link = this.links.get(body.id ?? '');
    if (!link || (await hash(body.access)) !== link.access) return refuse(404, 'not-found');
    const { binding } = link;
    const passphrase = binding.kinds.includes('passphrase');
    const badCode = async (): Promise<Reply | undefined> => {
      const wait = link.codeUntil - this.now();
      if (wait > 0) return refuse(429, 'slow-down', { retryAfterMs: wait });
      if (body.openingCode === link.code) return undefined;
      link.codeUntil = this.now() + 5000;
      return refuse(403, 'wrong-code', { retryAfterMs: 5000 });
    };
    const gone = (): Reply => refuse(410, 'gone', { state: link.state });
    switch (verb) {
      case 'lookup':
        return {
          status: 200,
          body: {
            state: link.state,
            expiresAt: link.expiresAt,
            notAfter: binding.notAfter,
            claimWindowMs: WINDOW_MS,
            kinds: binding.kinds,
            openingCode: !passphrase || link.wrong >= 3,
            ...(binding.kdf ? { kdf: binding.kdf } : {}),
            ...(link.preview ? { preview: b64(link.preview) } : {}),
            ...(binding.kinds.includes('oidc') && this.provider ? { oidc: this.provider } : {}),
            ...(link.windowEndsAt ? { windowEndsAt: link.windowEndsAt } : {}),
          },
        };
      case 'claim': {
        if (link.state !== 'open' && link.state !== 'claimed') return gone();
        const rightProof = (await hash(body.proof)) === link.proof;
        if (body.token !== undefined) {
          if (link.state === 'open') return refuse(400, 'bad-request');
          if ((await hash(body.token)) !== link.tokenHash) return refuse(409, 'claimed');
          if (!rightProof) return refuse(400, 'bad-request');
        } else {
          if (link.state === 'claimed') return refuse(409, 'claimed');
          const bad = passphrase && link.wrong < 3 ? undefined : await badCode();
          if (bad) return bad;
          const { verification: v } = link;
          const due = v && ((binding.kinds.includes('emailCode') && v.emailCodeBy !== body.tokenHash) || (binding.kinds.includes('oidc') && v.oidcBy !== body.tokenHash));
          if (due) return refuse(403, 'verification-due');
          if (!rightProof) {
            link.left -= 1;
            link.wrong += 1;
            if (link.left > 0) return refuse(403, 'wrong-proof', { attemptsLeft: link.left, retryAfterMs: 0 });
            this.erase(link, 'locked');
            return gone();
          }
          if (body.exposed) link.exposed = true;
          Object.assign(link, { state: 'claimed', tokenHash: body.tokenHash, claimedAt: this.now(), windowEndsAt: this.now() + WINDOW_MS });
        }
        return {
          status: 200,
          body: { ciphertext: b64(link.ciphertext ?? new Uint8Array()), notAfter: binding.notAfter, claimedAt: link.claimedAt, windowEndsAt: link.windowEndsAt, ...(link.verification ? { r: b64(link.verification.r) } : {}) },
        };
      }
      case 'code': {
        const { verification: v } = link;
        if (!v || (body.step === 'status' && body.exposed !== undefined)) return refuse(400, v ? 'bad-request' : 'not-available');
        if (body.step !== 'status') {
          if (link.state === 'claimed') return refuse(409, 'claimed');
          if (link.state !== 'open') return gone();
          const bad = await badCode();
          if (bad) return bad;
          if (body.exposed) link.exposed = true;
          this.#judge(link, v, body);
          if (link.state !== 'open') return gone();
        }
        return { status: 200, body: this.#standing(link, v, body.tokenHash ?? '') };
      }
      case 'acknowledge':
        if (link.tokenHash === undefined || (await hash(body.token)) !== link.tokenHash) return refuse(409, 'claimed');
        if (link.state === 'claimed') this.erase(link, 'retrieved');
        return { status: 200, body: { state: link.state } };
      case 'decline': {
        if (!['open', 'claimed', 'retrieved'].includes(link.state)) return gone();
        const bad = await badCode();
        if (bad) return bad;
        if ((await hash(body.decline)) !== link.decline) return refuse(404, 'not-found');
        if (link.state === 'retrieved') link.disputed = true;
        else this.erase(link, 'declined');
        return { status: 200, body: { state: link.state } };
      }
      default:
        return refuse(400, 'not-available');
    }
  }

  /** The operator's part of a step. */
  #judge(link: Link, v: Verification, { step, emailCode, authorizationCode, tokenHash }: Body): void {
    if (step === 'mail' && v.mails < 3) {
      Object.assign(v, { mails: v.mails + 1, tries: 0, emailCode: 'sent', mailed: String(10_000_000 + v.mails), emailCodeBy: undefined });
    } else if (step === 'code') {
      v.tries += 1;
      if (emailCode === v.mailed) Object.assign(v, { emailCode: 'passed', emailCodeBy: tokenHash });
      else v.emailCode = v.tries < 5 ? 'wrong' : 'usedUp';
      if (v.tries === 5 && v.mails === 3) this.erase(link, 'locked');
    } else if (step === 'oidc') {
      if (this.signIn === 'passed' && authorizationCode) Object.assign(v, { oidc: 'passed', oidcBy: tokenHash });
      else Object.assign(v, { oidc: 'refused', reason: this.signIn });
    }
  }

  #standing({ binding: { kinds }, state }: Link, v: Verification, tokenHash: string): object {
    const pending = v.pending > 0;
    if (pending) v.pending -= 1;
    const as = (status: string, by: string | undefined): string => (pending ? 'checking' : status === 'passed' && by !== tokenHash ? 'none' : status);
    return {
      state,
      ...(kinds.includes('emailCode') ? { emailCode: { status: as(v.emailCode, v.emailCodeBy), mailsLeft: 3 - v.mails, triesLeft: 5 - v.tries } } : {}),
      ...(kinds.includes('oidc') ? { oidc: { status: as(v.oidc, v.oidcBy), ...(v.oidc === 'refused' ? { reason: v.reason } : {}) } } : {}),
      ...(pending ? { retryAfterMs: 700 } : {}),
    };
  }

  erase(link: Link, state: LinkState): void {
    link.state = state;
    link.ciphertext = undefined;
    link.preview = undefined;
  }

  readonly fetch = async (url: string, init: RequestInit): Promise<Response> => {
    const { status, body } = await this.answer(url.split('/').at(-1) ?? '', JSON.parse(init.body as string) as Body);
    return new Response(JSON.stringify(body), { status });
  };
}

/** SHA-256 of an opening code as a record keeps it: section 7. */
export function codeHash(id: Uint8Array, code: string): Promise<Bytes> {
  return sha256(concat(lp('password-sender/v1 opening-code'), lp(id), lp(code)));
}
