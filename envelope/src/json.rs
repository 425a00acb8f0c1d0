//! A small JSON writer and reader (RFC 8259) for secrets.
//!
//! The writer puts text straight into a buffer of the right size. The reader takes text out of a wiped buffer
//! into wiped strings. Neither leaves a copy behind, and duplicate members are seen, which a general library hides.

use ps_core::secret::{SecretBytes, SecretString};
use zeroize::Zeroizing;

use crate::Error;
use crate::text::{b64_into, b64_len, secret_from_b64};

/// How deep unknown members may nest.
const MAX_DEPTH: usize = 64;
/// Integers are below this, so that JavaScript can count them.
const INTEGER_LIMIT: f64 = 9_007_199_254_740_992.0;

/// Where JSON is written to: a counter first, then a buffer of the counted size.
pub(crate) trait Sink {
    /// Appends bytes as they are.
    fn raw(&mut self, bytes: &[u8]);
    /// Appends base64url of bytes.
    fn base64(&mut self, bytes: &[u8]);

    /// Appends a JSON string. The escapes are those of `JSON.stringify`.
    fn text(&mut self, text: &str) {
        self.raw(b"\"");
        let mut rest = text.as_bytes();
        while let Some((plain, escaped, tail)) = first_special(rest) {
            self.raw(plain);
            match escaped {
                b'"' => self.raw(b"\\\""),
                b'\\' => self.raw(b"\\\\"),
                0x08 => self.raw(b"\\b"),
                b'\t' => self.raw(b"\\t"),
                b'\n' => self.raw(b"\\n"),
                0x0c => self.raw(b"\\f"),
                b'\r' => self.raw(b"\\r"),
                other => {
                    let digit = |n: u8| if n < 10 { b'0' + n } else { b'a' + n - 10 };
                    self.raw(&[b'\\', b'u', b'0', b'0', digit(other >> 4), digit(other & 15)]);
                }
            }
            rest = tail;
        }
        self.raw(rest);
        self.raw(b"\"");
    }
}

/// How many bytes at the front stand for themselves in a JSON string. Looked at in blocks, which the compiler turns into
/// vector instructions: values may be long.
fn plain_len(text: &[u8]) -> usize {
    const BLOCK: usize = 32;
    let special = |b: &u8| (*b < 0x20) | (*b == b'"') | (*b == b'\\');
    let is_plain = |block: &&[u8]| !block.iter().fold(false, |any, b| any | special(b));
    let blocks = text.chunks_exact(BLOCK).take_while(is_plain).count();
    let rest = text.get(blocks * BLOCK..).unwrap_or_default();
    blocks * BLOCK + rest.iter().position(special).unwrap_or(rest.len())
}

/// What is in front of the first byte that does not stand for itself, that byte, and what follows.
fn first_special(text: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let (plain, tail) = text.split_at_checked(plain_len(text))?;
    let (special, tail) = tail.split_first()?;
    Some((plain, *special, tail))
}

/// Counts what would be written.
#[derive(Default)]
pub(crate) struct Counter(pub(crate) usize);

impl Sink for Counter {
    fn raw(&mut self, bytes: &[u8]) {
        self.0 = self.0.saturating_add(bytes.len());
    }

    fn base64(&mut self, bytes: &[u8]) {
        self.0 = self.0.saturating_add(b64_len(bytes.len()));
    }
}

/// Writes into a fixed buffer; [`Writer::finish`] says whether it was filled exactly.
pub(crate) struct Writer<'a> {
    rest: Option<&'a mut [u8]>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(buffer: &'a mut [u8]) -> Self {
        Self { rest: Some(buffer) }
    }

    pub(crate) fn finish(self) -> Result<(), Error> {
        if self.rest.is_some_and(|rest| rest.is_empty()) { Ok(()) } else { Err(Error::Frame) }
    }

    fn put(&mut self, len: usize, write: impl FnOnce(&mut [u8])) {
        self.rest = self.rest.take().and_then(|rest| rest.split_at_mut_checked(len)).map(|(place, tail)| {
            write(place);
            tail
        });
    }
}

