//! A rate limit per client in constant memory, however many clients there are.
//!
//! One bucket per client, kept as the time at which it will be full again (GCRA, ITU-T I.371). Buckets live in a table
//! of fixed size, sets of eight chosen by a keyed hash. A newcomer to a full set takes the place of the bucket that
//! is nearest to full: if that one is full, nothing is lost; else one client is forgiven a little.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::client::Client;

/// Sets in the table. 2048 × 8 buckets of 32 bytes are half a megabyte.
const SETS: usize = 2048;
const WAYS: usize = 8;

/// How fast one client may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests per second in the long run; at least 1.
    pub per_second: u32,
    /// Requests at once; at least 1.
    pub burst: u32,
}

#[derive(Clone, Copy, Default)]
struct Bucket {
    client: u128,
    /// When it will be full again, in microseconds since the start; 0 is full for ever.
    full_at: u64,
}

/// The table.
pub struct Limiter {
    spacing: u64,
    room: u64,
    hasher: RandomState,
    sets: Mutex<Vec<[Bucket; WAYS]>>,
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter")
            .field("spacing_us", &self.spacing)
            .field("room_us", &self.room)
            .finish_non_exhaustive()
    }
}

impl Limiter {
    /// An empty table.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        let spacing = 1_000_000 / u64::from(rate.per_second.clamp(1, 1_000_000));
        Self {
            spacing,
            room: spacing.saturating_mul(u64::from(rate.burst.max(1))),
            hasher: RandomState::new(),
            sets: Mutex::new(vec![[Bucket::default(); WAYS]; SETS]),
        }
    }

    /// Counts one request of `client` at `now`, a time since some fixed start that never runs backwards.
    ///
    /// # Errors
    /// How long to wait; then nothing was counted.
    pub fn take(&self, client: Client, now: Duration) -> Result<(), Duration> {
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let hash = self.hasher.hash_one(client.bits());
        let place = usize::try_from(hash % SETS as u64).unwrap_or(0);
        // A panic cannot happen while it is held; were it to, the table would still be a table.
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(set) = sets.get_mut(place) else { return Ok(()) };
        let known = set.iter().position(|bucket| bucket.client == client.bits());
        let bucket = match known {
            Some(index) => set.get_mut(index),
            None => set.iter_mut().min_by_key(|bucket| bucket.full_at),
        };
        let Some(bucket) = bucket else { return Ok(()) };
        if known.is_none() {
            *bucket = Bucket { client: client.bits(), full_at: 0 };
        }
        let full_at = bucket.full_at.max(now).saturating_add(self.spacing);
        let debt = full_at.saturating_sub(now);
        if debt > self.room {
            return Err(Duration::from_micros(debt - self.room));
        }
        bucket.full_at = full_at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn client(n: u32) -> Client {
        Client::from(IpAddr::V4(Ipv4Addr::from_bits(n)))
    }

    #[test]
    fn a_burst_then_a_steady_rate() {
        let limiter = Limiter::new(Rate { per_second: 10, burst: 5 });
        let start = Duration::from_secs(100);
        for _ in 0..5 {
            assert_eq!(limiter.take(client(1), start), Ok(()));
        }
        assert_eq!(limiter.take(client(1), start), Err(Duration::from_millis(100)));
        assert_eq!(limiter.take(client(2), start), Ok(()), "another client is not affected");
        assert_eq!(limiter.take(client(1), start + Duration::from_millis(100)), Ok(()));
        assert!(limiter.take(client(1), start + Duration::from_millis(150)).is_err());
        let rested = start + Duration::from_secs(10);
        assert_eq!((0..9).filter(|_| limiter.take(client(1), rested).is_ok()).count(), 5);
    }

    #[test]
    fn a_flood_of_clients_neither_grows_the_table_nor_forgives_who_keeps_asking() {
        let limiter = Limiter::new(Rate { per_second: 1, burst: 3 });
        let now = Duration::from_secs(5);
        for _ in 0..3 {
            assert_eq!(limiter.take(client(0), now), Ok(()));
        }
        // Fewer newcomers than places: the deepest in debt stays.
        for n in 1..4000 {
            assert_eq!(limiter.take(client(n), now), Ok(()));
        }
        assert!(limiter.take(client(0), now).is_err());
        for n in 0..300_000 {
            let _verdict = limiter.take(client(n), now);
        }
        let sets = limiter.sets.lock().expect("not poisoned");
        assert_eq!((sets.len(), sets.capacity()), (SETS, SETS));
    }
}
