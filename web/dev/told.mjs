// A part of `states.mjs`: what the page tells. Beforehand: once, until when, for how long; in the visitor's own time, which goes
// on. To who does not see: what happens. And of a clipboard that a browser forbids: that it does.
import assert from 'node:assert/strict';
import { SAMPLE } from './serve.mjs';

/** Half an hour off, so that neither another zone nor UTC passes for it. */
export const ZONE = 'Asia/Kolkata';
const ZONE_MS = 5.5 * 3_600_000;
const HOUR = 3_600_000;
const CODE = '7K3M-9QZB';

/** A point in time as it is told in British English in that zone: not by the page's own means. */
function local(ms) {
  const [day, date, month, , clock] = new Date(ms + ZONE_MS).toUTCString().replace(',', '').split(' ');
  return new RegExp(`${day},? ${Number(date)} ${month.slice(0, 3)}[a-z]?(,| at)? ${clock.slice(0, 5)} GMT\\+5:30`);
}

/** Waits until the live region says it. */
export const heard = (page, text) => page.getByTestId('status').getByText(text).waitFor({ state: 'attached' });

/** The page's clock is held by the caller. Leaves the link opened. */
export async function beforehand({ page, put, press, id, state, visit }) {
  const now = await page.evaluate(() => Date.now());
  const ends = async () => id('expires').textContent();
  const { link, token } = await put({ preview: { v: 1, title: SAMPLE.title, sender: SAMPLE.sender, worksForMs: 2 * HOUR }, payload: { ...SAMPLE, worksForMs: 2 * HOUR }, now, ttl: 4 * HOUR + 60_000 });
  await visit('#' + token);
  await state('ask');
  assert.equal(await id('once').textContent(), 'It can be opened once. Have a safe place ready for it, such as your password manager. After you open it, it works for 2 hours.');
  assert.match(await ends(), local(link.expiresAt));
  assert.match(await ends(), / \(in 4 hours\)$/);
  assert.equal(await page.locator('dt:has-text("Open it by") + dd').textContent(), await ends());
  await page.clock.runFor(2 * HOUR + 30 * 60_000);
  await page.getByText('(in 91 minutes)').or(page.getByText('(in 90 minutes)')).waitFor();
  assert.match(await ends(), local(link.expiresAt), 'the time itself stays');
  await page.clock.runFor(89 * 60_000 + 30_000);
  await page.getByText(/\(in \d+ seconds\)$/).waitFor();

  await id('code').fill(CODE);
  await press(id('open'));
  await state('opened');
  const [works, window] = [await id('works').textContent(), await id('window').textContent()];
  assert.match(works, local(link.claimedAt + 2 * HOUR));
  assert.match(works, /^It works until .*\. Then it is replaced\.$/);
  assert.match(window, local(link.windowEndsAt));
  assert.match(window, /^You can open it again in this browser until .*\. After that it is erased\.$/);
  await page.reload();
  await state('ask');
  const again = await id('once').textContent();
  assert.match(again, /^You can open it again in this browser until /);
  assert.match(again, local(link.windowEndsAt));
  await press(id('open'));
  await state('opened');
  // Afterwards: that it is gone, and until when what they have works; after a reload, too.
  await press(id('acknowledge'));
  await state('done');
  const gone = async () => {
    const told = await id('note').textContent();
    assert.match(told, local(link.claimedAt + 2 * HOUR));
    assert.match(told, /^What you have saved works until .*\. Then it is replaced\.$/);
  };
  await page.getByText('The link opens nothing any more, for anyone.').waitFor();
  await gone();
  await page.reload();
  await state('over:mine');
  await page.getByText('It is erased.').waitFor();
  await gone();
  // Nothing is said where nothing is known.
  const endless = await put({ preview: { v: 1, title: SAMPLE.title, sender: SAMPLE.sender }, payload: { ...SAMPLE, worksForMs: undefined }, now: await page.evaluate(() => Date.now()) });
  await visit('#' + endless.token);
  await state('ask');
  assert.equal(await id('once').textContent(), 'It can be opened once. Have a safe place ready for it, such as your password manager.');
  await id('code').fill(CODE);
  await press(id('open'));
  await state('opened');
  assert.equal(await id('works').count(), 0);
}

/** A browser that lets a page copy, but empty the clipboard only for a press; and one that lets it copy nothing. In an opened link. */
export async function forbidden({ page, press, id, clipboard, shot, usual }) {
  const user = page.locator('[data-key=user]');
  const value = 'report_reader';
  const line = page.locator('.clip p');
  // As Firefox and Safari: they do not know this permission.
  await page.evaluate(() => {
    navigator.permissions.query = () => Promise.reject(new TypeError('clipboard-write'));
  });
  await press(user.getByTestId('copy'));
  await heard(page, 'Your browser lets this page empty the clipboard only when you ask for it.');
  assert.match(await line.textContent(), /Username.*: copied\. Your browser lets this page empty the clipboard only when you ask for it\.$/);
  await shot('clip-keeps', [usual]);
  await page.clock.runFor(40_000);
  assert.equal(await clipboard(), value, 'nothing is promised, and nothing is done');
  assert.ok(await id('clear').isVisible());
  await press(id('clear'));
  await heard(page, 'The clipboard is empty.');
  assert.equal(await clipboard(), '');

  await page.evaluate(() => {
    navigator.clipboard.writeText = () => Promise.reject(new DOMException('Write permission denied.', 'NotAllowedError'));
  });
  const failed = 'Your browser does not allow copying here. The text is selected: copy it yourself.';
  const selected = () => page.evaluate(() => getSelection().toString().trim());
  await press(user.getByTestId('copy'));
  await heard(page, failed);
  assert.equal(await line.textContent(), failed);
  assert.equal(await selected(), value);
  assert.equal(await user.getByText('Copied').count(), 0, 'nothing is said to be copied that is not');
  assert.equal(await id('clear').isVisible(), false);
  assert.equal(await clipboard(), '');
  await shot('clip-failed', [usual]);
  // A hidden one is shown, or nobody could copy it.
  const pass = page.locator('[data-key=pass]');
  await press(pass.getByTestId('copy'));
  await pass.locator('[data-testid=value]:not([data-hidden])').waitFor();
  assert.equal(await selected(), 'k7#Vq9!mZp2$Lx8@Wn4^Tb6&');
}

/** In another language, and on another screen and back, the clipboard goes on: one line, one clock, and what is copied later stays longer. */
export async function goesOn({ page, press, id, state, clipboard }) {
  const speak = async (lang, text) => {
    await page.locator('#foot select').selectOption(lang);
    await page.locator('.clip').getByText(text).waitFor();
  };
  await page.clock.runFor(20_000);
  await speak('de', 'Die Zwischenablage wird');
  await speak('en', 'The clipboard is emptied after');
  await press(id('decline'));
  await state('decline');
  assert.ok(await id('clear').isVisible(), 'it can still be emptied');
  await press(id('back'));
  await state('opened');
  await page.getByText('The clipboard is emptied after').first().waitFor();
  await press(page.locator('[data-key=user]').getByTestId('copy'));
  await page.locator('.clip').getByText('Username').waitFor();
  await page.clock.runFor(15_000);
  assert.equal(await clipboard(), 'report_reader', 'the first one would have been emptied');
  await page.clock.runFor(16_000);
  await page.getByText('The clipboard is empty').first().waitFor();
  assert.equal(await clipboard(), '');
}
