//! What must hold whatever happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use ps_core::entry::{Attempt, MailState};
use ps_core::ports::Ledger as _;
use ps_ledger::EmbeddedLedger;
use ps_testbed::wait_until;
use serde_json::Value;

use crate::case::{Place, What};
use crate::checks::carries_link;
use crate::link::Link;
use crate::story::Story;
use crate::support::{Invitation, SOON, Stand};

/// What the sender of a delivery sees in the end, without times and numbers that differ from run to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Type, status and reason.
    pub conditions: BTreeSet<(String, String, String)>,
    pub summary: String,
    pub evidence: String,
    pub attempt: u64,
    /// How often each kind of event is on the audit trail.
    pub audit: BTreeMap<String, usize>,
    pub mails: usize,
}

/// While the operator that leads still runs: every link is dead for strangers, one of them was opened by one person, and
/// the credential is dead.
pub async fn at_the_end(place: &mut Place) {
    let mut passwords = Vec::new();
    for delivery in &place.deliveries {
        let opened = delivery.passwords().count();
        let lost = delivery.links.iter().filter(|link| link.lost).count();
        // Its answer can be lost with the gateway that gave it, if that dies with its operator.
        assert!(lost == 0 || place.hit().is_some(), "an answer was lost\n{}", place.tale());
        assert_eq!(opened + lost, usize::from(delivery.opens), "claims that succeeded\n{}", place.tale());
        assert!(delivery.gave(place.case.story, &place.source), "the delivered value\n{}", place.tale());
        passwords.extend(delivery.passwords().cloned());
        for mail in place.smtp.mails(&delivery.to).await.unwrap().iter().filter(|mail| carries_link(mail)) {
            // A gateway may still be on its way: the first operator's held the address.
            let link = Link::new(&Invitation::of(mail), &place.stand.public_url());
            let state = wait_until("an answer", SOON, async || link.state().await).await.unwrap();
            assert!(state != "open" && state != "claimed", "{state}\n{}", place.tale());
            let mut stranger = link.demanding(place.case.story.kinds());
            assert!(!stranger.claim().await, "a stranger could claim\n{}", place.tale());
        }
        if place.case.story == Story::Forgotten {
            assert_eq!(delivery.links.len(), 1, "mailed again\n{}", place.tale());
            continue;
        }
        let notices = place.smtp.mails(&delivery.sender).await.unwrap();
        let ids: BTreeSet<_> = notices.iter().map(|mail| mail.message_id.clone()).collect();
        let expected = usize::from(delivery.opens);
        assert!(ids.len() == expected && notices.len() <= 2 * expected, "notices: {ids:?}\n{}", place.tale());
    }
    if place.case.story != Story::Forgotten {
        let attempts: Vec<_> = place.entries().await.into_iter().flat_map(|entry| entry.attempts).collect();
        if attempts.iter().any(|a| a.evidence.is_some()) {
            passwords.push(place.source.password().to_owned());
        }
        no_mail_of_a_superseded_attempt(place, &attempts).await;
    }
    place.source.assert_dead(place.bao, &passwords).await;
}

/// Whoever was slow looks whether its attempt is still its own before it mails: only a mail that was on its way by then
/// may carry a link that somebody else has voided.
async fn no_mail_of_a_superseded_attempt(place: &Place, attempts: &[Attempt]) {
    for delivery in &place.deliveries {
        for mail in place.smtp.mails(&delivery.to).await.unwrap() {
            let id = mail.message_id.unwrap();
            let void = attempts.iter().any(|a| a.mail == MailState::Superseded && id.contains(&a.message_id));
            assert!(!void || place.was_hit_at_a_mail(), "a superseded attempt was mailed\n{}", place.tale());
        }
    }
}

/// In the moment in which the first operator came to harm: each record in the store is known to the ledger, so its intent
/// was written down first (invariant 5), and no entry was forgotten before its records.
pub fn intents(stand: &Stand, tale: &str) {
    let (links, ledger) = (stand.path("data/links").join(ps_store::FILE), stand.path("data").join(ps_ledger::FILE));
    if !links.is_file() {
        return;
    }
    let ids = |file: &Path, sql: &str| -> rusqlite::Result<BTreeSet<Vec<u8>>> {
        let database = rusqlite::Connection::open(file)?;
        database.busy_timeout(SOON)?;
        database.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
    };
    let records = match ids(&links, "SELECT id FROM links") {
        Ok(ids) => ids,
        // Its first start was cut off before there was a table.
        Err(error) if error.to_string().contains("no such table") => return,
        Err(error) => panic!("{error}\n{tale}"),
    };
    let known = ids(&ledger, "SELECT record FROM records").unwrap();
    assert!(records.is_subset(&known), "records that no entry names: {:?}\n{tale}", records.difference(&known));
}

