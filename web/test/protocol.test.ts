/** What the shared vectors do not cover: recovery of mangled links, typed codes, limits. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { b64, unb64 } from '../src/protocol/bytes.ts';
import { normalCode, tidyCode } from '../src/protocol/code.ts';
import { findLink, folderOf, fragmentOf } from '../src/protocol/link.ts';
import { parsePayload } from '../src/protocol/payload.ts';
import { PAYLOAD_MAX, open, padme } from '../src/protocol/seal.ts';
import { seal } from './seal.ts';

const S = new Uint8Array(32).map((_, at) => at * 7 + 250);
const TOKEN = fragmentOf(S);

function found(hash: string, rest = '/'): string {
  const link = findLink(hash, rest);
  return link.is === 'link' ? (link.exposed ? 'exposed ' : '') + fragmentOf(link.secret) : link.is;
}

test('a link is found in its fragment, whatever stands around it', () => {
  assert.equal(found('#' + TOKEN), TOKEN);
  for (const tail of ['.', ',', ')', '>', '"', '%3E', '!', ' ', '%20and%20more', '?utm_source=mail', '&fbclid=abc', '/', '_', '*', '\u00bb', '%C2%BB', '%']) {
    assert.equal(found('#' + TOKEN + tail), TOKEN, tail);
  }
  assert.equal(found('#%20' + TOKEN), TOKEN);
  assert.equal(found('#' + TOKEN.replace('.', '%2E')), TOKEN);
});

test('wrapped lines are joined', () => {
  for (const gap of ['%20', '%0A', '%0D%0A', '%0A%20%20', '=%0D%0A', '%C2%AD', '%E2%80%8B']) {
    assert.equal(found('#' + TOKEN.slice(0, 30) + gap + TOKEN.slice(30)), TOKEN, gap);
  }
});

test('a link in path or query is found, and known to be exposed', () => {
  for (const rest of [
    '/%23' + TOKEN,
    '/%2523' + TOKEN,
    '/%252523' + TOKEN,
    '/secrets/%23' + TOKEN + '/',
    '/' + TOKEN,
    '/?%23' + TOKEN,
    '/?url=https%3A%2F%2Flinks.example%2F%23' + TOKEN + '&data=05',
    '/?u=https%253A%252F%252Flinks.example%252F%2523' + TOKEN.replace('.', '%252E'),
    '/?ps1=1&x=%23' + TOKEN + '%26utm=1',
  ]) {
    assert.equal(found('', rest), 'exposed ' + TOKEN, rest);
  }
  assert.equal(found('#' + TOKEN, '/?utm_source=mail'), TOKEN);
  // Beside the fragment, too: the fragment stays where the browser is, the rest has been sent.
  for (const rest of ['/%23' + TOKEN, '/?url=https%3A%2F%2Flinks.example%2F%23' + TOKEN]) assert.equal(found('#' + TOKEN, rest), 'exposed ' + TOKEN, rest);
  const other = fragmentOf(S.map((byte) => byte ^ 1));
  assert.equal(found('#' + TOKEN, '/%23' + other), TOKEN, 'another link is another matter');
  assert.equal(found('#' + TOKEN, '/?file=apps1.2'), TOKEN);
  assert.equal(found('#' + TOKEN.slice(0, -1), '/%23' + TOKEN), 'exposed ' + TOKEN, 'the whole one is taken');
});

test('the folder of the page never has the token in it', () => {
  const host = 'https://links.example/';
  for (const [script, folder] of [
    ['app.js', ''],
    ['secrets/app.js', 'secrets/'],
    [`%23${TOKEN}/app.js`, ''],
    [`secrets/%2523${TOKEN.replace('.', '%252E')}/x/app.js`, 'secrets/'],
    ['%23ps1.abc/app.js', ''],
  ]) {
    assert.equal(folderOf(host + script), host + folder, script);
  }
});

test('a broken link is told from none', () => {
  assert.equal(found(''), 'none');
  assert.equal(found('#section', '/?q=apps1'), 'none');
  for (const bad of [TOKEN.slice(0, -1), TOKEN + 'A', 'ps1.', 'PS1.' + TOKEN.slice(4), TOKEN.slice(0, -1) + 'B']) {
    assert.equal(found('#' + bad), 'broken', bad);
  }
  assert.deepEqual(findLink('', '/%23ps1.abc'), { is: 'broken', exposed: true });
});

test('a code as phones and mail programs spell it', () => {
  for (const typed of ['7K3M-9QZB', '7k3m9qzb', ' 7K3M\u20119QZB\u00a0\n', '7K3M \u2013 9QZB', '7 K 3 M 9 Q Z B']) {
    assert.equal(normalCode(tidyCode(typed)), '7K3M9QZB', typed);
  }
  assert.equal(normalCode(tidyCode('\u0131234-5678')), undefined);
});

test('base64url reads back at every length', () => {
  for (let length = 0; length < 40; length++) {
    const bytes = crypto.getRandomValues(new Uint8Array(length));
    assert.equal(b64(bytes), Buffer.from(bytes).toString('base64url'));
    assert.deepEqual(unb64(b64(bytes)), bytes);
  }
});

test('Padmé never shrinks and costs at most an eighth', () => {
  for (let length = 256; length < 70_000; length += 13) {
    const padded = padme(length);
    assert.ok(padded >= length && padded <= length * 1.125, String(length));
  }
});

test('the greatest payload opens, one byte more does not', () => {
  const key = new Uint8Array(32).fill(1);
  const frame = JSON.stringify({ v: 1, fields: [{ key: 'k', label: '', kind: 'text', value: '' }] });
  const json = (size: number): string => frame.replace('"value":""', '"value":"' + '\\n'.repeat(4) + 'x'.repeat(size - frame.length - 8) + '"');
  const whole = open(key, new Uint8Array(0), seal(key, new Uint8Array(0), new TextEncoder().encode(json(PAYLOAD_MAX))), PAYLOAD_MAX);
  assert.equal(whole.length, PAYLOAD_MAX);
  assert.equal(parsePayload(whole).fields.length, 1);
  assert.throws(() => open(key, new Uint8Array(0), seal(key, new Uint8Array(0), new TextEncoder().encode(json(PAYLOAD_MAX + 1))), PAYLOAD_MAX));
});

test('a member that stands twice is refused where it is known, and only there', () => {
  const with_ = (top: string, field: string): string => `{"v":1,${top}"fields":[{"key":"a","label":"","kind":"text",${field}"value":"x"}]}`;
  parsePayload(with_('"x":1,"x":2,', '"y":{"value":1,"value":2},'));
  parsePayload(with_('"x":{"v":1,"v":2},"note":"\\"v\\":1, {\\\\",', ''));
  for (const twice of [with_('"v":1,', ''), with_('"\\u0076":1,', ''), with_('', '"value":"y",'), with_('"note":"a","note":"b",', '')]) {
    assert.throws(() => parsePayload(twice), /twice/, twice);
  }
});
