//! What happens next to one delivery: `(manifest, entry, observation, now) → decision`. Total and pure.
//!
//! A decision is one action with all its parameters, the reason in words, and when to look again. Whoever performs it
//! persists before each outside effect and comes back for the next decision; nothing is decided while acting.
//!
//! | file | question |
//! |---|---|
//! | [`absorb`] | what do the records tell that the entry does not know yet? |
//! | `tie` | does this object belong to this entry? |
//! | `links` | which links must end now? |
//! | `verify` | what do recipients ask for: a code by mail, a verdict? |
//! | `owed` | which rotation is due, and what is its next step? |
//! | `deliver` | must something be sent? |
//! | [`after`] | what is written down after an effect |
//! | [`step`] | which of these go together |

pub mod absorb;
pub mod after;
mod deliver;
mod first;
mod links;
mod owed;
mod step;
mod tie;
mod verify;

use std::collections::BTreeMap;

use crate::delivery::{ConnectionRef, Identity, Manifest, SourceSight, Spec};
use crate::entry::{Entry, Notice};
use crate::error::{Class, Fault};
use crate::ids::{Digest, Key, Stamp};
use crate::link::Record;
use crate::rotation::Begun;
use crate::rotation::Step;
use crate::time::{Span, Timestamp};

pub use first::in_the_way;
pub use step::step;
pub use verify::{Order, SIGN_IN_PATIENCE};

/// All that a decision may know besides manifest and entry.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// This process: a name that no other process, and no earlier start of this one, has.
    pub me: String,
    /// When this process started: what was delivered before is looked at once (a restored ledger can't know better).
    pub started_at: Timestamp,
    /// The record of each attempt that is not forgotten, by attempt; `None` where the store has none.
    pub records: BTreeMap<u32, Option<Record>>,
    /// The latest sight of the source of an attempt, taken by this process after its last own step.
    pub sights: BTreeMap<u32, SourceSight>,
    /// Other deliveries' attempts on the sources of this one's.
    pub siblings: Vec<Sibling>,
    /// Connections that failed a moment ago.
    pub blocked: BTreeMap<ConnectionRef, Trouble>,
    /// The mail server failed a moment ago.
    pub mail_blocked: Option<Trouble>,
    /// It would not take a message of this delivery a moment ago, which says nothing of others.
    pub mail_deferred: Option<Trouble>,
    /// What failed last for one attempt (the next attempt's number for one that could not begin).
    pub trouble: BTreeMap<u32, Trouble>,
    /// The identity provider failed a moment ago.
    pub identity_blocked: Option<Trouble>,
    /// The message that this process holds in memory.
    pub held: Option<Held>,
    /// How long a message may be held for a mail server that refuses it for now.
    pub mail_hold: Span,
    /// The links store failed a moment ago: links are left as they are, nothing is sent, rotating goes on.
    pub store_blocked: Option<Trouble>,
    /// What failed last with the record of one attempt, in a way that says nothing of other records: that link is left as it
    /// is until then, and what is owed goes on.
    pub record_trouble: BTreeMap<u32, Trouble>,
    /// The audit trail failed a moment ago. Events stay in the entry until they are on it.
    pub audit_blocked: Option<Trouble>,
    /// The manifest could not be read: whether it is there, and what it asks for, is not known. What is owed is done.
    pub blind: Option<Fault>,
    /// Nothing is sent, for the whole operator; rotating goes on.
    pub paused: bool,
    /// How many events at the front of the outbox are on the audit trail already, as this process knows.
    pub on_trail: usize,
    /// Nothing is sent until this is over; rotating goes on: links could not be opened.
    pub unready: Option<Fault>,
    /// A restore was noticed and nobody has accepted it: why.
    pub restored: Option<String>,
    /// This process is about to end.
    pub stopping: bool,
}

impl Observation {
    /// Until when a code or a notice waits for the mail server, if it does.
    fn mail_waits(&self, now: Timestamp) -> Option<Timestamp> {
        let of = |trouble: &Option<Trouble>| trouble.as_ref().map(|t| t.until).filter(|until| now < *until);
        of(&self.mail_blocked).max(of(&self.mail_deferred))
    }
}

/// Another delivery's attempt on the same source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sibling {
    /// Which delivery.
    pub key: Key,
    /// The source, as the ledger indexes it.
    pub source_key: Digest,
    /// Until when its recipient was promised that the credential works, if it was claimed and is not known dead.
    pub promised_until: Option<Timestamp>,
    /// When its credential was seen dead.
    pub dead_at: Option<Timestamp>,
    /// Which incarnation it delivered, and since when: another one than ours is news.
    pub identity: Identity,
    /// When its attempt was begun.
    pub begun_at: Timestamp,
    /// Its rotation, if one is under way.
    pub rotating: Option<Begun>,
}

/// Something that failed and is tried again later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What.
    pub fault: Fault,
    /// Since when it fails.
    pub since: Timestamp,
    /// Not to be tried before.
    pub until: Timestamp,
    /// The generation that failed: a newer one is tried at once.
    pub generation: i64,
}

