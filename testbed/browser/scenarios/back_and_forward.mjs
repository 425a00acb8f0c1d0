// A recipient who goes to another page, back, forward and back again, before and after saying that it is saved.
// args: {link, code, elsewhere, there, keeps}: the other page and its state, which may be that of another link; with `keeps`, a
// browser that keeps pages as they were left, those too that ask it not to. Gives the value, and what it had kept.
import assert from 'node:assert/strict';

// Playwright switches it off, people's browsers do not.
export const options = { ignoreDefaultArgs: ['--disable-back-forward-cache'] };

/** In the page, before its scripts: notes what there is to see in it when it comes back as it was left. */
function noteWhatWasKept() {
  addEventListener('pageshow', ({ persisted }) => {
    if (!persisted) return;
    const all = [...JSON.parse(sessionStorage.getItem('kept') ?? '[]'), document.documentElement.outerHTML];
    sessionStorage.setItem('kept', JSON.stringify(all));
  });
}

export default async function backAndForward({ page, args, press, state, seen }) {
  const { link, code, elsewhere, there, keeps } = args;
  const id = (name) => page.getByTestId(name);
  const shownValue = async () => {
    await press(page.locator('[data-key=password]').getByTestId('show'));
    return page.locator('[data-key=password]').getByTestId('value').textContent();
  };
  await page.addInitScript(noteWhatWasKept);
  if (keeps) {
    await page.route(link.split('#')[0], async (route) => {
      const response = await route.fetch();
      const { 'cache-control': _, ...headers } = response.headers();
      await route.fulfill({ response, headers });
    });
  }
  await page.goto(link);
  await state('ask');
  await id('code').fill(code);
  await press(id('open'));
  await state('opened');
  const value = await shownValue();

  /** Goes somewhere, and waits until the page is loaded there, not only shown as it was. */
  const goes = async (way, name) => {
    await page.evaluate(() => (globalThis.leftBehind = true));
    await way();
    await page.waitForFunction((wanted) => !globalThis.leftBehind && document.querySelector('main')?.dataset.state === wanted, name);
    await state(name);
    assert.ok(!(await page.content()).includes(value), `the secret is in the document, in state ${name}`);
  };
  // A page that was kept is not loaded, so nobody can wait for that.
  const back = () => page.goBack({ waitUntil: 'commit' });
  const forward = () => page.goForward({ waitUntil: 'commit' });
  const wanders = async (name) => {
    await goes(() => page.goto(elsewhere), there);
    await goes(back, name);
    assert.equal(page.url(), link);
    await goes(forward, there);
    await goes(back, name);
    assert.equal(page.url(), link);
  };
  await wanders('ask');
  await page.getByText('You opened this before').waitFor();
  assert.equal(await page.locator('main input').count(), 0, 'nothing is typed again');
  await press(id('open'));
  await state('opened');
  assert.ok(!(await page.content()).includes(value), 'hidden again');
  assert.equal(await shownValue(), value);
  await press(id('acknowledge'));
  await state('done');
  await wanders('over:mine');
  const kept = await page.evaluate(() => JSON.parse(sessionStorage.getItem('kept') ?? '[]'));
  assert.ok(kept.every((html) => !html.includes(value)), 'the browser has kept the secret');
  return { ...seen, value, kept: kept.length };
}
