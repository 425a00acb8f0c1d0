//! `SecretDelivery`: hand over a credential from Vault to one person, once, and rotate it afterwards.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::connection::SecretKeyRef;
use crate::rules;
use crate::status::SecretDeliveryStatus;

mod rotation;
mod source;

pub use rotation::{OnLocked, OnSourceRotated, Rotation, Strategy};
pub use source::{ConnectionKind, ConnectionRef, DatabaseSource, DeliverySource, KvSource, VaultSource};

// The column Expires is a text: a column of type date shows how long ago it was, and `<invalid>` for what lies ahead.
/// What to deliver, to whom, and what happens to the credential afterwards. Required.
/// Example: `{recipient: {email: alice@vendor.example}, source: {vault: {connectionRef: {name: vault}, kv: {mount: secret, path: apps/db}}}, rotation: {strategy: None}}`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "passwordsender.io",
    version = "v1alpha1",
    kind = "SecretDelivery",
    plural = "secretdeliveries",
    singular = "secretdelivery",
    shortname = "sd",
    category = "password-sender",
    namespaced,
    status = "SecretDeliveryStatus",
    derive = "PartialEq",
    doc = "Hands one credential from Vault to one person through a link that opens once, and rotates the credential when it was opened, has expired or was withdrawn.",
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.summary",
        description = "The story so far, in one word"
    ),
    printcolumn(
        name = "Recipient",
        type_ = "string",
        json_path = ".status.recipient",
        description = "Who gets it, masked"
    ),
    printcolumn(
        name = "Expires",
        type_ = "string",
        json_path = ".status.expiresAt",
        description = "Until when the link can be opened"
    ),
    printcolumn(
        name = "Rotated",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Rotated\")].status",
        description = "Whether the delivered value is proven dead"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether what spec.completion asks for has happened"
    ),
    printcolumn(
        name = "Connection",
        type_ = "string",
        priority = 1,
        json_path = ".spec.source.vault.connectionRef.name",
        description = "Through which connection Vault is asked"
    ),
    printcolumn(
        name = "Mount",
        type_ = "string",
        priority = 1,
        json_path = ".spec.source.vault.*.mount",
        description = "The secrets engine"
    ),
    printcolumn(
        name = "Source",
        type_ = "string",
        priority = 1,
        json_path = ".spec.source.vault.*['path','staticRole']",
        description = "The secret or role in it"
    ),
    printcolumn(
        name = "Rotation due",
        type_ = "string",
        priority = 1,
        json_path = ".status.rotationDueAt",
        description = "When the credential will be rotated"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        description = "Why it is ready or not"
    ),
    selectable = ".spec.source.vault.connectionRef.name",
    selectable = ".spec.recipient.email",
    selectable = ".status.summary"
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::rule_at(".rotation.strategy",
    "!has(self.source.vault.kv) || (has(self.rotation) && has(self.rotation.strategy) && self.rotation.strategy in ['WriteNewVersion', 'None'])",
    "rotation.strategy must be WriteNewVersion or None for a KV source; nothing is written to KV unless you name it: choose WriteNewVersion to replace the values, or None to leave them"))]
#[x_kube(validation = rules::rule_at(".rotation.strategy",
    "!has(self.source.vault.database) || !has(self.rotation) || !has(self.rotation.strategy) || self.rotation.strategy != 'WriteNewVersion'",
    "rotation.strategy WriteNewVersion is for KV only; a static role is rotated with Auto or RotateRole"))]
#[x_kube(validation = rules::rule_at(".rotation.afterRetrieval",
    "has(self.rotation) && (has(self.rotation.afterRetrieval) || (has(self.rotation.strategy) && self.rotation.strategy == 'None'))",
    "rotation.afterRetrieval is required where the credential is rotated; say how long the recipient may use it, such as 1h, or set rotation.strategy to None"))]
#[x_kube(validation = rules::rule_at(".link.claimWindow",
    "!has(self.link) || !has(self.link.claimWindow) || !has(self.rotation) || !has(self.rotation.afterRetrieval) || duration(self.link.claimWindow) <= duration(self.rotation.afterRetrieval)",
    "link.claimWindow must not be longer than rotation.afterRetrieval; shorten it or leave it out"))]
