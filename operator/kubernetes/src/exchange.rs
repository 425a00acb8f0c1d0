//! One request and its whole answer, without kube's own parsing, which would log a Secret that it can't read.

use std::time::Duration;

use http::{Request, StatusCode};
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use ps_core::error::Fault;
use serde::de::DeserializeOwned;

use crate::fault::{self, Doing};

/// Longest wait for a whole answer.
pub(crate) const WHOLE: Duration = Duration::from_secs(8);

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

/// Sends a request and reads its answer.
pub(crate) async fn exchange<T: DeserializeOwned>(
    client: &Client,
    doing: &Doing,
    request: Request<Vec<u8>>,
) -> Result<T, Refusal> {
    let lost = |error: &kube::Error| Refusal::Lost(fault::unreachable(doing, error));
    let work = async {
        let answer = client.send(request.map(Body::from)).await.map_err(|e| lost(&e))?;
        let status = answer.status();
        let bytes = answer.into_body().collect_bytes().await.map_err(|e| lost(&e))?;
        Ok((status, bytes))
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
