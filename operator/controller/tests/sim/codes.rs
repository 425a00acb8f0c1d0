//! Recipients whose link demands an e-mailed code or a sign-in: they ask, type, mistype and sign in, from one browser or
//! from two, through an honest gateway.

use ps_core::encode::b64;
use ps_core::ids::{Digest, LinkId};
use ps_core::link::email_code::{CodeKey, EmailCode, attempt};
use ps_core::link::verification::Ask;
use ps_core::link::{Command, Link, Outcome, Record, State as LinkState, Verification, apply, opening_code_hash};
use ps_core::time::Timestamp;

use crate::world::{Mail, Shared, State};

/// What the identity provider gives to whoever signs in with the right account, for one link and one browser.
pub fn right_answer(nonce: &str) -> String {
    format!("good:{nonce}")
}

pub fn nonce(record: LinkId, token: &[u8; 32]) -> String {
    b64(&Digest::of(&[&record.0[..], &Digest::of(token).0].concat()).0)
}

/// Whether this link demands something of the kind, and is open.
pub fn demands(link: &Link) -> bool {
    link.state == LinkState::Open && link.sealed.needs_release()
}

/// Somebody whose open link demands something does a step: towards opening it, or opens it once all was passed.
pub fn somebody(world: &Shared) {
    let mut w = world.lock();
    if w.fenced {
        return;
    }
    let open = |mail: &Mail| {
        let link = w.store.get(&mail.record)?.0.link()?;
        demands(link).then(|| (mail.clone(), link.clone()))
    };
    let waiting: Vec<_> = w.mails.iter().filter_map(open).collect();
    if waiting.is_empty() {
        return;
    }
    let (mail, link) = waiting[w.random() as usize % waiting.len()].clone();
    let skew = w.dice(20_000) as i64 - 10_000;
    let released = link.release.as_ref().is_some_and(|r| r.token_hash == Digest::of(&mail.token));
    if released && w.dice(3) == 0 {
        return crate::people::ask(&mut w, &mail, "claim", skew);
    }
    step(&mut w, &mail, &link, skew);
}

/// One step of the recipient of a mail.
pub fn step(w: &mut State, mail: &Mail, link: &Link, skew: i64) {
    let kinds = link.sealed.kinds.clone();
    // Now and then from a second browser.
    let token = if w.dice(8) == 0 { [3; 32] } else { mail.token };
    let out = w.codes.get(&mail.record).and_then(|codes| codes.last().cloned());
    let choice = w.dice(10);
    match (choice, out) {
        (0..=5, out) if kinds.contains(&Verification::EmailCode) => match out {
            Some(code) if choice < 4 => type_code(w, mail, &code, &token, skew),
            Some(_) if choice == 4 => type_code(w, mail, "00000000", &token, skew),
            _ => ask(w, mail, Ask::Mail, &token, "asks for a code", skew),
        },
        _ if kinds.contains(&Verification::Oidc) => {
            let sure = w.dice(4) != 0;
            if sure {
                w.signed_in.insert((mail.record, Digest::of(&token)));
            }
            let code = if sure { right_answer(&nonce(mail.record, &token)) } else { "another account".to_owned() };
            let code = code.replace(' ', "-");
            ask(w, mail, Ask::SignIn { code, verifier: "v".repeat(43) }, &token, "signs in", skew);
        }
        _ => {}
    }
}

fn type_code(w: &mut State, mail: &Mail, code: &str, token: &[u8; 32], skew: i64) {
    let opener = ps_envelope::Opener::from_fragment(&mail.link).unwrap();
    let code = EmailCode::parse(code).unwrap();
    if w.codes.get(&mail.record).is_some_and(|codes| codes.iter().any(|c| c == code.expose())) {
        w.typed.insert((mail.record, Digest::of(token)));
    }
    let hash = CodeKey::from_access(opener.access().expose()).hash(mail.record, &code);
    ask(w, mail, Ask::Code(attempt(&hash, &Digest::of(token))), token, "types a code", skew);
}

