//! The links store altered, damaged, replaced or held while the operator uses it: links are withdrawn and their credentials
//! rotated, whatever was promised, and everything goes on by itself.

use std::fs;
use std::path::Path;

use ps_core::ids::LinkId;
use ps_testbed::{OpenBao, Testbed, unique, wait_until};
use serde_json::json;

use crate::support::{Invitation, KvSource, PAST_TTL, Recipient, SOON, Setup, Stand, kv_delivery};

struct Scene {
    bao: &'static OpenBao,
    stand: Stand,
    mount: String,
}

/// A delivery whose mail has come.
struct Sent {
    name: String,
    to: String,
    source: KvSource,
    recipient: Recipient,
}

impl Scene {
    async fn new() -> Self {
        let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
        let stand = Stand::start(Setup::default()).await;
        let mount = KvSource::new(bao).await.mount;
        let anywhere = format!("path \"{mount}/*\" {{ capabilities = [\"read\", \"patch\", \"update\"] }}");
        stand.connect(bao, bao.address(), &anywhere).await;
        Self { bao, stand, mount }
    }

    async fn send(&self, name: &str, ttl: &str, after: &str) -> Sent {
        let (source, to) = (KvSource::below(self.bao, &self.mount).await, format!("{}@v.example", unique("damage")));
        self.stand.apply(name, &kv_delivery(name, &to, &source, ttl, after, json!({})));
        let recipient = self.stand.recipient(&to).await;
        self.stand.wait_status(name, "delivered", SOON, |s| s.is("Delivered")).await;
        Sent { name: name.to_owned(), to, source, recipient }
    }

    /// The sender withdraws it.
    fn withdraw(&self, sent: &Sent, ttl: &str, after: &str) {
        let more = json!({"revoked": true});
        self.stand.apply(&sent.name, &kv_delivery(&sent.name, &sent.to, &sent.source, ttl, after, more));
    }

    /// One link that is open, and one that was claimed: an hour is promised to both.
    async fn send_two(&self, what: &str) -> [Sent; 2] {
        let open = self.send(&format!("{what}-open"), "1h", "1h").await;
        let claimed = self.send(&format!("{what}-claimed"), "1h", "1h").await;
        assert_eq!(claimed.recipient.open().await["password"], claimed.source.password);
        self.stand.wait_status(&claimed.name, "the claim", SOON, |s| s.is("Retrieved")).await;
        [open, claimed]
    }

    /// The record is not believed: nobody can open the link, and the credential is replaced before its time.
    async fn assert_withdrawn(&self, sent: &Sent, what: &str) {
        self.stand.wait_rotated(&sent.name, PAST_TTL).await;
        sent.source.assert_replaced(self.bao).await;
        assert_eq!(self.stand.audited(&sent.name, "Tampered"), 1, "{what}");
        let answer = wait_until("a gateway", SOON, async || sent.recipient.try_claim().await).await.unwrap();
        // A row that can't be read is answered like a store that can't be.
        assert!(matches!(answer.status, 404 | 410 | 503), "{what}: {answer:?}");
    }

    fn links(&self) -> std::path::PathBuf {
        self.stand.path("data/links")
    }

    fn database(&self) -> rusqlite::Connection {
        let database = rusqlite::Connection::open(self.links().join("links.db")).unwrap();
        database.busy_timeout(SOON).unwrap();
        database
    }

    /// How many files were put aside.
    fn put_aside(&self) -> usize {
        let names = fs::read_dir(self.links()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("suspect-")).count()
    }
}

fn remove_logs(links: &Path) {
    for log in ["links.db-wal", "links.db-shm"] {
        drop(fs::remove_file(links.join(log)));
    }
}

