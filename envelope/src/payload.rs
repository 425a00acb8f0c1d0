//! What a link carries: labelled fields, small files and a preview (section 5).

use std::fmt;

use ps_core::secret::{SecretBytes, SecretString};
use ps_core::time::Span;

use crate::Error;
use crate::json::{Counter, Sink, Writer};

#[path = "payload_read.rs"]
mod read;
#[path = "payload_write.rs"]
mod write;

/// The most bytes that a payload's JSON may have: 1 MiB.
pub const MAX_PAYLOAD_JSON: usize = 1 << 20;
/// The most bytes that a preview's JSON may have.
pub const MAX_PREVIEW_JSON: usize = 4096;
/// The most fields and files together.
pub const MAX_ITEMS: usize = 64;
/// The most characters (code points) of a preview's title.
pub const MAX_PREVIEW_TITLE: usize = 200;
/// The most characters (code points) of a preview's sender.
pub const MAX_PREVIEW_SENDER: usize = 320;

/// How a field's value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldKind {
    /// One line.
    Text,
    /// One line, hidden until asked for.
    Password,
    /// A link.
    Url,
    /// Several lines, hidden until asked for.
    Multiline,
    /// An `otpauth` URL or a base32 secret.
    Totp,
    /// A private key.
    SshKey,
    /// A kind of a later version: shown as text, hidden until asked for. Cannot be written.
    Unknown,
}

impl FieldKind {
    /// The name in JSON and in manifests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Password => "password",
            Self::Url => "url",
            Self::Multiline => "multiline",
            Self::Totp => "totp",
            Self::SshKey => "sshKey",
            Self::Unknown => "unknown",
        }
    }

    /// Inverse of [`FieldKind::as_str`]; anything that this version does not know is [`FieldKind::Unknown`].
    #[must_use]
    pub fn parse(name: &str) -> Self {
        [Self::Text, Self::Password, Self::Url, Self::Multiline, Self::Totp, Self::SshKey]
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .unwrap_or(Self::Unknown)
    }

    /// The kind of a value that nobody described: several lines, or hidden because its key sounds secret, or plain text.
    #[must_use]
    pub fn guess(key: &str, value: &str) -> Self {
        let key = key.to_ascii_lowercase();
        if value.trim_end().contains('\n') {
            Self::Multiline
        } else if ["pass", "secret", "token", "key", "pin"].iter().any(|word| key.contains(word)) {
            Self::Password
        } else {
            Self::Text
        }
    }
}

/// One labelled value.
pub struct Field {
    /// The name in the source; not empty, unique in its payload.
    pub key: String,
    /// What people read; empty means that the key is shown.
    pub label: String,
    /// How the value is shown.
    pub kind: FieldKind,
    /// The value itself.
    pub value: SecretString,
}

/// A small file.
pub struct File {
    /// File name, as the sender chose it. A client that saves it uses [`File::plain_name`].
    pub name: String,
    /// Media type, as the sender chose it.
    pub media_type: String,
    /// The content.
    pub data: SecretBytes,
}

impl File {
    /// The name without folders, control characters and what file systems reserve: safe to create in a folder of the
    /// recipient's choice. `None` if nothing is left.
    #[must_use]
    pub fn plain_name(&self) -> Option<String> {
        let last = self.name.rsplit(['/', '\\', ':']).next().unwrap_or_default();
        // Marks that turn the direction of writing can hide a name's real ending.
        let turns =
            |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let reserved = |c| matches!(c, '<' | '>' | '"' | '|' | '?' | '*');
        let kept: String = last.chars().filter(|c| !c.is_control() && !turns(*c) && !reserved(*c)).collect();
        let name = kept.trim_start_matches(['.', ' ', '-']).trim_end_matches(['.', ' ']);
        (!name.is_empty() && name.len() <= 255).then(|| name.to_owned())
    }
}

/// Everything that the recipient gets.
#[derive(Default)]
pub struct Payload {
    /// What it is.
    pub title: Option<SecretString>,
    /// What it is for.
    pub purpose: Option<SecretString>,
    /// Which environment it belongs to.
    pub environment: Option<SecretString>,
    /// Where it is used.
    pub url: Option<SecretString>,
    /// Anything else that the sender wants to say.
    pub note: Option<SecretString>,
    /// Who sent it.
    pub sender: Option<SecretString>,
    /// How long the credential works after the first opening.
    pub works_for: Option<Span>,
    /// Labelled values.
    pub fields: Vec<Field>,
    /// Small files.
    pub files: Vec<File>,
}

