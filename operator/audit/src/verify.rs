//! Verification of a trail, or of several pods' trails together, with nothing but their bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use ps_core::audit::Event;
use ps_core::time::Timestamp;

use crate::line::{Head, Line, decode, hash};
use crate::lines::{Lines, Raw};
use crate::report::{Broken, Defect, Report, Together};
use crate::streams::{Sight, Streams};

/// How many defects are kept of a trail.
const MAX_BROKEN: usize = 1000;

/// Verifies a whole trail. Whatever the bytes are, the answer is a report; memory is bounded.
///
/// `expect` is a head that was kept elsewhere: the trail must have had it after its first `n` lines. Without one,
/// lines that were cut off at the end, or a chain that was made up as a whole, cannot be told.
///
/// # Errors
/// If `input` can't be read.
pub fn verify(input: impl BufRead, expect: Option<&Head>) -> io::Result<Report> {
    let mut streams = Streams::default();
    let mut trail = Trail::new(input, expect);
    while trail.advance()? {
        trail.judge(&mut streams);
    }
    let mut report = trail.finish();
    let (gaps, further) = streams.into_gaps();
    report.gaps = gaps;
    report.further += further;
    Ok(report)
}

/// [`verify`] for a file.
///
/// # Errors
/// If it can't be opened or read.
pub fn verify_file(path: &Path, expect: Option<&Head>) -> io::Result<Report> {
    verify(BufReader::with_capacity(64 * 1024, File::open(path)?), expect)
}

/// Verifies several trails of one ledger as one: each pod that led wrote its own. Each must be in order by itself, with its
/// own head; an event counts wherever it is, so only what none of them has is missing.
///
/// They are read side by side in order of time, so that memory stays bounded; each may come with a head as for [`verify`].
///
/// # Errors
/// If one of them can't be read.
pub fn verify_together<R: BufRead>(inputs: Vec<(R, Option<&Head>)>) -> io::Result<Together> {
    let mut streams = Streams::default();
    let mut trails: Vec<_> = inputs.into_iter().map(|(input, expect)| Trail::new(input, expect)).collect();
    for trail in &mut trails {
        trail.advance()?;
    }
    loop {
        // The first line of all names the ledger of all.
        if let Some(ledger) = trails.iter().find_map(|trail| trail.report.ledger.clone()) {
            trails.iter_mut().for_each(|trail| trail.belongs_to(&ledger));
        }
        let Some(next) = trails.iter_mut().filter(|trail| trail.next.is_some()).min_by_key(|trail| trail.time) else {
            break;
        };
        next.judge(&mut streams);
        next.advance()?;
    }
    let trails: Vec<Report> = trails.into_iter().map(Trail::finish).collect();
    let (gaps, further) = streams.into_gaps();
    Ok(Together { trails, gaps, further })
}

/// One trail, read line by line: its chain is checked as it is read, its events when it is their turn.
struct Trail<'a, R> {
    lines: Lines<R>,
    report: Report,
    expect: Option<&'a Head>,
    /// What the next line should be; `None` before the first good line, and after one that can't be read at all.
    head: Option<Head>,
    /// The event of the last line that was read, until it was judged.
    next: Option<Event>,
    /// The latest time so far: events of a record may tell an earlier one than what was written before them.
    time: Timestamp,
    /// Whether it was already said that it belongs elsewhere.
    foreign: bool,
}

impl<'a, R: BufRead> Trail<'a, R> {
    fn new(input: R, expect: Option<&'a Head>) -> Self {
        let (lines, report) = (Lines::new(input), Report::default());
        Self { lines, report, expect, head: None, next: None, time: Timestamp::EPOCH, foreign: false }
    }

