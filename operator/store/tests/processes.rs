//! Real processes: killed at any instruction, and two at once. The child is this test program, run again with a role.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ps_core::ids::{Digest, LinkId};
use ps_core::link::check::{Expected, check};
use ps_core::link::{Command, Link, Proof, Record, State, apply};
use ps_core::ports::{CasError, LinkStore};
use ps_core::time::Timestamp;
use ps_store::EmbeddedStore;
use ps_store::conformance::{preimage, sample};

const ROLE: &str = "PS_STORE_TEST_ROLE";
const FOLDER: &str = "PS_STORE_TEST_FOLDER";
const NOW: Timestamp = Timestamp::from_secs(1_000_000);
const TASKS: u64 = 4;
/// Increments that each of two processes makes.
const INCREMENTS: u32 = 150;

fn child(role: &str, folder: &Path) -> Child {
    Process::new(std::env::current_exe().unwrap())
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
    let store = Arc::new(EmbeddedStore::open(Path::new(&folder)).unwrap());
    match role.split_once(':').unwrap_or((&role, "")) {
        ("write", round) => write_for_ever(store, round.parse().unwrap()).await,
        ("increment", _) => increment(&store).await,
        other => unreachable!("{other:?}"),
    }
}

/// One whole line in one system call.
fn say(line: &str) {
    std::io::stdout().write_all(format!("\n@{line}\n").as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
}

fn id(number: u64) -> LinkId {
    let mut id = [0; 16];
    id.copy_from_slice(&Digest::of(&number.to_be_bytes()).0[..16]);
    LinkId(id)
}

fn fresh(number: u64) -> Link {
    let needle = format!("NEEDLE:{number:012}");
    let size = 40 + (number as usize * 37) % 9000;
    let ciphertext: Vec<u8> = needle.bytes().cycle().take(size).collect();
    sample(id(number), NOW, &ciphertext)
}

/// The record after each acknowledged step of a link's life; the last step deletes it.
fn stages(number: u64) -> Vec<Record> {
    let open = fresh(number);
    let (access, token) = (preimage(id(number), "access"), [7; 32]);
    let claim = Command::Claim {
        access,
        code: None,
        proof: Proof(preimage(id(number), "proof")),
        token_hash: Digest::of(&token),
    };
    let claimed = apply(&open, &claim, NOW).next.unwrap();
    let over = apply(&claimed, &Command::Acknowledge { access, token }, NOW).next.unwrap();
    [open, claimed, over].into_iter().map(|link| Record::Link(Box::new(link))).collect()
}

/// Links live their lives in parallel, and every answered step is told, until the process is killed.
async fn write_for_ever(store: Arc<EmbeddedStore>, round: u64) {
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for count in 0.. {
                let number = (round * 1_000_000 + count) * TASKS + task;
                let mut version = 0;
                for (stage, record) in stages(number).iter().enumerate() {
                    let written = match stage {
                        0 => store.insert(record).await,
                        _ => store.replace(record, version).await,
                    };
                    version = written.unwrap();
                    say(&format!("{number} {stage}"));
                }
                if count % 3 == 0 {
                    store.delete(id(number), version).await.unwrap();
                    say(&format!("{number} 3"));
                }
            }
        });
    }
    tasks.join_all().await;
}

/// Reads what the child acknowledged, kills it after `lines` of that, and returns the last acknowledged stage of each link.
fn kill_after(mut child: Child, lines: usize) -> BTreeMap<u64, usize> {
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
async fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut told = BTreeMap::new();
    for (round, lines) in [1, 2, 7, 23, 60, 111, 200, 350].into_iter().enumerate() {
        let child = child(&format!("write:{round}"), folder.path());
        told.extend(kill_after(child, lines));
        let store = EmbeddedStore::open(folder.path()).unwrap();
        let mut extra = 0;
        for (number, stage) in &told {
            let found = store.get(id(*number)).await.unwrap();
            // The step in flight may have happened, no other.
            let is = match &found {
                None => 3,
                Some(found) => stages(*number).iter().position(|s| *s == found.value).expect("half-written"),
            };
            assert!(is == *stage || is == stage + 1, "link {number}: told {stage}, is {is}");
            extra += usize::from(is != *stage);
            if let Some(found) = found {
                let sealed = fresh(*number).sealed;
                let expected = Expected {
                    digest: sealed.digest(),
                    put_at: NOW,
                    revoke_ordered: false,
                    journal_read: 0,
                    judge: None,
                };
                assert_eq!(check(Some(&found.value), &expected, NOW), Ok(()));
            }
        }
        let known: usize = told.values().filter(|stage| **stage < 3).count();
        let listed = store.list(None, 100_000).await.unwrap().len();
        // Each task had at most one step in flight: one more, or one less, than it told; in each round so far.
        let slack = (round + 1) * TASKS as usize;
        assert!(listed.abs_diff(known) <= slack && extra <= slack, "{listed} records, {known} known, {extra} ahead");

        // What was erased before the kill is gone from the files soon after the start.
        let start = Instant::now();
        while std::fs::metadata(folder.path().join("links.db-wal")).map_or(0, |m| m.len()) > 0 {
            assert!(start.elapsed() < Duration::from_secs(20));
            tokio::task::yield_now().await;
        }
        let live = store.list(None, 100_000).await.unwrap();
        let live = live.iter().filter(|s| s.state.is_some_and(State::is_live)).count();
        assert_eq!(needles(folder.path()), live);
    }
}

/// How many links have their ciphertext in some file.
fn needles(folder: &Path) -> usize {
    let mut found = std::collections::BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let hits = bytes.windows(19).filter(|w| w.starts_with(b"NEEDLE:"));
        found.extend(hits.filter(|w| w[7..].iter().all(u8::is_ascii_digit)).map(<[u8]>::to_vec));
    }
    found.len()
}

async fn increment(store: &EmbeddedStore) {
    for _ in 0..INCREMENTS {
        loop {
            let found = store.get(id(1)).await.unwrap().unwrap();
            let mut link = found.value.link().unwrap().clone();
            link.tries.wrong_codes += 1;
            match store.replace(&Record::Link(Box::new(link)), found.version).await {
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
async fn two_processes_lose_no_write_and_hear_of_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path()).unwrap();
    let mut after = store.insert(&Record::Link(Box::new(fresh(1)))).await.unwrap();
    let mut others: Vec<Child> = (0..2).map(|_| child("increment", folder.path())).collect();
    // Nobody nudges: the changes of the others are found all the same.
    let hear = async {
        loop {
            let news = store.changes(after, 10).await.unwrap();
            after = news.last().unwrap().seq;
            let found = store.get(id(1)).await.unwrap().unwrap();
            if found.value.link().unwrap().tries.wrong_codes == 3 * INCREMENTS {
                break;
            }
        }
    };
    let both = async { tokio::join!(increment(&store), hear) };
    tokio::time::timeout(Duration::from_secs(60), both).await.expect("all increments, heard of");
    for other in &mut others {
        assert!(other.wait().unwrap().success());
    }
}
