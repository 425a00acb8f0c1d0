//! What an operator may say on the recipient's page: name, colour, logo, texts. Data only, bounded, and unable to take
//! away contrast or to bring anything that runs.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

pub use self::color::{Color, SURFACES_DARK, SURFACES_LIGHT};

mod color;

/// The most characters of a name.
pub const MAX_NAME: usize = 60;
/// The most characters of one text.
pub const MAX_TEXT: usize = 600;
/// The most bytes of a logo, decoded.
pub const MAX_LOGO: usize = 16 * 1024;
/// The longest time that browsers are told to insist on TLS, in seconds: two years.
pub const MAX_HSTS_SECONDS: u32 = 63_072_000;
/// The languages of the page.
pub const LANGUAGES: [&str; 11] = ["en", "de", "fr", "es", "it", "pt", "nl", "pl", "ja", "zh", "ar"];
/// Stands for every language that has no text of its own.
const DEFAULT: &str = "default";

/// The page's configuration: `page` in the operator's, or the file of the gateway's `--page-config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PageConfig {
    /// Whose page it is, above it: 1 to 60 characters. Default: Password Sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Colour of buttons and links, `#rrggbb`. Made darker for the light scheme and lighter for the dark one until text in
    /// it has a contrast of 4.5. Default: a dark green.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    /// Picture beside the name, on white: `data:image/png;base64,…` or `data:image/svg+xml;base64,…`, at most 16 KiB
    /// decoded. Default: a lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logo: Option<String>,
    /// Where to keep what was opened, by language (`en`, `de`, …, or `default`): each at most 600 characters of plain text.
    /// Default: a sentence about password managers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub guidance: BTreeMap<String, String>,
    /// Whom to ask, by language, as `guidance`. Default: nothing but the sender's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contact: BTreeMap<String, String>,
    /// How long browsers shall insist on TLS for this host, in seconds (`Strict-Transport-Security`); at most two years. For
    /// gateways that are reached over TLS only, where the proxy does not say it. Default: not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsts_seconds: Option<u32>,
}

/// A field that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct PageConfigError {
    /// Which field.
    pub field: &'static str,
    /// What to write instead.
    pub why: String,
}

/// A configuration that was checked: what the page gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brand {
    /// `page.json`.
    pub json: String,
    /// The logo, if there is one.
    pub logo: Option<Logo>,
    /// Seconds for `Strict-Transport-Security`.
    pub hsts_seconds: Option<u32>,
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logo {
    /// `image/png` or `image/svg+xml`.
    pub content_type: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// `page.json`, as `web/src/brand.ts` reads it.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    light: Option<[Color; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dark: Option<[Color; 2]>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    logo: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    guidance: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    contact: &'a BTreeMap<String, String>,
}

impl PageConfig {
    /// Checks every field and works out what the page gets.
    ///
    /// # Errors
    /// The first field that can't be used, with what to write instead.
    pub fn brand(&self) -> Result<Brand, PageConfigError> {
        let refuse = |field, why: String| Err(PageConfigError { field, why });
        if let Some(name) = &self.name
            && !is_plain(name, MAX_NAME, false)
        {
            return refuse("name", format!("1 to {MAX_NAME} characters of one line"));
        }
        let color = match self.color.as_deref().map(Color::parse) {
            Some(None) => return refuse("color", "six hexadecimal digits, such as \"#0a5c8f\"".to_owned()),
            Some(color) => color,
            None => None,
        };
        let logo = self.logo.as_deref().map(logo).transpose()?;
        for (field, texts) in [("guidance", &self.guidance), ("contact", &self.contact)] {
            for (language, text) in texts {
                if language != DEFAULT && !LANGUAGES.contains(&language.as_str()) {
                    let known = LANGUAGES.join(", ");
                    return refuse(
                        field,
                        format!("{language:?} is no language of the page; there are {known} and {DEFAULT}"),
                    );
                }
                if !is_plain(text, MAX_TEXT, true) {
                    return refuse(field, format!("{language}: 1 to {MAX_TEXT} characters of plain text"));
                }
            }
        }
        if self.hsts_seconds.is_some_and(|seconds| seconds == 0 || seconds > MAX_HSTS_SECONDS) {
            return refuse("hstsSeconds", format!("between 1 and {MAX_HSTS_SECONDS}"));
        }
        let json = Json {
            name: self.name.as_deref(),
            light: color.map(Color::for_light),
            dark: color.map(Color::for_dark),
            logo: logo.is_some(),
            guidance: &self.guidance,
            contact: &self.contact,
        };
        let json = serde_json::to_string(&json)
            .map_err(|_| PageConfigError { field: "page", why: "can't be written as JSON".to_owned() })?;
        Ok(Brand { json, logo, hsts_seconds: self.hsts_seconds })
    }
}

/// Text that says what it looks like: no control characters, and none that turn the direction of writing.
fn is_plain(text: &str, most: usize, lines: bool) -> bool {
    let bad = |c: char| {
        (c.is_control() && !(lines && c == '\n'))
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let count = text.chars().count();
    !text.trim().is_empty() && count <= most && !text.chars().any(bad)
}

/// A picture from a `data:` address. What it says it is must show in its first bytes.
fn logo(text: &str) -> Result<Logo, PageConfigError> {
    let refuse = |why: &str| Err(PageConfigError { field: "logo", why: why.to_owned() });
    let kinds = [("data:image/png;base64,", "image/png"), ("data:image/svg+xml;base64,", "image/svg+xml")];
    let found = kinds.iter().find_map(|(prefix, kind)| text.strip_prefix(prefix).map(|rest| (rest, *kind)));
    let Some((rest, content_type)) = found else {
        return refuse("data:image/png;base64,… or data:image/svg+xml;base64,…");
    };
    if rest.len() > MAX_LOGO.div_ceil(3) * 4 {
        return refuse("at most 16 KiB");
    }
    let Ok(bytes) = STANDARD.decode(rest) else { return refuse("not base64") };
    let is_it = match content_type {
        "image/png" => bytes.starts_with(b"\x89PNG\r\n\x1a\n"),
        _ => std::str::from_utf8(&bytes).is_ok_and(|text| text.contains("<svg")),
    };
    if !is_it || bytes.len() > MAX_LOGO {
        return refuse("the data is not a picture of that kind");
    }
    Ok(Logo { content_type, bytes })
}

#[cfg(test)]
mod tests;
