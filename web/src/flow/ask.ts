/** Opening: what is asked for, and what follows from the gateway's answers. Pure, as all of the flow. */
import type { Refusal } from '../api.ts';
import { normalCode, tidyCode } from '../protocol/code.ts';
import { lost, over, problemOf, waitUntil } from './refusal.ts';
import type { Ask, Effect, Event, Glimpsed, Info, LookedUp, Need, Problem, Step, Typed } from './types.ts';

/** Claims sent by themselves after a lost answer, before the person is asked to press again. */
const TRIES = 4;

/** What a look at the link leads to. */
export function lookedUp(event: LookedUp): Step {
  const { info, held, code, stopsAt } = event;
  if (typeof info === 'string') return [{ at: 'over', how: info }];
  switch (info.state) {
    case 'open':
      return event.rules ? event.rules.begin(event) : [asked(info, code)];
    case 'claimed':
      return [held === 'token' ? asked(info, undefined, true) : { at: 'over', how: 'claimed' }];
    case 'retrieved':
      return [{ at: 'over', how: held === 'done' ? 'mine' : held === 'token' ? 'late' : 'retrieved', stopsAt }];
    default:
      return [{ at: 'over', how: info.state }];
  }
}

/** The form before the cipher is there, where an opening code is all that will be asked for. */
export function glimpsed({ info, held }: Glimpsed): Ask | undefined {
  return info.state === 'open' && info.openingCode && info.kinds.length === 0 && held !== 'token' ? asked(info) : undefined;
}

/** Whether the record is not believed yet: its preview is still to be opened. */
export function early({ info }: { readonly info: Info }): boolean {
  return !info.preview;
}

/** The form for a claim, with what must be typed for it. */
export function asked(info: Info, code?: string, again = false): Ask {
  const needs: Need[] = info.openingCode && code === undefined && !again ? ['code'] : [];
  return { at: 'ask', info, code, again, needs: info.kinds.includes('passphrase') ? [...needs, 'passphrase'] : needs, busy: false, tries: 0 };
}

export function typedCode(typed: string): string | undefined {
  return normalCode(tidyCode(typed));
}

export function asking(state: Ask, event: Event): Step {
  const { problem: _, typed: __, ...calm } = state;
  switch (event.is) {
    case 'submitted': {
      const { typed } = event;
      if (state.busy || event.now < waitUntil(state)) return [state];
      if (state.needs.includes('code') && !typedCode(typed.code)) return [{ ...calm, problem: { is: 'badCode' } }];
      if (state.needs.includes('passphrase') && typed.passphrase === '') return [{ ...calm, problem: { is: 'badPassphrase' } }];
      const busy: Ask = { ...calm, busy: true, tries: 1, typed };
      // The preview, once opened, sends the claim.
      if (early(state)) return [busy];
      // After a lost answer nobody knows who claimed: look first.
      return [busy, state.tries > 0 ? { do: 'lookup', afterMs: 0 } : claim(state, typed)];
    }
    case 'due':
    case 'stirred':
      return state.busy || early(state) ? [state] : [state, { do: 'lookup', afterMs: 0, quiet: true }];
    case 'lookedUp': {
      if (event.quiet && state.busy) return [state];
      const [found] = lookedUp({ ...event, code: event.code ?? state.code });
      if (found.at !== 'ask') return [found, { do: 'wipe' }];
      // Nothing but a time has changed: what is typed and told stays.
      if (!state.busy || !state.typed) {
        const { problem } = state;
        const due = problem?.is === 'wrongProof' && found.needs.length > state.needs.length;
        return [found.again === state.again ? { ...state, info: found.info, needs: found.needs, code: found.code, ...(due ? { problem: { ...problem, is: 'codeToo' } } : {}) } : found];
      }
      // Typed once is enough: the claim goes on with what is there, if that is what is asked for.
      if (!found.needs.every((need) => state.needs.includes(need))) return [found];
      return [{ ...found, busy: true, tries: state.tries, typed: state.typed }, claim(found, state.typed)];
    }
    case 'claimed': {
      const { face, payload, claimedAt, windowEndsAt, kept } = event;
      return [{ at: 'opened', face, info: state.info, code: state.code ?? typedCode(state.typed?.code ?? ''), payload, claimedAt, windowEndsAt, kept, busy: false }];
    }
    case 'unreadable':
      return [{ at: 'over', how: 'unreadable' }, { do: 'wipe' }];
    case 'badPassphrase':
    case 'noWorker':
      return [{ ...calm, busy: false, tries: 0, problem: { is: event.is } }];
    case 'refused':
      return early(state) ? lost(event) : refused(state, event.refusal, event.now);
    default:
      return [state];
  }
}

function refused(state: Ask, refusal: Refusal, now: number): Step {
  const { problem: _, typed, ...calm } = state;
  if (!state.busy || !typed) return [state];
  if (refusal.code === 'unreachable') {
    if (state.tries < TRIES) return [{ ...state, tries: state.tries + 1 }, { do: 'lookup', afterMs: 500 * 2 ** state.tries }];
    return [{ ...calm, busy: false, problem: { is: 'unreachable' } }];
  }
  // Claimed, perhaps by this browser's other tab, with the same token: the token itself shows it.
  if (refusal.code === 'claimed' && !state.again) return [{ ...state, again: true }, claim({ ...state, again: true }, typed)];
  // Another token has passed the checks since, or the passphrase was wrong too often elsewhere: they begin anew.
  if (refusal.code === 'verification-due' || (refusal.code === 'wrong-code' && !state.info.openingCode)) return [{ at: 'looking' }, { do: 'lookup', afterMs: 0 }];
  const ended = over(refusal);
  if (ended) return ended;
  // A repeated claim is refused without counting if its proof is wrong: with a passphrase, that is a mistyped one.
  const mistyped = state.again && state.needs.includes('passphrase') && refusal.code === 'bad-request';
  const problem: Problem = mistyped ? { is: 'wrongProof', until: now } : problemOf(refusal, now);
  if (problem.is === 'wrongProof' && problem.left === 0) return [{ at: 'over', how: 'locked' }, { do: 'wipe' }];
  // A code that was kept and is refused is typed anew; one that was right beside a wrong passphrase is not. `not-ready` may come
  // from a store that has not answered in time: look before the next claim.
  const code = problem.is === 'wrongProof' ? (state.code ?? typedCode(typed.code)) : undefined;
  const anew = code ?? problem.is === 'wrongCode' ? asked(state.info, code, state.again) : calm;
  const told: Ask = { ...anew, busy: false, tries: problem.is === 'notReady' ? 1 : 0, problem };
  // After some wrong passphrases the opening code is due as well.
  return problem.is === 'wrongProof' && !state.again ? [told, { do: 'lookup', afterMs: 0, quiet: true }] : [told];
}

export function claim({ again, info, needs, code }: Ask, typed: Typed): Effect {
  return {
    do: 'claim',
    again,
    code: info.openingCode && !again ? (code ?? typedCode(typed.code)) : undefined,
    passphrase: needs.includes('passphrase') ? typed.passphrase : undefined,
  };
}
