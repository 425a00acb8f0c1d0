//! What people do: recipients, senders, administrators who rotate on their own, and whoever breaks Vault.

use ps_core::delivery::{OnRecreate, OnSourceRotated, Spec};
use ps_core::entry::{Attempt, RevokeCause};
use ps_core::error::{Class, Fault};
use ps_core::ids::{Digest, Key, Stamp};
use ps_core::link::check::{Expected, Judge, check};
use ps_core::link::{Command, Outcome, Proof, Record, apply, opening_code_hash};
use ps_core::time::{Span, Timestamp};

use crate::world::{KINDS, Mail, PERIODIC, Secret, Shared, State, Version, template};

/// A recipient does something with one of the mails.
pub fn recipient(world: &Shared) {
    let mut w = world.lock();
    if w.mails.is_empty() || w.fenced {
        return;
    }
    let at = w.random() as usize % w.mails.len();
    let mail = w.mails[at].clone();
    let (choice, sure) = (w.dice(10), w.dice(3) == 0);
    // Gateways' clocks are off by seconds; now and then by more than is believed.
    let skew = if w.dice(40) == 0 { 100_000 } else { w.dice(20_000) as i64 - 10_000 };
    let demanding = w.store.get(&mail.record).and_then(|(r, _)| r.link()).filter(|l| crate::codes::demands(l)).cloned();
    if let Some(link) = demanding
        && w.dice(3) != 0
    {
        return crate::codes::step(&mut w, &mail, &link, skew);
    }
    let verb = match choice {
        0..=5 => "claim",
        6 => "mistype",
        7 => "again",
        8 => "acknowledge",
        _ if sure => "decline",
        _ => "lookup",
    };
    ask(&mut w, &mail, verb, skew);
}

/// One request of the holder of a mail, through an honest gateway whose clock is off by `skew`.
pub fn ask(w: &mut State, mail: &Mail, verb: &str, skew: i64) {
    let Some((Record::Link(link), _)) = w.store.get(&mail.record).cloned() else { return };
    let opener = ps_envelope::Opener::from_fragment(&mail.link).unwrap();
    let facts = ps_envelope::Facts::new(link.sealed.not_after, &link.sealed.kinds).unwrap();
    let access = opener.access().expose().try_into().unwrap();
    let proof = Proof(opener.unlock(facts, None).unwrap().proof().expose().try_into().unwrap());
    let code = Some(opening_code_hash(mail.record, &mail.code.replace('-', "")));
    let token_hash = Digest::of(&mail.token);
    let command = match verb {
        "claim" => Command::Claim { access, code, proof, token_hash },
        "mistype" => Command::Claim { access, code: Some(Digest([0; 32])), proof, token_hash },
        "again" => Command::ClaimAgain { access, proof, token: mail.token },
        "acknowledge" => Command::Acknowledge { access, token: mail.token },
        "decline" => Command::Decline { access, code, preimage: opener.decline().expose().try_into().unwrap() },
        _ => Command::Lookup { access },
    };
    let step = apply(&link, &command, Timestamp::from_millis(w.now + skew));
    w.say(format!("recipient of {} ({}): {verb} → {:?}", mail.key, mail.record, step.outcome));
    let Some(next) = step.next else { return };
    if step.outcome == Outcome::Released && verb == "claim" {
        if w.claims.insert(mail.record, mail.token).is_none() {
            *w.claims_per_key.entry(mail.key.clone()).or_default() += 1;
        }
        w.ever_claimed.insert(mail.record);
    }
    if next.decline.is_some() && verb == "decline" {
        w.ever_declined.insert(mail.record);
    }
    // A cut journal that has grown again by another legal line, at a place that was read before, tells nothing any more:
    // the ledger remembers how far it has read, not what.
    let whole = w.attempt_of(mail.record).is_some_and(|a| next.journal.len() as u64 >= u64::from(a.link.journal_read));
    let judge = w.attempt_of(mail.record).and_then(|a| a.judge());
    let healed = match w.tampered.get(&mail.record).copied() {
        Some("journal cut") => whole,
        // A link that is over keeps neither: what was forged went before anybody looked, and released nothing.
        Some("R forged" | "verdict forged") => !next.state.is_live(),
        _ => false,
    };
    if healed && is_legal(&next, judge) {
        w.tampered.remove(&mail.record);
    }
    let version = w.next_version();
    w.store.insert(mail.record, (Record::Link(Box::new(next)), version));
}

