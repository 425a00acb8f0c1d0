//! What a server asks of the engine, and what the engine answers, without any protocol's forms.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// POST or PUT: the server calls it create or update, by what it knows of the path.
    Write,
    /// GET.
    Read,
    /// LIST.
    List,
    /// DELETE.
    Delete,
    /// `path-help`, and the description of the API.
    Help,
    /// A lease is to be renewed.
    Renew,
    /// A lease has ended.
    Revoke,
    /// About once a minute: time for housekeeping.
    Rollback,
    /// Anything else: HEAD, PATCH, SCAN, and whatever comes next. Nothing may be done for it.
    Other,
}

impl Operation {
    /// From the server's name for it.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        match name {
            "create" | "update" => Self::Write,
            "read" => Self::Read,
            "list" => Self::List,
            "delete" => Self::Delete,
            "help" => Self::Help,
            "renew" => Self::Renew,
            "revoke" => Self::Revoke,
            "rollback" => Self::Rollback,
            _ => Self::Other,
        }
    }
}

/// One request. It prints without its data, which may hold secrets.
pub struct Request {
    /// What is to be done.
    pub operation: Operation,
    /// Below the mount, without a leading slash.
    pub path: String,
    /// The body, or the query.
    pub data: Map<String, Value>,
    /// Of a renewal or revocation.
    pub lease: Option<LeaseRequest>,
    /// Whether the server will keep the answer for later (response wrapping).
    pub wrapped: bool,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, path: _, data: _, lease: _, wrapped: _ } = self;
        f.debug_struct("Request").field("operation", operation).finish_non_exhaustive()
    }
}

/// The lease that a renewal or revocation is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRequest {
    /// What the engine gave when it made the lease.
    pub internal: Map<String, Value>,
    /// How much longer, for a renewal; zero if nothing was asked for.
    pub increment: Duration,
}

/// The answer of an engine: `None` is "nothing there" for a read, and "done" for anything else.
pub type Answer = Result<Option<Response>, Failure>;

/// What a caller gets.
#[derive(Clone, PartialEq)]
pub struct Response {
    /// An object, or null.
    pub data: Value,
    /// Makes it a lease. The server keeps `data` with it.
    pub lease: Option<Lease>,
    /// For people.
    pub warnings: Vec<String>,
}

impl Response {
    /// Plain data.
    #[must_use]
    pub fn data(data: Value) -> Self {
        Self { data, lease: None, warnings: Vec::new() }
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("lease", &self.lease).finish_non_exhaustive()
    }
}

/// A lease, as an engine asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// From now.
    pub ttl: Duration,
    /// From now, whatever is renewed; zero for the mount's own limit.
    pub max_ttl: Duration,
    /// Comes back with each renewal, and with the revocation.
    pub internal: Map<String, Value>,
}

/// Which kind of failure, and so which HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The server's own words about its storage. They must stay as they are: by some of them it knows that it has to ask
    /// the active node. 500 otherwise.
    Host,
    /// 500.
    Internal,
    /// 400.
    Invalid,
    /// 404, with words.
    NotFound,
    /// 405.
    UnsupportedOperation,
    /// 404, without words.
    UnsupportedPath,
    /// Any status from 400 to 599.
    Status(u16),
}

/// Why a request failed. The message is for people; no text of the caller's goes into it, for the server acts on some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Which kind.
    pub kind: Kind,
    /// In words.
    pub message: String,
}

impl Failure {
    /// A failure of one kind.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}
