//! An HTTP proxy in front of a real server, that loses, spoils and counts requests.
//!
//! It is what "500, but done" takes: the request reaches the server, and its answer does not come back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result};

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
}

/// Which requests, and how often. It fires every time until [`HttpProxy::clear`], unless [`ProxyRule::times`] says
/// otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyRule {
    method: Option<String>,
    path: String,
    action: ProxyAction,
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
    fn fires(&mut self, method: &str, path: &str) -> bool {
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

/// The proxy. It answers each request on a connection of its own, on 127.0.0.1, until it is dropped.
#[derive(Debug)]
pub struct HttpProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    stopped: AtomicBool,
    rules: Mutex<Vec<ProxyRule>>,
    log: Mutex<Vec<ProxyRequest>>,
    /// Connections that get no answer, kept open.
    hanging: Mutex<Vec<TcpStream>>,
}

impl HttpProxy {
    /// Starts one in front of `http://HOST:PORT`.
    ///
    /// # Errors
    /// If no port can be had.
    pub fn start(upstream: &str) -> Result<Self> {
        let upstream = upstream.strip_prefix("http://").context("the proxy speaks http:// only")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream: upstream.trim_end_matches('/').to_owned(),
            stopped: AtomicBool::new(false),
            rules: Mutex::default(),
            log: Mutex::default(),
            hanging: Mutex::default(),
        });
        let in_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if in_thread.stopped.load(Ordering::Acquire) {
                    return;
                }
                let Ok(client) = client else { continue };
                let shared = Arc::clone(&in_thread);
                // An error is a connection that one side broke: that is what the proxy is for.
                thread::spawn(move || shared.serve(client).is_ok());
            }
        });
        Ok(Self { address, shared })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a rule behind those that there are; the first that applies fires.
    pub fn rule(&self, rule: ProxyRule) {
        lock(&self.shared.rules).push(rule);
    }

    /// Removes all rules. What hangs stays so.
    pub fn clear(&self) {
        lock(&self.shared.rules).clear();
    }

    /// All requests so far, in the order in which they ended.
    #[must_use]
    pub fn requests(&self) -> Vec<ProxyRequest> {
        lock(&self.shared.log).clone()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        lock(&self.shared.log).clear();
    }
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        lock(&self.shared.hanging).clear();
        // Wakes the listener, which then sees that it is over. It may be gone already.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn serve(&self, client: TcpStream) -> Result<()> {
        let mut reader = BufReader::new(client.try_clone()?);
        let Some(request) = Request::read(&mut reader)? else {
            return Ok(());
        };
        let action = self.action_for(&request);
        let answer = match &action {
            Some(ProxyAction::Refuse(_) | ProxyAction::Drop | ProxyAction::Hang) => None,
            _ => Some(self.forward(&request)?),
        };
        let server = answer.as_deref().and_then(status_of);
        let given = match &action {
            None => answer,
            Some(ProxyAction::Refuse(status) | ProxyAction::DoneBut(status)) => Some(made_up(*status)),
            Some(_) => None,
        };
        let client_status = given.as_deref().and_then(status_of);
        lock(&self.log).push(ProxyRequest {
            method: request.method,
            path: request.path,
            server,
            client: client_status,
        });
        match given {
            Some(bytes) => (&client).write_all(&bytes)?,
            None if matches!(action, Some(ProxyAction::Hang | ProxyAction::DoneButHang)) => {
                lock(&self.hanging).push(client);
                return Ok(());
            }
            None => {}
        }
        client.shutdown(Shutdown::Both)?;
        Ok(())
    }

    /// Of the first rule that fires; later ones don't count the request then.
    fn action_for(&self, request: &Request) -> Option<ProxyAction> {
        let mut rules = lock(&self.rules);
        let fired =
            rules.iter_mut().find_map(|rule| rule.fires(&request.method, &request.path).then_some(&rule.action));
        fired.cloned()
    }

    /// Sends it on, and gives the whole answer.
    fn forward(&self, request: &Request) -> Result<Vec<u8>> {
        let mut server = TcpStream::connect(&self.upstream).context("the server behind the proxy")?;
        server.write_all(&request.bytes)?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        Ok(with_close(&answer))
    }
}

struct Request {
    method: String,
    path: String,
    /// As it is sent on: with `Connection: close`, so that the end of the answer is the end of the connection.
    bytes: Vec<u8>,
}

impl Request {
    /// Reads one request; `None` if the client said nothing.
    fn read(reader: &mut impl BufRead) -> Result<Option<Self>> {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(None);
        }
        let mut words = first.split_whitespace();
        let (method, path) = words.next().zip(words.next()).context("no request line")?;
        let (method, path) = (method.to_owned(), path.to_owned());
        let mut head = first.clone();
        let mut length = 0;
        loop {
            let mut field = String::new();
            reader.read_line(&mut field)?;
            let (name, value) = field.split_once(':').unwrap_or((field.trim_end(), ""));
            match name.to_ascii_lowercase().as_str() {
                "" => break,
                "content-length" => length = value.trim().parse()?,
                "transfer-encoding" => anyhow::bail!("the proxy takes no chunked requests"),
                "connection" => continue,
                _ => {}
            }
            head.push_str(&field);
        }
        head.push_str("Connection: close\r\n\r\n");
        let mut bytes = head.into_bytes();
        let start = bytes.len();
        bytes.resize(start + length, 0);
        reader.read_exact(bytes.get_mut(start..).unwrap_or_default())?;
        Ok(Some(Self { method, path, bytes }))
    }
}

fn made_up(status: u16) -> Vec<u8> {
    let body = r#"{"errors":["made up by the testbed's proxy"]}"#;
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Testbed\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n");
    format!("{head}Connection: close\r\n\r\n{body}").into_bytes()
}

/// A server that was asked to close says so itself; this makes sure of it.
fn with_close(answer: &[u8]) -> Vec<u8> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(answer.len());
    let (head, rest) = answer.split_at(end);
    if String::from_utf8_lossy(head).to_ascii_lowercase().contains("\r\nconnection: close") {
        return answer.to_vec();
    }
    [head, b"\r\nConnection: close", rest].concat()
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    std::str::from_utf8(line).ok()?.split_whitespace().nth(1)?.parse().ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
