//! Reading events back, for the check whether the ledger was restored from a backup.

use std::fs::File;
use std::io::{BufReader, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use ps_core::audit::Event;
use ps_core::error::{Class, Fault};

use crate::line::{MAX_LINE, decode};
use crate::lines::{Lines, Raw};
use crate::tail::io_fault;

/// Events of a trail with their positions, in order, one line in memory at a time.
///
/// It ends before a last line that is not finished. A line that can't be read is a fault, once; the reader goes on after
/// it. It does not check the chain: that is [`crate::verify`].
pub struct EventReader {
    lines: Lines<BufReader<File>>,
    from: u64,
}

impl EventReader {
    /// Opens a trail at position `from`.
    ///
    /// # Errors
    /// Transient if it can't be read.
    pub fn open(path: &Path, from: u64) -> Result<Self, Fault> {
        let mut file = File::open(path).map_err(|e| io_fault("reading", &e))?;
        let start = find(&file, from).map_err(|e| io_fault("reading", &e))?;
        file.seek(SeekFrom::Start(start)).map_err(|e| io_fault("reading", &e))?;
        Ok(Self { lines: Lines::new(BufReader::new(file)), from })
    }
}

/// The first whole line of a trail, without its newline; `None` if there is none yet.
///
/// # Errors
/// Transient if it can't be read.
pub(crate) fn first_line(path: &Path) -> Result<Option<Vec<u8>>, Fault> {
    let file = File::open(path).map_err(|e| io_fault("reading", &e))?;
    match Lines::new(BufReader::new(file)).next().map_err(|e| io_fault("reading", &e))? {
        Some(Raw::Whole(line)) => Ok(Some(line.to_vec())),
        _ => Ok(None),
    }
}

impl Iterator for EventReader {
    type Item = Result<(u64, Event), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = match self.lines.next() {
                Ok(Some(Raw::Whole(bytes))) => decode(bytes),
                Ok(Some(Raw::TooLong)) => Err(crate::report::Defect::TooLong),
                Ok(Some(Raw::Torn) | None) => return None,
                Err(error) => return Some(Err(io_fault("reading", &error))),
            };
            match line {
                Ok(line) if line.n < self.from => {}
                Ok(line) => return Some(Ok((line.n, line.event))),
                Err(defect) => {
                    let message = format!("a line of the audit trail can't be read: {defect}");
                    let remedy = "look at it with `password-sender audit verify`";
                    return Some(Err(Fault::new(Class::Misconfigured, "audit-trail-broken", message).remedy(remedy)));
                }
            }
        }
    }
}

/// The first event from position `from` on that `known` does not know: proof that the ledger is older than the trail.
///
/// # Errors
/// A line that can't be read, unless an unknown event comes before it.
pub fn witness(
    trail: impl IntoIterator<Item = Result<(u64, Event), Fault>>,
    known: impl Fn(&Event) -> bool,
) -> Result<Option<Event>, Fault> {
    for item in trail {
        let (_, event) = item?;
        if !known(&event) {
            return Ok(Some(event));
        }
    }
    Ok(None)
}

/// The start of a line at or before position `n`, close to it: positions grow with the offset, so halving finds it.
/// Any answer is right for a reader that passes over smaller positions; a good one is fast.
fn find(file: &File, n: u64) -> std::io::Result<u64> {
    let (mut low, mut high) = (0, file.metadata()?.len());
    while high.saturating_sub(low) > 4 * MAX_LINE as u64 {
        let middle = low + (high - low) / 2;
        let mut window = vec![0; 2 * MAX_LINE + 2];
        let read = file.read_at(&mut window, middle)?;
        window.truncate(read);
        let starts = window.iter().position(|&byte| byte == b'\n').map(|at| at + 1);
        let line = starts.and_then(|at| window.get(at..)).and_then(|rest| rest.split(|&byte| byte == b'\n').next());
        match (starts, line.map(decode)) {
            (Some(at), Some(Ok(line))) if line.n <= n => low = middle + at as u64,
            (Some(_), Some(Ok(_))) => high = middle,
            // Not readable here: stop halving, and read on from what is known to be before it.
            _ => break,
        }
    }
    Ok(low)
}
