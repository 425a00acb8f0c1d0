//! Links as people paste them: whole mails, wrapped lines, rewritten by mail filters. The same recovery as the page's.

use ps_core::secret::SecretString;
use ps_envelope::{FRAGMENT_PREFIX, Opener};
use reqwest::Url;
use zeroize::Zeroizing;

/// Characters of the key in a fragment.
const KEY: usize = 43;
/// Layers of percent-encoding that are taken off.
const LAYERS: usize = 5;

/// A link that was found in a text.
#[derive(Debug)]
pub(crate) struct Link {
    /// Who can open it.
    pub(crate) opener: Opener,
    /// The folder of the page: scheme, host and path, with a slash at the end.
    pub(crate) base: Url,
    /// The key stood outside the fragment, so servers on the way have seen it.
    pub(crate) exposed: bool,
}

/// Why no link was found. No variant holds any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoLink {
    /// Nothing in it looks like a link.
    #[error("there is no link in it")]
    None,
    /// A part of the key is missing or was changed.
    #[error("the link is incomplete or was changed on its way")]
    Broken,
    /// The key alone, without the address in front of it.
    #[error("the link's address is missing or unreadable")]
    NoAddress,
    /// `http` to another machine.
    #[error("the link's address does not begin with https://")]
    Insecure,
    /// A user name in the address: it makes a host look like another.
    #[error("the link's address holds a user name, which no link of ours does")]
    User,
}

impl NoLink {
    /// What to do about it.
    pub(crate) const fn remedy(self) -> &'static str {
        match self {
            Self::Insecure => "Nothing was sent. Ask the sender for a link that begins with https://",
            Self::User => "Nothing was sent. Make sure that the mail is from whom it says",
            _ => "Copy the whole link from the mail, from https to its last character",
        }
    }
}

/// Whether a text holds a key, or most of one: for refusing arguments without repeating them.
pub(crate) fn looks_like_one(text: &str) -> bool {
    let lower = Zeroizing::new(text.to_ascii_lowercase());
    lower.match_indices(FRAGMENT_PREFIX).any(|(at, _)| {
        let rest = lower.get(at + FRAGMENT_PREFIX.len()..).unwrap_or_default();
        rest.bytes().take_while(|b| is_key(*b)).count() >= 16
    })
}

/// Finds the first link in a text.
pub(crate) fn find(text: &str) -> Result<Link, NoLink> {
    let mut layer = Zeroizing::new(text.to_owned());
    let mut seen = false;
    for _ in 0..LAYERS {
        seen |= Zeroizing::new(layer.to_ascii_lowercase()).contains(FRAGMENT_PREFIX);
        for candidate in [&layer, &unwrapped(&layer)] {
            let Some((before, fragment)) = token(candidate) else { continue };
            let opener = Opener::from_fragment(fragment).map_err(|_| NoLink::Broken)?;
            let base = address(before)?;
            return Ok(Link { opener, base, exposed: !in_fragment(text, before) });
        }
        let next = decoded(&layer);
        if *next == **layer {
            break;
        }
        layer = next;
    }
    Err(if seen { NoLink::Broken } else { NoLink::None })
}

/// As [`find`], for a secret.
pub(crate) fn find_in(text: &SecretString) -> Result<Link, NoLink> {
    find(text.expose())
}

const fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// The first whole token, and what stands before it. After its 43 characters comes the end, anything outside the
/// alphabet, or only emphasis marks of a chat (`_`, `-`).
fn token(text: &str) -> Option<(&str, &str)> {
    text.match_indices(FRAGMENT_PREFIX).find_map(|(at, _)| {
        let (before, rest) = text.split_at_checked(at)?;
        let (fragment, after) = rest.split_at_checked(FRAGMENT_PREFIX.len() + KEY)?;
        let key = fragment.strip_prefix(FRAGMENT_PREFIX)?;
        let ends = after.trim_start_matches(['_', '-']).bytes().next().is_none_or(|b| !is_key(b));
        (key.bytes().all(is_key) && ends).then_some((before, fragment))
    })
}

/// Without white space, and without the `=` that quoted-printable puts before a line's end.
fn unwrapped(text: &str) -> Zeroizing<String> {
    let blank = |c: char| c.is_whitespace() || matches!(c, '\u{ad}' | '\u{200b}' | '\u{feff}');
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let soft_end = c == '=' && chars.peek().is_some_and(|next| blank(*next));
        if !blank(c) && !soft_end {
            out.push(c);
        }
    }
    out
}

