//! Performs one decision through the ports. Every choice was made by [`ps_core::decide`]; here is only order:
//! persist, then act, then write down what came of it, each as a compare-and-swap.

mod issue;
mod links;
mod seal;
mod verify;
mod via;

use ps_core::decide::{Action, Decision, after};
use ps_core::delivery::ConnectionRef;
use ps_core::entry::{Attempt, Entry, Hold, Notice, RevokeCause};
use ps_core::error::{Class, Fault};
use ps_core::ids::{Key, Stamp};
use ps_core::ports::{CasError, Connection, MailError};
use ps_core::rotation::Step;

pub(crate) use issue::pending_of;
use via::Ask;

use crate::controller::Controller;
use crate::observe::View;

/// Why an act did not come to its end.
#[derive(Debug)]
pub(crate) enum Trip {
    /// Somebody else was first: look again.
    Lost,
    /// The mail server.
    Mail(Fault),
    /// The identity provider.
    Identity(Fault),
    /// Vault, through this connection, for this attempt.
    Vault { connection: Box<ConnectionRef>, attempt: u32, fault: Fault },
    /// This delivery alone.
    Delivery { attempt: u32, fault: Fault },
    /// The mail server, which would not take one message for now: others of this delivery wait a little.
    Deferred(Fault),
    /// The links store: links stay as they are for a while, what is owed is done.
    Store(Fault),
    /// The record of one attempt, for good: that link stays as it is for a while.
    Record { attempt: u32, fault: Fault },
    /// The ledger.
    Storage(Fault),
    /// The source of manifests.
    Manifests(Fault),
    /// The audit trail.
    Audit(Fault),
}

impl Trip {
    /// Whether the delivery can be decided on: the trouble is part of the next observation.
    pub(crate) const fn goes_on(&self) -> bool {
        matches!(
            self,
            Self::Mail(_)
                | Self::Deferred(_)
                | Self::Audit(_)
                | Self::Identity(_)
                | Self::Store(_)
                | Self::Record { .. }
                | Self::Vault { .. }
                | Self::Delivery { .. }
        )
    }

    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Lost => Fault::new(Class::Transient, "lost-race", "somebody else was first"),
            Self::Mail(fault)
            | Self::Deferred(fault)
            | Self::Identity(fault)
            | Self::Store(fault)
            | Self::Record { fault, .. }
            | Self::Vault { fault, .. }
            | Self::Delivery { fault, .. }
            | Self::Storage(fault)
            | Self::Manifests(fault)
            | Self::Audit(fault) => fault.clone(),
        }
    }
}

impl From<MailError> for Trip {
    fn from(error: MailError) -> Self {
        match error {
            MailError::Deferred(fault) => Self::Deferred(fault),
            MailError::NotSent(fault) | MailError::Refused(fault) | MailError::Unknown(fault) => Self::Mail(fault),
        }
    }
}

impl Controller {
    pub(crate) async fn act(&self, key: &Key, view: &View, decision: &Decision) -> Result<(), Trip> {
        match &decision.action {
            Action::Rest => Ok(()),
            Action::Create => self.create(key, view).await,
            Action::Stamp(stamp) => {
                let uid = view.manifest.as_ref().map_or("", |m| m.uid.as_str());
                self.ports.manifests.put_stamp(key, uid, stamp).await.map_err(Trip::Manifests)
            }
            Action::Persist(entry) => self.persist(view, entry).await,
            Action::Issue(order) => self.issue(key, view, order).await,
            Action::SendHeld(attempt) => self.send_held(key, *attempt).await,
            Action::Supersede(attempt) => self.supersede(key, view, *attempt, &decision.reason).await,
            Action::Revoke(attempt) => self.revoke(key, attempt_of(view, *attempt)?).await,
            Action::Void(attempt) => self.void(key, attempt_of(view, *attempt)?).await,
            Action::Settle(attempt) => self.settle(key, attempt_of(view, *attempt)?).await,
            Action::MailCode(order) => self.mail_code(key, view, *order).await,
            Action::CheckSignIn(order) => self.check_sign_in(key, view, *order).await,
            Action::Judge(attempt) => self.judge(key, attempt_of(view, *attempt)?).await,
            Action::Lock(attempt) => self.lock(key, attempt_of(view, *attempt)?).await,
            Action::Observe(attempt) => self.look(key, attempt_of(view, *attempt)?).await,
            Action::Rotate { attempt, step } => self.rotate(key, attempt_of(view, *attempt)?, step).await,
            Action::Notify(notice) => self.notify(key, notice).await,
            Action::FlushAudit => self.flush(key, view).await,
            Action::DeleteRecord(attempt) => self.delete_record(key, view, attempt_of(view, *attempt)?).await,
            Action::Release => {
                let uid = view.manifest.as_ref().map_or("", |m| m.uid.as_str());
                self.ports.manifests.release(key, uid).await.map_err(Trip::Manifests)
            }
            Action::Forget => self.forget(key, view).await,
        }
    }

