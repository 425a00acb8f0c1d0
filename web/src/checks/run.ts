/** The effects of e-mailed codes and sign-ins: the verb `code`, and leaving for a sign-in. */
import { counts, state, text, type Checks, type Json, type Members } from '../api.ts';
import { SIGN_IN, type Desk } from '../desk.ts';
import type { CheckEffect, Event } from '../flow/types.ts';
import { b64, concat, utf8 } from '../protocol/bytes.ts';
import { sha256 } from '../protocol/derive.ts';
import { address } from './address.ts';

export async function run(effect: CheckEffect, desk: Desk): Promise<Event | undefined> {
  return effect.do === 'signIn' ? signIn(effect, desk) : check(effect, desk);
}

async function check({ step, afterMs, code, emailCode }: CheckEffect & { do: 'check' }, desk: Desk): Promise<Event> {
  const { world, memory, arrival } = desk;
  if (afterMs > 0) await world.wait(afterMs);
  const members: Members = { step, tokenHash: await desk.tokenHash() };
  if (step !== 'status') Object.assign(members, { openingCode: code, emailCode, exposed: memory.draft.exposed });
  if (step === 'oidc' && typeof arrival.signIn === 'object') Object.assign(members, arrival.signIn);
  const answer = await desk.api.ask('code', desk.keys, members, read);
  if (!answer.ok) {
    if (answer.refusal.code === 'wrong-code') memory.note({ code: undefined });
    return { is: 'refused', refusal: answer.refusal, now: world.now() };
  }
  if (step === 'oidc') desk.arrival = {};
  // The gateway has taken it: a reload need not ask again.
  if (code !== undefined) memory.note({ code });
  return { is: 'checked', checks: answer.value, now: world.now() };
}

/** How the checks stand, as the gateway tells it. */
function read(json: Json): Checks {
  const emailCode = json.emailCode as Json | undefined;
  const oidc = json.oidc as Json | undefined;
  return {
    state: state(json.state),
    ...(emailCode ? { emailCode: { status: text(emailCode.status), ...counts(emailCode, 'mailsLeft', 'retryAfterMs') } } : {}),
    ...(oidc ? { oidc: { status: text(oidc.status), ...(oidc.reason == null ? {} : { reason: text(oidc.reason) }) } } : {}),
    ...counts(json, 'retryAfterMs'),
  };
}

/** Leaves for the sign-in. Only now, and only until the answer, `S` lies in sessionStorage. */
async function signIn({ code, to }: CheckEffect & { do: 'signIn' }, { world, keys, memory, secret, tokenHash }: Desk): Promise<Event | undefined> {
  const url = address(to.authorizationEndpoint);
  if (!url) return { is: 'refused', refusal: { code: 'not-available' }, now: world.now() };
  const [state, verifier] = [b64(world.random(16)), b64(world.random(32))];
  const query = {
    response_type: 'code',
    client_id: to.clientId,
    scope: to.scope,
    redirect_uri: world.base,
    state,
    nonce: b64(await sha256(concat(keys.id, await tokenHash()))),
    code_challenge: b64(await sha256(utf8(verifier))),
    code_challenge_method: 'S256',
  };
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  memory.note({ code });
  const kept = JSON.stringify({ secret: b64(secret), state, verifier });
  world.tab.setItem(SIGN_IN, kept);
  // Whoever comes back without it has no link any more.
  if (world.tab.getItem(SIGN_IN) !== kept) return { is: 'refused', refusal: { code: 'not-available' }, now: world.now() };
  world.go(url.href);
  return undefined;
}
