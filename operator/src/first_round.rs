//! What must have happened once since the start before any claim is answered.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use ps_core::ids::Key;
use tokio::sync::watch;

/// Each known delivery was looked at to the end, and the store was searched for links that nobody knows.
pub(crate) struct FirstRound {
    left: Mutex<Left>,
    over: watch::Sender<bool>,
}

struct Left {
    keys: BTreeSet<Key>,
    swept: bool,
}

impl Default for FirstRound {
    fn default() -> Self {
        Self { left: Mutex::new(Left { keys: BTreeSet::new(), swept: false }), over: watch::Sender::new(false) }
    }
}

impl FirstRound {
    fn change(&self, change: impl FnOnce(&mut Left)) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut left);
        let over = left.swept && left.keys.is_empty();
        self.over.send_if_modified(|said| std::mem::replace(said, over) != over);
    }

    pub(crate) fn expect(&self, keys: &[Key]) {
        self.change(|left| left.keys.extend(keys.iter().cloned()));
    }

    pub(crate) fn done(&self, key: &Key) {
        self.change(|left| {
            left.keys.remove(key);
        });
    }

    pub(crate) fn swept(&self) {
        self.change(|left| left.swept = true);
    }

    pub(crate) fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Waits until it is over.
    pub(crate) async fn over(&self) {
        // The sender lives as long as `self`.
        if self.over.subscribe().wait_for(|over| *over).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_over_when_every_key_was_looked_at_and_the_store_was_swept() {
        let first = FirstRound::default();
        let keys = [Key::new("a", "x"), Key::new("a", "y")];
        first.expect(&keys);
        first.done(&keys[0]);
        first.swept();
        assert!(!first.is_over());
        first.done(&keys[1]);
        assert!(first.is_over());
        first.over().await;
    }
}
