//! What people and programs type, paste and copy: base64url, fragments, passphrases, opening codes.

use ps_core::encode::b64;
use ps_core::ids::LinkId;
use ps_core::link::Kdf;
use ps_envelope::{OpeningCode, Passphrase};
use serde_json::{Value, json};

use super::{bad, good, seed};

pub(super) fn base64() -> Vec<Value> {
    let accepted: &[&[u8]] = &[b"", &[0], &[0, 0], &[0, 0, 0], &[0xfb, 0xff, 0xbf], &[0xff; 32]];
    let refused = [
        ("one character", "A"),
        ("five characters", "AAAAA"),
        ("unused bits set after one byte", "AB"),
        ("unused bits set after two bytes", "AAB"),
        ("padding", "AA=="),
        ("half of the padding", "AA="),
        ("space inside", "A A"),
        ("space in front", " AA"),
        ("line end behind", "AA\n"),
        ("alphabet of plain base64", "+/+/"),
        ("letter outside ASCII", "Aé"),
        ("NUL behind", "AA\0"),
        ("full stop", "AA.A"),
    ];
    let ok = accepted.iter().map(|bytes| {
        let text = b64(bytes);
        good(&format!("{} bytes from {:?}", bytes.len(), bytes.first()), json!({"text": text}), json!({"bytes": text}))
    });
    ok.chain(refused.iter().map(|(name, text)| bad(name, json!({"text": text}), "bad-base64"))).collect()
}

pub(super) fn fragment() -> Vec<Value> {
    let s = b64(&seed("fragment"));
    let mut cases: Vec<_> = [("zero bytes", [0; 32]), ("all bits set", [0xff; 32]), ("random bytes", seed("fragment"))]
        .into_iter()
        .map(|(name, s)| {
            let text = format!("ps1.{}", b64(&s));
            good(name, json!({"fragment": text}), json!({"s": b64(&s), "fragment": text}))
        })
        .collect();
    let refused = [
        ("empty", String::new()),
        ("prefix only", "ps1.".into()),
        ("without prefix", s.clone()),
        ("another version", format!("ps2.{s}")),
        ("upper-case prefix", format!("PS1.{s}")),
        ("colon for full stop", format!("ps1:{s}")),
        ("hash in front", format!("#ps1.{s}")),
        ("escaped hash in front", format!("%23ps1.{s}")),
        ("slash in front", format!("/ps1.{s}")),
        ("42 characters", format!("ps1.{}", &s[..42])),
        ("44 characters", format!("ps1.{s}A")),
        ("unused bits set", format!("ps1.{}B", "A".repeat(42))),
        ("padding", format!("ps1.{s}=")),
        ("space in front", format!(" ps1.{s}")),
        ("space behind", format!("ps1.{s} ")),
        ("line end behind", format!("ps1.{s}\n")),
        ("space inside", format!("ps1.{} {}", &s[..20], &s[21..])),
        ("plus of plain base64", format!("ps1.+{}", &s[1..])),
        ("slash of plain base64", format!("ps1./{}", &s[1..])),
        ("full stop of a sentence", format!("ps1.{s}.")),
        ("closing bracket", format!("ps1.{s})")),
        ("zero width space", format!("ps1.{}\u{200b}", &s[..42])),
        ("tracking parameter", format!("ps1.{s}?utm_source=mail")),
    ];
    cases.extend(refused.iter().map(|(name, text)| bad(name, json!({"fragment": text}), "bad-fragment")));
    cases
}

pub(super) fn passphrase() -> Vec<Value> {
    let salt: [u8; 16] = std::array::from_fn(|n| seed("salt")[n]);
    let long = "a".repeat(1024);
    let composed = "e\u{301}".repeat(512);
    let accepted: &[(&str, &str, &str, bool)] = &[
        ("plain", "correct horse battery staple", "correct horse battery staple", true),
        ("one letter", "x", "x", false),
        ("line feed behind", "hunter2\n", "hunter2", true),
        ("carriage return and line feed behind", "hunter2\r\n", "hunter2", false),
        ("two line feeds behind: one stays", "hunter2\n\n", "hunter2\n", false),
        ("line feed, carriage return, line feed", "hunter2\n\r\n", "hunter2\n", false),
        ("carriage return alone stays", "hunter2\r", "hunter2\r", false),
        ("line feed in front stays", "\nhunter2", "\nhunter2", false),
        ("a carriage return before two line ends", "a\r\r\n", "a\r", false),
        ("white space stays", "  two  words \t", "  two  words \t", false),
        ("decomposed accent composes", "Ame\u{301}lie", "Am\u{e9}lie", true),
        ("composed accent stays", "Am\u{e9}lie", "Am\u{e9}lie", true),
        ("angstrom sign", "\u{212b}", "\u{c5}", false),
        ("marks are put in order", "a\u{307}\u{323}", "\u{1ea1}\u{307}", false),
        ("hangul composes", "\u{1112}\u{1161}\u{11ab}", "\u{d55c}", false),
        ("composition exclusion decomposes", "\u{958}", "\u{915}\u{93c}", false),
        ("compatibility forms stay", "\u{fb01}\u{ff21}\u{b2}", "\u{fb01}\u{ff21}\u{b2}", false),
        ("outside the basic plane", "\u{1f511}\u{1f5dd}", "\u{1f511}\u{1f5dd}", true),
        ("byte order mark stays", "\u{feff}a", "\u{feff}a", false),
        ("NUL stays", "a\0b", "a\0b", false),
        ("case stays", "PassWord", "PassWord", false),
        ("1024 bytes", &long, &long, false),
        ("1024 bytes after composition", &composed, &"\u{e9}".repeat(512), false),
    ];
    let mut cases: Vec<_> = accepted
        .iter()
        .map(|(name, typed, want, stretched)| {
            let p = stretched.then(|| {
                let p = Passphrase::new(typed).unwrap().stretch(Kdf::Argon2id19456x2x1, &salt).unwrap();
                b64(p.expose())
            });
            let salt = stretched.then(|| b64(&salt));
            good(name, json!({"typed": typed, "salt": salt}), json!({"normalised": b64(want.as_bytes()), "p": p}))
        })
        .collect();
    for (name, typed, error) in [
        ("empty", String::new(), "passphrase-empty"),
        ("line feed only", "\n".into(), "passphrase-empty"),
        ("carriage return and line feed only", "\r\n".into(), "passphrase-empty"),
        ("1025 bytes", "a".repeat(1025), "passphrase-too-long"),
        ("1026 bytes after composition", "e\u{301}".repeat(513), "passphrase-too-long"),
        ("1025 bytes in 342 characters", format!("{}\u{e9}", "\u{20ac}".repeat(341)), "passphrase-too-long"),
        ("1536 bytes after decomposition", "\u{958}".repeat(256), "passphrase-too-long"),
    ] {
        cases.push(bad(name, json!({"typed": typed, "salt": null}), error));
    }
    cases
}

