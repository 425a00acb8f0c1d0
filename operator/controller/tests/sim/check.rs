//! The numbered invariants (`ps_core::invariants`), as far as a simulated world can see them.

use std::collections::{BTreeMap, BTreeSet};

use ps_core::audit::{Event, EventKind, Writer};
use ps_core::delivery::Strategy;
use ps_core::entry::{MailState, RevokeCause};
use ps_core::ids::{Digest, LinkId};
use ps_core::invariants::Invariant::*;
use ps_core::link::check::Tamper;
use ps_core::link::{State as LinkState, Verification};

use crate::world::{Shared, State};

/// After each step.
pub fn always(world: &Shared) {
    let w = world.lock();

    // At most one live link per delivery was ever mailed out and can still be opened. (A taken-over gateway may show
    // whatever it kept.)
    let mut live: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for mail in w.mails.iter().filter(|m| !w.tampered.contains_key(&m.record)) {
        if w.store.get(&mail.record).and_then(|(r, _)| r.link()).is_some_and(|l| l.state.is_live()) {
            live.entry(&mail.key).or_default().insert(mail.record);
        }
    }
    for (key, links) in live {
        assert!(links.len() <= 1, "{IntentFirst}: {key} has {} live links", links.len());
    }

    for (id, (record, _)) in w.store.iter().filter(|(id, _)| !w.tampered.contains_key(id)) {
        let Some(claim) = record.link().and_then(|l| l.claim.as_ref()) else { continue };
        if let Some(token) = w.claims.get(id) {
            assert!(claim.token_hash.matches(token), "{OneClaimant}: {id} has a second claimant");
        }
    }
    for (key, claims) in &w.claims_per_key {
        let permits = w.permits[key];
        assert!(*claims <= permits, "{SentOnce}: {key} was claimed {claims} times, {permits} allowed");
    }

    factors(&w);
    for (entry, _) in w.ledger.values().filter(|_| w.restores == 0) {
        // Each event is in the outbox or on the trail.
        let told = w.audited.get(&(entry.key.clone(), entry.incarnation()));
        let waits =
            |event: &&Event| event.writer == Writer::Operator && told.is_none_or(|told| !told.contains(&event.seq));
        let known = told.map_or(0, BTreeSet::len) + entry.outbox.iter().filter(waits).count();
        assert_eq!(known as u64, entry.next_seq, "{EveryChangeIsAudited}: {} is not whole", entry.key);
    }
    for id in w.store.keys().filter(|_| w.restores == 0) {
        assert!(w.attempt_of(*id).is_some(), "{IntentFirst}: {id} is in the store, and the ledger knows nothing of it");
    }

    for (entry, _) in w.ledger.values() {
        assert!(!entry.removed || w.deleted.contains(&entry.key), "{SentOnce}: nobody deleted {}", entry.key);
        for attempt in &entry.attempts {
            let name = format!("{} attempt {}", entry.key, attempt.number);
            if attempt.evidence.is_some()
                && let Some(mail) = w.mails.iter().find(|m| m.record == attempt.record && !m.value.is_empty())
            {
                assert!(w.is_dead(&mail.place, &mail.value), "{EvidenceOnly}: {name} is called dead and works");
            }
            if w.restores == 0
                && let Some(tamper @ (Tamper::Voided | Tamper::Missing)) = attempt.link.tampered
            {
                let theirs = matches!(w.tampered.get(&attempt.record), Some(&("voided" | "deleted")));
                assert!(theirs, "{IntentFirst}: {name}: what we did ourselves is called {}", tamper.code());
            }
            let open = attempt.link.state == LinkState::Open && attempt.link.revoke.is_none();
            assert!(
                !(open && attempt.evidence.is_some()),
                "{EvidenceOnly}: {name} is known dead, and its link is open"
            );
            let had = w.ever_claimed.contains(&attempt.record) || w.ever_declined.contains(&attempt.record);
            let given_up = attempt.mail == MailState::Superseded && had && w.restores == 0;
            assert!(!given_up, "{RotationIsOwed}: {name} is given up, and somebody had it");
            let claimed = attempt.link.claimed_at.is_none() || w.ever_claimed.contains(&attempt.record);
            assert!(claimed, "{GatewayIsNotBelieved}: nobody claimed {name}");
            let said_no = attempt.link.state == LinkState::Declined || attempt.link.disputed;
            let declined = !said_no || w.ever_declined.contains(&attempt.record);
            assert!(declined, "{GatewayIsNotBelieved}: nobody declined {name}");
        }
    }
}