fn is_legal(link: &ps_core::link::Link, judge: Option<Judge<'_>>) -> bool {
    let digest = link.sealed.digest();
    let anything = Expected { digest, put_at: Timestamp::EPOCH, revoke_ordered: true, journal_read: 0, judge };
    check(Some(&Record::Link(Box::new(link.clone()))), &anything, Timestamp::MAX).is_ok()
}

/// A sender edits, withdraws, deletes, restores, copies or makes a manifest anew.
pub fn sender(world: &Shared) {
    let mut w = world.lock();
    let keys: Vec<Key> = w.permits.keys().cloned().collect();
    let key = keys[w.random() as usize % keys.len()].clone();
    let kind: usize = key.name[1..].parse().unwrap();
    let (choice, random) = (w.dice(18), w.random());
    w.say(format!("sender of {key}: {choice}"));
    if !w.manifests.contains_key(&key) {
        return make_anew(&mut w, &key, kind, choice, random);
    }
    if let Some(spec) = w.broken.remove(&key) {
        // Whoever broke it repairs it.
        edit(&mut w, &key, |m| m.spec = Ok(spec));
        return;
    }
    let now = w.now;
    let asked_again = matches!(choice, 1 | 3 | 4 | 5);
    let change: Box<dyn FnOnce(&mut Spec)> = match choice {
        0 => Box::new(|spec| spec.revoked = !spec.revoked),
        1 => Box::new(|_| ()),
        2 => {
            w.deleted.insert(key.clone());
            return edit(&mut w, &key, |m| m.deleting = true);
        }
        3 => Box::new(move |spec| spec.recipient.email = format!("d{kind}.{random}@vendor.example")),
        4 => Box::new(move |spec| {
            let other = template(random as usize % KINDS);
            (spec.source, spec.rotation, spec.connection) = (other.source, other.rotation, other.connection);
        }),
        5 => Box::new(move |spec| {
            spec.deliver_before = Some(Timestamp::from_millis(now) + Span::from_secs((random % 2400) as i64));
        }),
        6 => {
            let spec = w.manifests[&key].spec.clone();
            if let Ok(spec) = spec {
                w.broken.insert(key.clone(), spec);
                let fault = Fault::new(Class::Misconfigured, "manifest-unreadable", "line 3 is not YAML");
                edit(&mut w, &key, |m| m.spec = Err(fault));
            }
            return;
        }
        7 => Box::new(|spec| spec.deliver_before = None),
        _ => return,
    };
    edit(&mut w, &key, |m| {
        if let Ok(spec) = &mut m.spec {
            change(spec);
            if asked_again {
                spec.redeliver = Some(format!("r{random}"));
            }
        }
    });
    if asked_again {
        *w.permits.entry(key).or_default() += 1;
    }
}

fn edit(w: &mut State, key: &Key, change: impl FnOnce(&mut ps_core::delivery::Manifest)) {
    if let Some(manifest) = w.manifests.get_mut(key) {
        change(manifest);
        manifest.generation += 1;
    }
}

/// By Git (no stamp), restored with its stamp, copied from another name, or with a stamp that nobody knows.
fn make_anew(w: &mut State, key: &Key, kind: usize, choice: u64, random: u64) {
    w.broken.remove(key);
    let mut spec = template(kind);
    let own = w.ledger.get(key).map(|(e, _)| e.stamp.clone());
    let stamp = match choice {
        0..=4 => own,
        5 => Some(Stamp::new(&Key::new("default", "another"), [1; 16])),
        6 => Some(Stamp::new(key, [2; 16])),
        _ => None,
    };
    match choice {
        0 | 7 | 8 => spec.redeliver = Some(format!("again-{random}")),
        1 | 9 => spec.recipient.email = format!("d{kind}.{random}@vendor.example"),
        10 => spec.on_recreate = OnRecreate::Send,
        _ => {}
    }
    // What differs from an earlier attempt is asked for; a plain copy of what was there before is not.
    let earlier = w.ledger.get(key).and_then(|(e, _)| e.current().map(|a| (a.recipient_digest, a.source_digest)));
    let changed = earlier.is_some_and(|digests| digests != (spec.recipient_digest(), spec.source_digest()));
    if stamp.is_some() || !(matches!(choice, 0 | 7..=10) || changed) {
        lapse(w, key);
    } else {
        *w.permits.entry(key.clone()).or_default() += 1;
    }
    w.put(key, spec, stamp);
}

