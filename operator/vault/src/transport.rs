//! One bounded request over vaultrs' client.
//!
//! vaultrs gives the middleware (version, token, namespace), rustify the endpoint; sending is ours, because rustify's own
//! reads an answer of any size, drops the headers' meaning on errors, and puts the body into its errors.

use std::error::Error as StdError;
use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderValue, Request as HttpRequest, Response as HttpResponse};
use ps_core::error::Fault;
use ps_core::ports::Connection;
use ps_core::secret::{SecretBytes, SecretString};
use rustify::endpoint::{Endpoint, MiddleWare};
use rustify::enums::{RequestMethod, RequestType, ResponseType};
use rustify::errors::ClientError;
use vaultrs::api::EndpointMiddleware;
use vaultrs::client::{VaultClient, VaultClientSettings, VaultClientSettingsBuilder};
use zeroize::{Zeroize, Zeroizing};

use crate::address::{Dialed, dial};
use crate::fault;
use crate::request::{Method, Request};

/// Largest answer that is read. KV secrets are at most 1 MiB on default storage, and what is delivered is kilobytes.
pub(crate) const MAX_ANSWER: usize = 1024 * 1024;
const FIRST_BUFFER: usize = 8 * 1024;
const TOKEN_HEADER: &str = "X-Vault-Token";

/// Any answer of Vault: every status is one.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The `Retry-After` header, if it is a number of seconds.
    pub(crate) retry_after: Option<u32>,
    pub(crate) body: SecretBytes,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why there is no answer. Its words come from here and from rustls, never from an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("no connection: {0}")]
    Connect(String),
    #[error("TLS: {0}")]
    Tls(String),
    #[error("no answer in time")]
    Timeout,
    #[error("the connection broke")]
    Broken,
    #[error("the answer is larger than 1 MiB")]
    TooLarge,
    #[error("the request could not be built")]
    Unbuilt,
}

/// One connection's pool.
pub(crate) struct Transport {
    vault: VaultClient,
    base: String,
    host: Option<HeaderValue>,
}

impl Transport {
    /// Builds the pool; nothing is sent.
    ///
    /// # Errors
    /// See [`dial`].
    pub(crate) fn new(at: &Connection) -> Result<Self, Fault> {
        let Dialed { http, base, host } = dial(at)?;
        let settings = settings(at, base.as_str()).map_err(|()| fault::unbuilt(at))?;
        let namespace = (!at.vault_namespace.is_empty()).then(|| at.vault_namespace.clone());
        let middle = EndpointMiddleware { token: String::new(), version: "v1".to_owned(), wrap: None, namespace };
        let base = base.to_string();
        let vault = VaultClient { http: rustify::Client::new(&base, http), middle, settings };
        Ok(Self { vault, base, host })
    }

    /// Sends one request. Every status is an answer.
    pub(crate) async fn exchange(&self, token: Option<&SecretString>, request: &Request) -> Result<Answer, NoAnswer> {
        // vaultrs panics on a token that is no header; a login checks it too, with words.
        let token = token.map(SecretString::expose).unwrap_or_default();
        if !is_header(token) {
            return Err(NoAnswer::Unbuilt);
        }
        let mut middle = Middle { vault: self.vault.middle.clone(), patch: request.method == Method::Patch };
        token.clone_into(&mut middle.vault.token);
        let sent = Call(request).with_middleware(&middle).exec(self).await;
        let (parts, body) = sent.map_err(no_answer)?.response.into_parts();
        let retry_after = parts.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Answer { status: parts.status.as_u16(), retry_after, body: SecretBytes::new(body) })
    }
}

/// Whether a text can be sent as a token.
pub(crate) fn is_header(token: &str) -> bool {
    token.bytes().all(|b| b.is_ascii_graphic())
}

/// Every setting is given, so that none is read from the environment.
fn settings(at: &Connection, base: &str) -> Result<VaultClientSettings, ()> {
    let mut builder = VaultClientSettingsBuilder::default();
    // It panics on an address that is no URL; `dial` has parsed it.
    builder.address(base).ca_certs(Vec::new()).identity(None).timeout(Some(at.timeout.to_std()));
    builder.token("").verify(true).version(1).wrapping(false).namespace(None);
    builder.build().map_err(|_| ())
}

/// The endpoint that serves for every path.
struct Call<'a>(&'a Request);

impl Endpoint for Call<'_> {
    type Response = ();
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        self.0.path.clone()
    }

    fn method(&self) -> RequestMethod {
        match self.0.method {
            Method::Get => RequestMethod::GET,
            Method::Post => RequestMethod::POST,
            Method::Put => RequestMethod::PUT,
            Method::Patch => RequestMethod::PATCH,
            Method::Delete => RequestMethod::DELETE,
        }
    }

    fn query(&self) -> Result<Option<String>, ClientError> {
        Ok(self.0.query.clone())
    }

    fn body(&self) -> Result<Option<Vec<u8>>, ClientError> {
        Ok(self.0.body.as_ref().map(|body| body.expose().to_vec()))
    }
}

