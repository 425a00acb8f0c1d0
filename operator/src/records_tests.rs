use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use ps_core::entry::MailState;
use ps_core::ids::Digest;
use ps_core::link::{Command, State, apply};
use ps_core::ports::{RecordSummary, Versioned};
use ps_core::time::{Span, Timestamp};
use ps_ledger::EmbeddedLedger;
use ps_store::MemoryStore;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn id(n: u8) -> LinkId {
    LinkId([n; 16])
}

fn key(name: &str) -> Key {
    Key::new("default", name)
}

fn open(n: u8) -> Record {
    Record::Link(Box::new(ps_store::conformance::sample(id(n), NOW, b"sealed")))
}

fn expired(n: u8) -> Record {
    let open = open(n);
    let step = apply(open.link().unwrap(), &Command::Settle, NOW + Span::from_secs(7200));
    Record::Link(Box::new(step.next.unwrap()))
}

/// An entry whose links were mailed.
fn delivered(name: &str, records: &[u8]) -> Entry {
    let attempts: Vec<_> = records.iter().map(|n| (Digest([7; 32]), id(*n))).collect();
    let mut entry = ps_ledger::conformance::sample(key(name), &attempts);
    for attempt in &mut entry.attempts {
        attempt.mail = MailState::Accepted { at: NOW };
    }
    entry
}

struct Folder {
    ledger: EmbeddedLedger,
    folder: tempfile::TempDir,
}

async fn ledger(entries: &[Entry]) -> Folder {
    let folder = tempfile::tempdir().unwrap();
    let ledger = EmbeddedLedger::open(folder.path()).unwrap();
    for entry in entries {
        ledger.insert(entry).await.unwrap();
    }
    Folder { ledger, folder }
}

async fn store(records: &[Record]) -> MemoryStore {
    let store = MemoryStore::default();
    for record in records {
        store.insert(record).await.unwrap();
    }
    store
}

/// A store that fails as it is told, and notes from where its changes were asked for.
#[derive(Default)]
struct Failing {
    inner: MemoryStore,
    changes: Mutex<VecDeque<Fault>>,
    list: AtomicBool,
    asked: Mutex<Vec<u64>>,
}

fn fault(code: &str) -> Fault {
    Fault::new(Class::Transient, code, "failed on purpose, by a test")
}

#[async_trait]
impl LinkStore for Failing {
    async fn insert(&self, record: &Record) -> Result<u64, CasError> {
        self.inner.insert(record).await
    }
    async fn get(&self, id: LinkId) -> Result<Option<Versioned<Record>>, CasError> {
        self.inner.get(id).await
    }
    async fn replace(&self, record: &Record, unchanged: u64) -> Result<u64, CasError> {
        self.inner.replace(record, unchanged).await
    }
    async fn delete(&self, id: LinkId, unchanged: u64) -> Result<(), CasError> {
        self.inner.delete(id, unchanged).await
    }
    async fn purge(&self, id: LinkId) -> Result<bool, CasError> {
        self.inner.purge(id).await
    }
    async fn list(&self, after: Option<LinkId>, limit: usize) -> Result<Vec<RecordSummary>, CasError> {
        if self.list.load(Ordering::Relaxed) {
            return Err(CasError::Failed(fault("store-busy")));
        }
        self.inner.list(after, limit).await
    }
    async fn changes(&self, after: u64, limit: usize) -> Result<Vec<RecordSummary>, CasError> {
        self.asked.lock().unwrap().push(after);
        // What is there is told first.
        if self.inner.list(None, 1000).await?.iter().all(|s| s.seq <= after)
            && let Some(fault) = self.changes.lock().unwrap().pop_front()
        {
            return Err(CasError::Failed(fault));
        }
        self.inner.changes(after, limit).await
    }
}

