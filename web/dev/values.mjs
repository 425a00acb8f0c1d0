// A part of `states.mjs`: values are shown as what they are. In an opened link with the sample of `serve.mjs`.
import assert from 'node:assert/strict';
import jsqr from 'jsqr';
import { SAMPLE, load } from './serve.mjs';

const SHOWN = SAMPLE.fields;
const valueOf = (key) => SHOWN.find((one) => one.key === key).value;

export async function shownAsTheyAre({ page, id }) {
  const field = (key) => page.locator(`[data-key=${key}]`);
  // An address that may be gone to is a link, to there and without a way back; one of a script is text.
  const links = await field('host').locator('a').evaluateAll((all) => all.map((a) => [a.getAttribute('href'), a.rel, a.target, a.textContent]));
  assert.deepEqual(links, [[valueOf('host'), 'noopener noreferrer', '_blank', valueOf('host')]]);
  assert.deepEqual([await field('evil').locator('a').count(), await field('evil').getByTestId('value').textContent()], [0, valueOf('evil')]);

  // Every line, as a line of its own, and none cut off.
  const lines = await field('ca').getByTestId('value').evaluate((pre) => {
    const range = document.createRange();
    range.selectNodeContents(pre);
    const tops = new Set([...range.getClientRects()].filter((one) => one.width > 0).map((one) => Math.round(one.top)));
    return { text: pre.innerText, rows: tops.size, cut: pre.scrollHeight - pre.clientHeight };
  });
  assert.equal(lines.text, valueOf('ca'));
  assert.ok(lines.rows >= valueOf('ca').split('\n').length && lines.cut <= 1, JSON.stringify(lines));

  // The code that is drawn: module by module what the encoder said, and read back by somebody else's reader.
  const drawn = await id('qr-code').locator('svg').evaluate((svg) => ({
    size: svg.viewBox.baseVal.width,
    ground: [...svg.querySelectorAll('rect')].map((one) => [one.getAttribute('width'), one.getAttribute('fill')]),
    ink: svg.querySelector('path').getAttribute('fill'),
    dark: [...svg.querySelector('path').getAttribute('d').matchAll(/M(\d+) (\d+)h1v1h-1z/g)].map(([, x, y]) => [Number(x), Number(y)]),
    label: svg.getAttribute('aria-label'),
  }));
  const { encode } = await load('../src/qr.ts');
  const title = encodeURIComponent(SAMPLE.title);
  const seed = `otpauth://totp/${title}%3AOne-time%20codes?secret=${valueOf('otp')}&issuer=${title}`;
  const grid = encode(new TextEncoder().encode(seed));
  assert.equal(drawn.size, grid.length + 8, 'with a quiet zone of four');
  assert.deepEqual([drawn.ground, drawn.ink, drawn.label], [[[String(drawn.size), '#fff']], '#000', 'Show as a QR code']);
  const black = new Set(drawn.dark.map(([x, y]) => `${x - 4} ${y - 4}`));
  assert.deepEqual(grid.map((row, y) => row.map((_, x) => black.has(`${x} ${y}`))), grid);
  assert.equal(black.size, grid.flat().filter(Boolean).length, 'and nothing beside');
  const side = 4 * drawn.size;
  const pixels = new Uint8ClampedArray(4 * side * side).fill(255);
  for (const [x, y] of drawn.dark) for (let i = 0; i < 16; i++) pixels.fill(0, 4 * ((4 * y + (i >> 2)) * side + 4 * x + (i & 3)), 4 * ((4 * y + (i >> 2)) * side + 4 * x + (i & 3)) + 3);
  assert.equal((jsqr.default ?? jsqr)(pixels, side, side)?.data, seed);
}
