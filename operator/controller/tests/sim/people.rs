//! What people do: recipients, senders, and administrators who rotate on their own.

use ps_core::ids::Digest;
use ps_core::link::{Command, Outcome, Proof, Record, apply, opening_code_hash};
use ps_core::time::Timestamp;

use crate::world::{Secret, Shared, Version};

/// A recipient does something with one of the mails.
pub fn recipient(world: &Shared) {
    let mut w = world.lock();
    if w.mails.is_empty() || w.fenced {
        return;
    }
    let at = w.random() as usize % w.mails.len();
    let mail = w.mails[at].clone();
    let Some((Record::Link(link), _)) = w.store.get(&mail.record).cloned() else { return };
    let opener = ps_envelope::Opener::from_fragment(&mail.link).unwrap();
    let facts = ps_envelope::Facts::new(link.sealed.not_after, &[]).unwrap();
    let access = opener.access().expose().try_into().unwrap();
    let proof = Proof(opener.unlock(facts, None).unwrap().proof().expose().try_into().unwrap());
    let code = Some(opening_code_hash(mail.record, &mail.code.replace('-', "")));
    let command = match w.dice(10) {
        0..=5 => Command::Claim { access, code, proof, token_hash: Digest::of(&mail.token) },
        6 => Command::Claim { access, code: Some(Digest([0; 32])), proof, token_hash: Digest::of(&mail.token) },
        7 => Command::ClaimAgain { access, proof, token: mail.token },
        8 => Command::Acknowledge { access, token: mail.token },
        _ if w.dice(3) == 0 => {
            Command::Decline { access, code, preimage: opener.decline().expose().try_into().unwrap() }
        }
        _ => Command::Lookup { access },
    };
    let skew = w.dice(20_000) as i64 - 10_000;
    let step = apply(&link, &command, Timestamp::from_millis(w.now + skew));
    let name = format!("{command:?}");
    let name = name.split([' ', '{']).next().unwrap_or_default().to_owned();
    w.say(format!("recipient of {}: {name} → {:?}", mail.key, step.outcome));
    if step.outcome == Outcome::Released && matches!(command, Command::Claim { .. }) {
        if !w.forgotten_mails.contains(&mail.record) || !w.claims.contains_key(&mail.record) {
            *w.claims_per_key.entry(mail.key.clone()).or_default() += 1;
        }
        w.claims.insert(mail.record, mail.token);
    }
    if let Some(next) = step.next {
        let version = w.next_version();
        w.store.insert(mail.record, (Record::Link(Box::new(next)), version));
    }
}

/// A sender edits, withdraws, deletes, restores or makes a manifest anew.
pub fn sender(world: &Shared) {
    let mut w = world.lock();
    let n = w.dice(5);
    let key = ps_core::ids::Key::new("default", format!("d{n}"));
    let choice = w.dice(12);
    w.say(format!("sender of {key}: {choice}"));
    let random = w.random();
    let Some(manifest) = w.manifests.get_mut(&key) else {
        // Made anew: by Git (no stamp), restored with its stamp, or asked to be sent again.
        let entry = w.ledger.get(&key).map(|(e, _)| e.clone());
        let mut spec = crate::world::template(n as usize);
        let stamp = entry.filter(|_| choice.is_multiple_of(3)).map(|e| e.stamp);
        if choice.is_multiple_of(4) {
            spec.redeliver = Some(format!("again-{random}"));
            *w.permits.entry(key.clone()).or_default() += 1;
        }
        w.put(&key, spec, stamp);
        return;
    };
    let Ok(spec) = &mut manifest.spec else { return };
    match choice {
        0 => spec.revoked = !spec.revoked,
        1 => {
            spec.redeliver = Some(format!("r{random}"));
            manifest.generation += 1;
            *w.permits.entry(key).or_default() += 1;
        }
        2 => manifest.deleting = true,
        _ => {}
    }
}

/// Somebody rotates without telling us.
pub fn rotate_elsewhere(world: &Shared) {
    let mut w = world.lock();
    if w.dice(3) != 0 {
        return;
    }
    let fresh = w.fresh_value();
    let now = w.now;
    let place = if w.dice(2) == 0 { "database:db/static-creds/app" } else { "kv2:secret/apps/b" };
    w.say(format!("somebody else rotates {place}"));
    match w.vault.get_mut(place) {
        Some(Secret::Static { value, rotated }) => {
            *value = fresh;
            *rotated = now.max(*rotated + 1);
        }
        Some(Secret::Kv2(versions)) => versions.push(Version { value: fresh, created: now, destroyed: false }),
        None => {}
    }
    // A link that is withdrawn because of it may be issued again.
    for permits in w.permits.values_mut() {
        *permits += 1;
    }
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
}
