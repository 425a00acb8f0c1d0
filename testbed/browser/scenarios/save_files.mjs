// A recipient who saves everything that can be saved as a file, and says so. args: {link, code}. Gives, in the page's order, what
// each is called there, under which name the browser saves it, and the bytes that it has saved, in base64url.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';

export default async function saveFiles({ page, context, args, press, state, seen }) {
  const { link, code } = args;
  const id = (name) => page.getByTestId(name);
  await page.goto(link);
  await state('ask');
  await id('code').fill(code);
  await press(id('open'));
  await state('opened');
  const before = [page.url(), await page.title()];
  const saved = [];
  for (const row of await page.locator('main .row:has([data-testid=download])').all()) {
    const [download] = await Promise.all([page.waitForEvent('download'), press(row.getByTestId('download'))]);
    const shown = (await row.getAttribute('data-name')) ?? (await row.getAttribute('data-key'));
    assert.ok((await row.textContent()).includes(shown), 'the name is shown as it is');
    saved.push({ shown, name: download.suggestedFilename(), bytes: await readFile(await download.path(), 'base64url') });
  }
  // What a name and what is in a file say is nothing to the page.
  assert.deepEqual([page.url(), await page.title()], before);
  assert.equal(context.pages().length, 1, 'none of them is opened');
  assert.equal(await page.locator('main :is(img, script, a, iframe)').count(), 0, 'a name has become more than text');
  await press(id('acknowledge'));
  await state('done');
  return { ...seen, saved };
}