/// When everybody has stopped: ledger and audit trail agree, and nothing looks like a restore.
pub async fn afterwards(place: &Place) -> Vec<Told> {
    let data = place.stand.path("data");
    let report = ps_audit::verify_file(&data.join("audit.jsonl"), None).unwrap();
    assert!(report.is_ok(), "{report}\n{}", place.tale());
    let ledger = EmbeddedLedger::open(&data).unwrap();
    assert_eq!(ledger.known_common().await.unwrap().value.restored, None, "{}", place.tale());
    let mut all = Vec::new();
    if place.case.story == Story::Forgotten {
        let links = rusqlite::Connection::open(place.stand.path("data/links").join(ps_store::FILE)).unwrap();
        let left: i64 = links.query_row("SELECT count(*) FROM links", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "records that nobody needs\n{}", place.tale());
    }
    for delivery in &place.deliveries {
        let found = ledger.get(&delivery.key("default")).await.unwrap().map(|found| found.value);
        assert!(delivery.is_over(place.case.story, found.as_ref()), "{found:?}\n{}", place.tale());
        if place.case.story == Story::Forgotten {
            let Told { audit, mails, .. } = told(place, delivery.name, delivery.links.len());
            assert_eq!(audit.contains_key("Removed"), delivery.removed, "{audit:?}\n{}", place.tale());
            all.push(Told { audit, mails, ..Told::default() });
            continue;
        }
        let entry = found.unwrap();
        let told = told(place, delivery.name, delivery.links.len());
        assert_eq!(
            told.attempt,
            if place.case.story == Story::Removed { 0 } else { u64::from(entry.attempt) },
            "{}",
            place.tale()
        );
        let count = |kind| told.audit.get(kind).copied().unwrap_or_default();
        assert_eq!(count("Claimed"), usize::from(delivery.opens), "{told:?}\n{}", place.tale());
        let proofs: Vec<_> = entry.attempts.iter().filter_map(|a| a.evidence.as_ref()).collect();
        let far = proofs.iter().all(|proof| proof.scope == place.source.scope());
        assert!(far, "{proofs:?}\n{}", place.tale());
        let proven = proofs.len();
        assert_eq!(count("Rotated"), proven, "{told:?}\n{}", place.tale());
        assert!(proven > 0 || place.case.story == Story::Removed, "{told:?}\n{}", place.tale());
        assert_eq!(count("Issued"), entry.attempt as usize, "{told:?}\n{}", place.tale());
        assert!(entry.attempt <= 2, "{told:?}\n{}", place.tale());
        if place.case.what == What::Nothing {
            assert_eq!((told.mails, entry.attempt), (1, 1), "{told:?}\n{}", place.tale());
        }
        if place.case.story == Story::Removed {
            assert!(place.stand.status(delivery.name).0.is_null(), "its status is back\n{}", place.tale());
        }
        all.push(told);
    }
    all
}

fn told(place: &Place, name: &str, mails: usize) -> Told {
    let seen = place.stand.status(name);
    let text = |condition: &Value, part: &str| condition[part].as_str().unwrap_or_default().to_owned();
    let conditions = seen.0.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let mut audit = audited(&place.stand, name);
    // Whether the window is over before the recipient says that it is saved is the machine's affair.
    audit.remove("WindowOver");
    Told {
        conditions: conditions.map(|c| (text(c, "type"), text(c, "status"), text(c, "reason"))).collect(),
        summary: seen.summary().to_owned(),
        evidence: format!("{} by {}", seen.text("/status/evidence/scope"), seen.text("/status/evidence/by")),
        attempt: seen.attempt(),
        audit,
        mails,
    }
}

fn audited(stand: &Stand, name: &str) -> BTreeMap<String, usize> {
    let text = fs::read_to_string(stand.audit_file()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ours = lines.filter(|line| line["event"]["delivery"]["name"] == name);
    let distinct: BTreeMap<String, String> =
        ours.map(|line| (line["id"].to_string(), line["event"]["kind"].as_str().unwrap().to_owned())).collect();
    let mut counts = BTreeMap::new();
    for kind in distinct.into_values() {
        *counts.entry(kind).or_default() += 1;
    }
    counts
}

/// Takes the status out of a status file, and leaves the stamp.
pub fn erase_status(stand: &Stand, name: &str) {
    let path = stand.path(&format!("manifests/{name}.status.yaml"));
    let Ok(text) = fs::read_to_string(&path) else { return };
    let mut content: serde_yaml::Mapping = serde_yaml::from_str(&text).unwrap();
    content.remove("status");
    fs::write(path, serde_yaml::to_string(&content).unwrap()).unwrap();
}
