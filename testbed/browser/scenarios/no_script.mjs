// Somebody whose browser runs no scripts: what the page says. args: {link}.
import assert from 'node:assert/strict';

export default async function noScript({ page, context, args, inspect }) {
  const devtools = await context.newCDPSession(page);
  const switchedOff = (value) => devtools.send('Emulation.setScriptExecutionDisabled', { value });
  const read = async () => {
    await page.goto('about:blank');
    await page.goto(args.link);
    return { text: await page.locator('main').innerText(), title: await page.title(), fields: await page.locator('input').count() };
  };
  await switchedOff(true);
  const said = await read();
  // axe is a script: for it the same page has none of its own, and shows as usual what others show only without.
  await switchedOff(false);
  await page.route(args.link.split('#')[0], async (route) => {
    const html = await (await route.fetch()).text();
    const body = html.replace(/<script[^]*?<\/script>/g, '').replace(/<(\/?)noscript>/g, '<$1div>').replaceAll('(scripting:none)', 'all').replaceAll('(scripting: none)', 'all');
    await route.fulfill({ contentType: 'text/html; charset=utf-8', body });
  });
  assert.deepEqual(await read(), said);
  await inspect('without scripts');
  return said;
}
