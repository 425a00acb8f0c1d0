/** A browser for tests of the session: storage of its own, before a gateway in memory. */
import assert from 'node:assert/strict';
import type { State } from '../src/flow.ts';
import { careful } from '../src/memory.ts';
import type { Bytes } from '../src/protocol/bytes.ts';
import { stretch } from '../src/protocol/kdf.ts';
import { rules } from '../src/checks.ts';
import type { Arrival, World } from '../src/desk.ts';
import { seal } from '../src/seal.ts';
import { faceWith } from '../src/secret.ts';
import { Session } from '../src/session.ts';
import { Gateway, type Recipe } from './gateway.ts';

export const CODE = '7K3M-9QZB';
export const PAYLOAD = { v: 1, title: 'Database password', worksForMs: 3_600_000, fields: [{ key: 'user', label: 'Username', kind: 'text', value: 'app' }, { key: 'pass', label: '', kind: 'password', value: 'hunter2' }] };

/** A browser with its own storage, before one gateway. `cut` loses that many answers, after they were acted upon. */
export class Browser {
  now = 1_800_000_000_000;
  cut = 0;
  refuseNext: { status: number; body: unknown } | undefined;
  session!: Session;
  readonly shelf = new Map<string, string>();
  readonly tab = new Map<string, string>();
  readonly gone: string[] = [];
  noFace = false;
  noSeal = false;
  /** What the cipher waits for before it is there, or fails. */
  sealAfter: Promise<void> | undefined;
  readonly face = faceWith(async (_, passphrase, salt) => {
    this.stretches += 1;
    return stretch(passphrase, salt);
  });
  arrival: Arrival = {};
  readonly waits: number[] = [];
  readonly shown: string[] = [];
  storage = true;
  stretches = 0;
  readonly gateway: Gateway;

  constructor(gateway?: Gateway) {
    this.gateway = gateway ?? new Gateway(() => this.now);
  }

  secret: Bytes = crypto.getRandomValues(new Uint8Array(32));

  async put(recipe: Partial<Recipe> = {}) {
    return this.gateway.put({ secret: this.secret, payload: PAYLOAD, now: this.now, ...recipe });
  }

  async load(): Promise<State> {
    await this.begin();
    return this.settled();
  }

  /** Loads the page and waits for nothing. */
  async begin(): Promise<void> {
    const world: World = {
      base: 'https://links.example/',
      tab: { getItem: (key) => this.tab.get(key) ?? null, setItem: (key, value) => void this.tab.set(key, value), removeItem: (key) => void this.tab.delete(key) },
      go: (url) => void this.gone.push(url),
      checks: async () => rules,
      seal: async () => {
        await this.sealAfter;
        if (this.noSeal) throw new Error('not loaded');
        return seal;
      },
      face: async () => {
        if (this.noFace) throw new Error('not loaded');
        return this.face;
      },
      shelf: this.storage ? { getItem: (key) => this.shelf.get(key) ?? null, setItem: (key, value) => void this.shelf.set(key, value), removeItem: (key) => void this.shelf.delete(key) } : careful(denied),
      fetch: async (url, init) => {
        if (this.refuseNext) {
          const { status, body } = this.refuseNext;
          this.refuseNext = undefined;
          return new Response(JSON.stringify(body), { status });
        }
        const response = await this.gateway.fetch(url, init);
        if (this.cut > 0 && !url.endsWith('/lookup')) {
          this.cut -= 1;
          throw new TypeError('network');
        }
        return response;
      },
      now: () => this.now,
      random: (bytes) => crypto.getRandomValues(new Uint8Array(bytes)),
      wait: async (ms) => void this.waits.push(ms),
    };
    this.session = await Session.begin(world, this.secret.slice(), this.arrival, (state) => this.shown.push(state.at));
  }

  /** Loads the page with the cipher on its way, up to the early form. The cipher comes, or fails, when `come` is called. */
  async loadEarly(): Promise<() => Promise<State>> {
    let come!: () => void;
    this.sealAfter = new Promise((done) => (come = done));
    await this.begin();
    for (let turn = 0; this.session.state.at === 'looking' && turn < 1000; turn++) await new Promise((done) => setTimeout(done, 1));
    is(this.session.state, 'ask');
    return () => {
      come();
      return this.settled();
    };
  }

  async settled(): Promise<State> {
    await this.session.settled();
    return this.session.state;
  }

  /** Presses the button and waits for nothing. */
  press(code = CODE, passphrase = '', emailCode = ''): void {
    this.session.send({ is: 'submitted', typed: { code, passphrase, emailCode }, now: this.now });
  }

  submit(...typed: string[]): Promise<State> {
    this.press(...typed);
    return this.settled();
  }

  verbs(): string[] {
    return this.gateway.asked.map((one) => one.verb);
  }
}

function denied(): never {
  throw new Error('denied');
}

export function is<K extends State['at']>(state: State, at: K): Extract<State, { at: K }> {
  assert.equal(state.at, at, JSON.stringify(state));
  return state as Extract<State, { at: K }>;
}

