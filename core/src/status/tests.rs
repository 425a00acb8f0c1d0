//! What a status says at each step of the story, and the rules that GitOps tools rely on.

use super::*;
use crate::decide::tests::{accepted, attempt, entry, fault, manifest, pending, spec};
use crate::entry::{Cause, Obligation, Stalled};
use crate::error::Class;
use crate::link::check::Tamper;
use crate::link::sample::at;
use crate::rotation::Begun;

struct Story {
    completion: Completion,
    note: Option<Fault>,
    change: fn(&mut Attempt),
}

impl Default for Story {
    fn default() -> Self {
        Self { completion: Completion::OnDelivered, note: None, change: |_| () }
    }
}

impl Story {
    fn status(&self) -> Status {
        let mut one = attempt(accepted());
        (self.change)(&mut one);
        let manifest = manifest(crate::delivery::Spec { completion: self.completion, ..spec() });
        project(Some(&manifest), Some(&entry(vec![one])), self.note.as_ref(), Some(at(9000)), at(1500))
    }
}

fn condition<'a>(status: &'a Status, kind: &str) -> Option<(&'a str, &'a str)> {
    status.conditions.iter().find(|c| c.r#type == kind).map(|c| (c.status.as_str(), c.reason.as_str()))
}

/// `Ready`, `Reconciling` and `Stalled`, as T, F or - for absent.
fn kstatus(status: &Status) -> String {
    let letter = |kind| condition(status, kind).map_or("-", |(s, _)| if s == "True" { "T" } else { "F" });
    [letter("Ready"), letter("Reconciling"), letter("Stalled")].concat()
}

fn claimed(attempt: &mut Attempt) {
    attempt.link.state = State::Retrieved;
    attempt.link.claimed_at = Some(at(1100));
    let due = at(1600);
    attempt.obligation =
        Some(Obligation { cause: Cause::Retrieved, raised_at: at(1100), due, begun: None, stalled: None });
}

fn rotated_now(attempt: &mut Attempt) {
    claimed(attempt);
    let seen = "version 4 is current".to_owned();
    attempt.evidence = Some(Evidence { scope: Scope::Vault, by: By::Us, at: at(1700), seen });
}

fn stalled_now(attempt: &mut Attempt) {
    claimed(attempt);
    if let Some(owed) = &mut attempt.obligation {
        owed.stalled = Some(Stalled { since: at(1700), fault: fault(Class::Denied, "vault-denied") });
    }
}

#[test]
fn each_step_of_the_story_has_its_word_and_its_kstatus() {
    use Completion::{OnDelivered, OnRetrieved, OnRotated};
    type Step = (fn(&mut Attempt), &'static str, [&'static str; 3]);
    let steps: [Step; 14] = [
        (|a| a.mail = pending("me", 9), "Sending", ["FT-", "FT-", "FT-"]),
        (
            |a| {
                a.mail = MailState::Superseded;
                a.link.state = State::Revoked;
            },
            "Sending",
            ["FT-", "FT-", "FT-"],
        ),
        (|_| (), "Delivered", ["T--", "FT-", "FT-"]),
        (claimed, "Retrieved", ["T--", "T--", "FT-"]),
        (rotated_now, "Rotated", ["T--", "T--", "T--"]),
        (stalled_now, "Stalled: VaultDenied", ["F-T", "F-T", "F-T"]),
        (|a| a.link.state = State::Expired, "Expired", ["T--", "T--", "FT-"]),
        (
            |a| {
                a.link.state = State::Expired;
                a.terms.on_expiry = false;
            },
            "Expired",
            ["T--", "T--", "T--"],
        ),
        (|a| a.link.state = State::Revoked, "Revoked", ["T--", "T--", "FT-"]),
        (|a| a.link.state = State::Declined, "Declined", ["T--", "T--", "FT-"]),
        (|a| a.link.state = State::Locked, "Locked", ["T--", "T--", "FT-"]),
        (
            |a| {
                a.link.state = State::Revoked;
                a.link.tampered = Some(Tamper::Missing);
            },
            "Tampered",
            ["T--", "T--", "FT-"],
        ),
        (
            |a| {
                claimed(a);
                a.obligation.iter_mut().for_each(|o| o.begun = Some(Begun { at: at(1600), by: "me".into() }));
            },
            "Rotating",
            ["T--", "T--", "FT-"],
        ),
        (
            |a| {
                claimed(a);
                a.obligation = None;
                a.terms.strategy = Strategy::None;
            },
            "Retrieved",
            ["T--", "T--", "T--"],
        ),
    ];
    for (change, word, expected) in steps {
        for (completion, expected) in [OnDelivered, OnRetrieved, OnRotated].into_iter().zip(expected) {
            let status = Story { completion, change, ..Story::default() }.status();
            assert_eq!((status.summary.as_str(), kstatus(&status).as_str()), (word, expected), "{completion:?}");
        }
    }
}

