//! TLS to the mail server: the one provider, the system's authorities or the configured ones, nothing to turn off.

use std::sync::Arc;

use ps_core::error::{Class, Fault};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

/// How TLS is spoken. `ca_pem` replaces the system's authorities.
///
/// # Errors
/// Misconfigured if the PEM holds no usable certificate, or the system has no authorities.
pub(crate) fn client_config(ca_pem: Option<&str>) -> Result<Arc<ClientConfig>, Fault> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| fault("smtp-tls-setup", &e.to_string(), "tls"))?;
    let config = match ca_pem {
        Some(pem) => builder.with_root_certificates(roots(pem)?).with_no_client_auth(),
        None => builder
            .with_platform_verifier()
            .map_err(|e| fault("smtp-tls-setup", &format!("the system's authorities can't be used: {e}"), "ca"))?
            .with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// The name that the certificate must be for.
///
/// # Errors
/// Misconfigured if it is neither a host name nor an IP address.
pub(crate) fn server_name(name: &str) -> Result<ServerName<'static>, Fault> {
    let parsed = ServerName::try_from(name.to_owned());
    parsed.map_err(|_| fault("smtp-config", "is neither a host name nor an IP address", "serverName"))
}

fn roots(pem: &str) -> Result<RootCertStore, Fault> {
    let bad = || fault("smtp-ca-invalid", "holds no authority's certificate in PEM", "ca");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(|_| bad())?).map_err(|_| bad())?;
    }
    if roots.is_empty() { Err(bad()) } else { Ok(roots) }
}

fn fault(code: &str, message: &str, field: &str) -> Fault {
    Fault::new(Class::Misconfigured, code, message).field(format!("smtp.{field}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused() {
        for bad in [
            "",
            "junk",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----",
        ] {
            assert_eq!(client_config(Some(bad)).unwrap_err().code, "smtp-ca-invalid", "{bad}");
        }
    }

    #[test]
    fn names_are_hosts_or_addresses() {
        for good in ["localhost", "mail.example", "127.0.0.1", "::1"] {
            assert!(server_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "https://x"] {
            assert!(server_name(bad).is_err(), "{bad}");
        }
    }
}
