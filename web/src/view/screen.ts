/** What a screen is made of. Types only. */
import type { State } from '../flow/types.ts';

/** A built screen: its parts, how it follows its state, and the time. */
export interface Screen {
  readonly parts: readonly (Node | false)[];
  readonly heading: string;
  update?(state: State): void;
  wait?(text: string): void;
  tick?(): void;
}

/** A list of names and values; those without a value are left out. */
export type Facts = [string, Node | string | false | undefined][];
