//! Addresses and names, parsed once: what is parsed can't break out of a header or a command.

use std::fmt;

use ps_core::delivery::mask;

/// Longest address: RFC 5321, 4.5.3.1.3, less the angle brackets.
const MAX_ADDRESS: usize = 254;
const MAX_LOCAL: usize = 64;
const MAX_DOMAIN: usize = 253;
const MAX_LABEL: usize = 63;
/// Longest name shown, in characters.
const MAX_NAME: usize = 80;

/// Why a text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Other characters than ASCII; an international domain has an `xn--` form.
    #[error("has characters outside ASCII (write an international domain in its xn-- form)")]
    NotAscii,
    /// Not `local@domain` of plain characters: quotes, comments, line ends and address literals are not taken.
    #[error("is not of the form name@domain, with plain characters only")]
    Form,
    /// Longer than RFC 5321 allows.
    #[error("is too long")]
    Length,
}

/// One address: ASCII, a dot-atom before the `@` (RFC 5322, 3.2.3), host name labels after it.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(lettre::Address);

impl Address {
    /// Parses `name@domain`. Nothing is trimmed and nothing repaired.
    ///
    /// # Errors
    /// What is wrong with it. The text itself is not repeated.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if !text.is_ascii() {
            return Err(AddressError::NotAscii);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(AddressError::Form)?;
        if text.len() > MAX_ADDRESS || local.len() > MAX_LOCAL || domain.len() > MAX_DOMAIN {
            return Err(AddressError::Length);
        }
        if !is_dot_atom(local) || !is_host_name(domain) {
            return Err(AddressError::Form);
        }
        lettre::Address::new(local, domain).map(Self).map_err(|_| AddressError::Form)
    }

    /// The address as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }

    /// What is after the `@`.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.domain()
    }

    pub(crate) fn smtp(&self) -> lettre::Address {
        self.0.clone()
    }
}

/// Only the first letter and the domain: an address is a person.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", mask(self.as_str()))
    }
}

/// Letters, digits and `!#$%&'*+-/=?^_{|}~` and the backtick, in parts that dots separate.
pub(crate) fn is_dot_atom(text: &str) -> bool {
    let is_atext = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
    text.split('.').all(|part| !part.is_empty() && part.bytes().all(is_atext))
}

/// Labels of letters, digits and inner hyphens (RFC 1123, 2.1).
pub(crate) fn is_host_name(text: &str) -> bool {
    text.split('.').all(|label| {
        let plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        !label.is_empty() && label.len() <= MAX_LABEL && plain && !label.starts_with('-') && !label.ends_with('-')
    })
}

/// A name as mail shows it: white space and control characters become single spaces, and what could make it look like an
/// address, a link or another script direction is left out. It may be empty then.
#[must_use]
pub fn display_name(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() || c.is_whitespace() { ' ' } else { c });
    let kept = plain.filter(|&c| !"<>@:/\\\"`".contains(c) && !is_format_character(c)).collect::<String>();
    let words = kept.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    words.chars().take(MAX_NAME).collect::<String>().trim_end().to_owned()
}

/// Characters that show nothing and change how others are shown or read.
fn is_format_character(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_addresses_are_taken() {
        for good in
            ["a@b", "alice@vendor.example", "a.b+c=d@x-1.example", "O'Neil@example.org", "x@xn--bcher-kva.example"]
        {
            assert_eq!(Address::parse(good).map(|a| a.as_str().to_owned()).as_deref(), Ok(good));
        }
    }

    #[test]
    fn whatever_could_be_more_than_an_address_is_refused() {
        let cases = [
            ("", AddressError::Form),
            ("alice", AddressError::Form),
            ("@b.example", AddressError::Form),
            ("a@", AddressError::Form),
            ("a@b@c.example", AddressError::Form),
            ("a b@c.example", AddressError::Form),
            (" a@c.example", AddressError::Form),
            ("a@c.example ", AddressError::Form),
            ("a@c.example\r\nBcc: x@y.example", AddressError::Form),
            ("a\r\nRCPT TO:<x@y.example>@c.example", AddressError::Form),
            ("a\n@c.example", AddressError::Form),
            ("\"a b\"@c.example", AddressError::Form),
            ("<a@c.example>", AddressError::Form),
            ("Alice <a@c.example>", AddressError::Form),
            ("a@c.example,b@c.example", AddressError::Form),
            ("a@[127.0.0.1]", AddressError::Form),
            ("a@c..example", AddressError::Form),
            ("a@.example", AddressError::Form),
            ("a@-c.example", AddressError::Form),
            ("a..b@c.example", AddressError::Form),
            (".a@c.example", AddressError::Form),
            ("a@c.example\0", AddressError::Form),
            ("a%b@c_d.example", AddressError::Form),
            ("ä@c.example", AddressError::NotAscii),
            ("a@bücher.example", AddressError::NotAscii),
        ];
        for (bad, why) in cases {
            assert_eq!(Address::parse(bad).unwrap_err(), why, "{bad:?}");
        }
        let long = format!("{}@c.example", "a".repeat(65));
        assert_eq!(Address::parse(&long).unwrap_err(), AddressError::Length);
    }

    #[test]
    fn an_address_does_not_print() {
        let text = format!("{:?}", Address::parse("alice@vendor.example").unwrap());
        assert!(!text.contains("lice"), "{text}");
    }

    #[test]
    fn names_can_neither_inject_nor_pretend() {
        assert_eq!(display_name("  Größe \t & Söhne  "), "Größe & Söhne");
        assert_eq!(display_name("Eve\r\nBcc: x@y.example"), "Eve Bcc xy.example");
        assert_eq!(display_name("https://evil.example/\u{202e}moc"), "httpsevil.examplemoc");
        assert_eq!(display_name("\"<>@"), "");
        assert_eq!(display_name(&"é".repeat(500)).chars().count(), MAX_NAME);
    }

    proptest! {
        #[test]
        fn what_parses_has_no_character_that_smtp_or_a_header_could_read(text in "[ -~\r\n\t\0äß@.<>\"]{0,40}") {
            if let Ok(address) = Address::parse(&text) {
                prop_assert_eq!(address.as_str(), text.as_str());
                prop_assert!(!text.contains(|c: char| c.is_control() || " <>\"(),:;[]\\".contains(c)));
                prop_assert_eq!(text.matches('@').count(), 1);
            }
        }

        #[test]
        fn names_stay_on_one_line(text in "\\PC{0,40}[\r\n\t\0]?\\PC{0,40}") {
            let name = display_name(&text);
            prop_assert!(!name.contains(char::is_control));
            prop_assert_eq!(display_name(&name), name);
        }
    }
}
