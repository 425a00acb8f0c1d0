//! `VaultConnection` and `ClusterVaultConnection`: where a Vault or OpenBao server is, how to log in, and who may.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::rules;

/// Where the server is, whom it is checked against, and how to log in. Required.
/// Example: `{address: "https://vault.example.com:8200", auth: {token: {secretKeyRef: {name: vault-token, key: token}}}}`.
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
    printcolumn(
        name = "Cleanup",
        type_ = "string",
        json_path = ".spec.cleanupConnectionRef.name",
        description = "The ClusterVaultConnection that rotates what is owed when this one's identity is gone"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Vault namespace",
        type_ = "string",
        priority = 1,
        json_path = ".spec.namespace",
        description = "Namespace of Vault or OpenBao"
    )
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
    /// How to log in: exactly one of `kubernetes`, `appRole` and `token`. Required.
    /// Example: `{kubernetes: {role: shop, audience: vault, serviceAccountRef: {name: password-sender}}}`.
    pub auth: VaultAuth,
    /// Who rotates what is still owed once this connection's own identity is gone, with its namespace for example: an
    /// identity that may rotate and revoke, but not read. Default: nobody, and such a debt stays open until a person acts.
    /// Example: `{name: cleanup}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleanup_connection_ref: Option<CleanupConnectionRef>,
}

/// The `ClusterVaultConnection` that cleans up.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CleanupConnectionRef {
    /// Name of a `ClusterVaultConnection` that this namespace may use, with the same address, Vault namespace,
    /// `tlsServerName` and `caBundle`. It logs in as the operator: its secrets and its service account lie in the operator's
    /// namespace. At most 253 characters. Required. Example: `cleanup`.
    #[schemars(length(max = 253))]
    #[x_kube(validation = rules::object_name("cleanupConnectionRef.name"))]
    pub name: String,
}

/// A connection that several namespaces use. Required.
/// Example: `{address: "https://vault.example.com:8200", namespaces: [shop], auth: {token: {secretKeyRef: {name: vault-token, key: token}}}}`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "passwordsender.io",
    version = "v1alpha1",
    kind = "ClusterVaultConnection",
    plural = "clustervaultconnections",
    singular = "clustervaultconnection",
    shortname = "cvcon",
    category = "password-sender",
    derive = "PartialEq",
    doc = "A Vault or OpenBao server, how to log in to it, and which namespaces may use it: none that it does not name. With auth.kubernetes each namespace logs in as a service account of its own; secrets of the other methods lie in the operator's namespace.",
    printcolumn(name = "Address", type_ = "string", json_path = ".spec.address"),
    printcolumn(
        name = "Namespaces",
        type_ = "string",
        json_path = ".spec.namespaces",
        description = "Which namespaces may use it by name"
    ),
    printcolumn(
        name = "Selector",
        type_ = "string",
        json_path = ".spec.namespaceSelector.matchLabels",
        description = "Which namespaces may use it by their labels"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Vault namespace",
        type_ = "string",
        priority = 1,
        json_path = ".spec.namespace",
        description = "Namespace of Vault or OpenBao"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterVaultConnectionSpec {
    /// All that a `VaultConnection` has.
    #[serde(flatten)]
    pub connection: VaultConnectionSpec,
    /// Names of namespaces that may use this connection. At most 1024. Default: none by name.
    /// Example: `[shop, billing]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), inner(length(min = 1, max = 63)))]
    #[x_kube(validation = rules::rule(
        "self.all(n, n.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$'))",
        "namespaces must be names of namespaces; there are no patterns: use namespaceSelector to choose by label"))]
    pub namespaces: Option<Vec<String>>,
    /// Namespaces that may use this connection by their labels, besides those that `namespaces` lists. Whoever may label a
    /// namespace decides who is let in. Default: none by label. Example: `{matchLabels: {passwordsender.io/vault: prod}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<NamespaceSelector>,
}

/// Which namespaces, by their labels.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Every one of these labels must be on the namespace, with this value. From 1 to 16 labels, values of at most 63
    /// characters. Required. Example: `{passwordsender.io/vault: prod}`.
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    #[x_kube(validation = rules::rule("self.size() > 0",
        "namespaceSelector.matchLabels must name a label; none at all would let every namespace in: name one that you put on those that may use it"))]
    pub match_labels: BTreeMap<String, String>,
}

