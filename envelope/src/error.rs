//! What can be wrong with a link, a code, a passphrase or a message. No error repeats any input.

use ps_core::error::{Class, Fault};

/// A refusal. Variants that carry a word carry the name of a member of the protocol, never a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Error {
    /// The fragment is not `ps1.` and 43 characters of canonical base64url.
    #[error("the link is incomplete or was changed on its way")]
    Fragment,
    /// A public URL that no link can be made from.
    #[error("the public URL is not an http or https URL without query and fragment")]
    PublicUrl,
    /// A secret value of another length than the protocol fixes.
    #[error("`{0}` has the wrong number of bytes")]
    Length(&'static str),
    /// An opening code of the wrong length, with a foreign character or a wrong check character.
    #[error("the opening code is mistyped")]
    OpeningCode,
    /// Nothing is left of the passphrase after normalisation.
    #[error("the passphrase is empty")]
    PassphraseEmpty,
    /// More than [`crate::MAX_PASSPHRASE_BYTES`] after normalisation.
    #[error("the passphrase is longer than 1024 bytes")]
    PassphraseTooLong,
    /// A kind of verification that is unknown, repeated or out of order.
    #[error("the kinds of verification are not a list that this version knows")]
    Kinds,
    /// KDF parameters that are unknown, missing, or there without a passphrase.
    #[error("the parameters of the passphrase hash are not among those that this version knows")]
    Kdf,
    /// A time outside `[0, 2^53)` milliseconds.
    #[error("a time is out of range")]
    Time,
    /// A factor that the kinds of verification demand was not given, or one was given that they do not name.
    #[error("the `{0}` and the kinds of verification do not fit together")]
    Factor(&'static str),
    /// A primitive refused its input. Cannot happen with the lengths used here, except for want of memory.
    #[error("key derivation failed")]
    Derivation,
    /// The message is not as long as a padded message is.
    #[error("the sealed message has an impossible length")]
    MessageLength,
    /// Wrong key, wrong associated data or a changed message.
    #[error("the sealed message does not open: it was changed, or the passphrase or the link is wrong")]
    NotAuthentic,
    /// The opened message is not framed and padded as the protocol says.
    #[error("the opened message is not padded as it must be")]
    Frame,
    /// More JSON than a payload or a preview may have.
    #[error("the content is too large")]
    TooLarge,
    /// Not JSON in UTF-8.
    #[error("the content is not JSON")]
    Json,
    /// Nested deeper than this client follows.
    #[error("the content is nested too deeply")]
    Depth,
    /// A `v` other than 1.
    #[error("the content is of another version")]
    Version,
    /// A member of the wrong type.
    #[error("member `{0}` has the wrong type")]
    WrongType(&'static str),
    /// A member that must be there is not.
    #[error("member `{0}` is missing")]
    Missing(&'static str),
    /// A member that occurs twice.
    #[error("member `{0}` occurs twice")]
    Duplicate(&'static str),
    /// A number that is not an integer in `[0, 2^53)`.
    #[error("member `{0}` is not an integer in range")]
    Number(&'static str),
    /// Text with an escaped lone surrogate.
    #[error("member `{0}` is not Unicode text")]
    Surrogate(&'static str),
    /// File content that is not canonical base64url.
    #[error("member `{0}` is not base64url")]
    Base64(&'static str),
    /// Text with too many characters.
    #[error("member `{0}` is too long")]
    TooLong(&'static str),
    /// Neither fields nor files, or more than 64 of them.
    #[error("a payload has 1 to 64 fields and files together")]
    ItemCount,
    /// A field whose key is empty.
    #[error("a field has no key")]
    FieldKey,
    /// Two fields with the same key.
    #[error("two fields have the same key")]
    FieldKeyRepeated,
    /// A field of a kind that can be read but not written.
    #[error("a field has a kind that this version cannot write")]
    FieldKind,
}

impl Error {
    /// Stable name, kebab-case, safe as a metric label; the `error` of the vectors.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Fragment => "bad-fragment",
            Self::PublicUrl => "bad-public-url",
            Self::Length(_) => "wrong-length",
            Self::OpeningCode => "bad-opening-code",
            Self::PassphraseEmpty => "passphrase-empty",
            Self::PassphraseTooLong => "passphrase-too-long",
            Self::Kinds => "bad-kinds",
            Self::Kdf => "bad-kdf",
            Self::Time => "bad-time",
            Self::Factor(_) => "factor-mismatch",
            Self::Derivation => "derivation-failed",
            Self::MessageLength => "bad-message-length",
            Self::NotAuthentic => "not-authentic",
            Self::Frame => "bad-frame",
            Self::TooLarge => "too-large",
            Self::Json => "bad-json",
            Self::Depth => "too-deep",
            Self::Version => "bad-version",
            Self::WrongType(_) => "wrong-type",
            Self::Missing(_) => "missing-member",
            Self::Duplicate(_) => "duplicate-member",
            Self::Number(_) => "bad-number",
            Self::Surrogate(_) => "lone-surrogate",
            Self::Base64(_) => "bad-base64",
            Self::TooLong(_) => "text-too-long",
            Self::ItemCount => "item-count",
            Self::FieldKey => "empty-field-key",
            Self::FieldKeyRepeated => "repeated-field-key",
            Self::FieldKind => "unknown-field-kind",
        }
    }

    /// Whose turn it is. Derivation can fail for want of memory, which passes; everything else needs other input.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::Derivation => Class::Transient,
            Self::NotAuthentic => Class::Denied,
            Self::PublicUrl
            | Self::PassphraseEmpty
            | Self::PassphraseTooLong
            | Self::Factor(_)
            | Self::TooLarge
            | Self::TooLong(_)
            | Self::ItemCount
            | Self::FieldKey
            | Self::FieldKeyRepeated
            | Self::FieldKind => Class::Misconfigured,
            _ => Class::Permanent,
        }
    }

    /// What to do about it, one sentence; empty where there is nothing to advise.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Fragment => "Copy the whole link from the mail, from https to its last character",
            Self::OpeningCode => "Type the eight characters as they stand in the mail",
            Self::PublicUrl => {
                "Set the public URL to where the gateway is reached, such as https://secrets.example.com"
            }
            Self::PassphraseEmpty | Self::PassphraseTooLong => "Choose a passphrase of 1 to 1024 bytes",
            Self::NotAuthentic => "Check the passphrase and the link, or ask the sender for a new one",
            Self::TooLarge => "Send less in one delivery: at most 1 MiB, files included",
            Self::TooLong(_) => "Shorten the text",
            Self::ItemCount => "Name 1 to 64 fields and files",
            Self::FieldKey | Self::FieldKeyRepeated => "Give every field a key of its own",
            _ => "",
        }
    }

    /// The same in the form that statuses, events and logs take.
    #[must_use]
    pub fn fault(self) -> Fault {
        Fault::new(self.class(), self.code(), self.to_string()).remedy(self.remedy())
    }
}
