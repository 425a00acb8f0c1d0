/** What a refusal means to a person. */
import type { Refusal } from '../api.ts';
import type { Ending, Problem, Refused, State, Step } from './types.ts';

/** Until when nothing may be sent. */
export function waitUntil(state: State): number {
  return 'problem' in state && state.problem && 'until' in state.problem ? state.problem.until : 0;
}

/** The end that a refusal tells, if it tells one. */
export function over({ code, state }: Refusal): Step | undefined {
  const how: Ending | undefined =
    code === 'not-found'
      ? 'notFound'
      : code === 'claimed'
        ? 'claimed'
        : code === 'not-available'
          ? 'unsupported'
          : code === 'gone'
            ? state && state !== 'open'
              ? state
              : 'expired'
            : undefined;
  return how && [{ at: 'over', how }, { do: 'wipe' }];
}

/** What a first look that failed leads to: an end, or a page from which it is tried again. */
export function lost({ refusal, now }: Refused): Step {
  return over(refusal) ?? [{ at: 'trouble', problem: problemOf(refusal, now) }];
}

export function problemOf(refusal: Refusal, now: number): Problem {
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
