//! A proxy in front of the Kubernetes API.

use std::fs;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::dirs::RunDir;
use crate::kubernetes::Cluster;
use crate::proxy::HttpProxy;
use crate::proxy_wire::{Dialect, Upstream};
use crate::tls::{Certificates, ServerName};

/// An [`HttpProxy`] with all that it can do, in front of a [`Cluster`]. For a kubeconfig, see
/// [`Cluster::kubeconfig_via`]. Its own errors are `metav1.Status` objects.
#[derive(Debug)]
pub struct ApiProxy {
    proxy: HttpProxy,
    certificates: Option<Certificates>,
    _folder: Option<RunDir>,
}

impl Deref for ApiProxy {
    type Target = HttpProxy;

    fn deref(&self) -> &HttpProxy {
        &self.proxy
    }
}

impl ApiProxy {
    /// What its clients are to trust; `None` if they speak plain HTTP.
    #[must_use]
    pub fn ca_path(&self) -> Option<&Path> {
        self.certificates.as_ref().map(|certificates| certificates.ca_path.as_path())
    }
}

impl Cluster {
    /// Starts a proxy whose clients speak TLS, as they do with the API server.
    ///
    /// # Errors
    /// If no port or certificate can be had.
    pub fn proxy(&self) -> Result<ApiProxy> {
        let folder = RunDir::new("api-proxy")?;
        let certificates = Certificates::new(folder.path(), ServerName::Right)?;
        let chain = vec![CertificateDer::from_pem_slice(certificates.cert_pem.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(certificates.key_pem.as_bytes())?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let proxy = HttpProxy::between(Some(Arc::new(config)), self.upstream()?, Dialect::Kubernetes)?;
        Ok(ApiProxy { proxy, certificates: Some(certificates), _folder: Some(folder) })
    }

    /// Starts a proxy at `http://`. kubectl sends it no token; kube-rs does.
    ///
    /// # Errors
    /// If no port can be had.
    pub fn proxy_plain(&self) -> Result<ApiProxy> {
        let proxy = HttpProxy::between(None, self.upstream()?, Dialect::Kubernetes)?;
        Ok(ApiProxy { proxy, certificates: None, _folder: None })
    }

    fn upstream(&self) -> Result<Upstream> {
        let mut trusted = RootCertStore::empty();
        let pem = fs::read(self.ca_path())?;
        trusted.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(trusted)
            .with_no_client_auth();
        let address = self.server().strip_prefix("https://").context("the API server speaks TLS")?.to_owned();
        Ok(Upstream { address, tls: Some(Arc::new(config)) })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
