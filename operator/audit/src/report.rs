//! What a verification found, and how it says so.

use std::fmt;

use ps_core::audit::Writer;
use ps_core::ids::Key;
use ps_core::time::Timestamp;

use crate::line::Head;

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// More than 64 KiB without a newline.
    #[error("longer than 64 KiB")]
    TooLong,
    /// The last line has no newline at its end: a crash while it was written, or the file was cut.
    #[error("the last line is not complete")]
    Torn,
    /// Not a line of the trail at all.
    #[error("not a line of the audit trail")]
    NotALine,
    /// Written by a version that this program does not know.
    #[error("format version {0} is not known")]
    Version(u32),
    /// Its `sum` does not fit its content.
    #[error("altered: its sum does not fit its content")]
    Altered,
    /// Not byte by byte what the operator writes.
    #[error("not in the form that the operator writes")]
    NotCanonical,
    /// Its id is not the one that its event derives.
    #[error("its id is not derived from its event")]
    WrongId,
    /// Its `prev` is not the digest of the line before.
    #[error("does not continue the line before: that was altered, or lines were added, removed or moved")]
    BrokenChain,
    /// Its position is not the next.
    #[error("has position {found} where {expected} is due")]
    Position {
        /// The next position.
        expected: u64,
        /// The line's own.
        found: u64,
    },
    /// Of another ledger than the first line.
    #[error("belongs to another ledger, {0}")]
    OtherLedger(String),
    /// A second event under a known id, with other content.
    #[error("tells the event {0} differently than before")]
    Contradiction(String),
    /// The trail, or the file, does not have what the expected head says.
    #[error("the expected head {expected} is not there: found {found}")]
    Head {
        /// What was expected.
        expected: Head,
        /// What is there.
        found: Head,
    },
}

/// A defect with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Line number from 1; for a missing head, the line after which it was looked for.
    pub line: u64,
    /// What is wrong.
    pub what: Defect,
}

/// Events that are missing: sequence numbers `expected` to `found - 1` of one writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Which delivery.
    pub delivery: Key,
    /// Which incarnation of its entry.
    pub incarnation: String,
    /// Which attempt's record; `None` for the operator's own events, which count across attempts.
    pub attempt: Option<u32>,
    /// Whose events.
    pub writer: Writer,
    /// The first that is missing.
    pub expected: u64,
    /// The next that is there.
    pub found: u64,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines, broken ones too.
    pub lines: u64,
    /// Distinct events.
    pub events: u64,
    /// Lines that repeat an event word by word: harmless, they come from crashes.
    pub duplicates: u64,
    /// Of these, how many are so far from the first that their content was not compared.
    pub uncompared: u64,
    /// Events of further deliveries than can be followed at once: they are chained, but not checked for gaps.
    pub unfollowed: u64,
    /// Missing events, at most a thousand.
    pub gaps: Vec<Gap>,
    /// Defects, at most a thousand.
    pub broken: Vec<Broken>,
    /// How many gaps and defects there are beyond these.
    pub further: u64,
    /// The ledger that the first line names.
    pub ledger: Option<String>,
    /// The earliest time of an event.
    pub first: Option<Timestamp>,
    /// The latest time of an event.
    pub last: Option<Timestamp>,
    /// Where the chain stands at its end: keep it elsewhere, and give it to the next verification.
    pub head: Option<Head>,
    /// Whether a head was given, and found.
    pub head_found: bool,
}

impl Report {
    /// Whether nothing is wrong: no defect, no gap.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.gaps.is_empty() && self.broken.is_empty() && self.further == 0
    }
}

/// What a verification of several trails of one ledger found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Together {
    /// Each trail by itself, in the order in which they were given. Events that another trail had first are repetitions; gaps
    /// are not told here.
    pub trails: Vec<Report>,
    /// Events that none of them has, at most a thousand.
    pub gaps: Vec<Gap>,
    /// How many gaps there are beyond these.
    pub further: u64,
}

impl Together {
    /// Whether nothing is wrong: no defect in any trail, and no gap between them.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.gaps.is_empty() && self.further == 0 && self.trails.iter().all(Report::is_ok)
    }

    /// Distinct events of all trails.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.trails.iter().map(|trail| trail.events).sum()
    }
}

/// For people, one fact a line.
impl fmt::Display for Together {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_ok() { "complete and unaltered" } else { "NOT in order" };
        writeln!(f, "The audit trails together are {verdict}: {} events.", self.events())?;
        for (n, trail) in self.trails.iter().enumerate() {
            writeln!(f, "Trail {}:", n + 1)?;
            trail.facts(f)?;
        }
        for gap in &self.gaps {
            writeln!(f, "{gap}")?;
        }
        if self.further > 0 {
            writeln!(f, "and {} further gaps", self.further)?;
        }
        Ok(())
    }
}

/// For people, one fact a line.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_ok() { "complete and unaltered" } else { "NOT in order" };
        writeln!(f, "The audit trail is {verdict}.")?;
        self.facts(f)
    }
}

impl Report {
    fn facts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  lines       {}", self.lines)?;
        write!(f, "  events      {}", self.events)?;
        if self.duplicates > 0 {
            write!(f, ", and {} repetitions, which are harmless", self.duplicates)?;
        }
        writeln!(f)?;
        if let Some(ledger) = &self.ledger {
            writeln!(f, "  ledger      {}", Plain(ledger))?;
        }
        if let Some((first, last)) = self.first.zip(self.last) {
            writeln!(f, "  from        {first}\n  to          {last}")?;
        }
        if let Some(head) = &self.head {
            writeln!(f, "  head        {head}")?;
        }
        let anchor =
            if self.head_found { "the expected head is there" } else { "no head from elsewhere was confirmed" };
        writeln!(f, "  anchor      {anchor}")?;
        if self.uncompared > 0 {
            writeln!(f, "  note        {} repetitions were too late to be compared", self.uncompared)?;
        }
        if self.unfollowed > 0 {
            writeln!(f, "  note        {} events were not checked for gaps: too many deliveries", self.unfollowed)?;
        }
        for Broken { line, what } in &self.broken {
            writeln!(f, "  line {line}: {}", Plain(&what.to_string()))?;
        }
        for gap in &self.gaps {
            writeln!(f, "  {gap}")?;
        }
        if self.further > 0 {
            writeln!(f, "  and {} further findings", self.further)?;
        }
        Ok(())
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match (self.writer, self.attempt) {
            (Writer::Operator, _) => "the operator".to_owned(),
            (Writer::Record, Some(attempt)) => format!("the record of attempt {attempt}"),
            (Writer::Record, None) => "a record".to_owned(),
        };
        let (delivery, incarnation) = (self.delivery.to_string(), &self.incarnation);
        write!(f, "missing: {} ({}), events ", Plain(&delivery), Plain(incarnation))?;
        match self.found.checked_sub(1) {
            Some(last) if last > self.expected => write!(f, "{} to {last}", self.expected)?,
            _ => write!(f, "{}", self.expected)?,
        }
        write!(f, " of {whose}")
    }
}

/// Text from a file that nobody vouches for, safe for a terminal: no control characters, no reordering, not endless.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars().take(400) {
            let harmless = c.is_ascii_graphic() || c == ' ' || c.is_alphanumeric();
            write!(f, "{}", if harmless { c } else { '\u{fffd}' })?;
        }
        Ok(())
    }
}
