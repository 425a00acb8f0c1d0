//! The suite, on each store of this crate, and each against the other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use ps_core::ids::LinkId;
use ps_core::link::{Link, Record};
use ps_core::ports::{CasError, LinkStore};
use ps_core::time::Timestamp;
use ps_store::conformance::{self, Pair, at_once, sample};
use ps_store::{EmbeddedStore, MemoryStore};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_store_conforms() {
    conformance::run(async || {
        let store = MemoryStore::new(1000);
        Pair {
            a: Arc::new(store.clone()),
            b: Arc::new(store),
            nudge: Arc::new(|| {}),
            settle: at_once(),
            max_bytes: 1000,
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn embedded_store_conforms() {
    let folders = std::sync::Mutex::new(Vec::new());
    conformance::run(async || {
        let folder = tempfile::tempdir().unwrap();
        let a = Arc::new(EmbeddedStore::open(folder.path()).unwrap());
        let b = Arc::new(EmbeddedStore::open(folder.path()).unwrap());
        folders.lock().unwrap().push(folder);
        let (x, y) = (Arc::clone(&a), Arc::clone(&b));
        let nudge = Arc::new(move || {
            x.nudge();
            y.nudge();
        });
        Pair { a, b, nudge, settle: at_once(), max_bytes: ps_store::MAX_BYTES }
    })
    .await
    .unwrap();
}

/// One step of a random history on three ids.
#[derive(Clone, Debug)]
enum Act {
    Insert(u8, Option<u16>),
    Replace(u8, Option<u16>, bool),
    Delete(u8, bool),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let size = || proptest::option::of(0..9000_u16);
    let act = prop_oneof![
        (0..3_u8, size()).prop_map(|(id, size)| Act::Insert(id, size)),
        (0..3_u8, size(), prop::bool::weighted(0.8)).prop_map(|(id, size, fresh)| Act::Replace(id, size, fresh)),
        (0..3_u8, prop::bool::weighted(0.7)).prop_map(|(id, fresh)| Act::Delete(id, fresh)),
    ];
    proptest::collection::vec(act, 1..40)
}

/// A link of that many bytes, or a void.
fn record(id: u8, size: Option<u16>) -> Record {
    let id = LinkId([id; 16]);
    size.map_or(Record::Void { id }, |size| {
        let sealed = vec![b'c'; usize::from(size)];
        let mut link: Link = sample(id, Timestamp::from_secs(9), &sealed);
        link.tries.wrong_codes = u32::from(size);
        Record::Link(Box::new(link))
    })
}

/// What happened, without the versions, which differ between stores.
async fn play(store: &dyn LinkStore, history: &[Act]) -> Vec<String> {
    let mut told = Vec::new();
    for act in history {
        let id = match act {
            Act::Insert(id, _) | Act::Replace(id, ..) | Act::Delete(id, _) => LinkId([*id; 16]),
        };
        let version = store.get(id).await.unwrap().map_or(1, |found| found.version);
        let result: Result<(), CasError> = match act {
            Act::Insert(id, size) => store.insert(&record(*id, *size)).await.map(drop),
            Act::Replace(id, size, fresh) => {
                let version = if *fresh { version } else { version + 1_000_000 };
                store.replace(&record(*id, *size), version).await.map(drop)
            }
            Act::Delete(_, fresh) => {
                let version = if *fresh { version } else { version + 1_000_000 };
                store.delete(id, version).await
            }
        };
        told.push(format!("{result:?}"));
        for summary in store.list(None, 10).await.unwrap() {
            let found = store.get(summary.id).await.unwrap().unwrap();
            assert_eq!(found.version, summary.seq);
            told.push(format!("{:?} {:?} {:?}", summary.id, summary.state, summary.next_change));
            told.push(match found.value {
                Record::Link(link) => serde_json::to_string(&*link).unwrap(),
                void @ Record::Void { .. } => format!("{void:?}"),
            });
        }
        if !store.list(None, 1).await.unwrap().is_empty() {
            let changes = tokio::time::timeout(Duration::from_secs(20), store.changes(0, 10)).await;
            let ids: Vec<LinkId> = changes.unwrap().unwrap().iter().map(|s| s.id).collect();
            told.push(format!("{ids:?}"));
        }
    }
    told
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn both_stores_tell_the_same_story(history in acts()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let embedded = EmbeddedStore::open(folder.path()).unwrap();
        let (one, other) = runtime.block_on(async {
            (play(&embedded, &history).await, play(&MemoryStore::default(), &history).await)
        });
        prop_assert_eq!(one, other);
    }
}
