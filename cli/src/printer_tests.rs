//! Forms of output, in bytes.

use std::os::unix::fs::PermissionsExt as _;

use ps_core::secret::SecretBytes;
use ps_core::time::Span;
use ps_envelope::File as Attached;

use super::*;

fn payload(fields: &[(&str, &str, FieldKind, &str)]) -> Payload {
    Payload {
        title: Some(SecretString::new("Shop database".into())),
        works_for: Some(Span::from_secs(3600)),
        fields: fields
            .iter()
            .map(|(key, label, kind, value)| Field {
                key: (*key).to_owned(),
                label: (*label).to_owned(),
                kind: *kind,
                value: SecretString::new((*value).to_owned()),
            })
            .collect(),
        ..Payload::default()
    }
}

fn sample() -> Payload {
    payload(&[
        ("username", "Username", FieldKind::Text, "alice"),
        ("db-password", "", FieldKind::Password, "it's $HOME"),
        ("cert", "Certificate", FieldKind::Multiline, "one\ntwo\n"),
    ])
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_table_hides_and_shows() {
    let head = "What         Shop database\nWorks        1h from the first opening\n\n";
    let hidden = table(&sample(), false, true);
    assert_eq!(text(&hidden), format!("{head}Username     alice\ndb-password  ••••••••\nCertificate  ••••••••\n"));
    let shown = table(&sample(), true, true);
    assert_eq!(
        text(&shown),
        format!("{head}Username     alice\ndb-password  it's $HOME\nCertificate  one\n             two\n")
    );
}

#[test]
fn a_table_moves_no_cursor() {
    let sent = payload(&[("k\x1b[2J", "l\x07\u{202e}", FieldKind::Text, "v\x1b]0;x\x07\r")]);
    let out = table(&sent, true, false);
    assert!(!text(&out).chars().any(|c| c.is_control() && c != '\n'), "{:?}", text(&out));
}

#[test]
fn env_is_what_a_shell_reads_back() {
    let out = env(&sample(), "SECRET_").unwrap();
    assert_eq!(text(&out), "SECRET_USERNAME='alice'\nSECRET_DB_PASSWORD='it'\\''s $HOME'\nSECRET_CERT='one\ntwo\n'\n");
    let script = format!("{}\nprintf %s \"$SECRET_DB_PASSWORD$SECRET_CERT\"", text(&out));
    let shell = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
    assert_eq!(text(&shell.stdout), "it's $HOMEone\ntwo\n");
}

#[test]
fn env_refuses_what_it_cannot_say() {
    for (fields, prefix) in [
        (vec![("a-b", "", FieldKind::Text, "1"), ("a_b", "", FieldKind::Text, "2")], ""),
        (vec![("a", "", FieldKind::Text, "x\0y")], ""),
        (vec![("a", "", FieldKind::Text, "x")], "A B"),
        (vec![("a", "", FieldKind::Text, "x")], "1"),
        (vec![("a", "", FieldKind::Text, "x")], "A=$(id);"),
    ] {
        assert_eq!(env(&payload(&fields), prefix).unwrap_err().exit(), Exit::Usage, "{prefix}");
    }
    let digits = payload(&[("1a$(id)", "", FieldKind::Text, "x")]);
    assert_eq!(text(&env(&digits, "").unwrap()), "_1A__ID_='x'\n");
}

#[test]
fn json_and_fields_are_exact() {
    let odd = payload(&[("k", "", FieldKind::Unknown, "\u{0}\u{1b}\"é")]);
    let value: serde_json::Value = serde_json::from_slice(&json(&odd).unwrap()).unwrap();
    assert_eq!(value["fields"][0]["value"], "\u{0}\u{1b}\"é");
    assert_eq!(value["worksForMs"], 3_600_000);
    assert_eq!(text(&field(&odd, "k", false).unwrap()), "\u{0}\u{1b}\"é");
    assert_eq!(text(&field(&sample(), "username", true).unwrap()), "alice\n");
    let missing = field(&sample(), "password", false).unwrap_err().to_string();
    assert!(missing.contains("username, db-password, cert"), "{missing}");
    assert!(!missing.contains("alice"), "{missing}");
}

#[test]
fn the_buffer_never_moves() {
    let nasty = "\u{1}".repeat(1000);
    let sent = payload(&[("k", "", FieldKind::Text, &nasty), ("q", "", FieldKind::Password, &"'".repeat(1000))]);
    let capacity = room(&sent).capacity();
    for out in [table(&sent, true, false), json(&sent).unwrap(), env(&sent, "SECRET_").unwrap()] {
        assert_eq!(out.capacity(), capacity);
    }
    let lines = payload(&[("k", &"l".repeat(40), FieldKind::Multiline, &"a\n".repeat(5000))]);
    assert_eq!(table(&lines, true, false).capacity(), room(&lines).capacity());
}

#[test]
fn files_are_saved_apart_and_never_over_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut sent = sample();
    sent.files.push(Attached {
        name: "../../etc/id_ed25519".into(),
        media_type: "text/plain".into(),
        data: SecretBytes::new(vec![0, 1, 2]),
    });
    save(&sent, folder.path()).unwrap();
    let path = folder.path().join("id_ed25519");
    assert_eq!(std::fs::read(&path).unwrap(), [0, 1, 2]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(save(&sent, folder.path()).unwrap_err().exit(), Exit::Usage);
}
