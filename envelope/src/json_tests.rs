//! The reader and the writer against serde_json, and against what RFC 8259 forbids.

use proptest::prelude::*;

use super::*;

fn written(text: &str) -> Vec<u8> {
    let mut counter = Counter::default();
    counter.text(text);
    let mut out = vec![0; counter.0];
    let mut writer = Writer::new(&mut out);
    writer.text(text);
    writer.finish().unwrap();
    out
}

fn skims(json: &[u8]) -> Result<(), Error> {
    let mut reader = Reader::new(json)?;
    reader.skip()?;
    reader.end()
}

#[test]
fn forbidden_forms_are_refused() {
    for bad in [
        "",
        " ",
        "{",
        "}",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "[1 2]",
        "01",
        "-",
        "1.",
        ".5",
        "+1",
        "1e",
        "1e+",
        "0x10",
        "NaN",
        "Infinity",
        "tru",
        "nul",
        "truefalse",
        "\"",
        "\"\\\"",
        "\"\\x41\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\t\"",
        "\"\n\"",
        "{} {}",
        "[]]",
        "{\"a\"}",
        "{\"a\":}",
        "//\n1",
        "\u{feff}1",
        "\u{a0}1",
        "{1:1}",
    ] {
        assert_eq!(skims(bad.as_bytes()), Err(Error::Json), "{bad:?}");
    }
    assert_eq!(skims(b"\"\xff\""), Err(Error::Json));
    assert_eq!(skims("[".repeat(70).as_bytes()), Err(Error::Depth));
}

#[test]
fn surrogates_pair_up_or_are_seen() {
    let read = |json: &str| Reader::new(json.as_bytes()).unwrap().string("x").map(|t| t.expose().to_owned());
    assert_eq!(read(r#""\ud83d\ude00\u00e9\u0041""#).as_deref(), Ok("😀éA"));
    for lone in [r#""\ud83d""#, r#""\ude00""#, r#""\ud83d\ud83d""#, r#""\ud83dx""#, r#""\ud83d\n""#] {
        assert_eq!(read(lone), Err(Error::Surrogate("x")), "{lone}");
    }
    assert_eq!(read(r#""\ud83d\u""#), Err(Error::Json));
    assert_eq!(skims(br#"["\ud83d\ud83d\ude00"]"#), Ok(()));
}

#[test]
fn integers_have_many_spellings() {
    let read = |json: &str| Reader::new(json.as_bytes()).unwrap().integer("n");
    for (json, want) in
        [("0", 0), ("-0", 0), ("1.0", 1), ("1e3", 1000), ("10e-1", 1), ("9007199254740991", (1 << 53) - 1)]
    {
        assert_eq!(read(json), Ok(want), "{json}");
    }
    for bad in ["-1", "0.5", "9007199254740992", "1e400", "1e-1"] {
        assert_eq!(read(bad), Err(Error::Number("n")), "{bad}");
    }
    for foreign in ["\"1\"", "null", "[1]", "{}", "true"] {
        assert_eq!(read(foreign), Err(Error::WrongType("n")), "{foreign}");
    }
}

#[test]
fn a_writer_that_is_too_small_says_so() {
    let mut out = [0; 3];
    let mut writer = Writer::new(&mut out);
    writer.text("ab");
    assert_eq!(writer.finish(), Err(Error::Frame));
    let mut writer = Writer::new(&mut out);
    writer.base64(b"abcd");
    assert_eq!(writer.finish(), Err(Error::Frame));
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            proptest::collection::btree_map(".{0,6}", inner, 0..5)
                .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn text_is_written_as_serde_json_writes_it(text in any::<String>()) {
        prop_assert_eq!(written(&text), serde_json::to_vec(&text).unwrap());
        let json = written(&text);
        let mut reader = Reader::new(&json).unwrap();
        let read = reader.string("x").unwrap();
        prop_assert_eq!(read.expose(), text);
        prop_assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn what_serde_json_writes_is_read(value in any_json()) {
        prop_assert_eq!(skims(&serde_json::to_vec_pretty(&value).unwrap()), Ok(()));
    }

    #[test]
    fn junk_never_panics_and_is_judged_as_serde_json_does(text in r#"[\[\]{}:,"\\ut01e.+\- dn8-]{0,24}"#) {
        let ours = skims(text.as_bytes());
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours, theirs);
    }

    #[test]
    fn bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _judged = skims(&bytes);
    }
}

#[test]
fn special_bytes_are_found_wherever_a_block_ends() {
    for len in [0, 1, 31, 32, 33, 63, 64, 65, 200] {
        let plain = vec![b'x'; len];
        assert_eq!(plain_len(&plain), len);
        for special in [b'"', b'\\', 0, 0x1f] {
            for at in 0..len {
                let mut text = plain.clone();
                text[at] = special;
                assert_eq!(plain_len(&text), at, "{special} at {at} of {len}");
            }
        }
    }
    assert_eq!(plain_len("é\u{7f}ÿ".as_bytes()), 5);
}
