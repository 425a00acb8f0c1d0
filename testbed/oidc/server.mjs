// The testbed's OpenID provider: oidc-provider, with one confidential client and one person who is always signed in (or, by
// `login_hint`, whoever has that address), and misbehaviour on demand.
//
// Start: node server.mjs, with one JSON line of options on stdin; stdin stays open, and the server ends when it closes.
// It answers with one JSON line on stdout: {issuer, control}. Everything after that is the log, on stderr.
//
// Options: {clientId, clientSecret, redirectUris, authMethod, anyPort}; with `anyPort` a redirect address on loopback may have
// another port than the one that is registered.
//
// Control, HTTP on loopback:
//   POST /behave    replaces the behaviour (all members optional):
//     email, emailVerified   what the account's address is, and what is said of it (absent: not said)
//     claims                 members of the identity token to replace; null removes one
//     sign                   'right' (default), 'otherKey' (under the published key's id), 'unknownKey', 'none', 'hmac'
//     token                  'right', 'hang', 'close', 'garbage', 'huge', or a status
//     discovery              members of the discovery document to replace
//   POST /rotate    publishes a new signing key and signs with it from now on
//   GET  /counts    {discovery, keys, token}: how often each was asked for
import { createHmac } from 'node:crypto';
import http from 'node:http';
import readline from 'node:readline';
import { SignJWT, base64url, exportJWK, generateKeyPair } from 'jose';
import Provider from 'oidc-provider';

const input = readline.createInterface({ input: process.stdin });
const options = JSON.parse(await new Promise((resolve) => input.once('line', resolve)));
input.on('close', () => process.exit(0));

let behaviour = {};
const counts = { discovery: 0, keys: 0, token: 0 };

async function signingKey(kid) {
  const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true });
  const common = { kid, alg: 'RS256', use: 'sig' };
  return { kid, privateKey, jwk: { ...(await exportJWK(privateKey)), ...common }, shown: { ...(await exportJWK(publicKey)), ...common } };
}

let current = await signingKey('first');
const other = await signingKey('first');
const published = [current];

const server = http.createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: options.clientId,
      client_secret: options.clientSecret,
      redirect_uris: options.redirectUris,
      response_types: ['code'],
      grant_types: ['authorization_code'],
      token_endpoint_auth_method: options.authMethod ?? 'client_secret_basic',
      // RFC 8252, section 7.3: only of such a client the port does not count.
      application_type: options.anyPort ? 'native' : 'web',
    },
  ],
  clientAuthMethods: [options.authMethod ?? 'client_secret_basic'],
  jwks: { keys: [current.jwk] },
  cookies: { keys: ['only for tests'] },
  // The address goes into the identity token itself, not only into userinfo.
  conformIdTokenClaims: false,
  claims: { openid: ['sub'], email: ['email', 'email_verified'] },
  features: { devInteractions: { enabled: false } },
  pkce: { required: () => true },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  async findAccount(ctx, id) {
    return {
      accountId: id,
      claims: async () =>
        id.includes('@')
          ? { sub: id, email: id, email_verified: true }
          : { sub: id, email: behaviour.email, email_verified: behaviour.emailVerified },
    };
  },
  ttl: { AccessToken: 60, AuthorizationCode: 60, Grant: 600, IdToken: 600, Interaction: 600, Session: 600 },
});

async function signed(token) {
  const claims = { ...JSON.parse(Buffer.from(base64url.decode(token.split('.')[1])).toString()) };
  for (const [name, value] of Object.entries(behaviour.claims ?? {})) {
    if (value === null) delete claims[name];
    else claims[name] = value;
  }
  const header = (alg, kid) => ({ alg, kid, typ: 'JWT' });
  const part = (value) => base64url.encode(JSON.stringify(value));
  switch (behaviour.sign) {
    case 'none':
      return `${part({ alg: 'none' })}.${part(claims)}.`;
    case 'hmac': {
      // With the public key as the secret: the classic confusion.
      const text = `${part(header('HS256', current.kid))}.${part(claims)}`;
      const mac = createHmac('sha256', JSON.stringify(current.shown)).update(text).digest();
      return `${text}.${base64url.encode(mac)}`;
    }
    case 'otherKey':
      return new SignJWT(claims).setProtectedHeader(header('RS256', current.kid)).sign(other.privateKey);
    case 'unknownKey':
      return new SignJWT(claims).setProtectedHeader(header('RS256', 'nobody')).sign(other.privateKey);
    default:
      return new SignJWT(claims).setProtectedHeader(header('RS256', current.kid)).sign(current.privateKey);
  }
}

provider.use(async (ctx, next) => {
  const path = ctx.path;
  if (path.startsWith('/interaction/')) {
    const details = await provider.interactionDetails(ctx.req, ctx.res);
    const accountId = details.params.login_hint ?? 'the-person';
    const grant = details.grantId
      ? await provider.Grant.find(details.grantId)
      : new provider.Grant({ accountId, clientId: details.params.client_id });
    grant.addOIDCScope('openid email');
    const result = { login: { accountId }, consent: { grantId: await grant.save() } };
    ctx.respond = false;
    await provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: true });
    return;
  }
  if (path === '/token') {
    counts.token += 1;
    const how = behaviour.token ?? 'right';
    if (how === 'hang') return new Promise(() => {});
    if (how === 'close') return ctx.req.socket.destroy();
    if (how === 'garbage') return void (ctx.body = 'no answer at all');
    if (how === 'huge') return void (ctx.body = 'x'.repeat(1024 * 1024));
    if (typeof how === 'number') return void ((ctx.status = how), (ctx.body = { error: 'server_error' }));
  }
  await next();
  if (path === '/token' && ctx.body?.id_token) ctx.body = { ...ctx.body, id_token: await signed(ctx.body.id_token) };
  if (path === '/jwks') {
    counts.keys += 1;
    ctx.body = { keys: published.map((key) => key.shown) };
  }
  if (path === '/.well-known/openid-configuration') {
    counts.discovery += 1;
    ctx.body = { ...ctx.body, ...behaviour.discovery };
  }
});
server.on('request', provider.callback());

const control = http.createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  const answer = (value) => response.end(JSON.stringify(value));
  if (request.url === '/behave') {
    behaviour = JSON.parse(body);
    return answer({});
  }
  if (request.url === '/rotate') {
    current = await signingKey(`key-${published.length}`);
    published.push(current);
    return answer({ kid: current.kid });
  }
  if (request.url === '/counts') return answer(counts);
  response.statusCode = 404;
  answer({});
});
await new Promise((resolve) => control.listen(0, '127.0.0.1', resolve));
process.stdout.write(`${JSON.stringify({ issuer, control: control.address().port })}\n`);
