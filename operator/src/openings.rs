//! Links that were opened a moment ago.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use ps_core::ids::Key;
use tokio::time::Instant;

/// Whoever opens a link says a moment later that it is saved: the page and the command line do so by themselves. Looked at then,
/// both are one write of the entry and one of the status. The record holds the opening meanwhile, and what is due is
/// counted from it.
pub(crate) const MOMENT: Duration = Duration::from_millis(500);

/// Deliveries that are looked at when their moment is over, in that order. One that is opened again does not wait longer: whoever can
/// write to the store can't put off what follows.
#[derive(Default)]
pub(crate) struct Openings {
    order: VecDeque<(Instant, Key)>,
    waiting: HashSet<Key>,
}

impl Openings {
    pub(crate) fn add(&mut self, key: Key) {
        if self.waiting.insert(key.clone()) {
            self.order.push_back((Instant::now() + MOMENT, key));
        }
    }

    /// Waits for the next moment to be over; for ever where nothing waits. May be dropped: nothing is lost.
    pub(crate) async fn next(&mut self) -> Key {
        let Some((over, _)) = self.order.front() else { return std::future::pending().await };
        tokio::time::sleep_until(*over).await;
        match self.order.pop_front() {
            Some((_, key)) => {
                self.waiting.remove(&key);
                key
            }
            None => std::future::pending().await,
        }
    }
}
