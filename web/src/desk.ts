/** What effects are performed with: one for each link that is open in a tab. `secret.js` and `checks.js` work at it, too. */
import type { Api, Fetch } from './api.ts';
import type { CheckRules } from './checks/rules.ts';
import type { Memory, Shelf } from './memory.ts';
import type { Bytes } from './protocol/bytes.ts';
import type { Binding, LinkKeys } from './protocol/derive.ts';
import type { Seal } from './seal.ts';
import type { Face } from './secret/face.ts';

/** Everything outside: so that tests can put their own in its place. */
export interface World {
  readonly fetch: Fetch;
  /** The folder of the page, with its slash. */
  readonly base: string;
  /** localStorage. */
  readonly shelf: Shelf;
  /** sessionStorage: this tab's. */
  readonly tab: Shelf;
  now(): number;
  random(bytes: number): Bytes;
  wait(ms: number): Promise<void>;
  /** Leaves the page for this address. */
  go(url: string): void;
  /** The rules of checks, a file of its own. */
  checks(): Promise<CheckRules>;
  /** The cipher, a file of its own. */
  seal(): Promise<Seal>;
  /** How a secret is opened and shown, a file of its own. */
  face(): Promise<Face>;
}

/** How the link came, beside itself. */
export interface Arrival {
  /** It stood in a path or a query. */
  readonly exposed?: boolean;
  /** The answer of the sign-in, or that there was none. */
  readonly signIn?: { readonly authorizationCode: string; readonly verifier: string } | 'refused' | undefined;
}

export interface Desk {
  readonly world: World;
  readonly api: Api;
  readonly memory: Memory;
  readonly secret: Bytes;
  readonly keys: LinkKeys;
  /** The cipher, once it has come. */
  seal?: Seal;
  /** What the seals are bound to, once a lookup has told it. */
  binding?: Binding;
  /** The last passphrase and what came of it, so that a repeated claim does not compute again. */
  stretched?: { readonly of: string; readonly p: Bytes } | undefined;
  /** How the link came; emptied of what was handed in. */
  arrival: Arrival;
  /** The hash of the claim token, which is kept before it is used: whatever happens to an answer, this browser can ask again. */
  tokenHash(): Promise<Bytes>;
}

/** What sessionStorage holds across a sign-in, and no longer: under this name `S`, and what belongs to the answer. */
export const SIGN_IN = 'ps1:sign-in';
