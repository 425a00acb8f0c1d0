//! Verification of a trail, with nothing but its bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use ps_core::audit::Event;

use crate::line::{Head, Line, decode, hash};
use crate::lines::{Lines, Raw};
use crate::report::{Broken, Defect, Report};
use crate::streams::{Sight, Streams};

/// How many defects are kept.
const MAX_BROKEN: usize = 1000;

/// Verifies a whole trail. Whatever the bytes are, the answer is a report; memory is bounded.
///
/// `expect` is a head that was kept elsewhere: the trail must have had it after its first `n` lines. Without one,
/// lines that were cut off at the end, or a chain that was made up as a whole, cannot be told.
///
/// # Errors
/// If `input` can't be read.
pub fn verify(input: impl BufRead, expect: Option<&Head>) -> io::Result<Report> {
    let mut lines = Lines::new(input);
    let mut check = Check::new(expect);
    while let Some(line) = lines.next()? {
        check.line(line);
    }
    Ok(check.finish())
}

/// [`verify`] for a file.
///
/// # Errors
/// If it can't be opened or read.
pub fn verify_file(path: &Path, expect: Option<&Head>) -> io::Result<Report> {
    verify(BufReader::with_capacity(64 * 1024, File::open(path)?), expect)
}

struct Check<'a> {
    report: Report,
    streams: Streams,
    expect: Option<&'a Head>,
    /// What the next line should be; `None` before the first good line, and after one that can't be read at all.
    head: Option<Head>,
}

impl<'a> Check<'a> {
    fn new(expect: Option<&'a Head>) -> Self {
        Self { report: Report::default(), streams: Streams::default(), expect, head: None }
    }

    fn line(&mut self, raw: Raw<'_>) {
        self.report.lines += 1;
        let bytes = match raw {
            Raw::Whole(bytes) => bytes,
            Raw::Torn => return self.defect(Defect::Torn),
            Raw::TooLong => return self.unreadable(Defect::TooLong, None),
        };
        match decode(bytes) {
            Ok(line) => self.good(&line, bytes),
            Err(defect) => self.unreadable(defect, Some(bytes)),
        }
    }

    /// A broken line still has a digest: the line after it may continue it, or what it was.
    fn unreadable(&mut self, defect: Defect, bytes: Option<&[u8]>) {
        self.defect(defect);
        let n = self.head.as_ref().map_or(self.report.lines, |head| head.n.saturating_add(1));
        self.head = Some(Head { n, hash: bytes.map(hash).unwrap_or_default() });
        self.compare_with_expected();
    }

    fn good(&mut self, line: &Line, bytes: &[u8]) {
        if self.report.ledger.is_none() {
            self.report.ledger = Some(line.ledger.clone());
        }
        if self.report.ledger.as_ref() != Some(&line.ledger) {
            self.defect(Defect::OtherLedger(line.ledger.clone()));
        }
        let due = self.head.take().unwrap_or_else(|| Head::empty(&line.ledger));
        if self.report.lines == 1 && self.expect.is_some_and(|expect| expect.n == 0 && *expect == due) {
            self.report.head_found = true;
        }
        if line.n != due.n {
            self.defect(Defect::Position { expected: due.n, found: line.n });
        }
        if line.prev != due.hash {
            self.defect(Defect::BrokenChain);
        }
        self.event(&line.event);
        self.head = Some(Head { n: line.n, hash: String::new() }.after(bytes));
        self.compare_with_expected();
    }

    fn event(&mut self, event: &Event) {
        match self.streams.see(event) {
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
            Sight::Contradicts => self.defect(Defect::Contradiction(event.id())),
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
            self.defect(Defect::Head { expected: expect.clone(), found });
        }
    }

    fn defect(&mut self, what: Defect) {
        if self.report.broken.len() < MAX_BROKEN {
            self.report.broken.push(Broken { line: self.report.lines, what });
        } else {
            self.report.further += 1;
        }
    }

    fn finish(mut self) -> Report {
        if let Some(expect) = self.expect.filter(|expect| expect.n > self.report.lines) {
            let hash = self.head.as_ref().map(|head| head.hash.clone()).unwrap_or_default();
            let found = Head { n: self.report.lines, hash };
            self.defect(Defect::Head { expected: expect.clone(), found });
        }
        let (gaps, further) = self.streams.into_gaps();
        self.report.gaps = gaps;
        self.report.further += further;
        self.report.head = self.head;
        self.report
    }
}
