/** QR codes, read back by somebody else's reader. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import jsQR from 'jsqr';
import { encode, otpAddress } from '../src/qr.ts';

/** As a camera would see it: four pixels a module, with a quiet zone. */
function read(text: Uint8Array): { bytes: number[]; version: number } | undefined {
  const grid = encode(text);
  const size = (grid.length + 8) * 4;
  const pixels = new Uint8ClampedArray(size * size * 4).fill(255);
  grid.forEach((row, y) =>
    row.forEach((dark, x) => {
      if (!dark) return;
      for (let i = 0; i < 16; i++) pixels.fill(0, (((y + 4) * 4 + (i >> 2)) * size + (x + 4) * 4 + (i & 3)) * 4, (((y + 4) * 4 + (i >> 2)) * size + (x + 4) * 4 + (i & 3)) * 4 + 3);
    }),
  );
  const found = jsQR(pixels, size, size);
  return found ? { bytes: found.binaryData, version: found.version } : undefined;
}

test('texts of every version are read back', () => {
  const seen = new Set<number>();
  for (let length = 1; length <= 2331; length += length < 60 ? 7 : 53) {
    const text = Uint8Array.from({ length }, (_, at) => 32 + ((at * 31 + length) % 95));
    const found = read(text);
    assert.ok(found, `${length} bytes`);
    assert.deepEqual(found.bytes, [...text]);
    seen.add(found.version);
  }
  assert.ok(seen.size > 30, [...seen].join());
  assert.throws(() => encode(new Uint8Array(2332)), RangeError);
});

test('a seed becomes what authenticator apps read', () => {
  assert.equal(otpAddress('jbsw y3dp-ehpk 3pxp==', 'One-time password', 'Web shop & more'), 'otpauth://totp/Web%20shop%20%26%20more%3AOne-time%20password?secret=JBSWY3DPEHPK3PXP&issuer=Web%20shop%20%26%20more');
  assert.equal(otpAddress('ABC', 'Code', ''), 'otpauth://totp/Code?secret=ABC');
  const own = 'otpauth://totp/ACME:alice?secret=JBSWY3DPEHPK3PXP&issuer=ACME&algorithm=SHA256';
  assert.equal(otpAddress(` ${own}\n`, 'x', 'y'), own);
  const found = read(new TextEncoder().encode(own));
  assert.equal(new TextDecoder().decode(Uint8Array.from(found!.bytes)), own);
});
