// The testbed's own check of its browser: opens a page without a server, clicks, and lets axe look at it.
import assert from 'node:assert/strict';

const PAGE = `<!doctype html><html lang="en"><head><title>Self test</title></head><body><main>
<h1>Self test</h1><button id="b" onclick="document.getElementById('o').textContent='clicked'">Click</button>
<p id="o" role="status">waiting</p></main></body></html>`;

// No language, an image without a text, a button without a name, targets too small to hit: axe has to complain.
const BAD_PAGE = `<!doctype html><html><head><title>Bad</title></head><body><main>
<h1>Bad</h1><img src="data:image/gif;base64,R0lGODlhAQABAAAAACw="><button></button>
<button aria-label="Other words">Visible words</button><div>${'<a href="#" style="display:inline-block;width:9px;height:9px;overflow:hidden">x</a>'.repeat(3)}</div></main></body></html>`;

const url = (html) => `data:text/html;charset=utf-8,${encodeURIComponent(html)}`;

export default async function selftest({ page, args, axe }) {
  await page.goto(url(PAGE));
  await page.getByRole('button', { name: 'Click' }).click();
  const status = await page.getByRole('status').textContent();
  const violations = await axe(page);
  const agent = await page.evaluate(() => navigator.userAgent);
  await page.goto(url(BAD_PAGE));
  const badViolations = await axe(page);
  const ids = badViolations.map(({ id }) => id);
  for (const wanted of ['html-has-lang', 'image-alt', 'button-name', 'target-size', 'label-content-name-mismatch']) assert.ok(ids.includes(wanted), `${wanted}: ${ids}`);
  return { status, violations, badViolations, agent, echo: args.echo };
}
