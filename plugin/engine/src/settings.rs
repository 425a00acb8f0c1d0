//! What a mount and its roles allow.

use ps_core::time::Span;
use serde::{Deserialize, Serialize};

use crate::rotation::Terms;

/// Settings of the mount (`config`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// What links begin with; without it none can be made here.
    pub public_url: String,
    /// How long a link can be opened where neither request nor role says.
    pub default_ttl: Span,
    /// The longest that a link can be opened.
    pub max_ttl: Span,
    /// How long whoever opened it may repeat that.
    pub claim_window: Span,
    /// How long what remains of an ended link, and history, is kept.
    pub keep: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            public_url: String::new(),
            default_ttl: Span::from_secs(4 * 3600),
            max_ttl: Span::from_secs(72 * 3600),
            claim_window: Span::from_secs(15 * 60),
            keep: Span::from_secs(30 * 86_400),
        }
    }
}

/// Settings of one role (`roles/NAME`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Instead of the mount's, if shorter.
    pub default_ttl: Option<Span>,
    /// Instead of the mount's, if shorter.
    pub max_ttl: Option<Span>,
    /// Whether each link needs a passphrase.
    pub require_passphrase: bool,
    /// Whether a link without a lease dies after a minute.
    pub require_lease: bool,
    /// What is rotated after a hand-off.
    pub rotation: Option<Terms>,
}

/// The times that hold for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// If nothing is asked for.
    pub(crate) default_ttl: Span,
    /// At most.
    pub(crate) max_ttl: Span,
}

impl Limits {
    /// What mount and role allow together.
    #[must_use]
    pub(crate) fn of(config: &Config, role: &Role) -> Self {
        let max_ttl = role.max_ttl.map_or(config.max_ttl, |max| max.min(config.max_ttl));
        Self { default_ttl: role.default_ttl.unwrap_or(config.default_ttl).min(max_ttl), max_ttl }
    }
}
