/**
 * The page as a state machine, pure: `(state, event) → (state, effects)`. States are data, `session.ts` performs the effects,
 * `view.ts` shows the states. Nothing but `lookup` happens without an event that a person caused.
 */
import type { LinkState, Refusal } from './api.ts';
import { normalCode, tidyCode } from './protocol/code.ts';
import type { Payload, Preview } from './protocol/payload.ts';

/** What this browser remembers of a link: nothing, a claim token, or that it was saved. */
export type Held = 'no' | 'token' | 'done';

/** What a person must type. */
export type Need = 'code' | 'passphrase';

/** A `lookup` whose facts were checked and whose preview was opened. */
export interface Info {
  readonly state: LinkState;
  readonly expiresAt: number;
  readonly windowEndsAt?: number;
  readonly kinds: readonly string[];
  readonly openingCode: boolean;
  readonly preview?: Preview;
}

export interface Typed {
  /** As typed; checked here. */
  readonly code: string;
  readonly passphrase: string;
}

export type Problem =
  | { readonly is: 'unreachable' | 'notReady' | 'unexpected' | 'badCode' | 'badPassphrase' | 'noWorker' }
  | { readonly is: 'slowDown' | 'wrongCode'; readonly until: number }
  | { readonly is: 'wrongProof'; readonly until: number; readonly left?: number };

/** How a link ended for this person. `claimed`: by somebody else. `mine`: saved here. `late`: opened here, the window is over. */
export type Ending = Exclude<LinkState, 'open'> | 'mine' | 'late' | 'notFound' | 'altered' | 'unsupported' | 'unreadable';

export interface Ask {
  readonly at: 'ask';
  readonly info: Info;
  /** Claimed before by this browser: shown again. */
  readonly again: boolean;
  readonly needs: readonly Need[];
  readonly busy: boolean;
  /** What was typed, while the outcome of a claim is unknown. */
  readonly typed?: Typed;
  /** Claims sent since the last definite answer. */
  readonly tries: number;
  readonly problem?: Problem;
}

export interface Opened {
  readonly at: 'opened';
  readonly info: Info;
  readonly payload: Payload;
  readonly claimedAt: number;
  readonly windowEndsAt: number;
  /** Whether this browser could keep the claim token, so that a reload works. */
  readonly kept: boolean;
  readonly busy: boolean;
  readonly problem?: Problem;
}

export interface Over {
  readonly at: 'over';
  readonly how: Ending;
}

export type State =
  | { readonly at: 'looking' }
  | { readonly at: 'noLink'; readonly why: 'none' | 'broken' | 'insecure' }
  | { readonly at: 'trouble'; readonly problem: Problem }
  | Ask
  | Opened
  | { readonly at: 'done'; readonly stopsAt?: number }
  | { readonly at: 'decline'; readonly back: Ask | Opened | Over; readonly busy: boolean; readonly problem?: Problem }
  | { readonly at: 'declined' }
  | Over
  | { readonly at: 'left' };

export type Event =
  /** `info` is absent where the record contradicts its own seal (`altered`) or asks for what this page can't do (`unsupported`). */
  | { readonly is: 'lookedUp'; readonly info: Info | 'altered' | 'unsupported'; readonly held: Held }
  | { readonly is: 'refused'; readonly refusal: Refusal; readonly now: number }
  | { readonly is: 'submitted'; readonly typed: Typed; readonly now: number }
  | { readonly is: 'claimed'; readonly payload: Payload; readonly claimedAt: number; readonly windowEndsAt: number; readonly kept: boolean }
  | { readonly is: 'unreadable' | 'badPassphrase' | 'noWorker' }
  | { readonly is: 'saved' | 'acknowledged' | 'notMine' | 'back' | 'declined' | 'retry' | 'left' }
  | { readonly is: 'declineSubmitted'; readonly code: string; readonly now: number };

export type Effect =
  | { readonly do: 'lookup'; readonly afterMs: number }
  | { readonly do: 'claim'; readonly again: boolean; readonly code?: string; readonly passphrase?: string }
  | { readonly do: 'acknowledge' }
  | { readonly do: 'decline'; readonly code: string }
  /** Overwrite what came of a passphrase. */
  | { readonly do: 'wipe' }
  /** Overwrite everything, `S` too: the page is left. */
  | { readonly do: 'forget' };

export type Step = readonly [State, ...Effect[]];

