//! From a connection to an HTTP client: address, trust, and nothing from the environment.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use ps_core::error::{Class, Fault};
use ps_core::ports::Connection;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, Client, ClientBuilder, Url};

const CONNECT: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(60);
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const POOLED: usize = 8;

/// A client for one address.
pub(crate) struct Dialed {
    pub(crate) http: Client,
    /// What requests are addressed to: the address, or the same with the name that the certificate is for.
    pub(crate) base: Url,
    /// The `Host` header, where `base` names another host than the address.
    pub(crate) host: Option<HeaderValue>,
}

/// Builds the client.
///
/// # Errors
/// Misconfigured: the address is not `http(s)://host[:port]`, or the CA does not parse, or there is none to trust.
pub(crate) fn dial(at: &Connection) -> Result<Dialed, Fault> {
    let url = parse(at)?;
    install_provider();
    let timeout = at.timeout.to_std();
    let mut builder = Client::builder()
        .tls_backend_rustls()
        .tls_danger_accept_invalid_certs(false)
        .tls_sni(true)
        .http1_only()
        .no_proxy()
        .referer(false)
        // A redirect would carry the token to whichever host it names.
        .redirect(reqwest::redirect::Policy::none())
        // A rotation must not be repeated behind our back.
        .retry(reqwest::retry::never())
        .connection_verbose(false)
        .timeout(timeout)
        .connect_timeout(timeout.min(CONNECT))
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(POOLED)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEP_ALIVE);
    let (mut base, mut host) = (url.clone(), None);
    if url.scheme() == "http" {
        // Without this, a system without a CA bundle could not even speak plain HTTP (reqwest issue 2988).
        builder = builder.tls_certs_only(Vec::new());
    } else {
        builder = trust(builder, at)?;
        if let Some(name) = &at.tls_server_name {
            (base, host, builder) = under_name(&url, name, builder, at)?;
        }
    }
    let http = builder.build().map_err(|_| {
        let message = "no certificate authority of the system can be read";
        invalid(at, "vault-ca-missing", message, "spec.caBundle", "Install CA certificates, or give caBundle")
    })?;
    Ok(Dialed { http, base, host })
}

fn parse(at: &Connection) -> Result<Url, Fault> {
    let refuse = |message: &str| {
        let remedy = "Write it as https://vault.example.com:8200, without a path";
        invalid(at, "vault-address-invalid", message, "spec.address", remedy)
    };
    let url = Url::parse(&at.address).map_err(|_| refuse("the address is no URL"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(refuse("the address is neither http:// nor https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("the address holds a user or a password"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("the address has a path"));
    }
    if !at.vault_namespace.bytes().all(|b| b.is_ascii_graphic()) {
        let (message, remedy) = ("the namespace is not plain ASCII", "Write it as Vault lists it");
        return Err(invalid(at, "vault-namespace-invalid", message, "spec.namespace", remedy));
    }
    Ok(url)
}

fn trust(builder: ClientBuilder, at: &Connection) -> Result<ClientBuilder, Fault> {
    let Some(pem) = &at.ca_pem else { return Ok(builder) };
    let found = Certificate::from_pem_bundle(pem.as_bytes()).unwrap_or_default();
    if found.is_empty() {
        let (message, remedy) = ("the CA bundle holds no certificate", "Give PEM certificates");
        return Err(invalid(at, "vault-ca-invalid", message, "spec.caBundle", remedy));
    }
    Ok(builder.tls_certs_only(found))
}

/// Dials the address's host, but asks (SNI) and checks for another name. The `Host` header stays the address's.
fn under_name(
    url: &Url,
    name: &str,
    builder: ClientBuilder,
    at: &Connection,
) -> Result<(Url, Option<HeaderValue>, ClientBuilder), Fault> {
    let refuse = || {
        let (message, remedy) = ("the TLS server name is no host name", "Give a name that the certificate holds");
        invalid(at, "vault-tls-name-invalid", message, "spec.tlsServerName", remedy)
    };
    let mut base = url.clone();
    base.set_host(Some(name)).map_err(|_| refuse())?;
    if base.domain().is_none_or(|domain| !domain.eq_ignore_ascii_case(name)) {
        return Err(refuse());
    }
    let real = url.host_str().unwrap_or_default();
    let shown = url.port().map_or_else(|| real.to_owned(), |port| format!("{real}:{port}"));
    let header = HeaderValue::from_str(&shown).map_err(|_| refuse())?;
    let resolver = Resolver { host: real.trim_matches(['[', ']']).into() };
    Ok((base, Some(header), builder.dns_resolver(Arc::new(resolver))))
}

/// Resolves one host, whichever name is asked for.
struct Resolver {
    host: Arc<str>,
}

impl Resolve for Resolver {
    fn resolve(&self, _name: Name) -> Resolving {
        let host = Arc::clone(&self.host);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((&*host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// reqwest panics without a process-wide provider. Binaries install theirs first; tests and tools may not.
fn install_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread was faster, with the same provider.
        let _raced = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

fn invalid(at: &Connection, code: &str, message: &str, field: &str, remedy: &str) -> Fault {
    let message = format!("connection {}: {message}", crate::fault::name(at));
    Fault::new(Class::Misconfigured, code, message).field(field).remedy(remedy)
}
