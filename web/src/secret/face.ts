/** What the page needs of `secret.js`, which shows what was sent, and what that needs of the page. Types only. */
import type { Brand } from '../brand.ts';
import type { Desk } from '../desk.ts';
import type { Effect, Event, Opened } from '../flow/types.ts';
import type { Words } from '../i18n/index.ts';
import type { form } from '../view/form.ts';
import type { Facts, Screen } from '../view/screen.ts';

/** Loaded before anything is claimed: what can't be shown is not opened. */
export interface Face {
  /** Claims and opens. `wanted`: whether the person still waits for it, after the time that a passphrase takes. */
  claim(effect: Effect & { do: 'claim' }, desk: Desk, wanted: () => boolean): Promise<Event | undefined>;
  /** The screen of an opened link. */
  screen(state: Opened, around: Around): Screen;
}

export interface Around {
  readonly words: Words;
  readonly form: typeof form;
  readonly lang: string;
  readonly brand: Brand;
  /** The folder of the page, for what is loaded on demand. */
  readonly base: string;
  /** What the page says of every link: what, and from whom. */
  readonly facts: Facts;
  /** Below all: whom to ask, and "not meant for me". */
  readonly tail: readonly Node[];
  /** Where the clipboard's line goes: it stays when the screen changes. */
  readonly margin: HTMLElement;
  readonly send: (event: Event) => void;
  /** Tells it to who does not see. */
  readonly say: (text: string) => void;
}
