//! The connection that a session shares with lettre.
//!
//! lettre copies what it sends into buffers that nobody wipes. So it gets one handle of the stream, for commands and
//! replies, and the session keeps another, through which logins and messages go without a copy. SMTP is strictly
//! one-after-the-other, so the two never meet.
//!
//! It also makes STARTTLS safe: after the upgrade lettre starts anew on a fresh reader, with a greeting that this module
//! makes up, so that nothing that somebody slipped in behind the plain reply is ever read (CVE-2011-0411 and its kin).

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// What lettre reads first on a connection that is past its greeting.
const GREETING: &[u8] = b"220 STARTTLS\r\n";
/// Longest reply. lettre would read an endless line into memory, and takes the square of a long reply's length in time.
const MAX_REPLY: usize = 16 * 1024;

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Taken for the handshake.
    Gone,
}

struct Inner {
    greeting: &'static [u8],
    /// Bytes read since something was written.
    reply: usize,
    stream: Stream,
}

/// A handle of the connection; clones share it.
#[derive(Clone)]
pub(crate) struct Wire(Arc<Mutex<Inner>>);

impl Wire {
    /// A connection before TLS.
    pub(crate) fn plain(stream: TcpStream) -> Self {
        Self::new(b"", Stream::Plain(stream))
    }

    /// A connection inside TLS; `greeted` if the server has greeted before it.
    pub(crate) fn tls(stream: TlsStream<TcpStream>, greeted: bool) -> Self {
        Self::new(if greeted { GREETING } else { b"" }, Stream::Tls(Box::new(stream)))
    }

    fn new(greeting: &'static [u8], stream: Stream) -> Self {
        Self(Arc::new(Mutex::new(Inner { greeting, reply: 0, stream })))
    }

    /// Takes the plain stream out, for the handshake. Other handles are of no use after it.
    pub(crate) fn take_plain(&self) -> Option<TcpStream> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut inner.stream, Stream::Gone) {
            Stream::Plain(stream) => Some(stream),
            Stream::Tls(_) | Stream::Gone => None,
        }
    }

    /// The lock is never held across an await, so nobody ever waits for it.
    fn with<T>(&self, action: impl FnOnce(&mut Inner) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn gone<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(ErrorKind::NotConnected.into()))
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|inner| {
            if !inner.greeting.is_empty() {
                let (now, later) = inner.greeting.split_at(inner.greeting.len().min(buf.remaining()));
                buf.put_slice(now);
                inner.greeting = later;
                return Poll::Ready(Ok(()));
            }
            if inner.reply > MAX_REPLY {
                return Poll::Ready(Err(ErrorKind::InvalidData.into()));
            }
            let before = buf.filled().len();
            let read = match &mut inner.stream {
                Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
                Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
                Stream::Gone => gone(),
            };
            inner.reply = inner.reply.saturating_add(buf.filled().len().saturating_sub(before));
            read
        })
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|inner| {
            inner.reply = 0;
            match &mut inner.stream {
                Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
                Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
                Stream::Gone => gone(),
            }
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|inner| match &mut inner.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Gone => gone(),
        })
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|inner| match &mut inner.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Gone => Poll::Ready(Ok(())),
        })
    }
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.0.lock().unwrap_or_else(PoisonError::into_inner).stream {
            Stream::Plain(stream) => stream.peer_addr(),
            Stream::Tls(stream) => stream.get_ref().0.peer_addr(),
            Stream::Gone => Err(ErrorKind::NotConnected.into()),
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}
