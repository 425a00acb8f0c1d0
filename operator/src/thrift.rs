//! Gives memory back to the system once a burst of work is over: what the allocator keeps of ten thousand deliveries is
//! several times what they need while they rest.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Work that never pauses is no reason to keep everything: at the latest after so many beats.
const MOST_BEATS: u32 = 30;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Thrift {
    /// Something was worked on since the last beat.
    worked: AtomicBool,
    /// Beats since memory was given back, if something was worked on since; 0 for nothing to give.
    since: AtomicU32,
}

impl Thrift {
    /// A delivery was worked on.
    pub(crate) fn worked(&self) {
        self.worked.store(true, Ordering::Relaxed);
    }

    /// Comes with each beat of the main loop; `ready` deliveries wait for a worker.
    pub(crate) fn beat(&self, ready: usize) {
        if self.is_time(ready) {
            // It walks over all that is free, which takes a moment: not on a thread that others wait for.
            drop(tokio::task::spawn_blocking(ps_hardening::give_back));
        }
    }

    /// Whether this beat is the one after a burst, or one of work that never pauses.
    fn is_time(&self, ready: usize) -> bool {
        let busy = self.worked.swap(false, Ordering::Relaxed) || ready > 0;
        let since = self.since.load(Ordering::Relaxed);
        let time = since >= MOST_BEATS || (since > 0 && !busy);
        let next = if time { u32::from(busy) } else { since + u32::from(busy || since > 0) };
        self.since.store(next, Ordering::Relaxed);
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_once_after_each_burst() {
        let thrift = Thrift::default();
        assert!(!thrift.is_time(0), "nothing happened");
        thrift.worked();
        assert!(!thrift.is_time(0) && thrift.is_time(0), "the beat after the last work");
        assert!(!thrift.is_time(0) && !thrift.is_time(0), "once");
        thrift.worked();
        assert!(!thrift.is_time(5) && !thrift.is_time(5), "deliveries wait");
        assert!(thrift.is_time(0));
    }

    #[test]
    fn work_that_never_pauses_gives_back_now_and_then() {
        let thrift = Thrift::default();
        let times = (0..10 * MOST_BEATS).filter(|_| {
            thrift.worked();
            thrift.is_time(3)
        });
        assert_eq!(times.count(), 9);
    }
}
