//! What is erased is in no file of the folder any more: a search of every byte.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use ps_core::ids::{Digest, LinkId};
use ps_core::link::{Command, Record, Release, apply};
use ps_core::ports::LinkStore;
use ps_core::time::Timestamp;
use ps_store::EmbeddedStore;
use ps_store::conformance::sample;

const LINKS: u32 = 400;
const MARK: &[u8] = b"NEEDLE:";

fn id(number: u32) -> LinkId {
    let mut id = [0; 16];
    id.copy_from_slice(&Digest::of(&number.to_be_bytes()).0[..16]);
    LinkId(id)
}

/// A ciphertext full of its number, from a few bytes to many pages.
fn ciphertext(number: u32) -> Vec<u8> {
    let needle = [MARK, format!("{number:08}").as_bytes()].concat();
    let size = match number % 4 {
        0 => 40,
        1 => 900,
        2 => 3000 + number as usize,
        _ => 9000 + 10 * number as usize,
    };
    needle.iter().copied().cycle().take(size).collect()
}

/// `R` of a link, as a marked value whose base64url text can be told from others.
fn release(number: u32) -> Release {
    let mut r = *b"NEEDLE:R:________0123456789abcdef";
    r[9..17].copy_from_slice(format!("{number:08}").as_bytes());
    let token_hash = Digest::of(b"token");
    Release { r: r[..32].try_into().unwrap(), token_hash }
}

/// The numbers of all needles in all files, of ciphertexts and of `R`s.
fn search(folder: &Path) -> (BTreeSet<u32>, BTreeSet<u32>) {
    let (mut sealed, mut released) = (BTreeSet::new(), BTreeSet::new());
    // The first nine bytes of R fill twelve characters, the eight digits begin a new group.
    let mark = ps_core::encode::b64(b"NEEDLE:R:");
    for file in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for (at, window) in bytes.windows(mark.len()).enumerate() {
            if window.starts_with(MARK) {
                let digits = bytes.get(at + MARK.len()..at + MARK.len() + 8);
                let digits = digits.and_then(|d| std::str::from_utf8(d).ok());
                sealed.extend(digits.and_then(|d| d.parse::<u32>().ok()));
            } else if window == mark.as_bytes() {
                let text = bytes.get(at + mark.len()..at + mark.len() + 12);
                let text = text.and_then(|t| std::str::from_utf8(t).ok());
                let digits = text.and_then(ps_core::encode::from_b64);
                let digits = digits.and_then(|d| String::from_utf8(d[..8].to_vec()).ok());
                released.extend(digits.and_then(|d| d.parse::<u32>().ok()));
            }
        }
    }
    (sealed, released)
}

/// Waits for the log to be truncated. (How soon that is, is a test of ps-sqlite.)
async fn truncated(folder: &Path) {
    let start = Instant::now();
    let log = folder.join("links.db-wal");
    while std::fs::metadata(&log).map_or(0, |m| m.len()) > 0 {
        assert!(start.elapsed() < Duration::from_secs(20), "the log is never truncated");
        tokio::task::yield_now().await;
    }
}

async fn fill(store: &EmbeddedStore) {
    for number in 0..LINKS {
        let mut link = sample(id(number), Timestamp::from_secs(1000), &ciphertext(number));
        link.release = Some(release(number));
        store.insert(&Record::Link(Box::new(link))).await.unwrap();
    }
}

/// Ends links in each of the ways that there are; every eighth stays.
async fn erase(store: &EmbeddedStore) -> BTreeSet<u32> {
    let mut live = BTreeSet::new();
    for number in 0..LINKS {
        let found = store.get(id(number)).await.unwrap().unwrap();
        let link = found.value.link().unwrap();
        match number * 7 % 8 {
            0 => {
                live.insert(number);
            }
            1 => store.delete(id(number), found.version).await.unwrap(),
            2 => {
                let void = Record::Void { id: id(number) };
                store.replace(&void, found.version).await.unwrap();
            }
            3 => assert!(store.purge(id(number)).await.unwrap()),
            _ => {
                let ended = apply(link, &Command::Revoke, Timestamp::from_secs(1001)).next.unwrap();
                store.replace(&Record::Link(Box::new(ended)), found.version).await.unwrap();
            }
        }
    }
    live
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_erased_is_in_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path()).unwrap();
    fill(&store).await;
    let all: BTreeSet<u32> = (0..LINKS).collect();
    // The positive control: the search finds what is there.
    assert_eq!(search(folder.path()), (all.clone(), all));
    let live = erase(&store).await;
    truncated(folder.path()).await;
    assert_eq!(search(folder.path()), (live.clone(), live.clone()), "only the live ones, and all of them");

    // The files go on being used: freed pages are taken again, trees are rebalanced.
    for number in LINKS..LINKS + 100 {
        let link = sample(id(number), Timestamp::from_secs(1000), &vec![b'x'; 50 + 17 * number as usize]);
        store.insert(&Record::Link(Box::new(link))).await.unwrap();
    }
    for number in live {
        assert!(store.purge(id(number)).await.unwrap());
    }
    truncated(folder.path()).await;
    assert_eq!(search(folder.path()), Default::default());
    assert!(store.erasure().contains("secure_delete"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erased_bytes_do_not_survive_closing_either() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path()).unwrap();
    fill(&store).await;
    let live = erase(&store).await;
    drop(store);
    assert_eq!(search(folder.path()), (live.clone(), live));
}
