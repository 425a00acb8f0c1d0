// A recipient whose network is gone at the first look, when they press "open", and when they press "saved". args: {link, code, told,
// claimed, again}: with `claimed`, a file, it is there at first, and goes in the middle of a claim, once there is this file. The file
// `told` is written when the page says that its claim reaches nobody; the network is back once there is the file `again`.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { textOf } from '../files.mjs';

const PATIENCE_MS = 60_000;

export default async function loseNetwork({ page, context, args, press, inspect, state, seen }) {
  const { link, code, told, claimed, again } = args;
  const id = (name) => page.getByTestId(name);
  const unreachable = async (name) => {
    await page.locator('main').getByText('cannot be reached').first().waitFor({ timeout: PATIENCE_MS });
    await inspect(name);
    seen.states.push(name);
  };
  await page.goto(link);
  if (!claimed) {
    await state('trouble');
    await context.setOffline(true);
    await page.waitForFunction(() => !navigator.onLine);
    // The page looks again by itself.
    await context.setOffline(false);
  }
  await state('ask');
  await id('code').fill(code);
  if (!claimed) await context.setOffline(true);
  await press(id('open'));
  if (claimed) {
    await textOf(claimed, PATIENCE_MS);
    await context.setOffline(true);
  }
  await unreachable('unreachable');
  assert.equal(await id('code').inputValue(), code, 'what was typed is still there');
  await writeFile(told, 'told');
  await textOf(again, PATIENCE_MS);
  await context.setOffline(false);
  if (claimed) {
    // The page notices by itself that the network is back, and what has become of its claim.
    await page.getByText('You opened this before').waitFor();
    assert.equal(await page.locator('main input').count(), 0, 'nothing is typed again');
    await state('ask');
  }
  await press(id('open'));
  await state('opened');
  await press(page.locator('[data-key=password]').getByTestId('show'));
  const value = page.locator('[data-key=password]').getByTestId('value');
  const read = await value.textContent();

  await context.setOffline(true);
  await press(id('acknowledge'));
  await unreachable('unreachable, opened');
  assert.equal(await value.textContent(), read, 'what is shown stays');
  await context.setOffline(false);
  await press(id('acknowledge'));
  await state('done');
  return { ...seen, value: read };
}
