//! What went wrong, in the terms an operator asks about: whose turn is it, and what is the remedy?

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whose turn it is. Decides whether and how fast something is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Class {
    /// The other side may recover by itself: retried with backoff, per connection.
    Transient,
    /// It will fail the same way for this input: not retried until the input changes.
    Permanent,
    /// A person must change a manifest, a policy or a role: retried slowly, shown as `Stalled`.
    Misconfigured,
    /// The other side refuses these credentials: one new login, then as [`Class::Misconfigured`].
    Denied,
}

impl Class {
    /// The word used in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Misconfigured => "misconfigured",
            Self::Denied => "denied",
        }
    }
}

/// A failure fit for a status, an event, a log or a metric: it names no secret, by construction of its callers.
///
/// `code` is stable, kebab-case and safe as a metric label. `message` says what happened, `remedy` what to do.
/// `field` is the manifest or configuration field to change, as a JSON path such as `spec.source.vault.kv.path`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Stable name, kebab-case: `vault-sealed`, `smtp-refused`.
    pub code: String,
    /// Whose turn it is.
    pub class: Class,
    /// What happened, one sentence without a full stop at the end.
    pub message: String,
    /// What to do about it, one sentence; empty if waiting is all there is to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// The field that should change, if one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl Fault {
    /// A fault without field and remedy; add them with [`Fault::remedy`] and [`Fault::field`].
    #[must_use]
    pub fn new(class: Class, code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), class, message: message.into(), remedy: String::new(), field: None }
    }

    /// Says what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// Names the field to change.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Whether trying again later, unchanged, can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.class == Class::Transient
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)?;
        if !self.remedy.is_empty() {
            write!(f, ". {}", self.remedy)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({} {}: {self})", self.class.as_str(), self.code)
    }
}

impl std::error::Error for Fault {}
