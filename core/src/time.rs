//! Points and spans of time, as whole milliseconds. Rules take them as arguments; only a shell reads a clock.

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z. Serialised as that number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The epoch itself.
    pub const EPOCH: Self = Self(0);
    /// Later than anything that happens here; small enough for JavaScript and for RFC 3339 (year 9999).
    pub const MAX: Self = Self(253_402_300_799_000);

    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From whole seconds since the epoch.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        let gap = self.0.saturating_sub(earlier.0);
        Span(if gap > 0 { gap } else { 0 })
    }

    /// Parses RFC 3339, as Kubernetes and Vault write it (any fraction, any offset).
    ///
    /// # Errors
    /// None if the text is not a date and time with an offset, or out of range.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Self(t.as_millisecond()))
    }
}

impl Add<Span> for Timestamp {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0).min(Self::MAX.0))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

/// RFC 3339 in UTC, to the second, as Kubernetes writes `metav1.Time`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) => write!(f, "{}", t.strftime("%Y-%m-%dT%H:%M:%SZ")),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}+{}ms", self.0.rem_euclid(1000))
    }
}

/// A length of time, never negative: whole milliseconds. Serialised as that number; a negative one is refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(try_from = "i64")]
pub struct Span(i64);

impl TryFrom<i64> for Span {
    type Error = &'static str;

    fn try_from(millis: i64) -> Result<Self, Self::Error> {
        if millis < 0 { Err("a length of time can't be negative") } else { Ok(Self(millis)) }
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// From milliseconds; a negative number counts as zero.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(if millis > 0 { millis } else { 0 })
    }

    /// From seconds; a negative number counts as zero.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self::from_millis(secs.saturating_mul(1000))
    }

    /// Milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The same as a standard duration.
    #[must_use]
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.unsigned_abs())
    }

    /// Parses the Go durations that Kubernetes manifests use: `90s`, `4h`, `1h30m`, `250ms`. Also `d` for 24 hours.
    ///
    /// # Errors
    /// None if the text is empty, has an unknown unit, a sign or a fraction, or exceeds a hundred years.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let mut total = 0_i64;
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, tail) = rest.split_at_checked(digits)?;
            let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
            let (unit, next) = tail.split_at_checked(letters)?;
            let factor = match unit {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
            total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(factor)?)?;
            rest = next;
        }
        (!text.is_empty() && total <= 100 * 366 * 86_400_000).then_some(Self(total))
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// Written as people say it, and as [`Span::parse`] reads it: `1h30m`, `45s`, `0s`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_manifests_say() {
        assert_eq!(Span::parse("1h30m"), Some(Span::from_secs(5400)));
        assert_eq!(Span::parse("250ms"), Some(Span::from_millis(250)));
        for bad in ["", "5", "h", "1.5h", "-1h", "1y", "1h 2m", "99999999999999999999s", "200000000h"] {
            assert_eq!(Span::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn reads_vault_times_of_any_fraction() {
        let nine = Timestamp::parse_rfc3339("2026-11-22T16:24:09.123456789Z");
        assert_eq!(nine, Timestamp::parse_rfc3339("2026-11-22T17:24:09.123+01:00"));
        assert_eq!(nine.map(|t| t.to_string()).as_deref(), Some("2026-11-22T16:24:09Z"));
    }

    #[test]
    fn neither_points_nor_spans_overflow_or_go_below_zero() {
        assert_eq!(Span::from_millis(-1), Span::ZERO);
        assert_eq!(Span::from_secs(i64::MAX) + Span::from_secs(1), Span::from_millis(i64::MAX));
        assert_eq!(Timestamp::MAX + Span::from_secs(1), Timestamp::MAX);
        assert_eq!(Timestamp::from_secs(5).since(Timestamp::from_secs(9)), Span::ZERO);
        assert_eq!(Timestamp::from_millis(i64::MIN).since(Timestamp::from_secs(9)), Span::ZERO);
        assert_eq!(Timestamp::from_secs(9) - Span::from_secs(4), Timestamp::from_secs(5));
        assert_eq!(Timestamp::from_secs(9).since(Timestamp::from_secs(5)).to_string(), "4s");
        assert_eq!(Span::ZERO.to_string(), "0s");
    }

    #[test]
    fn a_span_is_stored_as_its_milliseconds_and_a_negative_one_is_refused() {
        for (text, ms) in [("0", 0), ("1500", 1500), ("9223372036854775807", i64::MAX)] {
            let span: Span = serde_json::from_str(text).unwrap();
            assert_eq!(span, Span::from_millis(ms));
            assert_eq!(serde_json::to_string(&span).unwrap(), text);
        }
        for bad in ["-1", "-9223372036854775808", "9223372036854775808", "1.5", "null", r#""4h""#] {
            assert!(serde_json::from_str::<Span>(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_span_reads_back_what_it_writes(ms in 0_i64..=100 * 366 * 86_400_000) {
            let span = Span::from_millis(ms);
            prop_assert_eq!(Span::parse(&span.to_string()), Some(span));
        }

        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _parsed = Span::parse(&text);
            let _time = Timestamp::parse_rfc3339(&text);
        }
    }
}
