//! Real processes: killed at any instruction, and two at once. The child is this test program, run again with a role.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use ps_core::entry::Entry;
use ps_core::ids::{Digest, Key, LinkId};
use ps_core::ports::{CasError, Ledger};
use ps_ledger::EmbeddedLedger;
use ps_ledger::conformance::sample;

const ROLE: &str = "PS_LEDGER_TEST_ROLE";
const FOLDER: &str = "PS_LEDGER_TEST_FOLDER";
const TASKS: u64 = 4;
const INCREMENTS: u64 = 100;

fn child(role: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "role_of_a_child", "--nocapture"])
        .env(ROLE, role)
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Not a test of its own: what the child processes do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn role_of_a_child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let folder = std::env::var(FOLDER).unwrap();
    let ledger = Arc::new(EmbeddedLedger::open(Path::new(&folder)).unwrap());
    match role.split_once(':').unwrap_or((&role, "")) {
        ("write", round) => write_for_ever(ledger, round.parse().unwrap()).await,
        ("increment", _) => increment(&ledger).await,
        other => unreachable!("{other:?}"),
    }
}

fn say(line: &str) {
    std::io::stdout().write_all(format!("\n@{line}\n").as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
}

fn key(number: u64) -> Key {
    Key::new("team", format!("d{number}"))
}

fn record(number: u64, attempt: u64) -> LinkId {
    let digest = Digest::of(format!("{number} {attempt}").as_bytes());
    LinkId(digest.0[..16].try_into().unwrap())
}

fn source(number: u64) -> Digest {
    Digest::of(&number.to_be_bytes())
}

/// The entry at its n-th attempt: another record each time.
fn stage(number: u64, stage: u64) -> Entry {
    let mut entry = sample(key(number), &[(source(number), record(number, stage))]);
    entry.next_seq = stage;
    entry
}

async fn write_for_ever(ledger: Arc<EmbeddedLedger>, round: u64) {
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let ledger = Arc::clone(&ledger);
        tasks.spawn(async move {
            for count in 0.. {
                let number = (round * 1_000_000 + count) * TASKS + task;
                let mut version = ledger.insert(&stage(number, 0)).await.unwrap();
                say(&format!("{number} 0"));
                for attempt in 1..4 {
                    version = ledger.replace(&stage(number, attempt), version).await.unwrap();
                    say(&format!("{number} {attempt}"));
                }
                if count % 3 == 0 {
                    ledger.delete(&key(number), version).await.unwrap();
                    say(&format!("{number} 4"));
                }
            }
        });
    }
    tasks.join_all().await;
}

