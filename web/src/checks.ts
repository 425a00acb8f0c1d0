/** E-mailed codes and sign-ins. A file of its own, loaded for links that ask for them. */
import { address } from './checks/address.ts';
import { begin, next } from './checks/flow.ts';
import { run } from './checks/run.ts';
import type { CheckRules, Words } from './checks/rules.ts';
import type { Check } from './flow/types.ts';
import type { Submit } from './view/form.ts';

const WORDS: Readonly<Record<Check['stage'], Omit<Words, 'again' | 'host'>>> = {
  mail: { submit: button('mail', 'check.mailIt', 'check.mailing'), text: 'check.mail' },
  emailCode: { submit: button('next', 'check.next', 'check.busy') },
  signIn: { submit: button('sign-in', 'check.signInNow', 'check.busy'), text: 'check.signIn' },
};

function button(id: string, text: Submit['text'], busy: Submit['busy']): Submit {
  return { id, text, busy, look: 'main' };
}

export const rules: CheckRules = {
  begin,
  next,
  run,
  words: ({ stage, checks, info }) => ({ ...WORDS[stage], host: address(info.signIn?.authorizationEndpoint ?? '')?.host ?? '', again: stage === 'emailCode' && checks.emailCode?.mailsLeft !== 0 }),
};
