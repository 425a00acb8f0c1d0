// Runs one scenario in a fresh Chromium.
//
// Start: node run.mjs SCENARIO.mjs, with one JSON document on stdin: {args, screen, userDataDir, executable, screenshot}.
// A scenario is `export default async ({page, context, args, axe, log, …}) => result`; `axe(page)` gives the list of
// accessibility violations, and the rest is for one screen (`screen.mjs`). It answers with one JSON document on stdout:
//   {ok, result | error, console, pageErrors, requests}, where requests are {method, url, status}
// and everything that the scenario prints goes to stderr.
import { pathToFileURL } from 'node:url';
import { AxeBuilder } from '@axe-core/playwright';
import { chromium } from 'playwright-core';
import { SCREENS, onScreen } from './screen.mjs';

// Without these Chromium looks for updates and more on the internet; a test must not depend on it, nor tell it anything.
const FLAGS = [
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-quic',
  '--no-first-run',
  '--disable-dev-shm-usage',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
];

// Rules of WCAG that axe leaves out unless asked for. What it runs by itself stays.
const RULES = Object.fromEntries(['target-size', 'label-content-name-mismatch', 'css-orientation-lock'].map((id) => [id, { enabled: true }]));
/** What the rules that ran must cover. */
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];

console.log = console.info = console.error;

let text = '';
for await (const part of process.stdin) text += part;
const { args, screen, userDataDir, executable, screenshot } = JSON.parse(text);
const { default: scenario, options = {} } = await import(pathToFileURL(process.argv[2]));

const report = { console: [], pageErrors: [], requests: [] };
const context = await chromium.launchPersistentContext(userDataDir, {
  executablePath: executable,
  headless: true,
  chromiumSandbox: process.getuid() !== 0, // Chromium refuses its sandbox to root
  args: FLAGS,
  ...SCREENS[screen],
  ...options,
  ...args?.contextOptions,
});
context.on('console', (message) => report.console.push({ type: message.type(), text: message.text() }));
context.on('weberror', (error) => report.pageErrors.push(String(error.error())));
context.on('requestfinished', async (request) => {
  const entry = { method: request.method(), url: request.url(), status: null };
  report.requests.push(entry);
  entry.status = (await request.response().catch(() => null))?.status() ?? null;
  // A token in the address of a page must go no further.
  const { referer = '' } = await request.allHeaders().catch(() => ({}));
  if (/ps1(\.|%)/i.test(referer)) report.pageErrors.push(`a request for ${new URL(request.url()).host} carries a link as its Referer`);
});
context.on('requestfailed', (request) =>
  report.requests.push({ method: request.method(), url: request.url(), status: null }));

const page = context.pages()[0] ?? (await context.newPage());
const axe = async (target = page) => {
  // The legacy mode leaves out frames of other origins, of which the page has none, and opens no tab of its own each time.
  const { violations, passes, incomplete, inapplicable } = await new AxeBuilder({ page: target }).setLegacyMode().options({ rules: RULES }).analyze();
  const tags = new Set([violations, passes, incomplete, inapplicable].flat().flatMap((rule) => rule.tags));
  const idle = TAGS.filter((tag) => !tags.has(tag));
  if (idle.length > 0) throw new Error(`axe has no rule for ${idle.join()}`);
  return violations.map(({ id, impact, help, nodes }) => ({ id, impact, help, targets: nodes.map((n) => n.target.join(' ')) }));
};
// Argon2id takes a while where two cores are shared.
page.setDefaultTimeout(50_000);
const tools = onScreen({ page, screen, axe });
/** What was wrong in states that were looked at: often it is why a scenario could not go on. */
const wrong = () => Object.entries(tools.seen.violations).map(([state, found]) => `in state ${state}: ${JSON.stringify(found)}\n`).join('');
try {
  report.result = (await scenario({ page, context, args, axe, log: console.error, ...tools })) ?? null;
  if (wrong()) throw new Error('the page is not as it should be');
  report.ok = true;
} catch (error) {
  report.ok = false;
  report.error = wrong() + String(error?.stack ?? error);
  const last = context.pages().at(-1);
  if (screenshot) await last?.screenshot({ path: screenshot, timeout: 5_000 }).catch(() => undefined);
}
await context.close().catch(() => undefined);
process.stdout.write(JSON.stringify(report), () => process.exit(report.ok ? 0 : 1));
