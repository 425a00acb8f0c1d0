//! A connection to the API server, with time limits on everything, and no proxy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use ps_core::error::{Class, Fault};
use secrecy::ExposeSecret as _;
use tower::BoxError;
use tower::buffer::BufferLayer;
use tower::retry::{Policy, RetryLayer};
use tower::timeout::TimeoutLayer;

/// Longest wait for a TCP connection.
pub const CONNECT: Duration = Duration::from_secs(3);
/// Longest wait for the head of an answer, repetitions included.
pub const HEAD: Duration = Duration::from_secs(5);
/// Longest silence on a connection from which an answer is read. A watch is not silent for longer: the API server sends a
/// bookmark about every minute.
pub const SILENCE: Duration = Duration::from_secs(100);

const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// How to reach the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// As the pod's service account. Token and CA file are read again when they rotate.
    InCluster,
    /// As a kubeconfig file says.
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Which context of it; `None` for its current one.
        context: Option<String>,
    },
}

/// Connects; nothing is sent yet. `program` and this version become the user agent: `password-sender-operator/0.1.0`.
///
/// Proxies are not used: neither those of the environment nor a kubeconfig's `proxy-url`, which is refused. A request that
/// was answered 429 is repeated up to three times, after as long as the server said, unless it said more than a second; a read
/// that was answered 503 or 504 as well. Writes are never repeated after a 5xx: whether they happened is for the caller to look up.
///
/// The process must have installed rustls' aws-lc-rs provider.
///
/// # Errors
/// `kubernetes-config`, misconfigured: no service account here, or a kubeconfig that can't be used.
pub async fn connect(access: &Access, program: &str) -> Result<Client, Fault> {
    let mut config = match access {
        Access::InCluster => Config::incluster().map_err(|_| {
            config_fault(
                "there is no service account's token in this process's file system",
                "Run this in a pod with a service account, or name a kubeconfig file",
            )
        })?,
        Access::Kubeconfig { path, context } => from_file(path, context.clone()).await?,
    };
    config.proxy_url = None;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    config.write_timeout = Some(HEAD);
    config.reset_reader_on_write = true;
    config.default_retry = false;
    let agent = format!("{program}/{}", env!("CARGO_PKG_VERSION"));
    let agent = HeaderValue::from_str(&agent).map_err(|_| {
        config_fault("the program's name is no header value", "Report this: it is a defect of Password Sender")
    })?;
    config.headers.push((HeaderName::from_static("user-agent"), agent));
    let builder = ClientBuilder::try_from(config).map_err(|_| {
        config_fault(
            "the credentials or the CA of the Kubernetes API can't be used",
            "See that the kubeconfig's certificates, keys and token files exist and are PEM",
        )
    })?;
    let builder = builder
        .with_layer(&BufferLayer::new(256))
        .with_layer(&RetryLayer::new(Patience::default()))
        .with_layer(&TimeoutLayer::new(HEAD));
    Ok(builder.build())
}

async fn from_file(path: &Path, context: Option<String>) -> Result<Config, Fault> {
    let unusable = |what: &str| {
        config_fault(
            format!("{}: {what}", path.display()),
            "Name a kubeconfig file that kubectl can use, with the context to use",
        )
    };
    let file = Kubeconfig::read_from(path).map_err(|_| unusable("it can't be read as a kubeconfig"))?;
    let wanted = context.or_else(|| file.current_context.clone()).unwrap_or_default();
    let cluster = file
        .contexts
        .iter()
        .find(|named| named.name == wanted)
        .and_then(|named| named.context.as_ref())
        .and_then(|context| file.clusters.iter().find(|named| named.name == context.cluster))
        .and_then(|named| named.cluster.as_ref())
        .ok_or_else(|| unusable(&format!("it has no context {wanted:?} with a cluster")))?;
    if cluster.proxy_url.is_some() {
        return Err(unusable("its cluster names a proxy, which is not supported"));
    }
    if cluster.insecure_skip_tls_verify == Some(true) {
        return Err(unusable("its cluster turns off the check of certificates, which is refused"));
    }
    let options = KubeConfigOptions { context: Some(wanted), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(file, &options).await.map_err(|_| unusable("its cluster or user can't be used"))
}

fn config_fault(message: impl Into<String>, remedy: &str) -> Fault {
    Fault::new(Class::Misconfigured, "kubernetes-config", message).remedy(remedy)
}

/// The audiences of our own token: those of the API server, for which no token must ever be asked on a tenant's behalf.
/// Empty if there is no readable token (a kubeconfig with a client certificate).
#[must_use]
pub fn own_audiences(access: &Access) -> Vec<String> {
    let token = match access {
        Access::InCluster => std::fs::read_to_string(TOKEN).ok(),
        Access::Kubeconfig { path, context } => token_of(path, context.as_deref()),
    };
    token.and_then(|token| audiences(token.trim())).unwrap_or_default()
}

fn token_of(path: &Path, context: Option<&str>) -> Option<String> {
    let file = Kubeconfig::read_from(path).ok()?;
    let wanted = context.or(file.current_context.as_deref())?;
    let context = file.contexts.iter().find(|named| named.name == wanted)?.context.as_ref()?;
    let user = file.auth_infos.iter().find(|named| Some(&named.name) == context.user.as_ref())?.auth_info.as_ref()?;
    if let Some(token) = &user.token {
        return Some(token.expose_secret().to_owned());
    }
    std::fs::read_to_string(user.token_file.as_ref()?).ok()
}

fn audiences(token: &str) -> Option<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Claims {
        aud: Audiences,
    }
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Audiences {
        One(String),
        Many(Vec<String>),
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    match serde_json::from_slice::<Claims>(&claims).ok()?.aud {
        Audiences::One(one) => Some(vec![one]),
        Audiences::Many(many) => Some(many),
    }
}

/// When a request is repeated by itself.
#[derive(Clone, Default)]
struct Patience {
    tried: u32,
}

const TRIES: u32 = 3;

impl<B> Policy<Request<Body>, Response<B>, BoxError> for Patience {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        request: &mut Request<Body>,
        result: &mut Result<Response<B>, BoxError>,
    ) -> Option<Self::Future> {
        let answer = result.as_ref().ok()?;
        let reads = request.method() == Method::GET;
        let again = match answer.status() {
            // Refused before anything was done, whatever it was.
            StatusCode::TOO_MANY_REQUESTS => true,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => reads,
            _ => false,
        };
        if !again || self.tried >= TRIES {
            return None;
        }
        self.tried += 1;
        let asked = answer.headers().get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        patience(self.tried, asked).map(tokio::time::sleep)
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let mut copy = Request::new(request.body().try_clone()?);
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.headers_mut() = request.headers().clone();
        *copy.extensions_mut() = request.extensions().clone();
        Some(copy)
    }
}

