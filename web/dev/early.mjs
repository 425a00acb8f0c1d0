// A part of `states.mjs`: the cipher is still on its way. There is a form, it keeps what is typed, and it sends nothing before the
// preview has opened.
import assert from 'node:assert/strict';
import { SAMPLE } from './serve.mjs';

const CODE = '7K3M-9QZB';
const PREVIEW = { v: 1, title: SAMPLE.title, sender: SAMPLE.sender, worksForMs: 3_600_000 };

export async function early({ page, put, gateway, press, id, state, visit, hold, shot }) {
  const begin = async ({ token }, then = 'continue') => {
    const come = await hold('**/seal.js*', then);
    await visit('#' + token);
    await state('ask:early');
    return come;
  };
  const hurry = async () => {
    await id('code').fill(CODE);
    await page.keyboard.press('Enter');
    await page.keyboard.press('Enter');
    await page.locator('[data-testid=open][aria-disabled]').waitFor();
    assert.equal(gateway.asked.at(-1).verb, 'lookup');
  };
  let come = await begin(await put({ preview: PREVIEW }));
  assert.deepEqual([await id('title').count(), await id('decline').isVisible()], [0, false]);
  await shot('early');
  await id('code').fill('7k3m');
  await id('code').evaluate((input) => {
    input.setSelectionRange(1, 3);
    globalThis.typing = input;
  });
  come();
  await state('ask');
  assert.ok(await id('decline').isVisible());
  assert.equal(await id('title').textContent(), SAMPLE.title);
  assert.ok((await id('status').textContent()).includes(SAMPLE.title), 'what has come is told');
  const field = await page.evaluate(() => [document.activeElement === typing, typing.isConnected, typing.value, typing.selectionStart, typing.selectionEnd]);
  assert.deepEqual(field, [true, true, '7k3m', 1, 3]);
  come = await begin(await put({ preview: PREVIEW }));
  await hurry();
  come();
  await state('opened');
  const missed = await put({ preview: PREVIEW });
  come = await begin(missed, 'abort');
  await hurry();
  come();
  await state('trouble');
  await press(id('retry'));
  await state('ask');
  assert.equal(missed.link.state, 'open');
  const altered = await put({ preview: PREVIEW });
  altered.link.preview[9] ^= 1;
  come = await begin(altered);
  await hurry();
  come();
  await state('over:altered');
  await shot('altered');
}
