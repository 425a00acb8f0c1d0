/** Copying, and emptying the clipboard again: what was copied, how long it stays, and where the browser forbids to empty it. */
import type { Words } from '../i18n/index.ts';
import { button, h } from '../view/dom.ts';

/** How long a copied value stays, in milliseconds. */
const STAYS_MS = 30_000;

/** One for the whole life of a page: what it has copied it empties, whatever is shown meanwhile. */
export class Clipboard {
  readonly #line = h('p');
  readonly #clear = button('clear', '', () => void this.#empty(), 'quiet');
  readonly #say: (text: string) => void;
  readonly #words: Words;
  /** What the line says, in the language in use. */
  #text = (): string => '';
  #what = '';
  #until = 0;
  /** Whether the browser lets us write without a press. */
  #may = false;
  #timer: ReturnType<typeof setInterval> | undefined;
  readonly element = h('div', { class: 'clip', 'data-testid': 'clip', hidden: true }, this.#line, this.#clear);

  constructor(words: Words, say: (text: string) => void) {
    this.#words = words;
    this.#say = say;
    // A browser lets a page write only while it is looked at.
    addEventListener('focus', () => this.#until > 0 && this.#tick());
  }

  /** Says it again in the language in use, to who sees it. */
  speak(): void {
    this.#clear.textContent = this.#words.t('clip.clear');
    this.#line.textContent = this.#text();
  }

  /** Copies; `otherwise` selects the text for a person to copy. */
  async copy(value: string, what: string, otherwise: (() => void) | undefined): Promise<boolean> {
    try {
      await navigator.clipboard.writeText(value);
    } catch {
      // An earlier copy is still there, and still emptied in time; only its countdown is no longer told.
      otherwise?.();
      this.#tell(() => this.#words.t('clip.failed'), false);
      return false;
    }
    // Only Chromium knows this permission; the others want a press each time.
    this.#may = await navigator.permissions.query({ name: 'clipboard-write' as PermissionName }).then((found) => found.state === 'granted', () => false);
    this.#what = what;
    this.#until = Date.now() + STAYS_MS;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#tick(), 1000);
    this.#tell(this.#copied, true);
    return true;
  }

  readonly #copied = (): string => {
    const left = Math.max(1000, this.#until - Date.now());
    return this.#words.t('clip.copied', { what: this.#words.apart(this.#what) }) + ' ' + (this.#may ? this.#words.t('clip.clears', { left: this.#words.duration(left) }) : this.#words.t('clip.keeps'));
  };

  #tick(): void {
    if (this.#may && Date.now() >= this.#until) void this.#empty();
    else this.#line.textContent = this.#text();
  }

  async #empty(): Promise<void> {
    clearInterval(this.#timer);
    try {
      await navigator.clipboard.writeText('');
      this.#until = 0;
      this.#tell(() => this.#words.t('clip.cleared'), false);
    } catch {
      // Not looked at: as soon as it is. Looked at, and forbidden all the same: it takes a press.
      if (document.hasFocus()) this.#may = false;
      this.#text = this.#copied;
      this.#clear.hidden = false;
      this.speak();
    }
  }

  #tell(text: () => string, clear: boolean): void {
    this.#text = text;
    this.speak();
    this.element.hidden = false;
    this.#clear.hidden = !clear;
    this.#say(text());
  }
}
