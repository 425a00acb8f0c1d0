//! Links whose token reached a path or a query: some mail gateways turn the `#` of a link into `%23`. It is counted here,
//! and nothing else: no log, and no change, since a GET changes nothing. The page tells of it in its next request.

use http::Uri;

/// What every token begins with.
const PREFIX: &[u8] = b"ps1.";
/// Letters of base64url behind it.
const LETTERS: usize = 43;

/// Whether path or query hold what looks like a whole token, plainly or percent-encoded up to three times over.
#[must_use]
pub(crate) fn holds_token(uri: &Uri) -> bool {
    let Some(text) = uri.path_and_query().map(|p| p.as_str().as_bytes()) else { return false };
    if text.len() < PREFIX.len() + LETTERS {
        return false;
    }
    let mut text = text.to_vec();
    for _ in 0..4 {
        if contains(&text) {
            return true;
        }
        let decoded = decode(&text);
        if decoded == text {
            return false;
        }
        text = decoded;
    }
    false
}

fn contains(text: &[u8]) -> bool {
    let letter = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    text.windows(PREFIX.len() + LETTERS).any(|w| {
        let (prefix, rest) = w.split_at(PREFIX.len());
        prefix == PREFIX && rest.iter().all(letter)
    })
}

fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let byte = (*first == b'%').then(|| tail.get(..2)).flatten().and_then(|two| {
            let mut byte = [0];
            hex::decode_to_slice(two, &mut byte).ok().map(|()| byte)
        });
        if let Some([byte]) = byte {
            out.push(byte);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(uri: &str) -> bool {
        holds_token(&uri.parse().unwrap())
    }

    #[test]
    fn tokens_are_found_however_they_were_mangled() {
        let token = format!("ps1.{}", "Ab-_0".repeat(9).get(..43).unwrap());
        for uri in [
            format!("/%23{token}"),
            format!("/%2523{token}"),
            format!("/?u=%23{token}&utm_source=mail"),
            format!("/{}", token.replace("ps1.", "%70s1%2E")),
            format!("/{}.", token.replace("ps1.", "%25252570s1.").replace("%252525", "%2525")),
            format!("/x/{token}"),
        ] {
            assert!(holds(&uri), "{uri}");
        }
        for uri in ["/", "/app.js", "/ps1.short", &format!("/{}", token.get(..46).unwrap()), "/%", "/%2", "/%zz?ps1."] {
            assert!(!holds(uri), "{uri}");
        }
    }
}