fn kill_after(mut child: Child, lines: usize) -> BTreeMap<u64, u64> {
    let mut told = BTreeMap::new();
    let mut seen = 0;
    let out = BufReader::new(child.stdout.take().unwrap());
    for line in out.lines() {
        let line = line.unwrap();
        let Some(told_line) = line.strip_prefix('@') else { continue };
        let (number, stage) = told_line.split_once(' ').unwrap();
        told.insert(number.parse().unwrap(), stage.parse().unwrap());
        seen += 1;
        if seen == lines {
            // SIGKILL. What it said before that is still in the pipe, and is read.
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(!status.success() && seen >= lines, "killed by us, after {seen} lines: {status}");
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_nothing_and_leaves_no_index_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut told = BTreeMap::new();
    for (round, lines) in [1, 3, 20, 77, 150, 300].into_iter().enumerate() {
        told.extend(kill_after(child(&format!("write:{round}"), folder.path()), lines));
        let ledger = EmbeddedLedger::open(folder.path()).unwrap();
        for (number, was) in &told {
            let found = ledger.get(&key(*number)).await.unwrap();
            let is = found.as_ref().map_or(4, |found| found.value.next_seq);
            assert!(is == *was || is == was + 1, "entry {number}: told {was}, is {is}");
            // Entry and indexes tell the same.
            for attempt in 0..4 {
                let owner = (found.is_some() && attempt == is).then(|| key(*number));
                assert_eq!(ledger.by_record(record(*number, attempt)).await, Ok(owner));
            }
            let expected: Vec<Entry> = found.into_iter().map(|f| f.value).collect();
            assert_eq!(ledger.by_source(&source(*number)).await, Ok(expected.clone()));
            if let Some(entry) = expected.first() {
                assert_eq!(*entry, stage(*number, is), "half-written");
            }
        }
        let known = told.values().filter(|was| **was < 4).count();
        let listed = ledger.list(None, 100_000).await.unwrap().len();
        assert!(listed.abs_diff(known) <= (round + 1) * TASKS as usize);
    }
}

async fn increment(ledger: &EmbeddedLedger) {
    for _ in 0..INCREMENTS {
        loop {
            let mut found = ledger.get(&key(1)).await.unwrap().unwrap();
            found.value.next_seq += 1;
            match ledger.replace(&found.value, found.version).await {
                Err(CasError::Conflict) => {}
                other => {
                    other.unwrap();
                    break;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_operators_lose_no_write() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = EmbeddedLedger::open(folder.path()).unwrap();
    ledger.insert(&stage(1, 0)).await.unwrap();
    let mut other = child("increment", folder.path());
    increment(&ledger).await;
    assert!(other.wait().unwrap().success());
    let sum = ledger.get(&key(1)).await.unwrap().unwrap().value.next_seq;
    assert_eq!(sum, 2 * INCREMENTS);
}

#[tokio::test]
async fn others_on_the_machine_cannot_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("data");
    let ledger = EmbeddedLedger::open(&inner).unwrap();
    ledger.insert(&stage(1, 0)).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&inner), 0o700);
    for file in std::fs::read_dir(&inner).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_entry_no_longer_holds_leaves_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = EmbeddedLedger::open(folder.path()).unwrap();
    let in_files = |needle: &[u8]| {
        let files = std::fs::read_dir(folder.path()).unwrap();
        files.into_iter().any(|file| {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            bytes.windows(needle.len()).any(|w| w == needle)
        })
    };
    let mut entry = stage(1, 0);
    entry.uid = "needle-one".repeat(500);
    let version = ledger.insert(&entry).await.unwrap();
    assert!(in_files(b"needle-one"), "the search finds what is there");
    entry.uid = "needle-two".repeat(20);
    let version = ledger.replace(&entry, version).await.unwrap();
    let start = std::time::Instant::now();
    while in_files(b"needle-one") {
        assert!(start.elapsed() < std::time::Duration::from_secs(10), "it stays");
        tokio::task::yield_now().await;
    }
    assert!(in_files(b"needle-two"));
    ledger.delete(&entry.key, version).await.unwrap();
    let start = std::time::Instant::now();
    while in_files(b"needle-two") {
        assert!(start.elapsed() < std::time::Duration::from_secs(10), "it stays");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_entry_that_does_not_parse_is_told_and_is_no_conflict() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = EmbeddedLedger::open(folder.path()).unwrap();
    for number in [1, 2] {
        ledger.insert(&stage(number, 0)).await.unwrap();
    }
    rusqlite::Connection::open(folder.path().join("ledger.db"))
        .unwrap()
        .execute("UPDATE entries SET entry = '{\"uid\": \"hunter2\"}' WHERE name = 'd1'", [])
        .unwrap();
    let told = |error: CasError| match error {
        CasError::Failed(fault) => {
            assert!(!fault.to_string().contains("hunter2") && !fault.remedy.is_empty());
            fault.code
        }
        other => unreachable!("{other}"),
    };
    assert_eq!(told(ledger.get(&key(1)).await.unwrap_err()), "entry-unreadable");
    // A decision about a source needs all of its entries: one that is missing must not look like none.
    assert_eq!(told(ledger.by_source(&source(1)).await.unwrap_err()), "entry-unreadable");
    assert!(ledger.get(&key(2)).await.unwrap().is_some());
    assert_eq!(ledger.list(None, 10).await.unwrap().len(), 2);
}
