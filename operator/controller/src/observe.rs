//! Gathers what a decision may know. Reads only.

use std::collections::BTreeMap;

use ps_core::decide::{Observation, Sibling};
use ps_core::delivery::Manifest;
use ps_core::entry::{Attempt, Entry, RotatedFirst};
use ps_core::error::Class;
use ps_core::ids::Key;
use ps_core::ports::{CasError, Versioned, is_lease_over};

use crate::act::{Trip, pending_of};
use crate::controller::Controller;

/// One look at one delivery.
pub(crate) struct View {
    pub(crate) manifest: Option<Manifest>,
    pub(crate) entry: Option<Versioned<Entry>>,
    pub(crate) obs: Observation,
}

impl View {
    pub(crate) fn entry(&self) -> Option<&Entry> {
        self.entry.as_ref().map(|e| &e.value)
    }
}

impl Controller {
    pub(crate) async fn observe(&self, key: &Key) -> Result<View, Trip> {
        let (manifest, blind) = match self.ports.manifests.get(key).await {
            Ok(manifest) => (manifest, None),
            Err(fault) => (None, Some(fault)),
        };
        let entry = match self.ports.ledger.get(key).await? {
            // A stamp is evidence of an entry: nobody is told that it is lost for being a moment behind.
            None if manifest.as_ref().is_some_and(|m| m.stamp.is_some()) => self.ports.ledger.get_latest(key).await?,
            entry => entry,
        };
        let blind = match &entry {
            Some(known) if manifest.is_none() && blind.is_none() && !known.value.removed => {
                self.ports.manifests.confirm_gone(key).await.err()
            }
            _ => blind,
        };
        if let Some(fault) = blind.as_ref().filter(|fault| is_lease_over(fault)) {
            return Err(Trip::Manifests(fault.clone()));
        }
        let mut obs = self.base_observation();
        self.desk.describe(key, &mut obs);
        obs.blind = blind;
        // A message whose attempt somebody else gave up is of no use any more, and it holds `S` (invariant 2).
        let mine = |number| entry.as_ref().is_some_and(|e| pending_of(&e.value, number, &obs.me));
        if obs.held.is_some_and(|held| !mine(held.attempt)) {
            self.desk.drop_held(key);
            obs.held = None;
        }
        if let Some(entry) = &entry {
            obs.on_trail = self.desk.count_on_trail(key, &entry.value.outbox);
            for attempt in entry.value.attempts.iter().filter(|a| !a.forgotten) {
                let record = match self.ports.store.get(attempt.record).await {
                    Ok(record) => record.map(|r| r.value),
                    // Bytes that are no record are as good as none: a gateway that was taken over wrote them.
                    Err(CasError::Failed(fault)) if fault.class == Class::Permanent => None,
                    // What can't be read is left out: nothing is concluded from it, and what is owed goes on.
                    Err(CasError::Failed(fault)) => {
                        self.desk.block_store(fault, self.now(), self.jitter());
                        self.desk.describe(key, &mut obs);
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
                obs.records.insert(attempt.number, record);
            }
            obs.siblings = self.siblings(&entry.value).await?;
        }
        Ok(View { manifest, entry, obs })
    }

    /// Other deliveries' attempts on the sources of those attempts of ours that still matter.
    async fn siblings(&self, entry: &Entry) -> Result<Vec<Sibling>, Trip> {
        let mut sources = BTreeMap::new();
        for attempt in
            entry.attempts.iter().filter(|a| a.evidence.is_none() && (a.link_is_live() || a.obligation.is_some()))
        {
            sources.insert(attempt.source_key, ());
        }
        let mut found = Vec::new();
        for source in sources.keys() {
            for other in self.ports.ledger.by_source(source).await? {
                if other.key != entry.key {
                    let attempts = other.attempts.iter().map(|a| sibling(&other.key, a));
                    let first = other.rotated_first.iter().map(|first| about_to_begin(&other.key, first));
                    found.extend(attempts.chain(first).filter(|s| s.source_key == *source));
                }
            }
        }
        Ok(found)
    }
}

fn sibling(key: &Key, attempt: &Attempt) -> Sibling {
    Sibling {
        key: key.clone(),
        source_key: attempt.source_key,
        promised_until: attempt.promised_until().filter(|_| attempt.evidence.is_none()),
        dead_at: attempt.evidence.as_ref().map(|e| e.at),
        identity: attempt.identity.clone(),
        begun_at: attempt.begun_at,
        rotating: attempt.obligation.as_ref().filter(|_| attempt.evidence.is_none()).and_then(|o| o.begun.clone()),
    }
}

/// A delivery whose source is rotated before its attempt begins.
fn about_to_begin(key: &Key, first: &RotatedFirst) -> Sibling {
    Sibling {
        key: key.clone(),
        source_key: first.source_key,
        promised_until: None,
        dead_at: None,
        identity: first.identity.clone(),
        begun_at: first.begun.at,
        rotating: Some(first.begun.clone()),
    }
}
