//! The ledger held by somebody else for a while, as by a backup or a disk that hangs: the operator waits with what it may
//! not do without writing it down, and ends only when its lease is over.

use ps_testbed::{OpenBao, Testbed, unique, wait_until};
use serde_json::json;

use crate::support::{KvSource, Recipient, SOON, Setup, Stand, kv_delivery, shared_smtp};

struct Scene {
    bao: &'static OpenBao,
    stand: Stand,
    mount: String,
}

impl Scene {
    async fn new(lease: &'static str) -> Self {
        let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
        let stand = Stand::start(Setup { lease: Some(lease), ..Setup::default() }).await;
        let mount = KvSource::new(bao).await.mount;
        let anywhere = format!("path \"{mount}/*\" {{ capabilities = [\"read\", \"patch\", \"update\"] }}");
        stand.connect(bao, bao.address(), &anywhere).await;
        Self { bao, stand, mount }
    }

    async fn apply(&self, name: &str) -> (KvSource, String) {
        let (source, to) = (KvSource::below(self.bao, &self.mount).await, format!("{}@v.example", unique(name)));
        self.stand.apply(name, &kv_delivery(name, &to, &source, "1h", "1s", json!({})));
        (source, to)
    }

    async fn delivered(&self, name: &str) -> (KvSource, String, Recipient) {
        let (source, to) = self.apply(name).await;
        let recipient = self.stand.recipient(&to).await;
        self.stand.wait_status(name, "delivered", SOON, |s| s.is("Delivered")).await;
        (source, to, recipient)
    }

    /// Holds the ledger until it is dropped: others can read it, and nobody else can write to it.
    fn hold(&self) -> rusqlite::Connection {
        let ledger = rusqlite::Connection::open(self.stand.path("data/ledger.db")).unwrap();
        ledger.busy_timeout(SOON).unwrap();
        ledger.execute_batch("BEGIN EXCLUSIVE").unwrap();
        ledger
    }

    /// Whether the operator's process has ended.
    fn has_ended(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.stand.pid())).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
    }

    /// Opened by its recipient, and replaced afterwards.
    async fn comes_to_its_end(&self, name: &str, source: &KvSource, to: &str) {
        let recipient = self.stand.recipient(to).await;
        assert_eq!(recipient.open().await["password"], source.password, "{name}");
        self.stand.wait_rotated(name, SOON).await;
        source.assert_replaced(self.bao).await;
        assert_eq!(self.stand.mails(to, 1, SOON).await.len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_ledger_that_is_held_for_less_than_the_lease_ends_nothing() {
    let scene = Scene::new("32s").await;
    let (owed, owed_to, recipient) = scene.delivered("owed").await;
    let (pid, gateway) = (scene.stand.pid(), scene.stand.gateway_pid());

    let held = scene.hold();
    let (later, later_to) = scene.apply("later").await;
    // A claim is the gateway's affair; what it makes due is written down first.
    assert_eq!(recipient.open().await["password"], owed.password);
    let lost = wait_until("two beats to be lost", SOON, async || {
        assert!(!scene.has_ended(), "{}", scene.stand.log_text());
        (scene.stand.log_text().matches("the next beat tries again").count() >= 2).then_some(())
    });
    lost.await.unwrap_or_else(|e| panic!("{e}\n{}", scene.stand.log_text()));
    assert!(owed.is_untouched(scene.bao).await, "rotated before it was written down");
    assert_eq!(shared_smtp().await.mails(&later_to).await.unwrap().len(), 0, "mailed before it was written down");
    let busy = r#"password_sender_faults_total{class="transient",code="ledger-busy"}"#;
    assert!(scene.stand.metric(busy).await >= 2.0);
    drop(held);

    scene.stand.wait_rotated("owed", SOON).await;
    owed.assert_replaced(scene.bao).await;
    scene.comes_to_its_end("later", &later, &later_to).await;
    assert_eq!((scene.stand.pid(), scene.stand.gateway_pid(), scene.has_ended()), (pid, gateway, false));
    let starts = scene.stand.metric("password_sender_gateway_starts_total").await;
    assert_eq!((starts as u32, scene.stand.mails(&owed_to, 1, SOON).await.len()), (1, 1));
}

#[tokio::test]
async fn an_operator_whose_lease_is_over_ends_and_its_successor_goes_on() {
    let scene = Scene::new("4s").await;
    let (owed, _, recipient) = scene.delivered("owed").await;
    let held = scene.hold();
    let (later, later_to) = scene.apply("later").await;
    assert_eq!(recipient.open().await["password"], owed.password);
    let ended = wait_until("its end", SOON, async || scene.has_ended().then_some(()));
    ended.await.unwrap_or_else(|e| panic!("{e}\n{}", scene.stand.log_text()));
    let log = scene.stand.log_text();
    assert!(log.contains("not heard of for so long") && log.contains("ledger-busy"), "{log}");
    assert!(recipient.try_claim_again().await.is_none(), "its gateway has ended with it");
    assert!(owed.is_untouched(scene.bao).await);

    // The next one stands by until it can write.
    scene.stand.kill();
    scene.stand.spawn();
    let stands_by = || scene.stand.log_text().matches("standing by").count() > 0;
    let waited = wait_until("it to stand by", SOON, async || stands_by().then_some(()));
    waited.await.unwrap_or_else(|e| panic!("{e}\n{}", scene.stand.log_text()));
    assert!(!scene.has_ended());
    drop(held);
    scene.stand.wait_ready().await;
    scene.stand.wait_rotated("owed", SOON).await;
    owed.assert_replaced(scene.bao).await;
    scene.comes_to_its_end("later", &later, &later_to).await;
}
