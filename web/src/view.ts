/** Shows states as pages. One screen per state; a change inside a screen keeps what is typed and where the focus is. */
import { textFor, type Brand } from './brand.ts';
import { canDecline, early, waitUntil, type Ask, type Check, type Decline, type Event as FlowEvent, type Opened, type Problem, type State } from './flow.ts';
import { ahead, apart, duration, t, time, words, type Key } from './i18n/index.ts';
import type { Preview } from './protocol/payload.ts';
import { bdi, button, facts, h, p } from './view/dom.ts';
import { form, problemText } from './view/form.ts';
import type { Facts, Screen } from './view/screen.ts';

/** What a view needs of the page around it. */
export interface Stand {
  readonly root: HTMLElement;
  /** The folder of the page. */
  readonly base: string;
  readonly send: (event: FlowEvent) => void;
}

export class View {
  readonly #stand: Stand;
  readonly #status = h('p', { class: 'sr', role: 'status', 'data-testid': 'status' });
  readonly #page = h('div');
  readonly #margin = h('div');
  #brand: Brand = {};
  #lang = '';
  #state: State | undefined;
  #screen: Screen | undefined;
  #key = '';
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(stand: Stand) {
    this.#stand = stand;
  }

  /** Takes the language in use, and shows what is shown in it. What is typed stays. */
  speak(lang: string, brand: Brand): void {
    this.#lang = lang;
    this.#brand = brand;
    const typed = new Map([...this.#page.querySelectorAll('input')].map((input) => [input.id, input.value]));
    const at = this.#key;
    this.#screen = undefined;
    if (this.#state) this.show(this.#state);
    if (at === this.#key) for (const input of this.#page.querySelectorAll('input')) input.value = typed.get(input.id) ?? '';
  }

  show(state: State): void {
    this.#state = state;
    // The words are still on their way.
    if (this.#lang === '') return;
    const key = [state.at, 'how' in state ? state.how : '', 'needs' in state ? [state.needs, 'stage' in state ? state.stage : state.again] : 'code' in state && !state.code].join();
    if (key !== this.#key || !this.#screen) {
      const first = this.#key === '';
      if (first) this.#stand.root.replaceChildren(this.#page, this.#margin, this.#status);
      const same = this.#key === key;
      this.#key = key;
      this.#screen = this.#build(state);
      const heading = h('h1', { tabindex: '-1', 'data-testid': 'heading' }, this.#screen.heading);
      document.title = this.#screen.heading;
      this.#status.textContent = '';
      this.#page.replaceChildren(heading, ...this.#screen.parts.filter((part) => part !== false));
      // Not on the first screen, which says only that the page is working, and not where only the language changed.
      if (!first && !same) {
        scrollTo(0, 0);
        heading.focus();
      }
    }
    this.#screen.update?.(state);
    const part = 'how' in state ? state.how : 'stage' in state ? state.stage : state.at === 'ask' && early(state) && 'early';
    this.#stand.root.dataset.state = state.at + (part ? ':' + part : '');
    this.#count();
  }

  /** Removes everything from the document. */
  clear(): void {
    clearInterval(this.#timer);
    this.#page.replaceChildren();
    this.#margin.replaceChildren();
    this.#status.textContent = '';
  }

  /** Keeps the times on the screen true: waiting, and until when. */
  #count(): void {
    clearInterval(this.#timer);
    const screen = this.#screen;
    const until = this.#state ? waitUntil(this.#state) : 0;
    const tick = (): void => {
      const left = until - Date.now();
      screen?.wait?.(left > 0 ? t('page.wait', { left: duration(left) }) : '');
      screen?.tick?.();
      if (left <= 0 && !screen?.tick) clearInterval(this.#timer);
    };
    this.#timer = setInterval(tick, 1000);
    tick();
  }

  readonly #say = (text: string): void => {
    this.#status.textContent = text;
  };

  #build(state: State): Screen {
    switch (state.at) {
      case 'looking':
        return { heading: t('looking.h'), parts: [p(t('looking.p'))] };
      case 'noLink':
        return {
          heading: t(`noLink.${state.why}.h`),
          parts: [p(t(`noLink.${state.why}.p`)), ...(state.why === 'insecure' ? [] : [h('code', { dir: 'ltr' }, this.#stand.base + '#ps1.' + 'x'.repeat(43))])],
        };
      case 'trouble':
        return this.#trouble(state.problem);
      case 'ask':
      case 'check':
        return this.#ask(state);
      case 'opened':
        return this.#opened(state);
      case 'done':
        return {
          heading: t('done.h'),
          parts: [p(t('done.p')), stops(state)],
        };
      case 'decline':
        return this.#decline(state);
      case 'declined':
        return { heading: t('declined.h'), parts: [p(t('declined.p'))] };
      case 'over':
        return {
          heading: t(`over.${state.how}.h`),
          parts: [p(t(`over.${state.how}.p`)), stops(state), ...this.#contact(), ...(canDecline(state) ? [this.#notMine(state.how === 'mine' || state.how === 'late' ? 'do.notMine' : 'do.notMe')] : [])],
        };
      case 'left':
        return { heading: '', parts: [] };
    }
  }

  #trouble(problem: Problem): Screen {
    const retry = button('retry', t('do.retry'), () => {
      if (retry.getAttribute('aria-disabled') !== 'true') this.#stand.send({ is: 'retry' });
    }, 'main');
    const waiting = h('p', { class: 'hint', 'data-testid': 'wait' });
    return {
      heading: t('trouble.h'),
      parts: [p(problemText(problem), 'error'), p(t('trouble.p')), retry, waiting],
      wait(text) {
        waiting.textContent = text;
        retry.setAttribute('aria-disabled', String(text !== ''));
      },
    };
  }

  #ask(state: Ask | Check): Screen {
    const { send } = this.#stand;
    const { info } = state;
    const again = state.at === 'ask' && state.again;
    const says = state.at === 'check' ? state.rules.words(state) : { submit: { id: 'open', text: again ? 'do.openAgain' : 'do.open', busy: 'do.opening', look: 'main' } as const, text: state.code && !info.kinds.every((kind) => kind === 'passphrase') && ('check.passed' as const), host: '', again: false };
    const entry = form(state.needs, says.submit, (typed) => send({ is: 'submitted', typed, now: Date.now() }), this.#say);
    const expires = h('span', { 'data-testid': 'expires' });
    const notMine = this.#notMine('do.notMine');
    const about = h('div');
    const tell = (now: Ask | Check): void => {
      const { info } = now;
      const worksForMs = info.preview?.worksForMs;
      about.replaceChildren(
        facts(...whatAndWho(info.preview), [t('fact.expires'), !again && expires]),
        p(again ? t('ask.again.p', { time: time(info.windowEndsAt ?? info.expiresAt) }) : t('ask.once') + (worksForMs === undefined ? '' : ' ' + t('ask.works', { time: duration(worksForMs) })), 'once'),
      );
      notMine.hidden = early(now);
    };
    tell(state);
    return {
      heading: t(again ? 'ask.again.h' : 'ask.h'),
      parts: [
        about,
        ...(info.exposed ? [p(t('ask.exposed'), 'note')] : []),
        ...(says.text ? [p(t(says.text, { host: apart(says.host) }), 'check')] : []),
        entry.element,
        says.again && button('mail-again', t('check.mailAgain'), () => send({ is: 'mailAgain', code: entry.typed().code, now: Date.now() }), 'quiet'),
        notMine,
      ],
      update: (now) => {
        if (!('needs' in now)) return;
        entry.update(now.busy, now.problem);
        // The preview has opened since: told above the form, which stays as it is.
        if (notMine.hidden && !early(now)) {
          tell(now);
          this.#say(about.innerText);
        }
      },
      wait: entry.wait,
      tick() {
        const left = info.expiresAt - Date.now();
        const text = time(info.expiresAt) + (left > 0 ? ` (${ahead(left)})` : '');
        if (expires.textContent !== text) expires.textContent = text;
      },
    };
  }

  #opened(state: Opened): Screen {
    const { payload, info } = state;
    const title = payload.title ?? info.preview?.title ?? '';
    return state.face.screen(state, {
      words,
      form,
      lang: this.#lang,
      brand: this.#brand,
      base: this.#stand.base,
      facts: whatAndWho({ title, sender: payload.sender ?? info.preview?.sender ?? '' }),
      tail: [...this.#contact(), this.#notMine('do.notMine')],
      margin: this.#margin,
      send: this.#stand.send,
      say: this.#say,
    });
  }

  #decline({ code }: Decline): Screen {
    const entry = form(
      code ? [] : ['code'],
      { id: 'decline-confirm', text: 'decline.yes', busy: 'decline.busy', look: 'main danger' },
      ({ code }) => this.#stand.send({ is: 'declineSubmitted', code, now: Date.now() }),
      this.#say,
    );
    return {
      heading: t('decline.h'),
      parts: [p(t('decline.p') + (code ? '' : ' ' + t('decline.code'))), entry.element, button('back', t('do.back'), () => this.#stand.send({ is: 'back' }), 'quiet')],
      update: (now) => now.at === 'decline' && entry.update(now.busy, now.problem),
      wait: entry.wait,
    };
  }

  /** How to reach the operator's people, where they have said it. */
  #contact(): HTMLElement[] {
    const text = textFor(this.#brand.contact, this.#lang);
    return text === undefined ? [] : [p(text, 'contact')];
  }

  #notMine(text: Key): HTMLElement {
    return button('decline', t(text), () => this.#stand.send({ is: 'notMine' }), 'quiet');
  }
}

/** Until when a credential works that was opened here. */
function stops({ stopsAt }: { readonly stopsAt?: number | undefined }): Node | false {
  return stopsAt !== undefined && p(t('done.stops', { time: time(stopsAt) }), 'note');
}

function whatAndWho(preview: Preview | undefined): Facts {
  return [
    [t('fact.title'), preview ? preview.title && h('strong', { 'data-testid': 'title' }, bdi(preview.title)) : '…'],
    [t('fact.sender'), preview ? preview.sender && h('span', { 'data-testid': 'sender' }, bdi(preview.sender)) : '…'],
  ];
}
