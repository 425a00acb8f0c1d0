//! How long to wait before something that failed is tried again.

use crate::error::Class;
use crate::time::{Span, Timestamp};

/// The next try after a failure at `now` of something that fails since `since`.
///
/// The wait is half of the time that it has failed for already, so it grows by half each time: from one second to one
/// minute for what may heal by itself, from half a minute to ten for what a person must change. `jitter` (any number)
/// moves it by up to a quarter either way, so that a thousand deliveries do not come back at once.
#[must_use]
pub fn next_try(class: Class, since: Timestamp, now: Timestamp, jitter: u16) -> Timestamp {
    let (least, most) = match class {
        Class::Transient => (1000, 60_000),
        Class::Permanent | Class::Misconfigured | Class::Denied => (30_000, 600_000),
    };
    let wait = (now.since(since).as_millis() / 2).clamp(least, most);
    let swing = wait / 2 * i64::from(jitter) / i64::from(u16::MAX);
    now + Span::from_millis(wait - wait / 4 + swing)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_are_bounded_and_never_hot(since in 0_i64..1_000_000, failing in 0_i64..10_000_000, jitter: u16) {
            let (since, now) = (Timestamp::from_millis(since), Timestamp::from_millis(since + failing));
            let soft = next_try(Class::Transient, since, now, jitter).since(now).as_millis();
            let hard = next_try(Class::Denied, since, now, jitter).since(now).as_millis();
            prop_assert!((750..=75_000).contains(&soft), "{soft}");
            prop_assert!((22_500..=750_000).contains(&hard), "{hard}");
        }
    }
}
