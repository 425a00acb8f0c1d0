//! What records tell, and what is owed for it.

use super::super::absorb::raise;
use super::*;
use crate::audit::EventKind;
use crate::entry::{Cause, Obligation, RevokeCause};
use crate::link::Command;
use crate::link::check::Tamper;
use crate::link::sample::{acknowledge, claim, decline, history};

fn live() -> Entry {
    entry(vec![attempt(accepted())])
}

fn told(before: &Entry, steps: &[(Command, i64)], secs: i64) -> Entry {
    let record = Record::Link(Box::new(history(steps)));
    written(decided(spec(), before, &with_record(before, Some(record)), secs))
}

fn owed(entry: &Entry) -> Option<(Cause, Timestamp)> {
    entry.attempts[0].obligation.as_ref().map(|o| (o.cause, o.due))
}

#[test]
fn a_claim_owes_a_rotation_after_what_was_promised() {
    let claimed = told(&live(), &[(claim(), 1100)], 1150);
    assert_eq!(owed(&claimed), Some((Cause::Retrieved, at(1600))));
    assert_eq!(claimed.notices.len(), 1);
    // Due times count from the earlier of the record's time and our first sight of it.
    let ahead = told(&live(), &[(claim(), 1100)], 1050);
    assert_eq!(owed(&ahead), Some((Cause::Retrieved, at(1550))));
    let acknowledged = told(&claimed, &[(claim(), 1100), (acknowledge(), 1120)], 1150);
    assert!(acknowledged.attempts[0].link.acknowledged);
    assert_eq!(acknowledged.attempts[0].link.journal_read, 2);
    let claims = |e: &Entry| e.outbox.iter().filter(|e| e.kind == EventKind::Claimed).count();
    assert_eq!((claims(&claimed), claims(&acknowledged)), (1, 1), "each line is read once");
}

#[test]
fn every_other_end_is_due_at_once_as_far_as_the_terms_say() {
    let now = at(2600);
    assert_eq!(owed(&told(&live(), &[(Command::Settle, 2000)], 2600)), Some((Cause::Expired, now)));
    assert_eq!(owed(&told(&live(), &[(decline(), 1100)], 2600)), Some((Cause::Declined, now)));
    let mut kept = live();
    kept.attempts[0].terms.on_expiry = false;
    assert_eq!(owed(&told(&kept, &[(Command::Settle, 2000)], 2600)), None);
    for (on, due) in [(true, Some((Cause::Locked, now))), (false, None)] {
        let mut terms = live();
        terms.attempts[0].terms.on_locked = on;
        terms.attempts[0].terms.notify.as_mut().unwrap().on = vec![NoticeKind::Locked];
        let locked = told(&terms, &[(Command::Lock, 1100)], 2600);
        assert_eq!(owed(&locked), due, "rotation.onLocked");
        assert!(locked.notices.iter().any(|n| n.kind == NoticeKind::Locked), "told all the same");
    }
    for (cause, on, due) in [
        (RevokeCause::Asked, true, true),
        (RevokeCause::Asked, false, false),
        (RevokeCause::Removed, true, true),
        // It may have been opened since the backup: whatever the terms say.
        (RevokeCause::Restored, false, true),
        (RevokeCause::Redelivered, true, false),
        (RevokeCause::SourceRotated, true, false),
    ] {
        let mut ordered = live();
        ordered.attempts[0].link.revoke = Some(cause);
        ordered.attempts[0].terms.on_revocation = on;
        let ended = told(&ordered, &[(Command::Revoke, 1100)], 2600);
        assert_eq!(owed(&ended).is_some(), due, "{cause:?} {on}");
        let opened = told(&ordered, &[(claim(), 1050), (Command::Revoke, 1100)], 2600);
        assert_eq!(owed(&opened).map(|(_, due)| due), Some(at(1550)), "claimed: the earlier due time stays");
    }
}

#[test]
fn a_dispute_brings_the_rotation_forward() {
    let disputed = told(&live(), &[(claim(), 1100), (Command::Settle, 1200), (decline(), 1250)], 1300);
    assert_eq!(owed(&disputed), Some((Cause::Declined, at(1300))));
    assert!(disputed.attempts[0].link.disputed);
}

