//! Decisions while the links store fails, or while the manifest can't be read: what can't be seen is left alone, and
//! what is owed is done (invariant 6).

use super::super::absorb::raise;
use super::*;
use crate::audit::EventKind;
use crate::entry::{Cause, Hold, Notice, RevokeCause};
use crate::link::Command;
use crate::link::check::Tamper;
use crate::link::sample::{claim, history};
use crate::rotation::{By, Step};

fn live() -> Entry {
    entry(vec![attempt(accepted())])
}

/// Opened at 1100 s and over; a rotation is due at 1600 s.
fn owing() -> Entry {
    let mut owing = live();
    let link = &mut owing.attempts[0].link;
    (link.state, link.journal_read, link.claimed_at) = (State::Retrieved, 2, Some(at(1100)));
    raise(&mut owing, 1, Cause::Retrieved, at(1600), at(1100));
    owing.outbox.clear();
    owing
}

/// Delivered and over; its record is still there.
fn over() -> Entry {
    let mut over = live();
    over.attempts[0].link.state = State::Expired;
    over.attempts[0].link.journal_read = 1;
    over
}

fn expired() -> Option<Record> {
    Some(Record::Link(Box::new(history(&[(Command::Settle, 2000)]))))
}

/// The store fails until a time; what could be read before it failed is there.
fn failing(obs: Observation, until: i64) -> Observation {
    let trouble =
        Trouble { fault: fault(Class::Transient, "store-down"), since: at(1000), until: at(until), generation: 0 };
    Observation { store_blocked: Some(trouble), ..obs }
}

/// The store fails, and no record of the entry could be read.
fn unread(entry: &Entry, until: i64) -> Observation {
    failing(Observation { records: BTreeMap::new(), ..seen(entry) }, until)
}

/// Nobody knows whether there is a manifest.
fn blind(entry: &Entry) -> Observation {
    blinded(seen(entry))
}

fn blinded(obs: Observation) -> Observation {
    Observation { blind: Some(fault(Class::Transient, "folder-away")), ..obs }
}