pub(super) fn opening_code() -> Vec<Value> {
    let id: [u8; 16] = std::array::from_fn(|n| seed("opening code id")[n]);
    let good_case = |name: &str, typed: &str, want: &str| {
        let code = OpeningCode::parse(typed).unwrap();
        assert_eq!(code.expose(), want, "{name}");
        let shown = code.shown().unwrap();
        good(
            name,
            json!({"typed": typed, "id": b64(&id)}),
            json!({"code": want, "shown": shown.expose(), "hash": b64(&code.hash(LinkId(id)).0)}),
        )
    };
    let codes: Vec<_> = [[0; 5], [0xff; 5], [1, 2, 3, 4, 5], [0x41, 0x99, 0xe7, 0x10, 0x6b], [0x80, 0, 0, 0, 1]]
        .into_iter()
        .map(|random| OpeningCode::from_random(random).unwrap().expose().to_owned())
        .collect();
    let mut cases: Vec<_> =
        codes.iter().enumerate().map(|(n, code)| good_case(&format!("code {n}"), code, code)).collect();
    let (zeros, c) = (&codes[0], &codes[3]);
    let dashed = format!("{}-{}", &c[..4], &c[4..]);
    cases.push(good_case("as shown", &dashed, c));
    cases.push(good_case("lower case", &dashed.to_lowercase(), c));
    cases.push(good_case("spaces and hyphens anywhere", &format!(" -{}- - {} ", &c[..3], &c[3..]), c));
    cases.push(good_case("O for 0", &zeros.replace('0', "O"), zeros));
    cases.push(good_case("o for 0", &zeros.replace('0', "o"), zeros));
    let ones = "1000000";
    let ones = (0..32).map(|n| format!("{ones}{}", char::from(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"[n])));
    let ones = ones.into_iter().find(|code| OpeningCode::parse(code).is_ok()).unwrap();
    for letter in ["I", "i", "L", "l"] {
        cases.push(good_case(&format!("{letter} for 1"), &format!("{letter}{}", &ones[1..]), &ones));
    }

    let mut refuse = |name: String, typed: String| {
        cases.push(bad(&name, json!({"typed": typed, "id": b64(&id)}), "bad-opening-code"));
    };
    for at in 0..8 {
        let mut wrong = c.clone().into_bytes();
        wrong[at] = if wrong[at] == b'7' { b'8' } else { b'7' };
        refuse(format!("character {at} wrong"), String::from_utf8(wrong).unwrap());
    }
    for at in (0..7).filter(|at| c.as_bytes()[*at] != c.as_bytes()[at + 1]) {
        let mut swapped = c.clone().into_bytes();
        swapped.swap(at, at + 1);
        refuse(format!("characters {at} and {} swapped", at + 1), String::from_utf8(swapped).unwrap());
    }
    for (name, typed) in [
        ("empty", String::new()),
        ("hyphen only", "-".into()),
        ("seven characters", c[..7].into()),
        ("nine characters", format!("{c}0")),
        ("a second code behind", format!("{c} {c}")),
        ("U is not in the alphabet", "U0000000".into()),
        ("check character missing, zeros", "0000000".into()),
        ("tab inside", format!("{}\t{}", &c[..4], &c[4..])),
        ("line end behind", format!("{c}\n")),
        ("no-break space inside", format!("{}\u{a0}{}", &c[..4], &c[4..])),
        ("en dash inside", format!("{}\u{2013}{}", &c[..4], &c[4..])),
        ("full-width zeros", "\u{ff10}".repeat(8)),
        ("dotless i, which upper-cases to I", format!("\u{131}{}", &ones[1..])),
        ("star", "0000000*".into()),
        ("underscore", format!("{}_{}", &c[..4], &c[4..])),
    ] {
        refuse(name.into(), typed);
    }
    cases
}
