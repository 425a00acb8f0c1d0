// Serves dist/ on 127.0.0.1 with the gateway's headers and the tests' gateway behind it. For looking at the page, never for use.
//   node dev/serve.mjs   prints links to open
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { readFile, readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const dist = new URL('../dist/', import.meta.url);
const type = (name) => (name.endsWith('.js') ? 'text/javascript' : name.endsWith('.json') ? 'application/json' : 'text/html; charset=utf-8');
/** The gateway's policy, with the hash of the style in the page. */
const policy = (index) =>
  `default-src 'none'; script-src 'self'; style-src 'sha256-${createHash('sha256').update(/<style>([^]*)<\/style>/.exec(index)[1]).digest('base64')}'; connect-src 'self'; img-src 'self'; worker-src 'self'; ` +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types ps";

/** A module of the sources, bundled. */
export async function load(entry) {
  const { outputFiles } = await build({ entryPoints: [fileURLToPath(new URL(entry, import.meta.url))], bundle: true, format: 'esm', platform: 'node', write: false });
  return import('data:text/javascript;base64,' + Buffer.from(outputFiles[0].contents).toString('base64'));
}

/** `brand`: what `page.json` says, `logo`: a picture of it. */
export async function serve({ brand = {}, logo } = {}) {
  const names = await readdir(dist);
  const csp = policy(await readFile(new URL('index.html', dist), 'utf8'));
  const { Gateway } = await load('../test/gateway.ts');
  const gateway = new Gateway(() => Date.now());
  const server = createServer(async (request, response) => {
    const name = new URL(request.url, 'http://x').pathname.split('/').at(-1);
    response.setHeader('cache-control', 'no-store');
    if (request.method === 'POST') {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      const { status, body } = await gateway.answer(name, JSON.parse(Buffer.concat(chunks).toString()));
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
      return;
    }
    // A sign-in that lets everybody in, or sends everybody back.
    if (name === 'authorize') {
      const asked = new URL(request.url, 'http://x').searchParams;
      const back = new URL(asked.get('redirect_uri'));
      gateway.asked.push({ verb: 'authorize', body: Object.fromEntries(asked) });
      back.searchParams.set('state', asked.get('state'));
      back.searchParams.set(...(gateway.turnsBack ? ['error', 'access_denied'] : ['code', 'authorization-code']));
      return void response.writeHead(302, { location: back.href }).end();
    }
    if (name === 'favicon.ico') return void response.writeHead(204).end();
    response.setHeader('content-security-policy', csp);
    response.setHeader('referrer-policy', 'no-referrer');
    if (name === 'page.json') return void response.setHeader('content-type', 'application/json').end(JSON.stringify(brand));
    if (name === 'logo' && logo) return void response.setHeader('content-type', 'image/svg+xml').end(logo);
    // The page is the same for every address.
    const file = names.includes(name) ? name : 'index.html';
    response.setHeader('content-type', type(file));
    response.end(await readFile(new URL(file, dist)));
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const base = `http://127.0.0.1:${server.address().port}/`;
  gateway.provider = { authorizationEndpoint: base + 'authorize', clientId: 'password-sender', scope: 'openid email' };
  const put = async (recipe = {}) => {
    const secret = crypto.getRandomValues(new Uint8Array(32));
    const link = await gateway.put({ secret, payload: SAMPLE, now: Date.now(), ...recipe });
    return { link, token: 'ps1.' + Buffer.from(secret).toString('base64url') };
  };
  return { base, gateway, put, close: () => server.close() };
}

export const SAMPLE = {
  v: 1,
  title: 'Production database',
  purpose: 'Nightly report',
  environment: 'production',
  url: 'https://wiki.example.com/db',
  note: 'Connect through the bastion.\nAsk before long queries.',
  sender: 'Platform team <platform@example.com>',
  worksForMs: 3_600_000,
  fields: [
    { key: 'user', label: 'Username', kind: 'text', value: 'report_reader' },
    { key: 'pass', label: 'Password', kind: 'password', value: 'k7#Vq9!mZp2$Lx8@Wn4^Tb6&' },
    { key: 'host', label: 'Address', kind: 'url', value: 'https://db.example.com:5432/' },
    { key: 'ca', label: 'Connection settings', kind: 'multiline', value: 'sslmode=verify-full\nsslrootcert=ca.pem\nconnect_timeout=10' },
    { key: 'ssh', label: 'Bastion key', kind: 'sshKey', value: '-----BEGIN OPENSSH PRIVATE KEY-----\n' + 'b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZWQy\n'.repeat(4) + '-----END OPENSSH PRIVATE KEY-----\n' },
    { key: 'otp', label: 'One-time codes', kind: 'totp', value: 'JBSWY3DPEHPK3PXP' },
    { key: 'evil', label: '<img src=x onerror=alert(1)>', kind: 'url', value: 'javascript:alert(1)' },
  ],
  files: [{ name: 'ca.pem', type: 'text/plain', data: Buffer.from('not a certificate').toString('base64url') }],
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { base, put } = await serve();
  console.log('opening code  ', base + '#' + (await put({ preview: { v: 1, title: SAMPLE.title, sender: SAMPLE.sender } })).token, '  7K3M-9QZB');
  console.log('passphrase    ', base + '#' + (await put({ passphrase: 'horse' })).token, '  horse');
  console.log('mangled       ', base + '%2523' + (await put()).token, '  7K3M-9QZB');
}