impl Sink for Writer<'_> {
    fn raw(&mut self, bytes: &[u8]) {
        self.put(bytes.len(), |place| place.copy_from_slice(bytes));
    }

    fn base64(&mut self, bytes: &[u8]) {
        let mut written = None;
        self.put(b64_len(bytes.len()), |place| written = b64_into(bytes, place));
        if written.is_none() {
            self.rest = None;
        }
    }
}

/// Reads one JSON text from front to back.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    depth: usize,
}

impl<'a> Reader<'a> {
    /// # Errors
    /// [`Error::Json`] unless `json` is UTF-8.
    pub(crate) fn new(json: &'a [u8]) -> Result<Self, Error> {
        std::str::from_utf8(json).map_err(|_| Error::Json)?;
        Ok(Self { rest: json, depth: 0 })
    }

    /// Nothing but white space may follow.
    pub(crate) fn end(mut self) -> Result<(), Error> {
        if self.peek().is_none() { Ok(()) } else { Err(Error::Json) }
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        while let Some((b' ' | b'\t' | b'\n' | b'\r', tail)) = self.rest.split_first() {
            self.rest = tail;
        }
        self.rest.first().copied()
    }

    fn bump(&mut self) -> Option<u8> {
        let (first, tail) = self.rest.split_first()?;
        self.rest = tail;
        Some(*first)
    }

    fn expect(&mut self, byte: u8) -> Result<(), Error> {
        if self.peek() == Some(byte) && self.bump().is_some() { Ok(()) } else { Err(Error::Json) }
    }

