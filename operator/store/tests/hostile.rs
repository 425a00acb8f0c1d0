//! A gateway that was taken over writes into the file: what the operator then sees.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::path::Path;

use proptest::prelude::*;
use ps_core::error::Class;
use ps_core::ids::LinkId;
use ps_core::link::{Record, State};
use ps_core::ports::{CasError, LinkStore};
use ps_core::time::Timestamp;
use ps_store::EmbeddedStore;
use ps_store::conformance::sample;
use rusqlite::Connection;

const LINKS: u8 = 6;

fn record(number: u8) -> Record {
    Record::Link(Box::new(sample(LinkId([number; 16]), Timestamp::from_secs(1000), b"sealed")))
}

async fn filled(folder: &Path) -> EmbeddedStore {
    let store = EmbeddedStore::open(folder).unwrap();
    for number in 1..=LINKS {
        store.insert(&record(number)).await.unwrap();
    }
    store
}

/// The attacker's own connection: none of our checks, and the constraints off.
fn attacker(folder: &Path) -> Connection {
    let connection = Connection::open(folder.join("links.db")).unwrap();
    connection.execute_batch("PRAGMA ignore_check_constraints=ON").unwrap();
    connection
}

#[tokio::test]
async fn an_altered_row_harms_only_itself_and_can_be_purged() {
    let deep = format!("UPDATE links SET meta = '{}' WHERE row = 3", "[".repeat(60_000));
    for attack in [
        "UPDATE links SET meta = '{}' WHERE row = 3",
        "UPDATE links SET meta = '' WHERE row = 3",
        "UPDATE links SET meta = (SELECT meta FROM links WHERE row = 4) WHERE row = 3",
        "UPDATE links SET meta = replace(meta, 'open', 'owned') WHERE row = 3",
        "UPDATE links SET meta = replace(meta, 'open', 'expired') WHERE row = 3",
        "UPDATE links SET meta = meta || char(0) WHERE row = 3",
        "UPDATE links SET meta = CAST(x'ff' AS TEXT) || meta WHERE row = 3",
        "UPDATE links SET meta = printf('%.70000c', ' ') || meta WHERE row = 3",
        "UPDATE links SET state = NULL WHERE row = 3",
        "UPDATE links SET state = 'claimed' WHERE row = 3",
        "UPDATE links SET state = 'owned' WHERE row = 3",
        "UPDATE links SET next_change = NULL WHERE row = 3",
        "UPDATE links SET next_change = 9223372036854775807 WHERE row = 3",
        "UPDATE links SET next_change = -9223372036854775808 WHERE row = 3",
        "UPDATE links SET seq = -1 WHERE row = 3",
        "UPDATE content SET ciphertext = zeroblob(600000) WHERE row = 3",
        "UPDATE content SET ciphertext = zeroblob(9000000) WHERE row = 3",
        "UPDATE content SET preview = zeroblob(70000) WHERE row = 3",
        deep.as_str(),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path()).await;
        attacker(folder.path()).execute_batch(attack).unwrap();
        let attack = &attack[..attack.len().min(70)];

        let found = store.get(LinkId([3; 16])).await;
        let Err(CasError::Failed(fault)) = found else {
            panic!("{attack}: {found:?}");
        };
        assert_eq!((fault.code.as_str(), fault.class), ("record-unreadable", Class::Permanent), "{attack}");
        assert!(!fault.remedy.is_empty() && !fault.to_string().contains("owned"));

        // The others are as they were, and the altered one is still listed, so that somebody looks at it.
        let listed = store.list(None, 100).await.unwrap();
        assert_eq!(listed.len(), usize::from(LINKS), "{attack}");
        for number in (1..=LINKS).filter(|n| *n != 3) {
            assert_eq!(store.get(LinkId([number; 16])).await.unwrap().unwrap().value, record(number));
        }
        assert_eq!(store.purge(LinkId([3; 16])).await, Ok(true));
        assert_eq!(store.get(LinkId([3; 16])).await, Ok(None));
    }
}