/// vaultrs' headers and the content type. Wipes its copy of the token.
struct Middle {
    vault: EndpointMiddleware,
    patch: bool,
}

impl MiddleWare for Middle {
    fn request<E: Endpoint>(&self, endpoint: &E, request: &mut HttpRequest<Vec<u8>>) -> Result<(), ClientError> {
        self.vault.request(endpoint, request)?;
        if let Some(token) = request.headers_mut().get_mut(TOKEN_HEADER) {
            token.set_sensitive(true);
        }
        if !request.body().is_empty() {
            let kind = if self.patch { "application/merge-patch+json" } else { "application/json" };
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        Ok(())
    }

    fn response<E: Endpoint>(&self, _: &E, _: &mut HttpResponse<Vec<u8>>) -> Result<(), ClientError> {
        Ok(())
    }
}

impl Drop for Middle {
    fn drop(&mut self) {
        self.vault.token.zeroize();
    }
}

#[async_trait]
impl rustify::client::Client for Transport {
    fn base(&self) -> &str {
        &self.base
    }

    async fn execute(&self, request: HttpRequest<Vec<u8>>) -> Result<HttpResponse<Vec<u8>>, ClientError> {
        rustify::client::Client::send(self, request).await
    }

    async fn send(&self, request: HttpRequest<Vec<u8>>) -> Result<HttpResponse<Vec<u8>>, ClientError> {
        let (parts, body) = request.into_parts();
        // Wiped once the last part of it is sent.
        let body = Bytes::from_owner(Zeroizing::new(body));
        let empty = body.is_empty();
        let request = reqwest::Request::try_from(HttpRequest::from_parts(parts, body));
        let mut request = request.map_err(|_| wrap(NoAnswer::Unbuilt))?;
        if empty {
            *request.body_mut() = None;
        }
        if let Some(host) = &self.host {
            request.headers_mut().insert(HOST, host.clone());
        }
        let mut answer = self.vault.http.http.execute(request).await.map_err(|e| wrap(classify(&e)))?;
        let expected = answer.content_length().and_then(|n| usize::try_from(n).ok()).unwrap_or(FIRST_BUFFER);
        if expected > MAX_ANSWER {
            return Err(wrap(NoAnswer::TooLarge));
        }
        let mut body = Zeroizing::new(Vec::with_capacity(expected));
        while let Some(chunk) = answer.chunk().await.map_err(|e| wrap(classify(&e)))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(wrap(NoAnswer::TooLarge));
            }
            append(&mut body, &chunk);
            if let Ok(mut ours) = chunk.try_into_mut() {
                ours.as_mut().zeroize();
            }
        }
        let mut response = HttpResponse::new(std::mem::take(&mut *body));
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}

/// Appends without leaving an old copy behind.
fn append(body: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    let needed = body.len() + chunk.len();
    if needed > body.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(body.capacity() * 2)));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(chunk);
}

/// Carries our error through rustify's.
fn wrap(error: NoAnswer) -> ClientError {
    ClientError::ResponseError { source: error.into() }
}

fn no_answer(error: ClientError) -> NoAnswer {
    match error {
        ClientError::ResponseError { source } => source.downcast().unwrap_or(NoAnswer::Unbuilt),
        _ => NoAnswer::Unbuilt,
    }
}

/// reqwest's own text holds the URL, so only the causes are worded.
fn classify(error: &reqwest::Error) -> NoAnswer {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    let mut io_kind = None;
    while let Some(inner) = cause {
        if let Some(tls) = tls_in(inner) {
            return NoAnswer::Tls(tls.to_string());
        }
        io_kind = inner.downcast_ref::<io::Error>().map(io::Error::kind).or(io_kind);
        cause = inner.source();
    }
    if error.is_timeout() {
        NoAnswer::Timeout
    } else if error.is_connect() {
        NoAnswer::Connect(io_kind.map_or_else(|| "failed".to_owned(), |kind| kind.to_string()))
    } else {
        NoAnswer::Broken
    }
}

/// I/O errors hide what they wrap from `source`, and are wrapped in each other.
fn tls_in<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let inner = |io: &'a io::Error| tls_in(io.get_ref()?);
    error.downcast_ref().or_else(|| inner(error.downcast_ref()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_grows_without_losing_a_byte() {
        let mut body = Zeroizing::new(Vec::with_capacity(4));
        let mut expected = Vec::new();
        for chunk in [b"abc".as_slice(), b"defgh", b"", b"i"] {
            append(&mut body, chunk);
            expected.extend_from_slice(chunk);
        }
        assert_eq!(*body, expected);
    }

    #[test]
    fn tokens_that_are_no_header_are_known() {
        assert!(is_header("s.abcDEF-_09"));
        for bad in ["a b", "a\n", "ü"] {
            assert!(!is_header(bad), "{bad:?}");
        }
    }
}
