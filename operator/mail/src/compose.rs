//! Finished messages from what is to be said.

use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use ps_core::delivery::NoticeKind;
use ps_core::encode::sha256;
use ps_core::error::{Class, Fault};
use ps_core::mail::{CodeMail, LinkMail, NoticeMail};
use ps_core::time::Timestamp;

use crate::address::{Address, display_name};
use crate::body::{CODE, LINK, Part, Secrets};
use crate::header::{date, date_for_people, is_message_id, mailbox, unstructured};
use crate::wiped::WipedBuf;
use crate::words::length;

/// Instructions that one template may take: a hundred times what the built-in ones need.
const FUEL: u64 = 50_000;
/// Longest link and longest code; both stay on one line.
const MAX_LINK: usize = 600;
const MAX_CODE: usize = 32;
/// Longest text of a notice, in characters.
const MAX_NOTICE: usize = 2000;

const LINK_TEXT: &str = include_str!("../templates/link.txt");
const LINK_HTML: &str = include_str!("../templates/link.html");
const CODE_TEXT: &str = include_str!("../templates/code.txt");
const CODE_HTML: &str = include_str!("../templates/code.html");
const NOTICE_TEXT: &str = include_str!("../templates/notice.txt");
const NOTICE_HTML: &str = include_str!("../templates/notice.html");

/// A message that is ready to go. It does not print.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) id: String,
    /// Header and body, CRLF at each line's end, ASCII only.
    pub(crate) bytes: WipedBuf,
}

/// Makes messages.
pub(crate) struct Composer {
    templates: Environment<'static>,
    from: Address,
    sender_name: String,
}

impl Composer {
    /// One that writes as `sender_name <from>`.
    ///
    /// # Errors
    /// Misconfigured if `from` is not an address.
    pub(crate) fn new(from: &str, sender_name: &str) -> Result<Self, Fault> {
        let from = Address::parse(from).map_err(|why| {
            Fault::new(Class::Misconfigured, "mail-from-invalid", format!("the sender's address {why}"))
                .field("smtp.from")
        })?;
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_fuel(Some(FUEL));
        let html = |name: &str| if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None };
        templates.set_auto_escape_callback(html);
        for (name, source) in [
            ("link.txt", LINK_TEXT),
            ("link.html", LINK_HTML),
            ("code.txt", CODE_TEXT),
            ("code.html", CODE_HTML),
            ("notice.txt", NOTICE_TEXT),
            ("notice.html", NOTICE_HTML),
        ] {
            templates.add_template(name, source).map_err(|e| template_fault(&e))?;
        }
        let sender_name = Some(display_name(sender_name)).filter(|name| !name.is_empty());
        Ok(Self { templates, from, sender_name: sender_name.unwrap_or_else(|| "Password Sender".to_owned()) })
    }

    /// The mail that carries a link.
    ///
    /// # Errors
    /// Permanent if the recipient's address, the link or the Message-ID is not well-formed.
    pub(crate) fn link(&self, mail: &LinkMail, now: Timestamp) -> Result<Message, Fault> {
        let to = recipient(&mail.to.email, "spec.recipient.email")?;
        let secrets = Secrets { link: mail.link.expose(), code: mail.opening_code.expose() };
        let host = host_of(secrets)?;
        let name = mail.to.name.as_deref().map(display_name).unwrap_or_default();
        let sender = Some(display_name(&mail.sender)).filter(|name| !name.is_empty());
        let sender = sender.unwrap_or_else(|| self.sender_name.clone());
        let values = context! {
            name => &name,
            sender => &sender,
            link => LINK.to_string(),
            code => CODE.to_string(),
            host,
            until => date_for_people(mail.expires_at),
            works_for => mail.works_for.map(length),
            passphrase => mail.passphrase,
        };
        let subject = format!("{sender} sends you a credential");
        let rendered = self.render("link", &values)?;
        self.assemble(&Parts { to: &to, name: &name, id: &mail.message_id, subject, rendered, secrets, now })
    }

    /// The mail that carries a one-time code.
    ///
    /// # Errors
    /// Permanent if the recipient's address, the code or the Message-ID is not well-formed.
    pub(crate) fn code(&self, mail: &CodeMail, now: Timestamp) -> Result<Message, Fault> {
        let to = recipient(&mail.to.email, "spec.recipient.email")?;
        let secrets = Secrets { link: "", code: mail.code.expose() };
        if !is_emailed_code(secrets.code) {
            return Err(Fault::new(Class::Permanent, "mail-code-invalid", "the code is not of the form 1234-5678"));
        }
        let name = mail.to.name.as_deref().map(display_name).unwrap_or_default();
        let sender = Some(display_name(&mail.sender)).filter(|name| !name.is_empty());
        let sender = sender.unwrap_or_else(|| self.sender_name.clone());
        let values = context! {
            name => &name,
            sender => &sender,
            code => CODE.to_string(),
            until => date_for_people(mail.expires_at),
            works_for => length(mail.expires_at.since(now)),
        };
        let subject = format!("Your code for the credential from {sender}");
        let rendered = self.render("code", &values)?;
        self.assemble(&Parts { to: &to, name: &name, id: &mail.message_id, subject, rendered, secrets, now })
    }

    /// A notice to the sender of a delivery.
    ///
    /// # Errors
    /// Permanent if the address or the Message-ID is not well-formed.
    pub(crate) fn notice(&self, mail: &NoticeMail, now: Timestamp) -> Result<Message, Fault> {
        let to = recipient(&mail.to, "spec.notify.email")?;
        let what = kind(mail.kind);
        let delivery = line(&mail.delivery.to_string());
        let subject = format!("{what}: {delivery}");
        let values = context! {
            what,
            delivery,
            recipient => line(&mail.recipient),
            at => date_for_people(mail.at),
            text => line(&mail.text),
        };
        let rendered = self.render("notice", &values)?;
        let secrets = Secrets::default();
        self.assemble(&Parts { to: &to, name: "", id: &mail.message_id, subject, rendered, secrets, now })
    }

    fn render(&self, name: &str, values: &minijinja::Value) -> Result<[String; 2], Fault> {
        let one = |kind: &str| {
            let template = self.templates.get_template(&format!("{name}.{kind}"));
            template.and_then(|template| template.render(values)).map_err(|e| template_fault(&e))
        };
        Ok([one("txt")?, one("html")?])
    }

    fn assemble(&self, parts: &Parts<'_>) -> Result<Message, Fault> {
        if !is_message_id(parts.id) {
            return Err(Fault::new(Class::Permanent, "mail-message-id-invalid", "the Message-ID is not well-formed"));
        }
        let digest = sha256(parts.id.as_bytes());
        let boundary = format!("ps-{}", hex::encode(digest.get(..12).unwrap_or_default()));
        let header = [
            ("Date", date(parts.now)),
            ("From", mailbox(&self.sender_name, &self.from)),
            ("To", mailbox(parts.name, parts.to)),
            ("Message-ID", format!("<{}>", parts.id)),
            ("Subject", unstructured(&parts.subject)),
            ("MIME-Version", "1.0".to_owned()),
            ("Content-Type", format!("multipart/alternative;\r\n boundary=\"{boundary}\"")),
            ("Content-Language", "en".to_owned()),
            // RFC 3834. The second is what Exchange heeds: an absence note would send the link back, and on.
            ("Auto-Submitted", "auto-generated".to_owned()),
            ("X-Auto-Response-Suppress", "All".to_owned()),
        ];
        let [text, html] = &parts.rendered;
        // Quoted-printable can triple a text; more is no fault, only slower.
        let mut bytes = WipedBuf::with_capacity(4096 + 3 * (text.len() + html.len() + 2 * MAX_LINK));
        for (name, value) in header {
            bytes.push(format!("{name}: {value}\r\n").as_bytes());
        }
        for (content_type, rendered) in [("text/plain", text), ("text/html", html)] {
            bytes.push(format!("\r\n--{boundary}\r\n").as_bytes());
            Part { content_type, rendered, secrets: parts.secrets }.write(&mut bytes);
        }
        bytes.push(format!("\r\n--{boundary}--\r\n").as_bytes());
        Ok(Message { from: self.from.clone(), to: parts.to.clone(), id: parts.id.to_owned(), bytes })
    }
}

