//! Writes that follow each other are one, and nothing that weighs waits for a look.

use super::super::absorb::raise;
use super::super::step::step;
use super::*;
use crate::audit::EventKind;
use crate::entry::Cause;
use crate::link::Command;
use crate::link::sample::{claim, history};

/// Opened at 1100 s; a rotation is due at 1600 s.
fn owing() -> Entry {
    let mut owing = entry(vec![attempt(accepted())]);
    let link = &mut owing.attempts[0].link;
    (link.state, link.journal_read, link.claimed_at) = (State::Claimed, 1, Some(at(1100)));
    raise(&mut owing, 1, Cause::Retrieved, at(1600), at(1100));
    owing.outbox.clear();
    owing
}

fn seen_with(entry: &Entry, commands: &[(Command, i64)], sight: Option<SourceSight>) -> Observation {
    let record = Some(Record::Link(Box::new(history(commands))));
    Observation { sights: sight.into_iter().map(|s| (1, s)).collect(), ..with_record(entry, record) }
}

fn alive(secs: i64) -> SourceSight {
    SourceSight {
        at: at(secs),
        current: Some(Identity::Static { rotated: at(500) }),
        tags: Tags::from([("password".into(), 1)]),
        delivered: DeliveredVersion::NotLooked,
        unseen: false,
        written: Vec::new(),
    }
}

fn stepped(entry: &Entry, obs: &Observation, secs: i64) -> Decision {
    step(Some(&manifest(spec())), Some(entry), obs, at(secs))
}

fn kinds(entry: &Entry) -> Vec<EventKind> {
    entry.outbox.iter().map(|event| event.kind).collect()
}

#[test]
fn the_end_of_the_window_and_the_beginning_of_the_rotation_are_one_write() {
    let (owing, over) = (owing(), [(claim(), 1100), (Command::Settle, 1600)]);
    let look = stepped(&owing, &seen_with(&owing, &over, None), 1600);
    assert_eq!(look.action, Action::Observe(1), "{}", look.reason);
    let next = written(stepped(&owing, &seen_with(&owing, &over, Some(alive(1600))), 1600));
    assert_eq!(kinds(&next), [EventKind::WindowOver, EventKind::RotationBegun]);
    assert!(
        next.attempts[0]
            .obligation
            .as_ref()
            .is_some_and(|o| o.begun.as_ref().is_some_and(|begun| begun.at == at(1600)))
    );
    // Vault is away: what the record tells is written all the same.
    let mut blocked = seen_with(&owing, &over, None);
    blocked.blocked.insert(spec().connection, trouble(Class::Transient, 1599, 1700));
    assert_eq!(kinds(&written(stepped(&owing, &blocked, 1600))), [EventKind::WindowOver]);
}

#[test]
fn what_weighs_is_written_before_anybody_looks() {
    // Declined: owed at once.
    let live = entry(vec![attempt(accepted())]);
    let declined = [(Command::Revoke, 1100)];
    let mut ordered = live.clone();
    ordered.attempts[0].link.revoke = Some(crate::entry::RevokeCause::Asked);
    let next = written(stepped(&ordered, &seen_with(&ordered, &declined, None), 1200));
    assert!(next.attempts[0].obligation.is_some(), "invariant 6: owed, and written down, before Vault is asked");
    assert!(kinds(&next).contains(&EventKind::RotationDue) && !kinds(&next).contains(&EventKind::RotationBegun));
}

#[test]
fn a_look_that_brings_nothing_keeps_no_news_from_being_written() {
    let owing = owing();
    let over = [(claim(), 1100), (Command::Settle, 1600)];
    // Taken a moment ago, and older than what it is asked for: a clock was set back.
    let obs = seen_with(&owing, &over, Some(alive(1599)));
    assert_eq!(kinds(&written(stepped(&owing, &obs, 1600))), [EventKind::WindowOver]);
    assert_eq!(stepped(&owing, &obs, 1601).action, Action::Observe(1));
}

#[test]
fn a_first_delivery_is_made_known_and_sent_in_one_act() {
    let blank = Manifest { stamp: None, ..manifest(spec()) };
    let obs = Observation { me: "me".into(), started_at: at(800), ..Observation::default() };
    let sent = |m: &Manifest, obs: &Observation| step(Some(m), None, obs, at(1000)).action;
    assert!(matches!(sent(&blank, &obs), Action::Issue(order) if order.number == 1));
    // Whatever keeps it from being sent now: it is only made known.
    let paused = Observation { paused: true, ..obs.clone() };
    let failed = Observation { trouble: BTreeMap::from([(1, trouble(Class::Denied, 900, 1100))]), ..obs.clone() };
    for obs in [paused, failed] {
        assert_eq!(sent(&blank, &obs), Action::Create);
    }
    let first = |change: fn(&mut Spec)| {
        let mut spec = spec();
        change(&mut spec);
        sent(&Manifest { stamp: None, ..manifest(spec) }, &obs)
    };
    assert_eq!(first(|s| s.revoked = true), Action::Create);
    assert_eq!(first(|s| s.deliver_before = Some(at(999))), Action::Create);
    assert_eq!(first(|s| s.rotation.before_delivery = true), Action::Create, "rotating is an effect");
}
