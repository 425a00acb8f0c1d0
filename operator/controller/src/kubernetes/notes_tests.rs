//! Which Events a story gives, and that they give nothing away.

use ps_core::delivery::{ConnectionRef, Identity, OnSourceRotated, Source, Strategy};
use ps_core::entry::{Cause, LinkFacts, Obligation, Stalled, Terms};
use ps_core::error::{Class, Fault};
use ps_core::ids::{Digest, Key, LinkId, Stamp};
use ps_core::link::State;
use ps_core::rotation::Evidence;
use ps_core::status::{Condition, project};
use ps_core::time::{Span, Timestamp};

use super::*;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn attempt() -> Attempt {
    Attempt {
        number: 1,
        record: LinkId([1; 16]),
        digest: Digest([1; 32]),
        connection: ConnectionRef::namespaced("shop", "prod"),
        resolved: None,
        source: Source::DatabaseStatic { mount: "database".into(), role: "app".into() },
        source_key: Digest([2; 32]),
        identity: Identity::Static { rotated: at(500) },
        tags: [("password".into(), 1)].into(),
        release: None,
        verify: None,
        recipient_digest: Digest([3; 32]),
        source_digest: Digest([4; 32]),
        terms: Terms {
            expires_at: at(2000),
            not_after: at(3000),
            claim_window: Span::from_secs(100),
            strategy: Strategy::RotateRole,
            keys: vec!["password".into()],
            password_policy: None,
            after_retrieval: Span::from_secs(3600),
            on_expiry: true,
            on_revocation: true,
            on_locked: true,
            on_source_rotated: OnSourceRotated::Stall,
            notify: None,
            recipient: mask("alice@vendor.example"),
        },
        mail: MailState::Accepted { at: at(1000) },
        message_id: "m@example.com".into(),
        begun_at: at(990),
        link: LinkFacts {
            state: State::Open,
            journal_read: 0,
            claimed_at: None,
            acknowledged: false,
            disputed: false,
            tampered: None,
            revoke: None,
            ended_at: None,
        },
        obligation: None,
        evidence: None,
        forgotten: false,
    }
}

fn entry(change: impl FnOnce(&mut Attempt)) -> Entry {
    let key = Key::new("shop", "db");
    let stamp = Stamp::new(&key, [1; 16]);
    let mut entry = Entry::new(key, "u-1".into(), stamp, at(980));
    let mut one = attempt();
    change(&mut one);
    entry.attempt = 1;
    entry.attempts.push(one);
    entry
}

/// The Events of one kind of audit event, emitted on an entry like this.
fn told(kind: EventKind, change: impl FnOnce(&mut Attempt)) -> Vec<EventNote> {
    let before = entry(change);
    let mut after = before.clone();
    after.emit(kind, 1, at(1500), "the reason", &[]);
    notes(Some(&before), &after)
}

fn claimed(attempt: &mut Attempt) {
    attempt.link.state = State::Claimed;
    attempt.link.claimed_at = Some(at(1100));
}

#[test]
fn an_ordinary_life_has_three_events() {
    let life = [
        EventKind::Accepted,
        EventKind::Issued,
        EventKind::Delivered,
        EventKind::Claimed,
        EventKind::Acknowledged,
        EventKind::RotationDue,
        EventKind::RotationBegun,
        EventKind::Rotated,
        EventKind::Notified,
        EventKind::Removed,
    ];
    let mut before = entry(claimed);
    before.outbox.clear();
    let mut reasons = Vec::new();
    for kind in life {
        let mut after = before.clone();
        after.emit(kind, 1, at(1500), "r", &[]);
        reasons.extend(notes(Some(&before), &after).into_iter().map(|n| n.reason));
        before = after;
    }
    assert_eq!(reasons, ["Delivered", "Retrieved", "Rotated"]);
}

#[test]
fn an_event_is_told_with_the_write_that_brings_it_and_not_again() {
    let before = entry(|_| ());
    let mut after = before.clone();
    after.emit(EventKind::Delivered, 1, at(1000), "r", &[]);
    assert_eq!(notes(Some(&before), &after).len(), 1);
    assert_eq!(notes(Some(&after), &after), []);
    let mut flushed = after.clone();
    flushed.outbox.clear();
    assert_eq!(notes(Some(&after), &flushed), []);
    assert_eq!(notes(None, &after).len(), 1, "a first write is all new");
}

