//! Which events are there, and which are missing: one stream of sequence numbers per writer.
//!
//! Memory is bounded: [`MAX_STREAMS`] streams, [`RECENT`] digests in each, [`MAX_OPEN`] gaps in all.

use std::collections::{HashMap, VecDeque};

use ps_core::audit::{Event, Writer};
use ps_core::encode::{push_lp, sha256};

use crate::report::Gap;

/// How many streams are followed.
const MAX_STREAMS: usize = 250_000;
/// How many of a stream's latest events are kept as digests, to compare repetitions with.
const RECENT: usize = 64;
/// How many gaps are kept.
const MAX_OPEN: usize = 1000;

/// What an event is to its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Not seen before.
    New,
    /// Seen before, with the same content.
    Repeated,
    /// Seen before; too long ago to say whether with the same content.
    RepeatedLate,
    /// Seen before with other content.
    Contradicts,
    /// Its stream is not followed.
    Unfollowed,
}

type Name = [u8; 16];

#[derive(Default)]
struct Stream {
    next: u64,
    recent: VecDeque<(u64, Name)>,
}

/// All streams of a trail.
#[derive(Default)]
pub(crate) struct Streams {
    streams: HashMap<Name, Stream>,
    open: HashMap<Name, Vec<Gap>>,
    opened: usize,
    further: u64,
}

impl Streams {
    /// Takes the next event of the trail.
    pub(crate) fn see(&mut self, event: &Event) -> Sight {
        let name = name(event);
        if !self.streams.contains_key(&name) && self.streams.len() >= MAX_STREAMS {
            return Sight::Unfollowed;
        }
        let stream = self.streams.entry(name).or_default();
        let digest = content(event);
        if event.seq >= stream.next {
            let expected = std::mem::replace(&mut stream.next, event.seq.saturating_add(1));
            stream.remember(event.seq, digest);
            if event.seq > expected {
                self.open_gap(name, gap(event, expected));
            }
            return Sight::New;
        }
        if self.close(name, event.seq) {
            if let Some(stream) = self.streams.get_mut(&name) {
                stream.remember(event.seq, digest);
            }
            return Sight::New;
        }
        match stream_recent(self.streams.get(&name), event.seq) {
            Some(known) if known == digest => Sight::Repeated,
            Some(_) => Sight::Contradicts,
            None => Sight::RepeatedLate,
        }
    }

    fn open_gap(&mut self, name: Name, gap: Gap) {
        if self.opened < MAX_OPEN {
            self.opened += 1;
            self.open.entry(name).or_default().push(gap);
        } else {
            self.further += 1;
        }
    }

    /// An event that came late fills its gap, or splits it.
    fn close(&mut self, name: Name, seq: u64) -> bool {
        let Some(gaps) = self.open.get_mut(&name) else { return false };
        let Some(at) = gaps.iter().position(|gap| gap.expected <= seq && seq < gap.found) else { return false };
        let gap = gaps.swap_remove(at);
        self.opened -= 1;
        let halves = [(gap.expected, seq), (seq.saturating_add(1), gap.found)];
        for (expected, found) in halves.into_iter().filter(|(expected, found)| expected < found) {
            self.open_gap(name, Gap { expected, found, ..gap.clone() });
        }
        true
    }

    /// The gaps that stayed open, in order, and how many there are beyond those.
    pub(crate) fn into_gaps(self) -> (Vec<Gap>, u64) {
        let mut gaps = self.open.into_values().flatten().collect::<Vec<_>>();
        gaps.sort_by(|a, b| {
            let key = |g: &Gap| (g.delivery.clone(), g.incarnation.clone(), g.writer, g.attempt, g.expected);
            key(a).cmp(&key(b))
        });
        (gaps, self.further)
    }
}

impl Stream {
    fn remember(&mut self, seq: u64, digest: Name) {
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((seq, digest));
    }
}

fn stream_recent(stream: Option<&Stream>, seq: u64) -> Option<Name> {
    stream?.recent.iter().rev().find(|(known, _)| *known == seq).map(|(_, digest)| *digest)
}

/// The operator counts per incarnation, a record per attempt.
fn attempt(event: &Event) -> Option<u32> {
    match event.writer {
        Writer::Operator => None,
        Writer::Record => Some(event.attempt),
    }
}

