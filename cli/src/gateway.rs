//! The gateway's verbs over HTTP (docs/link-protocol.md, section 8).

use std::error::Error as StdError;
use std::path::Path;
use std::time::Duration;

use ps_core::service::{
    AcknowledgeRequest, ClaimAnswer, ClaimRequest, CodeAnswer, CodeRequest, DeclineRequest, LookupAnswer,
    LookupRequest, Refusal, RefusalBody, StateAnswer,
};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Certificate, Client, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use crate::failure::{Exit, Failure};

/// The longest answer: a payload of 1 MiB with its padding, in base64, and some room.
const MAX_ANSWER: usize = 2 * 1024 * 1024;
/// Longest time until there is a connection, and until there is an answer.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);

/// Why a verb gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// The gateway refused.
    #[error("the gateway refused: {0}")]
    Refused(Refusal),
    /// No connection, or it broke; whether the request arrived is not known.
    #[error("the gateway could not be reached: {0}")]
    Network(&'static str),
    /// The connection is not secure.
    #[error("the connection is not secure: {0}")]
    Tls(String),
    /// Something else answers at this address.
    #[error("what answers at the link's address is no gateway of Password Sender (status {0})")]
    Foreign(u16),
}

impl NoAnswer {
    /// The failure that a person is told, unless a caller knows more about it.
    pub(crate) fn failure(&self) -> Failure {
        let (exit, remedy) = match self {
            Self::Refused(Refusal::NotReady) | Self::Network(_) => {
                (Exit::Again, "Run the same command again in a while")
            }
            Self::Refused(Refusal::SlowDown { .. }) => (Exit::Again, ""),
            Self::Refused(Refusal::Claimed | Refusal::Gone(_) | Refusal::NotFound) => (Exit::Over, ""),
            Self::Refused(Refusal::WrongCode { .. } | Refusal::WrongProof { .. }) => (Exit::Wrong, ""),
            Self::Refused(_) => (Exit::Other, "Is this program up to date?"),
            Self::Tls(_) => (Exit::Other, "For a certificate authority of your own, use --ca-file"),
            Self::Foreign(_) => (Exit::Other, "Check the address in the link, and whether a proxy answers instead"),
        };
        Failure::new(exit, self.to_string(), remedy)
    }
}

/// A gateway, by the folder that its page is in.
#[derive(Debug)]
pub(crate) struct Gateway {
    http: Client,
    verbs: Url,
    runtime: Runtime,
}

