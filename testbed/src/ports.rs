//! Free loopback ports for servers that want to be told one.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};

use crate::dirs::random;

/// Below the range that the kernel gives to outgoing connections, so that a server that restarts finds its port free.
const FIRST: u16 = 18_000;
const COUNT: u16 = 14_000;
const TRIES: u32 = 200;

/// What this process was given already: who asked may not listen there yet.
static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A port on 127.0.0.1 that nobody listens on, and that this process was not given before.
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
    for _ in 0..TRIES {
        let offset = u16::try_from(random() % u64::from(COUNT)).unwrap_or_default();
        let port = FIRST + offset;
        let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        let ports = port..port + wanted;
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        let given = given.get_or_insert_default();
        if ports.clone().all(|port| !given.contains(&port) && free(port)) {
            given.extend(ports);
            return Ok(port);
        }
    }
    bail!("no free port in {FIRST}..{} after {TRIES} tries", FIRST + COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ports_of_a_pair_can_be_bound() {
        let port = free_port_pair().unwrap();
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let second = TcpListener::bind((Ipv4Addr::LOCALHOST, port + 1)).unwrap();
        assert_ne!(first.local_addr().unwrap(), second.local_addr().unwrap());
    }
}
