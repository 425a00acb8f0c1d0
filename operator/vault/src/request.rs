//! One request to Vault, and what is counted and said about it.

use ps_core::secret::SecretBytes;

/// What a request is for. Its name is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Login,
    Lookup,
    Renew,
    Capabilities,
    Read,
    Metadata,
    Mount,
    Generate,
    Write,
    Destroy,
    Rotate,
    Follow,
}

impl Operation {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Lookup => "lookup",
            Self::Renew => "renew",
            Self::Capabilities => "capabilities",
            Self::Read => "read",
            Self::Metadata => "metadata",
            Self::Mount => "mount",
            Self::Generate => "generate",
            Self::Write => "write",
            Self::Destroy => "destroy",
            Self::Rotate => "rotate",
            Self::Follow => "follow",
        }
    }

    /// Whether Vault's words about a failure may be shown. Not where the request held a secret, nor where a database may
    /// quote the statement that sets a new password.
    pub(crate) const fn may_quote(self) -> bool {
        !matches!(self, Self::Login | Self::Write | Self::Rotate | Self::Follow)
    }
}

/// HTTP method, as far as it is used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
    /// The same as POST to Vault; not to what may stand in front of it.
    Put,
    /// With `application/merge-patch+json` (RFC 7396).
    Patch,
    Delete,
}

impl Method {
    /// The capability that Vault's policies call it.
    pub(crate) const fn capability(self) -> &'static str {
        match self {
            Self::Get => "read",
            Self::Post | Self::Put => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

/// One request below `/v1/`.
pub(crate) struct Request {
    pub(crate) operation: Operation,
    pub(crate) method: Method,
    /// Checked by [`crate::path::join`]; not percent-encoded.
    pub(crate) path: String,
    /// Encoded already.
    pub(crate) query: Option<String>,
    /// JSON.
    pub(crate) body: Option<SecretBytes>,
}

impl Request {
    pub(crate) fn get(operation: Operation, path: String) -> Self {
        Self { operation, method: Method::Get, path, query: None, body: None }
    }

    pub(crate) fn post(operation: Operation, path: String, body: Option<SecretBytes>) -> Self {
        Self { operation, method: Method::Post, path, query: None, body }
    }

    pub(crate) fn patch(operation: Operation, path: String, body: SecretBytes) -> Self {
        Self { operation, method: Method::Patch, path, query: None, body: Some(body) }
    }

    pub(crate) fn query(mut self, query: String) -> Self {
        self.query = Some(query);
        self
    }
}