/// An object that is restored with its stamp, or made anew as it was, asks for nothing, and what was asked for before it
/// went is over: what may still be claimed is the link that is out, and what its last attempt did not hand over.
fn lapse(w: &mut State, key: &Key) {
    let Some((entry, _)) = w.ledger.get(key) else { return };
    let out = entry.attempts.iter().any(Attempt::link_is_live);
    let unfinished = entry.current().is_none_or(|last| {
        !last.delivered()
            || (last.link.revoke == Some(RevokeCause::SourceRotated)
                && last.terms.on_source_rotated == OnSourceRotated::Reissue)
    });
    let claims = w.claims_per_key.get(key).copied().unwrap_or_default();
    let most = claims + u32::from(out) + u32::from(unfinished);
    w.permits.entry(key.clone()).and_modify(|permits| *permits = most.min(*permits));
}

/// Somebody rotates without telling us.
pub fn rotate_elsewhere(world: &Shared) {
    let mut w = world.lock();
    if w.dice(3) != 0 {
        return;
    }
    let places: Vec<String> = w.vault.keys().cloned().collect();
    let place = places[w.random() as usize % places.len()].clone();
    replace_value(&mut w, &place, "somebody else rotates");
}

fn replace_value(w: &mut State, place: &str, who: &str) {
    let fresh = w.fresh_value();
    let now = w.now;
    w.say(format!("{who} {place}"));
    match w.vault.get_mut(place) {
        Some(Secret::Static { value, rotated, .. }) => {
            *value = fresh;
            *rotated = now.max(*rotated + 1);
        }
        Some(Secret::Kv2(versions)) => versions.push(Version { value: fresh, created: now, destroyed: false }),
        Some(Secret::Kv1(value)) => *value = fresh,
        None => {}
    }
    w.allow_reissue(place);
}

/// The recipient of a delivery acts at this very moment.
pub fn hurry(world: &Shared, key: &Key) {
    let mut w = world.lock();
    let Some(mail) = w.mails.iter().rev().find(|m| m.key == *key).cloned() else { return };
    let verb = if w.dice(4) == 0 { "decline" } else { "claim" };
    ask(&mut w, &mail, verb, 0);
}

/// Vault, the identity of one connection, or something of the operators' own does not work for a while; or a connection
/// is changed and leads to another server.
pub fn something_breaks(world: &Shared) {
    let mut w = world.lock();
    let name = match w.dice(7) {
        0 => "store".to_owned(),
        3 => "identity".to_owned(),
        1 => "manifests".to_owned(),
        2 => "audit".to_owned(),
        _ => format!("vault{}", w.dice(2)),
    };
    let until = w.now + w.dice(1_800_000) as i64;
    if name.starts_with("vault") && w.dice(3) == 0 {
        w.say(format!("{name} leads elsewhere until {}", Timestamp::from_millis(until)));
        w.moved.insert(name, until);
        return;
    }
    let class = if name.starts_with("vault") && w.dice(3) == 0 { Class::Denied } else { Class::Transient };
    w.say(format!("{name} fails until {} ({class:?})", Timestamp::from_millis(until)));
    w.down.insert(name, (until, class));
}

/// Minutes pass, sometimes an hour; clocks also jump back a little.
pub fn time_passes(world: &Shared) {
    let mut w = world.lock();
    let by = match w.dice(10) {
        0 => -5_000,
        1 => 1_800_000,
        2..=4 => 300_000,
        _ => w.dice(60_000) as i64,
    };
    w.now += by;
    w.say(format!("{} s pass", by / 1000));
    vaults_own_rotations(&mut w);
}

/// Vault rotates roles that have a period.
pub fn vaults_own_rotations(w: &mut State) {
    let now = w.now;
    let due = matches!(&w.vault[PERIODIC], Secret::Static { rotated, period: Some(p), .. } if now >= rotated + p);
    if due {
        replace_value(w, PERIODIC, "Vault itself rotates");
    }
}
