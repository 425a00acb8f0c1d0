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

/// The five events on two pods' trails.
fn trails(folder: &TempDir) -> [PathBuf; 2] {
    let text = std::fs::read_to_string(trail(folder)).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].clone());
    let events: Vec<Event> = events.map(|event| serde_json::from_value(event).unwrap()).collect();
    [("pod-0.jsonl", &events[..3]), ("pod-1.jsonl", &events[3..])].map(|(name, events)| {
        let path = folder.path().join(name);
        let trail = FileTrail::open(&path, "ledger-1", Mirror::None).unwrap();
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(trail.append(events)).unwrap();
        path
    })
}

#[test]
fn the_trails_of_several_pods_are_verified_together() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = trails(&folder).map(|path| path.display().to_string());
    verify(&folder, &[&second]).exits(1);
    let ran = verify(&folder, &[&first, &second]).exits(0);
    assert!(ran.out.contains("together are complete and unaltered: 5 events"), "{}", ran.out);
    let json = |more: &[&str]| {
        let ran = verify(&folder, &[&["--json", &first, &second], more].concat()).exits(0);
        serde_json::from_str::<serde_json::Value>(&ran.out).unwrap()
    };
    let plain = json(&[]);
    assert_eq!(
        (&plain["ok"], &plain["events"], &plain["trails"][1]["file"]),
        (&true.into(), &5.into(), &second.clone().into())
    );
    let heads = [0, 1].map(|n| plain["trails"][n]["trail"]["head"].as_str().unwrap().to_owned());
    let anchored = json(&["--head", &heads[0], "--head", &heads[1]]);
    assert_eq!(anchored["trails"][0]["trail"]["headFound"], true);
    verify(&folder, &["--head", &heads[0], &first, &second]).exits(2).says("1 times for 2 trails");
    verify(&folder, &["--head", &heads[1], "--head", &heads[0], &first, &second]).exits(1);
    verify(&folder, &[&first, "nowhere.jsonl"]).exits(2).says("nowhere.jsonl could not be read");
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