#[x_kube(validation = rules::rule_at(".rotation.keys",
    "!has(self.rotation) || !has(self.rotation.strategy) || self.rotation.strategy != 'WriteNewVersion' || (has(self.rotation.keys) && self.rotation.keys.size() > 0) || (has(self.fields) && self.fields.exists(f, has(f.kind) && f.kind == 'password'))",
    "rotation.keys must name at least one key for WriteNewVersion; list the keys whose values are to be replaced, or give a field the kind password"))]
#[x_kube(validation = rules::rule_at(".rotation.keys",
    "!has(self.rotation) || !has(self.rotation.keys) || ((!has(self.fields) || self.rotation.keys.all(k, self.fields.exists(f, f.key == k))) && (!has(self.source.vault.kv) || !has(self.source.vault.kv.keys) || self.rotation.keys.all(k, k in self.source.vault.kv.keys)))",
    "rotation.keys must be among the delivered keys; only a delivered value can be proven dead: add the key to fields and source.vault.kv.keys, or remove it here"))]
#[x_kube(validation = rules::rule_at(".source.vault.kv.keys",
    "!has(self.source.vault.kv) || !has(self.source.vault.kv.version) || self.source.vault.kv.version != 1 || !has(self.rotation) || !has(self.rotation.strategy) || self.rotation.strategy != 'WriteNewVersion' || has(self.fields) || has(self.source.vault.kv.keys)",
    "source.vault.kv.keys must name every key for WriteNewVersion on KV version 1; that engine replaces the secret as a whole: list all its keys"))]
#[x_kube(validation = rules::rule_at(".fields",
    "!has(self.fields) || !has(self.source.vault.kv) || !has(self.source.vault.kv.keys) || (self.fields.all(f, f.key in self.source.vault.kv.keys) && self.source.vault.kv.keys.all(k, self.fields.exists(f, f.key == k)))",
    "fields and source.vault.kv.keys must name the same keys; make them equal, or leave out source.vault.kv.keys"))]
#[x_kube(validation = rules::rule_at(".fields",
    "!has(self.fields) || !has(self.source.vault.database) || self.fields.all(f, f.key in ['username', 'password'])",
    "fields of a static role are username and password only; use these keys"))]
#[x_kube(validation = rules::rule_at(".redeliver",
    "(self.recipient == oldSelf.recipient && has(self.source.vault.kv) == has(oldSelf.source.vault.kv) && (!has(self.source.vault.kv) || self.source.vault.kv == oldSelf.source.vault.kv) && has(self.source.vault.database) == has(oldSelf.source.vault.database) && (!has(self.source.vault.database) || self.source.vault.database == oldSelf.source.vault.database) && self.source.vault.connectionRef.name == oldSelf.source.vault.connectionRef.name && (has(self.source.vault.connectionRef.kind) ? self.source.vault.connectionRef.kind : 'VaultConnection') == (has(oldSelf.source.vault.connectionRef.kind) ? oldSelf.source.vault.connectionRef.kind : 'VaultConnection')) || (has(self.redeliver) && (!has(oldSelf.redeliver) || self.redeliver != oldSelf.redeliver))",
    "recipient and source change only together with redeliver; set redeliver to a new value, such as \"2\", to send to the new recipient or from the new source"))]