/// How long before the n-th repetition: what the server asked for, or 0.2 s, 0.4 s, 0.8 s. `None` if it asked for more than a
/// second: then the caller is told, and has a backoff of its own.
fn patience(tried: u32, asked: Option<u64>) -> Option<Duration> {
    let own = Duration::from_millis(100) * 2_u32.saturating_pow(tried);
    match asked {
        Some(seconds) if seconds > 1 => None,
        Some(seconds) => Some(own.max(Duration::from_secs(seconds))),
        None => Some(own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audiences_of_a_token() {
        let token = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        let one = Some(vec!["https://kubernetes.default.svc".to_owned()]);
        assert_eq!(audiences(&token(r#"{"aud":["https://kubernetes.default.svc"],"sub":"x"}"#)), one);
        assert_eq!(audiences(&token(r#"{"aud":"https://kubernetes.default.svc"}"#)), one);
        for none in ["", "opaque", "e30.!!!.x", &token("{}"), &token("[]")] {
            assert_eq!(audiences(none), None, "{none}");
        }
    }

    #[test]
    fn repetitions_wait_as_the_server_asked_and_not_for_long() {
        let millis = Duration::from_millis;
        assert_eq!(patience(1, None), Some(millis(200)));
        assert_eq!(patience(3, None), Some(millis(800)));
        assert_eq!(patience(1, Some(1)), Some(millis(1000)));
        assert_eq!(patience(1, Some(2)), None);
    }

    const FILE: &str = "apiVersion: v1
kind: Config
current-context: one
contexts: [{name: one, context: {cluster: c, user: u}}, {name: two, context: {cluster: proxied, user: u}}, {name: three, context: {cluster: open, user: u}}]
clusters:
- {name: c, cluster: {server: 'https://127.0.0.1:1'}}
- {name: proxied, cluster: {server: 'https://127.0.0.1:1', proxy-url: 'http://127.0.0.1:2'}}
- {name: open, cluster: {server: 'https://127.0.0.1:1', insecure-skip-tls-verify: true}}
users: [{name: u, user: {token: TOKEN}}]
";

    #[tokio::test]
    async fn a_kubeconfig_is_used_as_it_says_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(r#"{"aud":["api"]}"#));
        std::fs::write(&path, FILE.replace("TOKEN", &token)).unwrap();
        let access =
            |context: Option<&str>| Access::Kubeconfig { path: path.clone(), context: context.map(str::to_owned) };
        assert_eq!(own_audiences(&access(None)), ["api"]);
        connect(&access(None), "test").await.unwrap();
        for (context, word) in [("two", "proxy"), ("three", "certificates"), ("four", "four")] {
            let fault = connect(&access(Some(context)), "test").await.err().unwrap();
            assert_eq!((fault.code.as_str(), fault.class), ("kubernetes-config", Class::Misconfigured));
            assert!(fault.message.contains(word) && !fault.remedy.is_empty(), "{fault}");
            assert!(!fault.to_string().contains(&token));
        }
        let nowhere = Access::Kubeconfig { path: folder.path().join("none"), context: None };
        assert_eq!(connect(&nowhere, "test").await.err().unwrap().code, "kubernetes-config");
        assert!(own_audiences(&nowhere).is_empty());
    }
}
