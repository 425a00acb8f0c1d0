//! Connections: accepted in bounded number, each with a bounded life, so that slow or many clients cost little.
//!
//! When there are as many as may be, the one that has waited longest for its client makes room for the next: whoever opens
//! many and says nothing, or says it slowly, loses them, and keeps nobody out.
//!
//! HTTP/1.1 only. A connection that does not send a whole head within the head's time is closed, also between two
//! requests; after its life is over it may finish the request at work, and is then closed whatever it does.

use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::client::{Net, Peer};
use crate::counters::Counters;
use crate::seats::{Guest, Room, Table};

/// Bounds of the connections of one listener.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Connections at the same time. One more takes the place of the one that has waited longest for its client; while all
    /// are at work, it waits, and more wait in the kernel's backlog.
    pub connections: usize,
    /// Connections of one client at the same time; trusted proxies are exempt.
    pub per_client: u32,
    /// Longest wait for a request's head.
    pub head_timeout: Duration,
    /// After this a connection takes no further request.
    pub lifetime: Duration,
    /// How much longer a request at work, or a slow reader, may take.
    pub grace: Duration,
    /// Peers that stand for many clients.
    pub trusted_proxies: Vec<Net>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 1024,
            per_client: 128,
            head_timeout: Duration::from_secs(10),
            lifetime: Duration::from_secs(60),
            grace: Duration::from_secs(60),
            trusted_proxies: Vec::new(),
        }
    }
}

/// Longest head of a request, in bytes, and most header lines.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADER_LINES: usize = 64;
/// How long connections may finish when the server stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves until `stop` resolves, then lets requests at work finish for a few seconds.
///
/// # Errors
/// Never by a client's doing; the listener itself failing is retried.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    counters: Arc<Counters>,
    stop: impl Future<Output = ()>,
) {
    let slots = Arc::new(Semaphore::new(bounds.connections.clamp(1, Semaphore::MAX_PERMITS)));
    let (table, room) = (Arc::new(Table::default()), Arc::new(Room::default()));
    let (stopping, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        while tasks.try_join_next().is_some() {}
        let (stream, peer) = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, or a connection that was gone at once. Neither may spin.
                    tracing::debug!(kind = ?error.kind(), "accept failed");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            },
        };
        counters.accepted.fetch_add(1, Ordering::Relaxed);
        let seat = if bounds.trusted_proxies.iter().any(|net| net.contains(peer.ip())) {
            None
        } else {
            match Table::sit(&table, peer.ip().into(), bounds.per_client) {
                Some(seat) => Some(seat),
                None => {
                    counters.turned_away.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
            }
        };
        // One that has no place yet is the only one: the rest wait in the kernel's backlog.
        let slot = tokio::select! {
            () = &mut stop => break,
            slot = make_room(&slots, &room, &counters) => slot,
        };
        let guest = Room::enter(&room);
        let (router, bounds, stopped, counters) = (router.clone(), bounds.clone(), stopped.clone(), counters.clone());
        tasks.spawn(async move {
            counters.open.fetch_add(1, Ordering::Relaxed);
            converse(stream, peer.ip(), router, &bounds, stopped, guest).await;
            counters.open.fetch_sub(1, Ordering::Relaxed);
            drop((slot, seat));
        });
    }
    drop(listener);
    stopping.send_replace(true);
    let drained = tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::debug!(left = tasks.len(), "connections cut off at the end");
    }
}

/// A place for one more connection. Where there is none, the connection that has waited longest for its client loses its
/// own; while all are at work, the first that is done.
async fn make_room(slots: &Arc<Semaphore>, room: &Room, counters: &Counters) -> Option<OwnedSemaphorePermit> {
    let mut displaced = false;
    loop {
        if let Ok(slot) = slots.clone().try_acquire_owned() {
            return Some(slot);
        }
        if !displaced && room.displace() {
            displaced = true;
            counters.displaced.fetch_add(1, Ordering::Relaxed);
        }
        tokio::select! {
            // An error means that the semaphore is closed, which nobody does.
            slot = slots.clone().acquire_owned() => return slot.ok(),
            () = room.waits.notified(), if !displaced => {}
        }
    }
}

/// A request's body, which tells when all of it has come: until then it is the client's turn.
struct Awaited {
    body: Incoming,
    guest: Arc<Guest>,
}

impl HttpBody for Awaited {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) || (frame.is_ready() && self.body.is_end_stream()) {
            self.guest.works();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// One connection, from its first byte to its end.
async fn converse(
    stream: TcpStream,
    peer: IpAddr,
    router: Router,
    bounds: &Bounds,
    mut stopped: watch::Receiver<bool>,
    guest: Arc<Guest>,
) {
    // Without it a small answer may wait 40 ms; where it cannot be set, that is all that happens.
    stream.set_nodelay(true).ok();
    let serving = guest.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        if request.body().is_end_stream() {
            serving.works();
        }
        let mut request = request.map(|body| Body::new(Awaited { body, guest: serving.clone() }));
        request.extensions_mut().insert(Peer(peer));
        let (router, guest) = (router.clone(), serving.clone());
        async move {
            let answer = router.oneshot(request).await;
            guest.waits();
            answer
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_timeout)
        .max_headers(MAX_HEADER_LINES)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let over = async {
        tokio::select! {
            () = tokio::time::sleep(bounds.lifetime) => {}
            // An error means that the sender is gone: the server has ended.
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    };
    // Errors are the client's: it hung up, dawdled or sent junk. They name what it sent, so they are not logged.
    tokio::select! {
        _ended = connection.as_mut() => return,
        () = guest.asked_to_leave() => {
            if !guest.is_at_work() {
                return;
            }
            connection.as_mut().graceful_shutdown();
        }
        () = over => connection.as_mut().graceful_shutdown(),
    }
    if let Ok(_ended) = tokio::time::timeout(bounds.grace, connection).await {}
}
