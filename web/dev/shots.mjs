// Walks through the page in Chromium: axe on every state, no console message, screenshots into target/web-shots.
// Needs /usr/bin/chromium and the packages of testbed/browser.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { SAMPLE, serve } from './serve.mjs';

const need = createRequire(new URL('../../testbed/browser/package.json', import.meta.url));
const { chromium } = need('playwright-core');
const { AxeBuilder } = need('@axe-core/playwright');
const out = fileURLToPath(new URL('../../target/web-shots/', import.meta.url));
await mkdir(out, { recursive: true });

const { base, put, gateway, close } = await serve();
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium' });
const CODE = '7K3M-9QZB';
const preview = { v: 1, title: SAMPLE.title, sender: SAMPLE.sender, worksForMs: 3_600_000 };
let states = 0;

const looks = {
  light: { colorScheme: 'light', viewport: { width: 900, height: 900 } },
  dark: { colorScheme: 'dark', viewport: { width: 900, height: 900 } },
  forced: { forcedColors: 'active', viewport: { width: 900, height: 900 } },
  phone: { colorScheme: 'light', viewport: { width: 320, height: 640 } },
};

for (const [look, options] of Object.entries(looks)) {
  const context = await browser.newContext({ ...options, permissions: ['clipboard-read', 'clipboard-write'] });
  const page = await context.newPage();
  const said = [];
  // A refusal of the API is an answer, though Chromium prints it.
  page.on('console', (message) => /Failed to load resource/.test(message.text()) || said.push(message.text()));
  page.on('pageerror', (error) => said.push(String(error)));
  const id = (name) => page.getByTestId(name);
  const state = (name) => page.locator(`main[data-state="${name}"]`).waitFor();
  const shot = async (name) => {
    const { violations } = await new AxeBuilder({ page }).analyze();
    assert.deepEqual(violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join()}`), [], `${look} ${name}`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${look} ${name}: ${wide} px too wide`);
    await page.screenshot({ path: `${out}${name}-${look}.png`, fullPage: true });
    states += 1;
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
  await shot('broken');

  const { token, link } = await put({ preview });
  await visit('%23' + token + '/?utm_source=mail');
  await state('ask');
  assert.equal(page.url(), base + '#' + token);
  await visit('%2523' + token + '.');
  await state('ask');
  assert.equal(page.url(), base + '#' + token);
  await shot('exposed');
  await visit('#' + token);
  await state('ask');
  await shot('ask');
  await id('code').fill('7K3M-9QZC');
  await id('open').click();
  await id('error').first().waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.id), 'code');
  await shot('bad-code');
  await id('code').fill('A1B2-C3D8');
  await page.keyboard.press('Enter');
  await page.getByText('not the code').waitFor();
  await shot('wrong-code');
  assert.equal(await id('open').getAttribute('aria-disabled'), 'true');
  link.codeUntil = 0;
  await page.waitForFunction(() => !document.querySelector('[data-testid=open]')?.hasAttribute('aria-disabled'), undefined, { timeout: 10_000 });
  await id('code').fill(CODE.toLowerCase());
  await id('open').click();
  await state('opened');
  assert.equal(await page.evaluate(() => document.activeElement?.tagName), 'H1');
  assert.ok(!(await page.content()).includes('k7#Vq9'), 'a hidden value is not in the document');
  await shot('opened');
  const pass = page.locator('[data-key=pass]');
  await pass.getByTestId('show').click();
  assert.equal(await pass.getByTestId('value').textContent(), 'k7#Vq9!mZp2$Lx8@Wn4^Tb6&');
  await page.locator('[data-key=ssh]').getByTestId('show').click();
  await pass.getByTestId('copy').click();
  await pass.getByText('Copied').waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), 'k7#Vq9!mZp2$Lx8@Wn4^Tb6&');
  assert.equal(await page.locator('[data-key=evil] a').count(), 0);
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByTestId('file').getByTestId('download').click()]);
  assert.equal(download.suggestedFilename(), 'ca.pem');
  await id('qr').click();
  await id('qr-code').waitFor();
  await shot('shown');
  await page.reload();
  await state('ask');
  await shot('again');
  await id('open').click();
  await state('opened');
  await id('acknowledge').click();
  await state('done');
  assert.equal(link.state, 'retrieved');
  await shot('done');
  await page.reload();
  await state('over:mine');
  await shot('mine');
  await id('decline').click();
  await state('decline');
  await shot('decline');
  await id('code').fill(CODE);
  await id('decline-confirm').click();
  await state('declined');
  await shot('declined');

  const secret = await put({ preview, passphrase: 'horse' });
  await visit('#' + secret.token);
  await state('ask');
  await id('passphrase').fill('cow');
  await id('open').click();
  await page.getByText('Attempts left: 4').waitFor();
  await shot('wrong-passphrase');
  await id('passphrase').fill('horse');
  await page.keyboard.press('Enter');
  await state('opened');
  await page.goBack();
  await page.goForward();
  await state('ask');

  for (const how of ['expired', 'revoked', 'locked', 'retrieved']) {
    const one = await put();
    gateway.erase(one.link, how);
    await visit('#' + one.token);
    await state('over:' + how);
    await shot(how);
  }
  const gone = 'ps1.' + Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('base64url');
  await visit('#' + gone);
  await state('over:notFound');
  await shot('not-found');
  assert.deepEqual(said, [], 'the console stays empty: no CSP violation, no error');
  await context.close();
}

const plain = await browser.newContext({ javaScriptEnabled: false });
const page = await plain.newPage();
await page.goto(base);
await page.screenshot({ path: out + 'no-script.png' });
assert.match(await page.evaluate(() => document.body.innerText), /password-sender open/);
await browser.close();
close();
console.log(`${states} states looked at, axe found nothing, no console message; pictures in target/web-shots`);
