//! Which rotation is due, and its next step.

use super::*;
use crate::entry::{Cause, Hold, Obligation, RevokeCause};
use crate::link::Command;
use crate::link::sample::{claim, history};
use crate::rotation::{Begun, By};

/// Claimed at 1100 s and over: a rotation is due at 1600 s.
fn owing(cause: Cause) -> Entry {
    let mut entry = entry(vec![attempt(accepted())]);
    let due = at(1600);
    let a = &mut entry.attempts[0];
    a.link.state = State::Retrieved;
    a.link.journal_read = 2;
    a.link.claimed_at = Some(at(1100));
    a.obligation = Some(Obligation { cause, raised_at: at(1100), due, begun: None, stalled: None });
    entry
}

fn seen_over(entry: &Entry) -> Observation {
    let link = history(&[(claim(), 1100), (Command::Settle, 1200)]);
    with_record(entry, Some(Record::Link(Box::new(link))))
}

fn sight(secs: i64, tag: u16, rotated: i64) -> SourceSight {
    SourceSight {
        at: at(secs),
        current: Some(Identity::Static { rotated: at(rotated) }),
        tags: Tags::from([("password".into(), tag)]),
        delivered: DeliveredVersion::NotLooked,
        unseen: false,
        written: Vec::new(),
    }
}

fn sibling(promised: Option<i64>, dead: Option<i64>) -> Sibling {
    Sibling {
        key: Key::new("default", "other"),
        source_key: Digest([7; 32]),
        promised_until: promised.map(at),
        dead_at: dead.map(at),
        identity: Identity::Static { rotated: at(500) },
        begun_at: at(1000),
        rotating: None,
    }
}

fn with_sight(entry: &Entry, s: SourceSight) -> Observation {
    Observation { sights: BTreeMap::from([(1, s)]), ..seen_over(entry) }
}

#[test]
fn it_waits_until_due_then_looks_writes_the_intent_steps_and_proves() {
    let mut owing = owing(Cause::Retrieved);
    let early = decided(spec(), &owing, &seen_over(&owing), 1599);
    assert_eq!((early.action, early.wake), (Action::Rest, Some(at(1600))));
    assert_eq!(decided(spec(), &owing, &seen_over(&owing), 1600).action, Action::Observe(1));
    let stale = with_sight(&owing, sight(1599, 1, 500));
    assert_eq!(decided(spec(), &owing, &stale, 1700).action, Action::Observe(1), "a look from before it was due");
    let alive = with_sight(&owing, sight(1700, 1, 500));
    let begun = written(decided(spec(), &owing, &alive, 1700));
    assert!(begun.attempts[0].obligation.as_ref().is_some_and(|o| o.begun.is_some()), "invariant 5");
    owing = begun;
    let step = decided(spec(), &owing, &alive, 1700).action;
    assert_eq!(step, Action::Rotate { attempt: 1, step: Step::RotateRole });
    // The same tag proves nothing, whatever time the role was rotated.
    let collision = with_sight(&owing, sight(1701, 1, 1700));
    assert!(matches!(decided(spec(), &owing, &collision, 1701).action, Action::Rotate { .. }), "invariant 7");
    let dead = written(decided(spec(), &owing, &with_sight(&owing, sight(1702, 2, 1701)), 1702));
    assert_eq!(dead.attempts[0].evidence.as_ref().map(|e| (e.by, e.at)), Some((By::Us, at(1702))));
}

