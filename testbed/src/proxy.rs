//! An HTTP proxy in front of a real server, that loses, spoils, delays and counts requests.
//!
//! It is what "500, but done" takes: the request reaches the server, and its answer does not come back. Answers that
//! never end (watches of the Kubernetes API) pass as they come.

use std::collections::HashMap;
use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustls::ServerConfig;

use crate::proxy_rules::{KeptRequests, ProxyAction, ProxyRequest, ProxyRule};
use crate::proxy_wire::{Connection, Dialect, Request, Upstream, expired_watch, read_head, status_of};

/// How often a black hole looks whether it is over.
const PAUSE: Duration = Duration::from_millis(5);

/// The proxy. It answers each request on a connection of its own, on 127.0.0.1, until it is dropped.
#[derive(Debug)]
pub struct HttpProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: Upstream,
    /// Clients speak TLS then.
    tls: Option<Arc<ServerConfig>>,
    dialect: Dialect,
    stopped: AtomicBool,
    rules: Mutex<Vec<ProxyRule>>,
    log: Mutex<Vec<ProxyRequest>>,
    kept: Mutex<KeptRequests>,
    /// Connections that get no answer, kept open.
    hanging: Mutex<Vec<Kept>>,
    /// The two sockets of each open watch.
    watches: Mutex<HashMap<u64, [TcpStream; 2]>>,
    next_watch: AtomicU64,
    /// Until then nothing passes.
    dark_until: Mutex<Option<Instant>>,
    /// Requests that [`ProxyAction::Hold`] keeps, and how often all were let go.
    held: AtomicU64,
    clearings: AtomicU64,
    /// See [`HttpProxy::expired_watches`].
    expired: Mutex<Vec<(String, String)>>,
}

struct Kept(#[expect(dead_code, reason = "it is there to stay open")] Connection);

impl std::fmt::Debug for Kept {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Kept")
    }
}

impl HttpProxy {
    /// Starts one in front of `http://HOST:PORT`.
    ///
    /// # Errors
    /// If no port can be had.
    pub fn start(upstream: &str) -> Result<Self> {
        let upstream = upstream.strip_prefix("http://").context("the proxy speaks http:// only")?;
        let upstream = Upstream { address: upstream.trim_end_matches('/').to_owned(), tls: None };
        Self::between(None, upstream, Dialect::Vault)
    }

    /// Starts one with or without TLS on either side.
    pub(crate) fn between(tls: Option<Arc<ServerConfig>>, upstream: Upstream, dialect: Dialect) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            tls,
            dialect,
            stopped: AtomicBool::new(false),
            rules: Mutex::default(),
            log: Mutex::default(),
            kept: Mutex::default(),
            hanging: Mutex::default(),
            watches: Mutex::default(),
            next_watch: AtomicU64::new(0),
            dark_until: Mutex::default(),
            held: AtomicU64::new(0),
            clearings: AtomicU64::new(0),
            expired: Mutex::default(),
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

    /// `http://127.0.0.1:PORT`, or `https://…` where its clients are to speak TLS.
    #[must_use]
    pub fn address(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Adds a rule behind those that there are; the first that applies fires.
    pub fn rule(&self, rule: ProxyRule) {
        lock(&self.shared.rules).push(rule);
    }

    /// Removes all rules. What hangs stays so; what is held goes on.
    pub fn clear(&self) {
        let mut rules = lock(&self.shared.rules);
        rules.clear();
        self.shared.clearings.fetch_add(1, Ordering::AcqRel);
    }

    /// How many requests are held now.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.shared.held.load(Ordering::Acquire)
    }

    /// The watches that the server itself ended with an `ERROR` event of code 410: user agent and path.
    #[must_use]
    pub fn expired_watches(&self) -> Vec<(String, String)> {
        lock(&self.shared.expired).clone()
    }

