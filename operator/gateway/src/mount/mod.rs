//! Links that live in a mount of Vault or OpenBao: the verbs as requests to `MOUNT/gateway/VERB`.
//!
//! A plain HTTP client, with a token that may `update` that and nothing else. The rules run in the mount, by its clock. What
//! is not one of the table's refusals (a wrong token, a sealed server, no server) is `not-ready` to the recipient, who tries
//! again; what it was is said at the admin port and in the log, in words that hold no answer of the server's.

mod http;
mod token;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ps_core::service::{
    AcknowledgeRequest, ClaimAnswer, ClaimRequest, DeclineRequest, LinkService, LookupAnswer, LookupRequest, Refusal,
    RefusalBody, StateAnswer,
};
use ps_core::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::admin::Watched;

use http::Http;
pub use http::{Endpoint, Unusable};
use token::TokenFile;

/// How often the mount is asked for a link that nobody has, to see that it answers.
const PROBE: Duration = Duration::from_secs(10);
/// A link that nobody has: an id and an `access` of zeros.
const NOBODY: &str = r#"{"id":"AAAAAAAAAAAAAAAAAAAAAA","access":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;

/// [`LinkService`] over a mount.
pub struct MountLinkService {
    http: Http,
    token: TokenFile,
    mount: String,
    seen: Seen,
}

/// What came of the last request, and how many there were.
#[derive(Default)]
struct Seen {
    trouble: AtomicU8,
    requests: AtomicU64,
    failures: AtomicU64,
}

/// Why the mount did not answer as a mount does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Trouble {
    None = 0,
    Unasked = 1,
    NoToken = 2,
    Unreachable = 3,
    Denied = 4,
    NoMount = 5,
    Sealed = 6,
    Strange = 7,
}

impl Trouble {
    const ALL: [Self; 8] = [
        Self::None,
        Self::Unasked,
        Self::NoToken,
        Self::Unreachable,
        Self::Denied,
        Self::NoMount,
        Self::Sealed,
        Self::Strange,
    ];

    const fn words(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Unasked => Some("the mount was not asked yet\n"),
            Self::NoToken => Some("there is no token in --vault-token-file\n"),
            Self::Unreachable => Some("the Vault server can't be reached\n"),
            Self::Denied => Some("the token is not accepted, or may not update MOUNT/gateway/*\n"),
            Self::NoMount => Some("there is no password-sender mount at --vault-mount\n"),
            Self::Sealed => Some("the Vault server is sealed, or has no active node\n"),
            Self::Strange => Some("the Vault server answers what is no answer of a mount\n"),
        }
    }
}

impl std::fmt::Debug for MountLinkService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MountLinkService").field("mount", &self.mount).finish_non_exhaustive()
    }
}

impl MountLinkService {
    /// A client of the mount at `endpoint`. It asks nothing yet; [`MountLinkService::keep`] must run beside it.
    ///
    /// # Errors
    /// [`Unusable`], if no connection could ever be made.
    pub fn new(endpoint: Endpoint) -> Result<Self, Unusable> {
        let mount = endpoint.mount.trim_matches('/').to_owned();
        let token = TokenFile::new(endpoint.token_file.clone());
        let seen = Seen { trouble: AtomicU8::new(Trouble::Unasked as u8), ..Seen::default() };
        Ok(Self { http: Http::new(endpoint)?, token, mount, seen })
    }

    /// Keeps the token alive, and looks whether the mount answers. Never ends.
    pub async fn keep(self: Arc<Self>) {
        let probe = async {
            loop {
                let probed = self.ask::<LookupAnswer>("lookup", NOBODY.as_bytes().to_vec()).await;
                if !matches!(probed, Err(Refusal::NotFound | Refusal::NotReady)) {
                    tracing::warn!("the mount knows a link that nobody has");
                }
                tokio::time::sleep(PROBE).await;
            }
        };
        tokio::join!(probe, self.token.keep(&self.http));
    }

    async fn verb<T: DeserializeOwned>(&self, name: &str, request: &impl Serialize) -> Result<T, Refusal> {
        self.ask(name, serde_json::to_vec(request).map_err(|_| Refusal::NotReady)?).await
    }

    async fn ask<T: DeserializeOwned>(&self, name: &str, body: Vec<u8>) -> Result<T, Refusal> {
        self.seen.requests.fetch_add(1, Ordering::Relaxed);
        let came = self.answered(name, body).await;
        let trouble = came.as_ref().err().copied().unwrap_or(Trouble::None);
        let before = self.seen.trouble.swap(trouble as u8, Ordering::Relaxed);
        if let Some(words) = trouble.words() {
            self.seen.failures.fetch_add(1, Ordering::Relaxed);
            if before != trouble as u8 {
                tracing::warn!("{}", words.trim_end());
            }
        } else if before != 0 {
            tracing::info!("the mount answers");
        }
        came.unwrap_or(Err(Refusal::NotReady))
    }