/// A message in memory that the mail server would not take yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Of which attempt.
    pub attempt: u32,
    /// When it is tried again.
    pub next_try: Timestamp,
    /// It must not be sent from this time on (`spec.deliverBefore`).
    pub deliver_before: Option<Timestamp>,
}

/// One thing to do. It has every parameter that it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing until the decision's wake-up, or until something changes.
    Rest,
    /// Make the entry of a delivery seen for the first time, with a fresh stamp.
    Create,
    /// Put the stamp on the object.
    Stamp(Stamp),
    /// Write this entry: something was learned, or is intended.
    Persist(Box<Entry>),
    /// Read, seal, put and send, as one act; also for a delivery seen for the first time, whose entry is made with it.
    Issue(Box<Issue>),
    /// Try the held message once more.
    SendHeld(u32),
    /// Void the id of an attempt whose mail was never accepted, then write that down.
    Supersede(u32),
    /// Withdraw the link of an attempt.
    Revoke(u32),
    /// Overwrite the record of an attempt with a tombstone, whatever it is.
    Void(u32),
    /// Let time do its work on the record of an attempt.
    Settle(u32),
    /// Make a code, write down its hash, and mail it.
    MailCode(Order),
    /// Have the identity provider check a sign-in, and write down what it says.
    CheckSignIn(Order),
    /// Put what was judged, and `R` where it is released, into the record of an attempt.
    Judge(u32),
    /// Lock the link of an attempt.
    Lock(u32),
    /// Look at the source of an attempt.
    Observe(u32),
    /// One step of a rotation.
    Rotate {
        /// For which attempt.
        attempt: u32,
        /// Which step.
        step: Step,
    },
    /// Tell the sender.
    Notify(Notice),
    /// Put the outbox onto the audit trail. What is there is dropped from the entry with its next write: to write it for
    /// that alone would cost a write, and to put it there twice does no harm (verification removes duplicates).
    FlushAudit,
    /// Delete a record that is read and past `notAfter`.
    DeleteRecord(u32),
    /// Let the manifest go: its link is withdrawn and what it owes is written down.
    Release,
    /// Forget the entry: nothing is owed and its time is over.
    Forget,
}

impl Action {
    /// Whether it is decided only once nothing is left to do with links (the order of questions in [`decide`]): if it
    /// fails, gateways need not wait for it.
    #[must_use]
    pub const fn comes_after_links(&self) -> bool {
        match self {
            Self::MailCode(_)
            | Self::CheckSignIn(_)
            | Self::Judge(_)
            | Self::Lock(_)
            | Self::Observe(_)
            | Self::Rotate { .. }
            | Self::Release
            | Self::Stamp(_)
            | Self::Issue(_)
            | Self::SendHeld(_)
            | Self::Notify(_)
            | Self::FlushAudit
            | Self::DeleteRecord(_)
            | Self::Forget => true,
            Self::Rest
            | Self::Create
            | Self::Persist(_)
            | Self::Supersede(_)
            | Self::Revoke(_)
            | Self::Void(_)
            | Self::Settle(_) => false,
        }
    }
}

/// An attempt to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Its number.
    pub number: u32,
    /// What is asked.
    pub spec: Spec,
    /// The generation that asks.
    pub generation: i64,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The action.
    pub action: Action,
    /// Why, in words, for log and audit.
    pub reason: String,
    /// When something will be due by time alone, if it will.
    pub wake: Option<Timestamp>,
    /// When to look again without anything being due: a little later does no harm.
    pub look: Option<Timestamp>,
    /// What stands in the way, for the status.
    pub note: Option<Fault>,
}

/// What the questions gather on the way to a rest.
#[derive(Default)]
struct Gather {
    wake: Option<Timestamp>,
    look: Option<Timestamp>,
    note: Option<Fault>,
}

impl Gather {
    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |w| w.min(at)));
    }

    fn look_at(&mut self, at: Timestamp) {
        self.look = Some(self.look.map_or(at, |l| l.min(at)));
    }

    /// The first note stays: questions come in the order of their weight.
    fn note(&mut self, fault: Fault) {
        self.note.get_or_insert(fault);
    }

    /// Notes that the manifest can't be read, and looks again soon; whether it is so.
    fn blind(&mut self, obs: &Observation, now: Timestamp) -> bool {
        let Some(fault) = &obs.blind else { return false };
        self.note(fault.clone());
        self.wake_at(now + Span::from_secs(5));
        true
    }

    /// Whether this trouble stands in the way of `generation` now; then it is noted.
    fn blocked_by(&mut self, trouble: Option<&Trouble>, now: Timestamp) -> bool {
        let Some(trouble) = trouble else { return false };
        self.note(trouble.fault.clone());
        if now < trouble.until {
            self.wake_at(trouble.until);
            return true;
        }
        false
    }
}

