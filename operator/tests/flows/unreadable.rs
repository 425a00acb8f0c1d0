//! Something in the ledger that can't be read: one entry, or what is remembered of one manifest. It is told and left
//! alone; everybody else's links and rotations go on.

use std::process::Command;

use ps_testbed::{OpenBao, Testbed, unique, wait_until};
use serde_json::json;

use crate::support::{KvSource, Recipient, SOON, Setup, Stand, kv_delivery, program};

struct Sent {
    name: &'static str,
    to: String,
    source: KvSource,
    recipient: Recipient,
}

impl Sent {
    /// Opened, and replaced afterwards; mailed once.
    async fn comes_to_its_end(&self, stand: &Stand, bao: &OpenBao) {
        assert_eq!(self.recipient.open().await["password"], self.source.password, "{}", self.name);
        stand.wait_rotated(self.name, SOON).await;
        self.source.assert_replaced(bao).await;
        self.is_mailed_once(stand).await;
    }

    async fn is_mailed_once(&self, stand: &Stand) {
        assert_eq!(stand.mails(&self.to, 1, SOON).await.len(), 1, "{}", self.name);
    }

    /// Nothing was withdrawn, replaced or sent again.
    async fn is_left_alone(&self, stand: &Stand, bao: &OpenBao) {
        assert_eq!(self.recipient.lookup().await.state(), "open", "{}", self.name);
        assert!(self.source.is_untouched(bao).await, "{}", self.name);
        self.is_mailed_once(stand).await;
    }
}

/// Puts `text` into the ledger, and answers what was there.
fn exchange(stand: &Stand, (table, column, name): (&str, &str, &str), text: &str) -> String {
    let ledger = rusqlite::Connection::open(stand.path("data/ledger.db")).unwrap();
    let before = ledger.query_row(&format!("SELECT {column} FROM {table} WHERE name = ?1"), [name], |r| r.get(0));
    let before: String = before.unwrap();
    let sql = format!("UPDATE {table} SET {column} = ?2 WHERE name = ?1");
    assert_eq!(ledger.execute(&sql, (name, text)).unwrap(), 1);
    before
}

#[tokio::test]
async fn what_can_not_be_read_is_told_and_left_alone_and_all_others_go_on() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let stand = Stand::start(Setup::default()).await;
    let mount = KvSource::new(bao).await.mount;
    let anywhere = format!("path \"{mount}/*\" {{ capabilities = [\"read\", \"patch\", \"update\"] }}");
    stand.connect(bao, bao.address(), &anywhere).await;
    let send = async |name: &'static str| {
        let (source, to) = (KvSource::below(bao, &mount).await, format!("{}@v.example", unique(name)));
        stand.apply(name, &kv_delivery(name, &to, &source, "1h", "1s", json!({})));
        let recipient = stand.recipient(&to).await;
        stand.wait_status(name, "delivered", SOON, |s| s.is("Delivered")).await;
        Sent { name, to, source, recipient }
    };
    let (broken, noted) = (send("broken").await, send("noted").await);
    let (fine, gone) = (send("fine").await, send("gone").await);
    stand.stop();
    let entry = ("entries", "entry", "broken");
    let note = ("objects", "spec_text", "noted");
    let (entry_text, note_text) = (exchange(&stand, entry, "{}"), exchange(&stand, note, "{}"));
    let noted_manifest = std::fs::read_to_string(stand.manifest("noted")).unwrap();

    // Ready means that claims are answered.
    stand.run().await;
    fine.comes_to_its_end(&stand, bao).await;
    for code in ["entry-unreadable", "note-unreadable"] {
        assert!(stand.log_text().contains(code), "{code}");
        let metric = format!("password_sender_faults_total{{class=\"permanent\",code=\"{code}\"}}");
        assert!(stand.metric(&metric).await >= 1.0, "{code}");
    }
    broken.is_left_alone(&stand, bao).await;
    noted.is_left_alone(&stand, bao).await;

    // Of two manifests that are removed, the one whose note can't be read does not count as absent. Nor is a changed one
    // taken for a new one.
    stand.remove("noted");
    stand.remove("gone");
    let more = json!({"context": {"title": "Another title"}, "redeliver": "2"});
    stand.apply("broken", &kv_delivery("broken", &broken.to, &broken.source, "1h", "1s", more));
    stand.wait_status("gone", "the removal of the other one", SOON, |s| s.0.is_null()).await;
    assert_eq!(gone.recipient.lookup().await.state(), "revoked");
    broken.is_left_alone(&stand, bao).await;
    noted.is_left_alone(&stand, bao).await;
    let fresh = send("fresh").await;
    fresh.comes_to_its_end(&stand, bao).await;
    // Its link still opens; what that makes due waits for whoever mends the ledger.
    assert_eq!(broken.recipient.open().await["password"], broken.source.password);

    // Who asks what is owed hears that the list is not complete.
    let mut command = Command::new(program());
    command.args(["obligations", "--data"]).arg(stand.path("data"));
    let listed = command.output().unwrap();
    let said = String::from_utf8_lossy(&listed.stderr).into_owned();
    assert!(!listed.status.success() && said.contains("default/broken") && said.contains("can't be read"), "{said}");
    broken.is_mailed_once(&stand).await;

    // Mended, both go on where they were.
    stand.stop();
    stand.apply("broken", &kv_delivery("broken", &broken.to, &broken.source, "1h", "1s", json!({})));
    stand.apply("noted", &noted_manifest);
    // What is written at this moment is believed a moment later.
    let age = async || {
        let written = std::fs::metadata(stand.manifest("broken")).unwrap().modified().unwrap();
        (written.elapsed().unwrap_or_default() > std::time::Duration::from_millis(300)).then_some(())
    };
    wait_until("the manifest to have its age", SOON, age).await.unwrap();
    exchange(&stand, entry, &entry_text);
    exchange(&stand, note, &note_text);
    stand.run().await;
    stand.wait_rotated("broken", SOON).await;
    broken.source.assert_replaced(bao).await;
    broken.is_mailed_once(&stand).await;
    noted.comes_to_its_end(&stand, bao).await;
    assert!(command.output().unwrap().status.success());
}
