//! Lengths of time as people say them.

use ps_core::time::Span;

const UNITS: [(&str, i64); 4] = [("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1000)];

/// `1 hour 30 minutes`: the two greatest units that matter, rounded down, so that nothing is promised that does not hold.
pub(crate) fn length(span: Span) -> String {
    let mut rest = span.as_millis();
    let mut parts = Vec::new();
    for (unit, size) in UNITS {
        let count = rest / size;
        rest %= size;
        if count > 0 {
            parts.push(format!("{count} {unit}{}", if count == 1 { "" } else { "s" }));
        }
        // Two units at most, and only neighbours: "3 days 20 seconds" says no more than "3 days".
        if parts.len() == 2 || (parts.len() == 1 && count == 0) {
            break;
        }
    }
    if parts.is_empty() { "less than a second".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_read_as_people_say_them() {
        let cases = [
            ("1h", "1 hour"),
            ("90m", "1 hour 30 minutes"),
            ("45s", "45 seconds"),
            ("26h", "1 day 2 hours"),
            ("1h20s", "1 hour"),
            ("61s", "1 minute 1 second"),
            ("1h1m1s", "1 hour 1 minute"),
            ("10d", "10 days"),
            ("999ms", "less than a second"),
        ];
        for (span, words) in cases {
            assert_eq!(length(Span::parse(span).unwrap()), words, "{span}");
        }
    }
}
