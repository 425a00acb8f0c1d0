//! The body parts of a message: transfer encodings, and the secrets put in their places.

use crate::wiped::WipedBuf;

/// Stands for the link in a rendered template. No text that is filled in may have control characters.
pub(crate) const LINK: char = '\u{1}';
/// Stands for the opening code.
pub(crate) const CODE: char = '\u{2}';

/// Longest line that is sent as it is; RFC 5322 allows 998.
const PLAIN_LINE: usize = 900;
/// Longest quoted-printable line, without the `=` at its end (RFC 2045, 6.7).
const QUOTED_LINE: usize = 75;

/// What is put where the marks are.
#[derive(Clone, Copy, Default)]
pub(crate) struct Secrets<'a> {
    pub(crate) link: &'a str,
    pub(crate) code: &'a str,
}

/// One part: a rendered template and its kind.
pub(crate) struct Body<'a> {
    pub(crate) content_type: &'static str,
    pub(crate) rendered: &'a str,
    pub(crate) secrets: Secrets<'a>,
}

impl Body<'_> {
    /// Appends header and body. Each line ends with CRLF, the last too; every byte is ASCII.
    pub(crate) fn write(&self, out: &mut WipedBuf) {
        let plain = self.is_plain();
        let encoding = if plain { "7bit" } else { "quoted-printable" };
        let kind = self.content_type;
        let head = format!("Content-Type: {kind}; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n");
        out.push(head.as_bytes());
        let mut column = 0;
        for line in self.rendered.lines() {
            for piece in pieces(line, self.secrets) {
                if plain {
                    out.push(piece.as_bytes());
                } else {
                    quote(piece.as_bytes(), &mut column, out);
                }
            }
            out.push(b"\r\n");
            column = 0;
        }
    }

    fn is_plain(&self) -> bool {
        let length = |line: &str| pieces(line, self.secrets).map(str::len).sum::<usize>();
        self.rendered.is_ascii() && self.rendered.lines().all(|line| length(line) <= PLAIN_LINE && !line.ends_with(' '))
    }
}

/// A rendered text with the secrets in the places of their marks, for a preview. Nothing wipes it.
pub(crate) fn shown(rendered: &str, secrets: Secrets<'_>) -> String {
    pieces(rendered, secrets).collect()
}

/// The parts of a text, with the secrets in place of their marks. Nothing is copied.
fn pieces<'a>(line: &'a str, secrets: Secrets<'a>) -> impl Iterator<Item = &'a str> {
    line.split_inclusive([LINK, CODE]).flat_map(move |piece| {
        let (text, secret) = match (piece.strip_suffix(LINK), piece.strip_suffix(CODE)) {
            (Some(text), _) => (text, secrets.link),
            (_, Some(text)) => (text, secrets.code),
            _ => (piece, ""),
        };
        [text, secret]
    })
}

/// RFC 2045, 6.7. A space at the end of a piece is written as `=20`, since the line may end there.
fn quote(bytes: &[u8], column: &mut usize, out: &mut WipedBuf) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for (at, &byte) in bytes.iter().enumerate() {
        let ends = at + 1 == bytes.len();
        let plain = (byte.is_ascii_graphic() && byte != b'=') || (byte == b' ' && !ends);
        let width = if plain { 1 } else { 3 };
        if *column + width > QUOTED_LINE {
            out.push(b"=\r\n");
            *column = 0;
        }
        if plain {
            out.push(&[byte]);
        } else {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'?');
            out.push(&[b'=', digit(byte >> 4), digit(byte & 15)]);
        }
        *column += width;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRETS: Secrets<'_> = Secrets { link: "https://s.example/#ps1.AbC=_-", code: "ABCD-EFGH" };

    fn written(rendered: &str) -> (String, String) {
        let mut out = WipedBuf::with_capacity(16);
        Body { content_type: "text/plain", rendered, secrets: SECRETS }.write(&mut out);
        let text = String::from_utf8(out.expose().to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// What a mail program makes of quoted-printable.
    fn unquoted(body: &str) -> String {
        let joined = body.replace("=\r\n", "");
        let (mut out, mut bytes) = (Vec::new(), joined.bytes());
        while let Some(byte) = bytes.next() {
            if byte == b'=' {
                let hex = [bytes.next().unwrap(), bytes.next().unwrap()];
                out.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
            } else {
                out.push(byte);
            }
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn ascii_goes_as_it_is() {
        let (head, body) = written("Open \u{1} with \u{2}.\n\n.\nend");
        assert!(head.ends_with("Content-Transfer-Encoding: 7bit"), "{head}");
        assert_eq!(body, format!("Open {} with {}.\r\n\r\n.\r\nend\r\n", SECRETS.link, SECRETS.code));
    }

    #[test]
    fn long_lines_and_other_characters_are_quoted() {
        for text in ["Größe \u{1}", &format!("{}\u{1}", "x".repeat(2000)), "space at the end "] {
            let (head, body) = written(text);
            assert!(head.ends_with("quoted-printable"), "{head}");
            assert_eq!(unquoted(&body), format!("{}\r\n", text.replace('\u{1}', SECRETS.link)));
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_reads_the_same_and_keeps_the_rules(text in "[ -~äß€\u{1}\u{2}\n]{0,300}") {
            let (head, body) = written(&text);
            prop_assert!(body.is_ascii());
            let quoted = head.ends_with("quoted-printable");
            let longest = if quoted { 76 } else { PLAIN_LINE };
            for line in body.split_terminator("\r\n") {
                prop_assert!(line.len() <= longest);
                prop_assert!(!line.contains(['\r', '\n']) && (!quoted || !line.ends_with(' ')));
            }
            let expected = text.replace(LINK, SECRETS.link).replace(CODE, SECRETS.code);
            let expected = expected.lines().map(|line| format!("{line}\r\n")).collect::<String>();
            prop_assert_eq!(if quoted { unquoted(&body) } else { body }, expected);
        }
    }
}
