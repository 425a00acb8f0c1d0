//! `spec.rotation`: what makes the delivered value invalid, and when.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

/// When and how the credential is made invalid after the hand-off.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::rule_at(".passwordPolicy",
    "!has(self.passwordPolicy) || (has(self.strategy) && self.strategy == 'WriteNewVersion')",
    "rotation.passwordPolicy is for WriteNewVersion only; remove it: Vault makes the password of a static role itself"))]
#[x_kube(validation = rules::rule_at(".keys",
    "!has(self.keys) || (has(self.strategy) && self.strategy == 'WriteNewVersion')",
    "rotation.keys is for WriteNewVersion only; remove it"))]
#[x_kube(validation = rules::rule_at(".afterRetrieval",
    "!has(self.afterRetrieval) || !has(self.strategy) || self.strategy != 'None'",
    "rotation.afterRetrieval promises an end that strategy None never brings; remove it or choose another strategy"))]
#[x_kube(validation = rules::rule_at(".beforeDelivery",
    "!has(self.beforeDelivery) || !self.beforeDelivery || !has(self.strategy) || self.strategy in ['Auto', 'RotateRole']",
    "rotation.beforeDelivery is for static roles; remove it or use strategy RotateRole"))]
pub struct Rotation {
    /// What makes the delivered value invalid: `RotateRole` makes Vault change the password of a static role at the target;
    /// `WriteNewVersion` writes new values to KV and destroys the delivered version; `None` changes nothing; `Auto` is
    /// `RotateRole` for a static role, and refused for KV, which must say what it wants. Default: `Auto`.
    /// Example: `WriteNewVersion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// `WriteNewVersion` only: the keys whose values are replaced, and whose change is the proof. At most 64.
    /// Default: the keys of `fields` whose kind is `password`. Example: `[pass]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(validation = rules::unique("rotation.keys"))]
    pub keys: Option<Vec<String>>,
    /// `WriteNewVersion` only: name of the Vault password policy that makes the new values. At most 253 characters.
    /// Default: 32 characters (letters, digits, `-._~`) from the operator's own generator. Example: `strong`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = rules::vault_name("rotation.passwordPolicy"))]
    pub password_policy: Option<String>,
    /// How long the recipient may use the credential, from the first opening of the link. A duration from 1s to 8760h
    /// (a year). Shown in mail and page. Required unless `strategy` is `None`. Example: `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::duration("rotation.afterRetrieval", "1s", "8760h"))]
    pub after_retrieval: Option<String>,
    /// Rotate when nobody opened the link in time. Default: true. Example: `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_expiry: Option<bool>,
    /// Rotate when the link is withdrawn: by `revoked`, or because the manifest went. Default: true. Example: `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_revocation: Option<bool>,
    /// What to do when too many wrong passphrases or codes closed the link: `Rotate` the credential, or `Keep` it, since nobody has
    /// read it. Default: `Rotate`. Example: `Keep`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_locked: Option<OnLocked>,
    /// What to do with an open link whose credential somebody else rotated: `Stall` withdraws it and waits for a person,
    /// `Reissue` withdraws it and sends a new one. Default: `Stall`. Example: `Reissue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_source_rotated: Option<OnSourceRotated>,
    /// Rotate before the credential is read, so that nobody who had it before has what is delivered. Default: false.
    /// Example: `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_delivery: Option<bool>,
}

/// What makes the delivered value invalid; [`Rotation::strategy`] explains each.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "a doc comment on a variant would turn the enum into oneOf, which CRDs forbid")]
pub enum Strategy {
    Auto,
    RotateRole,
    WriteNewVersion,
    None,
}

/// What to do after too many wrong passphrases or codes; [`Rotation::on_locked`] explains each.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "a doc comment on a variant would turn the enum into oneOf, which CRDs forbid")]
pub enum OnLocked {
    Rotate,
    Keep,
}

/// What to do when somebody else rotated; [`Rotation::on_source_rotated`] explains each.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "a doc comment on a variant would turn the enum into oneOf, which CRDs forbid")]
pub enum OnSourceRotated {
    Stall,
    Reissue,
}
