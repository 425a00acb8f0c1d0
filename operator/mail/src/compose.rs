//! Finished messages from what is to be said.

use ps_core::delivery::Recipient;
use ps_core::encode::sha256;
use ps_core::error::{Class, Fault};
use ps_core::mail::{CodeMail, LinkMail, NoticeMail};
use ps_core::time::Timestamp;

use self::values::{Facts, notice};
use crate::address::{Address, display_name};
use crate::body::{Body, Secrets};
use crate::config::Presentation;
use crate::header::{date, is_message_id, mailbox, unstructured};
use crate::language::Language;
use crate::templates::{Kind, Rendered, Templates};
use crate::wiped::WipedBuf;

pub(crate) mod values;

/// Longest link and longest code; both stay on one line.
const MAX_LINK: usize = 600;
const MAX_CODE: usize = 32;

/// A message that is ready to go. It does not print.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) id: String,
    /// Header and body, CRLF at each line's end, ASCII only.
    pub(crate) bytes: WipedBuf,
}

/// A mail in words, before it is put together: the secrets are apart from the text.
pub(crate) struct Draft<'a> {
    to: Address,
    name: String,
    id: &'a str,
    language: Language,
    pub(crate) rendered: Rendered,
    pub(crate) secrets: Secrets<'a>,
}

/// Makes messages.
pub(crate) struct Composer {
    templates: Templates,
    from: Address,
    sender_name: String,
    host: String,
}

impl Composer {
    /// One that writes as a [`Presentation`] says.
    ///
    /// # Errors
    /// Misconfigured if its `from` is not an address.
    pub(crate) fn new(presentation: Presentation) -> Result<Self, Fault> {
        let Presentation { from, sender_name, public_url, templates } = presentation;
        let from = Address::parse(&from).map_err(|why| {
            Fault::new(Class::Misconfigured, "mail-from-invalid", format!("the sender's address {why}"))
                .field("smtp.from")
        })?;
        let sender_name = Some(display_name(&sender_name)).filter(|name| !name.is_empty());
        let sender_name = sender_name.unwrap_or_else(|| "Password Sender".to_owned());
        let host = host(&public_url).unwrap_or_default().to_owned();
        Ok(Self { templates, from, sender_name, host })
    }

    /// The mail that carries a link, in the recipient's language.
    ///
    /// # Errors
    /// Permanent if the recipient's address, the link or the Message-ID is not well-formed.
    pub(crate) fn link(&self, mail: &LinkMail, now: Timestamp) -> Result<Message, Fault> {
        self.assemble(&self.draft_link(mail)?, now)
    }

    /// The mail that carries a one-time code, in the recipient's language.
    ///
    /// # Errors
    /// Permanent if the recipient's address, the code or the Message-ID is not well-formed.
    pub(crate) fn code(&self, mail: &CodeMail, now: Timestamp) -> Result<Message, Fault> {
        self.assemble(&self.draft_code(mail, now)?, now)
    }

    /// A notice to the sender of a delivery, in English.
    ///
    /// # Errors
    /// Permanent if the address or the Message-ID is not well-formed.
    pub(crate) fn notice(&self, mail: &NoticeMail, now: Timestamp) -> Result<Message, Fault> {
        self.assemble(&self.draft_notice(mail)?, now)
    }

