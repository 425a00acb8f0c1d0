//! Can a recipient open what we send? The operator opens a link of its own through `publicUrl`, before the first mail and
//! hourly (DESIGN.md, Privileges): a wrong address, a proxy in between or a gateway that is not there shows before anybody
//! gets a link that leads nowhere.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ps_core::error::{Class, Fault};
use ps_core::link::{Link, Record};
use ps_core::ports::{CasError, LinkStore, Random};
use ps_core::secret::{SecretBytes, SecretString};
use ps_core::service::{
    AcknowledgeRequest, ClaimAnswer, ClaimRequest, LookupAnswer, LookupRequest, Revealed, StateAnswer,
};
use ps_core::time::Span;
use ps_envelope::{ClaimToken, Facts, Field, FieldKind, FreshSecret, Opener, Payload, Preview, SealInput};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::{SystemRandom, now};

/// How long the link lives: longer than a check takes.
const TTL: Span = Span::from_secs(300);
/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a gateway may take to hear of a new record, or to be cleared to answer.
const SETTLE: Duration = Duration::from_secs(20);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// What a failing check means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub enum Mode {
    /// Nothing is sent until it succeeds.
    Required,
    /// It is told, and mails go out: many clusters can't reach their own public address.
    #[default]
    Warn,
    /// No check.
    Off,
}

/// How `publicUrl` is reached.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where links lead.
    pub public_url: String,
    /// Connect here instead of to the name's own address; the certificate must still be the name's.
    pub connect_to: Option<SocketAddr>,
    /// PEM file with the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// Opens links of its own.
pub struct SelfCheck {
    http: reqwest::Client,
    verbs: String,
    page: String,
    public_url: String,
    store: Arc<dyn LinkStore>,
}

impl SelfCheck {
    /// Prepares; nothing is sent yet.
    ///
    /// # Errors
    /// If the address or the authorities can't be used.
    pub fn new(target: &Target, store: Arc<dyn LinkStore>) -> anyhow::Result<Self> {
        let mut builder = reqwest::Client::builder()
            .tls_backend_rustls()
            .referer(false)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(0)
            .connection_verbose(false)
            .no_proxy()
            .timeout(ANSWER);
        let mut base = target.public_url.clone();
        if let Some(address) = target.connect_to {
            let (scheme, rest) = target.public_url.split_once("://").context("publicUrl has no scheme")?;
            let (authority, path) = rest.split_once('/').map_or((rest, String::new()), |(a, p)| (a, format!("/{p}")));
            let host = host(&target.public_url).context("publicUrl has no host")?;
            // The client connects to the port in the URL, whatever the name resolves to; what is asked for stays the same.
            base = format!("{scheme}://{host}:{}{path}", address.port());
            let asked = reqwest::header::HeaderValue::from_str(authority).context("publicUrl has no host")?;
            builder = builder.resolve(host, address);
            builder = builder.default_headers([(reqwest::header::HOST, asked)].into_iter().collect());
        }
        if target.public_url.starts_with("http://") {
            builder = builder.tls_certs_only(Vec::new());
        } else if let Some(path) = &target.ca_file {
            let pem = std::fs::read(path).with_context(|| format!("selfCheck.caFile: {}", path.display()))?;
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem)?);
        }
        let http = builder.build().context("selfCheck: no HTTP client")?;
        let verbs = format!("{base}/api/v1/links");
        Ok(Self { http, verbs, page: format!("{base}/"), public_url: target.public_url.clone(), store })
    }

    /// One check: seal, put, look up, claim, open, acknowledge, remove.
    ///
    /// # Errors
    /// Transient, code `self-check-failed`, with what went wrong; it names no part of the link.
    pub async fn check(&self) -> Result<(), Fault> {
        let (record, opener, canary) = seal(&self.public_url)?;
        let id = record.id();
        self.store.insert(&record).await.map_err(|error| failed(&format!("its link could not be stored: {error}")))?;
        let opened = self.open(&opener, &canary).await;
        // The link was never anybody's: it goes at once, whatever came of it.
        if let Ok(Some(found)) = self.store.get(id).await
            && let Err(CasError::Failed(fault)) = self.store.delete(id, found.version).await
        {
            tracing::warn!(code = %fault.code, "the self-check's link stays until it expires: {fault}");
        }
        opened
    }

    async fn open(&self, opener: &Opener, canary: &SecretString) -> Result<(), Fault> {
        let page = self.http.get(&self.page).send().await;
        let page = page.map_err(|error| failed(reached(&error)))?;
        if !page.status().is_success() {
            return Err(failed(&format!("the page answers with status {}", page.status().as_u16())));
        }
        let (id, access) = (opener.id(), revealed(opener.access())?);
        let looked: LookupAnswer = self.settled("lookup", &LookupRequest { id, access: access.clone() }).await?;
        let kinds: Vec<&str> = Vec::new();
        let facts = Facts::from_lookup(looked.not_after, &kinds, None).map_err(ps_envelope::Error::fault)?;
        let unlocked = opener.unlock(facts, None).map_err(ps_envelope::Error::fault)?;
        let token = ClaimToken::from_fill(|out| SystemRandom.fill(out))?;
        let claim = ClaimRequest::First {
            id,
            access: access.clone(),
            opening_code: None,
            proof: revealed(unlocked.proof())?,
            token_hash: token.hash(),
            exposed: false,
        };
        let answer: ClaimAnswer = self.settled("claim", &claim).await?;
        let payload = unlocked.open(None, &answer.ciphertext.0).map_err(ps_envelope::Error::fault)?;
        if payload.fields.first().is_none_or(|field| field.value.expose() != canary.expose()) {
            return Err(failed("what was opened is not what was sealed"));
        }
        let text = token.to_text().map_err(ps_envelope::Error::fault)?;
        let token = ps_core::encode::from_b64_array(text.expose()).map(Revealed);
        let token = token.ok_or_else(|| failed("its claim token has no bytes"))?;
        let request = AcknowledgeRequest { id, access, token };
        self.settled::<StateAnswer>("acknowledge", &request).await.map(|_| ())
    }

    /// A replica hears of a new record a moment later, and answers no claims until it is cleared: asks until it does.
    async fn settled<A: DeserializeOwned>(&self, verb: &'static str, request: &impl Serialize) -> Result<A, Fault> {
        let begin = tokio::time::Instant::now();
        loop {
            match self.call(verb, request).await {
                Err(Refused::Status(404 | 503)) if begin.elapsed() < SETTLE => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                answer => return answer.map_err(|refused| refused.fault(verb)),
            }
        }
    }

    async fn call<A: DeserializeOwned>(&self, verb: &'static str, request: &impl Serialize) -> Result<A, Refused> {
        let url = format!("{}/{verb}", self.verbs);
        let mut response = self.http.post(url).json(request).send().await.map_err(|e| Refused::Network(reached(&e)))?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(Refused::Status(status));
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| Refused::Network(reached(&e)))? {
            if answer.len() + chunk.len() > MAX_ANSWER {
                return Err(Refused::Network("the answer is too long"));
            }
            answer.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&answer).map_err(|_| Refused::Network("something else answers there"))
    }
}

