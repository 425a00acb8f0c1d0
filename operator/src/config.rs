//! The operator's configuration: one YAML file, every field documented, unknown fields refused with the nearest name,
//! secrets only as paths of files.

use std::fmt;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ps_core::nearest::nearest_field;
use ps_core::page::PageConfig;
use ps_core::secret::SecretString;
use ps_core::time::Span;
use serde::{Deserialize, Deserializer};

pub use self::cluster::{Kubernetes, LeaderElection};
pub use self::identity::Oidc;
pub use self::mail::{Mail, Smtp, SmtpTls};
use crate::self_check::Mode;

mod cluster;
mod identity;
mod mail;

/// The longest secret in a file, in bytes.
const MAX_SECRET: usize = 64 * 1024;
/// The longest configuration file that is read.
const MAX_BYTES: u64 = 256 * 1024;

/// Everything that can be configured. See `examples/standalone/config.yaml` for a file with every field.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Where links lead: `https://host[:port][/path]`, no trailing slash. `http://` is for loopback only.
    pub public_url: String,
    /// Where the gateway listens. Put a TLS-terminating proxy in front of it. Default `127.0.0.1:8080`.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Proxies whose `X-Forwarded-For` is believed, for limits per client. Default: none.
    #[serde(default)]
    pub trusted_proxies: Vec<std::net::IpAddr>,
    /// Health and metrics.
    #[serde(default)]
    pub admin: Admin,
    /// Who sends credentials, as recipients read it; a manifest's `sender` goes first. Default `Password Sender`.
    #[serde(default = "default_sender")]
    pub sender: String,
    /// The mail server. Exactly one of `smtp` and `outbox`.
    #[serde(default)]
    pub smtp: Option<Smtp>,
    /// A folder that takes mails as files instead of a mail server. It stores links at rest: for trying things out only.
    #[serde(default)]
    pub outbox: Option<PathBuf>,
    /// Mail handling.
    #[serde(default)]
    pub mail: Mail,
    /// The identity provider for `verification.oidc`. Default: none.
    #[serde(default)]
    pub oidc: Option<Oidc>,
    /// Folder of secrets that manifests name: `NAMESPACE/NAME/KEY`, one value per file, readable by the operator only.
    #[serde(default)]
    pub secrets: Option<PathBuf>,
    /// The audit trail.
    #[serde(default)]
    pub audit: Audit,
    /// Logging.
    #[serde(default)]
    pub log: Log,
    /// Send nothing; go on rotating. Default false.
    #[serde(default)]
    pub paused: bool,
    /// How long the data folder stays this operator's after it was last heard of; then a standby on the same folder takes
    /// over. Between `2s` and `5m`; default `15s`. Safety never depends on it.
    #[serde(default = "default_lease", deserialize_with = "span")]
    pub lease: Span,
    /// How many deliveries are worked on at once. Default 16.
    #[serde(default = "default_workers")]
    pub workers: usize,
    /// Link records.
    #[serde(default)]
    pub store: Store,
    /// The recipient's page: name, colour, logo, texts. Standalone; a gateway of its own takes the same as a file.
    #[serde(default)]
    pub page: PageConfig,
    /// The check that links can be opened through `publicUrl`.
    #[serde(default)]
    pub self_check: SelfCheck,
    /// The operator in a cluster (`run` only).
    #[serde(default)]
    pub kubernetes: Kubernetes,
}

/// Link records.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Store {
    /// The largest sealed payload, in bytes: what is delivered at once, with its padding. Between 4096 and 524288, which
    /// is the default and the most that a Secret holds safely.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: usize,
}

impl Default for Store {
    fn default() -> Self {
        Self { max_bytes: default_max_bytes() }
    }
}

