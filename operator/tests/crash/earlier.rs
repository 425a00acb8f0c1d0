//! What ledgers and trails were before: a month old, or set back.

use std::path::Path;

use ps_audit::{FileTrail, Mirror};
use ps_core::audit::{Event, EventKind, Writer};
use ps_core::entry::{Entry, MailState};
use ps_core::ids::Key;
use ps_core::ports::AuditSink as _;
use ps_core::time::{Span, Timestamp};
use ps_operator::clock::now;

/// Longer than an entry outlives its last duty.
const AGE: Span = Span::from_secs(31 * 86_400);

/// The same entry, a month older. What the credential was stays what Vault says.
pub fn aged(mut entry: Entry) -> Entry {
    let age = |at: &mut Timestamp| *at = *at - AGE;
    age(&mut entry.created_at);
    for attempt in &mut entry.attempts {
        age(&mut attempt.begun_at);
        age(&mut attempt.terms.expires_at);
        age(&mut attempt.terms.not_after);
        attempt.link.claimed_at.iter_mut().for_each(age);
        attempt.link.ended_at.iter_mut().for_each(age);
        if let MailState::Accepted { at } = &mut attempt.mail {
            age(at);
        }
        if let Some(obligation) = &mut attempt.obligation {
            age(&mut obligation.raised_at);
            age(&mut obligation.due);
            obligation.begun.iter_mut().for_each(|begun| age(&mut begun.at));
        }
        if let Some(evidence) = &mut attempt.evidence {
            age(&mut evidence.at);
        }
    }
    entry
}

/// The audit trail of this ledger tells that a delivery `gone` was accepted, which a ledger from before that does not know.
pub async fn tell_of_more(trail: &Path, ledger_id: &str) {
    let event = Event {
        delivery: Key::new("default", "gone"),
        incarnation: "0123456789abcdef".into(),
        attempt: 0,
        writer: Writer::Operator,
        seq: 0,
        at: now(),
        kind: EventKind::Accepted,
        reason: "first seen".into(),
        facts: std::collections::BTreeMap::new(),
    };
    FileTrail::open(trail, ledger_id, Mirror::None).unwrap().append(&[event]).await.unwrap();
}
