//! Must something be sent?

use super::*;
use crate::entry::{Cause, Hold, Obligation, RevokeCause};

fn issue_number(decision: &Decision) -> Option<u32> {
    let Action::Issue(order) = &decision.action else { return None };
    Some(order.number)
}

/// Delivered, expired and rotated; its record is gone.
fn done() -> Entry {
    let mut done = attempt(accepted());
    done.link.state = State::Expired;
    done.forgotten = true;
    entry(vec![done])
}

fn held(next_try: i64) -> Held {
    Held { attempt: 1, next_try: at(next_try), deliver_before: None }
}

#[test]
fn a_new_delivery_is_sent_and_a_done_one_is_not_sent_again() {
    let fresh = entry(vec![]);
    assert_eq!(issue_number(&decided(spec(), &fresh, &seen(&fresh), 1000)), Some(1));
    assert_eq!(decided(spec(), &done(), &seen(&done()), 5000).action, Action::Rest, "invariant 8");
    let edited = Spec { ttl: Span::from_secs(9), ..spec() };
    assert_eq!(decided(edited, &done(), &seen(&done()), 5000).action, Action::Rest, "an edit asks for nothing");
}

#[test]
fn a_changed_redeliver_sends_once() {
    let again = Spec { redeliver: Some("2".into()), ..spec() };
    assert_eq!(issue_number(&decided(again.clone(), &done(), &seen(&done()), 5000)), Some(2));
    let handled = Entry { redeliver_handled: Some("2".into()), ..done() };
    assert_eq!(decided(spec(), &handled, &seen(&handled), 1100).action, Action::Rest, "taken away again");
    assert_eq!(decided(again, &handled, &seen(&handled), 5000).action, Action::Rest);
}

#[test]
fn a_message_that_the_server_defers_does_not_keep_a_new_attempt_waiting() {
    let fresh = entry(vec![]);
    let obs = Observation { mail_deferred: Some(trouble(Class::Transient, 990, 1010)), ..seen(&fresh) };
    assert!(matches!(decided(spec(), &fresh, &obs, 1000).action, Action::Issue(_)));
}

#[test]
fn what_stands_in_the_way_is_noted_and_nothing_is_sent() {
    let fresh = entry(vec![]);
    let plain = seen(&fresh);
    let vault = spec().connection;
    let cases = [
        ("paused", Observation { paused: true, ..plain.clone() }),
        (
            "vault-down",
            Observation { blocked: BTreeMap::from([(vault, trouble(Class::Transient, 990, 1010))]), ..plain.clone() },
        ),
        ("vault-down", Observation { mail_blocked: Some(trouble(Class::Transient, 990, 1010)), ..plain.clone() }),
        (
            "vault-down",
            Observation { trouble: BTreeMap::from([(1, trouble(Class::Misconfigured, 990, 1010))]), ..plain.clone() },
        ),
    ];
    for (expected, obs) in cases {
        let decision = decided(spec(), &fresh, &obs, 1000);
        assert_eq!((decision.action.clone(), code(&decision)), (Action::Rest, expected));
    }
    let stopping = Observation { stopping: true, ..plain.clone() };
    assert_eq!(decided(spec(), &fresh, &stopping, 1000).action, Action::Rest);
    assert_eq!(decided(Spec { revoked: true, ..spec() }, &fresh, &plain, 1000).action, Action::Rest);
    // A newer generation is tried at once.
    let old = Trouble { generation: 0, ..trouble(Class::Misconfigured, 990, 9999) };
    let obs = Observation { trouble: BTreeMap::from([(1, old)]), ..plain };
    assert_eq!(issue_number(&decided(spec(), &fresh, &obs, 1000)), Some(1));
}

#[test]
fn after_deliver_before_nothing_is_sent_until_asked_for() {
    let late = Spec { deliver_before: Some(at(1500)), ..spec() };
    let fresh = entry(vec![]);
    assert_eq!(issue_number(&decided(late.clone(), &fresh, &seen(&fresh), 1499)), Some(1));
    let held = written(decided(late.clone(), &fresh, &seen(&fresh), 1500));
    assert_eq!(held.hold, Some(Hold::TooLate));
    let held = Entry { outbox: vec![], ..held };
    assert_eq!(code(&decided(late, &held, &seen(&held), 1501)), "too-late");
    // As its remedy says, also where no attempt was made yet.
    let again = Spec { deliver_before: Some(at(9000)), redeliver: Some("2".into()), ..spec() };
    assert_eq!(issue_number(&decided(again, &held, &seen(&held), 1501)), Some(1));
}

#[test]
fn while_a_link_is_live_no_other_is_made() {
    let mut live = entry(vec![attempt(accepted())]);
    live.attempts[0].link.revoke = Some(RevokeCause::Redelivered);
    let again = Spec { redeliver: Some("2".into()), ..spec() };
    let obs = Observation { records: BTreeMap::new(), ..seen(&live) };
    assert_eq!(decided(again, &live, &obs, 1100).action, Action::Rest, "invariant 5");
}

#[test]
fn what_was_delivered_before_is_rotated_before_it_is_sent_again() {
    let mut owing = done();
    owing.attempts[0].obligation =
        Some(Obligation { cause: Cause::Retrieved, raised_at: at(1100), due: at(9000), begun: None, stalled: None });
    let again = Spec { redeliver: Some("2".into()), ..spec() };
    let forward = written(decided(again.clone(), &owing, &seen(&owing), 5000));
    let owed = forward.attempts[0].obligation.as_ref().map(|o| (o.cause, o.due));
    assert_eq!(owed, Some((Cause::Revoked, at(5000))), "now rather than later");
    assert_eq!(decided(again.clone(), &forward, &seen(&forward), 5000).action, Action::Observe(1));
    // While the rotation is in trouble, nothing is sent either.
    let owed = trouble(Class::Transient, 4990, 5010);
    let obs = Observation { trouble: BTreeMap::from([(1, owed)]), ..seen(&forward) };
    let waits = decided(again, &Entry { outbox: vec![], ..forward }, &obs, 5000);
    assert_eq!(waits.action, Action::Rest, "the old value first");
}

