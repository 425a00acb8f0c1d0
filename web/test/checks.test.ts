/** E-mailed codes and sign-ins, in every combination: what is typed once, what is kept, what a gateway can't pass over. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { b64, concat, unb64, utf8 } from '../src/protocol/bytes.ts';
import { linkKeys, sha256 } from '../src/protocol/derive.ts';
import { SIGN_IN } from '../src/desk.ts';
import { Browser, CODE, is } from './browser.ts';

const PROVIDER = { authorizationEndpoint: 'https://login.example/authorize?tenant=1', clientId: 'ps', scope: 'openid email' };

/** Has a code mailed, and gives it as the mail shows it. */
async function mailed(browser: Browser, link: Awaited<ReturnType<Browser['put']>>): Promise<string> {
  is(await browser.submit(), 'check');
  const code = link.verification?.mailed ?? '';
  return code.slice(0, 4) + '-' + code.slice(4);
}

test('an e-mailed code: asked for, typed, opened', async () => {
  const browser = new Browser();
  const link = await browser.put({ kinds: ['emailCode'] });
  const first = is(await browser.load(), 'check');
  assert.deepEqual([first.stage, first.needs], ['mail', ['code']]);
  assert.deepEqual(browser.verbs(), ['lookup'], 'nothing is mailed by itself');
  const code = await mailed(browser, link);
  const second = is(browser.session.state, 'check');
  assert.deepEqual([second.stage, second.needs], ['emailCode', ['emailCode']]);
  const opened = is(await browser.submit('', '', code), 'opened');
  assert.equal(opened.payload.fields[1]?.value, 'hunter2');
  assert.deepEqual(browser.verbs(), ['lookup', 'code', 'code', 'claim']);
  assert.equal(browser.gateway.asked.at(-1)?.body.openingCode, CODE.replace('-', ''));
  assert.deepEqual([...browser.tab.values()], [], 'the code is kept until the link is opened, and no longer');
});

test('nothing is typed twice after a reload', async () => {
  const browser = new Browser();
  const link = await browser.put({ kinds: ['passphrase', 'emailCode'], passphrase: 'horse' });
  await browser.load();
  const code = await mailed(browser, link);
  const again = is(await browser.load(), 'check');
  assert.deepEqual([again.stage, again.needs], ['emailCode', ['emailCode']]);
  const ask = is(await browser.submit('', '', code), 'ask');
  assert.deepEqual(ask.needs, ['passphrase']);
  assert.deepEqual(is(await browser.load(), 'ask').needs, ['passphrase'], 'the gateway knows that this token has passed');
  is(await browser.submit('', 'horse'), 'opened');
});

test('wrong codes, used up, expired, not sent: each is said, and another mail can be had while there is one', async () => {
  const browser = new Browser();
  const link = await browser.put({ kinds: ['emailCode'] });
  await browser.load();
  await mailed(browser, link);
  assert.deepEqual(is(await browser.submit('', '', '1234'), 'check').problem, { is: 'badEmailCode' });
  assert.equal(is(await browser.submit('', '', '00000000'), 'check').problem?.is, 'wrongEmailCode');
  for (let n = 0; n < 4; n++) await browser.submit('', '', '00000000');
  const used = is(browser.session.state, 'check');
  assert.deepEqual([used.stage, used.problem], ['mail', { is: 'usedUp' }]);
  is(await browser.submit(), 'check');
  const v = link.verification!;
  for (const [status, problem] of [['expired', 'codeExpired'], ['notSent', 'notSent']] as const) {
    v.emailCode = status;
    browser.session.send({ is: 'mailAgain', code: '', now: browser.now });
    v.emailCode = status;
    await browser.settled();
    v.emailCode = status;
    assert.equal(is(await browser.load(), 'check').stage, 'mail', problem);
  }
  v.mails = 3;
  v.emailCode = 'usedUp';
  const over = is(await browser.submit(), 'check');
  assert.deepEqual(over.problem, { is: 'noMail' });
});

test('an answer that is still to come is waited for', async () => {
  const browser = new Browser();
  const link = await browser.put({ kinds: ['emailCode'] });
  await browser.load();
  const code = await mailed(browser, link);
  link.verification!.pending = 2;
  is(await browser.submit('', '', code), 'opened');
  assert.deepEqual(browser.waits, [700, 700]);
  const steps = browser.gateway.asked.filter((one) => one.verb === 'code').map((one) => one.body.step);
  assert.deepEqual(steps, ['mail', 'code', 'status', 'status']);
});

test('a sign-in: PKCE, a nonce of link and token, and S kept only until the answer', async () => {
  const browser = new Browser();
  await browser.put({ kinds: ['oidc'] });
  browser.gateway.provider = PROVIDER;
  assert.deepEqual(is(await browser.load(), 'check').stage, 'signIn');
  await browser.submit();
  const url = new URL(browser.gone[0] ?? '');
  assert.equal(url.origin + url.pathname, 'https://login.example/authorize');
  assert.equal(url.searchParams.get('tenant'), '1');
  assert.equal(url.searchParams.get('redirect_uri'), 'https://links.example/');
  const kept = JSON.parse(browser.tab.get(SIGN_IN) ?? '') as Record<string, string>;
  assert.equal(kept.secret, b64(browser.secret));
  assert.ok(!url.href.includes(b64(browser.secret)));
  assert.equal(url.searchParams.get('state'), kept.state);
  assert.equal(url.searchParams.get('code_challenge'), b64(await sha256(utf8(kept.verifier ?? ''))));
  const { id } = await linkKeys(browser.secret);
  const token = unb64([...browser.shelf.values()][0] ?? '');
  assert.equal(url.searchParams.get('nonce'), b64(await sha256(concat(id, await sha256(token)))));

  // Back, with the answer. Coming back opens nothing: a press does.
  browser.arrival = { signIn: { authorizationCode: 'abc', verifier: kept.verifier ?? '' } };
  assert.deepEqual(is(await browser.load(), 'ask').needs, []);
  const sent = browser.gateway.asked.at(-1)?.body;
  assert.deepEqual([sent?.step, sent?.authorizationCode, sent?.verifier, sent?.openingCode], ['oidc', 'abc', kept.verifier, CODE.replace('-', '')]);
  browser.arrival = {};
  is(await browser.submit(''), 'opened');
});

