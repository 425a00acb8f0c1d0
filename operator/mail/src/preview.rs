//! A mail with sample data, to look at.

use ps_core::delivery::{NoticeKind, Recipient};
use ps_core::error::Fault;
use ps_core::ids::Key;
use ps_core::link::Verification;
use ps_core::mail::{CodeMail, LinkMail, NoticeMail};
use ps_core::secret::SecretString;
use ps_core::time::{Span, Timestamp};

use crate::body::shown;
use crate::compose::Composer;
use crate::config::Presentation;
use crate::templates::Kind;

/// After `#`: no token is of this form, so the page says that the link is incomplete.
const FRAGMENT: &str = "ps1.THIS-IS-A-SAMPLE-AND-OPENS-NOTHING";
const MESSAGE_ID: &str = "sample@password-sender.example";

/// What a mail would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// The subject.
    pub subject: String,
    /// The part for programs that show text only.
    pub text: String,
    /// The part that most programs show.
    pub html: String,
    /// The whole message, as a mail server would get it.
    pub message: String,
}

/// Makes a mail of this kind as `presentation` says, in the language of `locale`. What it holds is made up: its link opens
/// nothing.
///
/// # Errors
/// As for a mail that is sent.
pub fn preview(presentation: Presentation, kind: Kind, locale: Option<&str>, now: Timestamp) -> Result<Preview, Fault> {
    let link = SecretString::new(format!("{}/#{FRAGMENT}", presentation.public_url));
    let composer = Composer::new(presentation)?;
    let to = Recipient {
        email: "alice@vendor.example".into(),
        name: Some("Alice Example".into()),
        locale: locale.map(str::to_owned),
    };
    let (message_id, sender) = (MESSAGE_ID.to_owned(), String::new());
    let with_link = LinkMail {
        to: to.clone(),
        message_id: message_id.clone(),
        sender: sender.clone(),
        link,
        opening_code: SecretString::new("ABCD-EFGH".into()),
        expires_at: now + Span::from_secs(4 * 3600),
        works_for: Some(Span::from_secs(3600)),
        kinds: Verification::ALL.to_vec(),
    };
    let with_code = CodeMail {
        to,
        message_id: message_id.clone(),
        sender,
        code: SecretString::new("1234-5678".into()),
        expires_at: now + Span::from_secs(600),
    };
    let notice = NoticeMail {
        to: "platform@example.com".into(),
        message_id,
        kind: NoticeKind::Retrieved,
        delivery: Key::new("shop", "webshop"),
        recipient: "a…@vendor.example".into(),
        at: now,
        text: "It is replaced one hour after it was opened.".into(),
    };
    let draft = match kind {
        Kind::Link => composer.draft_link(&with_link),
        Kind::Code => composer.draft_code(&with_code, now),
        Kind::Notice => composer.draft_notice(&notice),
    }?;
    let message = composer.assemble(&draft, now)?;
    let text = |rendered: &str| shown(rendered, draft.secrets);
    Ok(Preview {
        subject: draft.rendered.subject.clone(),
        text: text(&draft.rendered.text),
        html: text(&draft.rendered.html),
        // All of it is ASCII.
        message: String::from_utf8_lossy(message.bytes.expose()).into_owned(),
    })
}