/// Waits until it is so; under a paused clock, time flies meanwhile.
async fn until(so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < end, "it never came to that");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// All that is in the queue.
async fn taken(queue: &Queue) -> Vec<Key> {
    let mut keys = Vec::new();
    while queue.depth().0 > 0 {
        keys.extend(queue.next(|| NOW).await);
    }
    keys.sort();
    keys
}

#[test]
fn a_link_is_expected_while_it_is_mailed_and_live() {
    let expected = Expected::default();
    let known = || {
        let mut known: Vec<_> = expected.map().clone().into_iter().collect();
        known.sort();
        known
    };
    expected.note(&delivered("a", &[1, 2]));
    expected.note(&delivered("b", &[3]));
    assert_eq!(known(), [(id(1), key("a")), (id(2), key("a")), (id(3), key("b"))]);
    let mut over = delivered("a", &[1, 2]);
    over.attempts[0].link.state = State::Expired;
    expected.note(&over);
    assert_eq!(known(), [(id(2), key("a")), (id(3), key("b"))]);
    over.attempts[1].link.state = State::Claimed;
    expected.note(&over);
    assert_eq!(known().len(), 2, "a claimed link is live: its window is not over");
    // Written down before its record is put, or given up: not to be missed.
    let mut pending = delivered("b", &[3]);
    pending.attempts[0].mail = MailState::Pending { owner: "me".into(), until: NOW };
    expected.note(&pending);
    over.attempts[1].link.state = State::Open;
    over.attempts[1].mail = MailState::Superseded;
    expected.note(&over);
    assert_eq!(known(), []);
}

#[tokio::test(start_paused = true)]
async fn the_roll_call_brings_those_whose_record_is_gone() {
    let (expected, queue) = (Expected::default(), Queue::default());
    for entry in [delivered("there", &[1]), delivered("gone", &[2]), delivered("over", &[3])] {
        expected.note(&entry);
    }
    let mut over = delivered("over", &[3]);
    over.attempts[0].link.state = State::Expired;
    expected.note(&over);
    let store = Failing { inner: store(&[open(1)]).await, ..Failing::default() };
    store.list.store(true, Ordering::Relaxed);
    let begun = tokio::time::Instant::now();
    tokio::select! {
        ended = expected.roll_call(&store, &queue) => panic!("{ended:?}"),
        () = tokio::time::sleep(ROLL_CALL * 5) => {}
    }
    assert_eq!(taken(&queue).await, [], "a store that can't be listed misses nobody");
    store.list.store(false, Ordering::Relaxed);
    tokio::select! {
        ended = expected.roll_call(&store, &queue) => panic!("{ended:?}"),
        () = until(|| queue.depth().0 > 0) => {}
    }
    assert_eq!(taken(&queue).await, [key("gone")]);
    assert!(begun.elapsed() >= ROLL_CALL * 6, "after its pause, not before");
}

#[tokio::test]
async fn live_links_that_nobody_knows_are_voided_and_no_others() {
    let f = ledger(&[delivered("known", &[1])]).await;
    let store = store(&[open(1), open(2), expired(3), Record::Void { id: id(4) }, open(5)]).await;
    sweep_orphans(&store, &f.ledger).await;
    for (n, expected) in [
        (1, open(1)),
        (2, Record::Void { id: id(2) }),
        (3, expired(3)),
        (4, Record::Void { id: id(4) }),
        (5, Record::Void { id: id(5) }),
    ] {
        let found = store.get(id(n)).await.unwrap().unwrap();
        assert_eq!(found.value, expected, "{n}");
        assert_eq!(found.version <= 5, !matches!(n, 2 | 5), "{n}: written only where something changed");
    }
}

