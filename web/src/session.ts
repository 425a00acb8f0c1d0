/** Performs the effects of `flow.ts` with real keys and a real gateway. The only place where state, keys and network meet. */
import { Api, type Answer, type Claimed, type Fetch, type Lookup } from './api.ts';
import { next, start, type Effect, type Event, type Info, type State, type Step } from './flow.ts';
import { Memory, type Shelf } from './memory.ts';
import { FormError, wipe, type Bytes } from './protocol/bytes.ts';
import { associatedData, deriveKey, deriveProof, linkKeys, normalPassphrase, sha256, type Binding, type LinkKeys } from './protocol/derive.ts';
import { bindingOf, factorsFit } from './protocol/facts.ts';
import { parsePayload, parsePreview } from './protocol/payload.ts';
import { PAYLOAD_MAX, PREVIEW_MAX, open } from './protocol/seal.ts';

/** Everything outside: so that tests can put their own in its place. */
export interface World {
  readonly fetch: Fetch;
  /** The folder of the page, with its slash. */
  readonly base: string;
  readonly shelf: Shelf | undefined;
  now(): number;
  random(bytes: number): Bytes;
  wait(ms: number): Promise<void>;
  /** Argon2id; wipes the passphrase. */
  stretch(passphrase: Bytes, salt: Bytes): Promise<Bytes>;
}

export class Session {
  readonly #world: World;
  readonly #secret: Bytes;
  readonly #keys: LinkKeys;
  readonly #api: Api;
  readonly #memory: Memory;
  readonly #show: (state: State) => void;
  #state: State = { at: 'looking' };
  #binding: Binding | undefined;
  /** The last passphrase and what came of it, so that a repeated claim does not compute again. */
  #stretched: { of: string; p: Bytes } | undefined;
  #running: Promise<unknown> = Promise.resolve();

  private constructor(world: World, secret: Bytes, keys: LinkKeys, show: (state: State) => void) {
    this.#world = world;
    this.#secret = secret;
    this.#keys = keys;
    this.#api = new Api(world.fetch, world.base);
    this.#memory = new Memory(world.shelf, keys.id);
    this.#show = show;
  }

  /** Starts with a lookup. `show` is called with every state. */
  static async begin(world: World, secret: Bytes, show: (state: State) => void): Promise<Session> {
    const session = new Session(world, secret, await linkKeys(secret), show);
    session.#take(start());
    return session;
  }

  get state(): State {
    return this.#state;
  }

  send(event: Event): void {
    this.#take(next(this.#state, event));
  }

  /** Resolves when no effect is under way. */
  async settled(): Promise<void> {
    for (let seen: unknown; seen !== this.#running; ) await (seen = this.#running);
  }

  #take([state, ...effects]: Step): void {
    const before = 'payload' in this.#state ? this.#state.payload : undefined;
    const after = 'payload' in state ? state.payload : state.at === 'decline' && 'payload' in state.back ? state.back.payload : undefined;
    if (before && before !== after) wipe(...before.files.map((file) => file.data));
    const changed = state !== this.#state;
    this.#state = state;
    if (changed || state.at === 'looking') this.#show(state);
    for (const effect of effects) {
      const run = this.#run(effect);
      this.#running = Promise.all([this.#running, run]);
    }
  }

