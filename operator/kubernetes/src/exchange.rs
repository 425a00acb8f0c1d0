//! One request and its whole answer, without kube's own parsing, which would log a Secret that it can't read.

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use ps_core::error::Fault;
use serde::de::DeserializeOwned;

use crate::fault::{self, Doing};

/// Longest wait for a whole answer.
pub(crate) const WHOLE: Duration = Duration::from_secs(8);

/// The most bytes that an answer with one object may have: a Secret of ours has 1.5 MiB as JSON at most.
pub(crate) const ONE: usize = 2 * 1024 * 1024;
/// The same where any Secret that an API server takes must be read, whatever somebody has put into it: etcd takes 1.5 MiB,
/// and as JSON a byte is six at most.
pub(crate) const ANY: usize = 12 * 1024 * 1024;
/// The same for a page of a list.
pub(crate) const LIST: usize = 16 * 1024 * 1024;

/// Why there is no object.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The server refused; it did nothing.
    Said(Box<Status>),
    /// Nobody knows whether the server did it.
    Lost(Fault),
}

impl Refusal {
    /// As a fault, where no refusal is an answer.
    pub(crate) fn fault(self, doing: &Doing) -> Fault {
        match self {
            Self::Said(status) => fault::refused(doing, &status),
            Self::Lost(fault) => fault,
        }
    }
}

/// Sends a request and reads its answer, of which no more than `limit` bytes are held.
///
/// A larger answer is `Lost` with code `object-too-large`.
pub(crate) async fn exchange<T: DeserializeOwned>(
    client: &Client,
    doing: &Doing,
    request: Request<Vec<u8>>,
    limit: usize,
) -> Result<T, Refusal> {
    let work = async {
        let lost = |error: &kube::Error| Refusal::Lost(fault::unreachable(doing, error));
        let answer = client.send(request.map(Body::from)).await.map_err(|e| lost(&e))?;
        let status = answer.status();
        let read = Limited::new(answer.into_body(), limit).collect().await;
        let body = read.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => Refusal::Lost(fault::oversized(doing)),
            None => Refusal::Lost(fault::unreachable(doing, &*error)),
        })?;
        Ok((status, body.to_bytes()))
    };
    let (status, bytes) =
        tokio::time::timeout(WHOLE, work).await.map_err(|_| Refusal::Lost(fault::silent(doing)))??;
    if status.is_success() {
        return serde_json::from_slice(&bytes).map_err(|_| Refusal::Lost(fault::unreadable(doing)));
    }
    // A body that is no Status, such as a proxy's page, is not quoted.
    let mut said = serde_json::from_slice::<Status>(&bytes).unwrap_or_default();
    said.code = status.as_u16();
    if status.is_server_error() || !status.is_client_error() || status == StatusCode::REQUEST_TIMEOUT {
        return Err(Refusal::Lost(fault::refused(doing, &said)));
    }
    Err(Refusal::Said(Box::new(said)))
}
