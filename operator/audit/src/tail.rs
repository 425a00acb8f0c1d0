//! Finding the end of a chain in a file that a crash may have left in the middle of a line.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use ps_core::error::{Class, Fault};

use crate::line::{Head, MAX_LINE, decode};

/// A torn tail longer than this is no crash of ours: one append writes less.
const MAX_TORN: u64 = 16 * 1024 * 1024;
const STEP: u64 = 64 * 1024;

/// Where a file's chain ends.
#[derive(Debug)]
pub(crate) struct Tail {
    /// What the next line must continue.
    pub(crate) head: Head,
    /// Length of the whole lines in bytes.
    pub(crate) end: u64,
    /// Bytes after them: a line that was not finished, and so was never reported as durable.
    pub(crate) torn: u64,
}

/// Reads the end of the chain. The caller holds the file's lock.
///
/// # Errors
/// Misconfigured if the last whole line is not one of this ledger's trail.
pub(crate) fn read_tail(file: &File, ledger: &str) -> Result<Tail, Fault> {
    let len = file.metadata().map_err(|e| io_fault("reading", &e))?.len();
    let end = end_of_last_line(file, len).map_err(|e| io_fault("reading", &e))?;
    let Some(end) = end else {
        return Err(broken("its last line is longer than any that the operator writes"));
    };
    let torn = len.saturating_sub(end);
    if end == 0 {
        return Ok(Tail { head: Head::empty(ledger), end, torn });
    }
    // Enough for the last two lines, so that the last is seen to continue the one before.
    let window = (2 * MAX_LINE as u64 + 3).min(end);
    let start = end.saturating_sub(window);
    let bytes = read_range(file, start, end).map_err(|e| io_fault("reading", &e))?;
    let mut lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes).rsplit(|&byte| byte == b'\n');
    let last = lines.next().unwrap_or_default();
    let line = decode(last).map_err(|defect| broken(&format!("its last line is {defect}")))?;
    if line.ledger != ledger {
        let message = format!("the audit trail belongs to another ledger ({})", line.ledger.escape_debug());
        return Err(Fault::new(Class::Misconfigured, "audit-other-ledger", message)
            .remedy("name another file for this ledger's trail, or bring back the ledger that the trail belongs to"));
    }
    // The window may start in the middle of the line before; then it is not compared.
    let before = lines.next();
    let before_is_whole = lines.next().is_some() || start == 0;
    let due = match (line.n, before) {
        (0, None) => Some(Head::empty(ledger)),
        // No first line follows another, so that one need not be whole to be the wrong one.
        (n, Some(before)) if n == 0 || before_is_whole => Some(Head { n: 0, hash: String::new() }.after(before)),
        _ => None,
    };
    if due.is_some_and(|due| due.hash != line.prev) {
        return Err(broken("its last line does not continue the one before"));
    }
    Ok(Tail { head: Head { n: line.n, hash: String::new() }.after(last), end, torn })
}

/// Where the last newline ends, `None` if it is too far away to be ours.
fn end_of_last_line(file: &File, len: u64) -> io::Result<Option<u64>> {
    let mut to = len;
    while to > 0 {
        if len.saturating_sub(to) > MAX_TORN {
            return Ok(None);
        }
        let from = to.saturating_sub(STEP);
        let bytes = read_range(file, from, to)?;
        if let Some(at) = bytes.iter().rposition(|&byte| byte == b'\n') {
            return Ok(Some(from.saturating_add(at as u64).saturating_add(1)));
        }
        to = from;
    }
    Ok(Some(0))
}

fn read_range(file: &File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(to.saturating_sub(from)).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}

/// The trail can't be continued.
fn broken(what: &str) -> Fault {
    Fault::new(Class::Misconfigured, "audit-trail-broken", format!("the audit trail can't be continued: {what}"))
        .remedy("look at it with `password-sender audit verify`, then move it aside; a new trail is begun")
}

/// The file system said no; it may be full, or away for a while.
pub(crate) fn io_fault(doing: &str, error: &io::Error) -> Fault {
    let message = format!("{doing} the audit trail failed: {}", error.kind());
    let remedy = "see that the disk has room and that the operator may write there";
    Fault::new(Class::Transient, "audit-io", message).remedy(remedy)
}
