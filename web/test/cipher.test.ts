/** Our ChaCha20-Poly1305 against a library's, and against what must be refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chacha20poly1305 } from '@noble/ciphers/chacha.js';
import { decrypt } from '../src/protocol/cipher.ts';

const NONCE = new Uint8Array(12);
const random = (length: number): Uint8Array<ArrayBuffer> => {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
  return bytes;
};

test('it opens what a library seals, at every length around its blocks', () => {
  for (let length = 0; length <= 200; length++) {
    const [key, aad, text] = [random(32), random(length % 37), random(length)];
    assert.deepEqual(decrypt(key, aad, chacha20poly1305(key, NONCE, aad).encrypt(text)), text, String(length));
  }
  const [key, text] = [random(32), random((1 << 20) + 5)];
  assert.deepEqual(decrypt(key, NONCE, chacha20poly1305(key, NONCE, NONCE).encrypt(text)), text);
});

test('it opens what is all ones: every carry', () => {
  for (const length of [16, 64, 65, 1000]) {
    const [key, aad, text] = [new Uint8Array(32).fill(255), new Uint8Array(32).fill(255), new Uint8Array(length).fill(255)];
    assert.deepEqual(decrypt(key, aad, chacha20poly1305(key, NONCE, aad).encrypt(text)), text);
  }
});

test('one changed bit anywhere is refused, and so is what is too short', () => {
  const [key, aad, text] = [random(32), random(20), random(40)];
  const sealed = chacha20poly1305(key, NONCE, aad).encrypt(text);
  const bend = (bytes: Uint8Array, bit: number): Uint8Array => bytes.map((byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));
  for (let bit = 0; bit < sealed.length * 8; bit++) assert.throws(() => decrypt(key, aad, bend(sealed, bit)), /seal/);
  for (let bit = 0; bit < aad.length * 8; bit++) assert.throws(() => decrypt(key, bend(aad, bit), sealed), /seal/);
  for (let bit = 0; bit < 256; bit++) assert.throws(() => decrypt(bend(key, bit), aad, sealed), /seal/);
  for (let length = 0; length < sealed.length; length++) assert.throws(() => decrypt(key, aad, sealed.slice(0, length)), /seal/);
});

test('it changes none of its arguments', () => {
  const [key, aad, text] = [random(32), random(5), random(300)];
  const sealed = chacha20poly1305(key, NONCE, aad).encrypt(text);
  const before = [key.slice(), aad.slice(), sealed.slice()];
  decrypt(key, aad, sealed);
  assert.deepEqual([key, aad, sealed], before);
});