/** Claims sent by themselves after a lost answer, before the person is asked to press again. */
const TRIES = 4;

/** The endings after which "this was not meant for me" still means something: somebody else had it. */
export function canDecline(state: State): state is Ask | Opened | Over {
  return state.at === 'over' ? ['claimed', 'retrieved', 'late', 'mine'].includes(state.how) : (state.at === 'ask' || state.at === 'opened') && !state.busy;
}

/** Until when nothing may be sent. */
export function waitUntil(state: State): number {
  return 'problem' in state && state.problem && 'until' in state.problem ? state.problem.until : 0;
}

/** The first state of a page that has found a link. */
export function start(): Step {
  return [{ at: 'looking' }, { do: 'lookup', afterMs: 0 }];
}

export function next(state: State, event: Event): Step {
  if (event.is === 'left') return [{ at: 'left' }, { do: 'forget' }];
  if (event.is === 'notMine') return canDecline(state) ? [{ at: 'decline', back: state, busy: false }] : [state];
  switch (state.at) {
    case 'looking':
      if (event.is === 'lookedUp') return lookedUp(event.info, event.held);
      if (event.is === 'refused') return over(event.refusal) ?? [{ at: 'trouble', problem: problemOf(event.refusal, event.now) }];
      return [state];
    case 'trouble':
      return event.is === 'retry' ? start() : [state];
    case 'ask':
      return asking(state, event);
    case 'opened':
      return opened(state, event);
    case 'decline':
      return declining(state, event);
    default:
      return [state];
  }
}

function lookedUp(info: Info | 'altered' | 'unsupported', held: Held): Step {
  if (typeof info === 'string') return [{ at: 'over', how: info }];
  const passphrase: Need[] = info.kinds.includes('passphrase') ? ['passphrase'] : [];
  const ask = { at: 'ask', info, busy: false, tries: 0 } as const;
  switch (info.state) {
    case 'open':
      return [{ ...ask, again: false, needs: [...(info.openingCode ? (['code'] as const) : []), ...passphrase] }];
    case 'claimed':
      return [held === 'token' ? { ...ask, again: true, needs: passphrase } : { at: 'over', how: 'claimed' }];
    case 'retrieved':
      return [{ at: 'over', how: held === 'done' ? 'mine' : held === 'token' ? 'late' : 'retrieved' }];
    default:
      return [{ at: 'over', how: info.state }];
  }
}

function asking(state: Ask, event: Event): Step {
  const { problem: _, typed: __, ...calm } = state;
  switch (event.is) {
    case 'submitted': {
      if (state.busy || event.now < waitUntil(state)) return [state];
      if (state.needs.includes('code') && !normalCode(tidyCode(event.typed.code))) return [{ ...calm, problem: { is: 'badCode' } }];
      if (state.needs.includes('passphrase') && event.typed.passphrase === '') return [{ ...calm, problem: { is: 'badPassphrase' } }];
      // After a lost answer nobody knows who claimed: look first.
      if (state.tries > 0) return [{ ...calm, busy: true, tries: 1, typed: event.typed }, { do: 'lookup', afterMs: 0 }];
      return [{ ...calm, busy: true, tries: 1, typed: event.typed }, claim(state, event.typed)];
    }
    case 'lookedUp': {
      if (!state.busy || !state.typed) return [state];
      const [found] = lookedUp(event.info, event.held);
      if (found.at !== 'ask') return [found, { do: 'wipe' }];
      // Typed once is enough: the claim goes on with what is there, if that is what is asked for.
      if (!found.needs.every((need) => state.needs.includes(need))) return [found];
      return [{ ...found, busy: true, tries: state.tries, typed: state.typed }, claim(found, state.typed)];
    }
    case 'claimed': {
      const { payload, claimedAt, windowEndsAt, kept } = event;
      return [{ at: 'opened', info: state.info, payload, claimedAt, windowEndsAt, kept, busy: false }];
    }
    case 'unreadable':
      return [{ at: 'over', how: 'unreadable' }, { do: 'wipe' }];
    case 'badPassphrase':
    case 'noWorker':
      return [{ ...calm, busy: false, tries: 0, problem: { is: event.is } }];
    case 'refused':
      return claimRefused(state, event.refusal, event.now);
    default:
      return [state];
  }
}