/// `R` is in a record only for a browser that has passed all that is demanded, and nobody is mailed more than three codes.
fn factors(w: &State) {
    let passed = |kinds: &[Verification], of: (LinkId, Digest)| {
        (!kinds.contains(&Verification::EmailCode) || w.typed.contains(&of))
            && (!kinds.contains(&Verification::Oidc) || w.signed_in.contains(&of))
    };
    for (id, (record, _)) in w.store.iter().filter(|(id, _)| !w.tampered.contains_key(id)) {
        let Some(link) = record.link() else { continue };
        if let Some(release) = &link.release {
            assert!(passed(&link.sealed.kinds, (*id, release.token_hash)), "{GatewayIsNotBelieved}: R of {id} is out");
        }
        if let Some(claim) = link.claim.as_ref().filter(|_| link.sealed.needs_release()) {
            assert!(passed(&link.sealed.kinds, (*id, claim.token_hash)), "{GatewayIsNotBelieved}: {id} was claimed");
        }
    }
    for (entry, _) in w.ledger.values() {
        for (attempt, verify) in entry.attempts.iter().filter_map(|a| Some((a, a.verify.as_deref()?))) {
            for token in &verify.released {
                let so = passed(&verify.kinds, (attempt.record, *token));
                assert!(so, "{GatewayIsNotBelieved}: {} is released to nobody", attempt.record);
            }
            assert!(verify.mails <= 3 && verify.sign_ins <= 20);
            let over = !attempt.link.state.is_live() && attempt.link.tampered.is_none();
            let superseded = attempt.mail == MailState::Superseded;
            let kept = attempt.release.is_some() || verify.secrets.is_some();
            assert!(!(over && kept && !superseded && attempt.delivered()), "R of {} outlives its link", attempt.record);
        }
    }
    for (record, codes) in w.codes.iter().filter(|_| w.restores == 0) {
        assert!(codes.len() <= 3, "{record}: {} codes were mailed", codes.len());
    }
}

/// When everything has come to rest, long after the last link expired.
pub fn at_rest(world: &Shared) {
    let w = world.lock();
    rotated(&w);
    tampered(&w);
    if w.restores == 0 {
        audited(&w);
        told(&w);
    }
    kept(&w);
}

/// Whatever was opened is dead, unless the ledger was rolled back to before it was sent.
fn rotated(w: &State) {
    for mail in w.mails.iter().filter(|m| m.strategy != Strategy::None) {
        if w.claims.contains_key(&mail.record) && !w.forgotten_mails.contains(&mail.record) {
            assert!(w.is_dead(&mail.place, &mail.value), "{RotationIsOwed}: {} was opened and still works", mail.key);
        }
    }
    let known: BTreeSet<_> =
        w.ledger.values().flat_map(|(e, _)| &e.attempts).filter(|a| !a.forgotten).map(|a| a.record).collect();
    // What was put by somebody who died right then, after all who knew of it had done with it: the sweep of orphans ends
    // it, which is not played here. Nobody was told of it.
    let orphan = |id: &LinkId| !known.contains(id) && w.mails.iter().all(|m| m.record != *id);
    for (id, (record, _)) in w.store.iter().filter(|(id, _)| !orphan(id)) {
        let live = record.link().is_some_and(|l| l.state.is_live());
        assert!(!live, "{IntentFirst}: the link of {id} is never ended");
    }
    for (entry, _) in w.ledger.values() {
        for attempt in &entry.attempts {
            let name = format!("{} attempt {}", entry.key, attempt.number);
            if w.ever_declined.contains(&attempt.record) && w.restores == 0 {
                let heard = attempt.link.disputed || attempt.link.state == LinkState::Declined;
                assert!(heard || attempt.link.tampered.is_some(), "{RotationIsOwed}: {name} was declined in vain");
            }
            let owed = attempt.obligation.is_some() && attempt.evidence.is_none();
            assert!(!owed, "{RotationIsOwed}: {name} still owes a rotation");
            assert!(!attempt.link_is_live(), "{IntentFirst}: {name} is still live");
            let (link, terms) = (&attempt.link, &attempt.terms);
            let asked = matches!(link.revoke, Some(RevokeCause::Asked | RevokeCause::Removed));
            let due = match link.state {
                LinkState::Expired => terms.on_expiry,
                LinkState::Locked => terms.on_locked,
                LinkState::Declined => true,
                LinkState::Revoked => asked && terms.on_revocation && attempt.delivered(),
                _ => false,
            };
            if terms.strategy != Strategy::None && (due || link.claimed_at.is_some()) {
                let how = if due { format!("{:?}", link.state) } else { "opened".to_owned() };
                assert!(attempt.evidence.is_some(), "{RotationIsOwed}: {name} was {how} and not rotated");
            }
        }
        let missing = entry.outbox.iter().find(|event| !w.audit.contains(event));
        assert!(
            missing.is_none(),
            "{EveryChangeIsAudited}: {} has an event that is not on the trail: {missing:?}",
            entry.key
        );
        assert!(entry.notices.is_empty(), "{}: the sender was not told", entry.key);
    }
}

