/** What the page needs of `checks.js`: rules, effects and words of e-mailed codes and sign-ins. Types. */
import type { Desk } from '../desk.ts';
import type { Check, CheckEffect, Event, LookedUp, Step } from '../flow/types.ts';
import type { Key } from '../i18n/index.ts';
import type { Submit } from '../view/form.ts';

export interface CheckRules {
  /** What an open link that asks for checks is shown as. */
  begin(event: LookedUp): Step;
  next(state: Check, event: Event): Step;
  /** Performs an effect; nothing to tell where the page is left. */
  run(effect: CheckEffect, desk: Desk): Promise<Event | undefined>;
  words(state: Check): Words;
}

/** What a screen says: its button, a sentence, and whether another code may be had. */
export interface Words {
  readonly submit: Submit;
  readonly text?: Key;
  /** Where the sign-in is, for the sentence. */
  readonly host: string;
  readonly again: boolean;
}

/** Where a sign-in begins. */
export interface SignIn {
  readonly authorizationEndpoint: string;
  readonly clientId: string;
  readonly scope: string;
}