#[test]
fn ready_says_what_was_reached_and_no_more() {
    let said = |completion, change| {
        let status = Story { completion, change, ..Story::default() }.status();
        status.conditions.into_iter().find(|c| c.r#type == "Ready" && c.status == "True").map(|c| c.message)
    };
    type Step = (Completion, fn(&mut Attempt), &'static str);
    let steps: [Step; 6] = [
        (Completion::OnDelivered, |_| (), "the mail was accepted"),
        (Completion::OnDelivered, |a| a.mail = MailState::Unknown { at: at(1001) }, "is not known"),
        (Completion::OnRetrieved, claimed, "the link was opened"),
        (Completion::OnRetrieved, |a| a.link.state = State::Expired, "nobody has opened it"),
        (Completion::OnRotated, rotated_now, "the delivered credential is dead"),
        (
            Completion::OnRotated,
            |a| {
                a.link.state = State::Expired;
                a.terms.strategy = Strategy::None;
            },
            "no rotation was asked for",
        ),
    ];
    for (completion, change, words) in steps {
        let message = said(completion, change);
        assert!(message.as_ref().is_some_and(|m| m.contains(words)), "{completion:?}: {message:?}");
    }
}

#[test]
fn what_stands_in_the_way_is_reconciling_if_it_may_heal_and_stalled_if_not() {
    let waits = |class| Story {
        note: Some(fault(class, "vault-sealed")),
        change: |a| a.mail = pending("me", 9),
        ..Story::default()
    };
    let transient = waits(Class::Transient).status();
    assert_eq!(kstatus(&transient), "FT-");
    assert_eq!(condition(&transient, "Ready"), Some(("False", "VaultSealed")));
    for class in [Class::Denied, Class::Misconfigured, Class::Permanent] {
        let stalled = waits(class).status();
        assert_eq!(
            (kstatus(&stalled).as_str(), condition(&stalled, "Stalled")),
            ("F-T", Some(("True", "VaultSealed")))
        );
    }
}

#[test]
fn rotated_is_true_only_with_evidence_and_says_how_far_it_reaches() {
    let of = |change| Story { change, ..Story::default() }.status();
    assert_eq!(condition(&of(|_| ()), "Rotated"), Some(("False", "NotDue")));
    assert_eq!(condition(&of(claimed), "Rotated"), Some(("False", "Due")));
    assert_eq!(condition(&of(stalled_now), "Rotated"), Some(("False", "Stalled")));
    assert_eq!(condition(&of(|a| a.terms.strategy = Strategy::None), "Rotated"), Some(("False", "NotRequested")));
    let proven = of(rotated_now);
    assert_eq!(condition(&proven, "Rotated"), Some(("True", "Proven")), "invariant 7");
    assert_eq!(proven.evidence.map(|e| (e.scope, e.by)), Some(("Vault".into(), "Us".into())));
    let said = proven.conditions.iter().find(|c| c.r#type == "Rotated").unwrap();
    assert!(said.message.contains("the target system was not told"), "{}", said.message);
}

#[test]
fn no_address_is_shown_in_full_and_times_are_rfc_3339() {
    let status = Story { change: rotated_now, ..Story::default() }.status();
    let text = serde_json::to_string(&status).unwrap();
    assert!(!text.contains("alice@"), "{text}");
    assert_eq!(status.recipient, "a…@vendor.example");
    assert_eq!(status.retrieved_at.as_deref(), Some("1970-01-01T00:18:20Z"));
    assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
}

#[test]
fn before_there_is_an_entry_it_is_taken_up() {
    let status = project(Some(&manifest(spec())), None, None, None, at(1));
    assert_eq!((status.summary.as_str(), kstatus(&status).as_str()), ("Accepted", "FT-"));
    assert!(status.conditions.iter().all(|c| c.observed_generation == 1));
}

#[test]
fn transition_times_stay_while_the_status_of_a_condition_does() {
    let old = Story::default().status();
    let mut new = Story { change: claimed, ..Story::default() }.status();
    for condition in &mut new.conditions {
        condition.last_transition_time = "later".into();
    }
    keep_transition_times(&mut new, &old);
    let time = |kind| new.conditions.iter().find(|c| c.r#type == kind).map(|c| c.last_transition_time.as_str());
    assert_eq!(time("Ready"), Some("1970-01-01T00:25:00Z"));
    assert_eq!(time("Retrieved"), Some("later"), "False became True");
}

#[test]
fn what_was_reached_before_does_not_count_for_what_is_asked_anew() {
    let mut delivered = attempt(accepted());
    rotated_now(&mut delivered);
    let mut entry = entry(vec![delivered]);
    entry.attempt = 1;
    let shown = |redeliver: Option<&str>, entry: &Entry, note: Option<&Fault>| {
        let spec = Spec { redeliver: redeliver.map(str::to_owned), ..spec() };
        project(Some(&manifest(spec)), Some(entry), note, None, at(1500))
    };
    let reached = |status: &Status| {
        ["Delivered", "Retrieved", "Rotated"].map(|kind| condition(status, kind).is_some_and(|(s, _)| s == "True"))
    };
    let before = shown(None, &entry, None);
    assert_eq!((kstatus(&before).as_str(), reached(&before)), ("T--", [true; 3]));
    // Asked for again, while Vault can't be reached.
    let down = fault(Class::Transient, "vault-unreachable");
    let asked = shown(Some("2"), &entry, Some(&down));
    assert_eq!((kstatus(&asked).as_str(), reached(&asked), asked.summary.as_str()), ("FT-", [false; 3], "Accepted"));
    let told = asked.conditions.iter().find(|c| c.r#type == "Rotated").unwrap();
    assert!(told.reason == "NotSent" && told.message.contains("version 4 is current"), "{}", told.message);
    // What is still owed for the earlier one is told on.
    claimed(&mut entry.attempts[0]);
    entry.attempts[0].evidence = None;
    let owed = shown(Some("2"), &entry, None);
    assert_eq!((condition(&owed, "Rotated"), owed.summary.as_str()), (Some(("False", "Due")), "Retrieved"));
    entry.redeliver_handled = Some("2".into());
    assert_eq!(reached(&shown(Some("2"), &entry, None)), [true, true, false]);
}

#[test]
fn a_redeliver_that_was_answered_and_taken_away_asks_for_nothing() {
    let told = |redeliver: Option<&str>| {
        let mut entry = entry(vec![attempt(accepted())]);
        entry.redeliver_handled = Some("2".into());
        let spec = crate::delivery::Spec { redeliver: redeliver.map(str::to_owned), ..spec() };
        kstatus(&project(Some(&manifest(spec)), Some(&entry), None, Some(at(9000)), at(1500)))
    };
    assert_eq!([told(None), told(Some("2")), told(Some("3"))], ["T--", "T--", "FT-"]);
}
