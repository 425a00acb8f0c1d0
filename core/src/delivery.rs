//! What a sender asks for: a validated `SecretDelivery`, free of Kubernetes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::encode::push_lp;
use crate::error::Fault;
use crate::ids::{Digest, Key, Stamp};
use crate::link::Verification;
use crate::time::{Span, Timestamp};

/// One manifest as a source of manifests yields it.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Namespace and name.
    pub key: Key,
    /// Identity of this incarnation of the object; another uid under the same key is a re-creation or a restore.
    pub uid: String,
    /// Counts changes of the spec.
    pub generation: i64,
    /// The stamp annotation, if it carries one.
    pub stamp: Option<Stamp>,
    /// Deletion was asked for; it goes once the source's `release` is called.
    pub deleting: bool,
    /// A person asks to let it go at once, whatever its link and the ledger say (annotation `passwordsender.io/let-go`).
    pub let_go: bool,
    /// What is asked, or why it can't be understood. A fault here leaves running deliveries as they are.
    pub spec: Result<Box<Spec>, Fault>,
}

/// Who gets the credential.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// One address, as RFC 5321 allows it.
    pub email: String,
    /// How the mail addresses the person.
    pub name: Option<String>,
    /// Language of mail and page, BCP 47.
    pub locale: Option<String>,
}

impl Recipient {
    /// The address as status and logs may show it: first letter and domain.
    #[must_use]
    pub fn masked(&self) -> String {
        mask(&self.email)
    }
}

impl std::fmt::Debug for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recipient({})", self.masked())
    }
}

/// An address reduced to its first letter and its domain: `a…@vendor.example`.
#[must_use]
pub fn mask(email: &str) -> String {
    let (local, domain) = email.rsplit_once('@').unwrap_or((email, ""));
    let first = local.chars().next().map(String::from).unwrap_or_default();
    format!("{first}…@{domain}")
}

/// Which connection a delivery uses, and as which tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnectionRef {
    /// The tenant: always the delivery's own namespace. It is where a `VaultConnection` lies, and whose service account
    /// logs in through either kind. For clean-up it is the operator's own namespace.
    pub namespace: String,
    /// Name of the connection.
    pub name: String,
    /// Which kind of object it is.
    #[serde(default, skip_serializing_if = "ConnectionKind::is_namespaced")]
    pub kind: ConnectionKind,
}

impl ConnectionRef {
    /// A `VaultConnection` of this namespace.
    #[must_use]
    pub fn namespaced(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into(), kind: ConnectionKind::VaultConnection }
    }

    /// A `ClusterVaultConnection`, used by this namespace.
    #[must_use]
    pub fn cluster(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into(), kind: ConnectionKind::ClusterVaultConnection }
    }
}

/// The kinds of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConnectionKind {
    /// Lies in the namespace that uses it.
    #[default]
    VaultConnection,
    /// Cluster-wide; lists the namespaces that may use it.
    ClusterVaultConnection,
}

impl ConnectionKind {
    /// Whether it is the default; kept out of digests and files, so that entries written before there were two kinds stay equal.
    #[must_use]
    pub const fn is_namespaced(&self) -> bool {
        matches!(self, Self::VaultConnection)
    }

    /// The kind's name in manifests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VaultConnection => "VaultConnection",
            Self::ClusterVaultConnection => "ClusterVaultConnection",
        }
    }
}

/// Where the credential lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Source {
    /// KV version 2.
    Kv2 {
        /// Mount path without slashes at its ends.
        mount: String,
        /// Path of the secret below the mount.
        path: String,
        /// Keys to deliver; empty for every key.
        keys: Vec<String>,
    },
    /// KV version 1.
    Kv1 {
        /// Mount path without slashes at its ends.
        mount: String,
        /// Path of the secret below the mount.
        path: String,
        /// Keys to deliver; empty for every key.
        keys: Vec<String>,
    },
    /// A static role of the database engine: `username` and `password`.
    DatabaseStatic {
        /// Mount path without slashes at its ends.
        mount: String,
        /// Name of the static role.
        role: String,
    },
}