impl Gateway {
    /// Prepares; nothing is sent yet. `ca_file` replaces the authorities of the system.
    pub(crate) fn new(base: &Url, ca_file: Option<&Path>) -> Result<Self, Failure> {
        let http = client(base, ca_file)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Failure::io("start", &e))?;
        let verbs = base.join("api/v1/links/").map_err(|_| Failure::usage("the link's address can't be used", ""))?;
        Ok(Self { http, verbs, runtime })
    }

    /// State and preview. Changes nothing.
    pub(crate) fn lookup(&self, request: &LookupRequest) -> Result<LookupAnswer, NoAnswer> {
        self.call("lookup", request)
    }

    /// Claims, or repeats a claim.
    pub(crate) fn claim(&self, request: &ClaimRequest) -> Result<ClaimAnswer, NoAnswer> {
        self.call("claim", request)
    }

    /// Says that it is saved.
    pub(crate) fn acknowledge(&self, request: &AcknowledgeRequest) -> Result<StateAnswer, NoAnswer> {
        self.call("acknowledge", request)
    }

    /// A step of an e-mailed code.
    pub(crate) fn code(&self, request: &CodeRequest) -> Result<CodeAnswer, NoAnswer> {
        self.call("code", request)
    }

    /// Ends the link, or disputes its retrieval.
    pub(crate) fn decline(&self, request: &DeclineRequest) -> Result<StateAnswer, NoAnswer> {
        self.call("decline", request)
    }

    /// A file of the page.
    pub(crate) fn file(&self, name: &str) -> Result<Vec<u8>, NoAnswer> {
        // From `api/v1/links/` back to the page's folder.
        let url = self.verbs.join(&format!("../../../{name}"));
        let url = url.map_err(|_| NoAnswer::Network("the address can't be used"))?;
        match self.exchange(self.http.get(url))? {
            (200, bytes) => Ok(bytes),
            (502..=504, _) => Err(NoAnswer::Refused(Refusal::NotReady)),
            (status, _) => Err(NoAnswer::Foreign(status)),
        }
    }

    fn call<A: DeserializeOwned>(&self, verb: &str, request: &impl Serialize) -> Result<A, NoAnswer> {
        let body = serde_json::to_vec(request).map_err(|_| NoAnswer::Network("the request can't be written"))?;
        let url = self.verbs.join(verb).map_err(|_| NoAnswer::Network("the address can't be used"))?;
        let request = self.http.post(url).header(CONTENT_TYPE, "application/json").body(body);
        let (status, answer) = self.exchange(request)?;
        if status == 200 {
            return serde_json::from_slice(&answer).map_err(|_| NoAnswer::Foreign(status));
        }
        let refusal = serde_json::from_slice::<RefusalBody>(&answer).ok();
        Err(match refusal.and_then(|body| Refusal::from_wire(status, &body)) {
            Some(refusal) => NoAnswer::Refused(refusal),
            // A proxy in front of a gateway that is not up.
            None if matches!(status, 429 | 500..=599) => NoAnswer::Refused(Refusal::NotReady),
            None => NoAnswer::Foreign(status),
        })
    }

    /// Sends a request; the answer's status and its body, which is bounded.
    fn exchange(&self, request: reqwest::RequestBuilder) -> Result<(u16, Vec<u8>), NoAnswer> {
        self.runtime.block_on(async {
            let mut response = request.send().await.map_err(|e| classify(&e))?;
            let status = response.status().as_u16();
            let mut answer = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|e| classify(&e))? {
                if answer.len() + chunk.len() > MAX_ANSWER {
                    return Err(NoAnswer::Foreign(status));
                }
                answer.extend_from_slice(&chunk);
            }
            Ok((status, answer))
        })
    }
}

/// An HTTP client for one address; nothing is sent yet. `ca_file` replaces the authorities of the system.
pub(crate) fn client(base: &Url, ca_file: Option<&Path>) -> Result<Client, Failure> {
    // Whoever comes second finds the same provider.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let mut builder = Client::builder()
        .tls_backend_rustls()
        .referer(false)
        // A redirect would carry what claims to whichever host it names.
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        // Prompts take longer than servers wait; a connection of yesterday would look like a lost reply.
        .pool_max_idle_per_host(0)
        .connection_verbose(false)
        .connect_timeout(CONNECT)
        .timeout(ANSWER);
    if base.scheme() == "http" {
        // Loopback. No authorities needed, which a bare system may not have, and no proxy either.
        builder = builder.tls_certs_only(Vec::new()).no_proxy();
    } else if let Some(path) = ca_file {
        builder = builder.tls_certs_only(authorities(path)?);
    }
    builder.build().map_err(|_| {
        Failure::new(
            Exit::Other,
            "no certificate authority of the system can be read",
            "Install CA certificates, or use --ca-file",
        )
    })
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, Failure> {
    let bad = |what: String| Failure::usage(what, "Give --ca-file a file of certificates in PEM form");
    let pem = std::fs::read(path).map_err(|e| bad(format!("the file of --ca-file could not be read: {e}")))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(bad("the file of --ca-file holds no certificate".to_owned())),
    }
}

/// The library's own text may hold the address; only causes are worded.
pub(crate) fn classify(error: &reqwest::Error) -> NoAnswer {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(inner) = cause {
        if let Some(tls) = tls_in(inner) {
            return NoAnswer::Tls(tls.to_string());
        }
        cause = inner.source();
    }
    NoAnswer::Network(if error.is_timeout() {
        "it takes too long"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    })
}

/// I/O errors hide what they wrap from `source`, and may be wrapped in each other.
fn tls_in<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    error.downcast_ref().or_else(|| {
        let inner: &(dyn StdError + 'static) = error.downcast_ref::<std::io::Error>()?.get_ref()?;
        tls_in(inner)
    })
}
