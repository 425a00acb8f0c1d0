//! One line of the trail: its exact bytes, and the strict reading of them.

use std::fmt;

use ps_core::audit::Event;
use ps_core::encode::sha256;
use serde::{Deserialize, Serialize};

use crate::report::Defect;

/// The longest line, in bytes, without its newline.
pub const MAX_LINE: usize = 64 * 1024;

const VERSION: u32 = 1;
const SUM: &str = ",\"sum\":\"";
const SUM_HEX: usize = 64;
/// `,"sum":"`, 64 hex digits, `"}`.
const SUFFIX: usize = SUM.len() + SUM_HEX + 2;

/// The text whose SHA-256 is the first line's `prev`.
#[must_use]
pub fn genesis(ledger: &str) -> String {
    format!("password-sender audit v1 {ledger}")
}

/// Where a chain stands: what the next line must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// How many lines there are; the next line's `n`.
    pub n: u64,
    /// SHA-256, in hex, of the last line; the next line's `prev`.
    pub hash: String,
}

impl Head {
    /// The head of an empty trail.
    #[must_use]
    pub fn empty(ledger: &str) -> Self {
        Self { n: 0, hash: hash(genesis(ledger).as_bytes()) }
    }

    /// Reads `12:9f86…`, as [`Head`] prints itself.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (n, hash) = text.trim().split_once(':')?;
        let is_hash = hash.len() == SUM_HEX && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        is_hash.then_some(Self { n: n.parse().ok()?, hash: hash.to_owned() })
    }

    /// The head once `line` (without newline) follows.
    #[must_use]
    pub(crate) fn after(&self, line: &[u8]) -> Self {
        Self { n: self.n.saturating_add(1), hash: hash(line) }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.n, self.hash)
    }
}

/// SHA-256 in hex.
pub(crate) fn hash(bytes: &[u8]) -> String {
    hex::encode(sha256(bytes))
}

/// A line as it was read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    pub(crate) v: u32,
    pub(crate) n: u64,
    pub(crate) ledger: String,
    pub(crate) id: String,
    pub(crate) event: Event,
    pub(crate) prev: String,
    pub(crate) sum: String,
}

/// The same without its `sum`, in the order in which it is written.
#[derive(Serialize)]
struct Bare<'a> {
    v: u32,
    n: u64,
    ledger: &'a str,
    id: &'a str,
    event: &'a Event,
    prev: &'a str,
}

/// The bytes of the line that follows `head`, without newline. None if it would be longer than [`MAX_LINE`].
pub(crate) fn encode(head: &Head, ledger: &str, event: &Event) -> Option<Vec<u8>> {
    let id = event.id();
    render(&Bare { v: VERSION, n: head.n, ledger, id: &id, event, prev: &head.hash })
}

fn render(bare: &Bare<'_>) -> Option<Vec<u8>> {
    let mut out = serde_json::to_vec(bare).ok()?;
    let sum = hash(&out);
    out.pop();
    out.extend_from_slice(SUM.as_bytes());
    out.extend_from_slice(sum.as_bytes());
    out.extend_from_slice(b"\"}");
    (out.len() <= MAX_LINE).then_some(out)
}

/// Reads a line (without newline): it must be, byte by byte, what [`encode`] writes.
pub(crate) fn decode(bytes: &[u8]) -> Result<Line, Defect> {
    if bytes.len() > MAX_LINE {
        return Err(Defect::TooLong);
    }
    let line: Line = serde_json::from_slice(bytes).map_err(|_| Defect::NotALine)?;
    if line.v != VERSION {
        return Err(Defect::Version(line.v));
    }
    if !sum_is_right(bytes, &line.sum) {
        return Err(Defect::Altered);
    }
    if line.id != line.event.id() {
        return Err(Defect::WrongId);
    }
    let bare = Bare { v: line.v, n: line.n, ledger: &line.ledger, id: &line.id, event: &line.event, prev: &line.prev };
    if render(&bare).as_deref() != Some(bytes) {
        return Err(Defect::NotCanonical);
    }
    Ok(line)
}

fn sum_is_right(bytes: &[u8], sum: &str) -> bool {
    let Some(content) = bytes.len().checked_sub(SUFFIX).and_then(|end| bytes.get(..end)) else { return false };
    let mut whole = content.to_vec();
    whole.push(b'}');
    hash(&whole) == sum
}

