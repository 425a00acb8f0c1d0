// A scenario for testbed/browser: every state of the page against the tests' gateway, each in all looks of its screen. In each axe
// finds nothing, nothing is wider than the screen or too small for a thumb, nothing moves, and a picture is kept in
// target/web-shots. The console stays empty.
// Which states there are is told by `names.ts`, and that by the types of the page.
import assert from 'node:assert/strict';
import { early } from './early.mjs';
import { SPACING, looking } from './looks.mjs';
import { firstPaint, withoutScripts } from './paint.mjs';
import { SAMPLE, serve } from './serve.mjs';
import { ZONE, beforehand, forbidden, goesOn, heard } from './told.mjs';
import { shownAsTheyAre } from './values.mjs';

const CODE = '7K3M-9QZB';
const PREVIEW = { v: 1, title: SAMPLE.title, sender: SAMPLE.sender, worksForMs: 3_600_000 };
/** An address in clear, where browsers give a page no WebCrypto. It is answered by this scenario. */
const IN_CLEAR = 'http://insecure.test/';
const BRAND = { name: 'Example GmbH', light: ['#0a5c8f', '#ffffff'], dark: ['#5aa5d1', '#000000'], logo: true, guidance: { default: 'Keep it in the company vault.' }, contact: { default: 'Service desk: +49 30 1234567' } };
const LOGO = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><circle cx="4" cy="4" r="4"/></svg>';

export const options = { permissions: ['clipboard-read', 'clipboard-write'], locale: 'en-GB', timezoneId: ZONE };

