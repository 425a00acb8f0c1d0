// Builds web/dist: files with stable names and the same bytes on every machine.
//   node build.mjs          writes dist/, dist.sha256 and the table in the docs, and prints the sizes
//   node build.mjs --check  builds in memory and fails if one of them differs
//   node build.mjs --tests  bundles the tests for node:test
import { createHash } from 'node:crypto';
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { minify } from 'terser';

const root = fileURLToPath(new URL('.', import.meta.url));
const at = (name) => new URL(name, import.meta.url);
const dist = at('dist/');
/** What `password-sender page` was built with, in the form of `sha256sum`. */
const SUMS = at('dist.sha256');
const DOCS = at('../docs/page-hashes.md');
/** The most that may be loaded until something can be typed, gzipped, in bytes: the page, its script, and the visitor's language. */
const LIMIT = 15_000;
const FIRST = ['index.html', 'app.js'];
/** The same for a link that asks for a passphrase, whose form waits for the cipher. It may fall, not rise. */
const PASSPHRASE_LIMIT = 19_600;
const PASSPHRASE = [...FIRST, 'seal.js'];

const common = { absWorkingDir: root, bundle: true, target: 'es2022', charset: 'utf8', legalComments: 'none', logLevel: 'warning' };

/** Texts that belong to what is loaded later: opened secrets, e-mailed codes and sign-ins, ends. */
const LATER = /^(secret|clip|check|done|emailCode|decline|declined|over)\.|^problem\.(badEmailCode|wrongEmailCode|usedUp|codeExpired|notSent|noMail|signIn)/;
/** Texts whose names are put together in the sources, and so stay. */
const NAMED = /^(over|problem|noLink)\.|\.(label|hint)$/;
const english = JSON.parse(await readFile(at('src/i18n/en.json'), 'utf8'));
/** The names of the other texts, short. */
const short = Object.fromEntries(Object.keys(english).map((key, i) => [key, NAMED.test(key) ? key : i.toString(36)]));

