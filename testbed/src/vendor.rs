//! Which program the tests call OpenBao: OpenBao itself, or the Vault that it comes from.

use std::path::PathBuf;

use anyhow::Result;

use crate::install::ensure_openbao;
use crate::install_vault::ensure_vault;

/// Names the vendor: `vault` for HashiCorp Vault; OpenBao if it is not set.
pub const VENDOR_VARIABLE: &str = "PS_VENDOR";

/// A server that speaks Vault's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// From a Python wheel, in seconds.
    OpenBao,
    /// Built from Go sources, in ten minutes.
    Vault,
}

impl Vendor {
    /// The one that the environment names.
    #[must_use]
    pub fn chosen() -> Self {
        let named = std::env::var(VENDOR_VARIABLE).is_ok_and(|name| name == Self::Vault.name());
        if named { Self::Vault } else { Self::OpenBao }
    }

    /// The value of [`VENDOR_VARIABLE`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenBao => "openbao",
            Self::Vault => "vault",
        }
    }

    /// The program, installed if it is missing.
    ///
    /// # Errors
    /// If it can't be had; the message names the command that would get it.
    pub fn ensure(self) -> Result<PathBuf> {
        match self {
            Self::OpenBao => ensure_openbao(),
            Self::Vault => ensure_vault(),
        }
    }
}
