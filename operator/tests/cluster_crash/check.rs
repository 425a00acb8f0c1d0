//! What must hold whatever happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use ps_core::entry::MailState;
use serde_json::Value;

use crate::case::{Case, Place, Story, What};
use crate::link::Link;
use crate::stand::Stand;
use crate::support::Invitation;

/// While somebody still leads: every mailed link is dead for strangers, one of them was opened by one person, each attempt
/// was mailed once, and the credential is dead.
pub async fn at_the_end(place: &mut Place) {
    let Case { story, what, .. } = place.case;
    let tale = place.tale().await;
    let opened: Vec<_> = place.links.iter().filter_map(|link| link.opened.as_ref()).collect();
    // On a busy machine an answer may take longer than the claimant waits, and the window to ask again with it.
    let lost = place.links.iter().filter(|link| link.lost).count();
    assert_eq!(opened.len() + lost, usize::from(story == Story::Opened), "claims that succeeded\n{tale}");
    assert!(opened.iter().all(|fields| fields["password"] == place.source.password), "the delivered value\n{tale}");
    let entry = place.entry().await.unwrap();
    if entry.attempts.iter().any(|a| a.evidence.is_some()) {
        place.source.assert_replaced(place.bao).await;
    } else {
        // Its link was void before anybody could have opened it, and nobody wants another one.
        assert!(story == Story::Removed && entry.attempts.iter().all(|a| a.mail == MailState::Superseded), "{tale}");
        assert!(place.source.is_untouched(place.bao).await, "rotated for nothing\n{tale}");
    }

    let mails = place.smtp.mails(&place.to).await.unwrap();
    for mail in &mails {
        let mut stranger = Link::new(&Invitation::of(mail), &place.stand.public_url());
        let state = stranger.state().await.unwrap_or_default();
        assert!(["retrieved", "revoked", "not-found", "refused with 404"].contains(&state.as_str()), "{state}\n{tale}");
        assert!(!stranger.claim().await, "a stranger could claim\n{tale}");
    }
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
    assert!(entry.attempts.len() <= 2 && (what != What::Nothing || entry.attempts.len() == 1), "{tale}");
    let notices = place.smtp.mails(&place.sender).await.unwrap();
    let ids: BTreeSet<_> = notices.iter().map(|mail| mail.message_id.clone()).collect();
    let expected = usize::from(story == Story::Opened);
    assert!(ids.len() == expected && notices.len() <= 2 * expected, "notices: {ids:?}\n{tale}");
}

/// When everybody has ended: ledger and audit trails agree, and nothing looks like a restore.
pub async fn afterwards(place: &Place) {
    let tale = place.tale().await;
    assert_eq!(place.common().await.get("restored"), None, "{tale}");
    for path in trails(&place.stand).filter(|path| path.is_file()) {
        // Each pod has a chain of its own; a delivery whose leader changed is on both.
        let report = ps_audit::verify_file(&path, None).unwrap();
        assert!(report.broken.is_empty(), "{report}\n{tale}");
    }
    for (stream, seqs) in streams(&place.stand) {
        assert!(seqs.iter().copied().eq(0..seqs.len() as u64), "{stream}: {seqs:?}\n{tale}");
    }
    let entry = place.entry().await.unwrap();
    let told = events(&place.stand);
    let count = |kind: &str| audited(&place.stand, kind);
    assert_eq!(count("Issued"), entry.attempt as usize, "{told:?}\n{tale}");
    assert_eq!(count("Claimed"), usize::from(place.case.story == Story::Opened), "{told:?}\n{tale}");
    let proven = entry.attempts.iter().filter(|a| a.evidence.is_some()).count();
    assert_eq!(count("Rotated"), proven, "{told:?}\n{tale}");
}

fn trails(stand: &Stand) -> impl Iterator<Item = PathBuf> {
    (0..2).map(|n| stand.path(&format!("audit-{n}.jsonl")))
}

/// The lines of both trails.
fn lines(stand: &Stand) -> Vec<Value> {
    let text: String = trails(stand).map(|path| fs::read_to_string(path).unwrap_or_default()).collect();
    // A line may be half written.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// What both trails tell, by the events' ids.
fn events(stand: &Stand) -> BTreeMap<String, String> {
    let told = |line: &Value| (line["id"].to_string(), line["event"]["kind"].as_str().unwrap().to_owned());
    lines(stand).iter().map(told).collect()
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

/// How many different events of a kind the trails have.
pub fn audited(stand: &Stand, kind: &str) -> usize {
    events(stand).values().filter(|k| *k == kind).count()
}