/// The check that links can be opened through `publicUrl`: before the first mail, and hourly.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SelfCheck {
    /// `Required` sends nothing until it succeeds, `Warn` tells (default), `Off` does not check.
    #[serde(default)]
    pub mode: Mode,
    /// Connect to this address and port instead of the one that the name stands for.
    #[serde(default)]
    pub connect_to: Option<SocketAddr>,
    /// PEM file with the authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// Health and metrics.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Admin {
    /// Where `/healthz`, `/readyz` and `/metrics` are served. Default `127.0.0.1:9090`.
    #[serde(default = "default_admin")]
    pub listen: SocketAddr,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: default_admin() }
    }
}

/// The audit trail.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Audit {
    /// The file; default `audit.jsonl` in the data folder. On another volume it is a witness of restores.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// Whether each event also goes to standard output. Default false.
    #[serde(default)]
    pub stdout: bool,
}

/// Logging.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Log {
    /// `text` (default) or `json`.
    #[serde(default)]
    pub format: LogFormat,
    /// `error`, `warn`, `info` (default), `debug` or `trace`, for our own crates; libraries stay at `warn`.
    #[serde(default = "default_level")]
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::default(), level: default_level() }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}

fn default_admin() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9090))
}

fn default_sender() -> String {
    "Password Sender".to_owned()
}

const fn default_max_bytes() -> usize {
    ps_store::MAX_BYTES
}

const fn default_workers() -> usize {
    16
}

const fn default_lease() -> Span {
    Span::from_secs(15)
}

fn default_level() -> String {
    "info".to_owned()
}

fn span<'de, D: Deserializer<'de>>(d: D) -> Result<Span, D::Error> {
    let text = String::deserialize(d)?;
    Span::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no duration; write 90s, 15m or 4h")))
}

/// Why a configuration is refused. It says which file, which field, and what to write instead.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{}: {why}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// It does not parse.
    #[error("{}: {why}{}", path.display(), Hint(hint.as_deref()))]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What and where.
        why: String,
        /// The nearest known name of an unknown field.
        hint: Option<String>,
    },
    /// It parses, but a field's value can't be used.
    #[error("{field}: {why}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What to write instead.
        why: String,
    },
}

struct Hint<'a>(Option<&'a str>);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |name| write!(f, ". Did you mean `{name}`?"))
    }
}

