// Builds web/dist: four files with stable names and the same bytes on every machine.
//   node build.mjs          writes dist/ and prints the sizes
//   node build.mjs --check  builds in memory and fails if dist/ differs
//   node build.mjs --tests  bundles the tests for node:test
import { createHash } from 'node:crypto';
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('.', import.meta.url));
const dist = new URL('dist/', import.meta.url);
/** The most that a first visit may load, gzipped, in bytes: it may fall, not rise. The worker comes only where a passphrase is asked for. */
const LIMIT = 19_500;

const common = { absWorkingDir: root, bundle: true, target: 'es2022', charset: 'utf8', legalComments: 'eof', logLevel: 'warning' };

async function script(entry, format) {
  const { outputFiles } = await build({ ...common, entryPoints: [entry], format, minify: true, write: false });
  return outputFiles[0].contents;
}

async function bundle() {
  const css = await build({ ...common, entryPoints: ['src/style.css'], minify: true, write: false });
  return {
    'app.js': await script('src/main.ts', 'esm'),
    'index.html': await readFile(new URL('src/index.html', import.meta.url)),
    'kdf-worker.js': await script('src/kdf-worker.ts', 'iife'),
    'style.css': css.outputFiles[0].contents,
  };
}

function report(files) {
  let first = 0;
  for (const [name, bytes] of Object.entries(files)) {
    const gz = gzipSync(bytes, { level: 9 }).length;
    if (name !== 'kdf-worker.js') first += gz;
    const hash = createHash('sha256').update(bytes).digest('hex');
    console.log(`${name.padEnd(14)} ${String(bytes.length).padStart(6)} B  ${String(gz).padStart(6)} B gz  sha256 ${hash}`);
  }
  console.log(`first visit    ${first} B gz of at most ${LIMIT} (the worker is loaded only for a passphrase)`);
  if (first > LIMIT) throw new Error('the page is heavier than it may be');
}

async function check(files) {
  const found = (await readdir(dist).catch(() => [])).sort();
  const wanted = Object.keys(files).sort();
  if (found.join() !== wanted.join()) throw new Error(`web/dist holds ${found.join(', ') || 'nothing'}, wanted ${wanted.join(', ')}: run npm run build`);
  for (const name of wanted) {
    if (!Buffer.from(files[name]).equals(await readFile(new URL(name, dist)))) throw new Error(`web/dist/${name} is not what the sources give: run npm run build`);
  }
  console.log('web/dist is what the sources give');
}

if (process.argv.includes('--tests')) {
  const out = 'node_modules/.cache/web-test';
  await rm(new URL(out, import.meta.url), { recursive: true, force: true });
  const tests = (await readdir(new URL('test/', import.meta.url))).filter((name) => name.endsWith('.test.ts')).sort();
  await build({ ...common, entryPoints: tests.map((name) => 'test/' + name), format: 'esm', platform: 'node', sourcemap: 'inline', outdir: out, outExtension: { '.js': '.mjs' } });
} else {
  const files = await bundle();
  report(files);
  if (process.argv.includes('--check')) {
    await check(files);
  } else {
    await rm(dist, { recursive: true, force: true });
    await mkdir(dist);
    for (const [name, bytes] of Object.entries(files)) await writeFile(new URL(name, dist), bytes);
  }
}
