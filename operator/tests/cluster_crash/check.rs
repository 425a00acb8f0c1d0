//! What must hold whatever happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use ps_core::entry::{Entry, MailState};
use ps_core::rotation::By;
use ps_testbed::{Mail, wait_until};
use serde_json::Value;

use crate::case::{Case, PATIENCE, Place, What};
use crate::checks::carries_link;
use crate::delivery::Delivery;
use crate::link::Link;
use crate::source::NAMES;
use crate::stand::Stand;
use crate::story::Story;
use crate::support::Invitation;

/// While somebody still leads: every mailed link is dead for strangers, one of a delivery was opened by one person, each
/// attempt was mailed once, and the credential is dead.
pub async fn at_the_end(place: &mut Place) {
    let (Case { story, .. }, tale) = (place.case, place.tale().await);
    let entries = place.entries().await;
    let mut passwords = Vec::new();
    for delivery in &place.deliveries {
        let opened = delivery.passwords().count();
        // On a busy machine an answer may take longer than the claimant waits, and the window to ask again with it.
        let lost = delivery.links.iter().filter(|link| link.lost).count();
        assert_eq!(opened + lost, usize::from(delivery.opens), "claims that succeeded\n{tale}");
        assert!(delivery.gave(story, &place.source), "the delivered value\n{tale}");
        passwords.extend(delivery.passwords().cloned());
        let mut mails = place.smtp.mails(&delivery.to).await.unwrap();
        mails.retain(carries_link);
        for mail in &mails {
            let link = Link::new(&Invitation::of(mail), &place.stand.public_url());
            // A gateway may be behind for a moment on a busy machine, and says so.
            let state = wait_until("a gateway that can say", PATIENCE, async || link.state().await).await.unwrap();
            let dead = ["retrieved", "revoked", "not-found", "refused with 404"];
            assert!(dead.contains(&state.as_str()), "{state}\n{tale}");
            assert!(!link.demanding(story.kinds()).claim().await, "a stranger could claim\n{tale}");
        }
        if story == Story::Forgotten {
            assert_eq!(mails.len(), 1, "mailed again\n{tale}");
            continue;
        }
        let entry = entries.iter().find(|entry| entry.key.name == delivery.name).unwrap();
        mailed_once(place, &mails, entry, &tale);
        proven_by_us(place, delivery, entry, &tale);
        if entry.attempts.iter().any(|a| a.evidence.is_some()) {
            passwords.push(place.source.password().to_owned());
        } else {
            // Its link was void before anybody could have opened it, and nobody wants another one.
            assert!(
                story == Story::Removed && entry.attempts.iter().all(|a| a.mail == MailState::Superseded),
                "{tale}"
            );
        }
        let notices = place.smtp.mails(&delivery.sender).await.unwrap();
        let ids: BTreeSet<_> = notices.iter().map(|mail| mail.message_id.clone()).collect();
        let expected = usize::from(delivery.opens);
        assert!(ids.len() == expected && notices.len() <= 2 * expected, "notices: {ids:?}\n{tale}");
    }
    place.source.assert_dead(place.bao, &passwords).await;
    if story == Story::Forgotten {
        assert_eq!(place.records().await, 0, "records that nobody needs\n{tale}");
    }
}

/// The proof reaches as far as it can; and whoever comes after a killed operator takes its rotation for ours, as that was
/// written down before (invariant 5). Of two that rotate, the slower one may be too early for the next duty.
fn proven_by_us(place: &Place, delivery: &Delivery, entry: &Entry, tale: &str) {
    for evidence in entry.attempts.iter().filter_map(|a| a.evidence.as_ref()) {
        assert_eq!(evidence.scope, place.source.scope(), "{evidence:?}\n{tale}");
        // A delivery of the same source may find its own value dead already.
        let ours = evidence.by == By::Us || delivery.name != NAMES[0] || place.case.stops();
        assert!(ours, "{evidence:?}\n{tale}");
    }
}

