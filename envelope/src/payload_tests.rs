//! Payloads and previews written and read; the vectors hold the refused forms.

use proptest::prelude::*;

use super::*;

fn secret(text: &str) -> SecretString {
    SecretString::new(text.to_owned())
}

fn field(key: &str, value: &str) -> Field {
    Field { key: key.into(), label: String::new(), kind: FieldKind::Password, value: secret(value) }
}

#[test]
fn kinds_follow_names_and_lines() {
    assert_eq!(FieldKind::guess("API_Token", "x"), FieldKind::Password);
    assert_eq!(FieldKind::guess("username", "x\n"), FieldKind::Text);
    assert_eq!(FieldKind::guess("cert", "a\nb"), FieldKind::Multiline);
}

#[test]
fn a_payload_is_written_as_section_5_says() {
    let payload = Payload {
        title: Some(secret("T")),
        works_for: Some(Span::from_secs(5)),
        fields: vec![field("k", "\"\u{1}é")],
        files: vec![File { name: "f".into(), media_type: "t".into(), data: SecretBytes::new(vec![0xfb, 0xff]) }],
        ..Payload::default()
    };
    let want = concat!(
        r#"{"v":1,"title":"T","worksForMs":5000,"#,
        r#""fields":[{"key":"k","label":"","kind":"password","value":"\"\u0001é"}],"#,
        r#""files":[{"name":"f","type":"t","data":"-_8"}]}"#
    );
    assert_eq!(std::str::from_utf8(payload.to_json().unwrap().expose()).unwrap(), want);
}

#[test]
fn a_sealer_is_held_to_the_limits() {
    let with = |fields: Vec<Field>| Payload { fields, ..Payload::default() }.to_json().err();
    assert_eq!(with(vec![]), Some(Error::ItemCount));
    assert_eq!(with((0..65).map(|n| field(&n.to_string(), "")).collect()), Some(Error::ItemCount));
    assert_eq!(with((0..64).map(|n| field(&n.to_string(), "")).collect()), None);
    assert_eq!(with(vec![field("", "v")]), Some(Error::FieldKey));
    assert_eq!(with(vec![field("a", "v"), field("b", ""), field("a", "w")]), Some(Error::FieldKeyRepeated));
    assert_eq!(with(vec![Field { kind: FieldKind::Unknown, ..field("k", "") }]), Some(Error::FieldKind));
    let rest = with_overhead();
    assert_eq!(with(vec![field("k", &"x".repeat(MAX_PAYLOAD_JSON - rest))]), None);
    assert_eq!(with(vec![field("k", &"x".repeat(MAX_PAYLOAD_JSON - rest + 1))]), Some(Error::TooLarge));
    // A control character takes six bytes.
    assert_eq!(with(vec![field("k", &"\u{1}".repeat(MAX_PAYLOAD_JSON / 6))]), Some(Error::TooLarge));
    let long =
        Payload { works_for: Some(Span::from_millis(1 << 53)), fields: vec![field("k", "")], ..Payload::default() };
    assert_eq!(long.to_json().err(), Some(Error::Number("worksForMs")));
}

fn with_overhead() -> usize {
    Payload { fields: vec![field("k", "")], ..Payload::default() }.to_json().unwrap().len()
}

#[test]
fn a_preview_is_held_to_the_limits() {
    let preview = |title: &str, sender: &str| {
        Preview { title: secret(title), sender: secret(sender), works_for: None }.to_json().err()
    };
    assert_eq!(preview("", ""), None);
    assert_eq!(preview(&"é".repeat(200), &"é".repeat(320)), None);
    let long = Preview { works_for: Some(Span::from_millis(1 << 53)), ..Preview::default() };
    assert_eq!(long.to_json().err(), Some(Error::Number("worksForMs")));
    assert_eq!(preview(&"é".repeat(201), ""), Some(Error::TooLong("title")));
    assert_eq!(preview("", &"é".repeat(321)), Some(Error::TooLong("sender")));
    // 520 control characters fit as text; escaped they are 3120 bytes, and that fits too.
    assert_eq!(preview(&"\u{1}".repeat(200), &"\u{1}".repeat(320)), None);
}

#[test]
fn a_saved_file_stays_in_its_folder() {
    let plain = |name: &str| {
        let data = SecretBytes::default();
        File { name: name.into(), media_type: String::new(), data }.plain_name()
    };
    for (name, want) in [
        ("ca.pem", "ca.pem"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\x.dll", "x.dll"),
        ("a:stream", "stream"),
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("a\u{0}\u{202e}b\n.txt. ", "ab.txt"),
        ("a\u{61c}\u{200f}\u{2067}.pem", "a.pem"),
        ("schlüssel.key", "schlüssel.key"),
    ] {
        assert_eq!(plain(name).as_deref(), Some(want), "{name:?}");
    }
    for name in ["", ".", "..", "a/", "/", " . ", &"x".repeat(256)] {
        assert_eq!(plain(name), None, "{name:?}");
    }
}

#[test]
fn nothing_prints() {
    let payload =
        Payload { title: Some(secret("Canary")), fields: vec![field("Canary", "Canary")], ..Payload::default() };
    let preview = Preview { title: secret("Canary"), sender: secret("Canary"), works_for: None };
    let file = File { name: "Canary".into(), media_type: "Canary".into(), data: SecretBytes::new(b"Canary".to_vec()) };
    let told = format!("{payload:?} {:#?} {preview:?} {file:?}", payload.fields);
    assert!(!told.contains("Canary"), "{told}");
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        title in proptest::option::of(any::<String>()),
        values in proptest::collection::vec((any::<String>(), any::<String>()), 1..6),
        data in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..3),
        ms in proptest::option::of(0_i64..1 << 53),
    ) {
        let fields: Vec<_> = values.iter().enumerate().map(|(n, (label, value))| Field {
            label: label.clone(), ..field(&n.to_string(), value)
        }).collect();
        let files = data.iter().map(|d| File {
            name: "n".into(), media_type: "t".into(), data: SecretBytes::new(d.clone()),
        }).collect();
        let payload = Payload {
            title: title.as_deref().map(secret), works_for: ms.map(Span::from_millis), fields, files, ..Payload::default()
        };
        let json = payload.to_json().unwrap();
        let read = Payload::from_json(json.expose()).unwrap();
        prop_assert_eq!(read.title.as_ref().map(|t| t.expose()), title.as_deref());
        prop_assert_eq!(read.works_for.map(|s| s.as_millis()), ms);
        for (got, (label, value)) in read.fields.iter().zip(&values) {
            prop_assert_eq!((&got.label, got.value.expose()), (label, value.as_str()));
        }
        prop_assert_eq!(read.fields.len(), values.len());
        prop_assert_eq!(read.files.iter().map(|f| f.data.expose().to_vec()).collect::<Vec<_>>(), data);
        // The same as a general parser sees it.
        let general: serde_json::Value = serde_json::from_slice(json.expose()).unwrap();
        prop_assert_eq!(general["fields"].as_array().map(Vec::len), Some(values.len()));
    }

    #[test]
    fn junk_never_panics(text in r#"(\{|\}|\[|\]|,|:|"v"|1|"fields"|"key"|"a"|"label"|"kind"|"value"|"\\u"|null|"files"|"data"){0,30}"#) {
        let _payload = Payload::from_json(text.as_bytes());
        let _preview = Preview::from_json(text.as_bytes());
    }
}
