/** The form that is shown while the cipher is still on its way: nothing is sent before the preview has opened. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canDecline, early, next, type Glimpsed, type Info, type State } from '../src/flow.ts';
import { Browser, is } from './browser.ts';

const PREVIEW = { title: 'Database password', sender: 'Platform team' };
const OPEN: Info = { state: 'open', expiresAt: 1_800_000_000_000, kinds: [], openingCode: true };

test('shown at once only where an opening code is all that is asked for', () => {
  const looking: State = { at: 'looking' };
  const glimpse = (change: Partial<Info>, held: Glimpsed['held'] = 'no'): State => next(looking, { is: 'glimpsed', info: { ...OPEN, ...change }, held })[0];
  const shown = is(glimpse({}), 'ask');
  assert.deepEqual([shown.needs, shown.busy, early(shown), canDecline(shown)], [['code'], false, true, false]);
  for (const kinds of [['passphrase'], ['emailCode'], ['oidc'], ['passphrase', 'emailCode', 'oidc']]) assert.equal(glimpse({ kinds }), looking);
  for (const state of ['claimed', 'retrieved', 'expired', 'revoked', 'declined', 'locked'] as const) assert.equal(glimpse({ state }), looking);
  assert.equal(glimpse({ openingCode: false }), looking);
  assert.equal(glimpse({}, 'token'), looking);
  // Late, it changes nothing.
  for (const state of [{ ...shown, busy: true }, { at: 'left' }, { at: 'over', how: 'expired' }] as const) assert.equal(next(state, { is: 'glimpsed', info: OPEN, held: 'no' })[0], state);
});

test('title and sender come into the form that is there', async () => {
  const browser = new Browser();
  await browser.put();
  const come = await browser.loadEarly();
  assert.equal(is(browser.session.state, 'ask').info.preview, undefined);
  // Told before, and still told after.
  browser.press('7K3M-9QZC');
  assert.deepEqual(is(browser.session.state, 'ask').problem, { is: 'badCode' });
  const ask = is(await come(), 'ask');
  assert.deepEqual([ask.info.preview, ask.problem, ask.busy], [PREVIEW, { is: 'badCode' }, false]);
  assert.deepEqual(browser.verbs(), ['lookup']);
  is(await browser.submit(), 'opened');
});

test('pressed before the preview: the claim goes out once it has opened, and once only', async () => {
  const browser = new Browser();
  await browser.put();
  const come = await browser.loadEarly();
  browser.press();
  browser.press();
  assert.equal(is(browser.session.state, 'ask').busy, true);
  assert.deepEqual(browser.verbs(), ['lookup']);
  assert.equal(browser.shelf.size, 0, 'no token yet');
  is(await come(), 'opened');
  assert.deepEqual(browser.verbs(), ['lookup', 'claim']);
  assert.equal(browser.shown.filter((at) => at === 'looking').length, 1, 'it never goes back');
});

test('a claim whose answer is lost is repeated as any other', async () => {
  const browser = new Browser();
  await browser.put();
  const come = await browser.loadEarly();
  browser.press();
  browser.cut = 1;
  is(await come(), 'opened');
  assert.deepEqual(browser.verbs(), ['lookup', 'claim', 'lookup', 'claim']);
});

test('an altered record: seen before or after the press, nothing is sent', async () => {
  for (const pressed of [false, true]) {
    const browser = new Browser();
    const link = await browser.put({ passphrase: 'horse' });
    // Made to look like a link without a passphrase, so that the form is shown.
    link.binding = { ...link.binding, kinds: [], kdf: '' };
    const lookup = browser.gateway.answer.bind(browser.gateway);
    browser.gateway.answer = async (verb, body) => {
      const { status, body: said } = await lookup(verb, body);
      return { status, body: { ...(said as object), openingCode: true } };
    };
    const come = await browser.loadEarly();
    if (pressed) browser.press();
    assert.equal(is(await come(), 'over').how, 'altered');
    assert.deepEqual(browser.verbs(), ['lookup']);
    assert.equal(browser.shelf.size, 0);
  }
});

test('a cipher that does not come: said, nothing is sent, and tried again', async () => {
  for (const pressed of [false, true]) {
    const browser = new Browser();
    await browser.put();
    browser.noSeal = true;
    const come = await browser.loadEarly();
    if (pressed) browser.press();
    assert.deepEqual(is(await come(), 'trouble').problem, { is: 'unreachable' });
    assert.deepEqual(browser.verbs(), ['lookup']);
    browser.noSeal = false;
    browser.session.send({ is: 'retry' });
    is(await browser.settled(), 'ask');
    assert.deepEqual(browser.verbs(), ['lookup', 'lookup'], 'what was pressed before is not sent later');
    is(await browser.submit(), 'opened');
  }
});

test('left while it waits: wiped, and nothing is sent', async () => {
  const browser = new Browser();
  const link = await browser.put();
  const come = await browser.loadEarly();
  browser.press();
  browser.session.send({ is: 'left' });
  is(await come(), 'left');
  assert.deepEqual([browser.verbs(), link.state], [['lookup'], 'open']);
});

test('no other look and no decline while it waits', async () => {
  const browser = new Browser();
  await browser.put();
  const come = await browser.loadEarly();
  for (const what of ['due', 'stirred', 'notMine'] as const) browser.session.send({ is: what });
  is(await come(), 'ask');
  assert.deepEqual(browser.verbs(), ['lookup']);
  browser.session.send({ is: 'notMine' });
  is(await browser.settled(), 'decline');
});