  async #run(effect: Effect): Promise<void> {
    try {
      switch (effect.do) {
        case 'lookup':
          if (effect.afterMs > 0) await this.#world.wait(effect.afterMs);
          return await this.#lookup();
        case 'claim':
          return await this.#claim(effect);
        case 'acknowledge':
          return await this.#acknowledge();
        case 'decline':
          return this.#tell(await this.#api.decline(this.#keys, effect.code, this.#keys.decline), () => ({ is: 'declined' }));
        case 'forget':
          wipe(this.#secret, ...Object.values<Bytes>({ ...this.#keys }));
          return this.#wipe();
        case 'wipe':
          return this.#wipe();
      }
    } catch {
      // No error of the platform may end in a page that hangs.
      this.send({ is: 'refused', refusal: { code: 'unexpected' }, now: this.#world.now() });
    }
  }

  #wipe(): void {
    wipe(this.#stretched?.p);
    this.#stretched = undefined;
  }

  #tell<T>(answer: Answer<T>, event: (value: T) => Event): void {
    this.send(answer.ok ? event(answer.value) : { is: 'refused', refusal: answer.refusal, now: this.#world.now() });
  }

  async #lookup(): Promise<void> {
    this.#tell(await this.#api.lookup(this.#keys), (found) => ({ is: 'lookedUp', info: this.#judge(found), held: this.#memory.held() }));
  }

  /** Believes a record that is still to be opened only if its preview opens: the seal covers all that the page goes by. */
  #judge(found: Lookup): Info | 'altered' | 'unsupported' {
    const { state, expiresAt, windowEndsAt, openingCode } = found;
    try {
      const binding = bindingOf(this.#keys.id, found.notAfter, found.kinds, found.kdf);
      const info = { state, expiresAt, openingCode, kinds: binding.kinds, ...(windowEndsAt === undefined ? {} : { windowEndsAt }) };
      if (state !== 'open' && state !== 'claimed') return info;
      if (!found.preview) return 'altered';
      const preview = parsePreview(open(this.#keys.previewKey, associatedData('preview', binding), found.preview, PREVIEW_MAX));
      this.#binding = binding;
      return binding.kinds.some((kind) => kind !== 'passphrase') ? 'unsupported' : { ...info, preview };
    } catch {
      return 'altered';
    }
  }

  async #claim(effect: Effect & { do: 'claim' }): Promise<void> {
    const binding = this.#binding;
    if (!binding) return this.send({ is: 'unreadable' });
    let p: Bytes | undefined;
    if (effect.passphrase !== undefined) {
      try {
        p = await this.#stretch(effect.passphrase);
      } catch (error) {
        return this.send({ is: error instanceof FormError ? 'badPassphrase' : 'noWorker' });
      }
      if (this.#state.at !== 'ask') return;
    }
    const proof = await deriveProof(this.#secret, p);
    const answer = effect.again ? await this.#claimAgain(proof) : await this.#claimFirst(proof, effect.code);
    if (!answer.ok) {
      if (effect.again && answer.refusal.code === 'claimed') this.#memory.drop();
      return this.send({ is: 'refused', refusal: answer.refusal, now: this.#world.now() });
    }
    const { ciphertext, claimedAt, windowEndsAt, r } = answer.value;
    if (!factorsFit(binding, p, r)) return this.send({ is: 'unreadable' });
    const key = await deriveKey(this.#secret, p, r);
    try {
      const payload = parsePayload(open(key, associatedData('payload', binding), ciphertext, PAYLOAD_MAX));
      this.send({ is: 'claimed', payload, claimedAt, windowEndsAt, kept: this.#memory.kept });
    } catch {
      this.send({ is: 'unreadable' });
    } finally {
      wipe(key);
    }
  }

  async #claimFirst(proof: Bytes, openingCode: string | undefined): Promise<Answer<Claimed>> {
    // Kept before it is used: whatever happens to the answer, this browser can ask again.
    const token = this.#memory.token() ?? this.#world.random(32);
    this.#memory.keep(token);
    const tokenHash = await sha256(token);
    return this.#api.claim(this.#keys, { proof, tokenHash, ...(openingCode === undefined ? {} : { openingCode }) });
  }

  async #claimAgain(proof: Bytes): Promise<Answer<Claimed>> {
    const token = this.#memory.token();
    return token ? this.#api.claim(this.#keys, { proof, token }) : { ok: false, refusal: { code: 'claimed' } };
  }

  async #stretch(passphrase: string): Promise<Bytes> {
    if (this.#stretched?.of === passphrase) return this.#stretched.p;
    const p = await this.#world.stretch(normalPassphrase(passphrase), this.#keys.salt.slice());
    this.#stretched = { of: passphrase, p };
    return p;
  }

  async #acknowledge(): Promise<void> {
    const token = this.#memory.token();
    const answer = token ? await this.#api.acknowledge(this.#keys, token) : ({ ok: false, refusal: { code: 'unexpected' } } as const);
    if (answer.ok) this.#memory.done();
    this.#tell(answer, () => ({ is: 'acknowledged' }));
  }
}

