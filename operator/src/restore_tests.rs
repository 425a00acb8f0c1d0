use ps_audit::Mirror;
use ps_core::audit::EventKind;
use ps_core::entry::{Attempt, MailState};
use ps_core::ids::{Digest, LinkId, Stamp};
use ps_core::ports::AuditSink as _;
use ps_core::time::Timestamp;
use ps_ledger::EmbeddedLedger;

use super::*;
use crate::clock::SystemRandom;

/// When every event here was told.
const TOLD: Timestamp = Timestamp::from_secs(1_000_001);
/// When a restore is noticed, if not otherwise said: nothing here is older.
const BEFORE: Timestamp = Timestamp::from_secs(1_000_000);

/// A ledger of one entry, `shop`, which has told three events and has read three lines of its record's journal; and a
/// folder for trails.
struct Scene {
    folder: tempfile::TempDir,
    ledger: EmbeddedLedger,
    id: String,
}

fn key(name: &str) -> Key {
    Key::new("default", name)
}

fn shop() -> Entry {
    let mut entry = ps_ledger::conformance::sample(key("shop"), &[(Digest([7; 32]), LinkId([1; 16]))]);
    entry.next_seq = 3;
    for attempt in &mut entry.attempts {
        attempt.mail = MailState::Accepted { at: Timestamp::from_secs(1_000_000) };
        attempt.link.journal_read = 3;
    }
    entry
}

/// An event of `shop`, or of an entry that there is not.
fn event(entry: &Entry, writer: Writer, seq: u64) -> Event {
    Event {
        delivery: entry.key.clone(),
        incarnation: entry.incarnation(),
        attempt: if writer == Writer::Record { 1 } else { 0 },
        writer,
        seq,
        at: TOLD,
        kind: EventKind::Accepted,
        reason: "a test".into(),
        facts: std::collections::BTreeMap::new(),
    }
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = EmbeddedLedger::open(folder.path()).unwrap();
        let id = common(&ledger, &SystemRandom).await.unwrap().value.ledger_id;
        ledger.insert(&shop()).await.unwrap();
        Self { folder, ledger, id }
    }

    /// Opens a trail, and adds these events.
    async fn trail(&self, name: &str, events: &[Event]) -> FileTrail {
        let trail = FileTrail::open(&self.folder.path().join(name), &self.id, Mirror::None).unwrap();
        trail.append(events).await.unwrap();
        trail
    }

    async fn common(&self) -> Versioned<Common> {
        self.ledger.known_common().await.unwrap()
    }

    async fn head(&self, trail: &FileTrail) -> u64 {
        self.common().await.value.known_head(&trail.identity().unwrap().unwrap())
    }

    async fn check(&self, trail: &FileTrail) -> Option<String> {
        self.check_at(trail, BEFORE).await
    }

    async fn check_at(&self, trail: &FileTrail, now: Timestamp) -> Option<String> {
        check(&self.ledger, trail, now).await.unwrap()
    }

    /// As a backup would have `shop`.
    async fn set_back(&self, change: impl Fn(&mut Entry)) {
        let mut found = self.ledger.get(&key("shop")).await.unwrap().unwrap();
        change(&mut found.value);
        self.ledger.replace(&found.value, found.version).await.unwrap();
    }
}

#[tokio::test]
async fn what_the_ledger_knows_moves_the_head_and_what_it_does_not_know_proves_a_restore() {
    use Writer::{Operator, Record};
    for (writer, seq, known) in [(Operator, 2, true), (Operator, 3, false), (Record, 2, true), (Record, 3, false)] {
        let scene = Scene::new().await;
        let trail = scene.trail("audit", &[event(&shop(), Operator, 0), event(&shop(), writer, seq)]).await;
        let why = scene.check(&trail).await;
        assert_eq!(why.is_none(), known, "{writer:?} {seq}: {why:?}");
        assert_eq!(scene.head(&trail).await, if known { trail.head().n } else { 0 }, "{writer:?} {seq}");
        let common = scene.common().await;
        assert_eq!(common.value.restored, why, "it is remembered");
        if let Some(why) = why {
            assert!(why.contains("default/shop") && why.contains("Accepted"), "{why}");
        }
        assert_eq!(scene.check(&trail).await, common.value.restored, "asked again, the same");
        assert_eq!(scene.common().await.version, common.version, "and nothing new to write");
    }
}

