// A recipient of whom a sign-in is asked, and who turns back from it half way: goes back in the browser, says no at the provider,
// and ends a sign-in from which they had gone back before. In the end they sign in, and open. args: {link, code, issuer}.
import assert from 'node:assert/strict';

/** The page that people see at a provider; the testbed's own shows nobody anything. Either answer is the provider's. */
function signInPage(address) {
  const leads = (says) => `${address}&says=${says}`.replaceAll('&', '&amp;');
  // Asked without a word to the person, a provider that knows nobody says no.
  return `<!doctype html><html lang="en"><title>Provider</title><meta name="viewport" content="width=device-width">
    <h1>Who are you?</h1><p><a href="${leads('yes')}">It is me</a> <a href="${leads('no&prompt=none')}">Cancel</a>`;
}

export default async function turnBack({ page, args, press, inspect, state, seen }) {
  const { link, code, issuer } = args;
  const [home, secret] = link.split('#ps1.');
  const id = (name) => page.getByTestId(name);
  const says = (name) => press(page.getByRole('link', { name }));
  const isAsked = () => page.getByText('Who are you?').waitFor();
  const begins = async () => {
    await press(id('sign-in'));
    await isAsked();
  };
  const nothingIsKept = async () => {
    const kept = await page.evaluate(() => JSON.stringify([localStorage, sessionStorage]));
    assert.ok(!kept.includes(secret), 'the secret of the link stays in storage');
  };
  /** Where they were before the sign-in. */
  const isBack = async () => {
    await state('check:signIn');
    assert.equal(page.url(), link);
    assert.equal(await page.locator('main input').count(), 0, 'the code is not typed again');
    await nothingIsKept();
  };
  const isProvider = (url) => url.href.startsWith(`${issuer}/auth?`) && !url.searchParams.has('says');
  await page.route(isProvider, (route) => route.fulfill({ contentType: 'text/html', body: signInPage(route.request().url()) }));

  await page.goto(link);
  await state('check:signIn');
  await id('code').fill(code);
  await begins();
  await page.goBack();
  await isBack();
  assert.equal(await page.getByText('did not succeed').count(), 0, 'nobody has said no');

  await begins();
  await says('Cancel');
  await page.locator('main').getByText('did not succeed').first().waitFor();
  await inspect('turned back');
  await isBack();
  await page.reload();
  await isBack();

  // The answer to a sign-in that is over leads nowhere: what the page needs for it is gone.
  await begins();
  await page.goBack();
  await isBack();
  await page.goForward();
  await isAsked();
  await says('It is me');
  await state('noLink');
  assert.equal(page.url(), home, 'what came is out of the address');
  await nothingIsKept();
  await page.goto(link);
  await isBack();

  await begins();
  await says('It is me');
  await state('ask');
  assert.equal(page.url(), link);
  await nothingIsKept();
  await press(id('open'));
  await state('opened');
  const password = page.locator('[data-key=password]');
  await press(password.getByTestId('show'));
  const value = await password.getByTestId('value').textContent();
  await press(id('acknowledge'));
  await state('done');
  return { ...seen, value };
}