    /// An entry for an object that has none yet, with a fresh stamp.
    pub(crate) fn fresh_entry(&self, key: &Key, view: &View) -> Result<Entry, Trip> {
        let Some(manifest) = &view.manifest else { return Err(Trip::Lost) };
        let mut random = [0_u8; 16];
        self.ports.random.fill(&mut random).map_err(Trip::Storage)?;
        Ok(Entry::new(key.clone(), manifest.uid.clone(), Stamp::new(key, random), self.now()))
    }

    pub(crate) async fn create(&self, key: &Key, view: &View) -> Result<(), Trip> {
        self.insert(&self.fresh_entry(key, view)?).await
    }

    async fn insert(&self, entry: &Entry) -> Result<(), Trip> {
        self.ports.ledger.insert(entry).await?;
        self.log.wrote(None, entry);
        Ok(())
    }

    async fn persist(&self, view: &View, entry: &Entry) -> Result<(), Trip> {
        let Some(before) = &view.entry else { return Err(Trip::Lost) };
        if is_for_a_restore(&before.value, entry) {
            self.confirm_restored().await?;
        }
        let entry = &self.without_known_events(entry.clone());
        self.ports.ledger.replace(entry, before.version).await?;
        for attempt in entry.attempts.iter().filter(|a| a.evidence.is_some()) {
            self.desk.proven(&attempt.source_key);
        }
        self.log.wrote(Some(&before.value), entry);
        Ok(())
    }

