//! What was served, as counters with fixed labels. No path, no id, no address.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A verb of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// State and preview.
    Lookup,
    /// Claim, and claim again.
    Claim,
    /// Erase what was claimed.
    Acknowledge,
    /// "Not meant for me".
    Decline,
    /// E-mailed codes and sign-ins.
    Code,
    /// Anything else under `/api/`.
    Unknown,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Lookup, Self::Claim, Self::Acknowledge, Self::Decline, Self::Code, Self::Unknown];

    /// Its name in a path and as a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Claim => "claim",
            Self::Acknowledge => "acknowledge",
            Self::Decline => "decline",
            Self::Code => "code",
            Self::Unknown => "unknown",
        }
    }
}

/// Every code that is counted: `ok`, the codes of refusals, and `method` for what was not a POST.
pub const CODES: [&str; 12] = [
    "ok",
    "bad-request",
    "not-available",
    "wrong-code",
    "wrong-proof",
    "verification-due",
    "not-found",
    "claimed",
    "gone",
    "slow-down",
    "not-ready",
    "method",
];

/// The counters of one process.
#[derive(Debug, Default)]
pub struct Counters {
    verbs: [[AtomicU64; CODES.len()]; Verb::ALL.len()],
    /// Files of the page served.
    pub pages: AtomicU64,
    /// Requests whose path or query held a link's token. Whoever logs what passes by has it.
    pub exposed: AtomicU64,
    /// Connections accepted since the start.
    pub accepted: AtomicU64,
    /// Connections closed at once because their client had too many.
    pub turned_away: AtomicU64,
    /// Connections closed to make room for newer ones.
    pub displaced: AtomicU64,
    /// Connections open now.
    pub open: AtomicI64,
    /// Handlers that panicked. Any other value than 0 is a bug worth an alert.
    pub panics: AtomicU64,
}

impl Counters {
    /// Counts one answer. A code that is not in [`CODES`] is not counted.
    pub fn count(&self, verb: Verb, code: &str) {
        let row = Verb::ALL.iter().position(|v| *v == verb);
        let column = CODES.iter().position(|c| *c == code);
        if let (Some(row), Some(column)) = (row, column)
            && let Some(cell) = self.verbs.get(row).and_then(|cells| cells.get(column))
        {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often `verb` was answered with `code`.
    #[must_use]
    pub fn answered(&self, verb: Verb, code: &str) -> u64 {
        self.rows().find(|(v, c, _)| *v == verb && *c == code).map_or(0, |(_, _, n)| n)
    }

    fn rows(&self) -> impl Iterator<Item = (Verb, &'static str, u64)> {
        Verb::ALL.into_iter().zip(&self.verbs).flat_map(|(verb, cells)| {
            CODES.into_iter().zip(cells).map(move |(code, cell)| (verb, code, cell.load(Ordering::Relaxed)))
        })
    }

    /// The text that Prometheus reads (exposition format 0.0.4).
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(4096);
        out.push_str("# HELP password_sender_gateway_requests_total API requests by verb and code.\n");
        out.push_str("# TYPE password_sender_gateway_requests_total counter\n");
        for (verb, code, n) in self.rows() {
            // Writing to a string cannot fail.
            writeln!(out, "password_sender_gateway_requests_total{{verb=\"{}\",code=\"{code}\"}} {n}", verb.as_str())
                .ok();
        }
        for (name, help, kind, value) in [
            ("pages_total", "Files of the page served.", "counter", signed(&self.pages)),
            (
                "exposed_links_total",
                "Requests with a link's token in the path or query.",
                "counter",
                signed(&self.exposed),
            ),
            ("connections_total", "Connections accepted.", "counter", signed(&self.accepted)),
            ("connections_turned_away_total", "Connections closed at once.", "counter", signed(&self.turned_away)),
            (
                "connections_displaced_total",
                "Connections closed to make room for newer ones.",
                "counter",
                signed(&self.displaced),
            ),
            ("connections", "Connections open.", "gauge", self.open.load(Ordering::Relaxed)),
            ("panics_total", "Handlers that panicked.", "counter", signed(&self.panics)),
        ] {
            writeln!(out, "# HELP password_sender_gateway_{name} {help}\n# TYPE password_sender_gateway_{name} {kind}")
                .and_then(|()| writeln!(out, "password_sender_gateway_{name} {value}"))
                .ok();
        }
        out
    }
}

fn signed(value: &AtomicU64) -> i64 {
    i64::try_from(value.load(Ordering::Relaxed)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use ps_core::link::State;
    use ps_core::service::Refusal;
    use ps_core::time::Span;

    use super::*;

    #[test]
    fn every_refusal_has_a_column() {
        let retry_after = Span::ZERO;
        let all = [
            Refusal::BadRequest,
            Refusal::TooLarge,
            Refusal::NotJson,
            Refusal::NotAvailable,
            Refusal::WrongCode { retry_after },
            Refusal::WrongProof { attempts_left: 1, retry_after },
            Refusal::VerificationDue,
            Refusal::NotFound,
            Refusal::Claimed,
            Refusal::Gone(State::Expired),
            Refusal::SlowDown { retry_after },
            Refusal::NotReady,
        ];
        let counters = Counters::default();
        for refusal in all {
            let before = counters.answered(Verb::Claim, refusal.code());
            counters.count(Verb::Claim, refusal.code());
            assert_eq!(counters.answered(Verb::Claim, refusal.code()), before + 1, "{refusal:?}");
        }
        let text = counters.render();
        assert!(text.contains("requests_total{verb=\"claim\",code=\"bad-request\"} 3\n"), "{text}");
        assert!(text.contains("\npassword_sender_gateway_connections 0\n"), "{text}");
    }
}
