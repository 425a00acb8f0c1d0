/** What was sent, on the screen: fields, files, copying. A hidden value is not in the document until it is asked for. */
import { t } from '../i18n/index.ts';
import type { Field, Kind, Payload, SentFile } from '../protocol/payload.ts';
import { address, bdi, button, h, retitle, set } from './dom.ts';

/** Kinds that are readable at once. All others, unknown ones too, wait for "Show". */
const PLAIN: readonly Kind[] = ['text', 'url', 'multiline'];
const LONG: readonly Kind[] = ['multiline', 'sshKey'];

/** How long a button says "Copied", in milliseconds. */
const COPIED_MS = 2500;

export function fields(payload: Payload, say: (text: string) => void): HTMLElement {
  const rows = payload.fields.map((field, at) => row(field, at, say));
  const all = payload.fields.length > 1 && copier('copy-all', t('copyAll'), t('all'), () => everything(payload), undefined, say);
  return h('div', { class: 'rows', 'data-testid': 'fields' }, ...rows, ...payload.files.map(file), all);
}

/** All fields as text for a password manager's note. */
export function everything(payload: Payload): string {
  const lines = payload.fields.map(({ key, label, value }) => (label || key) + ':' + (value.includes('\n') ? '\n' : ' ') + value);
  return [...(payload.title ? [payload.title] : []), ...lines].join('\n');
}

function row(field: Field, at: number, say: (text: string) => void): HTMLElement {
  const name = field.label || field.key;
  const value = h(LONG.includes(field.kind) ? 'pre' : 'div', { class: 'value', 'data-testid': 'value', translate: 'no' });
  let open = PLAIN.includes(field.kind);
  const fill = (): void => {
    const long = LONG.includes(field.kind);
    set(value, 'data-hidden', !open);
    // A scrolling region must be reachable by keyboard.
    set(value, 'tabindex', long && open ? '0' : undefined);
    set(value, 'role', long && open ? 'region' : undefined);
    set(value, 'aria-labelledby', long && open ? 'field-' + at : undefined);
    if (open) value.replaceChildren(field.kind === 'url' ? address(field.value) : bdi(field.value));
    else value.replaceChildren(h('span', { 'aria-hidden': 'true' }, '••••••••'), h('span', { class: 'sr' }, t('hidden')));
  };
  const reveal = button('show', t('show'), () => {
    open = !open;
    fill();
    retitle(reveal, t(open ? 'hide' : 'show'));
  }, undefined, name);
  const select = (): void => {
    if (!open) reveal.click();
    getSelection()?.selectAllChildren(value);
  };
  fill();
  return h(
    'div',
    { class: 'row', role: 'group', 'aria-labelledby': 'field-' + at, 'data-testid': 'field', 'data-key': field.key, 'data-kind': field.kind },
    h('div', { class: 'name', id: 'field-' + at }, bdi(name)),
    value,
    h('div', { class: 'tools' }, !open && reveal, copier('copy', t('copy'), name, () => field.value, select, say)),
  );
}

function copier(id: string, text: string, what: string, value: () => string, otherwise: (() => void) | undefined, say: (text: string) => void): HTMLElement {
  const press = button(id, text, () => {
    const written = navigator.clipboard?.writeText(value()) ?? Promise.reject(new Error('no clipboard'));
    written.then(
      () => {
        retitle(press, t('copied'));
        say(t('copied.what', { what }));
        setTimeout(() => retitle(press, text), COPIED_MS);
      },
      () => {
        otherwise?.();
        say(t('copy.failed'));
      },
    );
  }, undefined, id === 'copy' ? what : undefined);
  return press;
}

function file({ name, data }: SentFile): HTMLElement {
  const save = button('download', t('download'), () => {
    // Never the type it claims to be: nothing sent is opened as a page of this origin.
    const url = URL.createObjectURL(new Blob([data], { type: 'application/octet-stream' }));
    h('a', { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }, undefined, name);
  const size = data.length < 1024 ? data.length + ' B' : Math.ceil(data.length / 1024) + ' KiB';
  return h('div', { class: 'row', 'data-testid': 'file', 'data-name': name }, h('div', { class: 'name' }, bdi(name), ' · ' + size), h('div', { class: 'tools' }, save));
}