pub struct SecretDeliverySpec {
    /// The person who gets the credential. Required. Changes only together with `redeliver`.
    /// Example: `{email: alice@vendor.example}`.
    pub recipient: Recipient,
    /// Where the credential lives. Required. Changes only together with `redeliver`.
    /// Example: `{vault: {connectionRef: {name: vault}, kv: {mount: secret, path: shop/db}}}`.
    pub source: DeliverySource,
    /// How the fields are labelled and shown, in this order. At most 64. Default: every key of the source, by its name.
    /// Example: `[{label: Password, key: password, kind: password}]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = rules::rule("self.all(a, self.exists_one(b, b.key == a.key))",
        "fields must not name a key twice; remove the second one"))]
    pub fields: Option<Vec<Field>>,
    /// Words about the credential. They travel inside the sealed envelope: neither the mail nor the server shows
    /// them. Default: none. Example: `{title: Database of the web shop, environment: production}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// Who sends it, as the recipient reads it in mail and page. At most 100 characters, one line. Default: the sender
    /// that the operator is configured with. Example: `Platform team, Example GmbH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(validation = rules::one_line("sender"))]
    pub sender: Option<String>,
    /// How long the link lives. Default: the defaults of its fields. Example: `{ttl: 4h, claimWindow: 15m}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// Nothing is sent after this point in time, whatever was lost, delayed or restored. RFC 3339 with a time zone.
    /// Default: no limit. Example: `2026-12-01T00:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"), length(max = 40))]
    pub deliver_before: Option<String>,
    /// What the recipient must know besides holding the link. Default: nothing. Example: `{emailCode: {}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// When and how the credential is made invalid after the hand-off. Required, because `afterRetrieval` is, unless
    /// `strategy` is `None`. Example: `{strategy: RotateRole, afterRetrieval: 1h}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// Whom to tell what became of the link. Default: nobody.
    /// Example: `{email: platform@example.com, events: [Expired, Locked]}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// What the condition `Ready` means: the mail was accepted (`OnDelivered`), the link was opened (`OnRetrieved`), or the
    /// credential is proven dead (`OnRotated`). Default: `OnDelivered`, so that GitOps tools do not wait for a person.
    /// Example: `OnRotated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<Completion>,
    /// Set or change it to send again. Any text of at most 63 characters; applying the same value again sends nothing, nor
    /// does taking it away.
    /// Default: absent. Example: `"2"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::one_line("redeliver"))]
    pub redeliver: Option<String>,
    /// What to do with a manifest that was deleted and made anew after its credential had been delivered: `Hold` sends
    /// nothing and says so, `Send` sends again. Default: `Hold`. Example: `Send`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_recreate: Option<OnRecreate>,
    /// Set to true to withdraw the link now and rotate the credential. Default: false. Example: `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<bool>,
}

/// The person who gets the credential.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Recipient {
    /// One bare address in ASCII, at most 254 characters; write international domains in punycode. Required.
    /// Example: `alice@vendor.example`.
    #[schemars(length(max = 254))]
    #[x_kube(validation = rules::email("recipient.email"))]
    pub email: String,
    /// How the mail addresses the person. At most 100 characters, one line. Default: no name. Example: `Alice`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(validation = rules::one_line("recipient.name"))]
    pub name: Option<String>,
    /// Language of mails, as BCP 47 writes it: en, de, fr, es, it, pt, nl, pl, ja, zh, ar, or one of these with more, such as
    /// `de-AT`; any other means English. The page follows the browser. At most 35 characters. Default: `en`. Example: `de`, `en-GB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 35))]
    #[x_kube(validation = rules::rule("self.matches('^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$')",
        "recipient.locale must be a language tag; write it like en or de-AT"))]
    pub locale: Option<String>,
}

/// How one field is labelled and shown.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    /// What the recipient reads beside the value. At most 100 characters, one line. Default: the key.
    /// Example: `User name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(validation = rules::one_line("fields.label"))]
    pub label: Option<String>,
    /// The key in the source: of the KV secret, or `username` or `password` of a static role. Required.
    /// Example: `password`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::one_line("fields.key"))]
    pub key: String,
    /// How the page shows the value: `text` plainly, `password` hidden until asked for, `url` as a link, `multiline` with
    /// its line breaks, `totp` as a code that changes, `sshKey` as a file to save. A field of kind `password` is what
    /// `WriteNewVersion` replaces. Default: `password` for a static role's password, else `text`.
    /// Example: `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<FieldKind>,
}

/// How the page shows a value; [`Field::kind`] explains each.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "a doc comment on a variant would turn the enum into oneOf, which CRDs forbid")]
pub enum FieldKind {
    Text,
    Password,
    Url,
    Multiline,
    Totp,
    SshKey,
}

/// Words about the credential, sealed together with it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Context {
    /// Heading of the page. At most 100 characters, one line. Default: empty. Example: `Database of the web shop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    #[x_kube(validation = rules::one_line("context.title"))]
    pub title: Option<String>,
    /// What the credential is for. At most 500 characters. Default: empty. Example: `Migration on 1 December`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 500))]
    #[x_kube(validation = rules::text("context.purpose"))]
    pub purpose: Option<String>,
    /// Where it counts. At most 50 characters, one line. Default: empty. Example: `production`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50))]
    #[x_kube(validation = rules::one_line("context.environment"))]
    pub environment: Option<String>,
    /// Where to use it: an `http` or `https` address, at most 2048 characters. Default: none.
    /// Example: `https://db.example.com:8443/login`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules::rule("self.matches('^https?://[!-~]+$')",
        "context.url must be an http or https address; percent-encode spaces and letters outside ASCII"))]
    pub url: Option<String>,
    /// Anything else the recipient should know. At most 2000 characters. Default: empty.
    /// Example: `Connect with TLS only.`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2000))]
    #[x_kube(validation = rules::text("context.note"))]
    pub note: Option<String>,
}

