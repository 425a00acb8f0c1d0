//! Each way in which a record may not be believed.

use super::super::sample::*;
use super::super::{Claim, Command, Decline, JournalEntry};
use super::*;

fn expected(link: &Link) -> Expected<'static> {
    Expected { digest: link.sealed.digest(), put_at: at(1000), revoke_ordered: false, journal_read: 0, judge: None }
}

fn judge(link: &Link) -> Result<(), Tamper> {
    // The digest is that of the link as it was put.
    check(Some(&Record::Link(Box::new(link.clone()))), &expected(&super::super::sample::link(&[])), at(2500))
}

fn altered(from: &Link, change: impl FnOnce(&mut Link)) -> Result<(), Tamper> {
    let mut link = from.clone();
    change(&mut link);
    judge(&link)
}

fn open() -> Link {
    link(&[])
}

fn claimed() -> Link {
    history(&[(claim(), 1100)])
}

fn note(link: &mut Link, event: JournalEvent, secs: i64) {
    link.journal.push(JournalEntry { seq: link.journal.len() as u32, at: at(secs), event });
}

#[test]
fn honest_records_are_believed() {
    let honest = [
        open(),
        claimed(),
        history(&[(claim(), 1100), (acknowledge(), 1150)]),
        history(&[(claim(), 1100), (Command::Settle, 1200), (acknowledge(), 1300), (decline(), 1400)]),
        history(&[(Command::Settle, 2000)]),
        history(&[(decline(), 1100)]),
    ];
    for link in honest {
        assert_eq!(judge(&link), Ok(()), "{:?}", link.state);
    }
}

#[test]
fn missing_and_voided() {
    assert_eq!(check(None, &expected(&open()), at(1100)), Err(Tamper::Missing));
    assert_eq!(check(Some(&Record::Void { id: ID }), &expected(&open()), at(1100)), Err(Tamper::Voided));
}

#[test]
fn every_immutable_field_counts() {
    let other = Digest::of(b"other");
    let changes: [fn(&mut Link, Digest); 8] = [
        |l, d| l.sealed.access = d,
        |l, d| l.sealed.decline = d,
        |l, d| l.sealed.proof = d,
        |l, d| l.sealed.code = Some(d),
        |l, _| l.sealed.code = None,
        |l, _| l.sealed.not_after = at(9000),
        |l, _| l.sealed.claim_window = Span::from_secs(9000),
        |l, d| l.sealed.ciphertext_hash = d,
    ];
    for (n, change) in changes.into_iter().enumerate() {
        assert_eq!(altered(&open(), |l| change(l, other)), Err(Tamper::Immutable), "{n}");
    }
}

#[test]
fn content_is_what_was_put_while_live_and_gone_afterwards() {
    assert_eq!(altered(&open(), |l| l.ciphertext = Some(vec![0])), Err(Tamper::Content));
    assert_eq!(altered(&open(), |l| l.preview = Some(vec![0])), Err(Tamper::Content));
    assert_eq!(altered(&open(), |l| l.ciphertext = None), Err(Tamper::Content), "erased too early");
    let expired = history(&[(Command::Settle, 2000)]);
    assert_eq!(altered(&expired, |l| l.ciphertext = Some(b"ciphertext".to_vec())), Err(Tamper::Content), "kept");
}

#[test]
fn the_expiry_never_passes_not_after() {
    assert_eq!(altered(&open(), |l| l.expires_at = at(3001)), Err(Tamper::Expiry));
    assert_eq!(altered(&open(), |l| l.expires_at = at(3000)), Ok(()));
}

#[test]
fn claims_and_declines_need_their_preimage() {
    let forged = |l: &mut Link| {
        l.state = State::Claimed;
        l.claim = Some(Claim { proof: WRONG, token_hash: Digest::of(&TOKEN), at: at(1100) });
        note(l, JournalEvent::Claimed, 1100);
    };
    assert_eq!(altered(&open(), forged), Err(Tamper::Preimage), "invariant 9");
    assert_eq!(altered(&claimed(), |l| l.claim = None), Err(Tamper::Preimage), "claimed by nobody");
    let declined = history(&[(decline(), 1100)]);
    let other = Decline { preimage: WRONG, at: at(1100) };
    assert_eq!(altered(&declined, |l| l.decline = Some(other)), Err(Tamper::Preimage));
    assert_eq!(altered(&declined, |l| l.decline = None), Err(Tamper::Preimage));
}

#[test]
fn times_lie_between_put_and_now_with_a_minute_of_tolerance() {
    let claimed_at = |secs: i64, now: i64| {
        let link = history(&[(claim(), secs)]);
        check(Some(&Record::Link(Box::new(link.clone()))), &expected(&link), at(now))
    };
    assert_eq!(claimed_at(1100, 1040), Ok(()));
    assert_eq!(claimed_at(1100, 1039), Err(Tamper::Time), "too far ahead of ours");
    assert_eq!(claimed_at(940, 1040), Ok(()));
    assert_eq!(claimed_at(939, 1040), Err(Tamper::Time), "before put");
}

#[test]
fn the_journal_tells_a_legal_story_that_ends_in_the_state() {
    assert_eq!(altered(&claimed(), |l| l.journal.clear()), Err(Tamper::Journal), "cut");
    assert_eq!(altered(&claimed(), |l| l.journal[0].seq = 1), Err(Tamper::Journal), "gap");
    let back = |l: &mut Link| {
        l.state = State::Open;
        l.claim = None;
        l.journal.clear();
    };
    let rolled_back = {
        let mut link = claimed();
        back(&mut link);
        let read = Expected { journal_read: 1, ..expected(&link) };
        check(Some(&Record::Link(Box::new(link))), &read, at(1200))
    };
    assert_eq!(rolled_back, Err(Tamper::Journal), "shorter than what was read");
    let twice = |l: &mut Link| note(l, JournalEvent::Claimed, 1101);
    assert_eq!(altered(&claimed(), twice), Err(Tamper::Journal));
    let expired = history(&[(Command::Settle, 2000)]);
    let illegal = [
        JournalEvent::Claimed,
        JournalEvent::Acknowledged,
        JournalEvent::WindowOver,
        JournalEvent::Revoked,
        JournalEvent::Declined,
        JournalEvent::Disputed,
        JournalEvent::Locked,
        JournalEvent::Expired,
    ];
    for event in illegal {
        assert_eq!(altered(&expired, |l| note(l, event, 2100)), Err(Tamper::Journal), "{event:?} after the end");
    }
    assert_eq!(altered(&claimed(), |l| l.acknowledged_at = Some(at(1110))), Err(Tamper::Journal), "untold");
}

#[test]
fn a_revocation_is_ours_or_forged() {
    let revoked = Record::Link(Box::new(history(&[(Command::Revoke, 1100)])));
    let ours = Expected { revoke_ordered: true, ..expected(&open()) };
    assert_eq!(check(Some(&revoked), &ours, at(1200)), Ok(()));
    assert_eq!(check(Some(&revoked), &expected(&open()), at(1200)), Err(Tamper::Revoked));
}

#[test]
fn ending_a_link_early_is_believed_as_it_stands() {
    for (state, event) in [(State::Expired, JournalEvent::Expired), (State::Locked, JournalEvent::Locked)] {
        let early = |l: &mut Link| {
            l.state = state;
            (l.ciphertext, l.preview) = (None, None);
            note(l, event, 1100);
        };
        assert_eq!(altered(&open(), early), Ok(()));
    }
}
