//! What omitted fields mean. Defaults live in code and are echoed in the status, never filled in by a server.

use ps_core::time::Span;

/// The defaults that need a number; the others stand beside their field in [`crate::SecretDeliverySpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults;

impl Defaults {
    /// `link.ttl`.
    pub const TTL: Span = Span::from_secs(4 * 3600);
    /// `link.claimWindow`, where `rotation.afterRetrieval` is not shorter.
    pub const CLAIM_WINDOW: Span = Span::from_secs(15 * 60);
    /// `VaultConnection`'s `timeout`.
    pub const TIMEOUT: Span = Span::from_secs(10);
    /// `VaultConnection`'s `auth.appRole.mount`.
    pub const APP_ROLE_MOUNT: &'static str = "approle";
    /// `VaultConnection`'s `auth.kubernetes.mount`.
    pub const KUBERNETES_MOUNT: &'static str = "kubernetes";
}