    /// An object; `member` gets each decoded name and must read or [`Reader::skip`] its value.
    pub(crate) fn object(
        &mut self,
        what: &'static str,
        mut member: impl FnMut(&mut Self, &str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.sequence(what, b'{', b'}', |reader| {
            if reader.peek() != Some(b'"') {
                return Err(Error::Json);
            }
            let (name, _) = reader.decode()?;
            reader.expect(b':')?;
            member(reader, name.expose())
        })
    }

    /// An array; `item` must read one value.
    pub(crate) fn array(
        &mut self,
        what: &'static str,
        item: impl FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.sequence(what, b'[', b']', item)
    }

    fn sequence(
        &mut self,
        what: &'static str,
        open: u8,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.of_type(what, |b| b == open)?;
        self.bump();
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Error::Depth);
        }
        if self.peek() == Some(close) {
            self.bump();
        } else {
            loop {
                item(self)?;
                match (self.peek(), self.bump()) {
                    (Some(b','), _) => {}
                    (Some(end), _) if end == close => break,
                    _ => return Err(Error::Json),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Text, which must be Unicode.
    pub(crate) fn string(&mut self, what: &'static str) -> Result<SecretString, Error> {
        self.of_type(what, |b| b == b'"')?;
        let (text, lone) = self.decode()?;
        if lone { Err(Error::Surrogate(what)) } else { Ok(text) }
    }

    /// Canonical base64url in a string.
    pub(crate) fn base64(&mut self, what: &'static str) -> Result<SecretBytes, Error> {
        let text = self.string(what)?;
        secret_from_b64(text.expose().as_bytes()).ok_or(Error::Base64(what))
    }

    /// An integer in `[0, 2^53)`, in any spelling.
    pub(crate) fn integer(&mut self, what: &'static str) -> Result<i64, Error> {
        self.of_type(what, |b| b == b'-' || b.is_ascii_digit())?;
        let number = self.number()?;
        if number.fract() == 0.0 && (0.0..INTEGER_LIMIT).contains(&number) {
            // Exact: an integer below 2^53.
            Ok(number as i64)
        } else {
            Err(Error::Number(what))
        }
    }

    /// Reads over any value.
    pub(crate) fn skip(&mut self) -> Result<(), Error> {
        match self.peek().ok_or(Error::Json)? {
            b'{' => self.object("", |reader, _| reader.skip()),
            b'[' => self.array("", Self::skip),
            b'"' => self.decode().map(|_| ()),
            b'-' | b'0'..=b'9' => self.number().map(|_| ()),
            _ => self.word(),
        }
    }

    /// Tells a wrong type from broken JSON: what is there must be a whole value before it is called the wrong one.
    fn of_type(&mut self, what: &'static str, right: impl Fn(u8) -> bool) -> Result<(), Error> {
        if self.peek().is_some_and(right) {
            return Ok(());
        }
        self.skip()?;
        Err(Error::WrongType(what))
    }

    fn word(&mut self) -> Result<(), Error> {
        for word in [&b"true"[..], b"false", b"null"] {
            if let Some(tail) = self.rest.strip_prefix(word) {
                self.rest = tail;
                return Ok(());
            }
        }
        Err(Error::Json)
    }

    fn number(&mut self) -> Result<f64, Error> {
        let start = self.rest;
        self.take_if(|b| b == b'-');
        if !self.take_if(|b| b == b'0') {
            self.digits()?;
        }
        if self.take_if(|b| b == b'.') {
            self.digits()?;
        }
        if self.take_if(|b| matches!(b, b'e' | b'E')) {
            self.take_if(|b| matches!(b, b'+' | b'-'));
            self.digits()?;
        }
        let text = start.get(..start.len() - self.rest.len()).and_then(|t| std::str::from_utf8(t).ok());
        text.and_then(|t| t.parse().ok()).ok_or(Error::Json)
    }

    fn take_if(&mut self, wanted: impl Fn(u8) -> bool) -> bool {
        self.rest.first().copied().is_some_and(wanted) && self.bump().is_some()
    }

    fn digits(&mut self) -> Result<(), Error> {
        if !self.take_if(|b| b.is_ascii_digit()) {
            return Err(Error::Json);
        }
        while self.take_if(|b| b.is_ascii_digit()) {}
        Ok(())
    }

    /// A string, the opening quote being next; also whether it holds a lone surrogate (replaced by U+FFFD).
    fn decode(&mut self) -> Result<(SecretString, bool), Error> {
        self.bump();
        // No escape is shorter than what it stands for, so this buffer never grows.
        let mut out = Zeroizing::new(Vec::with_capacity(self.raw_string_len()));
        let mut lone = false;
        loop {
            let (plain, special, tail) = first_special(self.rest).ok_or(Error::Json)?;
            out.extend_from_slice(plain);
            self.rest = tail;
            match special {
                b'"' => break,
                b'\\' => {
                    let c = self.escape(&mut lone)?;
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => return Err(Error::Json),
            }
        }
        let bytes = SecretBytes::new(std::mem::take(&mut *out));
        SecretString::from_utf8(bytes).map(|text| (text, lone)).map_err(|_| Error::Json)
    }

    /// Bytes up to the closing quote, or to the end.
    fn raw_string_len(&self) -> usize {
        let mut at = 0;
        loop {
            let rest = self.rest.get(at..).unwrap_or_default();
            at += plain_len(rest);
            match self.rest.get(at) {
                None => return self.rest.len(),
                Some(b'"') => return at,
                // The escaped byte is no end, whatever it is.
                Some(b'\\') => at += 2,
                Some(_) => at += 1,
            }
        }
    }

    /// One escape, the backslash being read.
    fn escape(&mut self, lone: &mut bool) -> Result<char, Error> {
        Ok(match self.bump().ok_or(Error::Json)? {
            c @ (b'"' | b'\\' | b'/') => char::from(c),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.hex4()?;
                let code = if (0xd800..0xdc00).contains(&high) { self.low_half(high)? } else { Some(high) };
                code.and_then(char::from_u32).unwrap_or_else(|| {
                    *lone = true;
                    char::REPLACEMENT_CHARACTER
                })
            }
            _ => return Err(Error::Json),
        })
    }

    /// The second half of a surrogate pair, if it follows.
    fn low_half(&mut self, high: u32) -> Result<Option<u32>, Error> {
        let before = self.rest;
        if let Some(tail) = self.rest.strip_prefix(b"\\u") {
            self.rest = tail;
            let low = self.hex4()?;
            if (0xdc00..0xe000).contains(&low) {
                return Ok(Some(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)));
            }
        }
        // What follows is another character, read again by itself.
        self.rest = before;
        Ok(None)
    }

    fn hex4(&mut self) -> Result<u32, Error> {
        (0..4).try_fold(0, |sum, _| {
            let digit = self.bump().and_then(|b| char::from(b).to_digit(16)).ok_or(Error::Json)?;
            Ok(sum * 16 + digit)
        })
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