#[tokio::test]
async fn an_odd_summary_is_due_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    attacker(folder.path())
        .execute_batch("UPDATE links SET state = 'owned' WHERE row = 3; UPDATE links SET state = NULL WHERE row = 4")
        .unwrap();
    for summary in store.list(None, 100).await.unwrap() {
        let odd = [LinkId([3; 16]), LinkId([4; 16])].contains(&summary.id);
        let state = if odd { None } else { Some(State::Open) };
        assert_eq!(summary.state, state);
        assert_eq!(summary.next_change == Some(Timestamp::EPOCH), odd);
    }
}

#[tokio::test]
async fn rows_that_have_no_id_are_neither_seen_nor_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    attacker(folder.path())
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
             INSERT INTO links (id, seq, state, next_change, meta) SELECT CAST(i AS BLOB), 1000 + i, 'open', 5, '{}' FROM n;
             INSERT INTO content SELECT 100000 + i, x'00', x'00' FROM (SELECT 1 AS i)",
        )
        .unwrap();
    let mut seen = Vec::new();
    while let Some(last) = store.list(seen.last().copied(), 2).await.unwrap().last() {
        seen.extend(store.list(seen.last().copied(), 2).await.unwrap().iter().map(|s| s.id));
        assert_eq!(seen.last(), Some(&last.id));
        assert!(seen.len() <= usize::from(LINKS), "pages repeat records");
    }
    assert_eq!(seen, (1..=LINKS).map(|n| LinkId([n; 16])).collect::<Vec<_>>());
    let changes = store.changes(0, 100).await.unwrap();
    assert_eq!(changes.len(), usize::from(LINKS));
}

#[tokio::test]
async fn without_its_counter_it_still_erases() {
    for attack in ["DELETE FROM store", "UPDATE store SET seq = 9223372036854775807", "UPDATE store SET seq = -5"] {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path()).await;
        let version = store.get(LinkId([2; 16])).await.unwrap().unwrap().version;
        attacker(folder.path()).execute_batch(attack).unwrap();
        let refused = store.replace(&Record::Void { id: LinkId([2; 16]) }, version).await;
        assert!(matches!(refused, Err(CasError::Failed(f)) if f.code == "store-counter-lost"), "{attack}");
        let followed = store.changes(0, 100).await;
        assert!(matches!(followed, Err(CasError::Failed(f)) if f.code == "store-counter-lost"), "{attack}");
        store.delete(LinkId([2; 16]), version).await.unwrap();
        assert_eq!(store.purge(LinkId([3; 16])).await, Ok(true));
    }
}

#[tokio::test]
async fn content_left_lying_does_not_stick_to_a_new_record() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    attacker(folder.path())
        .execute_batch("INSERT INTO content SELECT max(row) + 1, x'aa', x'bb' FROM links; INSERT INTO content SELECT max(row) + 2, x'aa', x'bb' FROM links")
        .unwrap();
    store.insert(&record(50)).await.unwrap();
    assert_eq!(store.get(LinkId([50; 16])).await.unwrap().unwrap().value, record(50));
    let void = Record::Void { id: LinkId([51; 16]) };
    store.insert(&void).await.unwrap();
    assert_eq!(store.get(LinkId([51; 16])).await.unwrap().unwrap().value, void);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    /// Whatever bytes the file holds: an answer or a fault, no panic, and never a record that was not put.
    #[test]
    fn random_damage_never_panics(damage in proptest::collection::vec((any::<u32>(), any::<u8>()), 1..60), cut in any::<u32>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            drop(filled(folder.path()).await);
            let path = folder.path().join("links.db");
            let mut bytes = std::fs::read(&path).unwrap();
            for (at, value) in damage {
                let at = at as usize % bytes.len();
                bytes[at] = value;
            }
            if cut % 4 == 0 {
                bytes.truncate(cut as usize % bytes.len());
            }
            std::fs::write(&path, &bytes).unwrap();
            let Ok(store) = EmbeddedStore::open(folder.path()) else { return };
            drop(store.list(None, 100).await);
            for number in 1..=LINKS {
                let id = LinkId([number; 16]);
                if let Ok(Some(found)) = store.get(id).await {
                    assert_eq!(found.value.id(), id);
                    drop(store.replace(&found.value, found.version).await);
                }
                drop(store.insert(&record(number)).await);
                drop(store.purge(id).await);
            }
        });
    }
}
