/**
 * What this browser keeps of a link, in localStorage under `ps1:<id>`: the claim token, later the word `done`. Never `S`,
 * so what lies there opens nothing. Where storage is refused, memory serves until the page is left.
 */
import { b64, unb64, type Bytes } from './protocol/bytes.ts';
import type { Held } from './flow.ts';

export type Shelf = Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>;

export class Memory {
  readonly #shelf: Shelf | undefined;
  readonly #key: string;
  #token: Bytes | undefined;
  /** Whether the last token lies in storage too. */
  kept = false;

  constructor(shelf: Shelf | undefined, id: Uint8Array) {
    this.#shelf = shelf;
    this.#key = 'ps1:' + b64(id);
  }

  held(): Held {
    return this.#read() === 'done' ? 'done' : this.token() ? 'token' : 'no';
  }

  /** The claim token, if there is one. */
  token(): Bytes | undefined {
    const text = this.#read();
    if (text && text !== 'done') {
      try {
        this.#token = unb64(text, 32);
        this.kept = true;
      } catch {
        // Not ours: it is overwritten by the next token.
      }
    }
    return this.#token;
  }

  keep(token: Bytes): void {
    this.#token = token;
    this.#write(b64(token));
    this.kept = this.#read() === b64(token);
  }

  /** After the acknowledgement the token is of no use; the word tells a later reload what happened. */
  done(): void {
    this.#token = undefined;
    this.#write('done');
  }

  /** The token has claimed nothing: somebody else was first. */
  drop(): void {
    this.#token = undefined;
    try {
      this.#shelf?.removeItem(this.#key);
    } catch {
      // Then nothing lies there either.
    }
  }

  #read(): string | null {
    try {
      return this.#shelf?.getItem(this.#key) ?? null;
    } catch {
      return null;
    }
  }

  #write(text: string): void {
    try {
      this.#shelf?.setItem(this.#key, text);
    } catch {
      // Full or forbidden: `kept` says so.
    }
  }
}