type Next = Option<(Action, String)>;

/// How long an entry outlives its last duty after its object is gone.
pub const ENTRY_RETENTION: Span = Span::from_secs(30 * 86_400);

/// How long events that are on the audit trail stay in an entry that nothing else changes.
pub const EVENTS_STAY: Span = Span::from_secs(600);

/// Decides what to do next for one delivery. See the module's documentation.
#[must_use]
pub fn decide(manifest: Option<&Manifest>, entry: Option<&Entry>, obs: &Observation, now: Timestamp) -> Decision {
    let mut gather = Gather::default();
    let next = match (manifest, entry) {
        (None, None) => {
            gather.blind(obs, now);
            None
        }
        (Some(manifest), None) => tie::first_sight(manifest, obs, now, &mut gather),
        (manifest, Some(entry)) => known(manifest, entry, obs, now, &mut gather),
    };
    let (action, reason) = next.unwrap_or((Action::Rest, String::new()));
    Decision { action, reason, wake: gather.wake, look: gather.look, note: gather.note }
}

/// The order of questions for a delivery that has an entry. What is learned is written down before anything is done
/// about it; links end before rotations begin; rotations go before sending; telling comes last.
fn known(manifest: Option<&Manifest>, entry: &Entry, obs: &Observation, now: Timestamp, g: &mut Gather) -> Next {
    let mine = manifest.filter(|m| m.uid == entry.uid && !m.deleting);
    None.or_else(|| absorb::next(entry, obs, now))
        .or_else(|| tie::next(manifest, entry, obs, now, g))
        .or_else(|| links::order_ends(mine, entry, obs, now))
        .or_else(|| links::end(entry, obs, now, g))
        .or_else(|| verify::next(entry, obs, now, g))
        .or_else(|| owed::next(entry, obs, now, g))
        .or_else(|| tie::release(manifest, entry))
        .or_else(|| tie::stamp(mine, entry))
        .or_else(|| deliver::pending(entry, obs, now, g))
        .or_else(|| deliver::next(mine, entry, obs, now, g))
        .or_else(|| notify(entry, obs, now, g))
        .or_else(|| flush(entry, obs, now, g))
}

/// Events go to the trail; only when all of them are there, an entry may lose something.
fn flush(entry: &Entry, obs: &Observation, now: Timestamp, g: &mut Gather) -> Next {
    if entry.outbox.len() <= obs.on_trail {
        return forget(entry, obs, now, g).or_else(|| drop_events(entry, obs, now, g));
    }
    if g.blocked_by(obs.audit_blocked.as_ref(), now) {
        return None;
    }
    Some((Action::FlushAudit, "events are due on the audit trail".into()))
}

/// Events that are on the trail go with the entry's next write. Where none comes for a while, they go with one of their
/// own: a process that starts anew would put them on the trail once more.
fn drop_events(entry: &Entry, obs: &Observation, now: Timestamp, g: &mut Gather) -> Next {
    let due = entry.outbox.last()?.at + EVENTS_STAY;
    if now < due {
        g.look_at(due);
        return None;
    }
    let next = after::flushed(entry, obs.on_trail);
    Some((Action::Persist(Box::new(next)), "its events are on the audit trail".into()))
}

fn notify(entry: &Entry, obs: &Observation, now: Timestamp, g: &mut Gather) -> Next {
    let notice = entry.notices.first()?;
    if let Some(until) = obs.mail_waits(now) {
        g.wake_at(until);
        return None;
    }
    Some((Action::Notify(notice.clone()), format!("the sender is to hear of {:?}", notice.kind)))
}

/// Records go when they are read and past `notAfter`, the entry when nothing is left to remember.
fn forget(entry: &Entry, obs: &Observation, now: Timestamp, g: &mut Gather) -> Next {
    if g.blocked_by(obs.store_blocked.as_ref(), now) {
        return None;
    }
    for attempt in entry.attempts.iter().filter(|a| !a.forgotten && !a.link_is_live()) {
        if g.blocked_by(obs.record_trouble.get(&attempt.number), now) {
            continue;
        }
        let due = attempt.terms.not_after + Span::from_secs(60);
        if now >= due {
            return Some((Action::DeleteRecord(attempt.number), "its time is over and it was read".into()));
        }
        g.look_at(due);
    }
    let owes = entry.attempts.iter().any(|a| !a.forgotten || owed::is_owed(a));
    if !entry.removed || owes {
        return None;
    }
    let last = entry.attempts.iter().map(|a| a.terms.not_after).max().unwrap_or(entry.created_at);
    if now >= last + ENTRY_RETENTION {
        return Some((Action::Forget, "nothing is owed and its time is over".into()));
    }
    g.look_at(last + ENTRY_RETENTION);
    None
}

fn hold(code: &str, message: &str, remedy: &str) -> Fault {
    Fault::new(Class::Misconfigured, code, message).remedy(remedy)
}

#[cfg(test)]
pub(crate) mod tests;
