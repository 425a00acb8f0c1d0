// A recipient without a pointer: opens an ordinary link, reads, copies, says that it is saved, and comes back, with keys alone.
// Wherever the focus is, it is seen: with an outline that stands out, and covered by nothing. Less motion is asked for, and
// nothing moves. args: {link, code}. Gives the order in which Tab goes, in each state.
import assert from 'node:assert/strict';
import { pasted } from '../clipboard.mjs';

export const options = { permissions: ['clipboard-write'], reducedMotion: 'reduce', locale: 'en-GB' };

/** In the page: what has the focus, and how it is shown. */
function inFocus() {
  const one = document.activeElement;
  const style = getComputedStyle(one);
  const channels = (colour) => [...colour.matchAll(/[\d.]+/g)].map(Number);
  const luminance = (colour) => {
    const [r, g, b] = channels(colour).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let behind = one.parentElement ?? one;
  while (behind.parentElement && channels(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
  const [dark, bright] = [style.outlineColor, getComputedStyle(behind).backgroundColor].map(luminance).sort((a, b) => a - b);
  const box = one.getBoundingClientRect();
  const places = [0.1, 0.5, 0.9].flatMap((x) => [0.2, 0.5, 0.8].map((y) => [box.left + box.width * x, box.top + box.height * y]));
  const field = one.closest('[data-key]')?.dataset.key;
  return {
    name: one === document.body ? 'body' : (field ? field + '/' : '') + (one.dataset.testid ?? one.localName),
    outline: style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth),
    contrast: (bright + 0.05) / (dark + 0.05),
    open: places.filter(([x, y]) => one.contains(document.elementFromPoint(x, y))).length / places.length,
    moving: document.getAnimations().length,
  };
}

export default async function keyboardOnly({ page, context, args, state }) {
  const orders = {};
  const at = async () => (await page.evaluate(inFocus)).name;
  /** Presses Tab, or another key that moves the focus, and says where it is then. */
  const tab = async (key = 'Tab') => {
    await page.keyboard.press(key);
    const { name, outline, contrast, open, moving } = await page.evaluate(inFocus);
    assert.ok(outline >= 2, `${name}: an outline of ${outline} px`);
    assert.ok(contrast >= 3, `${name}: an outline with a contrast of ${contrast}`);
    assert.equal(open, 1, `${name} is covered, or out of sight`);
    assert.equal(moving, 0, `${name}: something moves`);
    return name;
  };
  const tabs = async (count, key) => {
    const names = [];
    while (names.length < count) names.push(await tab(key));
    return names;
  };
  /** Goes on with Tab to this place. */
  const tabTo = async (name, key) => {
    for (let n = 0; n < 20; n++) if ((await tab(key)) === name) return;
    assert.fail(`Tab does not come to ${name}`);
  };
  const says = (text) => page.getByTestId('status').getByText(text).waitFor({ state: 'attached' });

  await page.goto(args.link);
  await state('ask');
  // The heading has it where the page was shown before the link was looked up.
  assert.ok(['body', 'heading'].includes(await at()), await at());
  orders.ask = await tabs(4);
  assert.deepEqual(await tabs(3, 'Shift+Tab'), orders.ask.slice(0, 3).reverse(), 'and back');

  // A typing mistake: the field has the focus, all of it selected, so that the next key begins anew.
  await page.keyboard.type('7K3M-9QZC');
  await page.keyboard.press('Enter');
  await page.getByText('This code has a typing mistake').waitFor();
  assert.equal(await at(), 'code');
  const described = await page.getByTestId('code').evaluate((input) => input.getAttribute('aria-describedby').split(' ').map((id) => document.getElementById(id).textContent).join(' '));
  assert.match(described, /typing mistake/, 'the mistake is read with the field');
  await page.keyboard.type(args.code);
  assert.equal(await page.getByTestId('code').inputValue(), args.code);
  await page.keyboard.press('Enter');

  await state('opened');
  assert.equal(await at(), 'heading', 'what has changed is read first');
  const [username, password] = [page.locator('[data-key=username]'), page.locator('[data-key=password]')];
  orders.opened = await tabs(7);
  await tabTo('password/show', 'Shift+Tab');
  await page.keyboard.press('Enter');
  const value = await password.getByTestId('value').textContent();
  await page.keyboard.press('Space');
  assert.equal(await password.locator('[data-hidden]').count(), 1, 'hidden again');
  assert.equal(await at(), 'password/show');
  await tabTo('username/copy', 'Shift+Tab');
  await page.keyboard.press('Space');
  await username.getByText('Copied').waitFor();
  assert.equal(await pasted(context, page), await username.getByTestId('value').textContent());
  // With the clipboard's line on the screen: it covers nothing that has the focus.
  orders.copied = await tabs(7);
  await tabTo('clear', 'Shift+Tab');
  await page.keyboard.press('Enter');
  await says('The clipboard is empty');
  assert.equal(await pasted(context, page), '');
  await tabTo('acknowledge', 'Shift+Tab');
  await page.keyboard.press('Enter');

  await state('done');
  assert.equal(await at(), 'heading');
  orders.done = await tabs(1);
  await page.reload();
  await state('over:mine');
  orders['over:mine'] = await tabs(2);
  await tabTo('decline', 'Shift+Tab');
  await page.keyboard.press('Enter');
  await state('decline');
  assert.equal(await at(), 'heading');
  orders.decline = await tabs(4);
  await tabTo('back', 'Shift+Tab');
  await page.keyboard.press('Enter');
  await state('over:mine');

  // Another language, by the keys of the list.
  await tabTo('select');
  await page.keyboard.press('ArrowDown');
  await page.waitForFunction(() => document.documentElement.lang !== 'en');
  assert.equal(await at(), 'select', 'the focus stays');
  return { orders, value };
}
