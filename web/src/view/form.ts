/** The forms: what is typed, what was wrong with it, how long to wait. Shared by opening, checking and declining. */
import { count, t, type Key } from '../i18n/index.ts';
import type { Need, Problem, Typed } from '../flow.ts';
import { button, h, set } from './dom.ts';

export interface Form {
  readonly element: HTMLFormElement;
  typed(): Typed;
  update(busy: boolean, problem: Problem | undefined): void;
  /** Text about the waiting time; empty when it is over. */
  wait(text: string): void;
}

/** The button of a form. */
export interface Submit {
  readonly id: string;
  readonly text: Key;
  readonly busy: Key;
  readonly look: string;
}

/** What a problem is about: the field that gets the focus and the text. */
function about({ is }: Problem): Need | 'form' {
  if (/^(bad|wrong)Code|^codeToo/.test(is)) return 'code';
  if (/EmailCode/.test(is)) return 'emailCode';
  return is === 'badPassphrase' || is === 'wrongProof' ? 'passphrase' : 'form';
}

export function problemText(problem: Problem): string {
  const left = 'left' in problem && problem.is !== 'wrongEmailCode' && problem.left !== undefined ? ' ' + t('problem.left', { left: count(problem.left) }) : '';
  return t(`problem.${problem.is}`) + left;
}

/** Attributes of each kind of field. */
const INPUTS: Record<Need, Record<string, string>> = {
  code: { type: 'text', autocapitalize: 'characters', autocomplete: 'off', maxlength: '32' },
  emailCode: { type: 'text', inputmode: 'numeric', autocomplete: 'one-time-code', maxlength: '32' },
  passphrase: { type: 'password', autocapitalize: 'none', autocomplete: 'off' },
};

export function form(needs: readonly Need[], submit: Submit, send: (typed: Typed) => void, say: (text: string) => void): Form {
  const inputs = new Map<string, HTMLInputElement>();
  const errors = new Map<string, HTMLElement>();
  const error = (name: string): HTMLElement => {
    const element = h('p', { class: 'error', id: name + '-error', 'data-testid': 'error', hidden: true });
    errors.set(name, element);
    return element;
  };
  const press = h('button', { type: 'submit', class: submit.look, 'data-testid': submit.id }, t(submit.text));
  const waiting = h('p', { class: 'hint', 'data-testid': 'wait' });
  const field = (need: Need): HTMLElement => {
    const input = h('input', {
      ...INPUTS[need],
      id: need,
      name: need,
      'data-testid': need,
      class: need,
      dir: need === 'passphrase' ? 'auto' : 'ltr',
      spellcheck: 'false',
      'aria-describedby': `${need}-hint ${need}-error`,
      required: true,
    });
    inputs.set(need, input);
    return h(
      'div',
      { class: 'field' },
      h('label', { for: need }, t(`${need}.label`)),
      h('p', { class: 'hint', id: need + '-hint' }, t(`${need}.hint`)),
      input,
      need === 'passphrase' && peek(input),
      error(need),
    );
  };
  const typed = (): Typed => {
    const value = (need: Need): string => inputs.get(need)?.value ?? '';
    return { code: value('code'), emailCode: value('emailCode'), passphrase: value('passphrase') };
  };
  const element = h(
    'form',
    {
      novalidate: true,
      submit: (event) => {
        event.preventDefault();
        if (press.getAttribute('aria-disabled') !== 'true') send(typed());
      },
    },
    ...needs.map(field),
    error('form'),
    press,
    waiting,
  );
  let shown: Problem | undefined;
  let working = false;
  let held = false;
  const disable = (): void => set(press, 'aria-disabled', working || held ? 'true' : undefined);
  return {
    element,
    typed,
    update(busy, problem) {
      if (busy && !working) say(t(submit.busy));
      working = busy;
      press.textContent = t(busy ? submit.busy : submit.text);
      for (const input of inputs.values()) input.readOnly = busy;
      disable();
      if (problem === shown) return;
      shown = problem;
      const place = problem && about(problem);
      for (const [name, line] of errors) {
        const here = place === name || (name === 'form' && place !== undefined && !errors.has(place));
        line.hidden = !here;
        line.textContent = here && problem ? problemText(problem) : '';
        const input = inputs.get(name);
        if (input) set(input, 'aria-invalid', here ? 'true' : undefined);
        if (here && input) {
          if (name === 'passphrase') input.value = '';
          input.focus();
          input.select();
        }
      }
      // A field's error is read with its field, which has the focus now.
      if (problem && !inputs.has(place ?? '')) say(problemText(problem));
    },
    wait(text) {
      held = text !== '';
      waiting.textContent = text;
      disable();
    },
  };
}

function peek(input: HTMLInputElement): HTMLElement {
  const toggle = button('passphrase-show', t('passphrase.show'), () => {
    const open = input.type === 'password';
    input.type = open ? 'text' : 'password';
    set(toggle, 'aria-pressed', String(open));
  }, 'quiet');
  set(toggle, 'aria-pressed', 'false');
  return toggle;
}
