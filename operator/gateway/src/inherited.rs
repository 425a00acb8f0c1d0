//! Descriptors that a parent hands down by number: the listening socket, and two pipes for waking each other.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{SockaddrLike as _, getsockopt, sockopt};
use ps_store::service::Fence;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

/// The operator lives, and may have changed records: who waits for a verdict looks again.
pub const CHANGED: u8 = b'c';
/// The operator has cleared the store: claims may be answered.
pub const LIFT: u8 = b'f';
/// Claims may not be answered until the fence is lifted again.
pub const RAISE: u8 = b'F';

/// A descriptor that was named on the command line and is not what it must be.
#[derive(Debug, thiserror::Error)]
pub enum NotInherited {
    /// Nothing is open under this number, or it is one of the three standard ones.
    #[error("descriptor {0} was not handed down")]
    NotOpen(i32),
    /// Not a listening TCP socket.
    #[error("descriptor {0} is not a listening TCP socket")]
    NotListening(i32),
    /// Not this end of a pipe.
    #[error("descriptor {0} is not the right end of a pipe")]
    NotAPipe(i32),
}

/// Takes over descriptor `number`, and keeps it from any program that might be started later. Take each number once.
///
/// # Errors
/// If nothing is open there.
pub fn take(number: i32) -> Result<OwnedFd, NotInherited> {
    let fd = raw::own(number).ok_or(NotInherited::NotOpen(number))?;
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|_| NotInherited::NotOpen(number))?;
    Ok(fd)
}

/// Closes every descriptor that came with the program and is neither a standard one nor in `keep`: what a parent forgot
/// to keep to itself is not for the process that faces the internet. Call it before anything is opened.
pub fn close_others(keep: &[i32]) {
    let mut keep: Vec<i32> = keep.iter().copied().filter(|number| *number > 2).collect();
    keep.sort_unstable();
    let mut first = 3;
    for number in keep {
        raw::close_range(first, number - 1);
        first = number.saturating_add(1);
    }
    raw::close_range(first, i32::MAX);
}

/// A listening TCP socket, made non-blocking.
///
/// # Errors
/// If it is something else.
pub fn listener(number: i32) -> Result<TcpListener, NotInherited> {
    let wrong = || NotInherited::NotListening(number);
    let fd = take(number)?;
    if !getsockopt(&fd, sockopt::AcceptConn).map_err(|_| wrong())? {
        return Err(wrong());
    }
    let name: nix::sys::socket::SockaddrStorage =
        nix::sys::socket::getsockname(std::os::fd::AsRawFd::as_raw_fd(&fd)).map_err(|_| wrong())?;
    if !matches!(name.family(), Some(nix::sys::socket::AddressFamily::Inet | nix::sys::socket::AddressFamily::Inet6)) {
        return Err(wrong());
    }
    let listener = TcpListener::from(fd);
    listener.set_nonblocking(true).map_err(|_| wrong())?;
    Ok(listener)
}

/// Wakes the operator: one byte per durable change.
#[derive(Debug)]
pub struct Waker(OwnedFd);

impl Waker {
    /// The writing end of a pipe, made non-blocking.
    ///
    /// # Errors
    /// If it is something else.
    pub fn new(number: i32) -> Result<Self, NotInherited> {
        let fd = take(number)?;
        let flags = fcntl(&fd, FcntlArg::F_GETFL).map_err(|_| NotInherited::NotAPipe(number))?;
        let flags = OFlag::from_bits_truncate(flags);
        if flags & OFlag::O_ACCMODE == OFlag::O_RDONLY {
            return Err(NotInherited::NotAPipe(number));
        }
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map_err(|_| NotInherited::NotAPipe(number))?;
        Ok(Self(fd))
    }

    /// Writes the byte. A full pipe means that a wake-up is under way already; a closed one, that nobody is left to wake.
    pub fn wake(&self) {
        self.say(CHANGED);
    }

    /// Says that claims are answered from now on.
    pub fn lifted(&self) {
        self.say(LIFT);
    }

    fn say(&self, byte: u8) {
        if let Err(error) = nix::unistd::write(&self.0, &[byte])
            && error != nix::errno::Errno::EAGAIN
        {
            tracing::debug!(%error, "nobody to wake");
        }
    }
}

/// The reading end of a pipe from the operator, not yet on a runtime.
#[derive(Debug)]
pub struct Nudges(OwnedFd, i32);

impl Nudges {
    /// Takes it over.
    ///
    /// # Errors
    /// If nothing is open there.
    pub fn new(number: i32) -> Result<Self, NotInherited> {
        take(number).map(|fd| Self(fd, number))
    }

    /// Moves `fence` as the operator says, calls `lifted` each time that it is lifted and `changed` when records may have
    /// changed, until the operator is gone or has said nothing for `silence`. Must run on a tokio runtime.
    ///
    /// # Errors
    /// If it is not the reading end of a pipe.
    pub async fn obey(
        self,
        fence: Fence,
        silence: Option<Duration>,
        lifted: impl Fn(),
        changed: impl Fn(),
    ) -> Result<(), NotInherited> {
        let mut pipe = pipe::Receiver::from_owned_fd(self.0).map_err(|_| NotInherited::NotAPipe(self.1))?;
        let mut bytes = [0_u8; 64];
        loop {
            let heard = match silence {
                None => pipe.read(&mut bytes).await,
                Some(limit) => match tokio::time::timeout(limit, pipe.read(&mut bytes)).await {
                    Ok(heard) => heard,
                    Err(_) => {
                        tracing::error!("nothing was heard of the operator for {limit:?}");
                        return Ok(());
                    }
                },
            };
            // An error of a pipe is the same as its end: whoever should tell us is gone.
            let Ok(n @ 1..) = heard else { return Ok(()) };
            for byte in bytes.iter().take(n) {
                match *byte {
                    LIFT => {
                        fence.lift();
                        lifted();
                        tracing::info!("fence lifted");
                    }
                    RAISE => {
                        fence.raise();
                        tracing::info!("fence raised");
                    }
                    CHANGED => changed(),
                    _ => tracing::warn!("an unknown byte from the operator"),
                }
            }
        }
    }
}

mod raw {
    #![allow(unsafe_code, reason = "a parent hands a descriptor down by its number, and numbers are not owned")]

    use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd};

    use nix::fcntl::{FcntlArg, fcntl};

    /// Owns `number` if it is open and not one of stdin, stdout and stderr.
    pub(super) fn own(number: i32) -> Option<OwnedFd> {
        if number <= 2 {
            return None;
        }
        // SAFETY: borrowed for one call, which reports a closed descriptor by an error.
        let open = fcntl(unsafe { BorrowedFd::borrow_raw(number) }, FcntlArg::F_GETFD).is_ok();
        // SAFETY: it is open. It came with exec, and nothing else in this process knows its number: the program takes
        // descriptors before it opens any, and refuses a number that is named twice.
        open.then(|| unsafe { OwnedFd::from_raw_fd(number) })
    }
    /// Closes the descriptors from `first` to `last`, both included, where there are any.
    pub(super) fn close_range(first: i32, last: i32) {
        if first > last {
            return;
        }
        // SAFETY: the caller has opened nothing yet, so nobody in this process owns any of them.
        let result = unsafe { libc::close_range(first.unsigned_abs(), last.unsigned_abs(), 0) };
        if result != 0 {
            // Linux before 5.9. Nothing depends on it: a careful parent hands down only what it names.
            tracing::debug!("descriptors that were not named stay open");
        }
    }
}
