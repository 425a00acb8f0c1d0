// The mails as received, by recipient; parsed only when somebody asks.
import { simpleParser } from 'mailparser';

export class Mailbox {
  #mails = [];
  #waiters = new Set();
  #nextId = 1;

  add(session, raw) {
    this.#mails.push({
      id: this.#nextId++,
      receivedAt: new Date().toISOString(),
      session: session.id,
      secure: session.secure,
      tls: session.tlsOptions ? session.tlsOptions.version : null,
      user: session.user || null,
      from: session.envelope.mailFrom ? session.envelope.mailFrom.address : '',
      recipients: session.envelope.rcptTo.map((recipient) => recipient.address),
      raw,
    });
    for (const waiter of [...this.#waiters]) waiter();
  }

  #for(recipient) {
    if (!recipient) return this.#mails;
    const wanted = recipient.toLowerCase();
    return this.#mails.filter((mail) => mail.recipients.some((address) => address.toLowerCase() === wanted));
  }

  forget(recipient) {
    const gone = new Set(this.#for(recipient));
    this.#mails = this.#mails.filter((mail) => !gone.has(mail));
  }

  /** Waits until `min` mails are there or the time is over, and answers with those that are there. */
  async wait(recipient, min, timeoutMs) {
    if (this.#for(recipient).length < min) {
      await new Promise((resolve) => {
        const end = () => {
          clearTimeout(timer);
          this.#waiters.delete(check);
          resolve();
        };
        const check = () => this.#for(recipient).length >= min && end();
        const timer = setTimeout(end, timeoutMs);
        this.#waiters.add(check);
      });
    }
    return Promise.all(this.#for(recipient).map(parsed));
  }
}

async function parsed(mail) {
  mail.parsed ??= simpleParser(mail.raw, { skipImageLinks: true, skipTextLinks: true });
  const message = await mail.parsed;
  const { raw, parsed: _, ...envelope } = mail;
  return {
    ...envelope,
    rawBase64: raw.toString('base64'),
    messageId: message.messageId ?? null,
    subject: message.subject ?? '',
    text: message.text ?? null,
    html: message.html === false ? null : message.html,
    headers: message.headerLines.map(({ key, line }) => [key, line.slice(line.indexOf(':') + 1).trim()]),
    attachments: message.attachments.map(({ filename, contentType, size }) => ({ filename: filename ?? null, contentType, size })),
  };
}