/** The sources with short names of texts, and without what only a developer reads: every visitor loads them. */
const shorten = {
  name: 'shorten',
  setup(build) {
    build.onLoad({ filter: /\.css$/ }, async ({ path }) => ({ loader: 'text', contents: await css(path) }));
    build.onLoad({ filter: /web[/\\]src[/\\].*\.ts$/ }, async ({ path }) => ({
      loader: 'ts',
      contents: (await readFile(path, 'utf8')).replace(/'([a-z]\w*\.[\w.]+)'/g, (whole, key) => (short[key] ? `'${short[key]}'` : whole)).replace(/new FormError\(([\w ]+\+ )?'[^']*'\)/g, "new FormError('')"),
    }));
  },
};

async function css(entry) {
  const { outputFiles } = await build({ ...common, entryPoints: [entry], minify: true, write: false });
  return outputFiles[0].text.trim();
}

async function script(entry, format) {
  const { outputFiles } = await build({ ...common, entryPoints: [entry], format, minify: true, write: false, plugins: [shorten] });
  // A second pass over the whole: what is small is loaded before the patience is gone.
  const { code } = await minify(outputFiles[0].text, { module: format === 'esm', ecma: 2020, compress: { passes: 3, pure_getters: true, unsafe_arrows: true }, format: { comments: false } });
  return Buffer.from(code + '\n');
}

async function bundle() {
  const style = await css('src/style.css');
  const index = await readFile(at('src/index.html'), 'utf8');
  const files = {
    'app.js': await script('src/main.ts', 'esm'),
    'checks.js': await script('src/checks.ts', 'esm'),
    // In the page, so that it is painted with its first byte. The gateway puts the style's hash into the policy.
    'index.html': Buffer.from(index.replace('<style></style>', () => `<style>${style}</style>`)),
    'kdf-worker.js': await script('src/kdf-worker.ts', 'iife'),
    'qr.js': await script('src/qr.ts', 'esm'),
    'seal.js': await script('src/seal.ts', 'esm'),
    'secret.js': await script('src/secret.ts', 'esm'),
  };
  for (const name of (await readdir(at('src/i18n/'))).filter((one) => one.endsWith('.json'))) {
    const texts = Object.entries(JSON.parse(await readFile(at('src/i18n/' + name), 'utf8')));
    const part = (later) => Buffer.from(JSON.stringify(Object.fromEntries(texts.filter(([key]) => LATER.test(key) === later).map(([key, text]) => [short[key], text]))) + '\n');
    files[name] = part(false);
    files[name.replace('.json', '-later.json')] = part(true);
  }
  return Object.fromEntries(Object.entries(files).sort());
}

const size = (bytes) => gzipSync(bytes, { level: 9 }).length;
const sum = (bytes) => createHash('sha256').update(bytes).digest('hex');

function report(files) {
  for (const [name, bytes] of Object.entries(files)) console.log(`${name.padEnd(14)} ${String(bytes.length).padStart(6)} B ${String(size(bytes)).padStart(6)} B gz`);
  const languages = Object.keys(files).filter((name) => /^..\.json$/.test(name));
  const within = (what, names, limit) => {
    const all = languages.map((name) => [name.slice(0, 2), [...names, name].reduce((sum, one) => sum + size(files[one]), 0)]).sort((a, b) => b[1] - a[1]);
    console.log(`until something can be typed${what}, gzipped, of at most ${limit} B: ${all.map((one) => one.join(' ')).join(', ')}`);
    if (all[0][1] > limit) throw new Error('the page is heavier than it may be');
  };
  within('', FIRST, LIMIT);
  within(', with a passphrase', PASSPHRASE, PASSPHRASE_LIMIT);
}

function sums(files) {
  return Object.entries(files).map(([name, bytes]) => `${sum(bytes)}  ${name}\n`).join('');
}

/** The docs with the hashes of these files between the marks. */
async function docs(files) {
  const text = await readFile(DOCS, 'utf8');
  const marked = /(<!-- hashes -->\n)[^]*?(<!-- end -->)/;
  if (!marked.test(text)) throw new Error('docs/page-hashes.md has no place for the hashes');
  return text.replace(marked, (_, before, after) => `${before}\`\`\`\n${sums(files)}\`\`\`\n${after}`);
}

async function check(files) {
  const found = (await readdir(dist).catch(() => [])).sort();
  const wanted = Object.keys(files).sort();
  if (found.join() !== wanted.join()) throw new Error(`web/dist holds ${found.join(', ') || 'nothing'}, wanted ${wanted.join(', ')}: run npm run build`);
  for (const name of wanted) {
    if (!files[name].equals(await readFile(new URL(name, dist)))) throw new Error(`web/dist/${name} is not what the sources give: run npm run build`);
  }
  for (const [url, text] of [[SUMS, sums(files)], [DOCS, await docs(files)]]) {
    if ((await readFile(url, 'utf8')) !== text) throw new Error(`${url.pathname.split('/').slice(-2).join('/')} has other hashes than web/dist: run npm run build`);
  }
  console.log('web/dist and its hashes are what the sources give');
}

if (process.argv.includes('--tests')) {
  const out = 'node_modules/.cache/web-test';
  await rm(at(out), { recursive: true, force: true });
  const tests = (await readdir(at('test/'))).filter((name) => name.endsWith('.test.ts')).sort();
  await build({ ...common, entryPoints: tests.map((name) => 'test/' + name), format: 'esm', platform: 'node', sourcemap: 'inline', outdir: out, loader: { '.css': 'text' }, outExtension: { '.js': '.mjs' } });
} else {
  const files = await bundle();
  report(files);
  if (process.argv.includes('--check')) {
    await check(files);
  } else {
    await rm(dist, { recursive: true, force: true });
    await mkdir(dist);
    for (const [name, bytes] of Object.entries(files)) await writeFile(new URL(name, dist), bytes);
    await writeFile(SUMS, sums(files));
    await writeFile(DOCS, await docs(files));
  }
}