impl Payload {
    /// Checks what both sides must: 1 to 64 fields and files, keys not empty and unique.
    ///
    /// # Errors
    /// [`Error::ItemCount`], [`Error::FieldKey`] or [`Error::FieldKeyRepeated`].
    pub fn validate(&self) -> Result<(), Error> {
        if !(1..=MAX_ITEMS).contains(&(self.fields.len() + self.files.len())) {
            return Err(Error::ItemCount);
        }
        if self.fields.iter().any(|f| f.key.is_empty()) {
            return Err(Error::FieldKey);
        }
        let mut keys: Vec<_> = self.fields.iter().map(|f| f.key.as_str()).collect();
        keys.sort_unstable();
        if keys.is_sorted_by(|a, b| a < b) { Ok(()) } else { Err(Error::FieldKeyRepeated) }
    }

    /// Reads JSON. See the module's section for what is refused.
    ///
    /// # Errors
    /// The first thing that is wrong, without repeating any of it.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        read::payload(json)
    }

    /// Writes JSON into one wiped buffer: members in the order of section 5, no white space.
    ///
    /// # Errors
    /// As [`Payload::validate`], [`Error::FieldKind`] for a kind that cannot be written, [`Error::TooLarge`] above 1 MiB.
    pub fn to_json(&self) -> Result<SecretBytes, Error> {
        to_json(self)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("works_for", &self.works_for)
            .field("fields", &self.fields.len())
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key: _, label: _, kind, value: _ } = self;
        f.debug_struct("Field").field("kind", kind).finish_non_exhaustive()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("File(…)")
    }
}

/// What the page shows before it asks for anything.
#[derive(Debug, Default)]
pub struct Preview {
    /// What it is; at most 200 characters, may be empty.
    pub title: SecretString,
    /// Who sent it; at most 320 characters, may be empty.
    pub sender: SecretString,
    /// How long the credential works after the first opening, as in the payload; at most 2^53 ms.
    pub works_for: Option<Span>,
}

impl Preview {
    /// Checks the lengths.
    ///
    /// # Errors
    /// [`Error::TooLong`].
    pub fn validate(&self) -> Result<(), Error> {
        for (name, text, max) in
            [("title", &self.title, MAX_PREVIEW_TITLE), ("sender", &self.sender, MAX_PREVIEW_SENDER)]
        {
            if text.expose().chars().count() > max {
                return Err(Error::TooLong(name));
            }
        }
        Ok(())
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// The first thing that is wrong, without repeating any of it.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        read::preview(json)
    }

    /// Writes JSON into one wiped buffer.
    ///
    /// # Errors
    /// As [`Preview::validate`]; [`Error::TooLarge`] above 4096 bytes.
    pub fn to_json(&self) -> Result<SecretBytes, Error> {
        to_json(self)
    }
}

/// A message's content, as the sealer writes it.
pub(crate) trait Content {
    /// The most bytes of JSON.
    const MAX: usize;

    /// Checks what the protocol demands of a sealer.
    fn check(&self) -> Result<(), Error>;

    /// Writes JSON.
    fn write(&self, out: &mut impl Sink);

    /// Checks the content and counts its bytes.
    fn json_len(&self) -> Result<usize, Error> {
        self.check()?;
        let mut counter = Counter::default();
        self.write(&mut counter);
        if counter.0 > Self::MAX { Err(Error::TooLarge) } else { Ok(counter.0) }
    }

    /// Writes into a buffer of exactly [`Content::json_len`] bytes.
    fn write_into(&self, buffer: &mut [u8]) -> Result<(), Error> {
        let mut writer = Writer::new(buffer);
        self.write(&mut writer);
        writer.finish()
    }
}

fn to_json(content: &impl Content) -> Result<SecretBytes, Error> {
    SecretBytes::try_fill(content.json_len()?, |buffer| content.write_into(buffer))
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
