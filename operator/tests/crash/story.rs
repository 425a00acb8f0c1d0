//! The stories. Both crash suites play them, on folders and on a Kubernetes API.

use ps_core::link::Verification;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// A static role; opened as soon as the mail is there, and acknowledged.
    Role,
    /// A KV secret; opened once the status says that it was delivered, and not acknowledged: its window ends. In a cluster,
    /// every second case, and acknowledged.
    Kv,
    /// A KV secret whose manifest is removed before the link is opened.
    Removed,
    /// Two deliveries of one static role; one is opened, so the other one's link must end.
    Shared,
    /// Two KV secrets that were delivered and rotated long ago. Both records go, one of them in spite of junk in its
    /// place; one manifest is gone, so its entry goes as well.
    Forgotten,
    /// The ledger is older than the audit trail: a KV secret waits for `restore accept`, and is opened then.
    Restored,
    /// A KV secret whose link demands an e-mailed code and a sign-in; opened once both are passed, and acknowledged.
    Checked,
    /// A static role that is rotated before it is delivered; opened and acknowledged as in `Role`.
    Fresh,
}

impl Story {
    pub const ALL: [Self; 8] = [
        Self::Role,
        Self::Kv,
        Self::Removed,
        Self::Shared,
        Self::Forgotten,
        Self::Restored,
        Self::Checked,
        Self::Fresh,
    ];

    /// The stories to play, and whether that is all of them.
    pub fn wanted() -> (Vec<Self>, bool) {
        let wanted = std::env::var("PASSWORD_SENDER_STORIES").ok();
        let is_wanted = |story: &Self| wanted.as_ref().is_none_or(|w| w.split(',').any(|w| w == format!("{story:?}")));
        (Self::ALL.into_iter().filter(is_wanted).collect(), wanted.is_none())
    }

    /// Whether the recipient waits until the status says `Delivered`.
    pub const fn is_patient(self) -> bool {
        matches!(self, Self::Kv)
    }

    /// What its links demand beside the opening code.
    pub const fn kinds(self) -> &'static [Verification] {
        match self {
            Self::Checked => &[Verification::EmailCode, Verification::Oidc],
            _ => &[],
        }
    }
}

/// A failpoint of a story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub name: &'static str,
    /// Which time it is passed, from 1.
    pub nth: usize,
}
