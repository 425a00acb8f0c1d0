/** Names of files as they are saved: section 5 of `docs/link-protocol.md`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { plainName } from '../src/secret/names.ts';

test('a name is a plain one, or ours', () => {
  for (const [name, plain] of [
    ['id_ed25519', 'id_ed25519'],
    ['../../.ssh/authorized_keys', 'authorized_keys'],
    ['C:\\Windows\\evil.exe', 'evil.exe'],
    ['a:b', 'b'],
    ['.bashrc', 'bashrc'],
    ['--help', 'help'],
    ['report\u202efdp.exe', 'reportfdp.exe'],
    ['a\u0000b\nc|d?*"<>.txt. ', 'abcd.txt'],
    ['a\u061c\u200f\u2067.pem', 'a.pem'],
    ['Übersicht 2026.pdf', 'Übersicht 2026.pdf'],
    ['', 'secret'],
    ['...', 'secret'],
    ['a/', 'secret'],
    ['é'.repeat(128), 'secret'],
    ['é'.repeat(127), 'é'.repeat(127)],
  ] as const) {
    assert.equal(plainName(name), plain, JSON.stringify(name));
  }
});