#[tokio::test]
async fn an_attempt_that_the_entry_has_dropped_was_read_to_its_end() {
    let scene = Scene::new().await;
    let trail = scene.trail("audit", &[event(&shop(), Writer::Record, 99)]).await;
    scene.set_back(|entry| entry.attempts.retain(|attempt: &Attempt| attempt.number != 1)).await;
    assert_eq!(scene.check(&trail).await, None);
}

#[tokio::test]
async fn each_trail_has_a_head_of_its_own() {
    let scene = Scene::new().await;
    let one = scene.trail("one", &[event(&shop(), Writer::Operator, 0)]).await;
    // Another operator's: it begins otherwise, with the same event behind.
    let begin = event(&shop(), Writer::Operator, 1);
    let other = scene.trail("other", &[begin, event(&shop(), Writer::Operator, 2)]).await;
    assert_eq!(scene.check(&one).await, None);
    assert_eq!((scene.head(&one).await, scene.head(&other).await), (one.head().n, 0));
    assert_eq!(scene.check(&other).await, None);
    assert_eq!((scene.head(&one).await, scene.head(&other).await), (one.head().n, other.head().n));
    assert_ne!(one.head().n, other.head().n, "the point of this test");

    // What is behind a trail's head is not compared again; on a trail that nobody has compared, it is.
    scene.set_back(|entry| entry.next_seq = 0).await;
    assert_eq!(scene.check(&one).await, None);
    assert_eq!(scene.check(&other).await, None);
    let copy = scene.trail("third", &[event(&shop(), Writer::Record, 0), event(&shop(), Writer::Operator, 0)]).await;
    assert!(scene.check(&copy).await.is_some());
    assert_eq!(scene.head(&copy).await, 0);
}

#[tokio::test]
async fn a_trail_without_a_line_tells_nothing() {
    let scene = Scene::new().await;
    let before = scene.common().await;
    let trail = scene.trail("empty", &[]).await;
    assert_eq!(scene.check(&trail).await, None);
    advance(&scene.ledger, &trail, 0).await.unwrap();
    assert_eq!(scene.common().await.version, before.version, "nothing to write down");
    advance(&scene.ledger, &trail, 77).await.unwrap();
    let common = scene.common().await.value;
    assert_eq!((common.newest, common.trails.len()), (77, 0));

    // It hides nothing that was noticed otherwise.
    note(&scene.ledger, "set back", BEFORE).await.unwrap();
    assert_eq!(scene.check(&trail).await.as_deref(), Some("set back"));
    assert_eq!(accept(&scene.ledger, &trail).await.unwrap().as_deref(), Some("set back"));
    assert_eq!((scene.check(&trail).await, scene.common().await.value.trails.len()), (None, 0));
}

#[tokio::test]
async fn a_note_stays_as_it_was_first_until_somebody_accepts() {
    let scene = Scene::new().await;
    let trail = scene.trail("audit", &[event(&shop(), Writer::Operator, 0)]).await;
    note(&scene.ledger, "first", BEFORE).await.unwrap();
    note(&scene.ledger, "second", BEFORE).await.unwrap();
    assert_eq!(scene.common().await.value.restored.as_deref(), Some("first"));
    assert_eq!(scene.check(&trail).await.as_deref(), Some("first"));
    // Meanwhile nothing counts as known.
    advance(&scene.ledger, &trail, 77).await.unwrap();
    assert_eq!((scene.head(&trail).await, scene.common().await.value.newest), (0, 0));
    assert_eq!(accept_known(&scene.ledger).await.unwrap().as_deref(), Some("first"));
    assert_eq!(accept_known(&scene.ledger).await.unwrap(), None, "there is nothing more to accept");
    advance(&scene.ledger, &trail, 77).await.unwrap();
    assert_eq!((scene.head(&trail).await, scene.common().await.value.newest), (trail.head().n, 77));
}

