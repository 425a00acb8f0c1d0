//! `spec.source`: where the credential lives.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

/// Where the credential lives.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DeliverySource {
    /// A secrets engine of Vault or OpenBao. Required.
    /// Example: `{connectionRef: {name: vault}, database: {role: app}}`.
    pub vault: VaultSource,
}

/// A secrets engine of Vault or OpenBao: a connection, and exactly one of the engines.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::rule(
    "[has(self.kv), has(self.database)].filter(x, x).size() == 1",
    "source.vault must have exactly one of kv and database; keep the one that holds the credential"))]
pub struct VaultSource {
    /// Through which connection it is read and rotated. Required. Example: `{name: vault}`.
    pub connection_ref: ConnectionRef,
    /// A secret of the KV engine. Default: absent. Example: `{mount: secret, path: shop/db}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv: Option<KvSource>,
    /// A static role of the database engine. Default: absent. Example: `{mount: database, role: app}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseSource>,
}

/// Which connection.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionRef {
    /// Name of a `VaultConnection` in the delivery's own namespace, or of a `ClusterVaultConnection`. At most 253
    /// characters. Required. Example: `prod`.
    #[schemars(length(max = 253))]
    #[x_kube(validation = rules::object_name("source.vault.connectionRef.name"))]
    pub name: String,
    /// Which of the two kinds it is: `VaultConnection`, or `ClusterVaultConnection`, which must let the delivery's
    /// namespace use it. Default: `VaultConnection`. Example: `ClusterVaultConnection`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ConnectionKind>,
}

/// The kinds of connections; [`ConnectionRef::kind`] explains each.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "a doc comment on a variant would turn the enum into oneOf, which CRDs forbid")]
pub enum ConnectionKind {
    #[default]
    VaultConnection,
    ClusterVaultConnection,
}

/// A secret of the KV engine.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct KvSource {
    /// Where the engine is mounted, without slashes at the ends. At most 128 characters. Required. Example: `secret`.
    #[schemars(length(max = 128))]
    #[x_kube(validation = rules::vault_path("source.vault.kv.mount"))]
    pub mount: String,
    /// Path of the secret below the mount, without `data/`. At most 512 characters. Required. Example: `apps/db`.
    #[schemars(length(max = 512))]
    #[x_kube(validation = rules::vault_path("source.vault.kv.path"))]
    pub path: String,
    /// Which keys to deliver. At most 64. Default: the keys that `fields` names, else every key. Example: `[user, pass]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(validation = rules::unique("source.vault.kv.keys"))]
    pub keys: Option<Vec<String>>,
    /// Version of the engine: 1 or 2. Default: 2. Example: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2))]
    pub version: Option<i32>,
}

/// A static role of the database engine; it delivers `username` and `password`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseSource {
    /// Where the engine is mounted, without slashes at the ends. At most 128 characters. Required. Example: `database`.
    #[schemars(length(max = 128))]
    #[x_kube(validation = rules::vault_path("source.vault.database.mount"))]
    pub mount: String,
    /// Name of the static role. At most 253 characters. Required. Example: `reporting`.
    #[schemars(length(max = 253))]
    #[x_kube(validation = rules::vault_name("source.vault.database.staticRole"))]
    pub static_role: String,
}