export default async function everyState({ page, context, log, phone, press, inspect, seen: { violations } }) {
  const { base, put, gateway, close } = await serve();
  const said = [];
  // A refusal of the API is an answer, though Chromium prints it.
  page.on('console', (message) => /Failed to load resource/.test(message.text()) || said.push(message.text()));
  page.on('pageerror', (error) => said.push(String(error)));
  const id = (name) => page.getByTestId(name);
  const state = (name) => page.locator(`main[data-state="${name}"]`).waitFor();
  const { shot, usual, looks, pictures, sawAll } = await looking({ page, phone, inspect, violations });
  const visit = async (address) => {
    await page.goto('about:blank');
    await page.goto(base + address);
  };
  /** Keeps the next request for this address waiting, until the function that it gives is called. */
  const hold = async (address, then = 'continue') => {
    let come;
    const coming = new Promise((done) => (come = done));
    await page.route(address, (route) => coming.then(() => route[then]()), { times: 1 });
    return come;
  };
  /** Refuses a verb from now on, until `page.unroute`. */
  const refuse = (verb, status, code, more) => page.route('**/links/' + verb, (route) => route.fulfill({ status, json: { error: { code, message: code, ...more } } }));

  await visit('');
  await state('noLink');
  await shot('no-link');
  await visit('#ps1.abc');
  await state('noLink');
  await shot('broken');
  await page.route(IN_CLEAR + '**', async (route) => route.fulfill({ response: await context.request.fetch(route.request().url().replace(IN_CLEAR, base)) }));
  await page.goto(IN_CLEAR + '#' + (await put()).token);
  await state('noLink');
  assert.equal(gateway.asked.length, 0, 'nothing is sent in clear');
  await shot('insecure');
  // Not even the words come: one sentence, without a heading.
  await page.route('**/en.json', (route) => route.abort());
  await visit('#' + (await put()).token);
  await page.locator('#broken').waitFor();
  await shot('no-words', looks, ['page-has-heading-one', 'region']);
  await page.unroute('**/en.json');
  await withoutScripts({ page, base, shot, looks });
  await firstPaint({ page, base, token: (await put({ preview: PREVIEW })).token });
  assert.equal(await page.locator('[role=status]').count(), 1, 'one place tells it to who does not see');

  // The gateway is slow, then away, then asks for patience.
  const first = await put({ preview: PREVIEW });
  const answer = await hold('**/links/lookup');
  await visit('#' + first.token);
  await state('looking');
  await shot('looking');
  answer();
  await state('ask');
  await page.route('**/links/lookup', (route) => route.abort());
  await visit('#' + first.token);
  await state('trouble');
  await shot('trouble');
  await page.unroute('**/links/lookup');
  await refuse('lookup', 429, 'slow-down', { retryAfterMs: 600_000 });
  await press(id('retry'));
  await page.locator('[data-testid=retry][aria-disabled=true]').waitFor();
  await shot('slow-down');
  await page.unroute('**/links/lookup');
  await visit('#' + first.token);
  await state('ask');
  assert.equal(first.link.state, 'open');

  // Mangled on its way: recovered, and told with the claim.
  const { token, link } = await put({ preview: PREVIEW });
  for (const mangled of ['%23' + token + '/?utm_source=mail', '%2523' + token + '.', '?u=' + encodeURIComponent(base + '#' + token), '#' + token.slice(0, 30) + '%0A' + token.slice(30) + ')', '#' + token + '&utm_medium=email']) {
    await visit(mangled);
    await state('ask');
    assert.equal(page.url(), base + '#' + token, 'the address bar is clean');
  }
  await visit('%2523' + token + '.');
  await state('ask');
  await shot('exposed');
  await page.reload();
  await state('ask');
  assert.equal(await id('note').count(), 1, 'a reload remembers that it was exposed');

  await id('code').fill('7K3M-9QZC');
  await press(id('open'));
  await id('error').first().waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.id), 'code');
  await shot('bad-code');
  await id('code').fill('A1B2-C3D8');
  await page.keyboard.press('Enter');
  await page.getByText('not the code').waitFor();
  assert.equal(await id('open').getAttribute('aria-disabled'), 'true');
  link.codeUntil = 0;
  await page.locator('[data-testid=open]:not([aria-disabled])').waitFor();

  // Another language keeps what is typed.
  await id('code').fill('7k3m');
  await page.locator('#foot select').selectOption('de');
  await page.getByText('Öffnungscode').waitFor();
  assert.equal(await id('code').inputValue(), '7k3m');
  assert.equal(await page.evaluate(() => document.documentElement.lang), 'de');
  await page.locator('#foot select').selectOption('en');
  await page.getByText('Opening code').waitFor();

  // A long wait after a wrong code, and a claim that is under way: in a visit of their own, as pictures take their time.
  await refuse('claim', 403, 'wrong-code', { retryAfterMs: 600_000 });
  await id('code').fill(CODE);
  await press(id('open'));
  await page.locator('[data-testid=wait]:not(:empty)').waitFor();
  await shot('wrong-code');
  await page.unroute('**/links/claim');
  await visit('#' + token);
  await state('ask');
  const opening = await hold('**/links/claim', 'abort');
  await id('code').fill(CODE);
  await press(id('open'));
  await page.locator('[data-testid=open][aria-disabled=true]').waitFor();
  await heard(page, 'Opening…');
  await shot('opening');
  await visit('#' + token);
  opening();
  await state('ask');

  await id('code').fill(CODE.toLowerCase());
  await press(id('open'));
  await state('opened');
  assert.equal(gateway.asked.at(-1).body.exposed, true);
  assert.equal(await page.evaluate(() => document.activeElement?.tagName), 'H1');
  assert.ok(!(await page.content()).includes('k7#Vq9'), 'a hidden value is not in the document');
  await shot('opened');
  const pass = page.locator('[data-key=pass]');
  await press(pass.getByTestId('show'));
  assert.equal(await pass.getByTestId('value').textContent(), 'k7#Vq9!mZp2$Lx8@Wn4^Tb6&');
  await press(page.locator('[data-key=ssh]').getByTestId('show'));
  await press(pass.getByTestId('copy'));
  await pass.getByText('Copied').waitFor();
  await heard(page, /Password.*: copied\. The clipboard is emptied after 30 seconds/);
  const clipboard = () => page.evaluate(() => navigator.clipboard.readText());
  assert.equal(await clipboard(), 'k7#Vq9!mZp2$Lx8@Wn4^Tb6&');
  await press(id('clear'));
  await page.getByText('The clipboard is empty').first().waitFor();
  assert.equal(await clipboard(), '');
  await press(id('copy-all'));
  assert.match(await clipboard(), /^Production database\nUsername: report_reader\n/);
  await page.getByText('The clipboard is emptied after').first().waitFor();
  assert.equal(await page.locator('[data-key=evil] a').count(), 0);
  const [download] = await Promise.all([page.waitForEvent('download'), press(id('file').getByTestId('download'))]);
  assert.equal(download.suggestedFilename(), 'ca.pem');
  await press(id('qr'));
  await id('qr-code').waitFor();
  await heard(page, 'Scan it with your authenticator app.');
  await shownAsTheyAre({ page, id });
  await shot('shown');
  await page.evaluate((text) => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(text);
    document.adoptedStyleSheets.push(sheet);
  }, SPACING);
  await shot('spacing', [usual]);
  await page.emulateMedia({ media: 'print' });
  assert.ok(await id('print').isVisible() && !(await id('fields').isVisible()), 'paper gets a sentence');
  await page.screenshot({ path: `${pictures}print-${usual}.png` });
  await page.emulateMedia({ media: 'screen' });

  // The clipboard is emptied by itself: the time is moved on, not waited for.
  await page.clock.install();
  await page.reload();
  await state('ask');
  await shot('again');
  await press(id('open'));
  await state('opened');
  await press(pass.getByTestId('copy'));
  await id('clip').waitFor();
  await goesOn({ page, press, id, state, clipboard });
  await page.clock.runFor(15 * 60_000);
  await page.getByText('opens nothing any more').waitFor();
  await shot('window-over');
  await page.clock.resume();

  await press(id('acknowledge'));
  await state('done');
  assert.equal(link.state, 'retrieved');
  await shot('done');
  await page.reload();
  await state('over:mine');
  await page.getByText('What you have saved works until').waitFor();
  await shot('mine');
  await press(id('decline'));
  await state('decline');
  await shot('decline');
  await id('code').fill(CODE);
  await press(id('decline-confirm'));
  await state('declined');
  await shot('declined');

  // Back and forward after opening.
  const secret = await put({ preview: PREVIEW, passphrase: 'horse' });
  await visit('#' + secret.token);
  await state('ask');
  await id('passphrase').fill('cow');
  await press(id('open'));
  await page.getByText('Attempts left: 4').waitFor({ timeout: 60_000 });
  await shot('wrong-passphrase');
  // Others were wrong, too: the code from the mail is due as well.
  secret.link.wrong = 2;
  await id('passphrase').fill('cow');
  await press(id('open'));
  await id('code').waitFor({ timeout: 60_000 });
  await page.getByText('Attempts left: 3').waitFor();
  await shot('passphrase-and-code');
  // The code is right, the passphrase is not: only that is typed again, after a reload, too.
  await id('code').fill(CODE);
  await id('passphrase').fill('cow');
  await press(id('open'));
  await page.getByText('Attempts left: 2').waitFor({ timeout: 60_000 });
  assert.deepEqual([await id('code').count(), await id('check').count()], [0, 0]);
  assert.equal(await page.evaluate(() => document.activeElement?.id), 'passphrase');
  await page.reload();
  await state('ask');
  assert.equal(await id('code').count(), 0);
  await id('passphrase').fill('horse');
  await page.keyboard.press('Enter');
  await page.locator('main[data-state="opened"]').waitFor({ timeout: 60_000 });
  await page.goBack();
  await page.goForward();
  await state('ask');

  await early({ page, put, gateway, press, id, state, visit, hold, shot });

  // The answer is lost, then the network: nothing is.
  const lost = await put({ preview: PREVIEW });
  await visit('#' + lost.token);
  await state('ask');
  await page.route('**/links/claim', async (route) => {
    await route.fetch();
    await route.abort();
    await page.unroute('**/links/claim');
  });
  await id('code').fill(CODE);
  await press(id('open'));
  await state('opened');
  const dropped = await put({ preview: PREVIEW });
  await visit('#' + dropped.token);
  await state('ask');
  await page.getByText('Opening code').waitFor();
  await context.setOffline(true);
  await id('code').fill(CODE);
  await press(id('open'));
  await page.getByText('cannot be reached').first().waitFor();
  // About no field: told at once.
  await heard(page, 'The server cannot be reached.');
  await shot('unreachable');
  assert.equal(dropped.link.state, 'open');
  await context.setOffline(false);
  assert.equal(await id('code').inputValue(), CODE);
  await press(id('open'));
  await state('opened');

  // A second tab: what is saved in the first does not stay in it.
  const shared = await put({ preview: PREVIEW });
  await visit('#' + shared.token);
  await state('ask');
  const other = await context.newPage();
  await other.goto(base + '#' + shared.token);
  await other.getByTestId('code').fill(CODE);
  await press(other.getByTestId('open'));
  await other.locator('main[data-state="opened"]').waitFor();
  // The first may have noticed by itself meanwhile that the link is this browser's: then there is nothing to type.
  await id('open').waitFor();
  if (await id('code').isVisible()) await id('code').fill(CODE, { timeout: 2000 }).catch(() => undefined);
  await press(id('open'));
  await state('opened');
  await press(other.getByTestId('acknowledge'));
  await state('done');
  await other.close();

  // An e-mailed code, and a reload on the way: nothing is typed twice.
  const mailed = await put({ preview: PREVIEW, kinds: ['emailCode'] });
  await visit('#' + mailed.token);
  await state('check:mail');
  await shot('check-mail');
  await id('code').fill(CODE);
  await press(id('mail'));
  await state('check:emailCode');
  await page.reload();
  await state('check:emailCode');
  assert.equal(await id('code').count(), 0);
  await id('emailCode').fill('1234 5678');
  await press(id('next'));
  await page.getByText('not the code from the newest').waitFor();
  await shot('check-code');
  mailed.link.verification.pending = 1;
  await id('emailCode').fill(mailed.link.verification.mailed.replace(/^..../, '$&-'));
  await press(id('next'));
  await state('opened');

  // A sign-in: first turned back, then passed; `S` lies in sessionStorage in between, and no longer.
  const signed = await put({ preview: PREVIEW, kinds: ['oidc'] });
  gateway.turnsBack = true;
  await visit('#' + signed.token);
  await state('check:signIn');
  await shot('check-sign-in');
  await id('code').fill(CODE);
  await press(id('sign-in'));
  await page.getByText('did not succeed').first().waitFor();
  assert.equal(page.url(), base + '#' + signed.token);
  gateway.turnsBack = false;
  await press(id('sign-in'));
  await state('ask');
  assert.equal(page.url(), base + '#' + signed.token);
  assert.equal(await page.evaluate(() => sessionStorage.getItem('ps1:sign-in')), null);
  await shot('passed');
  // The code was right before: it is not asked for again, neither to open nor to decline.
  assert.equal(await id('code').count(), 0);
  await press(id('decline'));
  await state('decline');
  assert.deepEqual([await id('code').count(), await page.getByText('The opening code shows').count()], [0, 0]);
  await shot('decline-known', [usual]);
  await press(id('back'));
  await state('ask');
  await press(id('open'));
  await state('opened');

  for (const how of ['expired', 'revoked', 'locked', 'retrieved', 'declined']) {
    const one = await put();
    gateway.erase(one.link, how);
    await visit('#' + one.token);
    await state('over:' + how);
    await shot(`over-${how}`);
  }
  await visit('#ps1.' + Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('base64url'));
  await state('over:notFound');
  await shot('not-found');

  // Ends of which this browser knows more, or less, than the gateway: opened by somebody else, opened here and never saved, what
  // was sent is not what was sealed, and a sign-in that the gateway has no provider for.
  const taken = await put({ preview: PREVIEW });
  Object.assign(taken.link, { state: 'claimed', tokenHash: 'of somebody else', claimedAt: Date.now(), windowEndsAt: Date.now() + 900_000 });
  await visit('#' + taken.token);
  await state('over:claimed');
  await shot('claimed');
  await press(id('decline'));
  await state('decline');
  await press(id('back'));
  await state('over:claimed');
  const left = await put({ preview: PREVIEW });
  await visit('#' + left.token);
  await id('code').fill(CODE);
  await press(id('open'));
  await state('opened');
  gateway.erase(left.link, 'retrieved');
  await page.reload();
  await state('over:late');
  await shot('late');
  const spoilt = await put({ preview: PREVIEW });
  spoilt.link.ciphertext[9] ^= 1;
  await visit('#' + spoilt.token);
  await id('code').fill(CODE);
  await press(id('open'));
  await state('over:unreadable');
  await shot('unreadable');
  const { provider } = gateway;
  gateway.provider = undefined;
  await visit('#' + (await put({ preview: PREVIEW, kinds: ['oidc'] })).token);
  await state('over:unsupported');
  await shot('unsupported');
  gateway.provider = provider;

  // Expired while open.
  const ahead = (await page.evaluate(() => Date.now())) - Date.now();
  const brief = await put({ preview: PREVIEW, ttl: ahead + 5000 });
  await visit('#' + brief.token);
  await state('ask');
  gateway.erase(brief.link, 'expired');
  await state('over:expired');

  // Every language; right to left too.
  for (const lang of ['ar', 'de', 'es', 'fr', 'it', 'ja', 'nl', 'pl', 'pt', 'zh']) {
    const one = await put({ preview: PREVIEW });
    await page.evaluate((chosen) => localStorage.setItem('ps:language', chosen), lang);
    await visit('#' + one.token);
    await state('ask');
    assert.equal(await page.evaluate(() => document.documentElement.lang), lang);
    assert.equal(await page.evaluate(() => document.documentElement.dir), lang === 'ar' ? 'rtl' : 'ltr');
    await shot('ask-' + lang, [usual]);
    await id('code').fill(CODE);
    await press(id('open'));
    await state('opened');
    await shot('opened-' + lang, lang === 'ar' ? looks : [usual]);
  }
  await page.evaluate(() => localStorage.removeItem('ps:language'));

  const tools = { page, put, press, id, state, visit, clipboard, shot, usual };
  await beforehand(tools);
  await forbidden(tools);
  close();

  // An operator's own name, colour, picture and texts.
  const branded = await serve({ brand: BRAND, logo: LOGO });
  const theirs = await branded.put({ preview: PREVIEW });
  await page.goto(branded.base + '#' + theirs.token);
  await state('ask');
  await page.getByText('Example GmbH').waitFor();
  await shot('brand');
  await id('code').fill(CODE);
  await press(id('open'));
  await state('opened');
  await page.getByText('Keep it in the company vault.').waitFor();
  await page.getByText('Service desk').waitFor();
  branded.close();

  const shots = sawAll();
  assert.deepEqual(said, [], 'the console stays empty: no CSP violation, no error');
  log(`${shots} pictures in target/web-shots, axe found nothing`);
  return { shots };
}
