//! Acts on link records: withdraw, end, void, supersede.

use ps_core::decide::after;
use ps_core::entry::{Attempt, Entry, MailState};
use ps_core::error::Class;
use ps_core::ids::{Key, LinkId};
use ps_core::link::{Command, Link, Record, apply};
use ps_core::ports::CasError;

use super::{Trip, attempt_of, stored};
use crate::controller::Controller;
use crate::observe::View;

impl Controller {
    pub(super) async fn revoke(&self, attempt: &Attempt) -> Result<(), Trip> {
        self.command(attempt.record, &Command::Revoke).await
    }

    pub(super) async fn settle(&self, attempt: &Attempt) -> Result<(), Trip> {
        self.command(attempt.record, &Command::Settle).await
    }

    pub(super) async fn lock(&self, attempt: &Attempt) -> Result<(), Trip> {
        self.command(attempt.record, &Command::Lock).await
    }

    pub(super) async fn command(&self, id: LinkId, command: &Command) -> Result<(), Trip> {
        let Some(before) = stored(self.ports.store.get(id).await)? else { return Ok(()) };
        let Some(link) = before.value.link() else { return Ok(()) };
        if let Some(next) = apply(link, command, self.now()).next {
            stored(self.ports.store.replace(&Record::Link(Box::new(next)), before.version).await)?;
            self.desk.unblock_store();
        }
        Ok(())
    }

    /// Overwrites whatever is under the id.
    pub(super) async fn void(&self, id: LinkId) -> Result<(), Trip> {
        self.void_if(id, |_| true).await.map(|_| ())
    }

    /// Takes the attempt over, puts the tombstone, then writes down that it is given up (invariant 5): whoever still
    /// holds the message can then mail a dead link only. Taking it over proves that the decision still holds: without it,
    /// an owner that was slow rather than dead could have its mail accepted, or refused, between decision and tombstone.
    /// A record that somebody claimed meanwhile is left: it counts as delivered.
    pub(super) async fn supersede(&self, key: &Key, view: &View, number: u32, reason: &str) -> Result<(), Trip> {
        let (Some(entry), attempt) = (view.entry(), attempt_of(view, number)?) else { return Err(Trip::Lost) };
        self.persist(view, &after::still_pending(entry, number, &self.settings.me, self.now())).await?;
        let nobody_had_it = |link: &Link| link.claim.is_none() && link.decline.is_none();
        if !self.void_if(attempt.record, nobody_had_it).await? {
            return Err(Trip::Lost);
        }
        self.desk.drop_held(key);
        let now = self.now();
        let pending = |e: &Entry| e.attempt(number).is_some_and(|a| matches!(a.mail, MailState::Pending { .. }));
        self.update(key, |e| pending(e).then(|| after::superseded(e, number, reason, now))).await
    }

    /// Whether the id is void now; `false` if `may` said no to the link that is there.
    async fn void_if(&self, id: LinkId, may: impl Fn(&Link) -> bool) -> Result<bool, Trip> {
        let void = Record::Void { id };
        loop {
            let before = match self.ports.store.get(id).await {
                Ok(before) => before,
                // Bytes that are no record: somebody with write access to the store left them.
                Err(CasError::Failed(fault)) if fault.class == Class::Permanent => {
                    stored(self.ports.store.purge(id).await)?;
                    continue;
                }
                Err(error) => return stored(Err(error)),
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
                    self.desk.unblock_store();
                    return Ok(true);
                }
                Err(CasError::AlreadyExists | CasError::Conflict) => {}
                Err(error) => return stored(Err(error)),
            }
        }
    }
}
