// Runs one scenario in a fresh Chromium.
//
// Start: node run.mjs SCENARIO.mjs, with one JSON document on stdin: {args, userDataDir, executable, screenshot}.
// A scenario is `export default async ({page, context, args, axe, log}) => result`; `axe(page)` gives the list of
// accessibility violations. It answers with one JSON document on stdout:
//   {ok, result | error, console, pageErrors, requests}, where requests are {method, url, status}
// and everything that the scenario prints goes to stderr.
import { pathToFileURL } from 'node:url';
import { AxeBuilder } from '@axe-core/playwright';
import { chromium } from 'playwright-core';

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

console.log = console.info = console.error;

let text = '';
for await (const part of process.stdin) text += part;
const { args, userDataDir, executable, screenshot } = JSON.parse(text);
const { default: scenario, options = {} } = await import(pathToFileURL(process.argv[2]));

const report = { console: [], pageErrors: [], requests: [] };
const context = await chromium.launchPersistentContext(userDataDir, {
  executablePath: executable,
  headless: true,
  chromiumSandbox: process.getuid() !== 0, // Chromium refuses its sandbox to root
  args: FLAGS,
  ...options,
  ...args?.contextOptions,
});
context.on('console', (message) => report.console.push({ type: message.type(), text: message.text() }));
context.on('weberror', (error) => report.pageErrors.push(String(error.error())));
context.on('requestfinished', async (request) => {
  const entry = { method: request.method(), url: request.url(), status: null };
  report.requests.push(entry);
  entry.status = (await request.response().catch(() => null))?.status() ?? null;
});
context.on('requestfailed', (request) =>
  report.requests.push({ method: request.method(), url: request.url(), status: null }));

const page = context.pages()[0] ?? (await context.newPage());
const axe = async (target = page) => {
  const { violations } = await new AxeBuilder({ page: target }).analyze();
  return violations.map(({ id, impact, help, nodes }) => ({ id, impact, help, targets: nodes.map((n) => n.target.join(' ')) }));
};
try {
  report.result = (await scenario({ page, context, args, axe, log: console.error })) ?? null;
  report.ok = true;
} catch (error) {
  report.ok = false;
  report.error = String(error?.stack ?? error);
  const last = context.pages().at(-1);
  if (screenshot) await last?.screenshot({ path: screenshot, timeout: 5_000 }).catch(() => undefined);
}
await context.close().catch(() => undefined);
process.stdout.write(JSON.stringify(report), () => process.exit(report.ok ? 0 : 1));
