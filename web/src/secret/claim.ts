/** Claiming: proof out, ciphertext in, opened here. */
import type { Answer, Claimed } from '../api.ts';
import type { Desk } from '../desk.ts';
import type { Effect, Event } from '../flow/types.ts';
import { FormError, b64, isCount, unb64, wipe, type Bytes } from '../protocol/bytes.ts';
import { associatedData, deriveKey, deriveProof, normalPassphrase } from '../protocol/derive.ts';
import { factorsFit } from '../protocol/facts.ts';
import { parsePayload } from '../protocol/payload.ts';
import type { Face } from './face.ts';

/** Argon2id; wipes the passphrase. */
export type Stretch = (base: string, passphrase: Bytes, salt: Bytes) => Promise<Bytes>;

/** `wanted`: whether the person still waits for it, after the time that a passphrase takes. */
export async function claim(effect: Effect & { do: 'claim' }, desk: Desk, wanted: () => boolean, stretch: Stretch, face: Face): Promise<Event | undefined> {
  const { binding, memory, seal, secret, world } = desk;
  if (!binding || !seal) return { is: 'unreadable' };
  let p: Bytes | undefined;
  if (effect.passphrase !== undefined) {
    try {
      p = await stretched(effect.passphrase, desk, stretch);
    } catch (error) {
      return { is: error instanceof FormError ? 'badPassphrase' : 'noWorker' };
    }
    if (!wanted()) return undefined;
  }
  const answer = await ask(effect, await deriveProof(secret, p), desk);
  if (!answer.ok) {
    const { code } = answer.refusal;
    if (effect.again && code === 'claimed') memory.drop();
    // Opening codes are judged first: where something else was wrong this one was right, and a reload need not ask for it again.
    if (code === 'wrong-code') memory.note({ code: undefined });
    else if (effect.code && (code === 'wrong-proof' || code === 'verification-due')) memory.note({ code: effect.code });
    return { is: 'refused', refusal: answer.refusal, now: world.now() };
  }
  const { ciphertext, claimedAt, windowEndsAt, r } = answer.value;
  if (!factorsFit(binding, p, r)) return { is: 'unreadable' };
  const key = await deriveKey(secret, p, r);
  try {
    const payload = parsePayload(seal.payload(key, associatedData('payload', binding), ciphertext));
    memory.note({ code: undefined });
    if (payload.worksForMs !== undefined) stops(claimedAt + payload.worksForMs, desk);
    return { is: 'claimed', face, payload, claimedAt, windowEndsAt, kept: memory.kept };
  } catch {
    return { is: 'unreadable' };
  } finally {
    wipe(key);
  }
}

/** Keeps until when the credential works, beside the token: a later reload tells it. */
function stops(at: number, { memory, world }: Desk): void {
  const token = memory.token();
  if (token) world.shelf.setItem(memory.key, b64(token) + ' ' + at);
}

/** The first claim names the hash of the token, a repeated one the token itself. */
async function ask({ again, code }: Effect & { do: 'claim' }, proof: Bytes, { api, keys, memory, tokenHash }: Desk): Promise<Answer<Claimed>> {
  const token = memory.token();
  if (again && !token) return { ok: false, refusal: { code: 'claimed' } };
  const members = again ? { proof, token } : { proof, tokenHash: await tokenHash(), openingCode: code, exposed: memory.draft.exposed };
  return api.ask('claim', keys, members, (json) => {
    const counts = [json.claimedAt, json.windowEndsAt];
    if (!counts.every(isCount)) throw new TypeError('counts');
    const [claimedAt, windowEndsAt] = counts as [number, number];
    return { ciphertext: unb64(json.ciphertext as string), claimedAt, windowEndsAt, ...(json.r == null ? {} : { r: unb64(json.r as string) }) };
  });
}

async function stretched(passphrase: string, desk: Desk, stretch: Stretch): Promise<Bytes> {
  if (desk.stretched?.of === passphrase) return desk.stretched.p;
  const p = await stretch(desk.world.base, normalPassphrase(passphrase), desk.keys.salt.slice());
  desk.stretched = { of: passphrase, p };
  return p;
}