/// Why a verb gave no answer.
enum Refused {
    Status(u16),
    Network(&'static str),
}

impl Refused {
    fn fault(self, verb: &str) -> Fault {
        match self {
            Self::Status(status) => failed(&format!("{verb} answers with status {status}")),
            Self::Network(what) => failed(&format!("{verb}: {what}")),
        }
    }
}

/// Why nothing is sent before the first check, where it is required.
#[must_use]
pub fn pending() -> Fault {
    Fault::new(
        Class::Transient,
        "self-check-pending",
        "nothing is sent before a link of our own was opened through publicUrl",
    )
}

fn reached(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection (name, route or certificate)"
    } else {
        "the connection broke"
    }
}

fn failed(what: &str) -> Fault {
    Fault::new(Class::Transient, "self-check-failed", format!("a link of our own could not be opened through publicUrl: {what}"))
        .field("publicUrl")
        .remedy("Check publicUrl and the way there; where this operator can't reach it, set selfCheck.connectTo or selfCheck.mode")
}

fn revealed(bytes: &SecretBytes) -> Result<Revealed, Fault> {
    <[u8; 32]>::try_from(bytes.expose()).map(Revealed).map_err(|_| failed("a value of the link has a wrong length"))
}

/// The host in a URL, without brackets; none in one that names a user, whose host is easily misread.
pub(crate) fn host(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split(['/', '?', '#']).next().filter(|authority| !authority.contains('@'))?;
    match authority.strip_prefix('[') {
        Some(six) => six.split(']').next(),
        None => authority.split(':').next(),
    }
}

/// A link that nobody but us can open, and what it must show.
fn seal(public_url: &str) -> Result<(Record, Opener, SecretString), Fault> {
    let mut random = [0_u8; 16];
    SystemRandom.fill(&mut random)?;
    let canary = SecretString::new(ps_core::encode::b64(&random));
    let field = Field { key: "check".into(), label: String::new(), kind: FieldKind::Text, value: canary.clone() };
    let payload = Payload { fields: vec![field], ..Payload::default() };
    let secret = FreshSecret::from_fill(|out| SystemRandom.fill(out))?;
    let at = now();
    let done = ps_envelope::seal(SealInput {
        secret,
        passphrase: None,
        factor: None,
        opening_code: None,
        payload: &payload,
        preview: &Preview::default(),
        not_after: at + TTL + TTL,
        claim_window: TTL,
        kinds: &[],
    })
    .map_err(ps_envelope::Error::fault)?;
    let url = done.secret.to_url(public_url).map_err(ps_envelope::Error::fault)?;
    let fragment = url.expose().split_once('#').map(|(_, fragment)| fragment).unwrap_or_default();
    let opener = Opener::from_fragment(fragment).map_err(ps_envelope::Error::fault)?;
    let link = Link::new(done.sealed, at + TTL, done.ciphertext, done.preview);
    Ok((Record::Link(Box::new(link)), opener, canary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_found() {
        for (url, name) in [
            ("https://links.example.com", "links.example.com"),
            ("https://links.example.com:8443/x", "links.example.com"),
            ("http://[::1]:8080", "::1"),
            ("https://links.example.com?x=/", "links.example.com"),
        ] {
            assert_eq!(host(url), Some(name), "{url}");
        }
        assert_eq!(host("http://localhost:80@links.example.com"), None);
    }

    #[test]
    fn a_link_of_our_own_opens_to_its_canary() {
        let (record, opener, _) = seal("https://links.example.com").unwrap();
        assert_eq!(record.id(), opener.id());
    }
}
