// Faults by phase. A fault is {phase, action, code, text, times, recipient, stored}:
//   phase      connect | ehlo | starttls | auth | mail | rcpt | data | final (after the final dot)
//   action     hang (no answer, ever) | reply (code and text instead of the right answer) | close (drop the connection)
//   times      fires that often, then is over; without it, until removed
//   recipient  fires only for this address (rcpt, data and final)
//   stored     final only: the mail is kept all the same, so that only the answer is lost
import { SMTPConnection } from 'smtp-server/lib/smtp-connection.js';

const PHASES = ['connect', 'ehlo', 'starttls', 'auth', 'mail', 'rcpt', 'data', 'final'];
const ACTIONS = ['hang', 'reply', 'close'];
const MAX_EVENTS = 100_000;

const same = (a, b) => a.toLowerCase() === b.toLowerCase();

export class Faults {
  #faults = [];
  #events = [];
  #nextId = 1;
  #nextSeq = 1;

  add(fault) {
    if (!PHASES.includes(fault.phase)) throw new Error(`phase must be one of ${PHASES}`);
    if (!ACTIONS.includes(fault.action)) throw new Error(`action must be one of ${ACTIONS}`);
    const entry = { ...fault, id: this.#nextId++, fired: 0 };
    this.#faults.push(entry);
    return entry.id;
  }

  list() {
    return this.#faults;
  }

  remove(id) {
    this.#faults = id === null ? [] : this.#faults.filter((fault) => fault.id !== Number(id));
  }

  /** The first fault that applies; counts it. */
  take(phase, recipients) {
    const fault = this.#faults.find(
      (f) => f.phase === phase && (!f.recipient || recipients.some((r) => same(r, f.recipient))),
    );
    if (!fault) return undefined;
    fault.fired += 1;
    if (fault.times && fault.fired >= fault.times) this.remove(fault.id);
    return fault;
  }

  note(phase, session, outcome, recipients = envelopeRecipients(session)) {
    this.#events.push({ seq: this.#nextSeq++, session: session.id, phase, outcome, recipients });
    if (this.#events.length > MAX_EVENTS) this.#events.shift();
  }

  events(recipient) {
    if (!recipient) return this.#events;
    const sessions = new Set(
      this.#events.filter((e) => e.recipients.some((r) => same(r, recipient))).map((e) => e.session),
    );
    return this.#events.filter((e) => sessions.has(e.session));
  }

  atConnect(server, session, done) {
    const fault = this.take('connect', []);
    this.note('connect', session, fault ? fault.action : 'accepted');
    if (!fault) return done();
    if (fault.action === 'close') return drop(server, session);
    if (fault.action === 'reply') return done(refusal(fault));
    return undefined; // hang
  }

  atFinal(server, session, store, done) {
    const recipients = envelopeRecipients(session);
    const fault = this.take('final', recipients);
    if (!fault || fault.stored) store();
    this.note('final', session, fault ? fault.action : 'accepted', recipients);
    if (!fault) return done();
    if (fault.action === 'close') return drop(server, session);
    if (fault.action === 'reply') return done(refusal(fault));
    return undefined; // hang
  }
}

function refusal(fault) {
  const error = new Error(fault.text ?? 'testbed fault');
  error.responseCode = fault.code ?? 451;
  return error;
}

function envelopeRecipients(session) {
  return (session.envelope?.rcptTo ?? []).map((recipient) => recipient.address);
}

function drop(server, session) {
  for (const connection of server.connections) {
    if (connection.id === session.id) connection._socket.destroy();
  }
}

/** Puts a fault point in front of the library's own handler of each command. */
export function install(faults) {
  // The library waits 100 ms for clients that talk before the greeting; there are none here.
  SMTPConnection.prototype.init = function greetAtOnce() {
    this._setListeners(() => this.connectionReady());
  };
  for (const verb of ['EHLO', 'STARTTLS', 'AUTH', 'MAIL', 'RCPT', 'DATA']) {
    const handler = SMTPConnection.prototype[`handler_${verb}`];
    const phase = verb.toLowerCase();
    SMTPConnection.prototype[`handler_${verb}`] = function faultPoint(command, done) {
      const named = /<([^>]*)>/.exec(command.toString())?.[1];
      const recipients = verb === 'RCPT' && named ? [named] : envelopeRecipients(this.session);
      const fault = faults.take(phase, recipients);
      if (!fault) {
        if (verb !== 'AUTH') faults.note(phase, this.session, 'accepted', recipients);
        return handler.call(this, command, done);
      }
      faults.note(phase, this.session, fault.action, recipients);
      if (fault.action === 'close') return this._socket.destroy();
      if (fault.action === 'hang') return undefined;
      this.send(fault.code ?? 451, fault.text ?? 'testbed fault');
      return done();
    };
  }
}
