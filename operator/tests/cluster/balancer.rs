//! What stands before several gateways: connections go to each in turn, and past one that does not answer.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Listens on a port of its own until the process ends.
pub struct Balancer {
    port: u16,
}

impl Balancer {
    pub fn start(behind: Vec<u16>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (behind, turn) = (Arc::new(behind), Arc::new(AtomicUsize::new(0)));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (behind, turn) = (behind.clone(), turn.clone());
                thread::spawn(move || {
                    if let Some(server) = connect(&behind, turn.fetch_add(1, Ordering::Relaxed)) {
                        pass(&client, &server);
                    }
                });
            }
        });
        Self { port }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

fn connect(behind: &[u16], turn: usize) -> Option<TcpStream> {
    (0..behind.len()).find_map(|n| {
        let address = SocketAddr::from(([127, 0, 0, 1], behind[(turn + n) % behind.len()]));
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()
    })
}

fn pass(client: &TcpStream, server: &TcpStream) {
    thread::scope(|scope| {
        scope.spawn(|| one_way(client, server));
        one_way(server, client);
    });
}

fn one_way(mut from: &TcpStream, mut to: &TcpStream) {
    // A side that is gone ends the other one too.
    io::copy(&mut from, &mut to).ok();
    for (stream, how) in [(to, Shutdown::Write), (from, Shutdown::Read)] {
        stream.shutdown(how).ok();
    }
}