impl Source {
    /// Engine, mount and path: what two deliveries of one credential have in common, whichever keys they name.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Kv2 { mount, path, .. } => format!("kv2:{mount}/{path}"),
            Self::Kv1 { mount, path, .. } => format!("kv1:{mount}/{path}"),
            Self::DatabaseStatic { mount, role } => format!("database:{mount}/static-creds/{role}"),
        }
    }

    /// The key of the ledger's index by source: the server, its namespace and [`Source::place`].
    #[must_use]
    pub fn index_key(&self, address: &str, vault_namespace: &str) -> Digest {
        let mut out = Vec::new();
        for part in [address, vault_namespace, &self.place()] {
            push_lp(&mut out, part.as_bytes());
        }
        Digest::of(&out)
    }
}

/// How a delivered field is labelled and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldSpec {
    /// What the recipient reads; empty for the key itself.
    pub label: String,
    /// Key in the source.
    pub key: String,
    /// `text`, `password`, `url`, `multiline`, `totp` or `sshKey`.
    pub kind: String,
}

/// Words about the credential; they travel inside the envelope only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// Heading of the page.
    pub title: String,
    /// What it is for.
    pub purpose: String,
    /// Production, staging …
    pub environment: String,
    /// Where to use it.
    pub url: String,
    /// Anything else.
    pub note: String,
}

/// What makes the delivered value invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// Nothing: the credential stays as it is.
    None,
    /// `rotate-role` of a static role; proven at the target.
    RotateRole,
    /// Write new values to KV, then destroy the delivered version; proven in Vault only.
    WriteNewVersion,
}

/// What to do with an open link whose credential was rotated by somebody else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnSourceRotated {
    /// Withdraw the link and wait for a person.
    #[default]
    Stall,
    /// Withdraw the link and send a new one.
    Reissue,
}

/// When and how the credential is rotated after the hand-off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationSpec {
    /// What makes the delivered value invalid; `Auto` of the manifest is resolved already.
    pub strategy: Strategy,
    /// How long the recipient may use the credential, from the first claim.
    pub after_retrieval: Span,
    /// Rotate when nobody opened the link in time.
    pub on_expiry: bool,
    /// Rotate when the sender withdraws the link.
    pub on_revocation: bool,
    /// Rotate when too many wrong proofs or e-mailed codes locked the link.
    pub on_locked: bool,
    /// What to do when the source was rotated under an open link.
    pub on_source_rotated: OnSourceRotated,
    /// Rotate before the credential is read, so that it lives a full period.
    pub before_delivery: bool,
    /// Keys whose values are replaced and whose change is the proof. `password` for static roles.
    pub keys: Vec<String>,
    /// Vault password policy that makes new values; `None` for our own generator.
    pub password_policy: Option<String>,
}

/// What the sender wants to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NoticeKind {
    /// The link was opened.
    Retrieved,
    /// Opened, but not acknowledged within the window.
    Unacknowledged,
    /// Nobody opened it in time.
    Expired,
    /// Too many wrong passphrases or e-mailed codes.
    Locked,
    /// "Not meant for me", or a dispute after retrieval.
    Declined,
    /// The record was altered behind our back.
    Tampered,
    /// The link's token had reached a path or a query, where servers log.
    Exposed,
    /// The rotation is proven.
    Rotated,
    /// The rotation does not succeed.
    RotationFailed,
}

/// Who hears of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// The sender's address.
    pub email: String,
    /// Of what. Tampered and RotationFailed are always sent.
    pub on: Vec<NoticeKind>,
}

impl std::fmt::Debug for Notify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Notify({}, {:?})", mask(&self.email), self.on)
    }
}

/// What `Ready` means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Completion {
    /// The mail was accepted.
    #[default]
    OnDelivered,
    /// The link was opened.
    OnRetrieved,
    /// The credential is proven dead.
    OnRotated,
}

/// What to do with a manifest that was deleted and made anew without our stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnRecreate {
    /// Nothing is sent; the status says so.
    #[default]
    Hold,
    /// Send again.
    Send,
}

/// Which secret holds a passphrase: a Kubernetes Secret, or a file of the standalone operator's secrets folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretKeyRef {
    /// Name of the Secret, in the delivery's own namespace.
    pub name: String,
    /// Key in it.
    pub key: String,
}