#[tokio::test]
async fn a_link_is_revoked_when_it_was_unknown_for_an_hour_and_no_sooner() {
    let f = ledger(&[delivered("known", &[1])]).await;
    let all = store(&[open(1), open(2), expired(3), open(4)]).await;
    let store = Failing { inner: all, ..Failing::default() };
    let mut orphans = Orphans::default();
    let (hour, moment) = (Span::from_secs(3600), Span::from_millis(1));
    assert_eq!(orphans.sweep(&store, &f.ledger, NOW).await, 0);
    // An entry that the ledger shows late: its link is nobody's no more.
    f.ledger.insert(&delivered("late", &[4])).await.unwrap();
    assert_eq!(orphans.sweep(&store, &f.ledger, NOW + hour - moment).await, 0);
    for n in [1, 2, 4] {
        assert_eq!(store.get(id(n)).await.unwrap().unwrap().value, open(n));
    }
    // A search that fails revokes nothing, and what was noticed before stays noticed.
    store.list.store(true, Ordering::Relaxed);
    assert_eq!(orphans.sweep(&store, &f.ledger, NOW + hour).await, 0);
    store.list.store(false, Ordering::Relaxed);
    assert_eq!(orphans.sweep(&store, &f.ledger, NOW + hour).await, 1);
    for (n, expected) in [(1, open(1)), (2, Record::Void { id: id(2) }), (3, expired(3)), (4, open(4))] {
        assert_eq!(store.get(id(n)).await.unwrap().unwrap().value, expected, "{n}");
    }
    // Its tombstone stays for as long as a copy of the link could be put back, and goes then.
    let not_after = open(2).link().unwrap().sealed.not_after;
    assert_eq!(orphans.sweep(&store, &f.ledger, not_after.max(NOW + hour)).await, 0);
    assert!(store.get(id(2)).await.unwrap().is_some());
    orphans.sweep(&store, &f.ledger, not_after + Span::from_secs(60)).await;
    assert_eq!(store.get(id(2)).await.unwrap(), None);
    assert_eq!(store.get(id(3)).await.unwrap().unwrap().value, expired(3), "others' are not touched");
    assert_eq!(orphans.sweep(&store, &f.ledger, NOW + hour + hour).await, 0, "once is enough");
    // Unknown again, it has an hour again.
    let late = f.ledger.get(&key("late")).await.unwrap().unwrap();
    f.ledger.delete(&key("late"), late.version).await.unwrap();
    let from = NOW + hour + hour + hour;
    assert_eq!(orphans.sweep(&store, &f.ledger, from).await, 0);
    assert_eq!(orphans.sweep(&store, &f.ledger, from + hour - moment).await, 0);
    assert_eq!(orphans.sweep(&store, &f.ledger, from + hour).await, 1);
    assert_eq!(store.get(id(4)).await.unwrap(), None, "its notAfter is long past: it needs no tombstone either");
}

#[tokio::test]
async fn a_ledger_that_cannot_tell_voids_nothing() {
    let f = ledger(&[delivered("known", &[1])]).await;
    let other = rusqlite::Connection::open(f.folder.path().join(ps_ledger::FILE)).unwrap();
    other.execute_batch("ALTER TABLE records RENAME TO elsewhere").unwrap();
    assert!(f.ledger.by_record(id(1)).await.is_err(), "the point of this test");
    let store = store(&[open(1), open(2)]).await;
    sweep_orphans(&store, &f.ledger).await;
    for n in [1, 2] {
        assert_eq!(store.get(id(n)).await.unwrap().unwrap().value, open(n));
    }
    // A store that can't be searched is left alone as well.
    let failing = Failing { inner: store.clone(), list: AtomicBool::new(true), ..Failing::default() };
    sweep_orphans(&failing, &f.ledger).await;
    assert_eq!(store.get(id(2)).await.unwrap().unwrap().value, open(2));
}