/// The event as it is written: texts that grew out of all proportion are cut, the same way each time, so that one
/// of them can never stop the trail.
pub(crate) fn bounded(event: &Event) -> Event {
    const REASON: usize = 1024;
    const FACTS: usize = 16;
    const NAME: usize = 64;
    const VALUE: usize = 256;
    let mut event = event.clone();
    event.reason = cut(&event.reason, REASON);
    event.facts = event.facts.iter().take(FACTS).map(|(name, value)| (cut(name, NAME), cut(value, VALUE))).collect();
    event
}

/// At most `max` characters, the last of them `…` if there were more.
fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(max.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ps_core::audit::{EventKind, Writer};
    use ps_core::ids::Key;
    use ps_core::time::Timestamp;

    use super::*;

    fn event() -> Event {
        Event {
            delivery: Key::new("default", "alice-db"),
            incarnation: "0123456789abcdef".into(),
            attempt: 1,
            writer: Writer::Operator,
            seq: 3,
            at: Timestamp::from_millis(1_795_000_000_123),
            kind: EventKind::Delivered,
            reason: "the mail was accepted".into(),
            facts: BTreeMap::new(),
        }
    }

    #[test]
    fn the_bytes_of_a_line_are_fixed() {
        let head = Head::empty("ledger-1");
        let line = encode(&head, "ledger-1", &event()).unwrap();
        let text = String::from_utf8(line.clone()).unwrap();
        assert!(text.starts_with(r#"{"v":1,"n":0,"ledger":"ledger-1","id":""#), "{text}");
        let prev = format!(r#","prev":"{}","sum":""#, hash(b"password-sender audit v1 ledger-1"));
        assert!(text.contains(&prev), "{text}");
        // A line that anybody can check: this digest may change only together with the version.
        assert_eq!(hash(&line), "55051131e4598d5c9023baa2135e9019888ed7d2005bb7169a35f700cfe4c6be");
        assert_eq!(decode(&line).unwrap().event, event());
    }

    #[test]
    fn heads_read_back_what_they_write() {
        let head = Head::empty("x").after(b"line");
        assert_eq!(Head::parse(&head.to_string()), Some(head));
        for bad in ["", "1", "1:", "1:AB", "x:00", ":", "-1:9f86"] {
            assert_eq!(Head::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_not_written_by_us_is_refused_with_its_reason() {
        let line = encode(&Head::empty("l"), "l", &event()).unwrap();
        let text = String::from_utf8(line).unwrap();
        let spaced = text.replacen("\"v\":1", "\"v\": 1", 1);
        assert_eq!(decode(spaced.as_bytes()).unwrap_err(), Defect::Altered);
        assert_eq!(decode(text.replacen("Delivered", "Revoked", 1).as_bytes()).unwrap_err(), Defect::Altered);
        assert_eq!(decode(text.replacen("\"v\":1", "\"v\":2", 1).as_bytes()).unwrap_err(), Defect::Version(2));
        assert_eq!(decode(text.replacen("\"seq\"", "\"seqx\"", 1).as_bytes()).unwrap_err(), Defect::NotALine);
        assert_eq!(decode(b"{}").unwrap_err(), Defect::NotALine);
        assert_eq!(decode(&vec![b'x'; MAX_LINE + 1]).unwrap_err(), Defect::TooLong);
        // Re-summed, but not in our form or with an id that the event does not derive.
        let resum = |body: &str| {
            let bare = body.split(",\"sum\"").next().unwrap();
            format!("{bare},\"sum\":\"{}\"}}", hash(format!("{bare}}}").as_bytes()))
        };
        assert_eq!(decode(resum(&spaced).as_bytes()).unwrap_err(), Defect::NotCanonical);
        let other = text.replacen("\"seq\":3", "\"seq\":4", 1);
        assert_eq!(decode(resum(&other).as_bytes()).unwrap_err(), Defect::WrongId);
    }

    #[test]
    fn long_texts_are_cut_the_same_way_each_time_and_always_fit() {
        let mut long = event();
        long.reason = "\u{1}".repeat(100_000);
        long.facts = (0..100).map(|i| (format!("{i}{}", "\u{1}".repeat(999)), "\u{1}".repeat(9999))).collect();
        assert_eq!(encode(&Head::empty("l"), "l", &long), None);
        let bound = bounded(&long);
        assert_eq!(bounded(&bound), bound);
        assert!(encode(&Head::empty("l"), "l", &bound).is_some());
        assert_eq!(bounded(&event()), event());
    }
}
