//! Orders to withdraw, and who carries them out.

use super::*;
use crate::entry::{Hold, RevokeCause};
use crate::link::check::Tamper;
use crate::link::{Command, apply};

fn live() -> Entry {
    entry(vec![attempt(accepted())])
}

fn restored(entry: &Entry) -> Observation {
    Observation { restored: Some("the trail knows more".into()), ..seen(entry) }
}

fn cause(entry: &Entry) -> Option<RevokeCause> {
    entry.attempts[0].link.revoke
}

#[test]
fn the_order_is_written_before_the_record_is_touched() {
    let asked = Spec { revoked: true, ..spec() };
    let ordered = written(decided(asked.clone(), &live(), &seen(&live()), 1100));
    assert_eq!(cause(&ordered), Some(RevokeCause::Asked));
    assert_eq!(decided(asked, &ordered, &seen(&ordered), 1100).action, Action::Revoke(1));
}

#[test]
fn sending_again_withdraws_first() {
    let again = Spec { redeliver: Some("2".into()), ..spec() };
    let ordered = written(decided(again, &live(), &seen(&live()), 1100));
    assert_eq!(cause(&ordered), Some(RevokeCause::Redelivered));
}

#[test]
fn a_restore_withdraws_and_holds_what_would_be_sent() {
    let ordered = written(decided(spec(), &live(), &restored(&live()), 1100));
    assert_eq!((cause(&ordered), ordered.hold), (Some(RevokeCause::Restored), None));
    let nothing_yet = entry(vec![]);
    let held = written(decided(spec(), &nothing_yet, &restored(&nothing_yet), 1100));
    assert_eq!(held.hold, Some(Hold::Restored), "invariant 8: it may have been sent since");
    let after = decided(spec(), &Entry { outbox: vec![], ..held.clone() }, &seen(&nothing_yet), 1200);
    assert_eq!((after.action.clone(), code(&after)), (Action::Rest, "restored"), "also once it is accepted");
    let again = Spec { redeliver: Some("new".into()), ..spec() };
    let sent = decided(again, &Entry { outbox: vec![], ..held }, &seen(&nothing_yet), 1200);
    assert!(matches!(sent.action, Action::Issue(_)), "asked for since: {:?}", sent.action);
}

#[test]
fn what_a_manifest_asked_for_before_a_restore_counts_as_sent() {
    // The ledger is from before `redeliver: "2"` was answered.
    let again = Spec { redeliver: Some("2".into()), ..spec() };
    let held = written(decided(again.clone(), &live(), &restored(&live()), 1100));
    assert_eq!((held.hold, held.redeliver_handled.as_deref()), (Some(Hold::Restored), Some("2")));
    // The same where the manifest can't be read meanwhile.
    let broken = Manifest { spec: Err(fault(Class::Misconfigured, "yaml")), ..manifest(spec()) };
    let blind = written(decide(Some(&broken), Some(&live()), &restored(&live()), at(1100)));
    assert_eq!(blind.hold, Some(Hold::RestoredUnread));
    let read = written(decided(again, &blind, &seen(&blind), 1200));
    assert_eq!((read.hold, read.redeliver_handled.as_deref()), (Some(Hold::Restored), Some("2")));
}

#[test]
fn a_restore_counts_a_pending_mail_as_sent() {
    let was = entry(vec![attempt(pending("before", 5000))]);
    let now = written(decided(spec(), &was, &restored(&was), 1100));
    assert_eq!(now.attempts[0].mail, MailState::Unknown { at: at(1100) });
}

#[test]
fn what_is_tampered_with_is_voided_and_what_is_over_is_settled() {
    let mut tampered = live();
    tampered.attempts[0].link.tampered = Some(Tamper::Expiry);
    assert_eq!(decided(spec(), &tampered, &seen(&tampered), 1100).action, Action::Void(1));
    assert_eq!(decided(spec(), &live(), &seen(&live()), 2000).action, Action::Settle(1));
    assert_eq!(decided(spec(), &live(), &seen(&live()), 1999).wake, Some(at(2000)));
}

#[test]
fn a_manifest_that_cannot_be_read_leaves_its_link_alone() {
    let broken = Manifest { spec: Err(fault(Class::Misconfigured, "yaml")), ..manifest(spec()) };
    let decision = decide(Some(&broken), Some(&live()), &seen(&live()), at(1100));
    assert_eq!((decision.action.clone(), code(&decision)), (Action::Rest, "yaml"));
}

#[test]
fn records_go_when_read_and_past_not_after() {
    let mut over = live();
    over.attempts[0].link.state = State::Expired;
    over.attempts[0].link.journal_read = 1;
    let record = apply(&sample::link(&[]), &Command::Settle, at(2000)).next.map(|l| Record::Link(Box::new(l)));
    let obs = with_record(&over, record);
    assert_eq!(decided(spec(), &over, &obs, 3059).action, Action::Rest);
    assert_eq!(decided(spec(), &over, &obs, 3060).action, Action::DeleteRecord(1));
    over.attempts[0].forgotten = true;
    over.removed = true;
    let forget = decide(None, Some(&over), &seen(&over), at(3000) + ENTRY_RETENTION);
    assert_eq!(forget.action, Action::Forget);
}