    pub(crate) fn draft_link<'a>(&self, mail: &'a LinkMail) -> Result<Draft<'a>, Fault> {
        let secrets = Secrets { link: mail.link.expose(), code: mail.opening_code.expose() };
        let host = host_of(secrets)?;
        let (name, sender) = self.names(&mail.to, &mail.sender);
        let language = Language::of_tag(mail.to.locale.as_deref());
        let facts = Facts { language, name: &name, sender: &sender, host, until: mail.expires_at };
        let values = facts.link(mail.works_for, &mail.kinds);
        let rendered = self.templates.render(Kind::Link, language, &values)?;
        let to = recipient(&mail.to.email, "spec.recipient.email")?;
        Ok(Draft { to, name, id: &mail.message_id, language, rendered, secrets })
    }

    pub(crate) fn draft_code<'a>(&self, mail: &'a CodeMail, now: Timestamp) -> Result<Draft<'a>, Fault> {
        let secrets = Secrets { link: "", code: mail.code.expose() };
        if !is_emailed_code(secrets.code) {
            return Err(Fault::new(Class::Permanent, "mail-code-invalid", "the code is not of the form 1234-5678"));
        }
        let (name, sender) = self.names(&mail.to, &mail.sender);
        let language = Language::of_tag(mail.to.locale.as_deref());
        let facts = Facts { language, name: &name, sender: &sender, host: &self.host, until: mail.expires_at };
        let values = facts.code(mail.expires_at.since(now));
        let rendered = self.templates.render(Kind::Code, language, &values)?;
        let to = recipient(&mail.to.email, "spec.recipient.email")?;
        Ok(Draft { to, name, id: &mail.message_id, language, rendered, secrets })
    }

    pub(crate) fn draft_notice<'a>(&self, mail: &'a NoticeMail) -> Result<Draft<'a>, Fault> {
        let language = Language::En;
        let rendered = self.templates.render(Kind::Notice, language, &notice(mail))?;
        let to = recipient(&mail.to, "spec.notify.email")?;
        let (name, secrets) = (String::new(), Secrets::default());
        Ok(Draft { to, name, id: &mail.message_id, language, rendered, secrets })
    }

    /// The names of recipient and sender, as mail shows them.
    fn names(&self, to: &Recipient, sender: &str) -> (String, String) {
        let sender = Some(display_name(sender)).filter(|name| !name.is_empty());
        let name = to.name.as_deref().map(display_name).unwrap_or_default();
        (name, sender.unwrap_or_else(|| self.sender_name.clone()))
    }

    pub(crate) fn assemble(&self, draft: &Draft<'_>, now: Timestamp) -> Result<Message, Fault> {
        let Draft { to, name, id, language, rendered, secrets } = draft;
        if !is_message_id(id) {
            return Err(Fault::new(Class::Permanent, "mail-message-id-invalid", "the Message-ID is not well-formed"));
        }
        let digest = sha256(id.as_bytes());
        let boundary = format!("ps-{}", hex::encode(digest.get(..12).unwrap_or_default()));
        let header = [
            ("Date", date(now)),
            ("From", mailbox(&self.sender_name, &self.from)),
            ("To", mailbox(name, to)),
            ("Message-ID", format!("<{id}>")),
            ("Subject", unstructured(&rendered.subject)),
            ("MIME-Version", "1.0".to_owned()),
            ("Content-Type", format!("multipart/alternative;\r\n boundary=\"{boundary}\"")),
            ("Content-Language", language.tag().to_owned()),
            // RFC 3834. The second is what Exchange heeds: an absence note would send the link back, and on.
            ("Auto-Submitted", "auto-generated".to_owned()),
            ("X-Auto-Response-Suppress", "All".to_owned()),
        ];
        let Rendered { text, html, .. } = rendered;
        // Quoted-printable can triple a text; more is no fault, only slower.
        let mut bytes = WipedBuf::with_capacity(4096 + 3 * (text.len() + html.len() + 2 * MAX_LINK));
        for (name, value) in header {
            bytes.push(format!("{name}: {value}\r\n").as_bytes());
        }
        for (content_type, rendered) in [("text/plain", text), ("text/html", html)] {
            bytes.push(format!("\r\n--{boundary}\r\n").as_bytes());
            Body { content_type, rendered, secrets: *secrets }.write(&mut bytes);
        }
        bytes.push(format!("\r\n--{boundary}--\r\n").as_bytes());
        Ok(Message { from: self.from.clone(), to: to.clone(), id: (*id).to_owned(), bytes })
    }
}

fn recipient(text: &str, field: &str) -> Result<Address, Fault> {
    Address::parse(text).map_err(|why| {
        Fault::new(Class::Permanent, "mail-address-invalid", format!("the address {why}"))
            .remedy("write one plain address")
            .field(field)
    })
}

/// The host that the link leads to, once link and code are seen to fit into text and HTML as they are.
fn host_of<'a>(secrets: Secrets<'a>) -> Result<&'a str, Fault> {
    let Secrets { link, code } = secrets;
    let fits = |text: &str, max: usize| {
        let harmless = |b: u8| b.is_ascii_graphic() && !b"<>\"'`&\\".contains(&b);
        !text.is_empty() && text.len() <= max && text.bytes().all(harmless)
    };
    match host(link) {
        Some(host) if fits(link, MAX_LINK) && fits(code, MAX_CODE) && !host.is_empty() && !host.contains('@') => {
            Ok(host)
        }
        _ => {
            let fault = Fault::new(Class::Permanent, "mail-link-invalid", "the link can't be put into a mail");
            Err(fault.remedy("see that the public URL is a plain https address").field("publicUrl"))
        }
    }
}

/// Host, and port if there is one.
fn host(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    rest.split(['/', '?', '#']).next()
}

/// Eight digits in two groups: what is e-mailed as a code.
fn is_emailed_code(text: &str) -> bool {
    let is_group = |group: &str| group.len() == 4 && group.bytes().all(|b| b.is_ascii_digit());
    text.split_once('-').is_some_and(|(first, second)| is_group(first) && is_group(second))
}

#[cfg(test)]
mod tests;
