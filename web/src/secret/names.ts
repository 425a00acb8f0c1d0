/** Names of files, as a client saves them: section 5 of `docs/link-protocol.md`. */

/** Control characters, marks that turn the direction of writing, and what some file system forbids. */
const UNSAFE = /[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069<>"|?*]/gu;

/** What is left of a name that is text of the sender's and no path. */
export function plainName(name: string): string {
  const plain = name
    .split(/[/\\:]/)
    .at(-1)!
    .replace(UNSAFE, '')
    .replace(/^[. -]+|[. ]+$/g, '');
  return plain === '' || new TextEncoder().encode(plain).length > 255 ? 'secret' : plain;
}
