//! The mail server and the handling of mails in the configuration.

use std::path::PathBuf;

use ps_core::time::Span;
use serde::Deserialize;

use super::span;

/// The mail server.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Smtp {
    /// Host name; the certificate must be for it.
    pub host: String,
    /// Port; default 587 for STARTTLS, 465 for implicit TLS.
    #[serde(default)]
    pub port: Option<u16>,
    /// `starttls` (default) or `implicit`. There is no way to send without TLS.
    #[serde(default)]
    pub tls: SmtpTls,
    /// PEM file with the authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// User name; with `passwordFile`.
    #[serde(default)]
    pub username: Option<String>,
    /// File with the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Address in `From`: `Name <address>` or an address.
    pub from: String,
    /// Longest wait for each phase of a session. Default `30s`.
    #[serde(default = "default_phase", deserialize_with = "span")]
    pub timeout: Span,
}

/// How the mail connection is secured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SmtpTls {
    /// Required upgrade on the plain port.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Implicit,
}

/// Mail handling.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mail {
    /// How long a message may wait in memory for a mail server that refuses it for now; then its link is voided and a
    /// new attempt is made. Default `15m`, at most `1h`.
    #[serde(default = "default_hold", deserialize_with = "span")]
    pub hold: Span,
    /// A folder of templates that replace those of this program; see docs/operations.md, Mail. Default: none.
    #[serde(default)]
    pub templates: Option<PathBuf>,
}

impl Default for Mail {
    fn default() -> Self {
        Self { hold: default_hold(), templates: None }
    }
}

const fn default_phase() -> Span {
    Span::from_secs(30)
}

const fn default_hold() -> Span {
    Span::from_secs(900)
}
