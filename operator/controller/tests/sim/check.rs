//! The numbered invariants of DESIGN.md, as far as a simulated world can see them.

use std::collections::{BTreeMap, BTreeSet};

use ps_core::audit::Writer;
use ps_core::delivery::Strategy;
use ps_core::link::State;

use crate::world::Shared;

/// After each step.
pub fn always(world: &Shared) {
    let w = world.lock();

    // 5: at most one live link per delivery was ever mailed out and can still be opened.
    let mut live: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for mail in &w.mails {
        if w.store.get(&mail.record).and_then(|(r, _)| r.link()).is_some_and(|l| l.state.is_live()) {
            live.entry(&mail.key).or_default().insert(mail.record);
        }
    }
    for (key, links) in live {
        assert!(links.len() <= 1, "invariant 5: {key} has {} live links", links.len());
    }

    // 3: one claimant per record, and never more claims than were asked for (8).
    for (id, (record, _)) in &w.store {
        let Some(claim) = record.link().and_then(|l| l.claim.as_ref()) else { continue };
        if let Some(token) = w.claims.get(id) {
            assert!(claim.token_hash.matches(token), "invariant 3: {id} has a second claimant");
        }
    }
    for (key, claims) in &w.claims_per_key {
        assert!(*claims <= w.permits[key], "invariant 8: {key} was claimed {claims} times, {} allowed", w.permits[key]);
    }

    // 7: what is called dead is dead.
    for (entry, _) in w.ledger.values() {
        for attempt in entry.attempts.iter().filter(|a| a.evidence.is_some()) {
            if let Some(mail) = w.mails.iter().find(|m| m.record == attempt.record && !m.value.is_empty()) {
                assert!(
                    w.is_dead(&mail.place, &mail.value),
                    "invariant 7: {} attempt {} is called dead and works",
                    entry.key,
                    attempt.number
                );
            }
        }
    }
}

/// When everything has come to rest, long after the last link expired.
pub fn at_rest(world: &Shared) {
    let w = world.lock();

    // 6: whatever was opened is dead, unless the ledger was rolled back to before it was sent.
    for mail in &w.mails {
        if w.claims.contains_key(&mail.record) && !w.forgotten_mails.contains(&mail.record) {
            assert!(w.is_dead(&mail.place, &mail.value), "invariant 6: {} was opened and still works", mail.key);
        }
    }
    for (entry, _) in w.ledger.values() {
        for attempt in &entry.attempts {
            let owed = attempt.obligation.is_some() && attempt.evidence.is_none();
            assert!(!owed, "invariant 6: {} attempt {} still owes a rotation", entry.key, attempt.number);
            assert!(!attempt.link_is_live(), "{} attempt {} is still live", entry.key, attempt.number);
            if attempt.terms.strategy != Strategy::None && attempt.link.state == State::Retrieved {
                assert!(attempt.evidence.is_some(), "invariant 6: {} was retrieved and not rotated", entry.key);
            }
        }
        assert!(entry.outbox.is_empty(), "invariant 10: {} has events that are not on the trail", entry.key);
    }

    // 10: no gaps, and one content per id. A rolled-back ledger counts again from where it was restored.
    if w.forgotten_mails.is_empty() && w.backup.ledger.is_empty() {
        let mut streams: BTreeMap<_, BTreeSet<u64>> = BTreeMap::new();
        let mut contents = BTreeMap::new();
        for event in &w.audit {
            let attempt = if event.writer == Writer::Record { event.attempt } else { 0 };
            streams.entry((event.delivery.clone(), event.incarnation.clone(), event.writer, attempt)).or_default().insert(event.seq);
            let first = contents.entry(event.id()).or_insert(event);
            assert_eq!(*first, event, "invariant 10: two events of one id");
        }
        for (stream, seqs) in streams {
            assert_eq!(seqs.last().copied(), Some(seqs.len() as u64 - 1), "invariant 10: gap in {stream:?}");
        }
    }

    // 2: key material is in the mails and nowhere else.
    let kept = serde_json::to_string(&(
        w.ledger.values().map(|(e, _)| e).collect::<Vec<_>>(),
        w.store.values().map(|(r, _)| r).collect::<Vec<_>>(),
        &w.audit,
    ))
    .unwrap();
    for mail in &w.mails {
        let s = mail.link.strip_prefix("ps1.").unwrap();
        assert!(!kept.contains(s), "invariant 2: S of {} is stored", mail.key);
        assert!(mail.value.is_empty() || !kept.contains(&format!("\"{}\"", mail.value)), "invariant 1");
    }
}
