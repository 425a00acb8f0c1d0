//! What was delivered and rotated a month ago, and what lies in its folders since.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use ps_audit::{FileTrail, Mirror};
use ps_core::audit::{Event, EventKind, Writer};
use ps_core::entry::{Entry, MailState};
use ps_core::ids::Key;
use ps_core::ports::{AuditSink as _, Ledger as _};
use ps_core::time::{Span, Timestamp};
use ps_ledger::EmbeddedLedger;
use ps_operator::clock::{SystemRandom, now};
use ps_testbed::process::Signal;
use ps_testbed::{Testbed, unique, wait_until};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::case;
use crate::link::Link;
use crate::support::{Invitation, KvSource, SOON, Setup, Stand, files_below, kv_delivery};

/// The deliveries.
pub const NAMES: [&str; 2] = ["one", "two"];
/// Longer than an entry outlives its last duty.
const AGE: Span = Span::from_secs(31 * 86_400);

/// Folders as two deliveries left them that were opened and rotated. Their ledger says that this was a month ago, and
/// where the record of the second one was, there is junk.
pub struct Past {
    pub sources: [KvSource; 2],
    pub to: [String; 2],
    /// Path, content and mode.
    files: Vec<(PathBuf, Vec<u8>, u32)>,
}

impl Past {
    pub fn policy(&self) -> String {
        self.sources.each_ref().map(KvSource::policy).concat()
    }

    /// A copy of the folders.
    pub fn unpack(&self, stand: &Stand) {
        for (path, content, mode) in &self.files {
            let target = stand.path("").join(path);
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::write(&target, content).unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(*mode)).unwrap();
        }
    }
}

/// Made once, by an operator to which nothing happens.
pub async fn past() -> &'static Past {
    static PAST: OnceCell<Past> = OnceCell::const_new();
    PAST.get_or_init(make).await
}

async fn make() -> Past {
    let testbed = Testbed::connect_or_start().unwrap();
    let (bao, smtp) = (testbed.bao().await.unwrap(), testbed.smtp().await.unwrap());
    let stand = Stand::prepare(Setup::default(), smtp);
    case::configure(&stand);
    let first = KvSource::new(bao).await;
    let second = KvSource::below(bao, &first.mount).await;
    let mut past =
        Past { sources: [first, second], to: NAMES.map(|n| format!("{}@v.example", unique(n))), files: vec![] };
    stand.connect(bao, bao.address(), &past.policy()).await;
    for ((name, to), source) in NAMES.iter().zip(&past.to).zip(&past.sources) {
        stand.apply(name, &kv_delivery(name, to, source, "10m", "2s", Value::Null));
    }
    let operator = case::start(&stand, None);
    for to in &past.to {
        let mails = smtp.wait_for_mails(to, 1, SOON).await.unwrap();
        let mut link = Link::new(&Invitation::of(&mails[0]), &stand.public_url());
        let opened = async || link.claim().await.then_some(());
        wait_until("the claim", SOON, opened).await.unwrap();
        link.acknowledge().await;
    }
    let ledger = EmbeddedLedger::open(&stand.path("data")).unwrap();
    for name in NAMES {
        let key = Key::new("default", name);
        let over = async || {
            let entry = ledger.get(&key).await.ok()??.value;
            let done = entry.attempts.iter().all(|a| a.evidence.is_some());
            (done && stand.status(name).is("Rotated")).then_some(())
        };
        wait_until("the rotation", SOON, over).await.unwrap();
    }
    operator.signal(Signal::SIGTERM).unwrap();
    let status = wait_until("its end", SOON, async || operator.ended().unwrap()).await.unwrap();
    assert!(status.success(), "{status}\n{}", operator.log_text().unwrap());
    let mut record = None;
    for name in NAMES {
        let found = ledger.get(&Key::new("default", name)).await.unwrap().unwrap();
        record = found.value.current().map(|a| a.record);
        ledger.replace(&aged(found.value), found.version).await.unwrap();
    }
    drop(ledger);
    let links = rusqlite::Connection::open(stand.path("data/links").join(ps_store::FILE)).unwrap();
    let changed = links.execute("UPDATE links SET meta = 'junk' WHERE id = ?1", [&record.unwrap().0[..]]).unwrap();
    assert_eq!(changed, 1);
    links.close().unwrap();
    // Whoever closes a database last takes its log into it.
    let logs = ["data/ledger.db-wal", "data/links/links.db-wal"].map(|name| stand.path(name));
    let closed = async || (!logs.iter().any(|log| log.exists())).then_some(());
    wait_until("the databases to be closed", SOON, closed).await.unwrap();
    for folder in ["manifests", "secrets", "data"] {
        for file in files_below(&stand.path(folder)) {
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            let below = file.strip_prefix(stand.path("")).unwrap().to_owned();
            past.files.push((below, fs::read(&file).unwrap(), mode));
        }
    }
    past
}

/// The same entry, a month older. What the credential was stays what Vault says.
fn aged(mut entry: Entry) -> Entry {
    let age = |at: &mut Timestamp| *at = *at - AGE;
    age(&mut entry.created_at);
    for attempt in &mut entry.attempts {
        age(&mut attempt.begun_at);
        age(&mut attempt.terms.expires_at);
        age(&mut attempt.terms.not_after);
        attempt.link.claimed_at.iter_mut().for_each(age);
        attempt.link.ended_at.iter_mut().for_each(age);
        if let MailState::Accepted { at } = &mut attempt.mail {
            age(at);
        }
        if let Some(obligation) = &mut attempt.obligation {
            age(&mut obligation.raised_at);
            age(&mut obligation.due);
            obligation.begun_at.iter_mut().for_each(age);
        }
        if let Some(evidence) = &mut attempt.evidence {
            age(&mut evidence.at);
        }
    }
    entry
}

/// A ledger from before the audit trail tells that a delivery `gone` was accepted, as a backup of it would be.
pub async fn older_than_its_trail(stand: &Stand) {
    let data = stand.path("data");
    let ledger = EmbeddedLedger::open(&data).unwrap();
    let common = ps_operator::restore::common(&ledger, &SystemRandom).await.unwrap().value;
    let trail = FileTrail::open(&stand.audit_file(), &common.ledger_id, Mirror::None).unwrap();
    let event = Event {
        delivery: Key::new("default", "gone"),
        incarnation: "0123456789abcdef".into(),
        attempt: 0,
        writer: Writer::Operator,
        seq: 0,
        at: now(),
        kind: EventKind::Accepted,
        reason: "first seen".into(),
        facts: std::collections::BTreeMap::new(),
    };
    trail.append(&[event]).await.unwrap();
}