#[test]
fn each_change_has_its_severity_and_its_words() {
    type Case = (EventKind, fn(&mut Attempt), Severity, &'static str, &'static str);
    let cases: [Case; 15] = [
        (
            EventKind::Delivered,
            |_| (),
            Severity::Normal,
            "Delivered",
            "mailed to a…@vendor.example and can be opened until 1970",
        ),
        (EventKind::DeliveryUnknown, |_| (), Severity::Warning, "DeliveryUnknown", "answer was lost"),
        (
            EventKind::Claimed,
            claimed,
            Severity::Normal,
            "Retrieved",
            "opened at 1970-01-01T00:18:20Z; the credential works until",
        ),
        (EventKind::Expired, |_| (), Severity::Normal, "Expired", "nobody opened"),
        (EventKind::Revoked, |a| a.link.revoke = Some(RevokeCause::Asked), Severity::Normal, "Revoked", "spec.revoked"),
        (EventKind::Declined, |_| (), Severity::Warning, "Declined", "not meant for them"),
        (EventKind::Disputed, claimed, Severity::Warning, "Disputed", "was not them"),
        (EventKind::Locked, |_| (), Severity::Warning, "Locked", "too many wrong"),
        (EventKind::Tampered, |_| (), Severity::Warning, "Tampered", "altered"),
        (
            EventKind::Rotated,
            |a| {
                a.evidence = Some(Evidence { scope: Scope::Target, by: By::Us, at: at(1), seen: "rotated at 5".into() })
            },
            Severity::Normal,
            "Rotated",
            "target system refuses the delivered value (scope Target: rotated at 5)",
        ),
        (
            EventKind::Rotated,
            |a| a.evidence = Some(Evidence { scope: Scope::Vault, by: By::Other, at: at(1), seen: "version 4".into() }),
            Severity::Normal,
            "Rotated",
            "target system was not told, rotated by somebody else (scope Vault: version 4)",
        ),
        (EventKind::SourceRotated, |_| (), Severity::Warning, "SourceRotated", "by somebody else"),
        (EventKind::Adopted, |_| (), Severity::Normal, "Adopted", "nothing is sent again"),
        (EventKind::Held, |_| (), Severity::Warning, "Held", "nothing is sent: the reason"),
        (
            EventKind::RotationStalled,
            |a| {
                let fault = Fault::new(Class::Denied, "vault-denied", "no right to rotate").remedy("Grant it");
                let stalled = Some(Stalled { since: at(1), fault });
                let (raised_at, due) = (at(1), at(1));
                a.obligation = Some(Obligation { cause: Cause::Retrieved, raised_at, due, begun: None, stalled });
            },
            Severity::Warning,
            "RotationStalled",
            "does not succeed: no right to rotate. Grant it",
        ),
    ];
    for (kind, change, severity, reason, words) in cases {
        let told = told(kind, change);
        let [note] = told.as_slice() else { panic!("{kind:?}: {told:?}") };
        assert_eq!((note.severity, note.reason.as_str()), (severity, reason));
        assert!(note.message.contains(words), "{}", note.message);
        assert_eq!((note.ongoing, note.owed), (kind == EventKind::RotationStalled, kind == EventKind::RotationStalled));
    }
}

#[test]
fn a_hold_has_the_name_of_its_condition() {
    for hold in [Hold::AlreadyDelivered, Hold::SourceRotated, Hold::MailRefused, Hold::TooLate, Hold::Restored] {
        let before = entry(|_| ());
        let mut after = before.clone();
        after.hold = Some(hold);
        after.emit(EventKind::Held, 0, at(1500), "r", &[]);
        let note = notes(Some(&before), &after).remove(0);
        assert_eq!((note.reason, note.attempt), (format!("{hold:?}"), 1), "of the attempt that the status shows");
    }
}

#[test]
fn what_stalls_is_told_for_as_long_as_it_does() {
    let key = Key::new("shop", "db");
    let manifest = ps_core::delivery::Manifest {
        key,
        uid: "u-1".into(),
        generation: 1,
        stamp: None,
        deleting: false,
        let_go: false,
        spec: Err(Fault::new(Class::Misconfigured, "x", "y")),
    };
    let status = |fault: Option<&Fault>| project(Some(&manifest), None, fault, None, at(5));
    assert_eq!(stalled(&status(None)), None);
    assert_eq!(stalled(&status(Some(&Fault::new(Class::Transient, "vault-sealed", "waits")))), None);
    let copied = Fault::new(Class::Misconfigured, "copied", "it carries the stamp of another name").remedy("Remove it");
    let note = stalled(&status(Some(&copied))).unwrap();
    assert_eq!(
        (note.severity, note.reason.as_str(), note.ongoing, note.owed),
        (Severity::Warning, "Copied", true, false)
    );
    assert_eq!(note.message, "it carries the stamp of another name. Remove it");
    let mut owed = status(Some(&copied));
    let rotated = owed.conditions.iter_mut().find(|c| c.r#type == "Rotated").unwrap();
    rotated.reason = "Stalled".into();
    let note = stalled(&owed).unwrap();
    assert_eq!((note.reason.as_str(), note.owed), ("RotationStalled", true));
    let off = |c: &mut Condition| c.status = if c.r#type == "Stalled" { "False".into() } else { c.status.clone() };
    owed.conditions.iter_mut().for_each(off);
    assert_eq!(stalled(&owed), None);
}

#[test]
fn no_address_in_full_and_nothing_endless() {
    let fault = Fault::new(
        Class::Permanent,
        "smtp-refused",
        "550 <Alice.B@vendor.example>: no such user, ask post@vendor.example.",
    );
    let told = told(EventKind::MailRefused, |a| a.mail = MailState::Refused { fault });
    let text = &told.first().unwrap().message;
    assert!(
        text.contains("<A…@vendor.example>") && text.contains("p…@vendor.example.") && !text.contains("lice"),
        "{text}"
    );
    let long = EventNote::new(Severity::Normal, "X", 1, "ü".repeat(2000));
    assert!(long.message.len() <= LONGEST && long.message.ends_with('…'));
    assert_eq!(without_addresses("a…@b.c is masked already"), "a…@b.c is masked already");
}
