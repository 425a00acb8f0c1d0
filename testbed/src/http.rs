//! The HTTP client for the servers' own APIs, on loopback.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::{Client, ClientBuilder, Method};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(60);

/// One client for the process. It pools no connections: a pooled one would belong to the runtime of the test that
/// made it, and fail once that test is over.
pub(crate) fn client() -> Result<&'static Client> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client);
    }
    let client = builder().build()?;
    Ok(CLIENT.get_or_init(|| client))
}

/// A client with our settings, to be given what it trusts.
pub(crate) fn builder() -> ClientBuilder {
    // An error says that the process has a provider already, which is as good.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(TIMEOUT)
}

/// One request; the body of the answer is null if it is empty or no JSON.
pub(crate) async fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Result<(u16, Value)> {
    request_by(client()?, method, url, headers, body).await
}

/// The same with another client. The body is JSON, under the content type in `headers` if that names one.
pub(crate) async fn request_by(
    client: &Client,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Result<(u16, Value)> {
    let mut request = client.request(Method::from_bytes(method.as_bytes())?, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.json(body); // keeps a content type that is set
    }
    let response = request.send().await.with_context(|| format!("{method} {url}"))?;
    let status = response.status().as_u16();
    let bytes = response.bytes().await?;
    Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
}
