//! What one look leads to: writes of the entry that follow each other, with nothing done in between, are one write; and where
//! the next thing would be a look at a source, it may come before the write, so that what it shows goes with it.

use std::collections::BTreeSet;

use super::{Action, Decision, Observation, decide};
use crate::delivery::Manifest;
use crate::entry::{Attempt, Entry};
use crate::ids::Digest;
use crate::time::{Span, Timestamp};

/// More writes than can follow each other.
const MOST: usize = 8;
/// A look comes before a write only where the last one is older: whatever else asks for looks, what was learned is written.
const LOOKED: Span = Span::from_secs(2);

/// As [`decide`], for a controller that performs the answer. Total and pure.
#[must_use]
pub fn step(manifest: Option<&Manifest>, entry: Option<&Entry>, obs: &Observation, now: Timestamp) -> Decision {
    let mut decision = decide(manifest, entry, obs, now);
    let Some(before) = entry else { return decision };
    for _ in 0..MOST {
        let Action::Persist(after) = &decision.action else { return decision };
        // The observation was made for the sources of before.
        if !sources(after).is_subset(&sources(before)) {
            return decision;
        }
        let next = decide(manifest, Some(after), obs, now);
        let reason = format!("{}; {}", decision.reason, next.reason);
        match next.action {
            Action::Persist(_) => decision = Decision { reason, ..next },
            Action::Observe(attempt) if waits(before, after) && !looked(obs, attempt, now) => {
                return Decision { reason, ..next };
            }
            _ => return decision,
        }
    }
    decision
}

/// The sources whose other deliveries an observation tells of.
fn sources(entry: &Entry) -> BTreeSet<Digest> {
    let matter = |a: &&Attempt| a.evidence.is_none() && (a.link_is_live() || a.obligation.is_some());
    entry.attempts.iter().filter(matter).map(|a| a.source_key).collect()
}

/// Whether what is to be written changes nothing that is owed, sent or withdrawn: a record tells it as well, until then.
fn waits(before: &Entry, after: &Entry) -> bool {
    let weighs = |e: &Entry| {
        let attempt = |a: &Attempt| {
            let link = &a.link;
            (a.obligation.clone(), a.evidence.clone(), a.mail.clone(), link.claimed_at, link.revoke, link.tampered)
        };
        (e.removed, e.hold, e.again, e.uid.clone(), e.attempts.iter().map(attempt).collect::<Vec<_>>())
    };
    weighs(before) == weighs(after)
}

fn looked(obs: &Observation, attempt: u32, now: Timestamp) -> bool {
    obs.sights.get(&attempt).is_some_and(|sight| now < sight.at + LOOKED)
}