/// How to log in: exactly one of these.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::rule(
    "[has(self.token), has(self.appRole), has(self.kubernetes)].filter(x, x).size() == 1",
    "auth must have exactly one of token, appRole and kubernetes; keep the one you want to log in with"))]
pub struct VaultAuth {
    /// The Kubernetes method, as a service account of the namespace that uses the connection. Default: absent.
    /// Example: `{role: shop, audience: vault, serviceAccountRef: {name: password-sender}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesAuth>,
    /// A token kept in a Secret; the operator renews it while that is possible. Default: absent.
    /// Example: `{secretKeyRef: {name: vault-token, key: token}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenAuth>,
    /// The AppRole method. Default: absent.
    /// Example: `{roleId: 2f1d0a52-6d1c-4f0e-9a57-0f3a1c9f8e11, secretIdRef: {name: approle, key: secret-id}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_role: Option<AppRoleAuth>,
}

/// A token kept in a Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TokenAuth {
    /// Where the token is. Required. Example: `{name: vault-token, key: token}`.
    pub secret_key_ref: SecretKeyRef,
}

/// Log in with the Kubernetes method: the operator asks the API server for a token of the service account (TokenRequest)
/// and shows it to Vault, once per login.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesAuth {
    /// Where the method is mounted, without `auth/`. At most 128 characters. Default: `kubernetes`. Example: `k8s/prod`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    #[x_kube(validation = rules::vault_path("auth.kubernetes.mount"))]
    pub mount: Option<String>,
    /// The role of the method to log in as; it must be bound to the service account, its namespace and the audience. At
    /// most 253 characters. Required. Example: `password-sender-shop`.
    #[schemars(length(max = 253))]
    #[x_kube(validation = rules::vault_name("auth.kubernetes.role"))]
    pub role: String,
    /// The service account to log in as. Required. Example: `{name: password-sender}`.
    pub service_account_ref: ServiceAccountRef,
    /// For whom the service account's token is meant: what Vault's role names as its audience, never the API server's own.
    /// Printable ASCII without spaces, at most 256 characters. Required. Example: `vault`.
    #[schemars(length(max = 256))]
    #[x_kube(validation = rules::rule("self.matches('^[!-~]+$')",
        "auth.kubernetes.audience must be one word in ASCII and not empty; an empty one would be the API server's own: write the audience of Vault's role, such as vault"))]
    #[x_kube(validation = rules::rule(
        "!self.matches('(?i)^(https?://)?kubernetes([.]default([.]svc([.].*)?)?)?(:[0-9]*)?/*$') && !self.matches('(?i)^(kube-?)?api(-?server)?$')",
        "auth.kubernetes.audience must not be the API server's own; whoever holds such a token can act in the cluster: write the audience of Vault's role, such as vault"))]
    pub audience: String,
}

/// A service account of the namespace that uses the connection: the delivery's own, through either kind of connection, and
/// the operator's own where a `ClusterVaultConnection` cleans up.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountRef {
    /// Name of the service account. The operator needs the right to create its tokens: a Role for
    /// `serviceaccounts/token` with this name. At most 253 characters. Required. Example: `password-sender`.
    #[schemars(length(max = 253))]
    #[x_kube(validation = rules::object_name("auth.kubernetes.serviceAccountRef.name"))]
    pub name: String,
}

/// Log in with the AppRole method.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AppRoleAuth {
    /// Where the method is mounted, without `auth/`. At most 128 characters. Default: `approle`.
    /// Example: `approle/ci`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    #[x_kube(validation = rules::vault_path("auth.appRole.mount"))]
    pub mount: Option<String>,
    /// The role id; it is not secret. At most 256 characters. Required.
    /// Example: `2f1d0a52-6d1c-4f0e-9a57-0f3a1c9f8e11`.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::one_line("auth.appRole.roleId"))]
    pub role_id: String,
    /// Where the secret id is. Required. Example: `{name: approle, key: secret-id}`.
    pub secret_id_ref: SecretKeyRef,
}

/// One value of a Secret in the object's own namespace, in the operator's for a `ClusterVaultConnection`. Standalone: the
/// file `NAMESPACE/NAME/KEY` of the secrets folder, `_operator/NAME/KEY` for a `ClusterVaultConnection`.
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
