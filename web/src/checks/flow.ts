/** E-mailed codes and sign-ins as a state machine, pure: which comes next, and what the operator's answers mean. */
import type { Checks } from '../api.ts';
import { asked, claim, lookedUp, typedCode } from '../flow/ask.ts';
import { over, problemOf, waitUntil } from '../flow/refusal.ts';
import type { Check, Event, Info, LookedUp, Need, Problem, Stage, Step, Typed } from '../flow/types.ts';
import { tidyCode } from '../protocol/code.ts';
import { address } from './address.ts';

const NOTHING: Typed = { code: '', emailCode: '', passphrase: '' };

export function begin({ info, rules, checks = {}, code, returned }: LookedUp): Step {
  if (typeof info === 'string' || !rules) return [{ at: 'over', how: 'altered' }];
  // A gateway without a provider, or with one that nobody may be sent to.
  if (info.kinds.includes('oidc') && !address(info.signIn?.authorizationEndpoint ?? '')) return [{ at: 'over', how: 'unsupported' }];
  const state = plan({ at: 'check', rules, info, checks, code, busy: false });
  if (!state) return [asked(info, code)];
  if (returned === 'answered') return [{ ...state, busy: true, typed: NOTHING }, { do: 'check', step: 'oidc', afterMs: 0, code }];
  return [returned ? { ...state, problem: { is: 'signIn' } } : state];
}

/** Completes a state with its stage and what must be typed for it; nothing once all is passed. */
function plan(state: Omit<Check, 'stage' | 'needs'>): Check | undefined {
  const stage = stageOf(state.info, state.checks);
  if (!stage) return undefined;
  const needs: Need[] = state.code === undefined ? ['code'] : [];
  return { ...state, stage, needs: stage === 'emailCode' ? [...needs, stage] : needs };
}

function stageOf({ kinds }: Info, { emailCode, oidc }: Checks): Stage | undefined {
  if (kinds.includes('emailCode') && emailCode?.status !== 'passed') {
    return ['sending', 'sent', 'checking', 'wrong'].includes(emailCode?.status ?? '') ? 'emailCode' : 'mail';
  }
  return kinds.includes('oidc') && oidc?.status !== 'passed' ? 'signIn' : undefined;
}

export function next(state: Check, event: Event): Step {
  const { problem: _, typed: __, ...calm } = state;
  switch (event.is) {
    case 'submitted':
      return submitted(state, event.typed, event.now);
    case 'mailAgain': {
      const code = state.code ?? typedCode(event.code);
      if (state.busy || event.now < waitUntil(state)) return [state];
      if (code === undefined) return [{ ...calm, problem: { is: 'badCode' } }];
      return [{ ...calm, busy: true, typed: NOTHING }, { do: 'check', step: 'mail', afterMs: 0, code }];
    }
    case 'due':
    case 'stirred':
      return state.busy ? [state] : [state, { do: 'lookup', afterMs: 0, quiet: true }];
    case 'lookedUp': {
      if (event.quiet && state.busy) return [state];
      const [found] = lookedUp({ ...event, code: event.code ?? state.code });
      // Nothing but a time has changed: what is typed and told stays.
      return [found.at === 'check' && found.stage === state.stage && !state.busy ? { ...state, info: found.info } : found];
    }
    case 'checked':
      return state.busy ? checked(state, event.checks, event.now) : [state];
    case 'refused': {
      if (!state.busy) return [state];
      const ended = over(event.refusal);
      if (ended) return ended;
      const problem = problemOf(event.refusal, event.now);
      const again = { ...calm, busy: false, problem };
      // A code that was kept and is refused is typed anew.
      return [problem.is === 'wrongCode' && state.code !== undefined ? (plan({ ...again, code: undefined }) ?? again) : again];
    }
    default:
      return [state];
  }
}

function submitted(state: Check, typed: Typed, now: number): Step {
  const { problem: _, typed: __, ...calm } = state;
  if (state.busy || now < waitUntil(state)) return [state];
  const code = state.code ?? typedCode(typed.code);
  if (code === undefined) return [{ ...calm, problem: { is: 'badCode' } }];
  const busy = { ...calm, busy: true, typed };
  if (state.stage === 'signIn') return state.info.signIn ? [busy, { do: 'signIn', code, to: state.info.signIn }] : [state];
  if (state.stage === 'mail') return [busy, { do: 'check', step: 'mail', afterMs: 0, code }];
  const emailCode = tidyCode(typed.emailCode).replace(/-/g, '');
  if (!/^\d{8}$/.test(emailCode)) return [{ ...calm, problem: { is: 'badEmailCode' } }];
  return [busy, { do: 'check', step: 'code', afterMs: 0, code, emailCode }];
}

/** The operator's answer to a step, or that it is still to come. */
function checked(state: Check, checks: Checks, now: number): Step {
  const { problem: _, typed = NOTHING, ...calm } = state;
  if (checks.retryAfterMs !== undefined) return [{ ...state, checks }, { do: 'check', step: 'status', afterMs: checks.retryAfterMs }];
  // Claimed or over meanwhile.
  if (checks.state !== 'open') return [{ ...state, busy: true }, { do: 'lookup', afterMs: 0 }];
  const code = state.code ?? typedCode(typed.code);
  const found = plan({ ...calm, checks, code, busy: false });
  if (found) {
    const problem = problemIn(found, now);
    return [problem ? { ...found, problem } : found];
  }
  const ask = asked(state.info, code);
  // The mailed code was the last thing to type, and the person has pressed for it. A passphrase comes next; a sign-in ends
  // with a look at what there is.
  return ask.needs.length === 0 && state.stage === 'emailCode' ? [{ ...ask, busy: true, tries: 1, typed }, claim(ask, typed)] : [ask];
}

function problemIn({ stage, checks: { emailCode, oidc } }: Check, now: number): Problem | undefined {
  if (stage === 'signIn') {
    if (oidc?.status !== 'refused') return undefined;
    const reasons: Record<string, Problem['is']> = { email: 'signInEmail', unverified: 'signInUnverified', provider: 'signInProvider', tooMany: 'signInTooMany' };
    return { is: reasons[oidc.reason ?? ''] ?? 'signIn' } as Problem;
  }
  const until = now + (emailCode?.retryAfterMs ?? 0);
  const noMail = emailCode?.mailsLeft === 0;
  switch (emailCode?.status) {
    case 'wrong':
      return { is: 'wrongEmailCode', until };
    case 'usedUp':
      return { is: noMail ? 'noMail' : 'usedUp' };
    case 'expired':
      return { is: noMail ? 'noMail' : 'codeExpired' };
    case 'notSent':
      return { is: noMail ? 'noMail' : 'notSent' };
  }
  return undefined;
}
