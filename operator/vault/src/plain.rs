//! Requests of the daemon that follows a mount of links: to that mount, and to paths that a person has named. No engine's
//! knowledge is in them, and no value of theirs is a secret that was delivered.

use ps_core::error::Fault;
use ps_core::ports::Connection;
use ps_core::secret::SecretBytes;
use serde::Deserialize;
use serde_json::Value;

use crate::VaultClient;
use crate::answer;
use crate::fault;
use crate::path::join;
use crate::request::{Method, Operation, Request};

/// How something is sent to a path that a person has named. Vault takes the first two for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verb {
    /// POST.
    Post,
    /// PUT.
    Put,
    /// DELETE, without a body.
    Delete,
}

impl Verb {
    /// As it is sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

impl VaultClient {
    /// Reads `data` at `path` below `/v1/`; `None` where there is nothing. `query` is encoded already.
    ///
    /// # Errors
    /// No answer, no login, or a refusal: as for every read.
    pub async fn read_data(&self, at: &Connection, path: &str, query: Option<&str>) -> Result<Option<Value>, Fault> {
        let mut request = Request::get(Operation::Follow, join(&[(path, None)])?);
        request.query = query.map(str::to_owned);
        let answer = self.peer(at)?.call(&request).await?;
        match answer.status {
            404 => Ok(None),
            _ if answer.is_success() => {
                answer::data(&answer.body).map(Some).ok_or_else(|| fault::unreadable(at, &request))
            }
            _ => Err(fault::of_status(at, &request, &answer)),
        }
    }

    /// Sends `body` to `path` below `/v1/` in this way; gives the status. What it did is not looked at.
    ///
    /// # Errors
    /// No answer, no login, or a refusal. It may have happened all the same.
    pub async fn write_data(
        &self,
        at: &Connection,
        path: &str,
        verb: Verb,
        body: Option<&Value>,
    ) -> Result<u16, Fault> {
        let method = match verb {
            Verb::Post => Method::Post,
            Verb::Put => Method::Put,
            Verb::Delete => Method::Delete,
        };
        let body = body.map(|body| SecretBytes::new(body.to_string().into_bytes()));
        let request = Request { operation: Operation::Follow, method, path: join(&[(path, None)])?, query: None, body };
        let answer = self.peer(at)?.call(&request).await?;
        if answer.is_success() { Ok(answer.status) } else { Err(fault::of_status(at, &request, &answer)) }
    }
}