    /// All requests so far, in the order in which they were answered; a watch is there as soon as it is open.
    #[must_use]
    pub fn requests(&self) -> Vec<ProxyRequest> {
        lock(&self.shared.log).clone()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        lock(&self.shared.log).clear();
    }

    /// From now on keeps whole requests as they are sent on, with head and body; of all together at most so many bytes. What was
    /// kept until now is forgotten. What is kept holds whatever the client sent, secrets too.
    pub fn keep_requests(&self, most: usize) {
        *lock(&self.shared.kept) = KeptRequests { left: Some(most), ..KeptRequests::default() };
    }

    /// What was kept, in the order in which it came.
    ///
    /// # Errors
    /// If nothing was to be kept, or not all of it could be: then whoever searches it would prove nothing.
    pub fn kept_requests(&self) -> Result<Vec<Vec<u8>>> {
        let kept = lock(&self.shared.kept);
        ensure!(kept.left.is_some() && !kept.overflowed, "the proxy has not kept all requests");
        Ok(kept.requests.clone())
    }

    /// Breaks the connections of all open watches, and says how many there were. New ones are let through.
    #[must_use]
    pub fn close_watches(&self) -> usize {
        self.shared.close_watches()
    }

    /// From now on, for this long, nothing passes in either direction; then all that waited does, however late. New
    /// connections are taken, and hear nothing. Zero ends it.
    pub fn black_hole(&self, duration: Duration) {
        *lock(&self.shared.dark_until) = Instant::now().checked_add(duration);
    }
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        lock(&self.shared.hanging).clear();
        self.shared.close_watches();
        // Wakes the listener, which then sees that it is over. It may be gone already.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn serve(&self, client: TcpStream) -> Result<()> {
        self.wait_for_light()?;
        let mut reader = BufReader::new(Connection::accept(client, self.tls.as_ref())?);
        let Some(request) = Request::read(&mut reader)? else {
            return Ok(());
        };
        lock(&self.kept).keep(&request.bytes);
        self.wait_for_light()?;
        let mut client = reader.into_inner(); // a client waits for its answer before it says more
        let (action, clearings) = self.action_for(&request);
        let Some(action) = action else { return self.pass(&request, client) };
        if action == ProxyAction::Hold {
            self.hold(clearings)?;
            return self.pass(&request, client);
        }
        let server = match &action {
            ProxyAction::Refuse(_)
            | ProxyAction::Drop
            | ProxyAction::Hang
            | ProxyAction::Hold
            | ProxyAction::ExpiredWatch => None,
            ProxyAction::DoneBut(_) | ProxyAction::DoneButDrop | ProxyAction::DoneButHang => self.forward(&request)?,
        };
        let given = match &action {
            ProxyAction::Refuse(status) | ProxyAction::DoneBut(status) => {
                Some(self.dialect.made_up(*status, &request.method))
            }
            ProxyAction::ExpiredWatch => Some(expired_watch()),
            ProxyAction::Drop
            | ProxyAction::DoneButDrop
            | ProxyAction::Hang
            | ProxyAction::DoneButHang
            | ProxyAction::Hold => None,
        };
        self.note(&request, server, given.as_deref().and_then(status_of));
        if let Some(answer) = given {
            client.write_all(&answer)?;
        }
        if matches!(action, ProxyAction::Hang | ProxyAction::DoneButHang) {
            lock(&self.hanging).push(Kept(client));
        } else {
            client.finish();
        }
        Ok(())
    }

    /// Of the first rule that fires; later ones don't count the request then. With how often rules were cleared by then.
    fn action_for(&self, request: &Request) -> (Option<ProxyAction>, u64) {
        let mut rules = lock(&self.rules);
        let fired =
            rules.iter_mut().find_map(|rule| rule.fires(&request.method, &request.path).then_some(&rule.action));
        (fired.cloned(), self.clearings.load(Ordering::Acquire))
    }

    /// Returns once the rules were cleared again.
    fn hold(&self, clearings: u64) -> Result<()> {
        self.held.fetch_add(1, Ordering::AcqRel);
        while self.clearings.load(Ordering::Acquire) == clearings && !self.stopped.load(Ordering::Acquire) {
            thread::sleep(PAUSE);
        }
        self.held.fetch_sub(1, Ordering::AcqRel);
        self.wait_for_light()
    }

    /// Sends it on, waits for the end of the answer, and gives its status.
    fn forward(&self, request: &Request) -> Result<Option<u16>> {
        let mut server = self.upstream.connect()?;
        server.write_all(&request.bytes)?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        Ok(status_of(&answer))
    }

    /// Sends it on, and the answer back as it comes.
    fn pass(&self, request: &Request, mut client: Connection) -> Result<()> {
        let mut server = self.upstream.connect()?;
        let _open = request.is_watch().then(|| OpenWatch::note(self, &client, &server)).transpose()?;
        server.write_all(&request.bytes)?;
        let head = read_head(&mut server)?;
        let status = status_of(&head);
        self.note(request, status, status);
        self.wait_for_light()?;
        self.note_expired(request, &head);
        client.write_all(&head)?;
        client.flush()?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = server.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            self.wait_for_light()?;
            let chunk = buffer.get(..count).unwrap_or_default();
            self.note_expired(request, chunk);
            client.write_all(chunk)?;
            client.flush()?;
        }
        client.finish();
        Ok(())
    }

    /// Notes a watch whose start the server has forgotten: that event comes in one piece.
    fn note_expired(&self, request: &Request, chunk: &[u8]) {
        let has = |text: &[u8]| chunk.windows(text.len()).any(|window| window == text);
        if request.is_watch() && has(b"\"ERROR\"") && has(b"\"code\":410") {
            lock(&self.expired).push((request.agent.clone(), request.path.clone()));
        }
    }

    fn note(&self, request: &Request, server: Option<u16>, client: Option<u16>) {
        let (method, path) = (request.method.clone(), request.path.clone());
        lock(&self.log).push(ProxyRequest { method, path, server, client });
    }

    fn close_watches(&self) -> usize {
        let watches = std::mem::take(&mut *lock(&self.watches));
        for sockets in watches.values() {
            hang_up(sockets);
        }
        watches.len()
    }

    /// Returns once there is no black hole.
    fn wait_for_light(&self) -> Result<()> {
        loop {
            ensure!(!self.stopped.load(Ordering::Acquire), "the proxy is gone");
            if lock(&self.dark_until).is_none_or(|until| Instant::now() >= until) {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
    }
}

/// A watch in the list of those that can be closed, until it is dropped.
struct OpenWatch<'a> {
    shared: &'a Shared,
    number: u64,
}

impl<'a> OpenWatch<'a> {
    fn note(shared: &'a Shared, client: &Connection, server: &Connection) -> Result<Self> {
        let number = shared.next_watch.fetch_add(1, Ordering::Relaxed);
        let sockets = || Ok::<_, std::io::Error>([client.socket().try_clone()?, server.socket().try_clone()?]);
        let listening = sockets()?;
        lock(&shared.watches).insert(number, sockets()?);
        // A client that goes away must take its watch at the server with it. It says nothing more before that.
        thread::spawn(move || {
            let [client, _] = &listening;
            drop(client.peek(&mut [0]));
            hang_up(&listening);
        });
        Ok(Self { shared, number })
    }
}

impl Drop for OpenWatch<'_> {
    fn drop(&mut self) {
        if let Some(sockets) = lock(&self.shared.watches).remove(&self.number) {
            hang_up(&sockets); // or its listener would keep the client's connection open
        }
    }
}

/// Closes both ends; either may be closed already.
fn hang_up(sockets: &[TcpStream; 2]) {
    for socket in sockets {
        drop(socket.shutdown(Shutdown::Both));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