#[tokio::test]
async fn the_first_event_of_an_entry_that_is_not_there_proves_a_restore_and_a_later_one_does_not() {
    let mut gone = shop();
    gone.key = key("gone");
    let mut anew = shop();
    anew.stamp = Stamp::new(&anew.key, [8; 16]);
    assert_ne!(anew.incarnation(), shop().incarnation(), "the point of this test");
    for entry in [gone, anew] {
        for (writer, seq, proves) in
            [(Writer::Operator, 0, true), (Writer::Operator, 1, false), (Writer::Record, 0, false)]
        {
            let scene = Scene::new().await;
            let trail = scene.trail("audit", &[event(&entry, writer, seq)]).await;
            let why = scene.check(&trail).await;
            assert_eq!(why.is_some(), proves, "{} {writer:?} {seq}: {why:?}", entry.key);
            assert_eq!(scene.head(&trail).await, if proves { 0 } else { trail.head().n });
        }
    }
}

#[tokio::test]
async fn what_was_accepted_is_known_from_then_on() {
    let scene = Scene::new().await;
    let trail = scene.trail("audit", &[event(&shop(), Writer::Operator, 9)]).await;
    let why = scene.check(&trail).await;
    assert!(why.is_some());
    assert_eq!(accept(&scene.ledger, &trail).await.unwrap(), why);
    assert_eq!((scene.common().await.value.restored, scene.head(&trail).await), (None, trail.head().n));
    assert_eq!(scene.check(&trail).await, None);
    assert_eq!(accept(&scene.ledger, &trail).await.unwrap(), None, "there is nothing more to accept");
    // Only what was there: what comes later is compared.
    trail.append(&[event(&shop(), Writer::Operator, 10)]).await.unwrap();
    assert!(scene.check(&trail).await.is_some());

    // From beside a running operator only the note goes, and the operator moves the head on.
    assert!(accept_known(&scene.ledger).await.unwrap().is_some());
    assert!(scene.head(&trail).await < trail.head().n);
    advance(&scene.ledger, &trail, 0).await.unwrap();
    assert_eq!(scene.check(&trail).await, None);
}

/// Each operator of a cluster has a trail of its own. Whoever leads after a restore was accepted has one that tells of what was
/// lost as well.
#[tokio::test]
async fn what_another_trail_tells_of_before_it_was_accepted_proves_nothing_more() {
    let events = |at| [Event { at, ..event(&shop(), Writer::Operator, 9) }];
    let later = TOLD + ps_core::time::Span::from_millis(1);
    let scene = Scene::new().await;
    let trail = scene.trail("first", &events(TOLD)).await;
    assert!(scene.check_at(&trail, TOLD).await.is_some());
    assert!(accept_known(&scene.ledger).await.unwrap().is_some());
    // The operator was killed before it moved the head on.
    assert_eq!((scene.head(&trail).await, scene.check(&trail).await), (0, None));
    assert_eq!(scene.head(&trail).await, trail.head().n, "and now it is known");
    let second = scene.trail("second", &events(TOLD)).await;
    assert_eq!(scene.check(&second).await, None);
    // What was told since is lost with another restore, whoever notices that, by whatever clock.
    let third = scene.trail("third", &events(later)).await;
    assert!(scene.check_at(&third, BEFORE).await.is_some());
    // Noticed once more, it is the same one: the first reason and its time stay.
    note(&scene.ledger, "again", later).await.unwrap();
    assert!(accept_known(&scene.ledger).await.unwrap().is_some());
    assert_eq!(scene.common().await.value.accepted, Some(TOLD), "a clock that is behind takes nothing back");
    assert!(scene.check(&third).await.is_some());
}

#[tokio::test]
async fn who_accepts_nothing_changes_nothing() {
    let scene = Scene::new().await;
    let trail = scene.trail("audit", &[event(&shop(), Writer::Operator, 9)]).await;
    assert_eq!(accept_known(&scene.ledger).await.unwrap(), None);
    assert_eq!(accept(&scene.ledger, &trail).await.unwrap(), None);
    assert!(scene.check(&trail).await.is_some(), "it was not there to be accepted");
}

