// A scenario for testbed/browser: every state of the page against the tests' gateway, each in four looks. In each axe finds
// nothing, nothing is wider than the screen, and a picture is kept in target/web-shots. The console stays empty.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { SAMPLE, serve } from './serve.mjs';

const out = fileURLToPath(new URL('../../target/web-shots/', import.meta.url));
const CODE = '7K3M-9QZB';
const PREVIEW = { v: 1, title: SAMPLE.title, sender: SAMPLE.sender, worksForMs: 3_600_000 };
const LOOKS = {
  light: [{ colorScheme: 'light', forcedColors: 'none' }, { width: 900, height: 900 }],
  dark: [{ colorScheme: 'dark', forcedColors: 'none' }, { width: 900, height: 900 }],
  forced: [{ colorScheme: 'dark', forcedColors: 'active' }, { width: 900, height: 900 }],
  phone: [{ colorScheme: 'light', forcedColors: 'none' }, { width: 320, height: 640 }],
};
/** WCAG 2.2, 1.4.12: what a reader may set. */
const SPACING = '* { line-height: 1.5 !important; letter-spacing: 0.12em !important; word-spacing: 0.16em !important } p { margin-bottom: 2em !important }';
const BRAND = { name: 'Example GmbH', light: ['#0a5c8f', '#ffffff'], dark: ['#5aa5d1', '#000000'], logo: true, guidance: { default: 'Keep it in the company vault.' }, contact: { default: 'Service desk: +49 30 1234567' } };
const LOGO = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><circle cx="4" cy="4" r="4"/></svg>';

export const options = { permissions: ['clipboard-read', 'clipboard-write'], locale: 'en-GB' };