#[tokio::test]
async fn a_changed_record_brings_its_delivery() {
    let f = ledger(&[delivered("a", &[1]), delivered("b", &[2])]).await;
    let (store, queue) = (store(&[open(9), open(2)]).await, Queue::default());
    let follow = follow(&store, &f.ledger, &queue);
    tokio::pin!(follow);
    for (n, name) in [(9, "b"), (1, "a")] {
        if n == 1 {
            store.insert(&open(1)).await.unwrap();
        }
        tokio::select! {
            ended = &mut follow => panic!("{ended:?}"),
            () = until(|| queue.depth().0 > 0) => {}
        }
        assert_eq!(taken(&queue).await, [key(name)]);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_was_just_opened_is_brought_a_moment_later_and_not_later_for_being_opened_again() {
    let f = ledger(&[delivered("a", &[1]), delivered("b", &[2])]).await;
    let (store, queue) = (store(&[]).await, Queue::default());
    let follow = follow(&store, &f.ledger, &queue);
    tokio::pin!(follow);
    // What is brought by the time that has passed after these links became so.
    let mut brought = async |links: &[(u8, State)], millis: u64| {
        for (n, state) in links {
            let mut link = ps_store::conformance::sample(id(*n), NOW, b"sealed");
            link.state = *state;
            let record = Record::Link(Box::new(link));
            match store.get(id(*n)).await.unwrap() {
                Some(found) => store.replace(&record, found.version).await.unwrap(),
                None => store.insert(&record).await.unwrap(),
            };
        }
        tokio::select! {
            ended = &mut follow => panic!("{ended:?}"),
            () = tokio::time::sleep(Duration::from_millis(millis)) => {}
        }
        let keys = taken(&queue).await;
        keys.iter().for_each(|key| queue.done(key, None));
        keys
    };
    use State::{Claimed, Retrieved};
    assert_eq!(brought(&[(1, Claimed)], 200).await, []);
    assert_eq!(brought(&[(1, Claimed), (2, Claimed)], 200).await, []);
    assert_eq!(brought(&[(1, Claimed)], 200).await, [key("a")]);
    assert_eq!(brought(&[(1, Retrieved)], 1).await, [key("a")], "what is over is brought at once");
    assert_eq!(brought(&[], 200).await, [key("b")]);
    assert_eq!(brought(&[(1, Claimed)], 499).await, [], "the next time, anew");
    assert_eq!(brought(&[], 2).await, [key("a")]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_went_backwards_brings_every_delivery() {
    let f = ledger(&[delivered("a", &[1]), delivered("b", &[2]), delivered("c", &[])]).await;
    let store = Failing { inner: store(&[open(9)]).await, ..Failing::default() };
    store.changes.lock().unwrap().push_back(fault("changes-lost"));
    let queue = Queue::default();
    let begun = tokio::time::Instant::now();
    tokio::select! {
        ended = follow(&store, &f.ledger, &queue) => panic!("{ended:?}"),
        () = until(|| store.asked.lock().unwrap().len() >= 3) => {}
    }
    assert_eq!(taken(&queue).await, [key("a"), key("b"), key("c")], "each looks for itself");
    assert_eq!(store.asked.lock().unwrap()[..3], [0, 1, 0], "then it is followed from the start");
    assert!(begun.elapsed() >= AFTER_LOSS, "not in a hot loop");
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_waited_for_and_damage_is_told() {
    let f = ledger(&[delivered("a", &[1])]).await;
    for code in ["store-schema-foreign", "store-corrupt", "store-file-odd", "store-counter-lost"] {
        let store = Failing::default();
        store.changes.lock().unwrap().extend([fault("store-busy"), fault(code)]);
        let (queue, begun) = (Queue::default(), tokio::time::Instant::now());
        let ended = tokio::time::timeout(Duration::from_secs(3600), follow(&store, &f.ledger, &queue)).await;
        let ended = ended.expect("it goes on as if nothing were damaged").unwrap_err();
        assert_eq!(ended.downcast_ref::<Damaged>().map(|damaged| damaged.0.code.as_str()), Some(code));
        assert!(begun.elapsed() >= Duration::from_secs(1), "a busy store is tried again after a pause");
        assert_eq!(taken(&queue).await, [], "neither says that everything must be looked at");
    }
}
