//! Our socket: in a folder that nobody else may enter, TLS before anything is read, gone when dropped.

use std::fs;
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
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
/// What the names of our folders begin with.
const OURS: &str = "password-sender-";
/// What a folder's socket is called.
const NAME: &str = "plugin";
/// A younger folder may be one that another plugin is just making.
const YOUNG: Duration = Duration::from_secs(60);

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
            let folder = parent.join(format!("{OURS}{}-{:x}", std::process::id(), time + number));
            let path = folder.join(NAME);
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

    /// Removes what plugins of this user left beside our folder that were killed. Best effort.
    pub(crate) fn sweep(&self) {
        let Some(parent) = self.folder.parent().map(Path::to_owned) else { return };
        let Ok(uid) = fs::symlink_metadata(&self.folder).map(|own| own.uid()) else { return };
        // Nobody waits for it.
        tokio::task::spawn_blocking(move || sweep(&parent, uid));
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

/// Removes folders with sockets that nobody listens at: ours by name, owner and rights, and not just made.
fn sweep(parent: &Path, uid: u32) {
    // Whoever listens is asked only if the kernel does not know the path: a connection would trouble a plugin that lives.
    let Ok(listening) = fs::read_to_string("/proc/net/unix") else { return };
    for folder in fs::read_dir(parent).into_iter().flatten().flatten() {
        let (name, folder) = (folder.file_name(), folder.path());
        let digits = |text: &str, radix| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
        let parts = name.to_str().and_then(|name| name.strip_prefix(OURS)?.split_once('-'));
        if !parts.is_some_and(|(process, time)| digits(process, 10) && digits(time, 16)) {
            continue;
        }
        let Ok(is) = fs::symlink_metadata(&folder) else { continue };
        let old = is.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age > YOUNG));
        let socket = folder.join(NAME);
        let listens = || match std::os::unix::net::UnixStream::connect(&socket) {
            Ok(_) => true,
            Err(error) => !matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound),
        };
        let known = || listening.lines().any(|line| line.ends_with(&format!(" {}", socket.display())));
        if is.is_dir() && is.uid() == uid && is.mode() & 0o077 == 0 && old && !known() && !listens() {
            fs::remove_file(&socket).unwrap_or_default();
            // Goes only if nothing else is in it.
            fs::remove_dir(&folder).unwrap_or_default();
        }
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

    // With these, HTTP/2 copies little of an answer into a buffer that lives as long as the connection: see `ASIDE` in backend.rs.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
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

    #[tokio::test]
    async fn what_killed_plugins_left_is_swept_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str, mode: u32| {
            let folder = parent.path().join(name);
            fs::DirBuilder::new().mode(mode).create(&folder).unwrap();
            folder
        };
        let aged = |folder: &Path| {
            let hour = SystemTime::now() - Duration::from_secs(3600);
            fs::File::open(folder).unwrap().set_modified(hour).unwrap();
        };
        // A listener that is dropped leaves its socket, as one that is killed does.
        let left = |folder: &Path| drop(UnixListener::bind(folder.join(NAME)).unwrap());
        let (stale, empty) = (make("password-sender-1-a", 0o700), make("password-sender-2-b", 0o700));
        left(&stale);
        let (young, open, full) = (
            make("password-sender-3-c", 0o700),
            make("password-sender-4-d", 0o755),
            make("password-sender-5-e", 0o700),
        );
        left(&young);
        left(&open);
        fs::write(full.join("more"), "x").unwrap();
        let other = make("password-sender-vault-agent", 0o700);
        let live = Socket::bind(parent.path()).unwrap();
        let lives = live.path().parent().unwrap().to_owned();
        for folder in [&stale, &empty, &open, &full, &other, &lives] {
            aged(folder);
        }
        let uid = fs::metadata(parent.path()).unwrap().uid();
        sweep(parent.path(), uid + 1);
        assert!(stale.exists(), "somebody else's");
        sweep(parent.path(), uid);
        assert!(!stale.exists() && !empty.exists());
        assert!([&young, &open, &full, &other, &lives].into_iter().all(|folder| folder.exists()));
        assert!(live.path().exists() && full.join("more").exists());
    }
}
