//! A gateway in this process, a clock that stands still, and a client that writes its own bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ps_core::link::{Link, Record};
use ps_core::ports::{Clock, LinkStore as _};
use ps_core::service::LinkService;
use ps_core::time::Timestamp;
use ps_gateway::counters::Counters;
use ps_gateway::server::{Bounds, serve};
use ps_gateway::verbs::{Holder, Sample};
use ps_gateway::{Settings, router};
use ps_store::MemoryStore;
use ps_store::service::{Fence, StoreLinkService};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// The time at which every test begins.
pub(crate) const T: Timestamp = Timestamp::from_secs(1_800_000_000);
/// Nothing in these tests may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn set(&self, now: Timestamp) {
        self.0.store(now.as_millis(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) fence: Fence,
    pub(crate) counters: Arc<Counters>,
    _stop: oneshot::Sender<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(|_, _| {}, |service| service).await
    }

    /// Starts one with other settings, and with something in front of its service.
    pub(crate) async fn with(
        change: impl FnOnce(&mut Settings, &mut Bounds),
        wrap: impl FnOnce(Arc<dyn LinkService>) -> Arc<dyn LinkService>,
    ) -> Self {
        let (store, clock, fence) = (Arc::new(MemoryStore::default()), Arc::new(TestClock::default()), Fence::lifted());
        clock.set(T);
        let mut settings = Settings::new(clock.clone());
        settings.rate = None;
        let mut bounds = Bounds::default();
        change(&mut settings, &mut bounds);
        let counters = settings.counters.clone();
        let service = wrap(Arc::new(StoreLinkService::new(store.clone(), fence.clone())));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = serve(listener, router(service, settings), bounds, counters.clone(), async {
            drop(stopped.await);
        });
        tokio::spawn(server);
        Self { address, store, clock, fence, counters, _stop: stop }
    }

    /// Puts a sample link.
    pub(crate) async fn put(&self, seed: &str) -> Holder {
        let Sample { holder, link } = Sample::new(seed, &[], T);
        self.store.insert(&Record::Link(Box::new(link))).await.unwrap();
        holder
    }

    /// The link as it is stored, with its version.
    pub(crate) async fn stored(&self, holder: &Holder) -> (u64, Link) {
        let found = self.store.get(holder.id).await.unwrap().unwrap();
        (found.version, found.value.link().unwrap().clone())
    }

    pub(crate) async fn connect(&self) -> Conn {
        Conn::open(self.address).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, request: &[u8]) -> Reply {
        self.connect().await.ask(request).await
    }

    /// One verb on a connection of its own.
    pub(crate) async fn call(&self, verb: &str, body: &impl Serialize) -> Reply {
        self.ask(&post(verb, body)).await
    }
}

/// A whole POST request.
pub(crate) fn post(verb: &str, body: &impl Serialize) -> Vec<u8> {
    post_bytes(verb, "application/json", &serde_json::to_vec(body).unwrap())
}

pub(crate) fn post_bytes(verb: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST /api/v1/links/{verb} HTTP/1.1\r\nhost: gateway\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Lower-case names, in order, without `date`.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The refusal's code, with its status in front: `404 not-found`.
    pub(crate) fn refusal(&self) -> String {
        format!("{} {}", self.status, self.json()["error"]["code"].as_str().unwrap())
    }
}

pub(crate) struct Conn(pub(crate) BufReader<TcpStream>);

impl Conn {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // The server may have closed already: what it said before tells the rest.
        self.0.get_mut().write_all(bytes).await.ok();
    }

    pub(crate) async fn ask(&mut self, request: &[u8]) -> Reply {
        self.send(request).await;
        let head_only = request.starts_with(b"HEAD ");
        self.reply(head_only).await.expect("a reply")
    }

    /// Reads one reply; `None` if the server closed the connection instead.
    pub(crate) async fn reply(&mut self, head_only: bool) -> Option<Reply> {
        tokio::time::timeout(PATIENCE, self.read_reply(head_only)).await.expect("in time")
    }

    async fn read_reply(&mut self, head_only: bool) -> Option<Reply> {
        let mut line = String::new();
        if self.0.read_line(&mut line).await.unwrap_or(0) == 0 {
            return None;
        }
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.0.read_line(&mut line).await.unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            if name != "date" {
                headers.push((name.to_ascii_lowercase(), value.to_owned()));
            }
        }
        let length = headers.iter().find(|(n, _)| n == "content-length").map_or(0, |(_, v)| v.parse().unwrap());
        let mut body = vec![0; if head_only { 0 } else { length }];
        self.0.read_exact(&mut body).await.unwrap();
        Some(Reply { status, headers, body })
    }

    /// Waits until the server closes; returns what it still said.
    pub(crate) async fn closed(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.expect("closed in time");
        // A reset is a close, too.
        end.ok();
        rest
    }
}