fn decided_blind(entry: &Entry, obs: &Observation, secs: i64) -> Decision {
    decide(None, Some(entry), obs, at(secs))
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

fn notice() -> Notice {
    let kind = NoticeKind::Retrieved;
    Notice { kind, attempt: 1, at: at(1100), to: "sender@example.com".into(), text: "It was opened.".into() }
}

/// Looked at, written down, rotated and proven, whatever `obscure` hides.
fn is_rotated(manifest: Option<&Manifest>, owing: &Entry, obscure: impl Fn(Observation) -> Observation) {
    let link = history(&[(claim(), 1100), (Command::Settle, 1200)]);
    let look = |sight: Option<SourceSight>| {
        let obs = with_record(owing, Some(Record::Link(Box::new(link.clone()))));
        obscure(Observation { sights: sight.into_iter().map(|s| (1, s)).collect(), ..obs })
    };
    let early = decide(manifest, Some(owing), &look(None), at(1599));
    assert_eq!(early.action, Action::Rest, "not due yet");
    assert_eq!(decide(manifest, Some(owing), &look(None), at(1600)).action, Action::Observe(1));
    let alive = look(Some(sight(1600, 1, 500)));
    let begun = written(decide(manifest, Some(owing), &alive, at(1600)));
    let begun = Entry { outbox: vec![], ..begun };
    let step = decide(manifest, Some(&begun), &alive, at(1600)).action;
    assert_eq!(step, Action::Rotate { attempt: 1, step: Step::RotateRole }, "invariant 6");
    let dead = written(decide(manifest, Some(&begun), &look(Some(sight(1601, 2, 1601))), at(1601)));
    assert_eq!(dead.attempts[0].evidence.as_ref().map(|e| e.by), Some(By::Us));
}

#[test]
fn what_could_not_be_read_tells_nothing() {
    for mut entry in [live(), owing()] {
        let rests = decided(spec(), &entry, &unread(&entry, 1110), 1105);
        assert_eq!(
            (rests.action.clone(), code(&rests)),
            (Action::Rest, "store-down"),
            "not missing, not tampered with"
        );
        entry.attempts[0].mail = pending("me", 1060);
        let pending = decided(spec(), &entry, &unread(&entry, 1110), 1105);
        assert_eq!(pending.action, Action::Rest);
    }
    // What was read before it failed is news all the same.
    let claimed = Some(Record::Link(Box::new(history(&[(claim(), 1100)]))));
    let absorbed = written(decided(spec(), &live(), &failing(with_record(&live(), claimed), 1110), 1105));
    assert_eq!(absorbed.attempts[0].link.claimed_at, Some(at(1100)));
}

#[test]
fn links_are_left_alone_until_the_store_may_be_tried() {
    let mut withdrawn = live();
    withdrawn.attempts[0].link.revoke = Some(RevokeCause::Asked);
    let mut tampered = live();
    tampered.attempts[0].link.tampered = Some(Tamper::Expiry);
    tampered.attempts[0].link.state = State::Revoked;
    let due =
        [(withdrawn, 1100, Action::Revoke(1)), (tampered, 1100, Action::Void(1)), (live(), 2000, Action::Settle(1))];
    for (entry, now, then) in due {
        let obs = failing(seen(&entry), now + 10);
        let waits = decided(spec(), &entry, &obs, now);
        assert_eq!((waits.action.clone(), code(&waits)), (Action::Rest, "store-down"), "{then:?}");
        assert_eq!(waits.wake, Some(at(now + 10)), "{then:?}");
        assert_eq!(decided(spec(), &entry, &obs, now + 10).action, then);
    }
}

/// What one record's trouble holds up is that link, and not what is owed, nor another's link.
#[test]
fn a_record_that_fails_for_good_holds_up_its_own_link_only() {
    let refused =
        Trouble { fault: fault(Class::Permanent, "record-refused"), since: at(1000), until: at(1110), generation: 0 };
    let troubled = |obs: Observation| Observation { record_trouble: BTreeMap::from([(1, refused.clone())]), ..obs };
    let mut withdrawn = live();
    withdrawn.attempts[0].link.revoke = Some(RevokeCause::Asked);
    let waits = decided(spec(), &withdrawn, &troubled(seen(&withdrawn)), 1100);
    assert_eq!((waits.action.clone(), code(&waits), waits.wake), (Action::Rest, "record-refused", Some(at(1110))));
    assert_eq!(decided(spec(), &withdrawn, &troubled(seen(&withdrawn)), 1110).action, Action::Revoke(1));
    is_rotated(Some(&manifest(spec())), &owing(), troubled);
    let theirs = entry(vec![attempt(pending("other", 1010))]);
    assert_eq!(decided(spec(), &theirs, &troubled(seen(&theirs)), 1100).action, Action::Rest);
    assert_eq!(decided(spec(), &theirs, &troubled(seen(&theirs)), 1110).action, Action::Supersede(1));
    let late = troubled(with_record(&over(), expired()));
    let late =
        Observation { record_trouble: BTreeMap::from([(1, Trouble { until: at(9000), ..refused.clone() })]), ..late };
    assert_eq!(decided(spec(), &over(), &late, 3060).action, Action::Rest);
    // Another attempt's link is ended all the same.
    let second = Attempt { number: 2, link: withdrawn.attempts[0].link.clone(), ..attempt(accepted()) };
    let both = entry(vec![withdrawn.attempts[0].clone(), second]);
    assert_eq!(decided(spec(), &both, &troubled(seen(&both)), 1100).action, Action::Revoke(2));
}

#[test]
fn orders_and_ties_are_written_down_while_the_store_fails() {
    let asked = Spec { revoked: true, ..spec() };
    let ordered = written(decided(asked, &live(), &unread(&live(), 1110), 1100));
    assert_eq!(ordered.attempts[0].link.revoke, Some(RevokeCause::Asked));
    let gone = written(decide(None, Some(&live()), &unread(&live(), 1110), at(1100)));
    assert!(gone.removed);
    // It is let go when the ledger knows that its link is over, and not before.
    let deleting = Manifest { deleting: true, ..manifest(spec()) };
    let mut live = Entry { removed: true, ..live() };
    live.attempts[0].link.revoke = Some(RevokeCause::Removed);
    assert_eq!(decide(Some(&deleting), Some(&live), &unread(&live, 1110), at(1100)).action, Action::Rest);
    let over = Entry { removed: true, ..over() };
    assert_eq!(decide(Some(&deleting), Some(&over), &unread(&over, 1110), at(1100)).action, Action::Release);
    let bare = Manifest { stamp: None, ..manifest(spec()) };
    let unstamped = decide(Some(&bare), Some(&entry(vec![])), &unread(&entry(vec![]), 1110), at(1100));
    assert_eq!(unstamped.action, Action::Stamp(stamp()));
}

#[test]
fn rotating_goes_on_while_the_store_fails() {
    is_rotated(Some(&manifest(spec())), &owing(), |obs| failing(obs, 9000));
    is_rotated(Some(&manifest(spec())), &owing(), |obs| failing(Observation { records: BTreeMap::new(), ..obs }, 9000));
}

#[test]
fn nothing_is_sent_while_the_store_fails() {
    let fresh = entry(vec![]);
    let waits = decided(spec(), &fresh, &unread(&fresh, 1110), 1100);
    assert_eq!((waits.action.clone(), code(&waits), waits.wake), (Action::Rest, "store-down", Some(at(1110))));
    assert!(matches!(decided(spec(), &fresh, &unread(&fresh, 1110), 1110).action, Action::Issue(_)));

    let mine = entry(vec![attempt(pending("me", 1060))]);
    let held = Some(Held { attempt: 1, next_try: at(1010), deliver_before: None });
    let obs = Observation { held, ..unread(&mine, 1030) };
    assert_eq!(decided(spec(), &mine, &obs, 1020).action, Action::Rest);
    assert_eq!(decided(spec(), &mine, &obs, 1030).action, Action::SendHeld(1));
    let theirs = entry(vec![attempt(pending("other", 1010))]);
    assert_eq!(decided(spec(), &theirs, &unread(&theirs, 1030), 1020).action, Action::Rest);
    assert_eq!(decided(spec(), &theirs, &unread(&theirs, 1030), 1030).action, Action::Supersede(1));
    // A process that ends has no later.
    let stopping = Observation { stopping: true, ..obs };
    assert_eq!(decided(spec(), &mine, &stopping, 1020).action, Action::Supersede(1));
}

#[test]
fn telling_goes_on_while_the_store_fails_and_forgetting_waits() {
    let told = Entry { notices: vec![notice()], ..live() };
    assert_eq!(decided(spec(), &told, &unread(&told, 1200), 1150).action, Action::Notify(notice()));
    let mut silent = live();
    raise(&mut silent, 1, Cause::Retrieved, at(1600), at(1100));
    assert_eq!(decided(spec(), &silent, &unread(&silent, 1200), 1150).action, Action::FlushAudit);

    let obs = failing(with_record(&over(), expired()), 3070);
    let waits = decided(spec(), &over(), &obs, 3065);
    assert_eq!((waits.action.clone(), code(&waits), waits.wake), (Action::Rest, "store-down", Some(at(3070))));
    assert_eq!(decided(spec(), &over(), &obs, 3070).action, Action::DeleteRecord(1));
}

#[test]
fn a_manifest_that_cannot_be_looked_for_is_not_called_gone() {
    let unknown = decide(None, None, &blind(&entry(vec![])), at(1000));
    assert_eq!((unknown.action.clone(), code(&unknown), unknown.wake), (Action::Rest, "folder-away", Some(at(1005))));
    let rests = decided_blind(&live(), &blind(&live()), 1100);
    assert_eq!((rests.action.clone(), code(&rests), rests.wake), (Action::Rest, "folder-away", Some(at(1105))));
    // Beside it: what an absent manifest means.
    assert!(written(decide(None, Some(&live()), &seen(&live()), at(1100))).removed);
    // Removed as it was when it was last seen, it is not let go by guess, and not tied to another object.
    let removed = Entry { removed: true, ..over() };
    let obs = blinded(with_record(&removed, expired()));
    let rests = decided_blind(&removed, &obs, 2100);
    assert_eq!((rests.action.clone(), code(&rests)), (Action::Rest, "folder-away"));
}

#[test]
fn records_are_read_and_orders_carried_out_while_the_manifest_is_unknown() {
    let claimed = Some(Record::Link(Box::new(history(&[(claim(), 1100)]))));
    let absorbed = written(decided_blind(&live(), &blinded(with_record(&live(), claimed)), 1150));
    assert!(absorbed.attempts[0].obligation.is_some(), "invariant 6");
    let missing = written(decided_blind(&live(), &blinded(with_record(&live(), None)), 1150));
    assert_eq!(missing.attempts[0].link.tampered, Some(Tamper::Missing), "the record is no manifest");

    let mut withdrawn = live();
    withdrawn.attempts[0].link.revoke = Some(RevokeCause::Asked);
    assert_eq!(decided_blind(&withdrawn, &blind(&withdrawn), 1100).action, Action::Revoke(1));
    assert_eq!(decided_blind(&live(), &blind(&live()), 2000).action, Action::Settle(1));
    // A restore withdraws whatever the manifests say.
    let restored = Observation { restored: Some("the trail knows more".into()), ..blind(&live()) };
    let ordered = written(decided_blind(&live(), &restored, 1100));
    assert_eq!(ordered.attempts[0].link.revoke, Some(RevokeCause::Restored));
}

#[test]
fn rotating_goes_on_while_the_manifest_is_unknown() {
    is_rotated(None, &owing(), blinded);
    // Also beside a store that fails.
    is_rotated(None, &owing(), |obs| failing(blinded(obs), 9000));
    // News of the source is looked at under the open link.
    let started = Observation { started_at: at(1050), ..blind(&live()) };
    assert_eq!(decided_blind(&live(), &started, 1100).action, Action::Observe(1));
}

#[test]
fn no_attempt_begins_while_the_manifest_is_unknown() {
    let mut given_up = over();
    given_up.attempts[0].mail = MailState::Superseded;
    given_up.attempts[0].forgotten = true;
    for entry in [entry(vec![]), Entry { again: true, ..over() }, given_up] {
        let obs = blinded(with_record(&entry, expired()));
        let rests = decided_blind(&entry, &obs, 2100);
        assert_eq!((rests.action.clone(), code(&rests)), (Action::Rest, "folder-away"), "{entry:?}");
        let sees = decided(spec(), &entry, &with_record(&entry, expired()), 2100);
        assert!(matches!(sees.action, Action::Issue(_)), "beside it: {:?}", sees.action);
    }
}

#[test]
fn telling_and_deleting_records_go_on_while_the_manifest_is_unknown() {
    let told = Entry { notices: vec![notice()], ..live() };
    assert_eq!(decided_blind(&told, &blind(&told), 1150).action, Action::Notify(notice()));
    let mut silent = live();
    raise(&mut silent, 1, Cause::Retrieved, at(1600), at(1100));
    assert_eq!(decided_blind(&silent, &blind(&silent), 1150).action, Action::FlushAudit);
    let obs = blinded(with_record(&over(), expired()));
    assert_eq!(decided_blind(&over(), &obs, 3060).action, Action::DeleteRecord(1));
}

#[test]
fn a_held_message_waits_while_the_manifest_is_unknown() {
    let pending = MailState::Pending { owner: "me".into(), until: at(2000) };
    let entry = entry(vec![attempt(pending)]);
    let held = Held { attempt: 1, next_try: at(1010), deliver_before: None };
    let sees = Observation { me: "me".into(), mail_hold: Span::from_secs(900), held: Some(held), ..seen(&entry) };
    assert_eq!(decided(spec(), &entry, &sees, 1020).action, Action::SendHeld(1));
    let waits = decided_blind(&entry, &blinded(sees.clone()), 1020);
    assert_eq!(waits.action, Action::Rest, "it may be withdrawn by now");
    assert!(waits.wake.is_some());
    let stops = Observation { stopping: true, ..blinded(sees) };
    assert_eq!(decided_blind(&entry, &stops, 1020).action, Action::Supersede(1));
}

#[test]
fn what_a_restored_ledger_would_send_waits_while_the_manifest_is_unknown() {
    let entry = live();
    let restored = Observation { restored: Some("why".into()), ..blind(&entry) };
    let Action::Persist(next) = decided_blind(&entry, &restored, 1020).action else { panic!("a hold is due") };
    assert_eq!(next.hold, Some(Hold::RestoredUnread), "whatever spec.redeliver says once it can be read");
}

#[test]
fn events_on_the_trail_go_with_the_next_write_or_after_a_while() {
    let mut told = live();
    told.emit(EventKind::Held, 0, at(1000), "why", &[]);
    let unknown = decided(spec(), &told, &seen(&told), 1001);
    assert_eq!(unknown.action, Action::FlushAudit);
    let known = Observation { on_trail: 1, ..seen(&told) };
    let rests = decided(spec(), &told, &known, 1001);
    assert_eq!((rests.action, rests.look), (Action::Rest, Some(at(1600))));
    let Action::Persist(next) = decided(spec(), &told, &known, 1600).action else { panic!("they are dropped") };
    assert!(next.outbox.is_empty());
}

#[test]
fn while_the_trail_fails_the_rest_goes_on_and_nothing_is_forgotten() {
    let failing = |obs: Observation, until: i64| {
        let trouble = Trouble { until: at(until), ..trouble(Class::Transient, 1100, until) };
        Observation { audit_blocked: Some(trouble), ..obs }
    };
    let mut told = Entry { notices: vec![notice()], ..live() };
    raise(&mut told, 1, Cause::Retrieved, at(1600), at(1100));
    let obs = failing(seen(&told), 1200);
    assert_eq!(decided(spec(), &told, &obs, 1150).action, Action::Notify(notice()), "telling does not wait for it");
    told.notices.clear();
    let waits = decided(spec(), &told, &failing(seen(&told), 1200), 1150);
    assert_eq!((waits.action.clone(), code(&waits), waits.wake), (Action::Rest, "vault-down", Some(at(1200))));
    assert_eq!(decided(spec(), &told, &failing(seen(&told), 1200), 1200).action, Action::FlushAudit);
    // Long after: what was not told is not dropped.
    let late = decided(spec(), &told, &failing(seen(&told), 1_000_000), 1599);
    assert_eq!((late.action, late.look), (Action::Rest, None));
}