test('a sign-in that does not succeed says why, and can be begun anew', async () => {
  for (const [reason, problem] of [['signIn', 'signIn'], ['email', 'signInEmail'], ['unverified', 'signInUnverified'], ['provider', 'signInProvider'], ['tooMany', 'signInTooMany'], ['new', 'signIn']] as const) {
    const browser = new Browser();
    await browser.put({ kinds: ['oidc'] });
    browser.gateway.provider = PROVIDER;
    await browser.load();
    await browser.submit();
    browser.gateway.signIn = reason;
    browser.arrival = { signIn: { authorizationCode: 'abc', verifier: 'v'.repeat(43) } };
    const state = is(await browser.load(), 'check');
    assert.deepEqual([state.stage, state.problem, state.needs], ['signIn', { is: problem }, []]);
  }
  const browser = new Browser();
  await browser.put({ kinds: ['oidc'] });
  browser.gateway.provider = PROVIDER;
  browser.arrival = { signIn: 'refused' };
  assert.deepEqual(is(await browser.load(), 'check').problem, { is: 'signIn' });
  assert.ok(!browser.verbs().includes('code'), 'nothing is sent');
});

test('nobody is sent to an address that is not the web’s', async () => {
  for (const authorizationEndpoint of ['javascript:alert(1)', 'http://login.example/', 'data:text/html,x', '', '/authorize']) {
    const browser = new Browser();
    await browser.put({ kinds: ['oidc'] });
    browser.gateway.provider = { ...PROVIDER, authorizationEndpoint };
    assert.equal(is(await browser.load(), 'over').how, 'unsupported', authorizationEndpoint);
  }
});

test('all three: one after the other, and a claim without them is refused', async () => {
  const browser = new Browser();
  const link = await browser.put({ kinds: ['passphrase', 'emailCode', 'oidc'], passphrase: 'horse' });
  browser.gateway.provider = PROVIDER;
  await browser.load();
  const code = await mailed(browser, link);
  const third = is(await browser.submit('', '', code), 'check');
  assert.deepEqual([third.stage, third.needs], ['signIn', []]);
  await browser.submit('');
  browser.arrival = { signIn: { authorizationCode: 'abc', verifier: 'v'.repeat(43) } };
  assert.deepEqual(is(await browser.load(), 'ask').needs, ['passphrase']);
  browser.arrival = {};
  // Another token has passed since: the checks begin anew, and nothing is lost.
  link.verification!.emailCodeBy = 'another';
  const anew = is(await browser.submit('', 'horse'), 'check');
  assert.equal(anew.stage, 'mail');
  assert.equal(link.state, 'open');
});

test('what shows a secret must be there before it is claimed', async () => {
  const browser = new Browser();
  const link = await browser.put();
  browser.noFace = true;
  await browser.load();
  const failed = is(await browser.submit(), 'ask');
  assert.deepEqual([failed.problem, link.state, browser.verbs().includes('claim')], [{ is: 'unreachable' }, 'open', false]);
  browser.noFace = false;
  is(await browser.submit(), 'opened');
  const other = new Browser();
  await other.put();
  other.noSeal = true;
  assert.deepEqual(is(await other.load(), 'trouble').problem, { is: 'unreachable' });
});

test('that a link was exposed is told with every step that takes a code, and with no other', async () => {
  const browser = new Browser();
  const link = await browser.put({ kinds: ['emailCode'] });
  browser.arrival = { exposed: true };
  assert.equal(is(await browser.load(), 'check').info.exposed, true);
  browser.arrival = {};
  await browser.load();
  const code = await mailed(browser, link);
  link.verification!.pending = 1;
  is(await browser.submit('', '', code), 'opened');
  const told = browser.gateway.asked.filter((one) => one.body.exposed !== undefined).map((one) => one.body.step ?? one.verb);
  assert.deepEqual(told, ['mail', 'code', 'claim'], 'also after a reload');
  assert.equal(link.exposed, true);
});

test('time and other tabs: a quiet look, which gets in nobody’s way', async () => {
  const browser = new Browser();
  const link = await browser.put({ ttl: 1000 });
  await browser.load();
  browser.gateway.erase(link, 'expired');
  browser.session.send({ is: 'due' });
  assert.equal(is(await browser.settled(), 'over').how, 'expired');

  const tab = new Browser();
  const shared = await tab.put();
  await tab.load();
  tab.session.send({ is: 'stirred' });
  is(await tab.submit(), 'opened');
  assert.equal(tab.verbs().filter((verb) => verb === 'claim').length, 1);
  tab.session.send({ is: 'due' });
  assert.equal(is(await tab.settled(), 'opened').over, true, 'what is on the screen stays');
  // Saved in the other tab.
  tab.gateway.erase(shared, 'retrieved');
  for (const key of tab.shelf.keys()) tab.shelf.set(key, 'done');
  tab.session.send({ is: 'stirred' });
  is(await tab.settled(), 'done');
});