#[test]
fn a_rotation_that_another_began_is_left_to_it_for_ten_seconds() {
    let began = |secs: i64, by: &str| Some(Begun { at: at(secs), by: by.into() });
    let mut owing = owing(Cause::Retrieved);
    owing.attempts[0].obligation.as_mut().unwrap().begun = began(1700, "other");
    let alive = |secs: i64, owing: &Entry| with_sight(owing, sight(secs, 1, 500));
    for secs in [1700, 1709] {
        let waits = decided(spec(), &owing, &alive(secs, &owing), secs);
        assert_eq!((waits.action, waits.wake), (Action::Rest, Some(at(1710))));
    }
    assert_eq!(decided(spec(), &owing, &alive(1709, &owing), 1710).action, Action::Observe(1), "what it did since");
    let rotate = Action::Rotate { attempt: 1, step: Step::RotateRole };
    assert_eq!(decided(spec(), &owing, &alive(1710, &owing), 1710).action, rotate, "it may have died");
    assert_eq!(decided(spec(), &owing, &alive(1690, &owing), 1690).action, Action::Rest, "a clock that is ahead");
    assert_eq!(decided(spec(), &owing, &alive(1689, &owing), 1689).action, rotate, "a clock that is far ahead");

    // The same source, for another delivery: whoever began first goes first.
    let mut obs = alive(1701, &owing);
    obs.siblings = vec![Sibling { rotating: began(1699, "other"), ..sibling(None, None) }];
    for ours in [None, began(1699, "me"), began(1700, "me")] {
        let (first, key) = (ours == began(1699, "me"), owing.key.clone());
        assert!(key < obs.siblings[0].key, "of two of the same time, the one whose name comes first");
        owing.attempts[0].obligation.as_mut().unwrap().begun = ours.clone();
        let decision = decided(spec(), &owing, &obs, 1701);
        let expected = if first { (rotate.clone(), None) } else { (Action::Rest, Some(at(1709))) };
        assert_eq!((decision.action, decision.wake.filter(|_| !first)), expected, "{ours:?}");
    }
    obs.siblings[0].rotating = began(1699, "me");
    assert_eq!(decided(spec(), &owing, &obs, 1701).action, rotate, "one process takes turns by itself");
}

#[test]
fn already_dead_is_recorded_as_somebody_elses() {
    let owing = owing(Cause::Retrieved);
    let dead = written(decided(spec(), &owing, &with_sight(&owing, sight(1650, 2, 1300)), 1650));
    assert_eq!(dead.attempts[0].evidence.as_ref().map(|e| e.by), Some(By::Other));
}

#[test]
fn what_siblings_were_promised_is_kept_unless_something_is_wrong() {
    for (cause, waits) in [
        (Cause::Retrieved, true),
        (Cause::Expired, true),
        (Cause::Revoked, false),
        (Cause::Declined, false),
        (Cause::Locked, false),
        (Cause::Tampered, false),
    ] {
        let owing = owing(cause);
        let obs = Observation { siblings: vec![sibling(Some(1900), None)], ..seen_over(&owing) };
        let decision = decided(spec(), &owing, &obs, 1600);
        let expected = if waits { Action::Rest } else { Action::Observe(1) };
        assert_eq!(decision.action, expected, "{cause:?}");
        assert_eq!(decided(spec(), &owing, &obs, 1900).action, Action::Observe(1), "{cause:?}");
        let mut elsewhere = obs.clone();
        elsewhere.siblings[0].source_key = Digest([8; 32]);
        assert_eq!(decided(spec(), &owing, &elsewhere, 1600).action, Action::Observe(1), "another source");
    }
}

#[test]
fn a_siblings_proof_is_worth_one_early_look() {
    let owing = owing(Cause::Retrieved);
    let obs = Observation { siblings: vec![sibling(None, Some(1300))], ..seen_over(&owing) };
    assert_eq!(decided(spec(), &owing, &obs, 1400).action, Action::Observe(1));
    let looked = Observation { sights: BTreeMap::from([(1, sight(1400, 1, 500))]), ..obs.clone() };
    assert_eq!(decided(spec(), &owing, &looked, 1401).action, Action::Rest, "once");
    let dead = Observation { sights: BTreeMap::from([(1, sight(1400, 2, 1300))]), ..obs };
    assert!(written(decided(spec(), &owing, &dead, 1401)).attempts[0].evidence.is_some());
}

#[test]
fn after_ten_minutes_of_outage_a_person_is_told_and_trying_goes_on() {
    let owing = owing(Cause::Retrieved);
    let vault = spec().connection;
    let down = |secs: i64| Observation {
        blocked: BTreeMap::from([(vault.clone(), trouble(Class::Transient, 1600, secs + 30))]),
        ..seen_over(&owing)
    };
    let waits = decided(spec(), &owing, &down(2199), 2199);
    assert_eq!((waits.action.clone(), code(&waits), waits.wake), (Action::Rest, "vault-down", Some(at(2229))));
    let stalled = written(decided(spec(), &owing, &down(2200), 2200));
    assert!(stalled.attempts[0].obligation.as_ref().is_some_and(|o| o.stalled.is_some()), "invariant 6");
    assert!(stalled.notices.iter().any(|n| n.kind == NoticeKind::RotationFailed));
    assert_eq!(decided(spec(), &stalled, &seen_over(&stalled), 2300).action, Action::Observe(1));
    // What waiting can't heal is told at once.
    let denied =
        Observation { trouble: BTreeMap::from([(1, trouble(Class::Denied, 1600, 1700))]), ..seen_over(&owing) };
    assert!(written(decided(spec(), &owing, &denied, 1601)).attempts[0].obligation.as_ref().unwrap().stalled.is_some());
}

