//! The suite, on each ledger of this crate; and what is beyond the port: object notes and the lease.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic in a test is its failure report"
)]

use std::sync::Arc;

use proptest::prelude::*;
use ps_core::ids::{Digest, Key, LinkId};
use ps_core::ports::{CasError, Ledger};
use ps_core::time::Timestamp;
use ps_ledger::conformance::{self, Pair};
use ps_ledger::{EmbeddedLedger, MAX_BYTES, MemoryLedger, ObjectNote};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_ledger_conforms() {
    conformance::run(async || {
        let ledger = MemoryLedger::new();
        Pair::at_once(ledger.clone(), ledger)
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn embedded_ledger_conforms() {
    let folders = std::sync::Mutex::new(Vec::new());
    conformance::run(async || {
        let folder = tempfile::tempdir().unwrap();
        let a = EmbeddedLedger::open(folder.path()).unwrap();
        let b = EmbeddedLedger::open(folder.path()).unwrap();
        folders.lock().unwrap().push(folder);
        Pair::at_once(a, b)
    })
    .await
    .unwrap();
}

fn note(name: &str, generation: i64) -> ObjectNote {
    ObjectNote {
        key: Key::new("team", name),
        uid: format!("uid-{name}"),
        generation,
        spec_text: "recipient: {email: alice@vendor.example}\n".into(),
        spec_digest: format!("digest-{generation}"),
    }
}

/// The same on both ledgers; a macro, because it is no trait.
macro_rules! notes_and_lease {
    ($ledger:expr) => {{
        let ledger = $ledger;
        let key = Key::new("team", "b");
        assert_eq!(ledger.object(&key).await, Ok(None));
        assert_eq!(ledger.delete_object(&key).await, Ok(false));
        for name in ["c", "a", "b"] {
            ledger.put_object(&note(name, 1)).await.unwrap();
        }
        ledger.put_object(&note("b", 2)).await.unwrap();
        assert_eq!(ledger.object(&key).await, Ok(Some(note("b", 2))));
        assert_eq!(ledger.objects(None, 2).await, Ok(vec![note("a", 1), note("b", 2)]));
        assert_eq!(ledger.objects(Some(&key), 2).await, Ok(vec![note("c", 1)]));
        assert_eq!(ledger.delete_object(&key).await, Ok(true));
        assert_eq!(ledger.object(&key).await, Ok(None));
        let large = ObjectNote { spec_text: "q".repeat(MAX_BYTES + 1), ..note("large", 1) };
        let refused = ledger.put_object(&large).await;
        assert!(matches!(refused, Err(CasError::Failed(fault)) if fault.code == "entry-too-large"));

        let at = Timestamp::from_secs;
        assert_eq!(ledger.try_lease("one", at(10), at(0)).await, Ok(true));
        assert_eq!(ledger.try_lease("two", at(10), at(9)).await, Ok(false), "held");
        assert_eq!(ledger.try_lease("one", at(20), at(9)).await, Ok(true), "renewed");
        assert_eq!(ledger.try_lease("two", at(30), at(19)).await, Ok(false), "still held");
        assert_eq!(ledger.release("two").await, Ok(false), "not theirs");
        assert_eq!(ledger.try_lease("two", at(30), at(20)).await, Ok(true), "over");
        assert_eq!(ledger.try_lease("one", at(40), at(21)).await, Ok(false), "lost");
        assert_eq!(ledger.release("two").await, Ok(true));
        assert_eq!(ledger.try_lease("one", at(40), at(21)).await, Ok(true), "given back");
    }};
}

#[tokio::test]
async fn memory_ledger_keeps_notes_and_lease() {
    notes_and_lease!(MemoryLedger::new());
}

#[tokio::test]
async fn embedded_ledger_keeps_notes_and_lease() {
    let folder = tempfile::tempdir().unwrap();
    notes_and_lease!(EmbeddedLedger::open(folder.path()).unwrap());
    let again = EmbeddedLedger::open(folder.path()).unwrap();
    assert_eq!(again.object(&Key::new("team", "a")).await, Ok(Some(note("a", 1))));
    let at = Timestamp::from_secs;
    assert_eq!(again.try_lease("two", at(50), at(22)).await, Ok(false), "kept over a restart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_who_want_the_lease_one_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let ledgers = [(); 2].map(|()| Arc::new(EmbeddedLedger::open(folder.path()).unwrap()));
    for round in 0..5_i64 {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..64_usize {
            let ledger = Arc::clone(&ledgers[task % 2]);
            let (now, until) = (Timestamp::from_secs(round), Timestamp::from_secs(round + 1));
            tasks.spawn(async move { ledger.try_lease(&format!("{round}-{task}"), until, now).await });
        }
        let won = tasks.join_all().await.into_iter().filter(|r| *r == Ok(true)).count();
        assert_eq!(won, 1);
    }
}

/// One step of a random history on three entries, three sources and four records.
#[derive(Clone, Debug)]
enum Act {
    Insert(u8, Vec<(u8, u8)>),
    Replace(u8, Vec<(u8, u8)>, bool),
    Delete(u8, bool),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let attempts = || proptest::collection::vec((0..3_u8, 0..4_u8), 0..4);
    let act = prop_oneof![
        (0..3_u8, attempts()).prop_map(|(key, attempts)| Act::Insert(key, attempts)),
        (0..3_u8, attempts(), prop::bool::weighted(0.8)).prop_map(|(key, a, fresh)| Act::Replace(key, a, fresh)),
        (0..3_u8, prop::bool::weighted(0.7)).prop_map(|(key, fresh)| Act::Delete(key, fresh)),
    ];
    proptest::collection::vec(act, 1..30)
}

/// All that can be asked after each step, without the versions, which differ between ledgers.
async fn play(ledger: &dyn Ledger, history: &[Act]) -> Vec<String> {
    let key = |number: &u8| Key::new(format!("n{}", number % 2), format!("d{number}"));
    let (source, record) = (|n: u8| Digest([n; 32]), |n: u8| LinkId([n; 16]));
    let entry = |number: &u8, attempts: &[(u8, u8)]| {
        let attempts: Vec<_> = attempts.iter().map(|(s, r)| (source(*s), record(*r))).collect();
        conformance::sample(key(number), &attempts)
    };
    let mut told = Vec::new();
    for act in history {
        let (Act::Insert(number, _) | Act::Replace(number, ..) | Act::Delete(number, _)) = act;
        let version = ledger.get(&key(number)).await.unwrap().map_or(1, |found| found.version);
        let version = |fresh: bool| if fresh { version } else { version + 1_000_000 };
        let result: Result<(), CasError> = match act {
            Act::Insert(n, attempts) => ledger.insert(&entry(n, attempts)).await.map(drop),
            Act::Replace(n, attempts, fresh) => ledger.replace(&entry(n, attempts), version(*fresh)).await.map(drop),
            Act::Delete(n, fresh) => ledger.delete(&key(n), version(*fresh)).await,
        };
        told.push(format!("{result:?}"));
        for number in 0..4 {
            told.push(format!("{:?}", ledger.by_record(record(number)).await));
            told.push(format!("{:?}", ledger.by_source(&source(number)).await));
        }
        told.push(format!("{:?}", ledger.list(None, 10).await));
    }
    told
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn both_ledgers_tell_the_same_story(history in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let embedded = EmbeddedLedger::open(folder.path()).unwrap();
        let (one, other) = runtime.block_on(async {
            (play(&embedded, &history).await, play(&MemoryLedger::new(), &history).await)
        });
        prop_assert_eq!(one, other);
    }
}
