/** The shared vectors in `envelope/vectors/`: the arbiter of the protocol. A suite that is not there fails. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { chacha20poly1305 } from '@noble/ciphers/chacha.js';
import { b64, concat, lp, u64, unb64, type Bytes } from '../src/protocol/bytes.ts';
import { normalCode, showCode } from '../src/protocol/code.ts';
import { associatedData, deriveKey, deriveProof, linkKeys, normalPassphrase, sha256 } from '../src/protocol/derive.ts';
import { bindingOf, factorsFit } from '../src/protocol/facts.ts';
import { stretch } from '../src/protocol/kdf.ts';
import { fragmentOf, parseFragment } from '../src/protocol/link.ts';
import { parsePayload, parsePreview, type Payload } from '../src/protocol/payload.ts';
import { PAYLOAD_MAX, PREVIEW_MAX, open, unpad } from '../src/protocol/seal.ts';
import { codeHash } from './gateway.ts';
import { pad, seal } from './seal.ts';

/** npm runs the tests in `web/`. */
const FOLDER = '../envelope/vectors/';

type Long = string | { prefix: string; unit: string; times: number; suffix: string };
// The shape of a case depends on its suite: see the README beside the vectors.
type Values = any;
interface Case {
  name: string;
  accept: boolean;
  in: Values;
  out?: Values;
  error?: string;
}

/** Gives every value that the page computes; those must be in `out` with the same value. Throws to refuse. */
type Suite = (input: Values, out: Values) => Values | Promise<Values>;

function long(value: Long): Bytes {
  if (typeof value === 'string') return unb64(value);
  const unit = unb64(value.unit);
  const middle = new Uint8Array(unit.length * value.times);
  for (let i = 0; i < value.times; i++) middle.set(unit, i * unit.length);
  return concat(unb64(value.prefix), middle, unb64(value.suffix));
}

function text(value: Long): string {
  return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(long(value));
}

function limit(bytes: Uint8Array, max: number): void {
  // In the page `unpad` does this, before the JSON is looked at.
  if (bytes.length > max) throw new Error('too large');
}

function shape(payload: Payload): Values {
  const { files, ...rest } = payload;
  return files.length === 0 ? rest : { ...rest, files: files.map((file) => ({ ...file, data: b64(file.data) })) };
}

function purposeMax(purpose: string): number {
  return purpose === 'payload' ? PAYLOAD_MAX : PREVIEW_MAX;
}

/** All derived values of a link with its factors. */
async function derived(s: Bytes, p: Bytes, r: Bytes): Promise<Record<string, Bytes>> {
  return { ...(await linkKeys(s)), proof: await deriveProof(s, p), key: await deriveKey(s, p, r) };
}

function texts(values: Record<string, Bytes>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, b64(value)]));
}

function bytesOr(value: string | null): Bytes {
  return value === null ? new Uint8Array(0) : unb64(value);
}