impl Config {
    /// Reads and checks a file. Relative paths in it count from the file's own folder.
    ///
    /// # Errors
    /// [`ConfigError`]; no secret is read here.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = |why: String| ConfigError::Read { path: path.to_owned(), why };
        let size = std::fs::metadata(path).map_err(|e| read(e.to_string()))?.len();
        if size > MAX_BYTES {
            return Err(read(format!("larger than {MAX_BYTES} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| read(e.to_string()))?;
        let mut config = Self::parse(&text, path)?;
        let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
        config.anchor(&base);
        Ok(config)
    }

    /// Parses and checks a configuration; `path` is for messages only.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = serde_yaml::from_str(text).map_err(|e| {
            let why = e.to_string();
            ConfigError::Parse { path: path.to_owned(), hint: nearest_field(&why), why }
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let field = |field, why: &str| Err(ConfigError::Field { field, why: why.to_owned() });
        if !is_safe(&self.public_url) {
            return field("publicUrl", "must begin with https:// (http:// is for loopback only)");
        }
        if self.public_url.ends_with('/') || self.public_url.contains(['#', '?', ' ', '\n']) {
            return field(
                "publicUrl",
                "scheme, host, optional port and path only; no trailing slash, no query, no fragment",
            );
        }
        match (&self.smtp, &self.outbox) {
            (None, None) => return field("smtp", "name a mail server here, or an outbox folder to try things out"),
            (Some(_), Some(_)) => return field("outbox", "goes only without smtp"),
            _ => {}
        }
        if let Some(smtp) = &self.smtp
            && smtp.username.is_some() != smtp.password_file.is_some()
        {
            return field("smtp.passwordFile", "user name and password file go together");
        }
        if self.mail.hold > Span::from_secs(3600) {
            return field("mail.hold", "at most 1h: a message in memory dies with the process");
        }
        if self.lease < Span::from_secs(2) || self.lease > Span::from_secs(300) {
            return field("lease", "between 2s and 5m");
        }
        if self.workers == 0 || self.workers > 256 {
            return field("workers", "between 1 and 256");
        }
        let address = crate::self_check::host(&self.public_url).is_some_and(|h| h.parse::<std::net::IpAddr>().is_ok());
        if self.self_check.connect_to.is_some() && address {
            return field(
                "selfCheck.connectTo",
                "goes only with a publicUrl that has a name: an address is connected to as it is",
            );
        }
        self.page.brand().map_err(|fault| ConfigError::Field { field: "page", why: fault.to_string() })?;
        self.kubernetes.check()?;
        self.oidc.as_ref().map_or(Ok(()), Oidc::check)?;
        if !(4096..=ps_store::MAX_BYTES).contains(&self.store.max_bytes) {
            return field("store.maxBytes", "between 4096 and 524288");
        }
        if !["error", "warn", "info", "debug", "trace"].contains(&self.log.level.as_str()) {
            return field("log.level", "one of error, warn, info, debug, trace");
        }
        Ok(())
    }

    fn anchor(&mut self, base: &Path) {
        let fix = |path: &mut Option<PathBuf>| {
            if let Some(p) = path.as_mut().filter(|p| p.is_relative()) {
                *p = base.join(&*p);
            }
        };
        fix(&mut self.outbox);
        fix(&mut self.mail.templates);
        fix(&mut self.secrets);
        fix(&mut self.audit.file);
        fix(&mut self.self_check.ca_file);
        if let Some(oidc) = &mut self.oidc {
            fix(&mut oidc.ca_file);
            if oidc.client_secret_file.is_relative() {
                oidc.client_secret_file = base.join(&oidc.client_secret_file);
            }
        }
        if let Some(smtp) = &mut self.smtp {
            fix(&mut smtp.ca_file);
            fix(&mut smtp.password_file);
        }
    }

    /// Domain of Message-IDs: that of the sender's address, else the public host.
    #[must_use]
    pub fn mail_domain(&self) -> String {
        let from = self.smtp.as_ref().map_or("", |s| s.from.trim_end_matches('>'));
        // An IPv6 address is no host name, which Message-IDs and EHLO need.
        let host = crate::self_check::host(&self.public_url).filter(|host| !host.contains(':')).unwrap_or("localhost");
        from.rsplit_once('@').map_or(host, |(_, domain)| domain).to_owned()
    }
}

/// Whether what is sent to an address is encrypted on the way, or does not leave this machine.
fn is_safe(url: &str) -> bool {
    let here = || matches!(crate::self_check::host(url), Some("127.0.0.1" | "localhost" | "::1"));
    url.starts_with("https://") || (url.starts_with("http://") && here())
}

/// Reads a secret from a file: at most 64 KiB, one trailing newline stripped.
///
/// # Errors
/// [`ConfigError::Read`]; the content is never part of it.
pub fn secret_file(path: &Path) -> Result<SecretString, ConfigError> {
    let read = |why: String| ConfigError::Read { path: path.to_owned(), why };
    // One byte more than may be there, with its line end: whatever is named here is not read whole.
    let mut text = zeroize::Zeroizing::new(Vec::with_capacity(MAX_SECRET + 3));
    let mut file = std::fs::File::open(path).map_err(|e| read(e.to_string()))?.take(MAX_SECRET as u64 + 3);
    file.read_to_end(&mut text).map_err(|e| read(e.to_string()))?;
    let trimmed = text.strip_suffix(b"\n").unwrap_or(&text);
    let trimmed = trimmed.strip_suffix(b"\r").unwrap_or(trimmed);
    if trimmed.is_empty() || trimmed.len() > MAX_SECRET {
        return Err(read("empty, or larger than 64 KiB".into()));
    }
    SecretString::from_utf8(ps_core::secret::SecretBytes::new(trimmed.to_vec())).map_err(|_| read("not UTF-8".into()))
}

#[cfg(test)]
mod tests;