    /// Reads on to the next line with an event; `false` at the end.
    fn advance(&mut self) -> io::Result<bool> {
        while let Some(raw) = self.lines.next()? {
            self.report.lines += 1;
            let (line, digest) = match raw {
                Raw::Whole(bytes) => (decode(bytes), hash(bytes)),
                Raw::Torn => {
                    self.report.defect(Defect::Torn);
                    continue;
                }
                Raw::TooLong => (Err(Defect::TooLong), String::new()),
            };
            match line {
                Ok(line) => {
                    self.good(line, digest);
                    return Ok(true);
                }
                Err(defect) => self.unreadable(defect, digest),
            }
        }
        Ok(false)
    }

    /// A broken line still has a digest: the line after it may continue it, or what it was.
    fn unreadable(&mut self, defect: Defect, digest: String) {
        self.report.defect(defect);
        let n = self.head.as_ref().map_or(self.report.lines, |head| head.n.saturating_add(1));
        self.head = Some(Head { n, hash: digest });
        self.compare_with_expected();
    }

    fn good(&mut self, line: Line, digest: String) {
        if self.report.ledger.is_none() {
            self.report.ledger = Some(line.ledger.clone());
        }
        if self.report.ledger.as_ref() != Some(&line.ledger) {
            self.report.defect(Defect::OtherLedger(line.ledger.clone()));
        }
        let due = self.head.take().unwrap_or_else(|| Head::empty(&line.ledger));
        if self.report.lines == 1 && self.expect.is_some_and(|expect| expect.n == 0 && *expect == due) {
            self.report.head_found = true;
        }
        if line.n != due.n {
            self.report.defect(Defect::Position { expected: due.n, found: line.n });
        }
        if line.prev != due.hash {
            self.report.defect(Defect::BrokenChain);
        }
        self.head = Some(Head { n: line.n.saturating_add(1), hash: digest });
        self.compare_with_expected();
        self.time = self.time.max(line.event.at);
        self.next = Some(line.event);
    }

    /// Says once that it is of another ledger than those beside it.
    fn belongs_to(&mut self, ledger: &str) {
        if let Some(own) = self.report.ledger.clone().filter(|own| !self.foreign && own != ledger) {
            self.foreign = true;
            self.report.defect(Defect::OtherLedger(own));
        }
    }

    /// What the event of the last line is to all that were judged before.
    fn judge(&mut self, streams: &mut Streams) {
        let Some(event) = self.next.take() else { return };
        match streams.see(&event) {
            Sight::New => self.report.events += 1,
            Sight::Unfollowed => {
                self.report.events += 1;
                self.report.unfollowed += 1;
            }
            Sight::Repeated => self.report.duplicates += 1,
            Sight::RepeatedLate => {
                self.report.duplicates += 1;
                self.report.uncompared += 1;
            }
            Sight::Contradicts => self.report.defect(Defect::Contradiction(event.id())),
        }
        self.report.first = Some(self.report.first.map_or(event.at, |first| first.min(event.at)));
        self.report.last = Some(self.report.last.map_or(event.at, |last| last.max(event.at)));
    }

    /// After as many lines as the expected head counts, the chain must stand there.
    fn compare_with_expected(&mut self) {
        let Some((expect, head)) = self.expect.zip(self.head.as_ref()) else { return };
        if expect.n != self.report.lines {
            return;
        }
        if expect.hash == head.hash {
            self.report.head_found = true;
        } else {
            let found = Head { n: self.report.lines, hash: head.hash.clone() };
            self.report.defect(Defect::Head { expected: expect.clone(), found });
        }
    }

    fn finish(mut self) -> Report {
        if let Some(expect) = self.expect.filter(|expect| expect.n > self.report.lines) {
            let hash = self.head.as_ref().map(|head| head.hash.clone()).unwrap_or_default();
            let found = Head { n: self.report.lines, hash };
            self.report.defect(Defect::Head { expected: expect.clone(), found });
        }
        self.report.head = self.head;
        self.report
    }
}

impl Report {
    /// Notes what is wrong with the line that was read last.
    fn defect(&mut self, what: Defect) {
        if self.broken.len() < MAX_BROKEN {
            self.broken.push(Broken { line: self.lines, what });
        } else {
            self.further += 1;
        }
    }
}
