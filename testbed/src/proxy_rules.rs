//! What a proxy does to which requests, and what it keeps of them.

#[cfg(doc)]
use crate::HttpProxy;

/// What happens to a request that a rule applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyAction {
    /// The server never sees it; the client gets this status.
    Refuse(u16),
    /// The server does it; the client gets this status instead of the answer.
    DoneBut(u16),
    /// The server never sees it; the connection is dropped.
    Drop,
    /// The server does it; the connection is dropped without an answer.
    DoneButDrop,
    /// The server never sees it; no answer comes, ever.
    Hang,
    /// The server does it; no answer comes, ever.
    DoneButHang,
    /// It waits until [`HttpProxy::clear`], and is passed on then. See [`HttpProxy::held`].
    Hold,
    /// The server never sees it; the client gets the stream of a watch whose start is no longer known: one event of
    /// type `ERROR` with status 410.
    ExpiredWatch,
}

/// Which requests, and how often. It fires every time until [`HttpProxy::clear`], unless [`ProxyRule::times`] says
/// otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyRule {
    method: Option<String>,
    path: String,
    pub(crate) action: ProxyAction,
    left: Option<u32>,
    after: u32,
}

impl ProxyRule {
    /// For every request whose path (with its query) contains `path`; the empty text is in every path.
    #[must_use]
    pub fn new(path: &str, action: ProxyAction) -> Self {
        Self { method: None, path: path.to_owned(), action, left: None, after: 0 }
    }

    /// Only for this method.
    #[must_use]
    pub fn method(self, method: &str) -> Self {
        Self { method: Some(method.to_owned()), ..self }
    }

    /// Only this often.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { left: Some(times), ..self }
    }

    /// Lets that many matching requests through first.
    #[must_use]
    pub fn after(self, requests: u32) -> Self {
        Self { after: requests, ..self }
    }

    /// Whether it fires for a request; counts it.
    pub(crate) fn fires(&mut self, method: &str, path: &str) -> bool {
        let applies = self.method.as_deref().is_none_or(|wanted| wanted == method) && path.contains(&self.path);
        if !applies || self.left == Some(0) {
            return false;
        }
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        true
    }
}

/// A request that came through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyRequest {
    /// GET, POST, LIST, …
    pub method: String,
    /// With its query.
    pub path: String,
    /// What the server answered; `None` if it never saw the request.
    pub server: Option<u16>,
    /// What the client got; `None` for a dropped connection or no answer.
    pub client: Option<u16>,
}

/// Whole requests, as far as there is room.
#[derive(Default)]
pub(crate) struct KeptRequests {
    /// So many bytes more; `None` if nothing is kept.
    pub(crate) left: Option<usize>,
    pub(crate) overflowed: bool,
    pub(crate) requests: Vec<Vec<u8>>,
}

impl KeptRequests {
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        let Some(left) = &mut self.left else { return };
        match left.checked_sub(bytes.len()) {
            Some(less) => {
                *left = less;
                self.requests.push(bytes.to_vec());
            }
            None => self.overflowed = true,
        }
    }
}

/// Says how many there are, and not what is in them.
impl std::fmt::Debug for KeptRequests {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "KeptRequests({})", self.requests.len())
    }
}