#[tokio::test]
async fn the_ledger_wide_entry_is_made_once_and_never_for_entries_that_are_there() {
    let scene = Scene::new().await;
    let again = common(&scene.ledger, &SystemRandom).await.unwrap().value;
    assert_eq!(again.ledger_id, scene.id);
    assert_ne!(again.tag_key.0, [0; 32]);
    assert_eq!(keys(&scene.ledger).await.unwrap(), [key("shop")]);

    let folder = tempfile::tempdir().unwrap();
    let ledger = EmbeddedLedger::open(folder.path()).unwrap();
    assert!(ledger.common(&Common::blank()).await.is_err(), "a blank one is never stored");
    ledger.insert(&shop()).await.unwrap();
    let refused = common(&ledger, &SystemRandom).await.unwrap_err();
    assert!(ledger.common(&Common::blank()).await.is_err(), "{refused:#}");
}

/// A ledger in which another operator makes the first entries just after somebody has found nothing.
struct Raced(EmbeddedLedger);

#[async_trait::async_trait]
impl Ledger for Raced {
    async fn get(&self, key: &Key) -> Result<Option<Versioned<Entry>>, CasError> {
        self.0.get(key).await
    }
    async fn insert(&self, entry: &Entry) -> Result<u64, CasError> {
        self.0.insert(entry).await
    }
    async fn replace(&self, entry: &Entry, unchanged: u64) -> Result<u64, CasError> {
        self.0.replace(entry, unchanged).await
    }
    async fn delete(&self, key: &Key, unchanged: u64) -> Result<(), CasError> {
        self.0.delete(key, unchanged).await
    }
    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, CasError> {
        self.0.list(after, limit).await
    }
    async fn by_source(&self, source: &Digest) -> Result<Vec<Entry>, CasError> {
        self.0.by_source(source).await
    }
    async fn by_record(&self, record: LinkId) -> Result<Option<Key>, CasError> {
        self.0.by_record(record).await
    }
    async fn common(&self, fresh: &Common) -> Result<Versioned<Common>, CasError> {
        let found = self.0.common(fresh).await;
        if found.is_err() {
            self.0.common(&Common::new(TagKey([1; 32]), "theirs".into())).await?;
            self.0.insert(&shop()).await?;
        }
        found
    }
    async fn replace_common(&self, common: &Common, unchanged: u64) -> Result<u64, CasError> {
        self.0.replace_common(common, unchanged).await
    }
}

#[tokio::test]
async fn another_operator_that_is_faster_to_make_the_ledger_is_no_loss_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Raced(EmbeddedLedger::open(folder.path()).unwrap());
    assert_eq!(common(&ledger, &SystemRandom).await.unwrap().value.ledger_id, "theirs");
}

#[tokio::test]
async fn an_entry_that_can_not_be_read_proves_nothing_and_hides_nothing_of_others() {
    use Writer::Operator;
    let scene = Scene::new().await;
    let file = rusqlite::Connection::open(scene.folder.path().join(ps_ledger::FILE)).unwrap();
    assert_eq!(file.execute("UPDATE entries SET entry = '{}' WHERE name = 'shop'", []).unwrap(), 1);
    assert!(scene.ledger.get(&key("shop")).await.is_err(), "the point of this test");
    // It would know neither of these.
    let own = scene.trail("own", &[event(&shop(), Operator, 0), event(&shop(), Operator, 99)]).await;
    assert_eq!(scene.check(&own).await, None);
    let lost = Entry { key: key("lost"), ..shop() };
    let others = scene.trail("others", &[event(&shop(), Operator, 1), event(&lost, Operator, 0)]).await;
    let why = scene.check(&others).await.unwrap();
    assert!(why.contains("default/lost"), "{why}");

    let found = crate::obligations::all(&scene.ledger).await.unwrap();
    assert_eq!((found.rows.len(), found.unread.len()), (0, 1));
    let told = format!("{:#}", found.complete().unwrap_err());
    assert!(told.contains("default/shop") && told.contains("can't be read"), "{told}");
}
