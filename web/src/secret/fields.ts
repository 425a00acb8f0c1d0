/** What was sent, on the screen: fields, files, copying. A hidden value is not in the document until it is asked for. */
import type { Words } from '../i18n/index.ts';
import type { Field, Kind, Payload, SentFile } from '../protocol/payload.ts';
import type { Clipboard } from './clipboard.ts';
import { address, bdi, button, h, retitle, set } from '../view/dom.ts';
import { plainName } from './names.ts';

/** Kinds that are readable at once. All others, unknown ones too, wait for "Show". */
const PLAIN: readonly Kind[] = ['text', 'url', 'multiline'];
const LONG: readonly Kind[] = ['multiline', 'sshKey'];

/** How long a button says "Copied", in milliseconds. */
const COPIED_MS = 2500;

/** What the rows need of the page around them. */
export interface Tools {
  readonly words: Words;
  readonly clipboard: Clipboard;
  readonly say: (text: string) => void;
  /** The folder of the page, for what is loaded on demand. */
  readonly base: string;
}

export function fields(payload: Payload, tools: Tools): HTMLElement {
  const { words } = tools;
  const { t } = words;
  const rows = payload.fields.map((field, at) => row(field, at, payload.title ?? '', tools));
  const all = payload.fields.length > 1 && copier('copy-all', t('secret.copyAll'), t('secret.everything'), () => everything(payload), undefined, tools);
  return h('div', { class: 'rows', 'data-testid': 'fields' }, ...rows, ...payload.files.map((one) => file(one, words)), all);
}

/** All fields as text for a password manager's note. */
export function everything(payload: Payload): string {
  const lines = payload.fields.map(({ key, label, value }) => (label || key) + ':' + (value.includes('\n') ? '\n' : ' ') + value);
  return [...(payload.title ? [payload.title] : []), ...lines].join('\n');
}

function row(field: Field, at: number, title: string, tools: Tools): HTMLElement {
  const { key, kind, label } = field;
  const { t } = tools.words;
  const name = label || key;
  const long = LONG.includes(kind);
  const value = h(long ? 'pre' : 'div', { class: 'value', 'data-testid': 'value', translate: 'no' });
  let open = PLAIN.includes(kind);
  const fill = (): void => {
    set(value, 'data-hidden', !open);
    // A scrolling region must be reachable by keyboard.
    set(value, 'tabindex', long && open ? '0' : undefined);
    set(value, 'role', long && open ? 'region' : undefined);
    set(value, 'aria-labelledby', long && open ? 'field-' + at : undefined);
    if (open) value.replaceChildren(kind === 'url' ? address(field.value) : bdi(field.value));
    else value.replaceChildren(h('span', { 'aria-hidden': 'true' }, '••••••••••'), h('span', { class: 'sr' }, t('secret.hidden')));
  };
  const reveal = button('show', t('secret.show'), () => {
    open = !open;
    fill();
    retitle(reveal, t(open ? 'secret.hide' : 'secret.show'));
  }, undefined, name);
  const select = (): void => {
    if (!open) reveal.click();
    getSelection()?.selectAllChildren(value);
  };
  fill();
  return h(
    'div',
    { class: 'row', role: 'group', 'aria-labelledby': 'field-' + at, 'data-testid': 'field', 'data-key': key, 'data-kind': kind },
    h('div', { class: 'name', id: 'field-' + at }, bdi(name)),
    value,
    h(
      'div',
      { class: 'tools' },
      !open && reveal,
      copier('copy', t('secret.copy'), name, () => field.value, select, tools),
      kind === 'sshKey' && button('download', t('secret.download'), () => save(plainName(key), new TextEncoder().encode(field.value)), undefined, name),
      kind === 'totp' && qrCode(field, name, title, tools),
    ),
  );
}

/** Draws the code below the row; the encoder is loaded when it is asked for. */
function qrCode(field: Field, name: string, title: string, { base, say, words: { t } }: Tools): HTMLElement {
  let shown: Element | undefined;
  const press = button('qr', t('secret.qr'), async () => {
    if (shown) {
      shown.remove();
      shown = undefined;
    } else {
      try {
        const { draw } = (await import(base + 'qr.js')) as typeof import('../qr.ts');
        shown = h('figure', { 'data-testid': 'qr-code' }, draw(field.value, name, title, t('secret.qr')), h('figcaption', {}, t('secret.qrHint')));
        press.closest('.row')!.append(shown);
        say(t('secret.qrHint'));
      } catch {
        say(t('problem.unreachable'));
      }
    }
    set(press, 'aria-expanded', String(!!shown));
  }, undefined, name);
  set(press, 'aria-expanded', 'false');
  return press;
}

function copier(id: string, text: string, what: string, value: () => string, otherwise: (() => void) | undefined, { clipboard, words: { t } }: Tools): HTMLElement {
  const press = button(id, text, async () => {
    if (!(await clipboard.copy(value(), what, otherwise))) return;
    retitle(press, t('secret.copied'));
    setTimeout(() => retitle(press, text), COPIED_MS);
  }, undefined, id === 'copy' ? what : undefined);
  return press;
}

function save(name: string, data: Uint8Array<ArrayBuffer>): void {
  // Never the type it claims to be: nothing sent is opened as a page of this origin.
  const url = URL.createObjectURL(new Blob([data], { type: 'application/octet-stream' }));
  h('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Shown under the name that it is saved as: what was sent may hide its ending. */
function file({ name: sent, data }: SentFile, { t }: Words): HTMLElement {
  const name = plainName(sent);
  const press = button('download', t('secret.download'), () => save(name, data), undefined, name);
  const size = data.length < 1024 ? data.length + ' B' : Math.ceil(data.length / 1024) + ' KiB';
  return h('div', { class: 'row', 'data-testid': 'file', 'data-name': name }, h('div', { class: 'name' }, bdi(name), ' · ', bdi(size)), h('div', { class: 'tools' }, press));
}
