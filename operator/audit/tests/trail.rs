//! The trail's writer and reader on real files.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is the failure report"
)]

mod common;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use common::{LEDGER, event, lines};
use ps_audit::{EventReader, FileTrail, Mirror, verify_file, witness};
use ps_core::error::Class;
use ps_core::ports::AuditSink;
use tempfile::TempDir;

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    (folder, path)
}

fn open(path: &std::path::Path) -> FileTrail {
    FileTrail::open(path, LEDGER, Mirror::None).unwrap()
}

#[derive(Clone, Default)]
struct Copy(Arc<Mutex<Vec<u8>>>);

impl Write for Copy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_appends_at_once_make_one_chain() {
    let (_folder, path) = place();
    let trail = Arc::new(open(&path));
    let tasks = (0..50_u32).map(|stream| {
        let trail = Arc::clone(&trail);
        tokio::spawn(async move {
            for seq in 0..20 {
                trail.append(&[event(stream, seq)]).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let report = verify_file(&path, Some(&trail.head())).unwrap();
    assert!(report.is_ok() && report.head_found, "{report}");
    assert_eq!((report.lines, trail.head().n), (1000, 1000));
}

#[tokio::test]
async fn the_chain_goes_on_after_a_restart_and_the_mirror_gets_the_same_lines() {
    let (_folder, path) = place();
    let copy = Copy::default();
    open(&path).append(&[event(0, 0)]).await.unwrap();
    let first = fs::read(&path).unwrap();
    let trail = FileTrail::open(&path, LEDGER, Mirror::Writer(Box::new(copy.clone()))).unwrap();
    assert_eq!(trail.head().n, 1);
    trail.append(&[event(0, 1), event(0, 2)]).await.unwrap();
    trail.append(&[]).await.unwrap();
    let all = fs::read(&path).unwrap();
    // The copy follows the file; the next append is behind it in the writer's queue.
    trail.append(&[event(0, 3)]).await.unwrap();
    assert!(copy.0.lock().unwrap().starts_with(&all[first.len()..]));
    assert!(verify_file(&path, None).unwrap().is_ok());
}

#[tokio::test]
async fn a_mirror_that_breaks_fails_no_append() {
    let (_folder, path) = place();
    let trail = FileTrail::open(&path, LEDGER, Mirror::Writer(Box::new(Broken))).unwrap();
    for seq in 0..3 {
        trail.append(&[event(0, seq)]).await.unwrap();
    }
    assert_eq!(trail.head().n, 3);
}

#[tokio::test]
async fn two_operators_on_one_trail_do_not_fork_it() {
    let (_folder, path) = place();
    let (one, two) = (open(&path), open(&path));
    for seq in 0..10 {
        one.append(&[event(0, seq)]).await.unwrap();
        two.append(&[event(0, seq), event(1, seq)]).await.unwrap();
    }
    let report = verify_file(&path, Some(&two.head())).unwrap();
    assert!(report.is_ok() && report.head_found, "{report}");
    assert_eq!((report.events, report.duplicates), (20, 10));
}

#[tokio::test]
async fn a_line_that_another_process_left_unfinished_is_removed_before_the_next() {
    let (_folder, path) = place();
    let trail = open(&path);
    trail.append(&[event(0, 0)]).await.unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"v\":1,\"n").unwrap();
    trail.append(&[event(0, 1)]).await.unwrap();
    assert!(verify_file(&path, Some(&trail.head())).unwrap().is_ok());
    // Zeros are what some file systems leave after a power failure, and more than a line of them.
    OpenOptions::new().append(true).open(&path).unwrap().write_all(&[0; 200_000]).unwrap();
    drop(trail);
    let again = open(&path);
    assert_eq!(again.torn_at_open(), 200_000);
    again.append(&[event(0, 2)]).await.unwrap();
    assert_eq!(verify_file(&path, None).unwrap().events, 3);
}

#[tokio::test]
async fn what_is_not_our_trail_is_not_continued() {
    let (folder, path) = place();
    open(&path).append(&[event(0, 0), event(0, 1)]).await.unwrap();
    let code = |ledger: &str, path: &std::path::Path| {
        let fault = FileTrail::open(path, ledger, Mirror::None).unwrap_err();
        assert_eq!(fault.class, Class::Misconfigured);
        assert!(!fault.remedy.is_empty());
        fault.code
    };
    assert_eq!(code("another", &path), "audit-other-ledger");
    assert_eq!(code(LEDGER, folder.path()), "audit-open");
    assert_eq!(code(LEDGER, std::path::Path::new("/dev/null")), "audit-not-a-file");
    let good = fs::read(&path).unwrap();
    for bad in [[&good[..], b"junk\n"].concat(), [&good[..], lines(&good)[0], b"\n"].concat(), vec![b'x'; 17 << 20]] {
        fs::write(&path, &bad).unwrap();
        assert_eq!(code(LEDGER, &path), "audit-trail-broken");
        assert_eq!(fs::read(&path).unwrap(), bad, "a trail that is not understood is left alone");
    }
}

#[tokio::test]
async fn a_trail_that_is_moved_away_is_said_so() {
    let (folder, path) = place();
    let trail = open(&path);
    trail.append(&[event(0, 0)]).await.unwrap();
    fs::rename(&path, folder.path().join("audit.jsonl.1")).unwrap();
    assert_eq!(trail.append(&[event(0, 1)]).await.unwrap_err().code, "audit-trail-moved");
    fs::rename(folder.path().join("audit.jsonl.1"), &path).unwrap();
    trail.append(&[event(0, 1)]).await.unwrap();
    assert!(verify_file(&path, None).unwrap().is_ok());
}

#[tokio::test]
async fn somebody_who_holds_the_file_delays_and_loses_nothing() {
    let (_folder, path) = place();
    let trail = open(&path);
    let holder = fs::File::open(&path).unwrap();
    holder.lock().unwrap();
    let fault = trail.append(&[event(0, 0)]).await.unwrap_err();
    assert_eq!((fault.code.as_str(), fault.class), ("audit-locked", Class::Transient));
    holder.unlock().unwrap();
    trail.append(&[event(0, 0)]).await.unwrap();
    assert_eq!(verify_file(&path, None).unwrap().events, 1);
}

#[tokio::test]
async fn an_event_that_fits_no_line_is_refused_alone() {
    let (_folder, path) = place();
    let trail = Arc::new(open(&path));
    let mut monster = event(0, 0);
    monster.delivery.name = "x".repeat(100_000);
    let (bad, good) = ([event(1, 0), monster], [event(2, 0)]);
    let (bad, good) = tokio::join!(trail.append(&bad), trail.append(&good));
    assert_eq!(bad.unwrap_err().class, Class::Permanent);
    good.unwrap();
    let report = verify_file(&path, None).unwrap();
    assert!(report.is_ok() && report.events == 1, "{report}");
}

#[tokio::test]
async fn the_reader_starts_anywhere_and_the_witness_is_the_first_unknown_event() {
    let (_folder, path) = place();
    let trail = open(&path);
    let events = (0..3000).map(|seq| event(0, seq)).collect::<Vec<_>>();
    trail.append(&events).await.unwrap();
    for from in [0, 1, 7, 1499, 1500, 2999] {
        let (n, first) = trail.read_from(from).unwrap().next().unwrap().unwrap();
        assert_eq!((n, first.seq), (from, from));
        assert_eq!(trail.read_from(from).unwrap().count() as u64, 3000 - from);
    }
    assert!(trail.read_from(3000).unwrap().next().is_none());
    let found = witness(trail.read_from(100).unwrap(), |e| e.seq < 2500).unwrap();
    assert_eq!(found.map(|e| e.seq), Some(2500));
    assert_eq!(witness(trail.read_from(100).unwrap(), |_| true).unwrap(), None);
    // A line that can't be read is said, not passed over; one that is being written is not there yet.
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"junk\n{\"v\":").unwrap();
    let read = EventReader::open(&path, 2999).unwrap().collect::<Vec<_>>();
    assert!(matches!(read.as_slice(), [Ok((2999, _)), Err(fault)] if fault.code == "audit-trail-broken"));
}
