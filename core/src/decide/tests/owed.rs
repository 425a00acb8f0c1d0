//! Which rotation is due, and its next step.

use super::*;
use crate::entry::{Cause, Hold, Obligation, RevokeCause};
use crate::link::Command;
use crate::link::sample::{claim, history};
use crate::rotation::By;

/// Claimed at 1100 s and over: a rotation is due at 1600 s.
fn owing(cause: Cause) -> Entry {
    let mut entry = entry(vec![attempt(accepted())]);
    let due = at(1600);
    let a = &mut entry.attempts[0];
    a.link.state = State::Retrieved;
    a.link.journal_read = 2;
    a.link.claimed_at = Some(at(1100));
    a.obligation = Some(Obligation { cause, raised_at: at(1100), due, begun_at: None, stalled: None });
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
    assert!(begun.attempts[0].obligation.as_ref().is_some_and(|o| o.begun_at.is_some()), "invariant 5");
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

#[test]
fn after_a_start_what_was_delivered_before_is_looked_at_once() {
    let open = entry(vec![attempt(accepted())]);
    let started = Observation { started_at: at(1050), ..seen(&open) };
    assert_eq!(decided(spec(), &open, &started, 1100).action, Action::Observe(1));
    let looked = Observation { sights: BTreeMap::from([(1, sight(1100, 1, 500))]), ..started };
    assert_eq!(decided(spec(), &open, &looked, 1101).action, Action::Rest);
}
