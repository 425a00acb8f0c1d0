//! Every template is tried before a mail depends on it.

use std::collections::BTreeMap;

use minijinja::{Error, ErrorKind, Value};
use ps_core::delivery::NoticeKind;
use ps_core::error::{Class, Fault};
use ps_core::ids::Key;
use ps_core::link::Verification;
use ps_core::mail::NoticeMail;
use ps_core::time::{Span, Timestamp};

use super::{Kind, MAX_SUBJECT, Part, Templates};
use crate::body::{CODE, LINK};
use crate::compose::values::{Facts, MAX_NOTICE, notice};
use crate::language::Language;

/// Longest piece of a template that a message quotes, in characters.
const MAX_QUOTE: usize = 60;
/// In every sample of a notice: what must not get into HTML as it is.
const MARKUP: &str = "<i>&\"";

/// Renders each kind in each language, with little and with much to say, and looks at what comes of it.
///
/// # Errors
/// The first template that is not good, as [`Templates::load`] says.
pub(super) fn all(templates: &Templates) -> Result<(), Fault> {
    for kind in Kind::ALL {
        let languages = if kind == Kind::Notice { &Language::ALL[..1] } else { &Language::ALL[..] };
        for &language in languages {
            for values in samples(kind, language) {
                for part in Part::ALL {
                    one(templates, kind, language, part, &values)?;
                }
            }
        }
    }
    Ok(())
}

/// The least that a mail says, and the most.
fn samples(kind: Kind, language: Language) -> Vec<Value> {
    let long = "Łukasz & 名 ".repeat(8);
    let until = Timestamp::from_secs(1_795_380_000);
    let little = Facts { language, name: "", sender: "S", host: "s.example", until };
    let much = Facts { name: &long, sender: &long, host: &"host.".repeat(50), ..little };
    match kind {
        Kind::Link => vec![
            little.link(None, &[]),
            much.link(Some(Span::from_secs(93_600)), &Verification::ALL),
            much.link(Some(Span::from_secs(3600)), &[]),
        ],
        Kind::Code => vec![little.code(Span::from_secs(600)), much.code(Span::from_secs(59))],
        Kind::Notice => {
            let mail = |text: String| NoticeMail {
                to: String::new(),
                message_id: String::new(),
                kind: NoticeKind::Retrieved,
                delivery: Key::new("n".repeat(63), "d".repeat(253)),
                recipient: "a…@vendor.example".into(),
                at: until,
                text,
            };
            vec![notice(&mail(String::new())), notice(&mail(MARKUP.repeat(MAX_NOTICE / MARKUP.len())))]
        }
    }
}

fn one(templates: &Templates, kind: Kind, language: Language, part: Part, values: &Value) -> Result<(), Fault> {
    let name = templates.name(kind, language, part);
    let out = templates.one(&name, values).map_err(|error| fault(&templates.own, &name, &error))?;
    let source = templates.own.get(&name).map_or("", String::as_str);
    let wrong = |word: &str, why: &str, remedy: &str| Err(refused(&name, last_line_with(source, word), why, remedy));
    let count = |mark: char| out.matches(mark).count();
    let (links, codes) = (count(LINK), count(CODE));
    let is_body = part != Part::Subject;
    match (links, is_body && kind == Kind::Link) {
        (0, true) => return wrong("", "has no link", "write {{ link }} where it belongs"),
        (2.., true) => return wrong("link", "has the link more than once", "write {{ link }} once"),
        (1.., false) => return wrong("link", "must not have the link", "remove {{ link }}"),
        _ => {}
    }
    match (codes, is_body && kind != Kind::Notice) {
        (0, true) => return wrong("", "has no code", "write {{ code }} where it belongs"),
        (2.., true) => return wrong("code", "has the code more than once", "write {{ code }} once"),
        (1.., false) => return wrong("code", "must not have the code", "remove {{ code }}"),
        _ => {}
    }
    let mark = LINK.to_string();
    if links > 0 && part == Part::Text && !out.lines().any(|line| line.trim() == mark) {
        return wrong(
            "link",
            "has more on the link's line",
            "give {{ link }} a line of its own, so that it stays whole",
        );
    }
    if links > 0 && part == Part::Html && !out.contains(&format!("href=\"{mark}\"")) {
        return wrong(
            "link",
            "has the link elsewhere than in href",
            "write href=\"{{ link }}\", and nothing else in it",
        );
    }
    if part == Part::Html && kind == Kind::Notice && out.contains(MARKUP) {
        return wrong("text", "lets markup through", "leave HTML escaped: no autoescape false, no safe");
    }
    if part == Part::Subject {
        let subject = out.trim();
        if subject.is_empty() || subject.chars().count() > MAX_SUBJECT || subject.contains(char::is_control) {
            return wrong("", "makes no subject", "make it one line of 1 to 500 characters");
        }
    }
    if out.contains(|c: char| c.is_control() && !['\n', '\r', '\t', LINK, CODE].contains(&c)) {
        return wrong("\\", "makes control characters", "remove them");
    }
    Ok(())
}

/// Where a word last stands in an expression or a statement, counted from 1.
fn last_line_with(source: &str, word: &str) -> Option<usize> {
    let lines = source.lines().enumerate().filter(|(_, line)| {
        let inner = line.split_once('{').map_or("", |(_, rest)| rest);
        !word.is_empty() && inner.contains(word)
    });
    lines.last().map(|(at, _)| at + 1)
}

/// What the engine says of a template, in our words.
pub(super) fn fault(own: &BTreeMap<String, String>, name: &str, error: &Error) -> Fault {
    // It may have failed in one that it includes.
    let name = error.name().unwrap_or(name);
    let quoted = own.get(name).zip(error.range()).and_then(|(source, range)| source.get(range));
    let quoted = quoted.map(|text| text.chars().take(MAX_QUOTE).collect::<String>());
    let quoted = quoted.filter(|text| !text.is_empty() && !text.contains('\n'));
    let at = quoted.map(|text| format!(" at `{text}`")).unwrap_or_default();
    let detail = error.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
    let (why, remedy) = match error.kind() {
        ErrorKind::UndefinedError => (format!("names something that is not there{at}"), VARIABLES),
        ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction => {
            (format!("uses something that templates don't have{at}{detail}"), VARIABLES)
        }
        ErrorKind::SyntaxError => (format!("is not a template{at}{detail}"), "correct it; the syntax is Jinja2's"),
        ErrorKind::OutOfFuel => ("takes too many steps".to_owned(), "make it simpler"),
        ErrorKind::WriteFailure => ("makes more than 64 KiB".to_owned(), "shorten it"),
        kind => (format!("fails{at}: {kind:?}{detail}"), "correct it"),
    };
    refused(name, error.line(), &why, remedy)
}

const VARIABLES: &str = "see what templates have in docs/operations.md, Mail";

/// The fault of a file of templates.
pub(super) fn refused(file: &str, line: Option<usize>, why: &str, remedy: &str) -> Fault {
    let place = line.map(|line| format!(", line {line}")).unwrap_or_default();
    Fault::new(Class::Misconfigured, "mail-template-refused", format!("{file}{place}: {why}"))
        .remedy(remedy)
        .field("mail.templates")
}
