//! The system's clock and randomness, for the shells.

use std::time::{SystemTime, UNIX_EPOCH};

use ps_core::error::{Class, Fault};
use ps_core::ports::{Clock, Random};
use ps_core::time::Timestamp;

/// The wall clock.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// [`now`] as a port.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        now()
    }
}

/// The operating system's generator.
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), Fault> {
        getrandom::fill(out)
            .map_err(|_| Fault::new(Class::Transient, "no-randomness", "the system gives no randomness"))
    }
}
