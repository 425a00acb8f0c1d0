// A part of `states.mjs`: what is seen before everything has come, and without scripts.
import assert from 'node:assert/strict';

/** In the page: whether something was painted, what can be read, and whether there is a place for what comes. */
function seen() {
  const readable = [...document.querySelectorAll('body *')].filter((one) => one.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && [...one.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim() !== ''));
  const within = (box) => box.width > 0 && box.height > 0 && box.top < innerHeight;
  return {
    painted: performance.getEntriesByName('first-contentful-paint').length,
    text: readable.filter((one) => within(one.getBoundingClientRect())).map((one) => one.textContent.trim()),
    styled: getComputedStyle(document.body).fontFamily.includes('system-ui'),
    place: within((document.querySelector('.wait') ?? document.querySelector('main')).getBoundingClientRect()),
  };
}

/** The page paints with its first file, whatever is late; and with its script what it says waits for nothing but the words. */
export async function firstPaint({ page, base, token }) {
  const asked = [];
  let script;
  let rest;
  let looks;
  const [scripted, others, looked] = [new Promise((done) => (script = done)), new Promise((done) => (rest = done)), new Promise((done) => (looks = done))];
  await page.goto('about:blank');
  const under = [];
  const late = async (route) => {
    const name = new URL(route.request().url()).pathname.slice(1);
    asked.push(name);
    if (name.endsWith('/lookup')) looks();
    if (name === 'app.js') await scripted;
    else if (name !== '') await others;
    await route.continue();
  };
  await page.route(base + '**', (route) => void under.push(late(route)));
  await page.goto(base + '#' + token, { waitUntil: 'commit' });
  const paints = () => page.waitForFunction(() => performance.getEntriesByName('first-contentful-paint').length > 0, undefined, { polling: 100 });
  await paints();
  const early = await page.evaluate(seen);
  assert.deepEqual(early, { painted: 1, text: ['Password Sender'], styled: true, place: true });
  assert.deepEqual(asked, ['', 'app.js'], 'of one file, and another that has not come');
  script();
  // Its own requests go out; none has an answer.
  await looked;
  assert.deepEqual(await page.evaluate(seen), early, 'what was painted stays while the rest is on its way');
  rest();
  await page.locator('main[data-state=ask]').waitFor();
  await Promise.all(under);
  await page.unroute(base + '**');
}

/** The page as it is without scripts, in every look. axe is a script: for it the page has none of its own, and shows what others show only without. */
export async function withoutScripts({ page, base, shot, looks }) {
  await page.route(base, async (route) => {
    const html = await (await route.fetch()).text();
    const body = html.replace(/<script[^]*?<\/script>/g, '').replace(/<(\/?)noscript>/g, '<$1div>').replace(/\(scripting: ?none\)/g, 'all');
    await route.fulfill({ contentType: 'text/html; charset=utf-8', body });
  });
  await page.goto('about:blank');
  await page.goto(base);
  await page.getByText('This page needs JavaScript').waitFor();
  const text = await page.locator('main').innerText();
  for (const one of ['password-sender open', 'Nothing has been opened yet', 'A link that asks for a sign-in needs JavaScript']) assert.ok(text.includes(one), one);
  await shot('no-script', looks);
  await page.unroute(base);
}
