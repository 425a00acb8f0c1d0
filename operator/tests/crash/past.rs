//! What was delivered and rotated a month ago, and what lies in its folders since.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use ps_core::ids::Key;
use ps_core::ports::Ledger as _;
use ps_ledger::EmbeddedLedger;
use ps_operator::clock::SystemRandom;
use ps_testbed::process::Signal;
use ps_testbed::{Testbed, wait_until};
use tokio::sync::OnceCell;

use crate::case;
use crate::delivery::Delivery;
use crate::earlier::{aged, tell_of_more};
use crate::link::Link;
use crate::source::{NAMES, Past, Source};
use crate::story::Story;
use crate::support::{Invitation, SOON, Setup, Stand, files_below};

/// Folders as two deliveries left them that were opened and rotated. Their ledger says that this was a month ago, and
/// where the record of the second one was, there is junk.
pub struct Folders {
    pub past: Arc<Past>,
    /// Path, content and mode.
    files: Vec<(PathBuf, Vec<u8>, u32)>,
}

impl Folders {
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
pub async fn folders() -> &'static Folders {
    static FOLDERS: OnceCell<Folders> = OnceCell::const_new();
    FOLDERS.get_or_init(make).await
}

async fn make() -> Folders {
    let testbed = Testbed::connect_or_start().unwrap();
    let (bao, smtp) = (testbed.bao().await.unwrap(), testbed.smtp().await.unwrap());
    let stand = Stand::prepare(Setup::default(), smtp);
    case::configure(&stand);
    let source = Source::new(Story::Forgotten, bao).await;
    stand.connect(bao, bao.address(), &source.policy()).await;
    for (delivery, manifest) in Delivery::of(Story::Forgotten, &source) {
        stand.apply(delivery.name, &manifest);
    }
    let Source::Past(past) = source else { unreachable!() };
    let mut folders = Folders { past, files: vec![] };
    let operator = case::start(&stand, None);
    for to in &folders.past.to {
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
            folders.files.push((below, fs::read(&file).unwrap(), mode));
        }
    }
    folders
}

/// A ledger from before the audit trail tells that a delivery `gone` was accepted, as a backup of it would be.
pub async fn older_than_its_trail(stand: &Stand) {
    let ledger = EmbeddedLedger::open(&stand.path("data")).unwrap();
    let common = ps_operator::restore::common(&ledger, &SystemRandom).await.unwrap().value;
    tell_of_more(&stand.audit_file(), &common.ledger_id).await;
}
