//! Many requests at once on kept connections: the load, and what the API server can write by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ps_testbed::Cluster;
use reqwest::{Client, Method};
use serde_json::Value;
use tokio::task::JoinSet;

/// One request: method, path, body.
pub(super) type Job = (Method, String, Value);

/// The API server hangs up on connections that nothing was sent on for 90 s, and a client that kept them as long would
/// send into one that is being closed.
const KEPT: Duration = Duration::from_secs(30);

/// A server that is asked with one token, or none.
pub(super) struct Api {
    client: Client,
    server: String,
    token: Option<String>,
}

impl Api {
    /// The API server, as `admin`.
    pub(super) fn of(cluster: &Cluster) -> Result<Arc<Self>> {
        let trusted = reqwest::Certificate::from_pem_bundle(cluster.ca_pem()?.as_bytes())?;
        let client = Client::builder().no_proxy().pool_idle_timeout(KEPT).tls_certs_only(trusted).build()?;
        let (server, token) = (cluster.server().to_owned(), Some(cluster.admin_token().to_owned()));
        Ok(Arc::new(Self { client, server, token }))
    }

    /// A gateway on loopback.
    pub(super) fn gateway(port: u16) -> Result<Arc<Self>> {
        let client = Client::builder().no_proxy().pool_idle_timeout(KEPT).build()?;
        Ok(Arc::new(Self { client, server: format!("http://127.0.0.1:{port}"), token: None }))
    }

    /// One request that must succeed. Gives the answer; null if that is no JSON.
    pub(super) async fn send(&self, (method, path, body): &Job) -> Result<Value> {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.server));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if !body.is_null() {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| format!("{method} {path}"))?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{method} {path}: {status}: {text}");
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// All of them, so many at once. Gives the time from the first to the last answer, and each request's own in ms.
    pub(super) async fn send_all(self: &Arc<Self>, jobs: Vec<Job>, at_once: usize) -> Result<(Duration, Vec<f64>)> {
        let (jobs, next) = (Arc::new(jobs), Arc::new(AtomicUsize::new(0)));
        let mut senders = JoinSet::new();
        let begun = Instant::now();
        for _ in 0..at_once {
            let (api, jobs, next) = (Arc::clone(self), Arc::clone(&jobs), Arc::clone(&next));
            senders.spawn(async move {
                let mut times = Vec::new();
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let sent = Instant::now();
                    api.send(job).await?;
                    times.push(sent.elapsed().as_secs_f64() * 1e3);
                }
                Ok::<_, anyhow::Error>(times)
            });
        }
        let mut times = Vec::new();
        while let Some(done) = senders.join_next().await {
            times.extend(done??);
        }
        Ok((begun.elapsed(), times))
    }
}
