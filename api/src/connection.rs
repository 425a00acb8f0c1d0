//! `VaultConnection`: where a Vault or OpenBao server is, and how to log in.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::rules;

/// Where the server is, whom it is checked against, and how to log in.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "passwordsender.io",
    version = "v1alpha1",
    kind = "VaultConnection",
    plural = "vaultconnections",
    singular = "vaultconnection",
    shortname = "vcon",
    category = "password-sender",
    namespaced,
    derive = "PartialEq",
    doc = "A Vault or OpenBao server and how to log in to it. Deliveries of the same namespace name it.",
    printcolumn(name = "Address", type_ = "string", json_path = ".spec.address"),
    printcolumn(name = "Namespace", type_ = "string", priority = 1, json_path = ".spec.namespace"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::rule_at(".caBundle",
    "!has(self.caBundle) || self.address.startsWith('https://')",
    "caBundle has no meaning for an http:// address; use https:// or remove it"))]
#[x_kube(validation = rules::rule_at(".tlsServerName",
    "!has(self.tlsServerName) || self.address.startsWith('https://')",
    "tlsServerName has no meaning for an http:// address; use https:// or remove it"))]
pub struct VaultConnectionSpec {
    /// Scheme, host and port, without a path. `http://` only for this machine (127.0.0.1, [::1], localhost). At most 512
    /// characters. Required. Example: `https://vault.example.com:8200`.
    #[schemars(length(max = 512))]
    #[x_kube(validation = rules::rule(
        "self.matches('^https://([0-9A-Za-z]([0-9A-Za-z.-]*[0-9A-Za-z])?|\\\\[[0-9A-Fa-f:]+\\\\])(:[0-9]{1,5})?/?$') || self.matches('^http://(127[.]0[.]0[.]1|\\\\[::1\\\\]|localhost)(:[0-9]{1,5})?/?$')",
        "address must be https://host:port without a path, or http:// on this machine only; a token must not cross a network in the clear"))]
    pub address: String,
    /// Namespace of Vault Enterprise or OpenBao, not of Kubernetes. At most 256 characters. Default: none.
    /// Example: `team-a/prod`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(validation = rules::vault_path("namespace"))]
    pub namespace: Option<String>,
    /// PEM text of the authorities to trust, instead of the system's. At most 65536 characters. Default: the system's.
    /// Example: `-----BEGIN CERTIFICATE-----` and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    #[x_kube(validation = rules::rule(
        "self.contains('-----BEGIN CERTIFICATE-----') && self.contains('-----END CERTIFICATE-----') && !self.contains('PRIVATE KEY')",
        "caBundle must hold certificates in PEM and no private key; paste the text of the file, from its BEGIN to its END line"))]
    pub ca_bundle: Option<String>,
    /// Name to check the server's certificate against, instead of the host of `address`. At most 253 characters.
    /// Default: the host. Example: `vault.internal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = rules::rule(
        "self.matches('^[0-9A-Za-z]([0-9A-Za-z-]*[0-9A-Za-z])?([.][0-9A-Za-z]([0-9A-Za-z-]*[0-9A-Za-z])?)*$')",
        "tlsServerName must be a host name; write it without scheme and port"))]
    pub tls_server_name: Option<String>,
    /// Longest wait for one answer. A duration from 1s to 2m. Default: `10s`. Example: `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::duration("timeout", "1s", "2m"))]
    pub timeout: Option<String>,
    /// How to log in. Required.
    pub auth: VaultAuth,
}

/// How to log in: exactly one of these.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::rule(
    "[has(self.token), has(self.appRole)].filter(x, x).size() == 1",
    "auth must have exactly one of token and appRole; keep the one you want to log in with"))]
pub struct VaultAuth {
    /// A token kept in a Secret; the operator renews it while that is possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenAuth>,
    /// The AppRole method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_role: Option<AppRoleAuth>,
}

/// A token kept in a Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TokenAuth {
    /// Where the token is. Required.
    pub secret_key_ref: SecretKeyRef,
}

/// Log in with the AppRole method.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AppRoleAuth {
    /// Where the method is mounted, without `auth/`. At most 128 characters. Default: `approle`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    #[x_kube(validation = rules::vault_path("auth.appRole.mount"))]
    pub mount: Option<String>,
    /// The role id; it is not secret. At most 256 characters. Required.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::one_line("auth.appRole.roleId"))]
    pub role_id: String,
    /// Where the secret id is. Required.
    pub secret_id_ref: SecretKeyRef,
}

/// One value of a Secret in the object's own namespace. Standalone: the file `NAMESPACE/NAME/KEY` of the secrets folder.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret. At most 253 characters. Required. Example: `vault-token`.
    #[schemars(length(max = 253))]
    #[x_kube(validation = rules::object_name("name of the Secret"))]
    pub name: String,
    /// Key in it. At most 253 characters. Required. Example: `token`.
    #[schemars(length(max = 253))]
    #[x_kube(validation = rules::secret_key("key of the Secret"))]
    pub key: String,
}
