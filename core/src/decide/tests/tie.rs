//! DESIGN.md, "Restored, copied or made anew", row by row.

use super::*;
use crate::entry::Hold;

fn first(manifest: &Manifest) -> Decision {
    decide(Some(manifest), None, &Observation::default(), at(1000))
}

fn anew(spec: Spec, stamp: Option<Stamp>) -> Manifest {
    Manifest { uid: "u2".into(), stamp, ..manifest(spec) }
}

fn delivered() -> Entry {
    Entry { removed: true, ..entry(vec![ended()]) }
}

/// Delivered, expired, rotated, and its record is gone.
fn ended() -> Attempt {
    let mut done = attempt(accepted());
    done.link.state = State::Expired;
    done.forgotten = true;
    done
}

fn decide_anew(manifest: &Manifest, entry: &Entry) -> Decision {
    decide(Some(manifest), Some(entry), &seen(entry), at(1000))
}

#[test]
fn without_entry_and_stamp_it_is_new() {
    let fresh = Manifest { stamp: None, ..manifest(spec()) };
    assert!(matches!(first(&fresh).action, Action::Issue(order) if order.number == 1), "made known and sent at once");
    let held = Observation { paused: true, ..Observation::default() };
    assert_eq!(decide(Some(&fresh), None, &held, at(1000)).action, Action::Create, "or made known only");
}

#[test]
fn without_entry_a_stamp_means_a_copy_or_a_lost_ledger() {
    let other = Stamp::new(&Key::new("default", "other"), [1; 16]);
    let copied = first(&Manifest { stamp: Some(other), ..manifest(spec()) });
    assert_eq!((copied.action.clone(), code(&copied)), (Action::Rest, "copied"));
    let lost = first(&manifest(spec()));
    assert_eq!((lost.action.clone(), code(&lost)), (Action::Rest, "ledger-lost"));
}

#[test]
fn new_objects_wait_while_a_restore_is_not_accepted_or_cannot_be_read() {
    let fresh = Manifest { stamp: None, ..manifest(spec()) };
    let obs = Observation { restored: Some("the trail knows more".into()), ..Observation::default() };
    let waits = decide(Some(&fresh), None, &obs, at(1000));
    assert_eq!((waits.action.clone(), code(&waits)), (Action::Rest, "restored"));
    let broken = Manifest { spec: Err(fault(Class::Misconfigured, "yaml")), ..fresh.clone() };
    let unread = first(&broken);
    assert_eq!((unread.action.clone(), code(&unread)), (Action::Rest, "yaml"));
    assert_eq!(first(&Manifest { deleting: true, ..fresh }).action, Action::Release);
}

#[test]
fn the_stamp_goes_on_before_anything_is_sent() {
    let decision = decide_anew(&Manifest { stamp: None, ..manifest(spec()) }, &entry(vec![]));
    assert_eq!(decision.action, Action::Stamp(stamp()));
}

#[test]
fn restored_with_its_stamp_it_is_adopted_and_never_sent() {
    // What it asks for is of another time.
    let restored = anew(Spec { redeliver: Some("older".into()), ..spec() }, Some(stamp()));
    let adopted = written(decide_anew(&restored, &delivered()));
    assert_eq!((adopted.uid.as_str(), adopted.removed, adopted.hold), ("u2", false, Some(Hold::AlreadyDelivered)));
    assert_eq!(adopted.redeliver_handled.as_deref(), Some("older"), "invariant 8");
    let rests = decide_anew(&restored, &Entry { outbox: vec![], ..adopted });
    assert!(!matches!(rests.action, Action::Issue(_)), "{rests:?}");
}

#[test]
fn a_stamp_that_the_entry_does_not_have_means_a_lost_ledger() {
    let lost = decide_anew(&anew(spec(), Some(Stamp::new(&key(), [9; 16]))), &delivered());
    assert_eq!((lost.action.clone(), code(&lost)), (Action::Rest, "ledger-lost"));
    let other = Stamp::new(&Key::new("default", "other"), [1; 16]);
    assert_eq!(code(&decide_anew(&anew(spec(), Some(other)), &delivered())), "copied");
}

#[test]
fn made_anew_without_a_stamp_it_is_held_if_somebody_may_have_it() {
    let held = written(decide_anew(&anew(spec(), None), &delivered()));
    assert_eq!((held.hold, held.again), (Some(Hold::AlreadyDelivered), false));
    let stays = decide_anew(&Manifest { uid: "u2".into(), ..manifest(spec()) }, &Entry { outbox: vec![], ..held });
    assert_eq!((stays.action.clone(), code(&stays)), (Action::Rest, "already-delivered"));
    let mut unknown = delivered();
    unknown.attempts[0].mail = MailState::Unknown { at: at(1001) };
    assert!(!written(decide_anew(&anew(spec(), None), &unknown)).again, "unknown counts as delivered");
    let mut never = delivered();
    never.attempts[0].mail = MailState::Superseded;
    assert!(written(decide_anew(&anew(spec(), None), &never)).again, "nobody has it: new");
}

#[test]
fn made_anew_it_is_sent_when_asked_for() {
    let mut bob = spec();
    bob.recipient.email = "bob@vendor.example".into();
    let mut elsewhere = spec();
    elsewhere.source = Source::DatabaseStatic { mount: "db".into(), role: "other".into() };
    let asks = [
        Spec { redeliver: Some("2".into()), ..spec() },
        Spec { on_recreate: OnRecreate::Send, ..spec() },
        bob,
        elsewhere,
    ];
    for spec in asks {
        let sent = written(decide_anew(&anew(spec.clone(), None), &delivered()));
        assert!(sent.again && sent.hold.is_none(), "{spec:?}");
    }
}

#[test]
fn made_anew_after_a_restore_it_is_held_unless_asked_for_since() {
    for hold in [Hold::Restored, Hold::RestoredUnread] {
        let rolled_back = Entry { removed: true, hold: Some(hold), ..entry(vec![]) };
        let held = written(decide_anew(&anew(spec(), None), &rolled_back));
        assert_eq!((held.hold, held.again), (Some(Hold::AlreadyDelivered), false), "invariant 8: {hold:?}");
    }
    let asked = anew(Spec { redeliver: Some("new".into()), ..spec() }, None);
    let since = Entry { removed: true, hold: Some(Hold::Restored), ..entry(vec![]) };
    assert!(written(decide_anew(&asked, &since)).again);
    let unread = Entry { removed: true, hold: Some(Hold::RestoredUnread), ..entry(vec![]) };
    assert!(!written(decide_anew(&asked, &unread)).again, "it may be the one that was asked for before");
}

#[test]
fn a_removed_manifest_is_let_go_when_its_link_is_withdrawn() {
    let live = entry(vec![attempt(accepted())]);
    let gone = written(decide(None, Some(&live), &seen(&live), at(1100)));
    assert!(gone.removed);
    let deleting = Manifest { deleting: true, ..manifest(spec()) };
    let orders = written(decide(Some(&deleting), Some(&gone), &seen(&gone), at(1100)));
    assert!(orders.attempts[0].link.revoke.is_some());
    let revokes = decide(Some(&deleting), Some(&orders), &seen(&orders), at(1100));
    assert_eq!(revokes.action, Action::Revoke(1));
    let done = Entry { removed: true, ..entry(vec![ended()]) };
    assert_eq!(decide(Some(&deleting), Some(&done), &seen(&done), at(1100)).action, Action::Release);
}