/// How long the link lives.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// How long the link can be opened, from the moment it is made. A duration from 1m to 720h (30 days) in hours,
    /// minutes and seconds. Default: `4h`. Example: `24h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::duration("link.ttl", "1m", "720h"))]
    pub ttl: Option<String>,
    /// How long the browser that opened the link may fetch the same content again, should the answer be lost. A duration
    /// from 1s to 24h, never longer than `rotation.afterRetrieval`. Default: `15m`, or `rotation.afterRetrieval` where
    /// that is shorter. Example: `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::duration("link.claimWindow", "1s", "24h"))]
    pub claim_window: Option<String>,
}

/// What the recipient must know besides holding the link.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// A passphrase that you tell the recipient on another way. The page asks for it; it takes part in the encryption.
    /// Default: none. Example: `{secretKeyRef: {name: passphrase, key: value}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<Passphrase>,
    /// A code of eight digits that is mailed to `recipient.email` when the recipient asks for it on the page, and typed there:
    /// whoever opens the link must read that mailbox at that moment. Three mails over the link's life, each code valid for
    /// ten minutes and five tries; the last wrong one locks the link (`rotation.onLocked`).
    /// Default: no code. Example: `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_code: Option<EmailCode>,
    /// A sign-in at the operator's identity provider (OpenID Connect), with an account whose verified address is
    /// `recipient.email`: the domain in any case, the part before the `@` exactly as written. The operator must be
    /// configured with a provider. Default: no sign-in. Example: `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc: Option<Oidc>,
}

/// A code by e-mail; there is nothing to set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EmailCode {}

/// A sign-in; there is nothing to set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Oidc {}

/// Where the passphrase is kept.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Passphrase {
    /// The Secret, in the delivery's own namespace, and the key in it. Required.
    /// Example: `{name: passphrase, key: value}`.
    pub secret_key_ref: SecretKeyRef,
}

/// Whom to tell what became of the link.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Notify {
    /// The sender's own address. Required. Example: `platform@example.com`.
    #[schemars(length(max = 254))]
    #[x_kube(validation = rules::email("notify.email"))]
    pub email: String,
    /// Of what: the link was opened (`Retrieved`), opened without a confirmation that the content is saved
    /// (`Unacknowledged`), not opened in time (`Expired`), closed after too many wrong passphrases or codes (`Locked`),
    /// refused by the recipient (`Declined`), altered behind our back (`Tampered`), or it has reached a path or a query on
    /// its way, where servers log (`Exposed`); the credential was rotated (`Rotated`) or can't
    /// be (`RotationFailed`). `Tampered` and `RotationFailed` are always sent.
    /// Default: `[Retrieved, Expired, Locked, Declined]`. Example: `[Retrieved, Rotated]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 9))]
    #[x_kube(validation = rules::unique("notify.events"))]
    pub events: Option<Vec<Notice>>,
}

/// An event that the sender can hear of; [`Notify::events`] explains each.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "a doc comment on a variant would turn the enum into oneOf, which CRDs forbid")]
pub enum Notice {
    Retrieved,
    Unacknowledged,
    Expired,
    Locked,
    Declined,
    Tampered,
    Exposed,
    Rotated,
    RotationFailed,
}

/// What `Ready` means; [`SecretDeliverySpec::completion`] explains each.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "a doc comment on a variant would turn the enum into oneOf, which CRDs forbid")]
pub enum Completion {
    OnDelivered,
    OnRetrieved,
    OnRotated,
}

/// What to do with a manifest made anew; [`SecretDeliverySpec::on_recreate`] explains each.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "a doc comment on a variant would turn the enum into oneOf, which CRDs forbid")]
pub enum OnRecreate {
    Hold,
    Send,
}