/// What a taken-over gateway altered was found, withdrawn and rotated.
fn tampered(w: &State) {
    for (record, how) in &w.tampered {
        let Some(attempt) = w.attempt_of(*record) else { continue };
        // A ciphertext that we erased ourselves before we looked at it tells nothing, and nobody needs it.
        let erased = *how == "ciphertext replaced" && attempt.link.tampered.is_none();
        // An order of ours that was written before we looked covers a forged revocation.
        let ordered = *how == "revocation forged" && attempt.link.revoke.is_some();
        if erased || ordered {
            continue;
        }
        assert!(attempt.link.tampered.is_some(), "{GatewayIsNotBelieved}: {record} ({how}) was not found");
        assert!(attempt.link.revoke.is_some(), "{GatewayIsNotBelieved}: {record} ({how}) was not withdrawn");
        let dead = attempt.evidence.is_some() || attempt.terms.strategy == Strategy::None;
        assert!(dead, "{GatewayIsNotBelieved}: {record} ({how}) was not rotated");
    }
}

/// No gaps, and one content per id.
fn audited(w: &State) {
    let mut streams: BTreeMap<_, BTreeSet<u64>> = BTreeMap::new();
    let mut contents = BTreeMap::new();
    for event in &w.audit {
        let attempt = if event.writer == Writer::Record { event.attempt } else { 0 };
        let stream = (event.delivery.clone(), event.incarnation.clone(), event.writer, attempt);
        streams.entry(stream).or_default().insert(event.seq);
        let first = contents.entry(event.id()).or_insert(event);
        assert_eq!(*first, event, "{EveryChangeIsAudited}: two events of one id");
    }
    for (entry, _) in w.ledger.values() {
        let stream = (entry.key.clone(), entry.incarnation(), Writer::Operator, 0);
        let written = streams.get(&stream).map_or(0, |seqs| seqs.len() as u64);
        assert_eq!(written, entry.next_seq, "{EveryChangeIsAudited}: {} is not whole", entry.key);
    }
    for (stream, seqs) in streams {
        assert_eq!(seqs.last().copied(), Some(seqs.len() as u64 - 1), "{EveryChangeIsAudited}: gap in {stream:?}");
    }
}

/// Each claim and each proof was told to the sender at least once.
fn told(w: &State) {
    for (kind, notice) in
        [(EventKind::Claimed, "Retrieved"), (EventKind::Rotated, "Rotated"), (EventKind::Tampered, "Tampered")]
    {
        let mut happened: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for event in w.audit.iter().filter(|e| e.kind == kind) {
            happened.entry(&event.delivery).or_default().insert((&event.incarnation, event.attempt));
        }
        for (key, times) in happened {
            let mails = w.notices.iter().filter(|(k, n, _)| k == key && n == notice).count();
            assert!(mails >= times.len(), "{key}: {} times {kind:?}, {mails} notices", times.len());
        }
    }
}

/// Key material is in the mails and nowhere else; a delivered value nowhere at all.
fn kept(w: &State) {
    let kept = serde_json::to_string(&(
        w.ledger.values().map(|(e, _)| e).collect::<Vec<_>>(),
        w.store.values().map(|(r, _)| r).collect::<Vec<_>>(),
        &w.audit,
    ))
    .unwrap();
    for mail in &w.mails {
        let s = mail.link.strip_prefix("ps1.").unwrap();
        assert!(!kept.contains(s), "{KeyIsForgotten}: S of {} is stored", mail.key);
        let value = mail.value.is_empty() || !kept.contains(&format!("\"{}\"", mail.value));
        assert!(value, "{PlaintextInOneAct}: what {} was sent is stored", mail.key);
    }
}
