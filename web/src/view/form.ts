/** The forms: what is typed, what was wrong with it, how long to wait. Shared by opening and declining. */
import { t, type Key } from '../i18n/index.ts';
import type { Need, Problem } from '../flow.ts';
import { button, h, set } from './dom.ts';

export interface Form {
  readonly element: HTMLFormElement;
  update(busy: boolean, problem: Problem | undefined): void;
  /** Text about the waiting time; empty when it is over. */
  wait(text: string): void;
}

/** What a problem is about: the field that gets the focus and the text. */
function about(problem: Problem): Need | 'form' {
  if (problem.is === 'badCode' || problem.is === 'wrongCode') return 'code';
  return problem.is === 'badPassphrase' || problem.is === 'wrongProof' ? 'passphrase' : 'form';
}

export function problemText(problem: Problem): string {
  const left = problem.is === 'wrongProof' && problem.left !== undefined ? ' ' + t('problem.left', { left: String(problem.left) }) : '';
  return t(`problem.${problem.is}`) + left;
}

export function form(
  needs: readonly Need[],
  submit: { id: string; text: Key; busy: Key; look: string },
  send: (typed: { code: string; passphrase: string }) => void,
  say: (text: string) => void,
): Form {
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
      id: need,
      name: need,
      'data-testid': need,
      type: need === 'code' ? 'text' : 'password',
      class: need,
      autocomplete: 'off',
      autocapitalize: need === 'code' ? 'characters' : 'none',
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
  const element = h(
    'form',
    {
      novalidate: true,
      submit: (event) => {
        event.preventDefault();
        if (press.getAttribute('aria-disabled') !== 'true') send({ code: inputs.get('code')?.value ?? '', passphrase: inputs.get('passphrase')?.value ?? '' });
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
      if (problem && place === 'form') say(problemText(problem));
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
