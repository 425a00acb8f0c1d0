//! `audit verify`, on trails that the real writer wrote.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ps_audit::{FileTrail, Mirror};
use ps_core::audit::{Event, EventKind, Writer};
use ps_core::ids::Key;
use ps_core::ports::AuditSink as _;
use ps_core::time::Timestamp;
use tempfile::TempDir;

use crate::support::{Ran, command, run, run_with};

/// A trail of five events.
fn trail(folder: &TempDir) -> PathBuf {
    let events: Vec<Event> = (0..5)
        .map(|seq| Event {
            delivery: Key::new("shop", "db"),
            incarnation: "0123456789abcdef".into(),
            attempt: 1,
            writer: Writer::Operator,
            seq,
            at: Timestamp::from_secs(1_800_000_000),
            kind: EventKind::Claimed,
            reason: "a test".into(),
            facts: BTreeMap::new(),
        })
        .collect();
    let path = folder.path().join("audit.jsonl");
    let trail = FileTrail::open(&path, "ledger-1", Mirror::None).unwrap();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(trail.append(&events)).unwrap();
    path
}

fn verify(folder: &TempDir, args: &[&str]) -> Ran {
    run(command(folder.path(), &[&["audit", "verify"], args].concat()))
}

#[test]
fn a_good_trail_and_its_head() {
    let folder = tempfile::tempdir().unwrap();
    let path = trail(&folder);
    let path = path.to_str().unwrap();
    let ran = verify(&folder, &[path]).exits(0);
    assert!(ran.out.contains("complete and unaltered") && ran.out.contains("events      5"), "{}", ran.out);
    let head = ran.out.lines().find_map(|line| line.trim().strip_prefix("head ")).unwrap().trim().to_owned();
    let ran = verify(&folder, &["--head", &head, path]).exits(0);
    assert!(ran.out.contains("the expected head is there"), "{}", ran.out);
    let json = verify(&folder, &["--json", "--head", &head, path]).exits(0);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&json["ok"], &json["events"], &json["headFound"]), (&true.into(), &5.into(), &true.into()));
    assert_eq!(json["head"], head);
    let bytes = std::fs::read(path).unwrap();
    run_with(command(folder.path(), &["audit", "verify", "-"]), &bytes).exits(0);
    // A trail that lost its end is in order by itself; the head that was kept says otherwise.
    let cut: String = std::str::from_utf8(&bytes).unwrap().split_inclusive('\n').take(3).collect();
    std::fs::write(path, cut).unwrap();
    verify(&folder, &[path]).exits(0);
    let ran = verify(&folder, &["--head", &head, path]).exits(1);
    assert!(ran.out.contains("NOT in order"), "{}", ran.out);
}

#[test]
fn a_tampered_trail_is_found_and_an_unreadable_one_is_another_matter() {
    let folder = tempfile::tempdir().unwrap();
    let path = trail(&folder);
    let text = std::fs::read_to_string(&path).unwrap();
    let path = path.to_str().unwrap();
    std::fs::write(path, text.replacen("a test", "a lie!", 1)).unwrap();
    let ran = verify(&folder, &[path]).exits(1);
    assert!(ran.out.contains("line 1: altered"), "{}", ran.out);
    let without: String = text.split_inclusive('\n').enumerate().filter(|(at, _)| *at != 2).map(|(_, l)| l).collect();
    std::fs::write(path, without).unwrap();
    let json = verify(&folder, &["--json", path]).exits(1);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&json["ok"], &json["gaps"][0]["expected"]), (&false.into(), &2.into()));
    verify(&folder, &["nowhere.jsonl"]).exits(2).says("nowhere.jsonl could not be read");
    verify(&folder, &["--head", "12", path]).exits(2).says("--head");
    run_with(command(folder.path(), &["audit", "verify", "-"]), b"\xff\x00 junk").exits(1);
}