/// Each attempt of a delivery was mailed once, as far as anybody can know, and nothing else was.
fn mailed_once(place: &Place, mails: &[Mail], entry: &Entry, tale: &str) {
    let ids: Vec<_> = mails.iter().map(|mail| mail.message_id.clone().unwrap()).collect();
    for attempt in &entry.attempts {
        let mailed = ids.iter().filter(|id| id.contains(&attempt.message_id)).count();
        match attempt.mail {
            MailState::Accepted { .. } => assert_eq!(mailed, 1, "{ids:?}\n{tale}"),
            MailState::Unknown { .. } => assert!(mailed <= 2, "{ids:?}\n{tale}"),
            // Whoever was slow looks whether its attempt is still its own before it mails: only a mail that was on its way
            // by then may carry a link that somebody else has voided.
            _ => assert!(mailed == 0 || (mailed == 1 && place.was_hit_at_a_mail()), "{attempt:?}\n{ids:?}\n{tale}"),
        }
    }
    assert!(ids.iter().all(|id| entry.attempts.iter().any(|a| id.contains(&a.message_id))), "{ids:?}\n{tale}");
    assert!(entry.attempt <= if place.case.what == What::Nothing { 1 } else { 2 }, "{tale}");
}

/// When everybody has ended: ledger and audit trails agree, and nothing looks like a restore.
pub async fn afterwards(place: &Place) {
    let (story, tale, entries) = (place.case.story, place.tale().await, place.entries().await);
    assert_eq!(place.common().await.get("restored"), None, "{tale}");
    for path in trails(&place.stand).filter(|path| path.is_file()) {
        // Each pod has a chain of its own; a delivery whose leader changed is on both.
        let report = ps_audit::verify_file(&path, None).unwrap();
        assert!(report.broken.is_empty(), "{report}\n{tale}");
    }
    for (stream, seqs) in streams(&place.stand) {
        assert!(seqs.iter().copied().eq(0..seqs.len() as u64), "{stream}: {seqs:?}\n{tale}");
    }
    for delivery in &place.deliveries {
        let told = events(&place.stand, delivery.name);
        let count = |kind: &str| told.values().filter(|k| *k == kind).count();
        if story == Story::Forgotten {
            assert_eq!(count("Removed"), usize::from(delivery.removed), "{told:?}\n{tale}");
            continue;
        }
        let entry = entries.iter().find(|entry| entry.key.name == delivery.name).unwrap();
        // A code counts before it is mailed: a crash costs a mail, never a guess.
        let mails = place.smtp.mails(&delivery.to).await.unwrap();
        let codes: BTreeSet<_> = mails.iter().filter(|m| !carries_link(m)).map(|m| m.message_id.clone()).collect();
        assert!(codes.len() <= count("CodeMailed"), "{codes:?}, {told:?}\n{tale}");
        assert_eq!(count("Issued"), entry.attempt as usize, "{told:?}\n{tale}");
        assert_eq!(count("Claimed"), usize::from(delivery.opens), "{told:?}\n{tale}");
        let proven = entry.attempts.iter().filter(|a| a.evidence.is_some()).count();
        assert_eq!(count("Rotated"), proven, "{told:?}\n{tale}");
    }
}

fn trails(stand: &Stand) -> impl Iterator<Item = PathBuf> {
    (0..stand.operators.len()).map(|n| stand.path(&format!("audit-{n}.jsonl")))
}

/// The lines of all trails.
fn lines(stand: &Stand) -> Vec<Value> {
    let text: String = trails(stand).map(|path| fs::read_to_string(path).unwrap_or_default()).collect();
    // A line may be half written.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// What the trails tell of a delivery, by the events' ids.
fn events(stand: &Stand, name: &str) -> BTreeMap<String, String> {
    let told = |line: &Value| (line["id"].to_string(), line["event"]["kind"].as_str().unwrap().to_owned());
    lines(stand).iter().filter(|line| line["event"]["delivery"]["name"] == name).map(told).collect()
}

/// The sequence numbers of each writer's events: the operator counts across attempts, each record for itself.
fn streams(stand: &Stand) -> BTreeMap<String, BTreeSet<u64>> {
    let mut streams: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for line in lines(stand) {
        let event = &line["event"];
        let writer = event["writer"].as_str().unwrap();
        let attempt = if writer.eq_ignore_ascii_case("record") { event["attempt"].to_string() } else { String::new() };
        let stream = format!("{} {writer} {attempt}", event["incarnation"]);
        streams.entry(stream).or_default().insert(event["seq"].as_u64().unwrap());
    }
    streams
}

/// How many different events of a kind the trails have of a delivery.
pub fn audited(stand: &Stand, name: &str, kind: &str) -> usize {
    events(stand, name).values().filter(|k| *k == kind).count()
}
