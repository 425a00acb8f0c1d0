//! When something is due, without asking the storage: kept in memory by the active node, which makes every change itself.
//!
//! It is built anew, piece by piece, after each start of the process, from the rows that there are.

use std::collections::{BTreeSet, HashMap};

use ps_core::ids::LinkId;
use ps_core::time::Timestamp;

/// Links by the time of their next change. A link that only waits for evidence has none.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    due: BTreeSet<(Timestamp, LinkId)>,
    known: HashMap<LinkId, Option<Timestamp>>,
    /// What was there at the start and was not read yet; `None` before the start.
    pub(crate) unread: Option<Vec<LinkId>>,
}

impl Schedule {
    /// Notes when a link must be looked at next.
    pub(crate) fn set(&mut self, id: LinkId, next: Option<Timestamp>) {
        if let Some(Some(before)) = self.known.insert(id, next) {
            self.due.remove(&(before, id));
        }
        if let Some(next) = next {
            self.due.insert((next, id));
        }
    }

    /// Forgets a link that is gone.
    pub(crate) fn remove(&mut self, id: LinkId) {
        if let Some(Some(before)) = self.known.remove(&id) {
            self.due.remove(&(before, id));
        }
    }

    /// Whether it is known already.
    pub(crate) fn knows(&self, id: LinkId) -> bool {
        self.known.contains_key(&id)
    }

    /// The links that are due, longest first, at most `limit`.
    pub(crate) fn due(&self, now: Timestamp, limit: usize) -> Vec<LinkId> {
        self.due.iter().take_while(|(at, _)| *at <= now).take(limit).map(|(_, id)| *id).collect()
    }

    /// How many links there are.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_link_is_due_once_and_when_it_was_said_last() {
        let (a, b) = (LinkId([1; 16]), LinkId([2; 16]));
        let at = Timestamp::from_secs;
        let mut schedule = Schedule::default();
        schedule.set(a, Some(at(10)));
        schedule.set(b, Some(at(5)));
        schedule.set(a, Some(at(3)));
        assert_eq!(schedule.due(at(4), 9), [a]);
        assert_eq!(schedule.due(at(10), 9), [a, b]);
        assert_eq!(schedule.due(at(10), 1), [a]);
        schedule.set(a, None);
        assert_eq!(schedule.due(at(10), 9), [b]);
        schedule.remove(b);
        assert_eq!((schedule.due(at(10), 9).len(), schedule.len(), schedule.knows(a)), (0, 1, true));
    }
}
