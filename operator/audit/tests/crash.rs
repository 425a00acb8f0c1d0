//! An operator that is killed while it appends loses nothing that it was told is durable, and its trail goes on.
//!
//! It has a `main` of its own because it starts itself as the process that is killed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is the failure report"
)]
#![allow(clippy::print_stdout, reason = "the child's answers, and the test's verdict")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ps_audit::{FileTrail, Mirror, verify_file};
use ps_core::audit::{Event, EventKind, Writer};
use ps_core::ids::Key;
use ps_core::ports::AuditSink;
use ps_core::time::Timestamp;

const LEDGER: &str = "ledger-of-the-crash-test";
const ROUNDS: u64 = 20;

fn main() {
    match std::env::args().collect::<Vec<_>>().as_slice() {
        [_, word, path, first] if word == "append" => child(Path::new(path), first.parse().unwrap()),
        _ => parent(),
    }
}

fn event(seq: u64) -> Event {
    Event {
        delivery: Key::new("default", "crash"),
        incarnation: "0123456789abcdef".into(),
        attempt: 1,
        writer: Writer::Operator,
        seq,
        at: Timestamp::from_millis(1_795_000_000_000),
        kind: EventKind::Issued,
        reason: "x".repeat(usize::try_from(seq % 700).unwrap()),
        facts: BTreeMap::new(),
    }
}

/// Appends for ever, and says each sequence number once it is durable.
fn child(path: &Path, first: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let trail = FileTrail::open(path, LEDGER, Mirror::None).unwrap();
    for seq in first.. {
        runtime.block_on(trail.append(&[event(seq)])).unwrap();
        println!("{seq}");
        std::io::stdout().flush().unwrap();
    }
}

fn parent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let mut durable = 0;
    for round in 0..ROUNDS {
        durable = kill_after(&path, durable, 1 + round * 3 % 17);
        // What a kill can't do, a power failure can: the last line is there in part.
        if round % 3 == 0 {
            let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(&b"{\"v\":1,\"n\":9,\"ledger\":\"led"[..usize::try_from(round + 1).unwrap()]).unwrap();
        }
        let trail = FileTrail::open(&path, LEDGER, Mirror::None).unwrap();
        assert_eq!(trail.torn_at_open() > 0, round % 3 == 0);
        let report = verify_file(&path, Some(&trail.head())).unwrap();
        assert!(report.is_ok() && report.head_found, "{report}");
        // The last append may have become durable without its writer living to say so.
        assert!(report.events == durable || report.events == durable + 1, "{durable}: {report}");
        durable = report.events;
    }
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    println!("killed {ROUNDS} times, {durable} events, none lost: ok");
}

/// Starts a child, lets it append `count` events from `first` on, kills it, and gives the number of durable events.
fn kill_after(path: &Path, first: u64, count: u64) -> u64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command.arg("append").arg(path).arg(first.to_string()).stdout(Stdio::piped()).spawn().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    for _ in 0..count {
        line.clear();
        assert!(answers.read_line(&mut line).unwrap() > 0, "the child died by itself");
    }
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    let mut rest = String::new();
    answers.read_to_string(&mut rest).unwrap();
    let last = rest.lines().last().unwrap_or(line.trim());
    last.parse::<u64>().unwrap() + 1
}
