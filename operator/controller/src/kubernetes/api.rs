//! Requests to the API server: each with a limit of time, each refusal with its fault.
//!
//! Answers are parsed here and not by kube, which would log the text of one that it can't read.

use std::time::Duration;

use futures_util::Stream;
use http::Request;
use kube::Client;
use kube::client::Body;
use kube::core::{Status, WatchEvent};
use ps_core::error::{Class, Fault};
use ps_kubernetes::fault::{self, Doing};
use serde::de::DeserializeOwned;

/// Longest wait for one whole answer.
const WHOLE: Duration = Duration::from_secs(30);

/// The API server.
#[derive(Clone)]
pub(super) struct Api {
    client: Client,
}

/// Why there is no object.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// The status code of the answer; 0 if there was none, and then it may have happened all the same.
    pub(super) status: u16,
    /// Whether an object of that name exists already.
    pub(super) exists: bool,
    /// The name of the object that does not exist, as the server says it; a proxy's 404 says none.
    pub(super) missing: Option<String>,
    /// Whether the namespace is being deleted.
    pub(super) terminating: bool,
    /// What it means to whoever operates this.
    pub(super) fault: Fault,
}

impl Api {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Sends a request and reads its answer.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        doing: &Doing,
        request: Result<Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, Refusal> {
        let request = request.map_err(|_| Refusal::none(unsendable(doing)))?;
        let work = async {
            let answer = self.client.send(request.map(Body::from)).await.map_err(|e| Refusal::lost(doing, &e))?;
            let status = answer.status();
            let bytes = answer.into_body().collect_bytes().await.map_err(|e| Refusal::lost(doing, &e))?;
            Ok((status, bytes))
        };
        let (status, bytes) =
            tokio::time::timeout(WHOLE, work).await.map_err(|_| Refusal::none(fault::silent(doing)))??;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|_| Refusal::none(fault::unreadable(doing)));
        }
        // A body that is no Status, such as a proxy's page, is not quoted.
        let mut said = serde_json::from_slice::<Status>(&bytes).unwrap_or_default();
        said.code = status.as_u16();
        Err(Refusal::said(doing, &said))
    }

    /// Opens a watch.
    pub(super) async fn events<T: Clone + DeserializeOwned>(
        &self,
        doing: &Doing,
        request: Result<Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<impl Stream<Item = kube::Result<WatchEvent<T>>> + use<T>, Refusal> {
        let request = request.map_err(|_| Refusal::none(unsendable(doing)))?;
        let opened = tokio::time::timeout(WHOLE, self.client.request_events::<T>(request)).await;
        opened.map_err(|_| Refusal::none(fault::silent(doing)))?.map_err(|error| Refusal::from_error(doing, &error))
    }
}

impl Refusal {
    fn none(fault: Fault) -> Self {
        Self { status: 0, exists: false, missing: None, terminating: false, fault }
    }

    fn lost(doing: &Doing, error: &kube::Error) -> Self {
        Self::none(fault::of(doing, error))
    }

    /// What the server said.
    pub(super) fn said(doing: &Doing, status: &Status) -> Self {
        let cause = |reason: &str| status.details.as_ref().is_some_and(|d| d.causes.iter().any(|c| c.reason == reason));
        Self {
            status: status.code,
            exists: status.is_already_exists(),
            missing: status.details.as_ref().filter(|_| status.is_not_found()).map(|d| d.name.clone()),
            terminating: status.code == 403 && cause("NamespaceTerminating"),
            fault: fault::refused(doing, status),
        }
    }

    /// An error of kube's client.
    pub(super) fn from_error(doing: &Doing, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::said(doing, status),
            other => Self::lost(doing, other),
        }
    }
}

fn unsendable(doing: &Doing) -> Fault {
    Fault::new(Class::Permanent, "kubernetes-invalid", format!("the request can't be built: {doing}"))
        .remedy("Report this: it is a defect of Password Sender")
}

/// Whether a text can be a name in a path: DNS labels and subdomains (RFC 1123) hold nothing that a URL gives a meaning.
pub(super) fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_names_and_nothing_else() {
        for good in ["a", "a-b", "a.b-c.d", "0", &"a".repeat(253)] {
            assert!(is_name(good), "{good}");
        }
        for bad in
            ["", ".", "..", "a/b", "../x", "a?b", "a#b", "A", "a b", "-a", "a-", "a..b", "ä", "a%2fb", &"a".repeat(254)]
        {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
