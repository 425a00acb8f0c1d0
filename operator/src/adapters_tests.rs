use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;

/// A sink that counts how often it is asked, and answers or never does.
#[derive(Default)]
struct Sink {
    asked: AtomicU32,
    answers: AtomicBool,
}

#[async_trait]
impl AuditSink for Sink {
    async fn append(&self, _: &[Event]) -> Result<(), Fault> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.answers.load(Ordering::Relaxed) {
            return Ok(());
        }
        std::future::pending().await
    }
}

/// What came of one append, and how long it took.
async fn append(audit: &BoundedAudit) -> (String, Duration) {
    let begun = tokio::time::Instant::now();
    let answer = tokio::time::timeout(Duration::from_secs(3600), audit.append(&[])).await.expect("it never answers");
    let code = answer.err().map_or_else(String::new, |fault| {
        assert_eq!(fault.class, Class::Transient, "the events stay in the outbox");
        fault.code
    });
    (code, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_trail_that_hangs_costs_five_seconds_once_then_nothing_for_ten() {
    let sink = Arc::new(Sink::default());
    let audit = BoundedAudit::new(sink.clone());
    let asked = || sink.asked.load(Ordering::Relaxed);
    let slow = "audit-slow".to_owned();

    assert_eq!(append(&audit).await, (slow.clone(), AUDIT_LIMIT));
    for _ in 0..3 {
        assert_eq!(append(&audit).await, (slow.clone(), Duration::ZERO));
    }
    assert_eq!(asked(), 1, "it is left alone meanwhile");

    // The ten seconds are over; it still hangs.
    tokio::time::advance(LEFT_ALONE).await;
    assert_eq!(append(&audit).await, (slow, AUDIT_LIMIT));
    assert_eq!(asked(), 2);
    // And over once more; it works again, at once and from then on.
    sink.answers.store(true, Ordering::Relaxed);
    tokio::time::advance(LEFT_ALONE).await;
    for _ in 0..2 {
        assert_eq!(append(&audit).await, (String::new(), Duration::ZERO));
    }
    assert_eq!(asked(), 4);
}

mod notes {
    use std::collections::BTreeSet;
    use std::path::Path;

    use ps_controller::folder::Folders;
    use ps_core::time::{Span, Timestamp};

    use super::*;
    use crate::clock::{SystemRandom, now};

    /// Ten seconds and more ahead of the files: they have settled.
    #[derive(Default)]
    struct Ahead(AtomicU32);

    impl Clock for Ahead {
        fn now(&self) -> Timestamp {
            now() + Span::from_secs(10 + i64::from(self.0.load(Ordering::Relaxed)))
        }
    }

    struct World {
        folder: tempfile::TempDir,
        ledger: Arc<EmbeddedLedger>,
        lease: Arc<Lease>,
        clock: Arc<Ahead>,
    }

    fn key(name: &str) -> Key {
        Key::new("default", name)
    }

    impl World {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("m")).unwrap();
            let ledger = Arc::new(EmbeddedLedger::open(folder.path()).unwrap());
            let lease = Arc::new(Lease::new("me".into(), Span::from_secs(300)));
            assert_eq!(lease.take(&ledger).await, Ok(true));
            Self { folder, ledger, lease, clock: Arc::default() }
        }

        fn path(&self) -> &Path {
            self.folder.path()
        }

        async fn open(&self) -> FolderSource {
            let folders = Folders { manifests: self.path().join("m"), secrets: self.path().join("s") };
            let notes = Arc::new(NotesInLedger { ledger: self.ledger.clone(), lease: self.lease.clone() });
            FolderSource::open(folders, notes, self.clock.clone(), Arc::new(SystemRandom)).await.unwrap()
        }

        fn write(&self, name: &str, more: &str) {
            let text = format!(
                "apiVersion: passwordsender.io/v1alpha1\nkind: SecretDelivery\nmetadata: {{name: {name}}}\nspec:\n  \
                 recipient: {{email: a@b.example}}\n  source: {{vault: {{connectionRef: {{name: vault}}, kv: {{mount: kv, \
                 path: app}}}}}}\n  link: {{ttl: 1h}}\n  rotation: {{strategy: None}}\n{more}"
            );
            std::fs::write(self.path().join(format!("m/{name}.yaml")), text).unwrap();
        }

        /// What the ledger has of a note; another text is put in its place, if there is one.
        fn note(&self, name: &str, other: Option<&str>) -> String {
            let file = rusqlite::Connection::open(self.path().join(ps_ledger::FILE)).unwrap();
            let sql = "SELECT spec_text FROM objects WHERE name = ?1";
            let text = file.query_row(sql, [name], |row| row.get(0)).unwrap();
            if let Some(other) = other {
                let sql = "UPDATE objects SET spec_text = ?2 WHERE name = ?1";
                assert_eq!(file.execute(sql, (name, other)).unwrap(), 1);
            }
            text
        }

        /// An absence that is long enough to be believed.
        async fn wait(&self, source: &FolderSource) {
            source.rescan().await.unwrap();
            self.clock.0.fetch_add(11, Ordering::Relaxed);
            source.rescan().await.unwrap();
        }
    }

    async fn uid(source: &FolderSource, name: &str) -> String {
        source.get(&key(name)).await.unwrap().unwrap().uid
    }

    async fn is_unreadable(source: &FolderSource, name: &str) -> bool {
        let code = source.get(&key(name)).await.err().map(|fault| (fault.class, fault.code));
        code == Some((Class::Permanent, "note-unreadable".to_owned()))
    }

    #[tokio::test]
    async fn one_that_can_not_be_read_is_neither_new_nor_gone_and_all_others_are_served() {
        let world = World::new().await;
        for name in ["a", "b", "c"] {
            world.write(name, "");
        }
        let source = world.open().await;
        let (a, b) = (uid(&source, "a").await, uid(&source, "b").await);
        drop(source);
        // What is no note, and what is the note of somebody else.
        let other = world.note("b", None);
        let texts = [("a", "junk"), ("c", &other)].map(|(name, junk)| (name, world.note(name, Some(junk))));

        let source = world.open().await;
        assert_eq!(source.unreadable().into_keys().collect::<BTreeSet<_>>(), [key("a"), key("c")].into());
        assert_eq!(source.keys().into_iter().collect::<BTreeSet<_>>(), ["a", "b", "c"].map(key).into());
        world.write("b", "  revoked: true\n");
        world.write("a", "  revoked: true\n");
        std::fs::remove_file(world.path().join("m/c.yaml")).unwrap();
        world.wait(&source).await;
        assert!(source.get(&key("b")).await.unwrap().unwrap().spec.unwrap().revoked);
        assert!(is_unreadable(&source, "a").await && is_unreadable(&source, "c").await);
        assert_eq!(
            (world.note("a", None), world.note("c", None)),
            ("junk".to_owned(), other),
            "kept for whoever mends it"
        );
        drop(source);

        for (name, text) in &texts {
            world.note(name, Some(text));
        }
        let source = world.open().await;
        assert_eq!((uid(&source, "a").await, uid(&source, "b").await), (a, b), "the same objects as ever");
        assert!(source.get(&key("a")).await.unwrap().unwrap().spec.unwrap().revoked);
        world.wait(&source).await;
        assert!(source.get(&key("c")).await.unwrap().unwrap().deleting);
        assert_eq!(source.unreadable().len(), 0);
    }

    #[tokio::test]
    async fn one_that_turns_out_unreadable_when_it_is_needed_stops_no_other() {
        let world = World::new().await;
        for name in ["changed", "removed", "other"] {
            world.write(name, "");
        }
        let source = world.open().await;
        while tokio::time::timeout(Duration::from_millis(1), source.next_change()).await.is_ok() {}
        world.note("changed", Some("junk"));
        world.note("removed", Some("junk"));
        world.write("changed", "  revoked: true\n");
        world.write("other", "  revoked: true\n");
        std::fs::remove_file(world.path().join("m/removed.yaml")).unwrap();
        world.wait(&source).await;
        assert!(source.get(&key("other")).await.unwrap().unwrap().spec.unwrap().revoked);
        assert!(is_unreadable(&source, "changed").await && is_unreadable(&source, "removed").await);
        assert_eq!((world.note("changed", None), world.note("removed", None)), ("junk".to_owned(), "junk".to_owned()));
        let mut told = BTreeSet::new();
        while let Ok(key) = tokio::time::timeout(Duration::from_millis(1), source.next_change()).await {
            told.insert(key);
        }
        assert_eq!(told, ["changed", "removed", "other"].map(key).into(), "everybody looks again");
    }
}
