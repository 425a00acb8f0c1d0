//! The memory of another process, as a debugger reads it; root may read that of an undumpable one too.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};

use anyhow::{Context as _, Result, ensure};

const PAGE: usize = 4096;
/// Less than any program has: who reads no more has read nothing.
const LEAST: usize = 1024 * 1024;

/// Gives what is readable and writable in the memory of a process, mapping by mapping, each with what the kernel says of it (a
/// line of `/proc/PID/maps`). A page that goes meanwhile is zeros.
///
/// # Errors
/// If the process is gone, may not be read, or has less than a megabyte.
pub fn memory_of(pid: u32, mut each: impl FnMut(&str, &[u8])) -> Result<()> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).with_context(|| format!("process {pid}"))?;
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).with_context(|| format!("process {pid}"))?;
    let mut read = 0;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if !rights.starts_with("rw") || line.ends_with("[vvar]") {
            continue;
        }
        let (start, end) = range.split_once('-').with_context(|| format!("no range: {line}"))?;
        let (start, end) = (u64::from_str_radix(start, 16)?, u64::from_str_radix(end, 16)?);
        let mut piece = vec![0; usize::try_from(end - start)?];
        for (at, page) in (start..end).step_by(PAGE).zip(piece.chunks_mut(PAGE)) {
            if memory.seek(SeekFrom::Start(at)).is_ok() && memory.read_exact(page).is_ok() {
                read += page.len();
            } else {
                page.fill(0);
            }
        }
        each(line, &piece);
    }
    ensure!(read > LEAST, "only {read} bytes of process {pid} could be read");
    Ok(())
}

/// Whether some bytes are among others.
#[must_use]
pub fn holds_bytes(bytes: &[u8], wanted: &[u8]) -> bool {
    // Most places differ in the first byte, which is found fast enough for some hundred megabytes.
    let Some((first, rest)) = wanted.split_first() else { return false };
    let mut left = bytes;
    while let Some(at) = left.iter().position(|byte| byte == first) {
        left = left.get(at + 1..).unwrap_or_default();
        if left.starts_with(rest) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_holds_is_found_and_a_process_that_is_not_there_is_an_error() {
        let kept = std::hint::black_box(vec![0x5a_u8; 777]);
        let mut found = false;
        memory_of(std::process::id(), |line, piece| {
            assert!(line.contains(" rw"), "{line}");
            found |= holds_bytes(piece, &kept);
        })
        .unwrap();
        assert!(found && std::hint::black_box(kept).len() == 777);
        assert!(memory_of(u32::MAX, |_, _| {}).is_err());
    }

    #[test]
    fn bytes_are_found_wherever_they_begin_and_end() {
        for (bytes, wanted, there) in [
            (&b"aab"[..], &b"ab"[..], true),
            (b"aaab", b"aab", true),
            (b"ab", b"ab", true),
            (b"ab", b"abc", false),
            (b"ab", b"", false),
            (b"", b"a", false),
        ] {
            assert_eq!(holds_bytes(bytes, wanted), there, "{bytes:?} {wanted:?}");
        }
    }
}