/// One layer of percent-encoding less; sequences that are no UTF-8 become a space.
fn decoded(text: &str) -> Zeroizing<String> {
    let digit = |byte: Option<&u8>| byte.and_then(|b| char::from(*b).to_digit(16));
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    let mut run = Zeroizing::new(Vec::with_capacity(text.len()));
    loop {
        run.clear();
        while let [b'%', tail @ ..] = rest
            && let (Some(high), Some(low)) = (digit(tail.first()), digit(tail.get(1)))
        {
            run.push(u8::try_from(high * 16 + low).unwrap_or(b' '));
            rest = tail.get(2..).unwrap_or_default();
        }
        out.push_str(std::str::from_utf8(&run).unwrap_or(" "));
        // What follows up to the next percent sign is UTF-8, since the whole text is.
        let [_, tail @ ..] = rest else { return out };
        let plain = 1 + tail.iter().take_while(|b| **b != b'%').count();
        let (head, tail) = rest.split_at_checked(plain).unwrap_or((rest, &[]));
        out.push_str(std::str::from_utf8(head).unwrap_or(" "));
        rest = tail;
    }
}

/// The page's folder, from what stands before the token.
fn address(before: &str) -> Result<Url, NoLink> {
    let mut plain = Zeroizing::new(before.to_owned());
    for _ in 0..LAYERS {
        plain = decoded(&plain);
    }
    // A link that was broken over lines; but a blank between words is the end of an address.
    let mut joined = Zeroizing::new(String::with_capacity(plain.len()));
    let mut lines = plain.lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        let broken = lines.peek().is_some();
        joined.push_str(line.strip_suffix('=').filter(|_| broken).unwrap_or(line));
    }
    let lower = Zeroizing::new(joined.to_ascii_lowercase());
    let schemes = || lower.match_indices("http").filter(|(at, _)| scheme_at(&lower, *at));
    let start = schemes().last().map(|(at, _)| at).ok_or(NoLink::NoAddress)?;
    let inside_another = schemes().next().is_some_and(|(at, _)| at < start);
    let mut whole = joined.get(start..).unwrap_or_default();
    if whole.chars().any(|c| c.is_whitespace() || c.is_control()) || !whole.contains("://") {
        return Err(NoLink::NoAddress);
    }
    for end in ['#', '?'] {
        whole = whole.split(end).next().unwrap_or_default();
    }
    if inside_another {
        whole = whole.split('&').next().unwrap_or_default();
    }
    let mut url = Url::parse(whole).map_err(|_| NoLink::NoAddress)?;
    // Something must part the address from the token: `https://a.exampleps1.…` is no link.
    let parted = joined.ends_with(['#', '/', '?', '=', '&']);
    if !url.has_host() || !parted {
        return Err(NoLink::NoAddress);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(NoLink::User);
    }
    if url.scheme() != "https" && !is_loopback(&url) {
        return Err(NoLink::Insecure);
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

fn scheme_at(text: &str, at: usize) -> bool {
    text.get(at..).is_some_and(|rest| rest.starts_with("https://") || rest.starts_with("http://"))
}

/// The folder of a page, from its address as a person types it; what follows `?` or `#` is dropped.
pub(crate) fn page_address(text: &str) -> Result<Url, NoLink> {
    let mut url = Url::parse(text.trim()).map_err(|_| NoLink::NoAddress)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(NoLink::User);
    }
    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(&url)) {
        return Err(NoLink::Insecure);
    }
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// Whether an address stays on this machine, where plain HTTP hides nothing from anybody new.
fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