/// A validated delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Who gets it.
    pub recipient: Recipient,
    /// Through which connection it is read and rotated.
    pub connection: ConnectionRef,
    /// Where it lives.
    pub source: Source,
    /// How fields are shown, in this order; empty for every key, by its name.
    pub fields: Vec<FieldSpec>,
    /// Words that travel inside the envelope.
    pub context: Context,
    /// Who sends it, as the recipient reads it; empty for the operator's configured sender.
    pub sender: String,
    /// How long the link can be opened, from put.
    pub ttl: Span,
    /// How long the claimant may repeat the claim.
    pub claim_window: Span,
    /// Never sent after this time.
    pub deliver_before: Option<Timestamp>,
    /// A passphrase that the recipient must know.
    pub passphrase: Option<SecretKeyRef>,
    /// A code that the recipient is mailed on request. Kept out of digests where it is not asked for, so that those of
    /// older entries stay equal; so is the next.
    #[serde(default, skip_serializing_if = "is_false")]
    pub email_code: bool,
    /// A sign-in at the operator's identity provider, with the recipient's address.
    #[serde(default, skip_serializing_if = "is_false")]
    pub oidc: bool,
    /// Rotation after the hand-off.
    pub rotation: RotationSpec,
    /// Who is told.
    pub notify: Option<Notify>,
    /// What `Ready` means.
    pub completion: Completion,
    /// Changed to send again.
    pub redeliver: Option<String>,
    /// For a manifest made anew.
    pub on_recreate: OnRecreate,
    /// Withdraw the link now.
    pub revoked: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl Spec {
    /// What the recipient must pass besides holding the link, in canonical order.
    #[must_use]
    pub fn kinds(&self) -> Vec<Verification> {
        let all = [
            (Verification::Passphrase, self.passphrase.is_some()),
            (Verification::EmailCode, self.email_code),
            (Verification::Oidc, self.oidc),
        ];
        all.into_iter().filter_map(|(kind, asked)| asked.then_some(kind)).collect()
    }

    /// Digest of everything that is asked.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest_json(self)
    }

    /// Digest of the recipient alone.
    #[must_use]
    pub fn recipient_digest(&self) -> Digest {
        digest_json(&self.recipient)
    }

    /// Digest of connection and source alone.
    #[must_use]
    pub fn source_digest(&self) -> Digest {
        digest_json(&(&self.connection, &self.source))
    }
}

fn digest_json(value: &impl Serialize) -> Digest {
    // Every type here serialises: no maps with non-text keys, no failing impls.
    Digest::of(&serde_json::to_vec(value).unwrap_or_default())
}

/// Which incarnation of a credential it is, in the engine's own terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Identity {
    /// Version *and* creation time: a path deleted and made anew starts at version 1 again.
    Kv2 {
        /// Version number, from 1.
        version: u64,
        /// `created_time` as Vault wrote it.
        created: String,
    },
    /// KV version 1 has none; the tags must do.
    Kv1,
    /// A static role's last rotation.
    Static {
        /// `last_vault_rotation`, to the millisecond.
        rotated: Timestamp,
    },
}

/// What the operator can see of a source without remembering its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSight {
    /// The operator's time of the answer.
    pub at: Timestamp,
    /// What is there now; `None` if the source holds nothing any more.
    pub current: Option<Identity>,
    /// A tag per field that is there now.
    pub tags: Tags,
    /// KV v2: what became of the delivered version, where that was looked at.
    pub delivered: DeliveredVersion,
    /// The values could not be looked at: whoever looked may clean up and not read. Then there are no tags, and versions
    /// and times are all that can prove anything.
    pub unseen: bool,
    /// KV v2, unseen: the keys whose current values this operator certainly wrote itself, and wrote later than the delivered
    /// version: each write was answered with its version, and nobody has written since. Of others nothing is known.
    pub written: Vec<String>,
}

/// What became of the version that was delivered (KV v2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveredVersion {
    /// Not asked: it is still the current one, or the engine has no versions.
    NotLooked,
    /// It can still be read, or undeleted.
    Present,
    /// Destroyed for good, or gone with its path.
    Destroyed,
}

/// A 16-bit HMAC tag per field: a difference proves change, and nobody can guess a value from it.
pub type Tags = BTreeMap<String, u16>;

#[cfg(test)]
mod tests;