fn ask(w: &mut State, mail: &Mail, ask: Ask, token: &[u8; 32], what: &str, skew: i64) {
    let Some((Record::Link(link), _)) = w.store.get(&mail.record).cloned() else { return };
    let opener = ps_envelope::Opener::from_fragment(&mail.link).unwrap();
    let access = opener.access().expose().try_into().unwrap();
    let code = Some(opening_code_hash(mail.record, &mail.code.replace('-', "")));
    let command = Command::Ask { access, code, token_hash: Digest::of(token), ask };
    let step = apply(&link, &command, Timestamp::from_millis(w.now + skew));
    w.say(format!("recipient of {} ({}) {what} → {:?}", mail.key, mail.record, step.outcome));
    if let (Some(next), Outcome::Done(_)) = (step.next, step.outcome) {
        let version = w.next_version();
        w.store.insert(mail.record, (Record::Link(Box::new(next)), version));
    }
}

/// A recipient who does all that is demanded, until a claim would be answered. The operators run in `run`.
pub fn pass(world: &Shared, mail: &Mail, mut run: impl FnMut()) {
    ask(&mut world.lock(), mail, Ask::Mail, &mail.token, "asks for a code", 0);
    run();
    let code = world.lock().codes[&mail.record].last().unwrap().clone();
    type_code(&mut world.lock(), mail, &code, &mail.token, 0);
    run();
    {
        let mut w = world.lock();
        w.signed_in.insert((mail.record, Digest::of(&mail.token)));
        let signed_in = Ask::SignIn { code: right_answer(&nonce(mail.record, &mail.token)), verifier: "v".repeat(43) };
        ask(&mut w, mail, signed_in, &mail.token, "signs in", 0);
    }
    run();
}

#[test]
fn a_link_that_demands_a_code_and_a_sign_in_opens_after_both() {
    let world = crate::world::World::empty(1);
    {
        let mut w = world.lock();
        w.faults = false;
        w.deliver(11);
    }
    let mut operators = crate::operators::Operators::new(&world, false);
    operators.run_all();
    let mail = world.lock().mails[0].clone();
    crate::people::ask(&mut world.lock(), &mail, "claim", 0);
    assert!(world.lock().claims.is_empty(), "nothing was passed yet");
    let before = world.lock().calls.clone();
    pass(&world, &mail, || operators.run_all());
    let calls = |port, method| {
        let count = |calls: &std::collections::BTreeMap<_, _>| calls.get(&(port, method)).copied().unwrap_or_default();
        count(&world.lock().calls) - count(&before)
    };
    assert_eq!((calls("mailer", "send_code"), calls("identities", "sign_in")), (1, 1));
    // The intent of the mail; the code; the intent of the sign-in, and what came of it. One answer for each of three requests.
    assert_eq!((calls("ledger", "replace"), calls("store", "replace")), (4, 3));
    crate::check::always(&world);
    crate::people::ask(&mut world.lock(), &mail, "claim", 0);
    operators.run_all();
    crate::check::always(&world);
    assert_eq!(world.lock().claims.len(), 1);
    world.lock().now += 7_200_000;
    operators.run_all();
    crate::check::at_rest(&world);
    let released = |w: &State| w.attempt_of(mail.record).map(|a| (a.release.is_some(), a.evidence.is_some()));
    assert_eq!(released(&world.lock()), Some((false, true)), "R is forgotten, the value is dead");
}

#[test]
fn the_simulated_people_get_as_far_as_opening() {
    let (mut released, mut claimed, mut locked) = (0, 0, 0);
    for seed in 1..=60 {
        let world = crate::run(seed);
        let w = world.lock();
        for attempt in w.ledger.values().flat_map(|(e, _)| &e.attempts) {
            let Some(verify) = &attempt.verify else { continue };
            released += usize::from(!verify.released.is_empty());
            claimed += usize::from(attempt.link.claimed_at.is_some());
            locked += usize::from(verify.lock);
        }
    }
    assert!(released > 3 && claimed > 1, "{released} released, {claimed} claimed, {locked} locked");
}
