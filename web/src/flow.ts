/**
 * The page as a state machine, pure: `(state, event) → (state, effects)`. States are data, `session.ts` performs the effects,
 * `view.ts` shows the states. Nothing but `lookup` happens without an event that a person caused.
 */
import { asking, early, glimpsed, lookedUp, typedCode } from './flow/ask.ts';
import { lost, over, problemOf, waitUntil } from './flow/refusal.ts';
import type { Ask, Check, Decline, Event, Opened, Over, State, Step } from './flow/types.ts';

export type * from './flow/types.ts';
export { early, waitUntil };

/** The endings after which "this was not meant for me" still means something: somebody else had it. */
export function canDecline(state: State): state is Ask | Check | Opened | Over {
  return state.at === 'over' ? ['claimed', 'retrieved', 'late', 'mine'].includes(state.how) : 'info' in state && !state.busy && !early(state);
}

/** The time that the page has named and that changes it: `due` is to be told then. */
export function dueAt(state: State): number | undefined {
  if (state.at === 'opened') return state.over ? undefined : state.windowEndsAt;
  return 'info' in state ? (state.info.windowEndsAt ?? state.info.expiresAt) : undefined;
}

/** The first state of a page that has found a link. */
export function start(): Step {
  return [{ at: 'looking' }, { do: 'lookup', afterMs: 0 }];
}

export function next(state: State, event: Event): Step {
  if (event.is === 'left') return [{ at: 'left' }, { do: 'forget' }];
  if (event.is === 'notMine') return canDecline(state) ? [{ at: 'decline', back: state, code: 'code' in state ? state.code : undefined, busy: false }] : [state];
  switch (state.at) {
    case 'looking':
      if (event.is === 'lookedUp') return lookedUp(event);
      if (event.is === 'refused') return lost(event);
      return [(event.is === 'glimpsed' && glimpsed(event)) || state];
    case 'trouble':
      return event.is === 'retry' || event.is === 'stirred' ? start() : [state];
    case 'ask':
      return asking(state, event);
    case 'check':
      return state.rules.next(state, event);
    case 'opened':
      return opened(state, event);
    case 'decline':
      return declining(state, event);
    default:
      return [state];
  }
}

function opened(state: Opened, event: Event): Step {
  const { problem: _, ...calm } = state;
  const { worksForMs } = state.payload;
  const done: State = { at: 'done', ...(worksForMs === undefined ? {} : { stopsAt: state.claimedAt + worksForMs }) };
  switch (event.is) {
    case 'saved':
      return state.busy ? [state] : [{ ...calm, busy: true }, { do: 'acknowledge' }];
    case 'acknowledged':
      return [done, { do: 'wipe' }];
    case 'due':
      // What is on the screen stays: it may not be saved yet.
      return [{ ...state, over: true }];
    case 'stirred':
      return state.busy ? [state] : [state, { do: 'lookup', afterMs: 0, quiet: true }];
    case 'lookedUp':
      // Saved in another tab: what they see need not stay in this one.
      return event.held === 'done' ? [done, { do: 'wipe' }] : [state];
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

function declining(state: Decline, event: Event): Step {
  const { problem: _, ...calm } = state;
  switch (event.is) {
    case 'back':
      return state.busy ? [state] : [state.back];
    case 'declineSubmitted': {
      if (state.busy || event.now < waitUntil(state)) return [state];
      const code = state.code ?? typedCode(event.code);
      if (code === undefined) return [{ ...calm, problem: { is: 'badCode' } }];
      return [{ ...calm, busy: true }, { do: 'decline', code }];
    }
    case 'declined':
      return [{ at: 'declined' }, { do: 'wipe' }];
    case 'refused':
      if (!state.busy) return [state];
      // A code that was kept and is refused is typed anew.
      return over(event.refusal) ?? [{ ...calm, code: event.refusal.code === 'wrong-code' ? undefined : state.code, busy: false, problem: problemOf(event.refusal, event.now) }];
    default:
      return [state];
  }
}
