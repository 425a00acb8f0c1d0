// Walks through every state of the page in Chromium: `dev/states.mjs`, run as the tests run it, on each screen.
// Needs /usr/bin/chromium and the packages of testbed/browser.
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const path = (name) => fileURLToPath(new URL(name, import.meta.url));
for (const screen of ['desktop', 'phone']) {
  const userDataDir = await mkdtemp(join(tmpdir(), 'page-'));
  const child = spawn('node', [path('../../testbed/browser/run.mjs'), path('states.mjs')], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(JSON.stringify({ args: {}, screen, userDataDir, executable: '/usr/bin/chromium', screenshot: path('../../target/web-shots/failed.png') }));
  let text = '';
  for await (const part of child.stdout) text += part;
  await rm(userDataDir, { recursive: true, force: true });
  const { ok, error } = JSON.parse(text);
  if (!ok) {
    console.error(error);
    process.exit(1);
  }
}
