/**
 * Every name that `main[data-state]` can have; of `noLink` every reason, too. The compiler refuses a list that differs from
 * the types, and `states.mjs` fails if one of these was never looked at.
 */
import type { Ending, Stage, State } from '../src/flow/types.ts';

/** Where a state has parts: those are listed apart. `left` shows nothing, as the page is gone. */
type Whole = Exclude<State['at'], 'noLink' | 'check' | 'over' | 'left'>;
type Names<K extends string> = Readonly<Record<K, true>>;

const whole: Names<Whole> = { looking: true, trouble: true, ask: true, opened: true, done: true, decline: true, declined: true };
const reasons: Names<Extract<State, { at: 'noLink' }>['why']> = { none: true, broken: true, insecure: true };
const stages: Names<Stage> = { mail: true, emailCode: true, signIn: true };
const endings: Names<Ending> = {
  claimed: true,
  retrieved: true,
  mine: true,
  late: true,
  expired: true,
  revoked: true,
  declined: true,
  locked: true,
  notFound: true,
  altered: true,
  unsupported: true,
  unreadable: true,
};

const parts = (at: State['at'], names: Names<string>): string[] => Object.keys(names).map((name) => `${at}:${name}`);

export const NAMES: readonly string[] = [...Object.keys(whole), 'ask:early', ...parts('noLink', reasons), ...parts('check', stages), ...parts('over', endings)].sort();