struct Parts<'a> {
    to: &'a Address,
    name: &'a str,
    id: &'a str,
    subject: String,
    rendered: [String; 2],
    secrets: Secrets<'a>,
    now: Timestamp,
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
    let rest = link.strip_prefix("https://").or_else(|| link.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    match host {
        Some(host) if fits(link, MAX_LINK) && fits(code, MAX_CODE) && !host.is_empty() && !host.contains('@') => {
            Ok(host)
        }
        _ => {
            let fault = Fault::new(Class::Permanent, "mail-link-invalid", "the link can't be put into a mail");
            Err(fault.remedy("see that the public URL is a plain https address").field("publicUrl"))
        }
    }
}

/// Eight digits in two groups: what is e-mailed as a code.
fn is_emailed_code(text: &str) -> bool {
    let is_group = |group: &str| group.len() == 4 && group.bytes().all(|b| b.is_ascii_digit());
    text.split_once('-').is_some_and(|(first, second)| is_group(first) && is_group(second))
}

/// One line of plain words.
fn line(text: &str) -> String {
    text.chars().take(MAX_NOTICE).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn kind(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Retrieved => "The credential was opened",
        NoticeKind::Unacknowledged => "The credential was opened, but not confirmed as saved",
        NoticeKind::Expired => "The credential was not opened in time",
        NoticeKind::Locked => "The link is locked after too many wrong passphrases or codes",
        NoticeKind::Declined => "The recipient says that the credential was not meant for them",
        NoticeKind::Tampered => "The link's record was altered",
        NoticeKind::Exposed => "The link was exposed on its way",
        NoticeKind::Rotated => "The credential was replaced",
        NoticeKind::RotationFailed => "The credential could not be replaced",
    }
}

/// Templates are part of this program: this is a defect of it. The error's text could quote values; it is not repeated.
fn template_fault(error: &minijinja::Error) -> Fault {
    Fault::new(Class::Permanent, "mail-template", format!("a mail template failed: {:?}", error.kind()))
}

#[cfg(test)]
mod tests;