fn gap(event: &Event, expected: u64) -> Gap {
    Gap {
        delivery: event.delivery.clone(),
        incarnation: event.incarnation.clone(),
        attempt: attempt(event),
        writer: event.writer,
        expected,
        found: event.seq,
    }
}

fn name(event: &Event) -> Name {
    let mut parts = Vec::new();
    for part in [&event.delivery.namespace, &event.delivery.name, &event.incarnation] {
        push_lp(&mut parts, part.as_bytes());
    }
    match attempt(event) {
        None => push_lp(&mut parts, b"operator"),
        Some(attempt) => push_lp(&mut parts, &attempt.to_be_bytes()),
    }
    half(sha256(&parts))
}

fn content(event: &Event) -> Name {
    // An event that was read from JSON can be written as JSON; an empty digest would only compare equal to another such.
    half(sha256(&serde_json::to_vec(event).unwrap_or_default()))
}

fn half(digest: [u8; 32]) -> Name {
    digest.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ps_core::audit::EventKind;
    use ps_core::ids::Key;
    use ps_core::time::Timestamp;

    use super::*;

    fn event(writer: Writer, attempt: u32, seq: u64) -> Event {
        Event {
            delivery: Key::new("ns", "d"),
            incarnation: "i".into(),
            attempt,
            writer,
            seq,
            at: Timestamp::EPOCH,
            kind: EventKind::Issued,
            reason: String::new(),
            facts: BTreeMap::new(),
        }
    }

    #[test]
    fn the_operator_counts_across_attempts_and_a_record_within_one() {
        let mut streams = Streams::default();
        for (attempt, seq) in [(0, 0), (1, 1), (2, 2)] {
            assert_eq!(streams.see(&event(Writer::Operator, attempt, seq)), Sight::New);
        }
        for (attempt, seq) in [(1, 0), (2, 0), (1, 1)] {
            assert_eq!(streams.see(&event(Writer::Record, attempt, seq)), Sight::New);
        }
        assert_eq!(streams.into_gaps(), (vec![], 0));
    }

    #[test]
    fn gaps_are_named_and_late_events_fill_them() {
        let mut streams = Streams::default();
        for seq in [2, 9, 5] {
            assert_eq!(streams.see(&event(Writer::Operator, 1, seq)), Sight::New);
        }
        assert_eq!(streams.see(&event(Writer::Operator, 1, 5)), Sight::Repeated);
        let (gaps, further) = streams.into_gaps();
        let ranges = gaps.iter().map(|g| (g.expected, g.found)).collect::<Vec<_>>();
        assert_eq!((ranges, further), (vec![(0, 2), (3, 5), (6, 9)], 0));
        assert_eq!(gaps[1].to_string(), "missing: ns/d (i), events 3 to 4 of the operator");
    }

    #[test]
    fn repetitions_are_compared() {
        let mut streams = Streams::default();
        streams.see(&event(Writer::Operator, 1, 0));
        assert_eq!(streams.see(&event(Writer::Operator, 1, 0)), Sight::Repeated);
        let other = Event { reason: "else".into(), ..event(Writer::Operator, 1, 0) };
        assert_eq!(streams.see(&other), Sight::Contradicts);
        for seq in 1..=64 {
            streams.see(&event(Writer::Operator, 1, seq));
        }
        assert_eq!(streams.see(&other), Sight::RepeatedLate);
    }

    #[test]
    fn the_greatest_sequence_number_overflows_nothing() {
        let mut streams = Streams::default();
        assert_eq!(streams.see(&event(Writer::Record, 1, u64::MAX)), Sight::New);
        streams.see(&event(Writer::Record, 1, u64::MAX));
        streams.see(&event(Writer::Record, 1, 7));
        assert_eq!(streams.into_gaps().0.len(), 2);
    }

    #[test]
    fn gaps_beyond_the_bound_are_counted() {
        let mut streams = Streams::default();
        for seq in 1..=1100_u64 {
            streams.see(&event(Writer::Operator, 1, seq * 2));
        }
        let (gaps, further) = streams.into_gaps();
        assert_eq!((gaps.len(), further), (MAX_OPEN, 100));
    }
}