const suites: Record<string, Suite> = {
  base64: (input) => ({ bytes: b64(unb64(input.text)) }),
  fragment: (input) => {
    const s = parseFragment(input.fragment);
    return { s: b64(s), fragment: fragmentOf(s) };
  },
  passphrase: (input) => {
    const normalised = normalPassphrase(input.typed);
    return { normalised: b64(normalised), p: input.salt === null ? null : b64(stretch(normalised, unb64(input.salt, 16))) };
  },
  derive: async (input) => {
    // The page gets these lengths from parseFragment, the worker and the gateway.
    const sized = (value: string): Bytes => unb64(value, value === '' ? 0 : 32);
    return texts(await derived(unb64(input.s, 32), sized(input.p), sized(input.r)));
  },
  facts: (input) => {
    const { kinds, kdf } = bindingOf(new Uint8Array(16), input.notAfter, input.kinds, input.kdf);
    return { kindsText: kinds.join(','), kdfText: kdf };
  },
  aad: (input) => {
    const kinds = input.kindsText === '' ? [] : input.kindsText.split(',');
    return { aad: b64(associatedData(input.purpose, { id: unb64(input.id, 16), notAfter: input.notAfter, kinds, kdf: input.kdfText })) };
  },
  padding: (input) => ({ padded: pad(new Uint8Array(input.length)).length }),
  frame: (input, out) => {
    const json = new TextEncoder().encode(unpad(long(input.plaintext), purposeMax(input.purpose)));
    // `out.json` may be written in the long form.
    if (out) assert.deepEqual(json, new Uint8Array(long(out.json)));
    return {};
  },
  payload: (input) => {
    limit(long(input.json), PAYLOAD_MAX);
    return { payload: shape(parsePayload(text(input.json))) };
  },
  preview: (input) => {
    limit(long(input.json), PREVIEW_MAX);
    return { ...parsePreview(text(input.json)) };
  },
  'opening-code': async (input) => {
    const code = normalCode(input.typed);
    if (code === undefined) throw new Error('mistyped');
    return { code, shown: showCode(code), hash: b64(await codeHash(unb64(input.id, 16), code)) };
  },
  open: async (input) => {
    const s = unb64(input.s, 32);
    const keys = await linkKeys(s);
    const p = input.passphrase === null ? new Uint8Array(0) : stretch(normalPassphrase(input.passphrase), keys.salt);
    const binding = bindingOf(keys.id, input.notAfter, input.kinds, input.kdf);
    const r = bytesOr(input.r);
    const payload = input.purpose === 'payload';
    // The page opens previews before it has any factor.
    if (payload ? !factorsFit(binding, p, r) : p.length + r.length > 0) throw new Error('factors that do not fit');
    const all = await derived(s, p, r);
    const key = payload ? all.key : keys.previewKey;
    const aad = associatedData(input.purpose, binding);
    const message = unb64(input.message);
    assert.ok(key);
    const json = open(key, aad, message, purposeMax(input.purpose));
    const content = payload ? { payload: shape(parsePayload(json)) } : { preview: { ...parsePreview(json) }, p: null, proof: null, key: null };
    const plaintext = chacha20poly1305(key, new Uint8Array(12), aad).decrypt(message);
    assert.deepEqual(pad(new TextEncoder().encode(json)), plaintext);
    assert.deepEqual(seal(key, aad, new TextEncoder().encode(json)), message);
    return { ...texts(all), p: b64(p), aad: b64(aad), plaintext: b64(plaintext), ...content };
  },
  record: async (input) => {
    const s = unb64(input.s, 32);
    const keys = await linkKeys(s);
    const p = input.passphrase === null ? new Uint8Array(0) : stretch(normalPassphrase(input.passphrase), keys.salt);
    const binding = bindingOf(keys.id, input.notAfter, input.kinds, input.kdf);
    const hashes = {
      accessHash: await sha256(keys.access),
      declineHash: await sha256(keys.decline),
      proofHash: await sha256(await deriveProof(s, p)),
      openingCodeHash: input.openingCode === null ? new Uint8Array(0) : await codeHash(keys.id, input.openingCode),
      ciphertextHash: await sha256(unb64(input.ciphertext)),
      previewHash: await sha256(unb64(input.preview)),
    };
    const { accessHash, declineHash, proofHash, openingCodeHash, ciphertextHash, previewHash } = hashes;
    const digest = await sha256(
      concat(
        ...['password-sender/v1 record', keys.id, accessHash, declineHash, proofHash, openingCodeHash, binding.kinds.join(','), binding.kdf].map(lp),
        ...[u64(input.notAfter), u64(input.claimWindowMs), ciphertextHash, previewHash].map(lp),
      ),
    );
    return texts({ id: keys.id, ...hashes, digest });
  },
};

const files = readdirSync(FOLDER).filter((name) => name.endsWith('.json'));

test('there is a file for every suite and a suite for every file', () => {
  assert.deepEqual(files.map((name) => name.slice(0, -5)).sort(), Object.keys(suites).sort());
});

for (const name of files) {
  const file = JSON.parse(readFileSync(FOLDER + name, 'utf8')) as { protocol: string; suite: string; cases: Case[] };
  const suite = suites[file.suite];
  test(`vectors of ${file.suite}: ${file.cases.length} cases`, async () => {
    assert.equal(file.protocol, 'password-sender/v1');
    assert.ok(suite && file.cases.length > 0);
    for (const one of file.cases) {
      if (!one.accept) {
        await assert.rejects(async () => suite(one.in, undefined), `accepted: ${one.name}`);
        continue;
      }
      const got = await suite(one.in, one.out);
      for (const [key, value] of Object.entries(got)) assert.deepEqual(value, one.out[key], `${one.name}: ${key}`);
    }
  });
}
