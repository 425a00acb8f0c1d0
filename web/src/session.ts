/** Performs the effects of `flow.ts` with real keys and a real gateway: where state, keys and network meet. */
import { Api, type Answer, type Lookup } from './api.ts';
import type { CheckRules } from './checks/rules.ts';
import type { Arrival, Desk, World } from './desk.ts';
import { next, start, type Effect, type Event, type Info, type LookedUp, type State, type Step } from './flow.ts';
import { Memory } from './memory.ts';
import { wipe, type Bytes } from './protocol/bytes.ts';
import { associatedData, linkKeys, sha256, type LinkKeys } from './protocol/derive.ts';
import { bindingOf } from './protocol/facts.ts';
import type { Seal } from './seal.ts';

export class Session {
  readonly #desk: Desk;
  readonly #show: (state: State) => void;
  #state: State = { at: 'looking' };
  #rules: CheckRules | undefined;
  #running: Promise<unknown> = Promise.resolve();

  private constructor(world: World, secret: Bytes, keys: LinkKeys, arrival: Arrival, show: (state: State) => void) {
    const memory = new Memory(world.shelf, world.tab, keys.id);
    if (arrival.exposed) memory.note({ exposed: true });
    const tokenHash = (): Promise<Bytes> => {
      const token = memory.token() ?? world.random(32);
      memory.keep(token);
      return sha256(token);
    };
    this.#desk = { world, api: new Api(world.fetch, world.base), memory, secret, keys, arrival, tokenHash };
    this.#show = show;
  }

  /** Starts with a lookup. `show` is called with every state. */
  static async begin(world: World, secret: Bytes, arrival: Arrival, show: (state: State) => void): Promise<Session> {
    const session = new Session(world, secret, await linkKeys(secret), arrival, show);
    session.#take(start());
    return session;
  }

  get state(): State {
    return this.#state;
  }

  /** The name under which storage keeps what belongs to the link: another tab's change of it concerns us. */
  get key(): string {
    return this.#desk.memory.key;
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
    const { api, keys, memory, secret, world } = this.#desk;
    try {
      switch (effect.do) {
        case 'lookup':
          if (effect.afterMs > 0) await world.wait(effect.afterMs);
          return await this.#lookup(effect.quiet);
        case 'check':
        case 'signIn':
          return this.#tell(await this.#rules?.run(effect, this.#desk));
        case 'claim': {
          // What can't be shown is not opened.
          const face = await world.face().catch(() => undefined);
          return this.#tell(face ? await face.claim(effect, this.#desk, () => this.#state.at === 'ask') : this.#refused('unreachable'));
        }
        case 'acknowledge': {
          const token = memory.token();
          const answer = token && (await api.acknowledge(keys, token));
          if (answer?.ok) memory.done();
          return this.#tell(answer ? told(answer, world) ?? { is: 'acknowledged' } : this.#refused('unexpected'));
        }
        case 'decline': {
          const answer = await api.decline(keys, { openingCode: effect.code, decline: keys.decline, exposed: memory.draft.exposed });
          return this.#tell(told(answer, world) ?? { is: 'declined' });
        }
        case 'forget':
          wipe(secret, ...Object.values<Bytes>({ ...keys }));
      }
      // Wiped in both of the remaining cases.
      wipe(this.#desk.stretched?.p);
      this.#desk.stretched = undefined;
    } catch {
      // No error of the platform may end in a page that hangs.
      this.#tell(this.#refused('unexpected'));
    }
  }

  #tell(event: Event | undefined): void {
    if (event) this.send(event);
  }

  #refused(code: string): Event {
    return { is: 'refused', refusal: { code }, now: this.#desk.world.now() };
  }

  async #lookup(quiet?: true): Promise<void> {
    const { api, arrival, keys, memory, world } = this.#desk;
    const asked = api.lookup(keys);
    const coming = world.seal().then((seal) => (this.#desk.seal = seal), () => undefined);
    const found = await asked;
    // The form need not wait for the cipher; what is sent does.
    if (found.ok && !this.#desk.seal) {
      const info = this.#judge(found.value);
      if (info !== 'altered') this.send({ is: 'glimpsed', info, held: memory.held() });
    }
    const seal = await coming;
    if (quiet && !(found.ok && seal)) return;
    if (!found.ok) return this.#tell(told(found, world));
    if (!seal) return this.#tell(this.#refused('unreachable'));
    const info = this.#judge(found.value, seal);
    const { signIn } = arrival;
    const returned = signIn && (signIn === 'refused' ? signIn : 'answered');
    if (signIn === 'refused') this.#desk.arrival = {};
    const event: LookedUp = { is: 'lookedUp', quiet, info, held: memory.held(), stopsAt: memory.stopsAt(), code: memory.draft.code, returned };
    if (typeof info === 'string' || !info.preview) return this.send(event);
    // Meanwhile the person reads.
    world.face().catch(() => undefined);
    if (info.state !== 'open' || info.kinds.every((kind) => kind === 'passphrase')) return this.send(event);
    try {
      this.#rules ??= await world.checks();
    } catch {
      return this.#tell(this.#refused('unreachable'));
    }
    // With a token, a check may have been passed before a reload.
    const stands = event.held === 'token' && returned !== 'answered' ? await this.#rules.run({ do: 'check', step: 'status', afterMs: 0 }, this.#desk) : undefined;
    this.send({ ...event, rules: this.#rules, checks: stands?.is === 'checked' ? stands.checks : undefined });
  }

  /**
   * Believes a record that is still to be opened only if its preview opens: the seal covers all that the page goes by.
   * Without the cipher it is a glimpse: no preview, and nothing that a claim could be made with.
   */
  #judge(found: Lookup, seal?: Seal): Info | 'altered' {
    const { state, expiresAt, windowEndsAt, openingCode, oidc } = found;
    const { keys, memory } = this.#desk;
    try {
      const binding = bindingOf(keys.id, found.notAfter, found.kinds, found.kdf);
      const info = { state, expiresAt, openingCode, kinds: binding.kinds, exposed: memory.draft.exposed, signIn: oidc, ...(windowEndsAt === undefined ? {} : { windowEndsAt }) };
      if (state !== 'open' && state !== 'claimed') return info;
      if (!found.preview) return 'altered';
      if (!seal) return info;
      const preview = seal.preview(keys.previewKey, associatedData('preview', binding), found.preview);
      this.#desk.binding = binding;
      return { ...info, preview };
    } catch {
      return 'altered';
    }
  }
}

/** The refusal of an answer, if it is one. */
function told(answer: Answer<unknown>, world: World): Event | undefined {
  return answer.ok ? undefined : { is: 'refused', refusal: answer.refusal, now: world.now() };
}
