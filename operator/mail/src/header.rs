//! Header fields: RFC 5322, with RFC 2047 for what is not ASCII.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp as Instant;
use ps_core::time::Timestamp;

use crate::address::{Address, is_dot_atom, is_host_name};

/// Bytes of text in one encoded word: 45 make 60 base64 characters, 72 with its frame; RFC 2047 allows 75.
const WORD: usize = 45;
/// Longest Message-ID, so that its line is shorter than the 998 bytes of RFC 5322, 2.1.1, by far.
const MAX_MESSAGE_ID: usize = 200;

/// `Name <address>`, or the bare address.
pub(crate) fn mailbox(name: &str, address: &Address) -> String {
    if name.is_empty() {
        return address.as_str().to_owned();
    }
    let is_phrase = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b' ' || b == b'-');
    let phrase = if is_phrase && name.len() <= WORD { name.to_owned() } else { encoded_words(name) };
    format!("{phrase}\r\n <{}>", address.as_str())
}

/// Text as a header's value, on lines that are short enough.
pub(crate) fn unstructured(text: &str) -> String {
    let plain = text.len() <= 60 && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) && !text.contains("=?");
    if plain { text.to_owned() } else { encoded_words(text) }
}

/// RFC 2047, `B` encoding. Each word ends at a character's end, as section 5 demands.
fn encoded_words(text: &str) -> String {
    let (mut words, mut word) = (Vec::new(), String::new());
    for c in text.chars() {
        if word.len() + c.len_utf8() > WORD {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.push(word);
    let encode = |word: &String| format!("=?utf-8?B?{}?=", STANDARD.encode(word));
    words.iter().map(encode).collect::<Vec<_>>().join("\r\n ")
}

/// RFC 5322, 3.3, in UTC.
pub(crate) fn date(now: Timestamp) -> String {
    instant(now).strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

/// The same moment for a calendar.
pub(crate) fn instant(at: Timestamp) -> Instant {
    // Out of jiff's range means later than year 9999, or before -9999.
    Instant::from_millisecond(at.as_millis()).unwrap_or(Instant::MAX)
}

/// Whether a Message-ID, without its brackets, is of the form that RFC 5322, 3.6.4 recommends.
pub(crate) fn is_message_id(text: &str) -> bool {
    text.len() <= MAX_MESSAGE_ID
        && text.split_once('@').is_some_and(|(left, right)| is_dot_atom(left) && is_host_name(right))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_are_as_mail_wants_them() {
        let at = Timestamp::parse_rfc3339("2026-11-02T06:04:59.999Z").unwrap();
        assert_eq!(date(at), "Mon, 02 Nov 2026 06:04:59 +0000");
        assert!(!date(Timestamp::from_millis(i64::MAX)).is_empty());
    }

    #[test]
    fn names_are_plain_where_they_can_be() {
        let address = Address::parse("a@b.example").unwrap();
        assert_eq!(mailbox("", &address), "a@b.example");
        assert_eq!(mailbox("Platform Team", &address), "Platform Team\r\n <a@b.example>");
        assert_eq!(mailbox("Jürgen", &address), "=?utf-8?B?SsO8cmdlbg==?=\r\n <a@b.example>");
        assert_eq!(mailbox("a, b", &address), "=?utf-8?B?YSwgYg==?=\r\n <a@b.example>");
    }

    #[test]
    fn message_ids_are_checked() {
        assert!(is_message_id("a1.b2@mail.example"));
        for bad in ["", "a", "a@", "@b", "<a@b>", "a@b>\r\nX: y", "a b@c", "a@b@c"] {
            assert!(!is_message_id(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_line_is_long_and_words_decode(text in "\\PC{1,120}") {
            let header = unstructured(&text);
            for line in header.split("\r\n ") {
                prop_assert!(line.len() <= 75);
                prop_assert!(line.bytes().all(|b| (32..127).contains(&b)));
            }
            if header.starts_with("=?utf-8?B?") {
                let word = |w: &str| {
                    let inner = w.strip_prefix("=?utf-8?B?").unwrap().strip_suffix("?=").unwrap();
                    String::from_utf8(STANDARD.decode(inner).unwrap()).unwrap()
                };
                prop_assert_eq!(header.split("\r\n ").map(word).collect::<String>(), text);
            } else {
                prop_assert_eq!(header, text);
            }
        }
    }
}