    /// The mount's word, or why there is none.
    async fn answered<T: DeserializeOwned>(&self, name: &str, body: Vec<u8>) -> Result<Result<T, Refusal>, Trouble> {
        let path = format!("{}/gateway/{name}", self.mount);
        let mut token = self.token.current().ok_or(Trouble::NoToken)?;
        let mut answer = self.http.post(&path, &token, body.clone()).await.ok_or(Trouble::Unreachable)?;
        if answer.0 == 403 && refusal(&answer).is_none() && self.token.read_again() {
            // Somebody has put a new token there.
            token = self.token.current().ok_or(Trouble::NoToken)?;
            answer = self.http.post(&path, &token, body).await.ok_or(Trouble::Unreachable)?;
        }
        let (status, bytes) = &answer;
        if *status == 200 {
            let mut whole: Value = serde_json::from_slice(bytes).map_err(|_| Trouble::Strange)?;
            let data = whole.get_mut("data").map(Value::take).ok_or(Trouble::Strange)?;
            return serde_json::from_value(data).map(Ok).map_err(|_| Trouble::Strange);
        }
        match (refusal(&answer), status) {
            (Some(refusal), _) => Ok(Err(refusal)),
            (None, 403) => Err(Trouble::Denied),
            (None, 404 | 405) => Err(Trouble::NoMount),
            (None, 429 | 472 | 473 | 500..) => Err(Trouble::Sealed),
            (None, _) => Err(Trouble::Strange),
        }
    }

    fn trouble(&self) -> Trouble {
        let now = self.seen.trouble.load(Ordering::Relaxed);
        Trouble::ALL.into_iter().find(|trouble| *trouble as u8 == now).unwrap_or(Trouble::Strange)
    }
}

/// The table's refusal that an answer holds, if it holds one: Vault's own errors do not.
fn refusal((status, bytes): &(u16, Vec<u8>)) -> Option<Refusal> {
    let body: RefusalBody = serde_json::from_slice(bytes).ok()?;
    Refusal::from_wire(*status, &body)
}

/// The time is the mount's own, not the caller's.
#[async_trait]
impl LinkService for MountLinkService {
    async fn lookup(&self, request: &LookupRequest, _: Timestamp) -> Result<LookupAnswer, Refusal> {
        self.verb("lookup", request).await
    }

    async fn claim(&self, request: &ClaimRequest, _: Timestamp) -> Result<ClaimAnswer, Refusal> {
        self.verb("claim", request).await
    }

    async fn acknowledge(&self, request: &AcknowledgeRequest, _: Timestamp) -> Result<StateAnswer, Refusal> {
        self.verb("acknowledge", request).await
    }

    async fn decline(&self, request: &DeclineRequest, _: Timestamp) -> Result<StateAnswer, Refusal> {
        self.verb("decline", request).await
    }
}

impl Watched for MountLinkService {
    fn unready(&self) -> Option<&'static str> {
        self.trouble().words()
    }

    fn metrics(&self) -> String {
        let metric = |name: &str, kind: &str, help: &str, value: u64| {
            let name = format!("password_sender_gateway_mount_{name}");
            format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n")
        };
        let (requests, failures) = (&self.seen.requests, &self.seen.failures);
        [
            metric("up", "gauge", "Whether the mount answered the last request.", u64::from(self.unready().is_none())),
            metric("requests_total", "counter", "Requests to the mount.", requests.load(Ordering::Relaxed)),
            metric(
                "failures_total",
                "counter",
                "Requests that the mount did not answer.",
                failures.load(Ordering::Relaxed),
            ),
        ]
        .concat()
    }
}

#[cfg(test)]
mod tests {
    use ps_core::link::State;

    use super::*;

    #[test]
    fn only_the_tables_refusals_are_refusals() {
        let answer = |status: u16, body: &str| refusal(&(status, body.as_bytes().to_vec()));
        let gone = r#"{"errors":["The link is over"],"error":{"code":"gone","message":"x","state":"declined"}}"#;
        assert_eq!(answer(410, gone), Some(Refusal::Gone(State::Declined)));
        assert_eq!(answer(404, gone), None);
        assert_eq!(answer(403, r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#), None);
        assert_eq!(answer(404, r#"{"errors":[]}"#), None);
        assert_eq!(answer(503, "<html>"), None);
    }

    #[test]
    fn every_trouble_is_known_by_its_number() {
        for (number, trouble) in Trouble::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(trouble as u8), number);
            assert_eq!(trouble.words().is_none(), trouble == Trouble::None);
        }
    }
}