#[tokio::test]
async fn a_store_that_is_damaged_at_the_start_is_put_aside_and_its_links_are_withdrawn() {
    let scene = Scene::new().await;
    type Damage = fn(&Path, rusqlite::Connection);
    let damages: [(&str, Damage); 4] = [
        ("junk", |links, _| {
            remove_logs(links);
            fs::write(links.join("links.db"), [0x5a; 70_000]).unwrap();
        }),
        ("foreign", |_, database| {
            database.execute_batch("CREATE VIEW v AS SELECT 1; DROP TABLE content").unwrap();
        }),
        ("link", |links, _| {
            remove_logs(links);
            let file = links.join("links.db");
            fs::rename(&file, links.join("elsewhere")).unwrap();
            std::os::unix::fs::symlink("elsewhere", &file).unwrap();
        }),
        // An empty file is as good as a new one: nothing to put aside, and every record is missing.
        ("emptied", |links, _| {
            remove_logs(links);
            fs::write(links.join("links.db"), []).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let sent = scene.send_two(what).await;
        let before = scene.put_aside();
        scene.stand.stop();
        damage(&scene.links(), scene.database());
        // What was put aside long ago: no link in it could be open any more.
        let long_ago = scene.links().join("suspect-1700000000000-links.db");
        fs::write(&long_ago, "ciphertext").unwrap();
        scene.stand.run().await;
        assert!(!long_ago.exists(), "{what}");
        for sent in &sent {
            scene.assert_withdrawn(sent, what).await;
        }
        assert_eq!(scene.put_aside() > before, what != "emptied", "{what}: kept for whoever looks into it");
    }
    let after = scene.send("after", "1h", "1s").await;
    assert_eq!(after.recipient.open().await["password"], after.source.password);
    scene.stand.wait_rotated("after", SOON).await;
}

#[tokio::test]
async fn a_store_that_is_damaged_while_it_is_used_is_put_aside_and_everything_goes_on() {
    let scene = Scene::new().await;
    let pid = scene.stand.pid();
    for (what, sql) in [
        ("foreign", "CREATE TRIGGER t AFTER INSERT ON links BEGIN DELETE FROM store; END"),
        ("counter-gone", "DELETE FROM store"),
        // Everything can be read, and nothing can be written any more.
        ("counter-spent", "UPDATE store SET seq = 9223372036854775807"),
    ] {
        let sent = scene.send_two(what).await;
        let before = scene.put_aside();
        scene.database().execute_batch(sql).unwrap();
        // What must be stored now waits for a store that takes it: a minute, in which nobody else begins its attempt anew.
        let (source, to) = (KvSource::below(scene.bao, &scene.mount).await, format!("{}@v.example", unique("later")));
        if what == "counter-spent" {
            scene.stand.apply("later", &kv_delivery("later", &to, &source, "1h", "1h", json!({})));
        }
        for sent in &sent {
            scene.assert_withdrawn(sent, what).await;
        }
        assert!(scene.put_aside() > before, "{what}");
        scene.stand.wait_ready().await;
        if what == "counter-spent" {
            let mails = scene.stand.mails(&to, 1, PAST_TTL).await;
            assert_eq!(Recipient::new(&Invitation::of(&mails[0])).open().await["password"], source.password);
        }
        assert_eq!(scene.stand.pid(), pid);
    }
    let after = scene.send("after", "1h", "1s").await;
    assert_eq!(after.recipient.open().await["password"], after.source.password);
    scene.stand.wait_rotated("after", SOON).await;
}

#[tokio::test]
async fn a_store_file_that_is_replaced_while_it_is_used_is_noticed() {
    let scene = Scene::new().await;
    for what in ["older", "gone"] {
        scene.stand.wait_ready().await;
        let old = scene.links().join("old");
        scene.database().execute("VACUUM INTO ?1", [old.to_str().unwrap()]).unwrap();
        let sent = scene.send_two(what).await;
        let file = scene.links().join("links.db");
        match what {
            "older" => fs::rename(&old, &file).unwrap(),
            _ => fs::remove_file(&file).unwrap(),
        }
        remove_logs(&scene.links());
        for sent in &sent {
            scene.assert_withdrawn(sent, what).await;
        }
        drop(fs::remove_file(old));
    }
    let after = scene.send("after", "1h", "1s").await;
    assert_eq!(after.recipient.open().await["password"], after.source.password);
    scene.stand.wait_rotated("after", SOON).await;
}

/// A row as it lies in the table.
struct Row {
    links: (i64, Option<String>, Option<i64>, String),
    content: Vec<u8>,
    counter: i64,
}

impl Row {
    fn read(database: &rusqlite::Connection, id: LinkId) -> Self {
        let links = "SELECT seq, state, next_change, meta FROM links WHERE id = ?1";
        let content = "SELECT ciphertext FROM content WHERE row = (SELECT row FROM links WHERE id = ?1)";
        Self {
            links: database
                .query_row(links, [&id.0[..]], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
                .unwrap(),
            content: database.query_row(content, [&id.0[..]], |r| r.get(0)).unwrap(),
            counter: database.query_row("SELECT seq FROM store", [], |r| r.get(0)).unwrap(),
        }
    }

    /// Puts it back, with the counter as it was then: nothing of the file is younger.
    fn write(&self, database: &mut rusqlite::Connection, id: LinkId) {
        let (seq, state, next_change, meta) = &self.links;
        let turn = database.transaction().unwrap();
        turn.execute(
            "UPDATE links SET seq = ?2, state = ?3, next_change = ?4, meta = ?5 WHERE id = ?1",
            (&id.0[..], seq, state, next_change, meta),
        )
        .unwrap();
        turn.execute(
            "INSERT OR REPLACE INTO content (row, ciphertext) SELECT row, ?2 FROM links WHERE id = ?1",
            (&id.0[..], &self.content),
        )
        .unwrap();
        turn.execute("UPDATE store SET seq = ?1", [self.counter]).unwrap();
        turn.commit().unwrap();
    }
}

#[tokio::test]
async fn a_store_that_went_back_in_time_is_noticed_and_what_did_not_change_goes_on() {
    let scene = Scene::new().await;
    let bystander = scene.send("bystander", "1h", "1s").await;
    let replayed = scene.send("replayed", "1h", "1h").await;
    let before = Row::read(&scene.database(), replayed.recipient.id());
    assert_eq!(replayed.recipient.open().await["password"], replayed.source.password);
    scene.stand.wait_status("replayed", "the claim", SOON, |s| s.is("Retrieved")).await;

    // The record is open again, as if nobody had claimed it.
    before.write(&mut scene.database(), replayed.recipient.id());
    scene.assert_withdrawn(&replayed, "replayed").await;
    assert!(scene.stand.log_text().contains("changes-lost"));

    // The other link is as it was, and its claim is followed though the counter is behind.
    assert_eq!(bystander.recipient.lookup().await.state(), "open");
    assert_eq!(bystander.recipient.open().await["password"], bystander.source.password);
    scene.stand.wait_rotated("bystander", SOON * 2).await;
    assert_eq!((scene.stand.audited("bystander", "Tampered"), scene.stand.audited("bystander", "Claimed")), (0, 1));
    assert_eq!(scene.put_aside(), 0);
}

#[tokio::test]
async fn a_row_that_holds_no_record_is_erased_when_its_time_is_over() {
    let scene = Scene::new().await;
    let sent = [scene.send("at-once", "1m", "1s").await, scene.send("later", "1m", "1s").await];
    let junk = |sent: &Sent| {
        let mut database = scene.database();
        let turn = database.transaction().unwrap();
        let sql =
            "UPDATE links SET meta = 'no record', state = 'Nonsense', seq = (SELECT seq + 1 FROM store) WHERE id = ?1";
        assert_eq!(turn.execute(sql, [&sent.recipient.id().0[..]]).unwrap(), 1);
        turn.execute("UPDATE store SET seq = seq + 1", []).unwrap();
        turn.commit().unwrap();
    };
    let rows = || -> i64 {
        scene
            .database()
            .query_row("SELECT (SELECT count(*) FROM links) + (SELECT count(*) FROM content)", [], |r| r.get(0))
            .unwrap()
    };
    junk(&sent[0]);
    scene.assert_withdrawn(&sent[0], "at once").await;
    // The other one only after it was withdrawn by its sender.
    scene.withdraw(&sent[1], "1m", "1s");
    scene.stand.wait_rotated("later", SOON).await;
    junk(&sent[1]);
    assert!(rows() >= 2);
    // A time to live of one minute, the claim window, and another minute for clocks that differ.
    wait_until("both rows to go", PAST_TTL * 2, async || (rows() == 0).then_some(()))
        .await
        .unwrap_or_else(|e| panic!("{e}\n{}", scene.stand.log_text()));
}

#[tokio::test]
async fn a_store_that_somebody_holds_delays_no_rotation_and_restarts_the_gateway() {
    let scene = Scene::new().await;
    let owed = scene.send("owed", "1h", "4s").await;
    let other = scene.send("other", "1h", "1h").await;
    assert_eq!(owed.recipient.open().await["password"], owed.source.password);
    scene.stand.wait_status("owed", "the claim", SOON, |s| s.is("Retrieved")).await;
    let (first, starts) = (scene.stand.gateway_pid(), scene.stand.metric("password_sender_gateway_starts_total").await);
    assert_eq!(starts as u32, 1);

    // As a gateway that was taken over could, for ever.
    let database = scene.database();
    database.execute_batch("BEGIN EXCLUSIVE").unwrap();
    scene.withdraw(&other, "1h", "1h");
    let restarted = wait_until("another gateway", SOON, async || {
        let starts = scene.stand.metric("password_sender_gateway_starts_total").await;
        (starts > 1.0 && scene.stand.gateway() != Some(first)).then_some(())
    });
    restarted.await.unwrap_or_else(|e| panic!("{e}\n{}", scene.stand.log_text()));
    assert!(scene.stand.log_text().contains("store-busy"));
    // What is owed does not wait for the store.
    scene.stand.wait_rotated("owed", SOON).await;
    owed.source.assert_replaced(scene.bao).await;
    database.execute_batch("ROLLBACK").unwrap();
    drop(database);

    scene.stand.wait_rotated("other", SOON * 2).await;
    let over = wait_until("the withdrawal", SOON, async || {
        let answer = other.recipient.try_claim().await?;
        (answer.status == 410).then_some(())
    });
    over.await.unwrap();
    scene.stand.wait_ready().await;
    let after = scene.send("after", "1h", "1h").await;
    assert_eq!(after.recipient.open().await["password"], after.source.password);
}
