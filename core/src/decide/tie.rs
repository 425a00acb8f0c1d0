//! Does this object belong to this entry? Restored, copied, or made anew (DESIGN.md, "The ledger, and deciding").

use super::{Action, Gather, Next, Observation, deliver, hold};
use crate::audit::EventKind;
use crate::delivery::{Manifest, OnRecreate};
use crate::entry::{Attempt, Entry, Hold};
use crate::time::Timestamp;

const LEDGER_LOST: (&str, &str, &str) = (
    "ledger-lost",
    "this object was handled by a ledger that this operator does not have; nothing is sent",
    "Restore the ledger, or remove the annotation passwordsender.io/stamp to have it sent as new",
);

/// An object without an entry.
pub(super) fn first_sight(manifest: &Manifest, obs: &Observation, now: Timestamp, g: &mut Gather) -> Next {
    if manifest.deleting {
        return Some((Action::Release, "deleted before anything was done".into()));
    }
    match &manifest.stamp {
        Some(stamp) if !stamp.is_for(&manifest.key) => {
            g.note(copied());
            return None;
        }
        Some(_) => {
            g.note(hold(LEDGER_LOST.0, LEDGER_LOST.1, LEDGER_LOST.2));
            return None;
        }
        None => {}
    }
    if let Some(why) = &obs.restored {
        g.note(restored(why));
        return None;
    }
    match &manifest.spec {
        Ok(spec) => {
            let known = || (Action::Create, "seen for the first time".into());
            Some(deliver::at_first_sight(manifest, spec, obs, now).unwrap_or_else(known))
        }
        Err(fault) => {
            g.note(fault.clone());
            None
        }
    }
}

/// An object, or its absence, beside an entry.
pub(super) fn next(
    manifest: Option<&Manifest>,
    entry: &Entry,
    obs: &Observation,
    now: Timestamp,
    g: &mut Gather,
) -> Next {
    if manifest.is_none() && g.blind(obs, now) {
        return None;
    }
    let Some(manifest) = manifest.filter(|m| !m.deleting) else {
        if entry.removed {
            return None;
        }
        let mut next = entry.clone();
        next.removed = true;
        next.emit(EventKind::Removed, 0, now, "the manifest is gone", &[]);
        return persist(next, "the manifest is gone");
    };
    if manifest.uid == entry.uid && !entry.removed {
        return None;
    }
    let mut next = entry.clone();
    next.uid.clone_from(&manifest.uid);
    next.removed = false;
    match &manifest.stamp {
        Some(stamp) if !stamp.is_for(&manifest.key) => {
            g.note(copied());
            None
        }
        Some(stamp) if *stamp == entry.stamp => {
            let spec = match &manifest.spec {
                Ok(spec) => spec,
                Err(fault) => {
                    g.note(fault.clone());
                    return None;
                }
            };
            // What a restored object says in spec.redeliver is of another time: it asks for nothing (invariant 8).
            next.redeliver_handled.clone_from(&spec.redeliver);
            next.again = false;
            next.emit(EventKind::Adopted, 0, now, "restored with its stamp: nothing is sent again", &[]);
            // Its link went when it was removed: sending again must be asked for.
            if delivered_before(entry) && entry.removed && !entry.attempts.iter().any(Attempt::link_is_live) {
                next.hold.get_or_insert(Hold::AlreadyDelivered);
            }
            persist(next, "restored with its stamp")
        }
        Some(_) => {
            g.note(hold(LEDGER_LOST.0, LEDGER_LOST.1, LEDGER_LOST.2));
            None
        }
        None => made_anew(manifest, next, obs, now, g),
    }
}

/// Deleted and made anew without our stamp, as Git does.
fn made_anew(manifest: &Manifest, mut next: Entry, obs: &Observation, now: Timestamp, g: &mut Gather) -> Next {
    let spec = match &manifest.spec {
        Ok(spec) => spec,
        Err(fault) => {
            g.note(fault.clone());
            return None;
        }
    };
    if let Some(why) = &obs.restored {
        g.note(restored(why));
        return None;
    }
    let changed = next.current().is_some_and(|last| {
        last.recipient_digest != spec.recipient_digest() || last.source_digest != spec.source_digest()
    });
    let asked = next.is_asked_again(spec.redeliver.as_ref());
    // After a restore nobody knows what was sent since, and to whom.
    let blind = matches!(next.hold, Some(Hold::Restored | Hold::RestoredUnread));
    let asked = asked && next.hold != Some(Hold::RestoredUnread);
    let send = asked || spec.on_recreate == OnRecreate::Send || (!blind && (changed || !delivered_before(&next)));
    next.redeliver_handled.clone_from(&spec.redeliver);
    if send {
        next.hold = None;
        next.again = true;
        next.emit(EventKind::Accepted, 0, now, "made anew, and to be sent", &[]);
    } else {
        next.again = false;
        next.hold = Some(Hold::AlreadyDelivered);
        next.emit(EventKind::Held, 0, now, "made anew; it was delivered before", &[]);
    }
    persist(next, "made anew")
}

/// The object must carry the entry's stamp before anything is sent for it. It is asked for after what is owed: a
/// folder that can't be written must not hold up a rotation.
pub(super) fn stamp(mine: Option<&Manifest>, entry: &Entry) -> Next {
    let manifest = mine.filter(|m| !entry.removed && m.stamp.as_ref() != Some(&entry.stamp))?;
    // Another name's stamp is on a copy; it is told apart before an entry is made, and here it is overwritten.
    let reason = if manifest.stamp.is_some() {
        "the object carries another stamp"
    } else {
        "the object carries no stamp of ours yet"
    };
    Some((Action::Stamp(entry.stamp.clone()), reason.into()))
}

/// A manifest whose deletion was asked for goes when its links are withdrawn and what it owes is written down.
pub(super) fn release(manifest: Option<&Manifest>, entry: &Entry) -> Next {
    let deleting = manifest.is_some_and(|m| m.deleting);
    let live = entry.attempts.iter().any(Attempt::link_is_live);
    let let_go = manifest.is_some_and(|m| m.let_go);
    if deleting && entry.removed && let_go && live {
        return Some((Action::Release, "a person asks to let it go at once".into()));
    }
    (deleting && entry.removed && !live)
        .then(|| (Action::Release, "its link is withdrawn and what it owes is written down".into()))
}

fn delivered_before(entry: &Entry) -> bool {
    entry.attempts.iter().any(Attempt::delivered)
}

fn persist(next: Entry, reason: &str) -> Next {
    Some((Action::Persist(Box::new(next)), reason.to_owned()))
}

fn copied() -> crate::error::Fault {
    hold(
        "copied",
        "this object carries the stamp of another name: it is a copy, and nothing is sent",
        "Remove the annotation passwordsender.io/stamp to have it sent as a delivery of its own",
    )
}

pub(super) fn restored(why: &str) -> crate::error::Fault {
    hold(
        "restored",
        &format!("a restore was noticed: {why}"),
        "Check what was delivered meanwhile, then run `password-sender-operator restore accept`",
    )
}
