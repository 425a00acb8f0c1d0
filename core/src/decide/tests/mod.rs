//! Decisions one at a time: what a situation calls for, beside the simulated world that plays whole stories.

mod absorb;
mod bench;
mod blocked;
mod cheats;
mod deliver;
mod links;
mod owed;
mod sign_ins;
mod step;
mod tie;
mod verify;

use super::*;
use crate::delivery::*;
use crate::entry::{Attempt, LinkFacts, MailState, Terms};
use crate::link::sample::{self, at};
use crate::link::{Record, State};

pub(crate) fn key() -> Key {
    Key::new("default", "app")
}

pub(crate) fn stamp() -> Stamp {
    Stamp::new(&key(), [1; 16])
}

pub(crate) fn spec() -> Spec {
    Spec {
        recipient: Recipient { email: "alice@vendor.example".into(), name: None, locale: None },
        connection: ConnectionRef::namespaced("default", "vault"),
        source: Source::DatabaseStatic { mount: "db".into(), role: "app".into() },
        fields: vec![],
        context: Context::default(),
        sender: String::new(),
        ttl: Span::from_secs(1000),
        claim_window: Span::from_secs(100),
        deliver_before: None,
        passphrase: None,
        email_code: false,
        oidc: false,
        rotation: RotationSpec {
            strategy: Strategy::RotateRole,
            after_retrieval: Span::from_secs(500),
            on_expiry: true,
            on_revocation: true,
            on_locked: true,
            on_source_rotated: OnSourceRotated::Stall,
            before_delivery: false,
            keys: vec!["password".into()],
            password_policy: None,
        },
        notify: Some(Notify { email: "sender@example.com".into(), on: vec![NoticeKind::Retrieved] }),
        completion: Completion::OnDelivered,
        redeliver: None,
        on_recreate: OnRecreate::Hold,
        revoked: false,
    }
}

/// The manifest that the entry is tied to.
pub(crate) fn manifest(spec: Spec) -> Manifest {
    let spec = Ok(Box::new(spec));
    Manifest { key: key(), uid: "u1".into(), generation: 1, stamp: Some(stamp()), deleting: false, let_go: false, spec }
}

pub(crate) fn accepted() -> MailState {
    MailState::Accepted { at: at(1001) }
}

pub(crate) fn pending(owner: &str, until: i64) -> MailState {
    MailState::Pending { owner: owner.into(), until: at(until) }
}

/// An attempt of [`sample::link`], of the password with tag 1 as rotated at 500 s.
pub(crate) fn attempt(mail: MailState) -> Attempt {
    let spec = spec();
    Attempt {
        number: 1,
        record: sample::ID,
        digest: sample::link(&[]).sealed.digest(),
        connection: spec.connection.clone(),
        resolved: None,
        source: spec.source.clone(),
        source_key: Digest([7; 32]),
        identity: Identity::Static { rotated: at(500) },
        tags: Tags::from([("password".into(), 1)]),
        release: None,
        verify: None,
        recipient_digest: spec.recipient_digest(),
        source_digest: spec.source_digest(),
        terms: Terms {
            expires_at: at(2000),
            not_after: at(3000),
            claim_window: spec.claim_window,
            strategy: spec.rotation.strategy,
            keys: spec.rotation.keys.clone(),
            password_policy: None,
            after_retrieval: spec.rotation.after_retrieval,
            on_expiry: true,
            on_revocation: true,
            on_locked: true,
            on_source_rotated: OnSourceRotated::Stall,
            notify: spec.notify.clone(),
            recipient: spec.recipient.masked(),
        },
        mail,
        message_id: "m@example.com".into(),
        begun_at: at(1000),
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

/// An entry whose events are on the trail already.
pub(crate) fn entry(attempts: Vec<Attempt>) -> Entry {
    let mut entry = Entry::new(key(), "u1".into(), stamp(), at(900));
    entry.outbox.clear();
    entry.attempt = attempts.last().map_or(0, |a| a.number);
    entry.attempts = attempts;
    entry
}

/// What an operator called `me`, started at 800 s, sees if every record is as it was put.
pub(crate) fn seen(entry: &Entry) -> Observation {
    let record = || Some(Record::Link(Box::new(sample::link(&[]))));
    Observation {
        me: "me".into(),
        started_at: at(800),
        mail_hold: Span::from_secs(900),
        records: entry.attempts.iter().filter(|a| !a.forgotten).map(|a| (a.number, record())).collect(),
        ..Observation::default()
    }
}

pub(crate) fn with_record(entry: &Entry, record: Option<Record>) -> Observation {
    Observation { records: BTreeMap::from([(1, record)]), ..seen(entry) }
}

pub(crate) fn decided(spec: Spec, entry: &Entry, obs: &Observation, secs: i64) -> Decision {
    decide(Some(&manifest(spec)), Some(entry), obs, at(secs))
}

/// The entry that a decision writes.
pub(crate) fn written(decision: Decision) -> Entry {
    let Action::Persist(next) = decision.action else { panic!("{:?}", decision.action) };
    *next
}

pub(crate) fn code(decision: &Decision) -> &str {
    decision.note.as_ref().map_or("", |fault| fault.code.as_str())
}

pub(crate) fn fault(class: Class, code: &str) -> Fault {
    Fault::new(class, code, "it does not work")
}

pub(crate) fn trouble(class: Class, since: i64, until: i64) -> Trouble {
    Trouble { fault: fault(class, "vault-down"), since: at(since), until: at(until), generation: 1 }
}

#[test]
fn nothing_is_decided_about_nothing() {
    let decision = decide(None, None, &Observation::default(), at(1));
    assert_eq!((decision.action, decision.wake), (Action::Rest, None));
}
