//! Who is connected: how many connections each client has, and which of them all has waited longest.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::client::Client;

/// In place of a time: the server is at work on a request.
const AT_WORK: u64 = u64::MAX;
/// In place of a time: it was asked to leave.
const LEAVING: u64 = u64::MAX - 1;

/// How many connections each client has; as large as there are connections.
#[derive(Default)]
pub(crate) struct Table(Mutex<HashMap<Client, u32>>);

impl Table {
    /// A seat for one more connection of `client`, unless it has `most` already.
    pub(crate) fn sit(table: &Arc<Self>, client: Client, most: u32) -> Option<Seat> {
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
pub(crate) struct Seat {
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

/// All connections that are open.
pub(crate) struct Room {
    start: Instant,
    next: AtomicU64,
    /// Only entered and left under the lock: what a connection is doing is an atomic of its own.
    inside: Mutex<HashMap<u64, Arc<Doing>>>,
    /// Told when a connection begins to wait.
    pub(crate) waits: Notify,
}

impl Default for Room {
    fn default() -> Self {
        Self { start: Instant::now(), next: AtomicU64::new(0), inside: Mutex::default(), waits: Notify::new() }
    }
}

/// What one connection is doing.
struct Doing {
    /// Since when it waits for its client, in microseconds; or one of the constants above.
    since: AtomicU64,
    leave: Notify,
}

impl Room {
    /// One more connection, which waits for its first request.
    pub(crate) fn enter(room: &Arc<Self>) -> Arc<Guest> {
        let number = room.next.fetch_add(1, Ordering::Relaxed);
        let doing = Arc::new(Doing { since: AtomicU64::new(room.now()), leave: Notify::new() });
        room.inside.lock().unwrap_or_else(PoisonError::into_inner).insert(number, doing.clone());
        Arc::new(Guest { room: room.clone(), number, doing })
    }

    /// Asks the connection to leave that has waited longest for its client. `false` if all are at work, or leaving.
    pub(crate) fn displace(&self) -> bool {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = inside.values().map(|doing| (doing.since.load(Ordering::Relaxed), doing));
        let oldest = waiting.filter(|(since, _)| *since < LEAVING).min_by_key(|(since, _)| *since);
        oldest.is_some_and(|(since, doing)| {
            // It may have begun to work meanwhile: then it is left alone, and the next one that waits is told of.
            let still = doing.since.compare_exchange(since, LEAVING, Ordering::Relaxed, Ordering::Relaxed).is_ok();
            if still {
                doing.leave.notify_one();
            }
            still
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(LEAVING - 1).min(LEAVING - 1)
    }
}

/// A connection in the room, until it is dropped.
pub(crate) struct Guest {
    room: Arc<Room>,
    number: u64,
    doing: Arc<Doing>,
}

impl Guest {
    /// A whole request is there: it is the server's turn.
    pub(crate) fn works(&self) {
        self.doing.since.store(AT_WORK, Ordering::Relaxed);
    }

    /// The answer is made: it is the client's turn, to read it and to ask again.
    pub(crate) fn waits(&self) {
        self.doing.since.store(self.room.now(), Ordering::Relaxed);
        self.room.waits.notify_one();
    }

    pub(crate) fn is_at_work(&self) -> bool {
        self.doing.since.load(Ordering::Relaxed) == AT_WORK
    }

    /// Ends when it is asked to leave.
    pub(crate) async fn asked_to_leave(&self) {
        self.doing.leave.notified().await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.room.inside.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

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

    #[tokio::test]
    async fn who_has_waited_longest_leaves_and_who_is_at_work_stays() {
        let room = Arc::new(Room::default());
        let guests: Vec<_> = (0..3).map(|_| Room::enter(&room)).collect();
        for (guest, since) in guests.iter().zip([30, 10, 20]) {
            guest.doing.since.store(since, Ordering::Relaxed);
        }
        guests[1].works();
        assert!(room.displace());
        guests[2].asked_to_leave().await;
        assert!(room.displace() && !room.displace(), "the first one, and then nobody is left to ask");
        guests[0].asked_to_leave().await;
        guests[1].waits();
        room.waits.notified().await;
        assert!(!guests[1].is_at_work() && room.displace());
        drop(guests);
        assert!(!room.displace() && room.inside.lock().expect("not poisoned").is_empty());
    }
}
