//! The manifest's words into the rules' words, one to one.

use ps_core::delivery as core;

use crate::{Completion, FieldKind, Notice, OnRecreate, OnSourceRotated, SecretKeyRef};

impl From<Notice> for core::NoticeKind {
    fn from(notice: Notice) -> Self {
        match notice {
            Notice::Retrieved => Self::Retrieved,
            Notice::Unacknowledged => Self::Unacknowledged,
            Notice::Expired => Self::Expired,
            Notice::Locked => Self::Locked,
            Notice::Declined => Self::Declined,
            Notice::Tampered => Self::Tampered,
            Notice::Rotated => Self::Rotated,
            Notice::Exposed => Self::Exposed,
            Notice::RotationFailed => Self::RotationFailed,
        }
    }
}

impl From<Completion> for core::Completion {
    fn from(completion: Completion) -> Self {
        match completion {
            Completion::OnDelivered => Self::OnDelivered,
            Completion::OnRetrieved => Self::OnRetrieved,
            Completion::OnRotated => Self::OnRotated,
        }
    }
}

impl From<OnRecreate> for core::OnRecreate {
    fn from(on: OnRecreate) -> Self {
        match on {
            OnRecreate::Hold => Self::Hold,
            OnRecreate::Send => Self::Send,
        }
    }
}

impl From<OnSourceRotated> for core::OnSourceRotated {
    fn from(on: OnSourceRotated) -> Self {
        match on {
            OnSourceRotated::Stall => Self::Stall,
            OnSourceRotated::Reissue => Self::Reissue,
        }
    }
}

impl From<&SecretKeyRef> for core::SecretKeyRef {
    fn from(secret: &SecretKeyRef) -> Self {
        Self { name: secret.name.clone(), key: secret.key.clone() }
    }
}

impl FieldKind {
    /// The word of the payload format (docs/link-protocol.md).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Password => "password",
            Self::Url => "url",
            Self::Multiline => "multiline",
            Self::Totp => "totp",
            Self::SshKey => "sshKey",
        }
    }
}
