//! The manifests users write: SecretDelivery, VaultConnection and ClusterVaultConnection, their schema and their validation.
//!
//! One schema serves everybody. The types here generate `crds/` ([`crds`]), an API server evaluates their CEL rules,
//! and [`parse`] evaluates the same schema and the same rules on the client side, so that the standalone operator and
//! the command line refuse what a cluster would refuse, with the same words.
//!
//! [`resolve`], [`connection`] and [`cluster_connection`] turn a manifest into what the rules of `ps-core` understand; they
//! are where omitted fields get their defaults, so that a schema default never shows up as a difference in GitOps tools.
//!
//! Whatever comes from a cluster goes through [`Document::read`]: an object that an older or newer schema let through is
//! then a fault of that object, where a typed watch would fail as a whole.

mod check;
#[allow(unreachable_pub, reason = "the schema derive copies each struct, with its visibility, into a function")]
#[allow(clippy::duplicated_attributes, reason = "each printer column has a name, a type and a path of its own")]
mod connection;
mod convert;
mod crd;
mod defaults;
#[allow(unreachable_pub, reason = "the schema derive copies each struct, with its visibility, into a function")]
#[allow(clippy::duplicated_attributes, reason = "each printer column has a name, a type and a path of its own")]
mod delivery;
mod fault;
mod parse;
mod resolve;
mod rules;
#[cfg(test)]
mod rules_tests;
mod server;
#[allow(unreachable_pub, reason = "the schema derive copies each struct, with its visibility, into a function")]
mod status;
mod validate;
mod yaml;

pub use connection::{
    AppRoleAuth, CleanupConnectionRef, ClusterVaultConnection, ClusterVaultConnectionSpec, KubernetesAuth,
    NamespaceSelector, SecretKeyRef, ServiceAccountRef, TokenAuth, VaultAuth, VaultConnection, VaultConnectionSpec,
};
pub use crd::crds;
pub use defaults::Defaults;
pub use delivery::{
    Completion, ConnectionKind, ConnectionRef, Context, DatabaseSource, DeliverySource, EmailCode, Field, FieldKind,
    KvSource, Link, Notice, Notify, Oidc, OnLocked, OnRecreate, OnSourceRotated, Passphrase, Recipient, Rotation,
    SecretDelivery, SecretDeliverySpec, Strategy, VaultSource, Verification,
};
pub use parse::{Document, Foreign, Kind, Limits, Object, Parsed, documents, parse, read};
pub use resolve::resolve;
pub use server::{cluster_connection, connection, may_use};
pub use status::{Evidence, SecretDeliveryStatus, StatusCondition};
pub use validate::{validate, validate_update};

/// The API group of all our kinds.
pub const GROUP: &str = "passwordsender.io";
/// The version of all our kinds.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of our manifests.
pub const API_VERSION: &str = "passwordsender.io/v1alpha1";
/// The annotation that ties an object to its ledger entry; the value is a [`ps_core::ids::Stamp`].
pub const STAMP_ANNOTATION: &str = "passwordsender.io/stamp";
/// The namespace of a manifest that names none, outside a cluster.
pub const DEFAULT_NAMESPACE: &str = "default";