function claimRefused(state: Ask, refusal: Refusal, now: number): Step {
  const { problem: _, typed, ...calm } = state;
  if (!state.busy || !typed) return [state];
  if (refusal.code === 'unreachable') {
    if (state.tries < TRIES) return [{ ...state, tries: state.tries + 1 }, { do: 'lookup', afterMs: 500 * 2 ** state.tries }];
    return [{ ...calm, busy: false, problem: { is: 'unreachable' } }];
  }
  // Claimed, perhaps by this browser's other tab, with the same token: the token itself shows it.
  if (refusal.code === 'claimed' && !state.again) return [{ ...state, again: true }, claim({ ...state, again: true }, typed)];
  const ended = over(refusal);
  if (ended) return ended;
  // A repeated claim is refused without counting if its proof is wrong: with a passphrase, that is a mistyped one.
  const mistyped = state.again && state.needs.includes('passphrase') && refusal.code === 'bad-request';
  const problem: Problem = mistyped ? { is: 'wrongProof', until: now } : problemOf(refusal, now);
  if (problem.is === 'wrongProof' && problem.left === 0) return [{ at: 'over', how: 'locked' }, { do: 'wipe' }];
  // `not-ready` may come from a store that has not answered in time: look before the next claim.
  return [{ ...calm, busy: false, tries: problem.is === 'notReady' ? 1 : 0, problem }];
}

function claim(state: Ask, typed: Typed): Effect {
  const code = state.needs.includes('code') ? normalCode(tidyCode(typed.code)) : undefined;
  return {
    do: 'claim',
    again: state.again,
    ...(code === undefined ? {} : { code }),
    ...(state.needs.includes('passphrase') ? { passphrase: typed.passphrase } : {}),
  };
}

function opened(state: Opened, event: Event): Step {
  const { problem: _, ...calm } = state;
  const done: State = { at: 'done', ...(state.payload.worksForMs === undefined ? {} : { stopsAt: state.claimedAt + state.payload.worksForMs }) };
  switch (event.is) {
    case 'saved':
      return state.busy ? [state] : [{ ...calm, busy: true }, { do: 'acknowledge' }];
    case 'acknowledged':
      return [done, { do: 'wipe' }];
    case 'refused': {
      if (!state.busy) return [state];
      // Over already: the person has saved it, and what they see need not stay.
      if (event.refusal.code === 'gone' && event.refusal.state === 'retrieved') return [done, { do: 'wipe' }];
      return over(event.refusal) ?? [{ ...calm, busy: false, problem: problemOf(event.refusal, event.now) }];
    }
    default:
      return [state];
  }
}

function declining(state: State & { at: 'decline' }, event: Event): Step {
  const { problem: _, ...calm } = state;
  switch (event.is) {
    case 'back':
      return state.busy ? [state] : [state.back];
    case 'declineSubmitted': {
      if (state.busy || event.now < waitUntil(state)) return [state];
      const code = normalCode(tidyCode(event.code));
      if (code === undefined) return [{ ...calm, problem: { is: 'badCode' } }];
      return [{ ...calm, busy: true }, { do: 'decline', code }];
    }
    case 'declined':
      return [{ at: 'declined' }, { do: 'wipe' }];
    case 'refused':
      if (!state.busy) return [state];
      return over(event.refusal) ?? [{ ...calm, busy: false, problem: problemOf(event.refusal, event.now) }];
    default:
      return [state];
  }
}

/** The end that a refusal tells, if it tells one. */
function over(refusal: Refusal): Step | undefined {
  const how: Ending | undefined =
    refusal.code === 'not-found'
      ? 'notFound'
      : refusal.code === 'claimed'
        ? 'claimed'
        : refusal.code === 'gone'
          ? refusal.state && refusal.state !== 'open'
            ? refusal.state
            : 'expired'
          : undefined;
  return how && [{ at: 'over', how }, { do: 'wipe' }];
}

function problemOf(refusal: Refusal, now: number): Problem {
  const until = now + (refusal.retryAfterMs ?? 0);
  switch (refusal.code) {
    case 'unreachable':
      return { is: 'unreachable' };
    case 'not-ready':
      return { is: 'notReady' };
    case 'slow-down':
      return { is: 'slowDown', until };
    case 'wrong-code':
      return { is: 'wrongCode', until };
    case 'wrong-proof':
      return { is: 'wrongProof', until, ...(refusal.attemptsLeft === undefined ? {} : { left: refusal.attemptsLeft }) };
    default:
      return { is: 'unexpected' };
  }
}
