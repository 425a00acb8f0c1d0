// The scanner lab: everything that mail filters, chat programs and phishing detectors do to a link. Prefetches, floods, unfurlers,
// and a browser that runs scripts, types junk into every field and presses every button, under every mangled form of the link.
// args: {link}. Gives how much was done, and how often a visit came to a form; whoever runs it looks at the link afterwards.
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const AGENTS = [
  'Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)',
  'WhatsApp/2.23.20.0',
  'Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5',
  'facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)',
  'Twitterbot/1.0',
  'Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)',
  'TelegramBot (like TwitterBot)',
  'Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)',
];

/** An opening code without a mistake in it, by chance not the right one. */
function plausibleCode() {
  let check = 0;
  let code = '';
  for (let i = 0; i < 7; i++) {
    const value = Math.floor(Math.random() * 32);
    code += ALPHABET[value];
    const x = check ^ value;
    check = ((x << 1) ^ (x >= 16 ? 0b100101 : 0)) & 31;
  }
  return code + ALPHABET[check];
}

const JUNK = ['test@example.com', 'P@ssw0rd!', '<script>alert(1)</script>', '00000000', "' or 1=1 --", plausibleCode, plausibleCode];

export default async function scannerLab({ page, context, args, log }) {
  const [base, token] = args.link.split('#');
  const manglings = [
    `#${token}`,
    `%23${token}`,
    `%2523${token}`,
    `%252523${token}/`,
    `#${token}.`,
    `#${token})`,
    `#${token}&utm_source=mail`,
    `?utm_source=mail#${token}`,
    `?url=${encodeURIComponent(args.link)}`,
    `safe/${encodeURIComponent(encodeURIComponent(args.link))}`,
    `#${token.slice(0, 20)}%0D%0A${token.slice(20)}`,
    `#${token.slice(0, 20)}=%0A${token.slice(20)}`,
    `#${token.slice(0, 30)}`,
    `#${token.toLowerCase()}`,
  ];
  let fetched = 0;
  const pages = new Set();
  const fetchOne = async (address, options) => {
    const answer = await context.request.fetch(address, { failOnStatusCode: false, maxRedirects: 0, ...options });
    if (options.method === 'GET' && answer.status() === 200) pages.add(await answer.text());
    await answer.dispose();
    fetched += 1;
  };

  // Who only fetches: the fragment never leaves, so most see the bare page, some the token in the path.
  const addresses = [base, ...manglings.map((one) => base + one.split('#')[0])];
  for (const address of addresses) {
    for (const headers of [{ purpose: 'prefetch' }, { 'sec-purpose': 'prefetch;prerender' }, { range: 'bytes=0-1023' }]) await fetchOne(address, { method: 'GET', headers });
    for (const agent of AGENTS) await fetchOne(address, { method: 'GET', headers: { 'user-agent': agent } });
  }
  for (let wave = 0; wave < 20; wave++) {
    const methods = ['GET', 'HEAD', 'OPTIONS', 'GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'];
    await Promise.all(methods.map((method) => fetchOne(base + (wave % 2 ? '%23' + token : ''), { method })));
  }
  for (const verb of ['lookup', 'code', 'claim', 'acknowledge', 'decline']) {
    for (const method of ['GET', 'HEAD', 'OPTIONS']) await fetchOne(`${base}api/v1/links/${verb}?${token}`, { method });
    for (const data of ['', '{}', `{"link":"${args.link}"}`, `{"id":"${token.slice(4, 26)}","access":"${token.slice(4)}"}`]) {
      await fetchOne(`${base}api/v1/links/${verb}`, { method: 'POST', data, headers: { 'content-type': 'application/json' } });
    }
  }
  log(`${fetched} fetched`);

  // Who runs the page: presses what is there, with nothing and with junk in every field.
  let pressed = 0;
  let forms = 0;
  // Fields can't be written while a claim is under way, which takes a while with a passphrase. Only then the next junk is worth it.
  const settled = () => page.locator('main[data-state]:not([data-state="looking"], [data-state="ask:early"], :has(input:read-only))').waitFor({ timeout: 60_000 });
  for (const mangled of manglings) {
    await page.goto('about:blank');
    await page.goto(base + mangled);
    await settled();
    forms += await page.locator('main[data-state=ask], main[data-state^="check:"]').count();
    for (const junk of ['', ...JUNK]) {
      for (const input of await page.locator('main input').all()) await input.fill(typeof junk === 'function' ? junk() : junk, { timeout: 5_000 }).catch(() => undefined);
      for (const button of await page.locator('main button').all()) {
        // A button of a screen that is gone meanwhile is no loss.
        pressed += await button.click({ timeout: 2_000, force: true }).then(() => 1, () => 0);
        await page.keyboard.press('Enter');
      }
      await page.keyboard.press('Tab');
      await page.keyboard.press('Space');
      await settled();
    }
    await page.goBack().catch(() => undefined);
    await page.goForward().catch(() => undefined);
  }
  return { fetched, pressed, forms, pages: [...pages].filter((text) => text.startsWith('<!doctype html>')).length };
}
