//! Acts on link records: withdraw, end, void, supersede.

use ps_core::decide::absorb::believe;
use ps_core::decide::after;
use ps_core::entry::{Attempt, Entry, MailState};
use ps_core::error::Class;
use ps_core::ids::Key;
use ps_core::link::{Command, Link, Record, apply};
use ps_core::ports::CasError;

use super::{Trip, attempt_of, stored};
use crate::controller::Controller;
use crate::observe::View;

/// How often a record that somebody writes at the same time is tried in one act.
const RACES: u32 = 16;

impl Controller {
    pub(super) async fn revoke(&self, key: &Key, attempt: &Attempt) -> Result<(), Trip> {
        self.command(key, attempt, &Command::Revoke).await
    }

    pub(super) async fn settle(&self, key: &Key, attempt: &Attempt) -> Result<(), Trip> {
        self.command(key, attempt, &Command::Settle).await
    }

    pub(super) async fn lock(&self, key: &Key, attempt: &Attempt) -> Result<(), Trip> {
        self.command(key, attempt, &Command::Lock).await
    }

    pub(super) async fn command(&self, key: &Key, attempt: &Attempt, command: &Command) -> Result<(), Trip> {
        let (number, id) = (attempt.number, attempt.record);
        let Some(before) = stored(number, self.ports.store.get(id).await)? else { return Ok(()) };
        let Some(link) = before.value.link() else { return Ok(()) };
        if believe(attempt, Some(&before.value), self.now()).is_err() {
            // Altered since it was decided on: the next decision finds that.
            return Err(Trip::Lost);
        }
        if let Some(next) = apply(link, command, self.now()).next {
            stored(number, self.ports.store.replace(&Record::Link(Box::new(next)), before.version).await)?;
            self.desk.unblock_record(key, number);
        }
        Ok(())
    }

    /// Overwrites whatever is under the id.
    pub(super) async fn void(&self, key: &Key, attempt: &Attempt) -> Result<(), Trip> {
        self.void_if(key, attempt, |_| true).await.map(|_| ())
    }

    /// Takes the attempt over, puts the tombstone, then writes down that it is given up (invariant 5): whoever still
    /// holds the message can then mail a dead link only. Taking it over proves that the decision still holds: without it,
    /// an owner that was slow rather than dead could have its mail accepted, or refused, between decision and tombstone.
    /// A record that somebody claimed meanwhile is left: it counts as delivered.
    pub(super) async fn supersede(&self, key: &Key, view: &View, number: u32, reason: &str) -> Result<(), Trip> {
        let (Some(entry), attempt) = (view.entry(), attempt_of(view, number)?) else { return Err(Trip::Lost) };
        self.persist(view, &after::still_pending(entry, number, &self.settings.me, self.now())).await?;
        let nobody_had_it = |link: &Link| link.claim.is_none() && link.decline.is_none();
        if !self.void_if(key, attempt, nobody_had_it).await? {
            return Err(Trip::Lost);
        }
        self.desk.drop_held(key);
        let now = self.now();
        let pending = |e: &Entry| e.attempt(number).is_some_and(|a| matches!(a.mail, MailState::Pending { .. }));
        self.update(key, |e| pending(e).then(|| after::superseded(e, number, reason, now))).await
    }

    /// Whether the id is void now; `false` if `may` said no to the link that is there.
    async fn void_if(&self, key: &Key, attempt: &Attempt, may: impl Fn(&Link) -> bool) -> Result<bool, Trip> {
        let (number, id) = (attempt.number, attempt.record);
        let void = Record::Void { id };
        for _ in 0..RACES {
            let before = match self.ports.store.get(id).await {
                Ok(before) => before,
                // Bytes that are no record: somebody with write access to the store left them.
                Err(CasError::Failed(fault)) if fault.class == Class::Permanent => {
                    stored(number, self.ports.store.purge(id).await)?;
                    continue;
                }
                Err(error) => return stored(number, Err(error)),
            };
            let done = match &before {
                None => self.ports.store.insert(&void).await,
                Some(found) => match found.value.link() {
                    None => return Ok(true),
                    Some(link) if !may(link) => return Ok(false),
                    Some(_) => self.ports.store.replace(&void, found.version).await,
                },
            };
            match done {
                Ok(_) => {
                    self.desk.unblock_record(key, number);
                    return Ok(true);
                }
                Err(CasError::AlreadyExists | CasError::Conflict) => {}
                Err(error) => return stored(number, Err(error)),
            }
        }
        // Whoever writes it again and again must not hold a worker here.
        Err(Trip::Lost)
    }
}
