//! Padding, frames, and the JSON of previews.

use ps_core::encode::b64;
use ps_envelope::pad::padded_len;
use ps_envelope::{MAX_PAYLOAD_JSON, MAX_PREVIEW_JSON};
use serde_json::{Value, json};

use super::{bad, good, repeated};

pub(super) fn padding() -> Vec<Value> {
    // Written down, not computed: the boundaries where the next step begins.
    [
        (0, 256),
        (1, 256),
        (252, 256),
        (253, 272),
        (268, 272),
        (269, 288),
        (507, 512),
        (508, 512),
        (509, 544),
        (1020, 1024),
        (1021, 1088),
        (4092, 4096),
        (4093, 4352),
        (65_532, 65_536),
        (65_533, 67_584),
        (100_000, 100_352),
        (1_000_000, 1_015_808),
        (1_048_572, 1_048_576),
        (1_048_573, 1_081_344),
        (1_048_576, 1_081_344),
    ]
    .into_iter()
    .map(|(len, want): (usize, usize)| {
        assert_eq!(padded_len(len), want, "{len}");
        good(&format!("{len} bytes of JSON"), json!({"length": len}), json!({"padded": want}))
    })
    .collect()
}

fn framed(json: &[u8]) -> Vec<u8> {
    let mut plain = u32::try_from(json.len()).unwrap().to_be_bytes().to_vec();
    plain.extend_from_slice(json);
    plain.resize(padded_len(json.len()), 0);
    plain
}

pub(super) fn frame() -> Vec<Value> {
    let mut cases = Vec::new();
    for (name, len) in [("short", 2), ("full to the last byte", 252), ("first of the next step", 253), ("long", 1021)] {
        let json = vec![b'x'; len];
        let input = json!({"plaintext": b64(&framed(&json)), "purpose": "payload"});
        cases.push(good(name, input, json!({"json": b64(&json)})));
    }
    // JSON of zero bytes is no JSON, but it makes long frames short to write down.
    let zero = &[0];
    let edge = |len: usize, purpose: &str| {
        let head = u32::try_from(len).unwrap().to_be_bytes();
        json!({"plaintext": repeated(&head, zero, padded_len(len) - 4, b""), "purpose": purpose})
    };
    let zeros = |len| json!({"json": repeated(b"", zero, len, b"")});
    cases.push(good("largest payload", edge(MAX_PAYLOAD_JSON, "payload"), zeros(MAX_PAYLOAD_JSON)));
    cases.push(good("largest preview", edge(MAX_PREVIEW_JSON, "preview"), zeros(MAX_PREVIEW_JSON)));
    cases.push(bad("payload too large", edge((1 << 20) + 1, "payload"), "too-large"));
    cases.push(bad("preview too large", edge(4097, "preview"), "too-large"));

    let mut refuse = |name: &str, plain: Vec<u8>| {
        cases.push(bad(name, json!({"plaintext": b64(&plain), "purpose": "payload"}), "bad-frame"));
    };
    let plain = framed(b"{}");
    let changed = |at: usize, byte: u8| {
        let mut changed = plain.clone();
        changed[at] = byte;
        changed
    };
    refuse("empty", Vec::new());
    refuse("shorter than its length", vec![0, 0, 0]);
    refuse("first padding byte not zero", changed(6, 1));
    refuse("last padding byte not zero", changed(255, 0x80));
    refuse("length one too small", changed(3, 1));
    refuse("length far too large", changed(0, 0xff));
    refuse("length one past the end", changed(3, 253));
    refuse("length in little-endian order", {
        let mut p = plain.clone();
        p[0] = 2;
        p[3] = 0;
        p
    });
    refuse("one step too long", {
        let mut p = plain.clone();
        p.resize(272, 0);
        p
    });
    refuse("one byte too long", {
        let mut p = plain.clone();
        p.push(0);
        p
    });
    refuse("one byte too short", plain[..255].to_vec());
    refuse("not padded at all", plain[..6].to_vec());
    refuse("padded to 256 only", {
        let mut p = framed(&[b'x'; 253]);
        p.truncate(257);
        p
    });
    refuse("padded with spaces", {
        let mut p = plain.clone();
        p[6..].fill(b' ');
        p
    });
    cases
}