/// Whether a `#` stood before the token in the text as it came, within the link.
fn in_fragment(text: &str, before: &str) -> bool {
    if text.starts_with(before) || !text.contains('%') {
        let from = before.rfind("http").unwrap_or(0);
        return before.get(from..).is_some_and(|link| link.contains('#'));
    }
    text.find("http").and_then(|from| text.get(from..)).is_some_and(|link| link.contains('#'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "ps1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn found(text: &str) -> Result<(String, bool), NoLink> {
        find(text).map(|link| (link.base.to_string(), link.exposed))
    }

    #[test]
    fn whole_and_decorated_links_are_found() {
        for text in [
            format!("https://s.example/#{TOKEN}"),
            format!("  <https://s.example/#{TOKEN}>.\n"),
            format!("Dear Alice,\r\nopen https://s.example/#{TOKEN}, please!"),
            format!("(https://s.example/#{TOKEN})"),
            format!("_https://s.example/#{TOKEN}_"),
            format!("https://s.example/#{TOKEN}?utm=1"),
            format!("https://help.example/ and https://s.example/#{TOKEN} here"),
            format!("https://s.example/#{}=\r\n{}", &TOKEN[..20], &TOKEN[20..]),
            format!("https://s.example/#{}\n  {}", &TOKEN[..20], &TOKEN[20..]),
            format!("https://s.example/\n#{TOKEN}"),
        ] {
            assert_eq!(found(&text), Ok(("https://s.example/".into(), false)), "{text}");
        }
        let path = found(&format!("https://s.example:8443/a/b/#{TOKEN}"));
        assert_eq!(path, Ok(("https://s.example:8443/a/b/".into(), false)));
        assert_eq!(found(&format!("https://s.example/a#{TOKEN}")).map(|f| f.0), Ok("https://s.example/a/".into()));
    }

    #[test]
    fn rewritten_links_are_recovered_and_known_to_be_exposed() {
        for text in [
            format!("https://s.example/%23{TOKEN}"),
            format!("https://s.example/%2523{TOKEN}/"),
            format!("https://s.example/?u={TOKEN}&x=y"),
            format!("https://safe.example/?url=https%3A%2F%2Fs.example%2F%23{TOKEN}&data=05%7C"),
            format!("https://safe.example/?url=https%3A%2F%2Fs.example%2F%2523{}&d=1", TOKEN.replace('.', "%2E")),
        ] {
            assert_eq!(found(&text), Ok(("https://s.example/".into(), true)), "{text}");
        }
        let outside = format!("https://safe.example/?url=https%3A%2F%2Fs.example%2F&data=05#{TOKEN}");
        assert_eq!(found(&outside), Ok(("https://s.example/".into(), false)));
    }

    #[test]
    fn what_is_no_link_is_named() {
        for (text, why) in [
            (String::new(), NoLink::None),
            ("https://s.example/".into(), NoLink::None),
            (format!("https://s.example/#{}", &TOKEN[..46]), NoLink::Broken),
            (format!("https://s.example/#{TOKEN}A"), NoLink::Broken),
            (format!("https://s.example/#PS1.{}", &TOKEN[4..]), NoLink::Broken),
            (format!("https://s.example/#{}B", &TOKEN[..46]), NoLink::Broken),
            (TOKEN.into(), NoLink::NoAddress),
            (format!("s.example/#{TOKEN}"), NoLink::NoAddress),
            (format!("https://other.example/help and {TOKEN}"), NoLink::NoAddress),
            (format!("https://s.example{TOKEN}"), NoLink::NoAddress),
            (format!("ftp://s.example/#{TOKEN}"), NoLink::NoAddress),
            (format!("http://s.example/#{TOKEN}"), NoLink::Insecure),
            (format!("http://127.0.0.1.evil.example/#{TOKEN}"), NoLink::Insecure),
            (format!("https://s.example@evil.example/#{TOKEN}"), NoLink::User),
        ] {
            assert_eq!(found(&text), Err(why), "{text}");
        }
        for local in ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:9"] {
            assert!(found(&format!("{local}/#{TOKEN}")).is_ok(), "{local}");
        }
    }

    #[test]
    fn arguments_that_hold_a_key_are_known() {
        assert!(looks_like_one(&format!("https://s.example/#{TOKEN}")));
        assert!(looks_like_one(&format!("--link={}", &TOKEN[..30])));
        for harmless in ["ps1.txt", "--link-file=ps1.mail", "audit.jsonl", ""] {
            assert!(!looks_like_one(harmless), "{harmless}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,200}") {
            let _found = find(&text);
            let _found = find(&format!("{text}{TOKEN}"));
            let _found = find(&format!("https://s.example/#{TOKEN}{text}"));
        }

        #[test]
        fn decoding_undoes_encoding(text in "\\PC{0,60}") {
            let encoded: String = text.bytes().map(|b| format!("%{b:02X}")).collect();
            prop_assert_eq!(&**decoded(&encoded), text.as_str());
        }
    }
}
