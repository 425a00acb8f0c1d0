/** The page's session against a gateway in memory: what is asked, what is shown, what is kept. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { b64 } from '../src/protocol/bytes.ts';
import { Browser, CODE, PAYLOAD, is } from './browser.ts';

test('the whole way: look up, open, save', async () => {
  const browser = new Browser();
  const link = await browser.put();
  const ask = is(await browser.load(), 'ask');
  assert.deepEqual(browser.verbs(), ['lookup']);
  assert.deepEqual(ask.needs, ['code']);
  assert.deepEqual(ask.info.preview, { title: 'Database password', sender: 'Platform team' });
  assert.equal(link.state, 'open');

  const opened = is(await browser.submit(' 7k3m9qzb\n'), 'opened');
  assert.deepEqual(opened.payload.fields.map((field) => field.value), ['app', 'hunter2']);
  assert.equal(opened.kept, true);
  browser.session.send({ is: 'saved' });
  assert.equal(is(await browser.settled(), 'done').stopsAt, browser.now + 3_600_000);
  assert.equal(link.state, 'retrieved');
  assert.equal(link.ciphertext, undefined);
  assert.deepEqual(browser.verbs(), ['lookup', 'claim', 'acknowledge']);
  assert.deepEqual([...browser.shelf.values()], [`done ${browser.now + 3_600_000}`]);
  assert.deepEqual(is(await browser.load(), 'over'), { at: 'over', how: 'mine', stopsAt: browser.now + 3_600_000 });
});

test('until when it works is told after a reload, saved or not, where it was told at all', async () => {
  for (const payload of [PAYLOAD, { ...PAYLOAD, worksForMs: undefined }]) {
    const browser = new Browser();
    const link = await browser.put({ payload });
    await browser.load();
    await browser.submit();
    const stopsAt = payload.worksForMs === undefined ? undefined : browser.now + payload.worksForMs;
    browser.now += 60_000;
    is(await browser.load(), 'ask');
    is(await browser.submit(''), 'opened');
    browser.gateway.erase(link, 'retrieved');
    assert.deepEqual(is(await browser.load(), 'over'), { at: 'over', how: 'late', stopsAt });
    const stranger = new Browser(browser.gateway);
    stranger.secret = browser.secret;
    assert.deepEqual(is(await stranger.load(), 'over'), { at: 'over', how: 'retrieved', stopsAt: undefined });
  }
});

test('an opening code that was right is not typed again, after a reload or to decline', async () => {
  const code = CODE.replace('-', '');
  const kept = (browser: Browser): (string | undefined)[] => [...browser.tab.values()].map((text) => (JSON.parse(text) as { code?: string }).code);
  const typed = async (): Promise<Browser> => {
    const browser = new Browser();
    const link = await browser.put({ passphrase: 'right' });
    link.wrong = 3;
    assert.deepEqual(is(await browser.load(), 'ask').needs, ['code', 'passphrase']);
    // A wrong code is not kept, nor one that nobody has judged.
    is(await browser.submit('A1B2-C3D8', 'wrong'), 'ask');
    browser.now += 5000;
    browser.refuseNext = { status: 503, body: { error: { code: 'not-ready', message: '' } } };
    is(await browser.submit(CODE, 'wrong'), 'ask');
    assert.deepEqual(kept(browser), []);
    const wrong = is(await browser.submit(CODE, 'wrong'), 'ask');
    assert.deepEqual([wrong.problem?.is, wrong.needs], ['wrongProof', ['passphrase']]);
    assert.deepEqual(kept(browser), [code]);
    return browser;
  };
  const reloaded = await typed();
  assert.deepEqual(is(await reloaded.load(), 'ask').needs, ['passphrase']);
  is(await reloaded.submit('', 'right'), 'opened');
  assert.deepEqual(kept(reloaded), [], 'kept until it is opened, and no longer');

  const stayed = await typed();
  is(await stayed.submit('', 'right'), 'opened');

  const declines = await typed();
  await declines.load();
  declines.session.send({ is: 'notMine' });
  assert.equal(is(declines.session.state, 'decline').code, code);
  declines.session.send({ is: 'declineSubmitted', code: '', now: declines.now });
  is(await declines.settled(), 'declined');

  // Refused all the same: typed anew, and not kept.
  const other = await typed();
  for (const link of other.gateway.links.values()) link.code = 'A1B2C3D8';
  other.session.send({ is: 'notMine' });
  other.session.send({ is: 'declineSubmitted', code: '', now: other.now });
  const again = is(await other.settled(), 'decline');
  assert.deepEqual([again.problem?.is, again.code], ['wrongCode', undefined]);
  other.now += 5000;
  other.session.send({ is: 'back' });
  assert.deepEqual(is(await other.submit('', 'right'), 'ask').needs, ['code', 'passphrase']);
  assert.deepEqual(kept(other), []);
});

test('the code that opened it declines it, too, while the page stays', async () => {
  const browser = new Browser();
  const link = await browser.put();
  await browser.load();
  is(await browser.submit(), 'opened');
  browser.session.send({ is: 'notMine' });
  browser.session.send({ is: 'declineSubmitted', code: '', now: browser.now });
  is(await browser.settled(), 'declined');
  assert.equal(link.state, 'declined');
});

test('S is never kept and never sent', async () => {
  const browser = new Browser();
  await browser.put();
  await browser.load();
  await browser.submit();
  const secret = b64(browser.secret);
  assert.ok(!JSON.stringify([...browser.shelf]).includes(secret));
  assert.ok(!JSON.stringify(browser.gateway.asked).includes(secret));
});

test('the token is kept before the claim is sent', async () => {
  const browser = new Browser();
  await browser.put();
  await browser.load();
  const answer = browser.gateway.answer.bind(browser.gateway);
  let kept = 0;
  browser.gateway.answer = (verb, body) => {
    if (verb === 'claim') kept = browser.shelf.size;
    return answer(verb, body);
  };
  await browser.submit();
  assert.equal(kept, 1);
});

test('a mistyped code is refused here, and nothing is sent', async () => {
  const browser = new Browser();
  await browser.put();
  await browser.load();
  for (const code of ['', '7K3M-9QZC', '7K3M-9ZQB', 'hello', '7K3M-9QZBB']) {
    assert.deepEqual(is(await browser.submit(code), 'ask').problem, { is: 'badCode' });
  }
  assert.deepEqual(browser.verbs(), ['lookup']);
});

test('a wrong code waits as long as the gateway says', async () => {
  const browser = new Browser();
  await browser.put();
  await browser.load();
  const until = browser.now + 5000;
  assert.deepEqual(is(await browser.submit('A1B2-C3D8'), 'ask').problem, { is: 'wrongCode', until });
  browser.now += 4999;
  await browser.submit();
  assert.deepEqual(browser.verbs(), ['lookup', 'claim']);
  browser.now += 1;
  is(await browser.submit(), 'opened');
});

test('lost answers: the same browser gets it, typed once', async () => {
  for (const cut of [1, 2, 3]) {
    const browser = new Browser();
    await browser.put();
    await browser.load();
    browser.cut = cut;
    is(await browser.submit(), 'opened');
    assert.equal(browser.verbs().filter((verb) => verb === 'claim').length, cut + 1);
    assert.equal(browser.waits.length, cut);
    const again = browser.gateway.asked.at(-1);
    assert.ok(again?.body.token && !again.body.openingCode, 'the last claim shows the token');
  }
});

test('a network that stays down ends in a button that goes on where it was', async () => {
  const browser = new Browser();
  await browser.put();
  await browser.load();
  browser.cut = 4;
  const ask = is(await browser.submit(), 'ask');
  assert.deepEqual(ask.problem, { is: 'unreachable' });
  assert.equal(ask.busy, false);
  is(await browser.submit(), 'opened');
});

test('a reload after the claim asks for nothing typed', async () => {
  const browser = new Browser();
  await browser.put();
  await browser.load();
  await browser.submit();
  const ask = is(await browser.load(), 'ask');
  assert.equal(ask.again, true);
  assert.deepEqual(ask.needs, []);
  assert.deepEqual(browser.verbs(), ['lookup', 'claim', 'lookup'], 'a reload only looks up');
  is(await browser.submit('', ''), 'opened');
});

test('a passphrase: asked for instead of the code, wrong ones counted, again after a reload', async () => {
  const browser = new Browser();
  await browser.put({ passphrase: 'corr\u00e9ct horse' });
  assert.deepEqual(is(await browser.load(), 'ask').needs, ['passphrase']);
  assert.deepEqual(is(await browser.submit('', ''), 'ask').problem, { is: 'badPassphrase' });
  assert.deepEqual(is(await browser.submit('', 'x'.repeat(1025)), 'ask').problem, { is: 'badPassphrase' });
  assert.deepEqual(browser.verbs(), ['lookup']);
  assert.deepEqual(is(await browser.submit('', 'wrong'), 'ask').problem, { is: 'wrongProof', until: browser.now, left: 4 });
  is(await browser.submit('', 'corre\u0301ct horse\n'), 'opened');
  assert.deepEqual(is(await browser.load(), 'ask').needs, ['passphrase']);
  assert.deepEqual(is(await browser.submit('', 'mistyped'), 'ask').problem, { is: 'wrongProof', until: browser.now });
  const before = browser.stretches;
  browser.cut = 1;
  is(await browser.submit('', 'corr\u00e9ct horse'), 'opened');
  assert.equal(browser.stretches, before + 1, 'one computation for a claim and its repetition');
  assert.ok(!JSON.stringify(browser.gateway.asked).includes('horse'));
});

test('after three wrong passphrases the opening code is asked for as well, and what was wrong stays said', async () => {
  const browser = new Browser();
  const link = await browser.put({ passphrase: 'right' });
  await browser.load();
  for (let n = 0; n < 2; n++) assert.deepEqual(is(await browser.submit('', 'wrong'), 'ask').needs, ['passphrase']);
  const due = is(await browser.submit('', 'wrong'), 'ask');
  assert.deepEqual(due.needs, ['code', 'passphrase']);
  assert.deepEqual(due.problem, { is: 'codeToo', until: browser.now, left: 2 });
  assert.deepEqual(is(await browser.submit('', 'right'), 'ask').problem, { is: 'badCode' });
  assert.equal(link.left, 2, 'nothing more is counted without the code');
  is(await browser.submit(CODE, 'right'), 'opened');

  // Wrong elsewhere meanwhile: this browser is told so, and nothing is counted.
  const late = new Browser();
  const other = await late.put({ passphrase: 'right' });
  await late.load();
  other.wrong = 3;
  assert.deepEqual(is(await late.submit('', 'right'), 'ask').needs, ['code', 'passphrase']);
  late.now += 5000;
  is(await late.submit(CODE, 'right'), 'opened');
});

test('too many wrong passphrases: locked', async () => {
  const browser = new Browser();
  const link = await browser.put({ passphrase: 'right' });
  link.left = 1;
  await browser.load();
  assert.equal(is(await browser.submit('', 'wrong'), 'over').how, 'locked');
});

test('another browser gets nothing and can say that it was not the one', async () => {
  const first = new Browser();
  const link = await first.put();
  await first.load();
  const late = new Browser(first.gateway);
  late.secret = first.secret;
  is(await late.load(), 'ask');
  is(await first.submit(), 'opened');
  assert.equal(is(await late.submit(), 'over').how, 'claimed');
  assert.equal(is(await late.load(), 'over').how, 'claimed');
  late.session.send({ is: 'notMine' });
  is(await late.settled(), 'decline');
  late.session.send({ is: 'declineSubmitted', code: CODE, now: late.now });
  is(await late.settled(), 'declined');
  assert.equal(link.state, 'declined');
  assert.equal(is(await first.load(), 'over').how, 'declined');
});

test('decline: needs the code, can be left, and disputes after retrieval', async () => {
  const browser = new Browser();
  const link = await browser.put();
  await browser.load();
  browser.session.send({ is: 'notMine' });
  browser.session.send({ is: 'declineSubmitted', code: 'junk', now: browser.now });
  assert.deepEqual(is(await browser.settled(), 'decline').problem, { is: 'badCode' });
  browser.session.send({ is: 'back' });
  is(await browser.settled(), 'ask');
  assert.deepEqual(browser.verbs(), ['lookup']);
  browser.gateway.erase(link, 'retrieved');
  assert.equal(is(await browser.load(), 'over').how, 'retrieved');
  browser.session.send({ is: 'notMine' });
  browser.session.send({ is: 'declineSubmitted', code: CODE, now: browser.now });
  is(await browser.settled(), 'declined');
  assert.equal(link.disputed, true);
});

test('every end has its own words', async () => {
  for (const state of ['expired', 'revoked', 'declined', 'locked', 'retrieved'] as const) {
    const browser = new Browser();
    const link = await browser.put();
    browser.gateway.erase(link, state);
    assert.equal(is(await browser.load(), 'over').how, state);
    const during = new Browser();
    const other = await during.put();
    await during.load();
    during.gateway.erase(other, state);
    assert.equal(is(await during.submit(), 'over').how, state);
  }
  assert.equal(is(await new Browser().load(), 'over').how, 'notFound');
});

test('a lookup that is refused or lost can be tried again', async () => {
  const browser = new Browser();
  await browser.put();
  for (const [body, status, problem] of [
    [{ error: { code: 'not-ready', message: '' } }, 503, 'notReady'],
    [{ error: { code: 'slow-down', message: '', retryAfterMs: 2000 } }, 429, 'slowDown'],
    ['<html>', 502, 'unreachable'],
    [{ odd: true }, 200, 'unexpected'],
  ] as const) {
    browser.refuseNext = { status, body };
    assert.equal(is(await browser.load(), 'trouble').problem.is, problem);
    browser.session.send({ is: 'retry' });
    is(await browser.settled(), 'ask');
  }
});

test('not ready at the claim: nothing is lost, the next press looks first', async () => {
  const browser = new Browser();
  await browser.put();
  await browser.load();
  browser.refuseNext = { status: 503, body: { error: { code: 'not-ready', message: '' } } };
  assert.deepEqual(is(await browser.submit(), 'ask').problem, { is: 'notReady' });
  is(await browser.submit(), 'opened');
  assert.deepEqual(browser.verbs(), ['lookup', 'lookup', 'claim']);
});

test('a record that was altered is not opened', async () => {
  const changes: ((link: Awaited<ReturnType<Browser['put']>>) => void)[] = [
    (link) => (link.binding = { ...link.binding, notAfter: link.binding.notAfter + 1 }),
    (link) => (link.binding = { ...link.binding, kinds: [], kdf: '' }),
    (link) => (link.binding = { ...link.binding, kdf: 'argon2id-8-1-1' }),
    (link) => (link.preview = undefined),
    (link) => (link.preview = link.preview?.map((byte, at) => (at === 9 ? byte ^ 1 : byte))),
  ];
  for (const change of changes) {
    const browser = new Browser();
    const link = await browser.put({ passphrase: 'right' });
    change(link);
    assert.equal(is(await browser.load(), 'over').how, 'altered');
    assert.deepEqual(browser.verbs(), ['lookup']);
  }
});

test('a damaged ciphertext is said, not acknowledged; an unknown check is not started', async () => {
  const browser = new Browser();
  const link = await browser.put();
  await browser.load();
  link.ciphertext?.fill(1, 0, 4);
  assert.equal(is(await browser.submit(), 'over').how, 'unreadable');
  assert.ok(!browser.verbs().includes('acknowledge'));
  const other = new Browser();
  // A gateway that knows no provider.
  await other.put({ kinds: ['oidc'] });
  assert.equal(is(await other.load(), 'over').how, 'unsupported');
});

test('a browser without storage opens, and is told not to reload', async () => {
  const browser = new Browser();
  browser.storage = false;
  await browser.put();
  await browser.load();
  browser.cut = 1;
  assert.equal(is(await browser.submit(), 'opened').kept, false);
});

test('an acknowledgement that is lost can be repeated', async () => {
  const browser = new Browser();
  const link = await browser.put();
  await browser.load();
  await browser.submit();
  browser.cut = 1;
  browser.session.send({ is: 'saved' });
  assert.deepEqual(is(await browser.settled(), 'opened').problem, { is: 'unreachable' });
  assert.equal(link.state, 'retrieved');
  browser.session.send({ is: 'saved' });
  is(await browser.settled(), 'done');
});

test('leaving wipes, and late answers change nothing', async () => {
  const browser = new Browser();
  await browser.put();
  await browser.load();
  browser.session.send({ is: 'submitted', typed: { code: CODE, passphrase: '', emailCode: '' }, now: browser.now });
  browser.session.send({ is: 'left' });
  is(await browser.settled(), 'left');
  const file = { name: 'key.pem', type: 'text/html', data: b64(new Uint8Array([1, 2, 3])) };
  const other = new Browser();
  await other.put({ payload: { v: 1, fields: [], files: [file] } });
  await other.load();
  const { payload } = is(await other.submit(), 'opened');
  const data = payload.files[0]?.data;
  assert.deepEqual(data, new Uint8Array([1, 2, 3]));
  other.session.send({ is: 'left' });
  assert.deepEqual(data, new Uint8Array(3));
});

test('junk from every button and field of a scanner claims and ends nothing', async () => {
  const browser = new Browser();
  const link = await browser.put();
  await browser.load();
  for (let round = 0; round < 200; round++) {
    const code = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => '0123456789ABCDEFGHJKMNPQRSTVWXYZ'[byte & 31]).join('');
    browser.now += 60_000;
    await browser.submit(code, code);
    browser.session.send({ is: 'notMine' });
    browser.session.send({ is: 'declineSubmitted', code, now: browser.now });
    await browser.settled();
    browser.session.send({ is: 'back' });
    browser.session.send({ is: 'saved' });
    browser.session.send({ is: 'retry' });
    await browser.settled();
  }
  assert.equal(link.state, 'open');
});
