//! Reading lines from a file that may hold anything: bounded memory, no line is too long to be passed over.

use std::io::{self, BufRead};

use crate::line::MAX_LINE;

/// One line of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Raw<'a> {
    /// A line that ended with a newline, without it.
    Whole(&'a [u8]),
    /// The rest of the input, which did not.
    Torn,
    /// Longer than [`MAX_LINE`]; passed over.
    TooLong,
}

/// Lines of a reader, one buffer for all.
pub(crate) struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, buffer: Vec::new() }
    }

    /// The next line, `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Raw<'_>>> {
        self.buffer.clear();
        let (mut total, mut ended) = (0_usize, false);
        while !ended {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                break;
            }
            let newline = chunk.iter().position(|&byte| byte == b'\n');
            let (used, taken) = newline.map_or((chunk.len(), chunk.len()), |at| (at, at + 1));
            ended = newline.is_some();
            total = total.saturating_add(used);
            if total <= MAX_LINE {
                self.buffer.extend(chunk.iter().take(used));
            }
            self.input.consume(taken);
        }
        Ok(match (total, ended) {
            (0, false) => None,
            (length, _) if length > MAX_LINE => Some(Raw::TooLong),
            (_, true) => Some(Raw::Whole(&self.buffer)),
            (_, false) => Some(Raw::Torn),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8]) -> Vec<String> {
        let mut lines = Lines::new(io::BufReader::with_capacity(7, input));
        let mut out = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            out.push(match line {
                Raw::Whole(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Raw::Torn => "<torn>".into(),
                Raw::TooLong => "<long>".into(),
            });
        }
        out
    }

    #[test]
    fn whole_torn_empty_and_endless_lines() {
        assert_eq!(all(b""), [""; 0]);
        assert_eq!(all(b"\n\n"), ["", ""]);
        assert_eq!(all(b"one line and\nanother"), ["one line and", "<torn>"]);
        let long = [vec![b'x'; MAX_LINE + 1], b"\nok\n".to_vec()].concat();
        assert_eq!(all(&long), ["<long>", "ok"]);
        assert_eq!(all(&vec![b'x'; 5 * MAX_LINE]), ["<long>"]);
        assert_eq!(all(&[vec![b'x'; MAX_LINE], b"\n".to_vec()].concat())[0].len(), MAX_LINE);
    }
}