#[test]
fn a_source_that_is_gone_proves_nothing() {
    let owing = owing(Cause::Retrieved);
    let gone = SourceSight { current: None, tags: Tags::new(), ..sight(1650, 0, 0) };
    let stalled = written(decided(spec(), &owing, &with_sight(&owing, gone.clone()), 1650));
    assert!(stalled.attempts[0].evidence.is_none(), "invariant 7");
    let code = stalled.attempts[0].obligation.as_ref().and_then(|o| o.stalled.as_ref()).map(|s| s.fault.code.clone());
    assert_eq!(code.as_deref(), Some("rotation-impossible"));
    let again = decided(spec(), &stalled, &with_sight(&stalled, gone), 2250);
    assert_eq!(again.action, Action::Observe(1), "looked at again after ten minutes");
}

#[test]
fn a_value_that_somebody_else_replaced_withdraws_the_open_link() {
    for reissue in [false, true] {
        let mut open = entry(vec![attempt(accepted())]);
        if reissue {
            open.attempts[0].terms.on_source_rotated = OnSourceRotated::Reissue;
        }
        let mut obs = seen(&open);
        assert_eq!(decided(spec(), &open, &obs, 1100).action, Action::Rest, "no news, no look");
        obs.siblings = vec![sibling(None, Some(1050))];
        assert_eq!(decided(spec(), &open, &obs, 1100).action, Action::Observe(1));
        obs.sights.insert(1, sight(1100, 2, 1050));
        let found = written(decided(spec(), &open, &obs, 1100));
        assert_eq!(found.attempts[0].link.revoke, Some(RevokeCause::SourceRotated));
        assert_eq!(found.hold, (!reissue).then_some(Hold::SourceRotated));
        assert!(found.attempts[0].evidence.is_some());
        obs.sights.insert(1, sight(1100, 1, 1050));
        assert_eq!(decided(spec(), &open, &obs, 1100).action, Action::Rest, "equal tags prove no change");
    }
}

/// A claimed link of a credential that is not to be rotated: its source is gone, and nothing follows from that.
#[test]
fn a_source_that_is_another_is_not_told_without_end() {
    let mut opened = entry(vec![attempt(accepted())]);
    let a = &mut opened.attempts[0];
    a.terms.strategy = Strategy::None;
    (a.link.state, a.link.journal_read, a.link.claimed_at) = (State::Claimed, 1, Some(at(1100)));
    let record = Some(Record::Link(Box::new(history(&[(claim(), 1100)]))));
    let gone = SourceSight { current: None, tags: Tags::new(), ..sight(1160, 0, 0) };
    let started = Observation { started_at: at(1150), ..with_record(&opened, record) };
    assert_eq!(decided(spec(), &opened, &started, 1160).action, Action::Observe(1));
    let looked = Observation { sights: BTreeMap::from([(1, gone)]), ..started };
    assert_eq!(decided(spec(), &opened, &looked, 1161).action, Action::Rest);
    // A proof is told all the same.
    let dead = Observation { sights: BTreeMap::from([(1, sight(1160, 2, 1150))]), ..looked };
    assert!(written(decided(spec(), &opened, &dead, 1161)).attempts[0].evidence.is_some());
}

#[test]
fn after_a_start_what_was_delivered_before_is_looked_at_once() {
    let open = entry(vec![attempt(accepted())]);
    let started = Observation { started_at: at(1050), ..seen(&open) };
    assert_eq!(decided(spec(), &open, &started, 1100).action, Action::Observe(1));
    let looked = Observation { sights: BTreeMap::from([(1, sight(1100, 1, 500))]), ..started };
    assert_eq!(decided(spec(), &open, &looked, 1101).action, Action::Rest);
}
