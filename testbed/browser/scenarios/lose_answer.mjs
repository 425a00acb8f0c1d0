// A recipient whose answer is lost. args: {link, code, leave, told}: with `leave`, a file, the tab is closed without an answer once
// this file is there; else presses again when the page says that nobody answers, after having written the file `told`.
import { writeFile } from 'node:fs/promises';
import { textOf } from '../files.mjs';

const PATIENCE_MS = 60_000;

export default async function loseAnswer({ page, args, press, inspect, state, seen }) {
  const { link, code, leave, told } = args;
  const id = (name) => page.getByTestId(name);
  await page.goto(link);
  await state('ask');
  await id('code').fill(code);
  await press(id('open'));
  if (leave) {
    await textOf(leave, PATIENCE_MS);
    await page.locator('[data-testid=open][aria-disabled]').waitFor();
    await inspect('opening');
    return seen;
  }
  const opened = page.locator('main[data-state="opened"]');
  const unreachable = page.locator('main').getByText('cannot be reached');
  await opened.or(unreachable).first().waitFor({ timeout: PATIENCE_MS });
  if (await unreachable.count()) {
    await inspect('unreachable');
    seen.states.push('unreachable');
    await writeFile(told, 'told');
    // Whoever presses before somebody answers is told the same again.
    while (!(await opened.count())) {
      await press(id('open'));
      await opened.or(page.locator('[data-testid=open]:not([aria-disabled])')).waitFor({ timeout: PATIENCE_MS });
    }
  }
  await state('opened');
  await press(page.locator('[data-key=password]').getByTestId('show'));
  const value = await page.locator('[data-key=password]').getByTestId('value').textContent();
  await press(id('acknowledge'));
  await state('done');
  return { ...seen, value };
}