#[test]
fn a_decline_and_a_dispute_tell_the_sender_who_asked_for_it() {
    let mut asked = live();
    asked.attempts[0].terms.notify.as_mut().unwrap().on = vec![NoticeKind::Declined];
    let unasked = live();
    let stories: [(&str, &[(Command, i64)]); 3] = [
        ("declined", &[(decline(), 1100)]),
        ("declined while claimed", &[(claim(), 1050), (decline(), 1100)]),
        ("disputed", &[(claim(), 1100), (Command::Settle, 1200), (decline(), 1250)]),
    ];
    for (story, steps) in stories {
        let told = told(&asked, steps, 1300);
        let [notice] = told.notices.as_slice() else { panic!("{story}: {:?}", told.notices) };
        assert_eq!((notice.kind, notice.attempt, notice.to.as_str()), (NoticeKind::Declined, 1, "sender@example.com"));
        assert_eq!(notice.text, "The recipient says that it was not meant for them.", "{story}");
    }
    for (story, steps) in stories {
        let told = told(&unasked, steps, 1300);
        assert!(told.notices.iter().all(|n| n.kind == NoticeKind::Retrieved), "{story}: {:?}", told.notices);
    }
}

#[test]
fn a_later_cause_never_delays_an_earlier_one() {
    let at_once = |cause: Cause| !cause.waits();
    let all = [Cause::Retrieved, Cause::Expired, Cause::Revoked, Cause::Declined, Cause::Locked, Cause::Tampered];
    for first in all {
        for second in all {
            for (a, b) in [(1500, 1200), (1200, 1500)] {
                let mut entry = live();
                raise(&mut entry, 1, first, at(a), at(1100));
                raise(&mut entry, 1, second, at(b), at(1100));
                let (cause, due) = owed(&entry).unwrap();
                assert_eq!(due, at(a.min(b)), "{first:?} {second:?}: invariant 6");
                let urgent = at_once(first) || at_once(second);
                assert_eq!(at_once(cause), urgent, "{first:?} {second:?}: what waits for nobody is not made to wait");
            }
        }
    }
}

#[test]
fn nothing_is_owed_without_a_strategy_or_with_a_proof() {
    let mut none = live();
    none.attempts[0].terms.strategy = Strategy::None;
    raise(&mut none, 1, Cause::Declined, at(1), at(1));
    assert_eq!(owed(&none), None);
}

#[test]
fn what_is_not_believed_is_withdrawn_and_rotated() {
    for (record, tamper) in [(None, Tamper::Missing), (Some(Record::Void { id: sample::ID }), Tamper::Voided)] {
        let found = written(decided(spec(), &live(), &with_record(&live(), record), 1100));
        let link = &found.attempts[0].link;
        assert_eq!((link.tampered, link.revoke), (Some(tamper), Some(RevokeCause::Tampered)), "invariant 9");
        assert!(!found.attempts[0].link_is_live());
        assert_eq!(owed(&found), Some((Cause::Tampered, at(1100))));
        assert!(found.notices.iter().any(|n| n.kind == NoticeKind::Tampered), "told even where nobody asked");
    }
}

#[test]
fn a_claim_of_a_pending_link_counts_as_delivered() {
    let claimed = told(&entry(vec![attempt(pending("other", 9000))]), &[(claim(), 1100)], 1150);
    assert_eq!(claimed.attempts[0].mail, MailState::Unknown { at: at(1150) });
    let quiet = entry(vec![attempt(pending("other", 9000))]);
    let missing = decided(spec(), &quiet, &with_record(&quiet, None), 1100);
    assert_eq!(missing.action, Action::Rest, "not put yet");
}

#[test]
fn a_refused_mail_whose_record_is_void_is_over() {
    // A slow owner was superseded between its mail's refusal and the tombstone.
    let mut refused = entry(vec![attempt(MailState::Refused { fault: fault(Class::Permanent, "refused") })]);
    refused.attempts[0].link.revoke = Some(RevokeCause::MailRefused);
    for record in [None, Some(Record::Void { id: sample::ID })] {
        let over = written(decided(spec(), &refused, &with_record(&refused, record), 1100));
        assert!(!over.attempts[0].link_is_live());
        assert_eq!((over.attempts[0].link.tampered, owed(&over)), (None, None));
    }
}

#[test]
fn an_obligation_survives_its_own_encoding() {
    let obligation = Obligation { cause: Cause::Locked, raised_at: at(1), due: at(2), begun: None, stalled: None };
    let text = serde_json::to_string(&obligation).unwrap();
    assert_eq!(serde_json::from_str::<Obligation>(&text).unwrap(), obligation);
}
