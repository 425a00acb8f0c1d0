/**
 * What this browser keeps of a link, under `ps1:<id>`. In localStorage the claim token, later the word `done`, and after it the
 * time until which the credential works; in sessionStorage, for this tab, an opening code that was taken and that the link was
 * exposed. Never `S`, so what lies there opens nothing. Where storage is refused, memory serves until the page is left.
 */
import { b64, unb64, type Bytes } from './protocol/bytes.ts';
import type { Held } from './flow.ts';

export type Shelf = Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>;

/** What one tab keeps until it has opened the link, so that a reload asks for nothing twice. */
export interface Draft {
  readonly code?: string | undefined;
  readonly exposed?: true;
}

/** A shelf that never throws: what it refuses is not there. */
export function careful(get: () => Shelf): Shelf {
  const attempt = <T>(act: () => T): T | null => {
    try {
      return act();
    } catch {
      return null;
    }
  };
  return {
    getItem: (key) => attempt(() => get().getItem(key)),
    setItem: (key, value) => void attempt(() => get().setItem(key, value)),
    removeItem: (key) => void attempt(() => get().removeItem(key)),
  };
}

export class Memory {
  readonly #shelf: Shelf;
  readonly #tab: Shelf;
  readonly key: string;
  #token: Bytes | undefined;
  #draft: Draft = {};
  /** Whether the last token lies in storage too. */
  kept = false;

  constructor(shelf: Shelf, tab: Shelf, id: Uint8Array) {
    this.#shelf = shelf;
    this.#tab = tab;
    this.key = 'ps1:' + b64(id);
    try {
      this.#draft = (JSON.parse(tab.getItem(this.key) ?? '{}') ?? {}) as Draft;
    } catch {
      // Not ours: it is overwritten by the next draft.
    }
  }

  held(): Held {
    return this.#read()[0] === 'done' ? 'done' : this.token() ? 'token' : 'no';
  }

  /** Until when the credential works that was opened here. */
  stopsAt(): number | undefined {
    return Number(this.#read()[1]) || undefined;
  }

  /** The claim token, if there is one. */
  token(): Bytes | undefined {
    try {
      this.#token = unb64(this.#read()[0]!, 32);
      this.kept = true;
    } catch {
      // None, or not ours: it is overwritten by the next token.
    }
    return this.#token;
  }

  keep(token: Bytes): void {
    this.#token = token;
    this.#shelf.setItem(this.key, b64(token));
    this.kept = this.#shelf.getItem(this.key) === b64(token);
  }

  /** After the acknowledgement the token is of no use; the word tells a later reload what happened. */
  done(): void {
    this.#token = undefined;
    this.#shelf.setItem(this.key, ['done', ...this.#read().slice(1)].join(' '));
  }

  /** The token has claimed nothing: somebody else was first. */
  drop(): void {
    this.#token = undefined;
    this.#shelf.removeItem(this.key);
  }

  #read(): string[] {
    return (this.#shelf.getItem(this.key) ?? '').split(' ');
  }

  get draft(): Draft {
    return this.#draft;
  }

  /** Changes the draft; an empty one leaves nothing behind. */
  note(change: Draft): void {
    this.#draft = { ...this.#draft, ...change };
    const text = JSON.stringify(this.#draft);
    if (text === '{}') this.#tab.removeItem(this.key);
    else this.#tab.setItem(this.key, text);
  }
}