pub(super) fn preview() -> Vec<Value> {
    let mut cases = Vec::new();
    let mut accept = |name: &str, text: String, title: &str, sender: &str| {
        cases.push(good(name, json!({"json": b64(text.as_bytes())}), json!({"title": title, "sender": sender})));
    };
    let p = |title: &str, sender: &str| format!(r#"{{"v":1,"title":"{title}","sender":"{sender}"}}"#);
    accept("usual", p("Database", "ops@example.com"), "Database", "ops@example.com");
    accept("both empty", p("", ""), "", "");
    let (keys, long) = ("\u{1f511}".repeat(200), "é".repeat(320));
    accept("longest, in characters outside the basic plane", p(&keys, &long), &keys, &long);
    accept("unknown member", r#"{"v":1,"title":"T","sender":"S","logo":[1]}"#.into(), "T", "S");
    let works = r#"{"v":1,"title":"T","sender":"S","worksForMs":3.6e6}"#;
    cases.push(good(
        "how long it works",
        json!({"json": b64(works.as_bytes())}),
        json!({"title": "T", "sender": "S", "worksForMs": 3_600_000}),
    ));
    let mut accept = |name: &str, text: String, title: &str, sender: &str| {
        cases.push(good(name, json!({"json": b64(text.as_bytes())}), json!({"title": title, "sender": sender})));
    };
    let least = p("", "");
    let spaces = MAX_PREVIEW_JSON - least.len();
    accept("4096 bytes", format!("{least}{}", " ".repeat(spaces)), "", "");
    let mut refuse = |name: &str, text: String, error: &str| {
        cases.push(bad(name, json!({"json": b64(text.as_bytes())}), error));
    };
    refuse("4097 bytes", format!("{least}{}", " ".repeat(spaces + 1)), "too-large");
    refuse("title of 201 characters", p(&"a".repeat(201), ""), "text-too-long");
    refuse("sender of 321 characters", p("", &"a".repeat(321)), "text-too-long");
    refuse("no title", r#"{"v":1,"sender":""}"#.into(), "missing-member");
    refuse("no sender", r#"{"v":1,"title":""}"#.into(), "missing-member");
    refuse("no version", r#"{"title":"","sender":""}"#.into(), "missing-member");
    refuse("version 2", r#"{"v":2,"title":"","sender":""}"#.into(), "bad-version");
    refuse("title null", r#"{"v":1,"title":null,"sender":""}"#.into(), "wrong-type");
    refuse("sender an array", r#"{"v":1,"title":"","sender":[""]}"#.into(), "wrong-type");
    refuse("title twice", r#"{"v":1,"title":"","title":"","sender":""}"#.into(), "duplicate-member");
    refuse("sender twice", r#"{"v":1,"title":"","sender":"","sender":""}"#.into(), "duplicate-member");
    refuse("lone surrogate", r#"{"v":1,"title":"\ud800","sender":""}"#.into(), "lone-surrogate");
    refuse("worksForMs text", r#"{"v":1,"title":"","sender":"","worksForMs":"1h"}"#.into(), "wrong-type");
    refuse("worksForMs 2^53", r#"{"v":1,"title":"","sender":"","worksForMs":9007199254740992}"#.into(), "bad-number");
    refuse(
        "worksForMs twice",
        r#"{"v":1,"title":"","sender":"","worksForMs":1,"worksForMs":1}"#.into(),
        "duplicate-member",
    );
    refuse("text", r#""T""#.into(), "wrong-type");
    refuse("cut off", r#"{"v":1,"title":"","sender":""#.into(), "bad-json");
    cases
}
