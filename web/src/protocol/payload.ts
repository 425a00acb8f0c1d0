/** Payload and preview: section 5 of `docs/link-protocol.md`. Strict about what it knows, silent about what it does not. */
import { FormError, isCount, unb64, type Bytes } from './bytes.ts';

export interface Preview {
  readonly title: string;
  readonly sender: string;
  /** How long the credential works after the first opening. */
  readonly worksForMs?: number;
}

const KINDS = ['text', 'password', 'url', 'multiline', 'totp', 'sshKey'] as const;
/** `unknown`: one of a later version. */
export type Kind = (typeof KINDS)[number] | 'unknown';

export interface Field {
  readonly key: string;
  readonly label: string;
  readonly kind: Kind;
  readonly value: string;
}

export interface SentFile {
  readonly name: string;
  readonly type: string;
  readonly data: Bytes;
}

const TEXTS = ['title', 'purpose', 'environment', 'url', 'note', 'sender'] as const;

export interface Payload extends Partial<Record<(typeof TEXTS)[number], string>> {
  readonly worksForMs?: number;
  readonly fields: readonly Field[];
  readonly files: readonly SentFile[];
}

type Json = Record<string, unknown>;

/** How deep unknown members may nest. */
const MAX_DEPTH = 64;

const PREVIEW_NAMES = ['v', 'title', 'sender', 'worksForMs'];
const PAYLOAD_NAMES = ['v', ...TEXTS, 'worksForMs', 'fields', 'files'];
const FIELD_NAMES = ['key', 'label', 'kind', 'value'];
const FILE_NAMES = ['name', 'type', 'data'];

export function parsePreview(text: string): Preview {
  const json = parse(text, (path) => (path === '' ? PREVIEW_NAMES : []));
  return { title: short(string(json, 'title'), 200), sender: short(string(json, 'sender'), 320), ...worksFor(json) };
}

export function parsePayload(text: string): Payload {
  const json = parse(text, (path) => (path === '' ? PAYLOAD_NAMES : path === '/fields/' ? FIELD_NAMES : path === '/files/' ? FILE_NAMES : []));
  const fields = list(json.fields).map((one) => ({
    key: string(one, 'key'),
    label: string(one, 'label'),
    kind: kindOf(string(one, 'kind')),
    value: string(one, 'value'),
  }));
  const files = ('files' in json ? list(json.files) : []).map((one) => ({
    name: string(one, 'name'),
    type: string(one, 'type'),
    data: unb64(string(one, 'data')),
  }));
  const count = fields.length + files.length;
  if (count < 1 || count > 64) throw new FormError('1 to 64 fields and files');
  if (fields.some((field) => field.key === '')) throw new FormError('a field without a key');
  if (new Set(fields.map((field) => field.key)).size !== fields.length) throw new FormError('two fields have one key');
  const texts: Partial<Record<(typeof TEXTS)[number], string>> = {};
  for (const name of TEXTS) if (name in json) texts[name] = string(json, name);
  return { ...texts, ...worksFor(json), fields, files };
}

function worksFor(json: Json): { worksForMs?: number } {
  if (!('worksForMs' in json)) return {};
  if (!isCount(json.worksForMs)) throw new FormError('worksForMs is not a duration');
  // JSON can say -0; adding makes it 0.
  return { worksForMs: json.worksForMs + 0 };
}

function kindOf(name: string): Kind {
  return KINDS.find((kind) => kind === name) ?? 'unknown';
}

function parse(text: string, known: (path: string) => readonly string[]): Json {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new FormError('not JSON');
  }
  if (!isObject(json)) throw new FormError('not an object');
  refuseDuplicates(text, known);
  if (json.v !== 1) throw new FormError('not version 1');
  return json;
}

/**
 * JSON.parse keeps the last of two members with one name, another parser the first; so two parties could read one sealed
 * message differently. Walks over text that is known to be JSON. `path` has `/name` for a member and `/` for an element.
 */
function refuseDuplicates(text: string, known: (path: string) => readonly string[]): void {
  const open: { path: string; seen: Set<string> | undefined; name: string }[] = [];
  for (const [token] of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"(?:\s*:)?|[{}[\]]/g)) {
    const top = open.at(-1);
    if (token === '{' || token === '[') {
      const path = top ? top.path + '/' + (top.seen ? top.name : '') : '';
      if (open.length === MAX_DEPTH) throw new FormError('nested too deep');
      open.push({ path, seen: token === '{' ? new Set() : undefined, name: '' });
    } else if (token === '}' || token === ']') {
      open.pop();
    } else if (top?.seen && token.endsWith(':')) {
      const name = JSON.parse(token.slice(0, -1)) as string;
      if (top.seen.has(name) && known(top.path).includes(name)) throw new FormError('a member stands twice');
      top.seen.add(name);
      top.name = name;
    }
  }
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function list(value: unknown): Json[] {
  if (!Array.isArray(value) || !value.every(isObject)) throw new FormError('not a list of objects');
  return value;
}

function string(json: Json, name: string): string {
  const value = Object.hasOwn(json, name) ? json[name] : undefined;
  // A lone surrogate has no UTF-8, so it is no text.
  if (typeof value !== 'string' || /\p{Surrogate}/u.test(value)) throw new FormError(name + ' is not text');
  return value;
}

function short(text: string, max: number): string {
  if ([...text].length > max) throw new FormError('longer than allowed');
  return text;
}
