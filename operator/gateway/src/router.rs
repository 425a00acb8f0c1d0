//! The HTTP contract (docs/link-protocol.md, section 8): what is asked, in which order it is checked, what is answered.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::StreamExt as _;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use ps_core::ports::Clock;
use ps_core::service::{LinkService, MAX_REQUEST_BYTES, Refusal};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;

use crate::client::{Client, Net, Peer, address};
use crate::counters::{Counters, Verb};
use crate::exposure;
use crate::headers::{DATA_POLICY, PICTURE_POLICY, seal};
use crate::limiter::{Limiter, Rate};
use crate::page::{self, Page};

/// How the router behaves.
#[derive(Clone)]
pub struct Settings {
    /// The time that the rules see.
    pub clock: Arc<dyn Clock>,
    /// API requests per client; `None` for no limit.
    pub rate: Option<Rate>,
    /// API requests at work at the same time; more are told `not-ready`.
    pub max_in_flight: usize,
    /// Longest time for reading a body, and again for answering it.
    pub request_timeout: Duration,
    /// The least time until a stranger is told that there is no such link. Longer than looking for one takes: so it tells
    /// nobody whether there was one, which a wrong `access` did not open.
    pub stranger_waits: Duration,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Net>,
    /// Where answers are counted.
    pub counters: Arc<Counters>,
    /// What is served besides the API.
    pub page: Arc<Page>,
}

impl Settings {
    /// The defaults of the program, with a clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            rate: Some(Rate { per_second: 20, burst: 200 }),
            max_in_flight: 256,
            request_timeout: Duration::from_secs(10),
            stranger_waits: Duration::from_millis(10),
            trusted_proxies: Vec::new(),
            counters: Arc::default(),
            page: Arc::default(),
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("rate", &self.rate).finish_non_exhaustive()
    }
}

struct App {
    service: Arc<dyn LinkService>,
    settings: Settings,
    limiter: Option<Limiter>,
    in_flight: Arc<Semaphore>,
    start: Instant,
}

/// Serves `service` and the page. Requests should carry a [`Peer`] extension; [`crate::server::serve`] puts it there.
pub fn router(service: Arc<dyn LinkService>, settings: Settings) -> Router {
    let counters = settings.counters.clone();
    let hsts = settings.page.hsts.clone();
    let app = App {
        limiter: settings.rate.map(Limiter::new),
        in_flight: Arc::new(Semaphore::new(settings.max_in_flight.clamp(1, Semaphore::MAX_PERMITS))),
        start: Instant::now(),
        service,
        settings,
    };
    // The panic's payload is dropped unread: nobody knows what it holds.
    let panicked = move |_: Box<dyn std::any::Any + Send>| {
        counters.panics.fetch_add(1, Ordering::Relaxed);
        tracing::error!("a request handler panicked");
        refuse(Refusal::NotReady)
    };
    let told = move |mut response: Response| {
        if let Some(hsts) = &hsts {
            response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        std::future::ready(response)
    };
    let router = Router::new().fallback(handle).with_state(Arc::new(app));
    router.layer(CatchPanicLayer::custom(panicked)).layer(axum::middleware::map_response(told))
}

async fn handle(State(app): State<Arc<App>>, request: Request) -> Response {
    if let Some(verb) = verb(request.uri().path()) {
        let (response, code) = api(&app, verb, request).await;
        app.settings.counters.count(verb, code);
        return response;
    }
    if exposure::holds_token(request.uri()) {
        app.settings.counters.exposed.fetch_add(1, Ordering::Relaxed);
    }
    let file = app.settings.page.file(request.uri().path());
    let (bytes, compressed) = file.body(page::takes_gzip(request.headers()));
    let length = bytes.len();
    let body = match *request.method() {
        Method::GET => Body::from(bytes),
        Method::HEAD => Body::empty(),
        _ => return not_allowed("GET, HEAD"),
    };
    app.settings.counters.pages.fetch_add(1, Ordering::Relaxed);
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if compressed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    seal(response, if file.picture { PICTURE_POLICY } else { app.settings.page.policy.clone() })
}

/// The verb that a path names; `None` for paths of the page.
///
/// The page may have been opened under a mangled path, and asks relative to it; so only the end of the path counts.
fn verb(path: &str) -> Option<Verb> {
    let named = path.rsplit_once("/api/v1/links/").map(|(_, name)| name);
    match named.and_then(|name| Verb::ALL.into_iter().find(|v| *v != Verb::Unknown && v.as_str() == name)) {
        Some(verb) => Some(verb),
        None if path == "/api" || path.starts_with("/api/") => Some(Verb::Unknown),
        None => None,
    }
}

/// Answers an API request; the code goes into the counters.
async fn api(app: &Arc<App>, verb: Verb, request: Request) -> (Response, &'static str) {
    if request.method() != Method::POST {
        return (not_allowed("POST"), "method");
    }
    match answer(app, verb, request).await {
        Ok(json) => (data(StatusCode::OK, json), "ok"),
        Err(refusal) => (refuse(refusal), refusal.code()),
    }
}

async fn answer(app: &Arc<App>, verb: Verb, request: Request) -> Result<Vec<u8>, Refusal> {
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().copied().unwrap_or(Peer(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
    if let Some(limiter) = &app.limiter {
        let client = Client::from(address(peer, &parts.headers, &app.settings.trusted_proxies));
        limiter.take(client, app.start.elapsed()).map_err(|wait| Refusal::SlowDown {
            retry_after: ps_core::time::Span::from_millis(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX).max(1)),
        })?;
    }
    if !is_json(&parts.headers) {
        return Err(Refusal::NotJson);
    }
    if declared_length(&parts.headers).is_some_and(|length| length > MAX_REQUEST_BYTES) {
        return Err(Refusal::TooLarge);
    }
    let body = match tokio::time::timeout(app.settings.request_timeout, read(body)).await {
        Ok(body) => body?,
        Err(_) => return Err(Refusal::BadRequest),
    };
    let permit = app.in_flight.clone().try_acquire_owned().map_err(|_| Refusal::NotReady)?;
    let task = {
        let app = app.clone();
        // A task of its own: a client that hangs up must not leave a durable change of which nobody was told.
        tokio::spawn(async move {
            let result = perform(&app, verb, &body).await;
            drop(permit);
            result
        })
    };
    let due = tokio::time::Instant::now() + app.settings.stranger_waits;
    match tokio::time::timeout(app.settings.request_timeout, task).await {
        Ok(Ok(Err(Refusal::NotFound))) => {
            tokio::time::sleep_until(due).await;
            Err(Refusal::NotFound)
        }
        Ok(Ok(result)) => result,
        Ok(Err(_)) => {
            app.settings.counters.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(verb = verb.as_str(), "a verb panicked");
            Err(Refusal::NotReady)
        }
        // It goes on by itself; whoever asked looks the link up again.
        Err(_) => Err(Refusal::NotReady),
    }
}

async fn perform(app: &App, verb: Verb, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let now = app.settings.clock.now();
    let service = &app.service;
    match verb {
        Verb::Lookup => json(&service.lookup(&parse(body)?, now).await?),
        Verb::Claim => json(&service.claim(&parse(body)?, now).await?),
        Verb::Acknowledge => json(&service.acknowledge(&parse(body)?, now).await?),
        Verb::Decline => json(&service.decline(&parse(body)?, now).await?),
        Verb::Code => json(&service.code(&parse(body)?, now).await?),
        Verb::Unknown => Err(Refusal::NotAvailable),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    // The parser's words are dropped: they may quote what was sent.
    serde_json::from_slice(body).map_err(|_| Refusal::BadRequest)
}

fn json<T: Serialize>(answer: &T) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(answer).map_err(|_| Refusal::NotReady)
}

/// Reads a body of at most [`MAX_REQUEST_BYTES`].
async fn read(body: Body) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::BadRequest)?;
        if out.len() + chunk.len() > MAX_REQUEST_BYTES {
            return Err(Refusal::TooLarge);
        }
        out.extend_from_slice(&chunk);
    }
    Ok(out)
}

