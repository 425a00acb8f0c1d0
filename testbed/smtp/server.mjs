// The testbed's mail server: an SMTP server that stores what it receives and misbehaves on demand.
//
// Start: node server.mjs, with one JSON line of options on stdin (see `Options` below); stdin stays open, and
// the server ends when it closes. It answers with one JSON line on stdout: {smtp, smtps, control}, the ports.
// Everything after that is the log, on stderr.
//
// Options: {user, pass, requireAuth, offerStarttls, maxSize, key, cert} (key and cert are PEM texts).
//
// Control, HTTP on loopback:
//   POST   /faults         one fault, added behind the others (see faults.mjs); answers {id}
//   GET    /faults         those that can still fire, each with `fired`
//   DELETE /faults         all of them, or ?id=N one
//   GET    /mails?to=A     the mails for A (all without `to`); &min=N&timeoutMs=T waits until there are N, or T is over
//   DELETE /mails?to=A     forgets them
//   GET    /events?to=A    what happened: {seq, session, phase, outcome, recipients}
import http from 'node:http';
import readline from 'node:readline';
import { Faults, install } from './faults.mjs';
import { Mailbox } from './mailbox.mjs';
import { SMTPServer } from 'smtp-server';

const input = readline.createInterface({ input: process.stdin });
const options = JSON.parse(await new Promise((resolve) => input.once('line', resolve)));
input.on('close', () => process.exit(0));

const faults = new Faults();
const mailbox = new Mailbox();
install(faults);

function smtpServer(secure) {
  const server = new SMTPServer({
    secure,
    name: 'mail.testbed.example',
    key: options.key,
    cert: options.cert,
    hideSTARTTLS: !options.offerStarttls,
    authOptional: !options.requireAuth,
    authMethods: ['PLAIN', 'LOGIN'],
    allowInsecureAuth: !options.offerStarttls,
    size: options.maxSize || undefined,
    rejectOversized: true,
    disableReverseLookup: true,
    maxAllowedUnauthenticatedCommands: false,
    socketTimeout: 600_000,
    closeTimeout: 100,
    onConnect: (session, done) => faults.atConnect(server, session, done),
    onAuth(auth, session, done) {
      if (auth.username === options.user && auth.password === options.pass) {
        faults.note('auth', session, 'accepted');
        return done(null, { user: auth.username });
      }
      faults.note('auth', session, 'refused');
      const refusal = new Error('5.7.8 Authentication credentials invalid');
      refusal.responseCode = 535;
      return done(refusal);
    },
    onData(stream, session, done) {
      const parts = [];
      stream.on('data', (part) => parts.push(part));
      stream.on('end', () => {
        if (stream.sizeExceeded) return done(); // the library answers 552 itself
        const store = () => mailbox.add(session, Buffer.concat(parts));
        return faults.atFinal(server, session, store, done);
      });
    },
  });
  server.on('error', (error) => console.error(`smtp: ${error.message}`)); // one client's broken connection
  return new Promise((resolve, reject) => {
    server.server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve(server.server.address().port));
  });
}

const routes = {
  'POST /faults': (query, body) => ({ id: faults.add(body) }),
  'GET /faults': () => faults.list(),
  'DELETE /faults': (query) => faults.remove(query.get('id')),
  'GET /mails': (query) =>
    mailbox.wait(query.get('to'), Number(query.get('min') ?? 0), Number(query.get('timeoutMs') ?? 0)),
  'DELETE /mails': (query) => mailbox.forget(query.get('to')),
  'GET /events': (query) => faults.events(query.get('to')),
};

const control = http.createServer(async (request, response) => {
  const answer = (status, value) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(value));
  };
  try {
    const url = new URL(request.url, 'http://127.0.0.1');
    const route = routes[`${request.method} ${url.pathname}`];
    if (!route) return answer(404, { error: 'no such control' });
    let text = '';
    for await (const part of request) text += part;
    return answer(200, (await route(url.searchParams, text ? JSON.parse(text) : undefined)) ?? {});
  } catch (error) {
    return answer(400, { error: error.message });
  }
});

const [smtp, smtps, controlPort] = await Promise.all([
  smtpServer(false),
  smtpServer(true),
  new Promise((resolve) => control.listen(0, '127.0.0.1', () => resolve(control.address().port))),
]);
console.log(JSON.stringify({ smtp, smtps, control: controlPort }));
