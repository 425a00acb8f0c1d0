/** Shows states as pages. One screen per state; a change inside a screen keeps what is typed and where the focus is. */
import { duration, t, time, type Key } from './i18n/index.ts';
import { canDecline, waitUntil, type Ask, type Event as FlowEvent, type Info, type Opened, type Problem, type State } from './flow.ts';
import { address, bdi, button, facts, h } from './view/dom.ts';
import { form, problemText } from './view/form.ts';
import { fields } from './view/secret.ts';

/** A built screen: its parts, and how it follows its state. */
interface Screen {
  readonly parts: Node[];
  readonly heading: string;
  update?(state: State): void;
  wait?(text: string): void;
}

export class View {
  readonly #root: HTMLElement;
  readonly #status = h('p', { class: 'sr', role: 'status', 'data-testid': 'status' });
  readonly #page = h('div');
  readonly #send: (event: FlowEvent) => void;
  /** The folder of the page, for the example of a link. */
  readonly #base: string;
  readonly #exposed: boolean;
  #screen: Screen | undefined;
  #key = '';
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(root: HTMLElement, base: string, exposed: boolean, send: (event: FlowEvent) => void) {
    this.#root = root;
    this.#base = base;
    this.#exposed = exposed;
    this.#send = send;
    root.replaceChildren(this.#page, this.#status);
  }

  show(state: State): void {
    const key = [state.at, 'how' in state ? state.how : '', 'again' in state ? [state.again, state.needs] : ''].join();
    if (key !== this.#key || !this.#screen) {
      const first = this.#key === '';
      this.#key = key;
      this.#screen = this.#build(state);
      const heading = h('h1', { tabindex: '-1', 'data-testid': 'heading' }, this.#screen.heading);
      document.title = this.#screen.heading;
      this.#root.dataset.state = state.at + ('how' in state ? ':' + state.how : '');
      this.#status.textContent = '';
      this.#page.replaceChildren(heading, ...this.#screen.parts);
      // Not on the first screen, which says only that the page is working.
      if (!first) {
        scrollTo(0, 0);
        heading.focus();
      }
    }
    this.#screen.update?.(state);
    this.#count(waitUntil(state));
  }

  /** Removes everything from the document. */
  clear(): void {
    clearInterval(this.#timer);
    this.#page.replaceChildren();
    this.#status.textContent = '';
  }

  #count(until: number): void {
    clearInterval(this.#timer);
    const screen = this.#screen;
    const tick = (): void => {
      const left = until - Date.now();
      screen?.wait?.(left > 0 ? t('wait', { left: duration(left) }) : '');
      if (left <= 0) clearInterval(this.#timer);
    };
    if (until > Date.now()) this.#timer = setInterval(tick, 1000);
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
          parts: [p(t(`noLink.${state.why}.p`)), ...(state.why === 'insecure' ? [] : [h('code', { class: 'sample' }, this.#base + '#ps1.' + 'x'.repeat(43))])],
        };
      case 'trouble':
        return this.#trouble(state.problem);
      case 'ask':
        return this.#ask(state);
      case 'opened':
        return this.#opened(state);
      case 'done':
        return {
          heading: t('done.h'),
          parts: [p(t('done.p')), ...(state.stopsAt === undefined ? [] : [p(t('done.stops', { time: time(state.stopsAt) }), 'note')])],
        };
      case 'decline':
        return this.#decline();
      case 'declined':
        return { heading: t('declined.h'), parts: [p(t('declined.p'))] };
      case 'over':
        return {
          heading: t(`over.${state.how}.h`),
          parts: [p(t(`over.${state.how}.p`)), ...(canDecline(state) ? [this.#notMine(state.how === 'mine' || state.how === 'late' ? 'notMine' : 'notMe')] : [])],
        };
      case 'left':
        return { heading: '', parts: [] };
    }
  }

  #trouble(problem: Problem): Screen {
    const retry = button('retry', t('retry'), () => {
      if (retry.getAttribute('aria-disabled') !== 'true') this.#send({ is: 'retry' });
    }, 'main');
    const waiting = h('p', { class: 'hint', 'data-testid': 'wait' });
    return {
      heading: t('trouble.h'),
      parts: [p(problemText(problem), 'error'), p(t('trouble.nothing')), retry, waiting],
      wait(text) {
        waiting.textContent = text;
        retry.setAttribute('aria-disabled', String(text !== ''));
      },
    };
  }

  #ask(state: Ask): Screen {
    const { info, again } = state;
    const entry = form(
      state.needs,
      { id: 'open', text: again ? 'open.again' : 'open', busy: 'open.busy', look: 'main' },
      (typed) => this.#send({ is: 'submitted', typed, now: Date.now() }),
      this.#say,
    );
    const left = info.expiresAt - Date.now();
    const before = left > 0 ? t('in', { time: time(info.expiresAt), left: duration(left) }) : time(info.expiresAt);
    return {
      heading: t(again ? 'ask.again.h' : 'ask.h'),
      parts: [
        facts(...whatAndWho(info), [t('fact.expires'), !again && h('span', { 'data-testid': 'expires' }, before)]),
        p(again ? t('ask.again.p', { time: time(info.windowEndsAt ?? info.expiresAt) }) : t('ask.ready')),
        ...(this.#exposed ? [p(t('ask.exposed'), 'note')] : []),
        entry.element,
        this.#notMine('notMine'),
      ],
      update: (now) => now.at === 'ask' && entry.update(now.busy, now.problem),
      wait: entry.wait,
    };
  }

  #opened({ payload, info, claimedAt, windowEndsAt, kept }: Opened): Screen {
    const save = form([], { id: 'acknowledge', text: 'saved', busy: 'saved.busy', look: 'main' }, () => this.#send({ is: 'saved' }), this.#say);
    const { title, sender, purpose, environment, url, note, worksForMs } = payload;
    return {
      heading: t('opened.h'),
      parts: [
        facts(
          ...whatAndWho({ preview: { title: title ?? info.preview?.title ?? '', sender: sender ?? info.preview?.sender ?? '' } }),
          [t('fact.purpose'), purpose && bdi(purpose)],
          [t('fact.environment'), environment && bdi(environment)],
          [t('fact.url'), url && address(url)],
          [t('fact.note'), note && h('span', { class: 'lines' }, bdi(note))],
        ),
        fields(payload, this.#say),
        ...(kept ? [] : [p(t('opened.volatile'), 'note')]),
        ...(worksForMs === undefined ? [] : [p(t('opened.works', { time: time(claimedAt + worksForMs) }), 'works')]),
        p(t('opened.save', { time: time(windowEndsAt) }), 'window'),
        save.element,
        this.#notMine('notMine'),
      ],
      update: (now) => now.at === 'opened' && save.update(now.busy, now.problem),
      wait: save.wait,
    };
  }

  #decline(): Screen {
    const entry = form(
      ['code'],
      { id: 'decline-confirm', text: 'decline.yes', busy: 'decline.busy', look: 'main danger' },
      ({ code }) => this.#send({ is: 'declineSubmitted', code, now: Date.now() }),
      this.#say,
    );
    return {
      heading: t('decline.h'),
      parts: [p(t('decline.p')), entry.element, button('back', t('back'), () => this.#send({ is: 'back' }), 'quiet')],
      update: (now) => now.at === 'decline' && entry.update(now.busy, now.problem),
      wait: entry.wait,
    };
  }

  #notMine(text: Key): HTMLElement {
    return button('decline', t(text), () => this.#send({ is: 'notMine' }), 'quiet');
  }
}

function p(text: string, look = ''): HTMLElement {
  return h('p', { class: look || undefined, 'data-testid': look || undefined }, text);
}

function whatAndWho({ preview }: Pick<Info, 'preview'>): [string, HTMLElement | false][] {
  return [
    [t('fact.title'), !!preview?.title && h('strong', { 'data-testid': 'title' }, bdi(preview.title))],
    [t('fact.sender'), !!preview?.sender && h('span', { 'data-testid': 'sender' }, bdi(preview.sender))],
  ];
}
