//! Vault and OpenBao: authentication, reading, rotating, proving. The only crate that names vaultrs.
