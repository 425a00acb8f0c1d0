//! The identity provider that the configuration asks for.

use std::sync::Arc;

use anyhow::Context as _;
use ps_core::ports::{Clock, Identities};
use ps_identity::{Nobody, Provider, ProviderConfig};

use crate::config::{Config, secret_file};

/// Makes it; nothing is sent yet.
///
/// # Errors
/// If a file that the configuration names can't be read, or does not hold what it should.
pub fn identities(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Arc<dyn Identities>> {
    let Some(oidc) = &config.oidc else { return Ok(Arc::new(Nobody)) };
    let pem = oidc
        .ca_file
        .as_ref()
        .map(|path| std::fs::read(path).with_context(|| format!("oidc.caFile: {}", path.display())));
    let provider = ProviderConfig {
        issuer: oidc.issuer.clone(),
        client_id: oidc.client_id.clone(),
        client_secret: secret_file(&oidc.client_secret_file).context("oidc.clientSecretFile")?,
        redirect_uri: format!("{}/", config.public_url),
        ca_pem: pem.transpose()?,
        timeout: oidc.timeout.to_std(),
    };
    Ok(Arc::new(Provider::new(provider, clock.clone())?))
}
