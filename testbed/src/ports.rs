//! Free loopback ports for servers that want to be told one.
//!
//! A server that restarts must find its port as it left it. So a port stays with the process that asked for it until that
//! process ends: it holds a lock on one byte of a file that all of them share.

use std::collections::HashSet;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::dirs::{random, state_dir};

/// Below the range that the kernel gives to outgoing connections, so that a server that restarts finds its port free.
const FIRST: u16 = 18_000;
const COUNT: u16 = 14_000;
const TRIES: u32 = 200;
/// One byte for each port, in `target/testbed`. It holds nothing.
const LOCKS: &str = "ports.lock";

/// A port on 127.0.0.1 that nobody listens on, and that neither this process nor another one that runs was given before.
///
/// # Errors
/// If none is found.
pub fn free_port() -> Result<u16> {
    find(1)
}

/// A port whose successor is free as well (OpenBao's cluster port is its API port + 1).
///
/// # Errors
/// If none is found.
pub fn free_port_pair() -> Result<u16> {
    find(2)
}

fn find(wanted: u16) -> Result<u16> {
    static OURS: Mutex<Option<Ports>> = Mutex::new(None);
    let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    if ours.is_none() {
        *ours = Some(Ports::open(&state_dir())?);
    }
    let Some(ours) = ours.as_mut() else { bail!("no ports") };
    for _ in 0..TRIES {
        let offset = u16::try_from(random() % u64::from(COUNT)).unwrap_or_default();
        let ports: Vec<u16> = (FIRST + offset..).take(usize::from(wanted)).collect();
        if ours.take(&ports)? {
            return Ok(FIRST + offset);
        }
    }
    bail!("no free port in {FIRST}..{} after {TRIES} tries", FIRST + COUNT)
}

/// What one process was given.
struct Ports {
    locks: File,
    given: HashSet<u16>,
}

impl Ports {
    fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let path = folder.join(LOCKS);
        // Closed at an exec, so no server holds a lock that its test has left.
        let locks = File::options().create(true).truncate(false).write(true).open(&path);
        Ok(Self { locks: locks.with_context(|| format!("opening {}", path.display()))?, given: HashSet::new() })
    }

    /// Takes all of them, or says that one is taken already. Those before it stay ours: there are enough.
    fn take(&mut self, ports: &[u16]) -> Result<bool> {
        for port in ports {
            if self.given.contains(port) || !self.lock(*port)? {
                return Ok(false);
            }
            self.given.insert(*port);
            // Somebody else's, who does not ask here.
            if TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Locks a port's byte; `false` if another process has.
    fn lock(&self, port: u16) -> Result<bool> {
        let byte = libc::flock {
            l_type: i16::try_from(libc::F_WRLCK)?,
            l_whence: i16::try_from(libc::SEEK_SET)?,
            l_start: libc::off_t::from(port),
            l_len: 1,
            // Required to be 0: the lock is the open file's, not the process'.
            l_pid: 0,
        };
        match fcntl(&self.locks, FcntlArg::F_OFD_SETLK(&byte)) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(error) => Err(error).context("locking a port"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunDir;

    #[test]
    fn both_ports_of_a_pair_can_be_bound() {
        let port = free_port_pair().unwrap();
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let second = TcpListener::bind((Ipv4Addr::LOCALHOST, port + 1)).unwrap();
        assert_ne!(first.local_addr().unwrap(), second.local_addr().unwrap());
    }

    /// Two openings of the file are to each other as two processes are.
    #[test]
    fn a_port_is_given_once_as_long_as_its_owner_lives() {
        let folder = RunDir::new("ports").unwrap();
        let (mut one, mut other) = (Ports::open(folder.path()).unwrap(), Ports::open(folder.path()).unwrap());
        // Above those that are given to servers: nobody listens there in earnest.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!one.take(&[port]).unwrap(), "somebody listens there");
        drop(listener);
        assert!(!one.take(&[port]).unwrap() && !other.take(&[port]).unwrap(), "looked at once");
        drop(one);
        assert!(other.take(&[port]).unwrap(), "its owner is gone");
        assert!(!other.take(&[port]).unwrap(), "never twice");
    }
}
