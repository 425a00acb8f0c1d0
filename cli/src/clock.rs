//! The one place that reads the clock. It only words hints: a client never refuses by its own time.

use std::time::{SystemTime, UNIX_EPOCH};

use ps_core::time::{Span, Timestamp};

/// Now, by this machine's clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A point in time for people: `2026-11-22T17:26:48Z (in 3h59m)`.
pub(crate) fn until(at: Timestamp, now: Timestamp) -> String {
    let left = at.since(now);
    let unit = if left >= Span::from_secs(3600) { 60_000 } else { 1000 };
    let rounded = Span::from_millis(left.as_millis() / unit * unit);
    if rounded == Span::ZERO { at.to_string() } else { format!("{at} (in {rounded})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_says_how_far_it_is() {
        let now = Timestamp::from_secs(1_800_000_000);
        assert_eq!(until(now + Span::from_secs(14_399), now), "2027-01-15T11:59:59Z (in 3h59m)");
        assert_eq!(until(now + Span::from_millis(61_500), now), "2027-01-15T08:01:01Z (in 1m1s)");
        assert_eq!(until(now - Span::from_secs(5), now), "2027-01-15T07:59:55Z");
    }
}
