//! A gateway that was taken over: it can write whatever it likes into link records, and nothing else (invariant 9).

use ps_core::entry::{MailState, Verifying};
use ps_core::ids::Digest;
use ps_core::link::{Claim, Decline, JournalEntry, JournalEvent, Link, Record, Release, State as LinkState};
use ps_core::time::Span;

use crate::world::{Shared, State};

/// It alters one record in one way.
pub fn taken_over(world: &Shared) {
    let mut w = world.lock();
    if w.mails.is_empty() || w.fenced {
        return;
    }
    let at = w.random() as usize % w.mails.len();
    let letter = w.mails[at].clone();
    let mail = letter.record;
    let Some((Record::Link(link), _)) = w.store.get(&mail).cloned() else { return };
    let Some(attempt) = w.attempt_of(mail).cloned() else { return };
    let sent = matches!(attempt.mail, MailState::Accepted { .. } | MailState::Unknown { .. });
    if !sent || attempt.forgotten || attempt.link.tampered.is_some() {
        return;
    }
    let live = link.state.is_live() && attempt.link.state.is_live();
    let choice = w.dice(14);
    let mut next = *link.clone();
    let how = match choice {
        0 if live => return gone(&mut w, &link, "deleted"),
        1 => return voided(&mut w, &link),
        2 => {
            next.expires_at = next.sealed.not_after + Span::from_secs(86_400);
            "extended"
        }
        3 => {
            next.sealed.not_after = next.sealed.not_after + Span::from_secs(86_400);
            "notAfter moved"
        }
        4 if live => {
            next.ciphertext = Some(vec![0; 64]);
            "ciphertext replaced"
        }
        5 if link.state == LinkState::Open => {
            let at = w.at();
            next.state = LinkState::Claimed;
            next.claim = Some(Claim { proof: [9; 32], token_hash: Digest([8; 32]), at });
            note(&w, &mut next, JournalEvent::Claimed);
            "claim forged"
        }
        6 if live => {
            let at = w.at();
            next.decline = Some(Decline { preimage: [9; 32], at });
            end(&w, &mut next, LinkState::Declined, JournalEvent::Declined);
            "decline forged"
        }
        7 if live && attempt.link.revoke.is_none() => {
            end(&w, &mut next, LinkState::Revoked, JournalEvent::Revoked);
            "revocation forged"
        }
        8 if !link.journal.is_empty() => {
            next.journal.pop();
            "journal cut"
        }
        // Believed as they stand: they only end a link early and make rotation due.
        9 | 10 if link.state == LinkState::Open => {
            let (state, event) = if choice == 9 {
                (LinkState::Expired, JournalEvent::Expired)
            } else {
                (LinkState::Locked, JournalEvent::Locked)
            };
            end(&w, &mut next, state, event);
            w.say(format!("a taken-over gateway ends {mail} early: {state:?}"));
            return store(&mut w, next);
        }
        11 if live && next.sealed.needs_release() => {
            next.release = Some(Release { r: [9; 32], token_hash: Digest([8; 32]) });
            "R forged"
        }
        12 if link.state == LinkState::Open && next.verdict.is_some() => {
            let verdict = next.verdict.as_mut().unwrap();
            verdict.released = Some(Digest([8; 32]));
            "verdict forged"
        }
        13 if link.state == LinkState::Open && next.release.is_none() && next.sealed.needs_release() => {
            // It has the proof from a claim that it refused. With a token that has passed it could claim as the recipient could.
            let token = Digest::of(&letter.token);
            let has_passed = |v: &Verifying| v.released.contains(&token);
            if w.attempt_of(mail).and_then(|a| a.verify.as_deref()).is_some_and(has_passed) {
                return;
            }
            let at = w.at();
            let opener = ps_envelope::Opener::from_fragment(&letter.link).unwrap();
            let facts = ps_envelope::Facts::new(next.sealed.not_after, &next.sealed.kinds).unwrap();
            let proof = opener.unlock(facts, None).unwrap().proof().expose().try_into().unwrap();
            next.state = LinkState::Claimed;
            next.request = None;
            next.claim = Some(Claim { proof, token_hash: Digest::of(&letter.token), at });
            note(&w, &mut next, JournalEvent::Claimed);
            "factor passed over"
        }
        _ => return,
    };
    w.say(format!("a taken-over gateway: {how} ({mail})"));
    w.tampered.insert(mail, how);
    store(&mut w, next);
}

fn note(w: &State, link: &mut Link, event: JournalEvent) {
    link.journal.push(JournalEntry { seq: link.journal.len() as u32, at: w.at(), event });
}

fn end(w: &State, link: &mut Link, state: LinkState, event: JournalEvent) {
    link.state = state;
    link.ciphertext = None;
    link.preview = None;
    (link.request, link.verdict, link.release) = (None, None, None);
    note(w, link, event);
}

fn store(w: &mut State, link: Link) {
    let version = w.next_version();
    w.store.insert(link.sealed.id, (Record::Link(Box::new(link)), version));
}

fn gone(w: &mut State, link: &Link, how: &'static str) {
    w.say(format!("a taken-over gateway: {how} ({})", link.sealed.id));
    w.tampered.insert(link.sealed.id, how);
    w.store.remove(&link.sealed.id);
}

fn voided(w: &mut State, link: &Link) {
    gone(w, link, "voided");
    let version = w.next_version();
    w.store.insert(link.sealed.id, (Record::Void { id: link.sealed.id }, version));
}
