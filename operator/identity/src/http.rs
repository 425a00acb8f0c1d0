//! One bounded request: no redirects, no retries, no proxy, an answer of at most 256 KiB.

use std::time::Duration;

use ps_core::error::Fault;
use ps_core::secret::SecretString;
use reqwest::{Certificate, Client, RequestBuilder, header};
use zeroize::Zeroizing;

use crate::fault;

/// The longest answer that is read.
const MAX_ANSWER: usize = 256 * 1024;

/// The client of one provider.
pub(crate) fn client(ca_pem: Option<&[u8]>, timeout: Duration) -> Result<Client, Fault> {
    // Whoever comes second finds the same provider of cryptography.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let mut builder = Client::builder()
        .tls_backend_rustls()
        .referer(false)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connection_verbose(false)
        .no_proxy()
        .pool_max_idle_per_host(1)
        .timeout(timeout);
    if let Some(pem) = ca_pem {
        let authorities =
            Certificate::from_pem_bundle(pem).map_err(|_| fault::odd("caFile", "it holds no PEM certificates"))?;
        builder = builder.tls_certs_only(authorities);
    }
    builder.build().map_err(|_| fault::odd("caFile", "it can't be used"))
}

/// An answer of any status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// Reads a JSON document.
pub(crate) async fn get(http: &Client, url: &str, what: &'static str) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let answer = send(http.get(url).header(header::ACCEPT, "application/json"), what).await?;
    match answer.status {
        200 => Ok(answer.body),
        status @ (429 | 500..) => Err(fault::unreachable(what, &format!("status {status}"))),
        status => Err(fault::odd(what, &format!("status {status}"))),
    }
}

/// Posts a form.
pub(crate) async fn post(
    http: &Client,
    url: &str,
    form: SecretString,
    basic: Option<&SecretString>,
    what: &'static str,
) -> Result<Answer, Fault> {
    let mut request = http
        .post(url)
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form.expose().to_owned());
    if let Some(basic) = basic {
        let mut value = header::HeaderValue::from_str(basic.expose()).map_err(|_| fault::client_refused())?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    send(request, what).await
}

async fn send(request: RequestBuilder, what: &'static str) -> Result<Answer, Fault> {
    // An error's own words name the address, which holds no secret; they are left out all the same.
    let why = |error: &reqwest::Error| {
        if error.is_timeout() {
            "no answer in time"
        } else if error.is_connect() {
            "no connection"
        } else {
            "the connection broke"
        }
    };
    let mut answer = request.send().await.map_err(|e| fault::unreachable(what, why(&e)))?;
    let status = answer.status().as_u16();
    let mut body = Zeroizing::new(Vec::with_capacity(8 * 1024));
    while let Some(chunk) = answer.chunk().await.map_err(|e| fault::unreachable(what, why(&e)))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(fault::odd(what, "it is larger than 256 KiB"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, body })
}
