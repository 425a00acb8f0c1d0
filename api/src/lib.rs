//! The manifests users write: SecretDelivery and VaultConnection, their schema and their validation.
