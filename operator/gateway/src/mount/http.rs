//! POSTs to one Vault server: bounded in time and size, over pooled connections.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use ::http::{Request, Uri};
use axum::body::{Body, Bytes};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ps_core::secret::SecretString;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls_platform_verifier::BuilderVerifierExt as _;

/// A request that takes longer is given up: the recipient's own is bounded too, and is repeated.
const PATIENCE: Duration = Duration::from_secs(8);
/// The largest answer, in bytes: a ciphertext of 512 KiB as base64 in JSON, with room.
const LARGEST: usize = 2 << 20;
/// Connections that nobody uses are closed after this, before a server or a load balancer does it.
const IDLE: Duration = Duration::from_secs(20);

/// Where the mount is, and what shows who asks.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `http://` or `https://`, host and port.
    pub address: String,
    /// Vault Enterprise's or OpenBao's namespace; empty for none.
    pub namespace: String,
    /// Path of the mount.
    pub mount: String,
    /// The file that holds the token.
    pub token_file: PathBuf,
    /// PEM of the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// No connection could ever be made.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The address is none.
    #[error("--vault-addr must be http:// or https:// with a host and, if you like, a port, and nothing else")]
    Address,
    /// The mount or the namespace is no path.
    #[error("--vault-mount and --vault-namespace must be paths of letters, digits, - _ . and /")]
    Path,
    /// The authorities can't be read.
    #[error("--vault-ca can't be read as PEM certificates")]
    Ca,
    /// TLS could not be set up.
    #[error("TLS can't be set up")]
    Tls(#[source] rustls::Error),
}

impl Endpoint {
    /// The address, checked: scheme, host and port.
    ///
    /// # Errors
    /// [`Unusable::Address`].
    pub fn uri(&self) -> Result<Uri, Unusable> {
        let uri: Uri = self.address.trim_end_matches('/').parse().map_err(|_| Unusable::Address)?;
        let plain = uri.path_and_query().is_none_or(|path| path == "/");
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        let named =
            uri.authority().is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
        if plain && known && named { Ok(uri) } else { Err(Unusable::Address) }
    }
}

/// The client.
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    base: String,
    namespace: Option<HeaderValue>,
}

impl Http {
    pub(super) fn new(endpoint: Endpoint) -> Result<Self, Unusable> {
        let uri = endpoint.uri()?;
        let path = |text: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
            text.chars().all(plain) && !text.split('/').any(|part| part == "..")
        };
        let mount = endpoint.mount.trim_matches('/');
        if mount.is_empty() || !path(mount) || !path(&endpoint.namespace) {
            return Err(Unusable::Path);
        }
        let namespace = (!endpoint.namespace.is_empty()).then(|| HeaderValue::from_str(&endpoint.namespace));
        let namespace = namespace.transpose().map_err(|_| Unusable::Path)?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(PATIENCE / 2));
        tcp.set_nodelay(true);
        let tls = HttpsConnectorBuilder::new()
            .with_tls_config(trust(&endpoint)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client =
            Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).build(tls);
        Ok(Self { client, base: uri.to_string().trim_end_matches('/').to_owned(), namespace })
    }

    /// Status and body; `None` if there was no whole answer in time.
    pub(super) async fn post(&self, path: &str, token: &SecretString, body: Vec<u8>) -> Option<(u16, Vec<u8>)> {
        let mut token = HeaderValue::from_str(token.expose()).ok()?;
        token.set_sensitive(true);
        let mut request = Request::post(format!("{}/v1/{path}", self.base))
            .header(HeaderName::from_static("x-vault-token"), token)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(namespace) = &self.namespace {
            request = request.header(HeaderName::from_static("x-vault-namespace"), namespace);
        }
        let request = request.body(Body::from(body)).ok()?;
        let whole = async {
            let answer = self.client.request(request).await.ok()?;
            let status = answer.status().as_u16();
            let bytes: Bytes = axum::body::to_bytes(Body::new(answer.into_body()), LARGEST).await.ok()?;
            Some((status, bytes.to_vec()))
        };
        tokio::time::timeout(PATIENCE, whole).await.ok().flatten()
    }
}

fn trust(endpoint: &Endpoint) -> Result<ClientConfig, Unusable> {
    let provider = std::sync::Arc::new(aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(Unusable::Tls)?;
    let Some(file) = &endpoint.ca_file else {
        if endpoint.address.starts_with("http://") {
            // Nothing is encrypted, so nobody is trusted.
            return Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
        }
        return Ok(builder.with_platform_verifier().map_err(Unusable::Tls)?.with_no_client_auth());
    };
    let pem = fs::read(file).map_err(|_| Unusable::Ca)?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.map_err(|_| Unusable::Ca)?).map_err(Unusable::Tls)?;
    }
    if roots.is_empty() { Err(Unusable::Ca) } else { Ok(builder.with_root_certificates(roots).with_no_client_auth()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(address: &str, mount: &str) -> Endpoint {
        Endpoint {
            address: address.to_owned(),
            namespace: String::new(),
            mount: mount.to_owned(),
            token_file: PathBuf::new(),
            ca_file: None,
        }
    }

    #[test]
    fn only_addresses_and_paths_are_taken() {
        for good in ["http://127.0.0.1:8200", "http://[::1]:8200/", "http://vault.example"] {
            assert!(Http::new(endpoint(good, "send")).is_ok(), "{good}");
        }
        for bad in ["", "vault:8200", "ftp://v", "http://", "http://v/x", "http://v?x", "http://u:p@v", "/x"] {
            assert!(Http::new(endpoint(bad, "send")).is_err(), "{bad}");
        }
        assert!(Http::new(endpoint("http://v", "/team/send/")).is_ok());
        for bad in ["", "/", "a b", "a?b", "../sys", "a/../b", "a%2fb"] {
            assert!(Http::new(endpoint("http://v", bad)).is_err(), "{bad}");
        }
    }
}
