//! What templates are given. No secret is among it: the link and the code are marks.

use minijinja::{Value, context};
use ps_core::delivery::NoticeKind;
use ps_core::link::Verification;
use ps_core::mail::NoticeMail;
use ps_core::time::{Span, Timestamp};

use crate::body::{CODE, LINK};
use crate::language::{Language, Values};
use crate::templates::Kind;

/// Longest text of a notice, in characters.
pub(crate) const MAX_NOTICE: usize = 2000;

/// What mails to a recipient have in common. All of it is plain words on one line.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) language: Language,
    /// The recipient's name; may be empty.
    pub(crate) name: &'a str,
    pub(crate) sender: &'a str,
    /// The page's host.
    pub(crate) host: &'a str,
    /// When the link or the code ends.
    pub(crate) until: Timestamp,
}

impl Facts<'_> {
    /// Of a mail with a link, whose page asks for these beside the opening code.
    pub(crate) fn link(&self, works_for: Option<Span>, kinds: &[Verification]) -> Value {
        let works_for = works_for.map(|span| self.language.length(span));
        let own = context! {
            link => LINK.to_string(),
            works_for => &works_for,
            passphrase => kinds.contains(&Verification::Passphrase),
            email_code => kinds.contains(&Verification::EmailCode),
            sign_in => kinds.contains(&Verification::Oidc),
        };
        context! { ..own, ..self.common(Kind::Link, works_for.as_deref().unwrap_or_default()) }
    }

    /// Of a mail with a one-time code.
    pub(crate) fn code(&self, valid_for: Span) -> Value {
        let valid_for = self.language.length(valid_for);
        context! { valid_for => &valid_for, ..self.common(Kind::Code, &valid_for) }
    }

    fn common(&self, kind: Kind, length: &str) -> Value {
        let Self { language, name, sender, host, until } = *self;
        let until = language.date(until);
        let words = language.words(kind.as_str(), &Values { sender, name, host, until: &until, length });
        context! {
            language => language.tag(),
            direction => language.direction(),
            name,
            sender,
            host,
            until => &until,
            code => CODE.to_string(),
            words,
        }
    }
}

/// Of a notice.
pub(crate) fn notice(mail: &NoticeMail) -> Value {
    context! {
        language => Language::En.tag(),
        direction => Language::En.direction(),
        what => kind(mail.kind),
        delivery => line(&mail.delivery.to_string()),
        recipient => line(&mail.recipient),
        at => Language::En.date(mail.at),
        text => line(&mail.text),
    }
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
