//! Connections: accepted in bounded number, each with a bounded life, so that slow or many clients cost little.
//!
//! HTTP/1.1 only. A connection that does not send a whole head within the head's time is closed, also between two
//! requests; after its life is over it may finish the request at work, and is then closed whatever it does.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::client::{Client, Net, Peer};
use crate::counters::Counters;

/// Bounds of the connections of one listener.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Connections at the same time; more wait in the kernel's backlog.
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
    let table = Arc::new(Table::default());
    let (stopping, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        while tasks.try_join_next().is_some() {}
        let accept = async {
            // Waiting for a slot before accepting leaves the rest to the kernel's backlog.
            let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((slot, listener.accept().await?))
        };
        let (slot, (stream, peer)) = tokio::select! {
            () = &mut stop => break,
            accepted = accept => match accepted {
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
        let (router, bounds, stopped, counters) = (router.clone(), bounds.clone(), stopped.clone(), counters.clone());
        tasks.spawn(async move {
            counters.open.fetch_add(1, Ordering::Relaxed);
            converse(stream, peer.ip(), router, &bounds, stopped).await;
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

/// One connection, from its first byte to its end.
async fn converse(
    stream: TcpStream,
    peer: IpAddr,
    router: Router,
    bounds: &Bounds,
    mut stopped: watch::Receiver<bool>,
) {
    // Without it a small answer may wait 40 ms; where it cannot be set, that is all that happens.
    stream.set_nodelay(true).ok();
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        router.clone().oneshot(request)
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
        () = over => connection.as_mut().graceful_shutdown(),
    }
    if let Ok(_ended) = tokio::time::timeout(bounds.grace, connection).await {}
}

/// How many connections each client has; as large as there are connections.
#[derive(Default)]
struct Table(Mutex<HashMap<Client, u32>>);

impl Table {
    fn sit(table: &Arc<Self>, client: Client, most: u32) -> Option<Seat> {
        let mut counts = table.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(client).or_default();
        if *count >= most.max(1) {
            return None;
        }
        *count += 1;
        Some(Seat { table: table.clone(), client })
    }
}

/// One connection of one client.
struct Seat {
    table: Arc<Table>,
    client: Client,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.table.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_forgets_who_has_left() {
        let table = Arc::new(Table::default());
        let client = Client::from(IpAddr::from([127, 0, 0, 1]));
        let first = Table::sit(&table, client, 2);
        let second = Table::sit(&table, client, 2);
        assert!(first.is_some() && second.is_some() && Table::sit(&table, client, 2).is_none());
        drop(first);
        assert!(Table::sit(&table, client, 2).is_some());
        drop(second);
        assert!(table.0.lock().expect("not poisoned").is_empty());
    }
}