/// Exactly one `Content-Type`, `application/json` with or without parameters, and no content encoding.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next(), types.next()) else { return false };
    let essence = only.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json") && !headers.contains_key(header::CONTENT_ENCODING)
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn not_allowed(allow: &'static str) -> Response {
    let mut response = refusal_response(StatusCode::METHOD_NOT_ALLOWED, Refusal::BadRequest);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

fn refuse(refusal: Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let mut response = refusal_response(status, refusal);
    if let Refusal::SlowDown { retry_after } = refusal {
        let seconds = retry_after.to_std().as_millis().div_ceil(1000);
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
    }
    if matches!(refusal, Refusal::BadRequest | Refusal::TooLarge | Refusal::NotJson) {
        // The rest of the body, if there is more, is not worth reading.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn refusal_response(status: StatusCode, refusal: Refusal) -> Response {
    data(status, serde_json::to_vec(&refusal.body()).unwrap_or_default())
}

fn data(status: StatusCode, json: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    seal(response, DATA_POLICY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(verb("/api/v1/links/claim"), Some(Verb::Claim));
        assert_eq!(verb("/%23ps1.AAAA/api/v1/links/lookup"), Some(Verb::Lookup));
        for unknown in ["/api", "/api/", "/api/v1/links/", "/api/v1/links/claim/", "/api/v2/links/claimx"] {
            assert_eq!(verb(unknown), Some(Verb::Unknown), "{unknown}");
        }
        for page in ["/", "/%23ps1.AAAA", "/apix", "/x/api/v1/links/other", "*", ""] {
            assert_eq!(verb(page), None, "{page}");
        }
    }

    #[test]
    fn content_types() {
        let with = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_TYPE, HeaderValue::from_static(value));
            }
            is_json(&headers)
        };
        assert!(with(&["application/json"]) && with(&["Application/JSON; charset=utf-8"]));
        for bad in [&[][..], &["text/plain"], &["application/json", "application/json"], &["application/jsonx"], &[""]]
        {
            assert!(!with(bad), "{bad:?}");
        }
    }
}