#[test]
fn a_pending_attempt_belongs_to_its_owner_until_its_time_is_over() {
    let theirs = entry(vec![attempt(pending("other", 1060))]);
    let waits = decided(spec(), &theirs, &seen(&theirs), 1059);
    assert_eq!((waits.action, waits.wake), (Action::Rest, Some(at(1060))));
    assert_eq!(decided(spec(), &theirs, &seen(&theirs), 1060).action, Action::Supersede(1));
    let mine = entry(vec![attempt(pending("me", 1060))]);
    assert_eq!(decided(spec(), &mine, &seen(&mine), 1001).action, Action::Supersede(1), "not in memory any more");
}

#[test]
fn a_held_message_is_tried_again_until_it_must_be_given_up() {
    let mine = entry(vec![attempt(pending("me", 1060))]);
    let with = |held| Observation { held: Some(held), ..seen(&mine) };
    let waits = decided(spec(), &mine, &with(held(1010)), 1009);
    assert_eq!((waits.action, waits.wake), (Action::Rest, Some(at(1010))));
    assert_eq!(decided(spec(), &mine, &with(held(1010)), 1010).action, Action::SendHeld(1));
    assert_eq!(decided(spec(), &mine, &with(held(1010)), 1900).action, Action::Supersede(1), "mail.hold is over");
    let stopping = Observation { stopping: true, ..with(held(1010)) };
    assert_eq!(decided(spec(), &mine, &stopping, 1009).action, Action::Supersede(1));
    let limited = Held { deliver_before: Some(at(1200)), ..held(1300) };
    assert_eq!(decided(spec(), &mine, &with(limited), 1200).action, Action::Supersede(1), "never sent after it");
    let unready = Observation { unready: Some(fault(Class::Misconfigured, "not-reachable")), ..with(held(1010)) };
    let waits = decided(spec(), &mine, &unready, 1010);
    assert_eq!((waits.action.clone(), code(&waits), waits.wake), (Action::Rest, "not-reachable", Some(at(1900))));
    assert_eq!(decided(spec(), &mine, &unready, 1900).action, Action::Supersede(1), "mail.hold goes on");
    let mut withdrawn = mine.clone();
    withdrawn.attempts[0].link.revoke = Some(RevokeCause::Asked);
    assert_eq!(decided(spec(), &withdrawn, &with(held(1010)), 1010).action, Action::Supersede(1));
}

#[test]
fn a_held_message_is_tried_later_and_later_and_while_it_is_still_ours() {
    for (class, least) in [(Class::Transient, 750), (Class::Denied, 22_500)] {
        let (mut now, mut tries) = (at(1000), 0);
        while now < at(1900) {
            let next = after::next_send(class, at(1000), now, u16::MAX);
            let wait = next.since(now);
            assert!(wait.as_millis() >= least && wait < after::OWNERSHIP, "{class:?}: {wait}");
            (now, tries) = (next, tries + 1);
        }
        assert!((20..50).contains(&tries), "{class:?}: {tries} tries in a quarter of an hour");
    }
}

#[test]
fn a_given_up_attempt_is_made_again_and_a_refused_one_waits() {
    let mut given_up = done();
    given_up.attempts[0].mail = MailState::Superseded;
    assert_eq!(issue_number(&decided(spec(), &given_up, &seen(&given_up), 5000)), Some(2));
    let mut refused = Entry { hold: Some(Hold::MailRefused), ..done() };
    refused.attempts[0].mail = MailState::Refused { fault: fault(Class::Permanent, "refused") };
    assert_eq!(code(&decided(spec(), &refused, &seen(&refused), 5000)), "mail-refused");
}

#[test]
fn what_is_given_up_again_and_again_is_made_later_and_later() {
    let given_up = |times: u32| {
        let one = |number| Attempt { number, mail: MailState::Superseded, ..done().attempts.remove(0) };
        entry((1..=times).map(one).collect())
    };
    let at_once = given_up(3);
    assert_eq!(issue_number(&decided(spec(), &at_once, &seen(&at_once), 1000)), Some(4));
    for (times, rest) in [(4, 60), (5, 120), (6, 240), (12, 4 * 3600), (200, 4 * 3600)] {
        let entry = given_up(times);
        let waits = decided(spec(), &entry, &seen(&entry), 1000 + rest - 1);
        let told = (waits.action.clone(), code(&waits), waits.wake);
        assert_eq!(told, (Action::Rest, "given-up-often", Some(at(1000 + rest))), "{times} times");
        assert_eq!(issue_number(&decided(spec(), &entry, &seen(&entry), 1000 + rest)), Some(times + 1));
    }
    let often = given_up(9);
    // Not past its own limit, and not for somebody else, for whoever asks, or after a clock was set back.
    let limited = Spec { deliver_before: Some(at(1030)), ..spec() };
    assert_eq!(decided(limited, &often, &seen(&often), 1001).wake, Some(at(1030)));
    let other = Recipient { email: "bob@vendor.example".into(), ..spec().recipient };
    for now in [Spec { recipient: other, ..spec() }, Spec { redeliver: Some("2".into()), ..spec() }] {
        assert_eq!(issue_number(&decided(now, &often, &seen(&often), 1001)), Some(10));
    }
    assert_eq!(issue_number(&decided(spec(), &often, &seen(&often), 999)), Some(10));
}