export default async function everyState({ page, context, axe, log }) {
  await mkdir(out, { recursive: true });
  const { base, put, gateway, close } = await serve();
  const said = [];
  // A refusal of the API is an answer, though Chromium prints it.
  page.on('console', (message) => /Failed to load resource/.test(message.text()) || said.push(message.text()));
  page.on('pageerror', (error) => said.push(String(error)));
  const id = (name) => page.getByTestId(name);
  const state = (name) => page.locator(`main[data-state="${name}"]`).waitFor();
  let shots = 0;
  const look = async (name) => {
    const [media, size] = LOOKS[name];
    await page.emulateMedia({ ...media, reducedMotion: 'reduce' });
    await page.setViewportSize(size);
  };
  const fits = async (what) => {
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${what}: ${wide} px too wide`);
  };
  const shot = async (name, looks = Object.keys(LOOKS)) => {
    for (const one of looks) {
      await look(one);
      const found = await axe();
      assert.deepEqual(found.map((violation) => `${violation.id}: ${violation.targets.join()}`), [], `${name} ${one}`);
      await fits(`${name} ${one}`);
      await page.screenshot({ path: `${out}${name}-${one}.png`, fullPage: true });
      shots += 1;
    }
    await look('light');
  };
  const visit = async (address) => {
    await page.goto('about:blank');
    await page.goto(base + address);
  };

  await visit('');
  await state('noLink');
  await shot('no-link');
  await visit('#ps1.abc');
  await state('noLink');
  await shot('broken', ['light', 'phone']);

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
  await id('open').click();
  await id('error').first().waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.id), 'code');
  await shot('bad-code');
  await id('code').fill('A1B2-C3D8');
  await page.keyboard.press('Enter');
  await page.getByText('not the code').waitFor();
  assert.equal(await id('open').getAttribute('aria-disabled'), 'true');
  await shot('wrong-code', ['light']);
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

  await id('code').fill(CODE.toLowerCase());
  await id('open').click();
  await state('opened');
  assert.equal(gateway.asked.at(-1).body.exposed, true);
  assert.equal(await page.evaluate(() => document.activeElement?.tagName), 'H1');
  assert.ok(!(await page.content()).includes('k7#Vq9'), 'a hidden value is not in the document');
  await shot('opened');
  const pass = page.locator('[data-key=pass]');
  await pass.getByTestId('show').click();
  assert.equal(await pass.getByTestId('value').textContent(), 'k7#Vq9!mZp2$Lx8@Wn4^Tb6&');
  await page.locator('[data-key=ssh]').getByTestId('show').click();
  await pass.getByTestId('copy').click();
  await pass.getByText('Copied').waitFor();
  const clipboard = () => page.evaluate(() => navigator.clipboard.readText());
  assert.equal(await clipboard(), 'k7#Vq9!mZp2$Lx8@Wn4^Tb6&');
  await id('clear').click();
  await page.getByText('The clipboard is empty').first().waitFor();
  assert.equal(await clipboard(), '');
  await id('copy-all').click();
  assert.match(await clipboard(), /^Production database\nUsername: report_reader\n/);
  await page.getByText('The clipboard is emptied after').first().waitFor();
  assert.equal(await page.locator('[data-key=evil] a').count(), 0);
  const [download] = await Promise.all([page.waitForEvent('download'), id('file').getByTestId('download').click()]);
  assert.equal(download.suggestedFilename(), 'ca.pem');
  await id('qr').click();
  await id('qr-code').waitFor();
  await shot('shown');
  await page.evaluate((text) => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(text);
    document.adoptedStyleSheets.push(sheet);
  }, SPACING);
  await shot('spacing', ['phone']);
  await page.emulateMedia({ media: 'print' });
  assert.ok(await id('print').isVisible() && !(await id('fields').isVisible()), 'paper gets a sentence');
  await page.screenshot({ path: out + 'print.png' });
  await page.emulateMedia({ media: 'screen' });

  // The clipboard is emptied by itself: the time is moved on, not waited for.
  await page.clock.install();
  await page.reload();
  await state('ask');
  await shot('again');
  await id('open').click();
  await state('opened');
  await pass.getByTestId('copy').click();
  await id('clip').waitFor();
  await page.clock.runFor(31_000);
  await page.getByText('The clipboard is empty').first().waitFor();
  assert.equal(await clipboard(), '');
  await page.clock.runFor(15 * 60_000);
  await page.getByText('opens nothing any more').waitFor();
  await shot('window-over', ['light']);
  await page.clock.resume();

  await id('acknowledge').click();
  await state('done');
  assert.equal(link.state, 'retrieved');
  await shot('done');
  await page.reload();
  await state('over:mine');
  await shot('mine', ['light']);
  await id('decline').click();
  await state('decline');
  await shot('decline');
  await id('code').fill(CODE);
  await id('decline-confirm').click();
  await state('declined');
  await shot('declined', ['light', 'phone']);

  // Back and forward after opening.
  const secret = await put({ preview: PREVIEW, passphrase: 'horse' });
  await visit('#' + secret.token);
  await state('ask');
  await id('passphrase').fill('cow');
  await id('open').click();
  await page.getByText('Attempts left: 4').waitFor({ timeout: 60_000 });
  await shot('wrong-passphrase', ['light', 'phone']);
  await id('passphrase').fill('horse');
  await page.keyboard.press('Enter');
  await page.locator('main[data-state="opened"]').waitFor({ timeout: 60_000 });
  await page.goBack();
  await page.goForward();
  await state('ask');

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
  await id('open').click();
  await state('opened');
  const dropped = await put({ preview: PREVIEW });
  await visit('#' + dropped.token);
  await state('ask');
  await page.getByText('Opening code').waitFor();
  await context.setOffline(true);
  await id('code').fill(CODE);
  await id('open').click();
  await page.getByText('cannot be reached').first().waitFor();
  await shot('unreachable', ['light']);
  assert.equal(dropped.link.state, 'open');
  await context.setOffline(false);
  assert.equal(await id('code').inputValue(), CODE);
  await id('open').click();
  await state('opened');

  // A second tab: what is saved in the first does not stay in it.
  const shared = await put({ preview: PREVIEW });
  await visit('#' + shared.token);
  await state('ask');
  const other = await context.newPage();
  await other.goto(base + '#' + shared.token);
  await other.getByTestId('code').fill(CODE);
  await other.getByTestId('open').click();
  await other.locator('main[data-state="opened"]').waitFor();
  // The first may have noticed by itself meanwhile that the link is this browser's: then there is nothing to type.
  await id('open').waitFor();
  if (await id('code').isVisible()) await id('code').fill(CODE, { timeout: 2000 }).catch(() => undefined);
  await id('open').click();
  await state('opened');
  await other.getByTestId('acknowledge').click();
  await state('done');
  await other.close();

  // An e-mailed code, and a reload on the way: nothing is typed twice.
  const mailed = await put({ preview: PREVIEW, kinds: ['emailCode'] });
  await visit('#' + mailed.token);
  await state('check:mail');
  await shot('check-mail');
  await id('code').fill(CODE);
  await id('mail').click();
  await state('check:emailCode');
  await page.reload();
  await state('check:emailCode');
  assert.equal(await id('code').count(), 0);
  await id('emailCode').fill('1234 5678');
  await id('next').click();
  await page.getByText('not the code from the newest').waitFor();
  await shot('check-code');
  mailed.link.verification.pending = 1;
  await id('emailCode').fill(mailed.link.verification.mailed.replace(/^..../, '$&-'));
  await id('next').click();
  await state('opened');

  // A sign-in: first turned back, then passed; `S` lies in sessionStorage in between, and no longer.
  const signed = await put({ preview: PREVIEW, kinds: ['oidc'] });
  gateway.turnsBack = true;
  await visit('#' + signed.token);
  await state('check:signIn');
  await shot('check-sign-in');
  await id('code').fill(CODE);
  await id('sign-in').click();
  await page.getByText('did not succeed').first().waitFor();
  assert.equal(page.url(), base + '#' + signed.token);
  gateway.turnsBack = false;
  await id('sign-in').click();
  await state('ask');
  assert.equal(page.url(), base + '#' + signed.token);
  assert.equal(await page.evaluate(() => sessionStorage.getItem('ps1:sign-in')), null);
  await shot('passed', ['light']);
  await id('open').click();
  await state('opened');

  for (const how of ['expired', 'revoked', 'locked', 'retrieved', 'declined']) {
    const one = await put();
    gateway.erase(one.link, how);
    await visit('#' + one.token);
    await state('over:' + how);
    await shot(how, ['light']);
  }
  await visit('#ps1.' + Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('base64url'));
  await state('over:notFound');
  await shot('not-found', ['light', 'phone']);

  // Expired while open.
  const ahead = (await page.evaluate(() => Date.now())) - Date.now();
  const brief = await put({ preview: PREVIEW, ttl: ahead + 5000 });
  await visit('#' + brief.token);
  await state('ask');
  gateway.erase(brief.link, 'expired');
  await state('over:expired');

  // Every language, on a phone; right to left too.
  for (const lang of ['ar', 'de', 'es', 'fr', 'it', 'ja', 'nl', 'pl', 'pt', 'zh']) {
    const one = await put({ preview: PREVIEW });
    await page.evaluate((chosen) => localStorage.setItem('ps:language', chosen), lang);
    await visit('#' + one.token);
    await state('ask');
    assert.equal(await page.evaluate(() => document.documentElement.lang), lang);
    assert.equal(await page.evaluate(() => document.documentElement.dir), lang === 'ar' ? 'rtl' : 'ltr');
    await shot('ask-' + lang, ['phone']);
    await id('code').fill(CODE);
    await id('open').click();
    await state('opened');
    await shot('opened-' + lang, lang === 'ar' ? ['light', 'phone'] : ['phone']);
  }
  await page.evaluate(() => localStorage.removeItem('ps:language'));
  close();

  // An operator's own name, colour, picture and texts.
  const branded = await serve({ brand: BRAND, logo: LOGO });
  const theirs = await branded.put({ preview: PREVIEW });
  await page.goto(branded.base + '#' + theirs.token);
  await state('ask');
  await page.getByText('Example GmbH').waitFor();
  await shot('brand');
  await id('code').fill(CODE);
  await id('open').click();
  await state('opened');
  await page.getByText('Keep it in the company vault.').waitFor();
  await page.getByText('Service desk').waitFor();
  branded.close();

  assert.deepEqual(said, [], 'the console stays empty: no CSP violation, no error');
  log(`${shots} pictures in target/web-shots, axe found nothing`);
  return { shots };
}
