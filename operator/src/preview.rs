//! `preview-mail`: what a mail would look like.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ps_mail::{Kind, Language, Presentation, Preview, Templates};

use crate::clock;
use crate::config::Config;
use crate::mailing;

/// Which mail, and what of it.
#[derive(Args)]
pub struct Arguments {
    /// The configuration file, for its sender, publicUrl and mail.templates; without it, the mails as they come
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which mail: the link to a credential, an e-mailed code, or a notice to the sender (always in English)
    #[arg(long, value_enum, default_value_t = Which::Link)]
    kind: Which,
    /// The recipient's language, as in recipient.locale: en, de, fr, es, it, pt, nl, pl, ja, zh, ar, or a tag that begins so
    #[arg(long, value_name = "TAG", default_value = "en", value_parser = locale)]
    locale: String,
    /// Print subject and text, as programs show it that show text only (default)
    #[arg(long, group = "shown")]
    text: bool,
    /// Print the HTML part
    #[arg(long, group = "shown")]
    html: bool,
    /// Print the whole message, as a mail server gets it; save it as a file that ends in .eml to open it in a mail program
    #[arg(long, group = "shown")]
    eml: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    Link,
    Code,
    Notice,
}

/// A tag whose language we have: the fallback to English would hide a slip of the pen.
fn locale(text: &str) -> Result<String, String> {
    let first = text.split(['-', '_']).next().unwrap_or_default();
    let known = Language::ALL.iter().any(|language| language.code().eq_ignore_ascii_case(first));
    let all = || Language::ALL.map(Language::code).join(", ");
    known.then(|| text.to_owned()).ok_or_else(|| format!("there are no mails in this language, only in {}", all()))
}

/// What to print.
///
/// # Errors
/// If the configuration or a template is not good.
pub fn run(arguments: &Arguments) -> anyhow::Result<String> {
    let presentation = match &arguments.config {
        Some(path) => mailing::presentation(&Config::load(path)?)?,
        None => Presentation {
            from: "password-sender@example.com".into(),
            sender_name: String::new(),
            public_url: "https://links.example.com".into(),
            templates: Templates::built_in()?,
        },
    };
    let kind = match arguments.kind {
        Which::Link => Kind::Link,
        Which::Code => Kind::Code,
        Which::Notice => Kind::Notice,
    };
    let Preview { subject, text, html, message } =
        ps_mail::preview(presentation, kind, Some(&arguments.locale), clock::now())?;
    Ok(match (arguments.html, arguments.eml) {
        (true, _) => html,
        (_, true) => message,
        _ => format!("Subject: {subject}\n\n{text}\n"),
    })
}