    /// Writes down what came of an effect: `change` answers `None` where the entry has moved on and it no longer applies.
    pub(crate) async fn update(&self, key: &Key, change: impl Fn(&Entry) -> Option<Entry>) -> Result<(), Trip> {
        loop {
            let Some(before) = self.ports.ledger.get(key).await? else { return Err(Trip::Lost) };
            let Some(next) = change(&before.value) else { return Err(Trip::Lost) };
            let next = self.without_known_events(next);
            match self.ports.ledger.replace(&next, before.version).await {
                Ok(_) => {
                    self.log.wrote(Some(&before.value), &next);
                    return Ok(());
                }
                Err(CasError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The entry without the events that are on the audit trail: every write drops them.
    pub(crate) fn without_known_events(&self, mut entry: Entry) -> Entry {
        let count = self.desk.count_on_trail(&entry.key, &entry.outbox);
        if count > 0 {
            entry = after::flushed(&entry, count);
        }
        entry
    }

    pub(crate) async fn connect(&self, name: &ConnectionRef, attempt: u32) -> Result<Connection, Trip> {
        self.ports.connections.resolve(name).await.map_err(|fault| Trip::Delivery { attempt, fault })
    }

    pub(crate) fn vault_trip(&self, name: &ConnectionRef, attempt: u32) -> impl Fn(Fault) -> Trip {
        let connection = Box::new(name.clone());
        move |fault| Trip::Vault { connection: connection.clone(), attempt, fault }
    }

    async fn look(&self, key: &Key, attempt: &Attempt) -> Result<(), Trip> {
        let sight = self.as_whoever_can(attempt, Ask::Look).await?;
        self.desk.unblock(&attempt.connection);
        self.desk.succeed(key, attempt.number);
        if let Some(sight) = sight {
            self.desk.saw(key, attempt.number, sight);
        }
        Ok(())
    }

    async fn rotate(&self, key: &Key, attempt: &Attempt, step: &Step) -> Result<(), Trip> {
        let seen = self.desk.seen_at(key, attempt.number);
        let turn = self.desk.begin_step(attempt.source_key, step, seen, self.now());
        // Whatever comes back, it may have happened: the next decision starts from a new look.
        self.desk.forget_sight(key, attempt.number);
        let _under_way = turn.map_err(|fault| Trip::Delivery { attempt: attempt.number, fault })?;
        self.as_whoever_can(attempt, Ask::Step(step)).await?;
        self.desk.unblock(&attempt.connection);
        self.desk.succeed(key, attempt.number);
        Ok(())
    }

    async fn notify(&self, key: &Key, notice: &Notice) -> Result<(), Trip> {
        let mail = self.notice_mail(key, notice).await?;
        let now = self.now();
        let mut answer = self.ports.mailer.send_notice(&mail).await;
        if let Err(MailError::Unknown(_)) = &answer {
            // The same message once more, under the same Message-ID.
            answer = self.ports.mailer.send_notice(&mail).await;
        }
        match answer {
            // Twice unknown counts as told: a mail server that never answers must not repeat it for ever.
            Ok(()) | Err(MailError::Unknown(_)) => {
                self.desk.mailed(key);
                self.update(key, |e| Some(after::notified(e, notice, now))).await
            }
            Err(MailError::Refused(fault)) => {
                self.update(key, |e| Some(after::notice_refused(e, notice, &fault, now))).await
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn flush(&self, key: &Key, view: &View) -> Result<(), Trip> {
        let Some(entry) = view.entry() else { return Err(Trip::Lost) };
        let known = view.obs.on_trail.min(entry.outbox.len());
        let due = entry.outbox.get(known..).unwrap_or_default();
        self.ports.audit.append(due).await.map_err(Trip::Audit)?;
        self.desk.unblock_audit();
        self.desk.on_trail(key, &entry.outbox);
        Ok(())
    }

    async fn delete_record(&self, key: &Key, view: &View, attempt: &Attempt) -> Result<(), Trip> {
        let found = match self.ports.store.get(attempt.record).await {
            Err(CasError::Failed(fault)) if fault.class == Class::Permanent => {
                stored(attempt.number, self.ports.store.purge(attempt.record).await)?;
                None
            }
            found => stored(attempt.number, found)?,
        };
        if let Some(record) = found {
            // Only what was read may go: a dispute, or a forgery, that came since is looked at first.
            let read = view.obs.records.get(&attempt.number).and_then(Option::as_ref);
            if read != Some(&record.value) {
                return Err(Trip::Lost);
            }
            stored(attempt.number, self.ports.store.delete(attempt.record, record.version).await)?;
        }
        self.desk.unblock_record(key, attempt.number);
        self.update(key, |e| Some(after::record_deleted(e, attempt.number))).await
    }

    async fn forget(&self, key: &Key, view: &View) -> Result<(), Trip> {
        let Some(entry) = &view.entry else { return Err(Trip::Lost) };
        self.ports.ledger.delete(key, entry.version).await?;
        self.desk.forget(key);
        Ok(())
    }
}

/// A store's answer about the record of an attempt: somebody else was first, that record can't be had or written, or the
/// store itself failed.
fn stored<T>(attempt: u32, answer: Result<T, CasError>) -> Result<T, Trip> {
    answer.map_err(|error| match error {
        CasError::Failed(fault) if fault.class == Class::Permanent => Trip::Record { attempt, fault },
        CasError::Failed(fault) => Trip::Store(fault),
        CasError::AlreadyExists | CasError::Conflict => Trip::Lost,
    })
}

/// Whether a write withdraws a link, or holds a delivery, because a restore was noticed.
fn is_for_a_restore(before: &Entry, next: &Entry) -> bool {
    let links = |e: &Entry| e.attempts.iter().filter(|a| a.link.revoke == Some(RevokeCause::Restored)).count();
    let held = |e: &Entry| matches!(e.hold, Some(Hold::Restored | Hold::RestoredUnread));
    links(next) > links(before) || (held(next) && !held(before))
}

fn attempt_of(view: &View, number: u32) -> Result<&Attempt, Trip> {
    view.entry().and_then(|e| e.attempt(number)).ok_or(Trip::Lost)
}
