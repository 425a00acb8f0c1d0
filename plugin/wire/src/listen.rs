//! Our socket: in a folder that nobody else may enter, TLS before anything is read, gone when dropped.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::launch::fits;

/// How long a peer may take to show who it is.
const HANDSHAKE: Duration = Duration::from_secs(10);
const TRIES: u32 = 8;

/// A bound socket.
pub(crate) struct Socket {
    folder: PathBuf,
    path: PathBuf,
    listener: Option<UnixListener>,
}

impl Socket {
    /// Binds a socket below `parent`.
    pub(crate) fn bind(parent: &Path) -> io::Result<Self> {
        let mut taken = io::Error::other("no free name");
        // In a container process numbers come again, and folders of killed processes may stay; so may others' on purpose.
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
        for number in 0..TRIES {
            let folder = parent.join(format!("password-sender-{}-{:x}", std::process::id(), time + number));
            let path = folder.join("plugin");
            fits(&path).map_err(io::Error::other)?;
            match fs::DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => {
                    let listener = UnixListener::bind(&path)?;
                    return Ok(Self { folder, path, listener: Some(listener) });
                }
                // Left by a process of the same number that was killed, or somebody else's: not ours to remove.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => taken = error,
                Err(error) => return Err(error),
            }
        }
        Err(taken)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Accepts connections, each in a task of its own, and gives those whose peer is the pinned one.
    pub(crate) fn accept(&mut self, tls: Arc<ServerConfig>) -> ReceiverStream<io::Result<Connection>> {
        let (ready, connections) = mpsc::channel(4);
        if let Some(listener) = self.listener.take() {
            let acceptor = TlsAcceptor::from(tls);
            tokio::spawn(async move {
                loop {
                    let stream = match listener.accept().await {
                        Ok((stream, _)) => stream,
                        Err(error) => {
                            // The process ends with this, and the server starts another when it needs one.
                            tracing::error!(%error, "no connection can be taken any more");
                            break;
                        }
                    };
                    let (acceptor, ready) = (acceptor.clone(), ready.clone());
                    tokio::spawn(async move {
                        match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                            // An error says that nobody serves any more.
                            Ok(Ok(stream)) => ready.send(Ok(Connection(stream))).await.unwrap_or_default(),
                            Ok(Err(error)) => tracing::warn!(%error, "a connection was refused"),
                            Err(_) => tracing::warn!("a connection did not finish its handshake"),
                        }
                    });
                }
            });
        }
        ReceiverStream::new(connections)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Best effort: what can't be removed is an empty socket in a folder of ours.
        fs::remove_file(&self.path).unwrap_or_default();
        fs::remove_dir(&self.folder).unwrap_or_default();
    }
}

/// A connection whose peer has shown the pinned certificate.
pub(crate) struct Connection(TlsStream<UnixStream>);

impl Connected for Connection {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_socket_is_private_and_goes_when_dropped() {
        let parent = tempfile::tempdir().unwrap();
        let first = Socket::bind(parent.path()).unwrap();
        let second = Socket::bind(parent.path()).unwrap();
        assert_ne!(first.path(), second.path());
        let mode = fs::metadata(first.path().parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop((first, second));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
