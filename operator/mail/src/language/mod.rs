//! The languages that mail to recipients is written in. Each has one file, with all its texts, dates and lengths of time.

mod ar;
mod de;
mod en;
mod es;
mod fr;
mod it;
mod ja;
mod nl;
mod pl;
mod pt;
mod texts;
mod zh;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::tz::Offset;
use ps_core::time::{Span, Timestamp};

use self::texts::Texts;
use crate::header::instant;

/// First-strong isolate and its end (Unicode, annex 9): what stands between them is laid out by itself, so that a name or a
/// host in Latin letters does not turn the words around it.
const ISOLATE: [&str; 2] = ["\u{2068}", "\u{2069}"];

/// A language of mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Language {
    /// English: that of whoever names no language, or one that we don't have.
    En,
    /// German.
    De,
    /// French.
    Fr,
    /// Spanish.
    Es,
    /// Italian.
    It,
    /// Portuguese.
    Pt,
    /// Dutch.
    Nl,
    /// Polish.
    Pl,
    /// Japanese.
    Ja,
    /// Chinese, simplified.
    Zh,
    /// Arabic, written from right to left.
    Ar,
}

impl Language {
    /// Every one.
    pub const ALL: [Self; 11] =
        [Self::En, Self::De, Self::Fr, Self::Es, Self::It, Self::Pt, Self::Nl, Self::Pl, Self::Ja, Self::Zh, Self::Ar];

    /// The language of a tag such as `de-AT`, `zh-Hans` or `pt_BR`: that of its first part. English for none, and for one
    /// that we don't have.
    #[must_use]
    pub fn of_tag(tag: Option<&str>) -> Self {
        let first = tag.and_then(|tag| tag.split(['-', '_']).next()).unwrap_or_default();
        Self::ALL.into_iter().find(|language| language.code().eq_ignore_ascii_case(first)).unwrap_or(Self::En)
    }

    /// Its two letters (ISO 639-1).
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::De => "de",
            Self::Fr => "fr",
            Self::Es => "es",
            Self::It => "it",
            Self::Pt => "pt",
            Self::Nl => "nl",
            Self::Pl => "pl",
            Self::Ja => "ja",
            Self::Zh => "zh",
            Self::Ar => "ar",
        }
    }

    /// Its tag (BCP 47) for `Content-Language` and for HTML.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Zh => "zh-Hans",
            other => other.code(),
        }
    }

    /// How it is written: `ltr` or `rtl`.
    #[must_use]
    pub const fn direction(self) -> &'static str {
        match self {
            Self::Ar => "rtl",
            _ => "ltr",
        }
    }

    const fn texts(self) -> &'static Texts {
        match self {
            Self::En => &en::TEXTS,
            Self::De => &de::TEXTS,
            Self::Fr => &fr::TEXTS,
            Self::Es => &es::TEXTS,
            Self::It => &it::TEXTS,
            Self::Pt => &pt::TEXTS,
            Self::Nl => &nl::TEXTS,
            Self::Pl => &pl::TEXTS,
            Self::Ja => &ja::TEXTS,
            Self::Zh => &zh::TEXTS,
            Self::Ar => &ar::TEXTS,
        }
    }

    /// A time in UTC, as people write it, to the minute and never later than it is.
    pub(crate) fn date(self, at: Timestamp) -> String {
        let at = Offset::UTC.to_datetime(instant(at));
        self.texts().date(at.year(), at.month(), at.day(), at.hour(), at.minute())
    }

    /// A length of time, as people say it.
    pub(crate) fn length(self, span: Span) -> String {
        self.texts().lengths.say(span.as_millis())
    }

    /// The texts of one kind of mail, filled in.
    pub(crate) fn words(self, kind: &str, values: &Values<'_>) -> BTreeMap<&'static str, String> {
        let isolated = |text: &str| match (self.direction(), ISOLATE) {
            ("rtl", [begin, end]) => format!("{begin}{text}{end}"),
            _ => text.to_owned(),
        };
        let (sender, name, host) = (isolated(values.sender), isolated(values.name), isolated(values.host));
        let named = [("sender", sender.as_str()), ("name", &name), ("host", &host)];
        let other = [("until", values.until), ("length", values.length)];
        let mut words = self.texts().of_kind(kind, &[&named[..], &other[..]].concat());
        if let Some(hello) = words.remove("hello_named").filter(|_| !values.name.is_empty()) {
            words.insert("hello", hello);
        }
        words
    }
}

/// What is filled into the texts. All of it is plain words on one line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a> {
    /// Who sends.
    pub(crate) sender: &'a str,
    /// Who gets it; may be empty.
    pub(crate) name: &'a str,
    /// The host of the page.
    pub(crate) host: &'a str,
    /// A date.
    pub(crate) until: &'a str,
    /// A length of time; may be empty where no text says one.
    pub(crate) length: &'a str,
}

/// Puts values in the places of their names. What is put in is not looked at again.
fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, piece) in text.split('{').enumerate() {
        match piece.split_once('}').filter(|_| at > 0) {
            Some((name, rest)) => {
                out.push_str(values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value));
                out.push_str(rest);
            }
            None => out.push_str(piece),
        }
    }
    out
}
