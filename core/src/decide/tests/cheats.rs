//! E-mailed codes and sign-ins: what a gateway that cheats, or whoever has no opening code, gets.

use super::bench::{Bench, answer_of_sign_in, kinds};
use super::*;
use crate::link::check::Tamper;
use crate::link::sample::{ACCESS, TOKEN, WRONG, claim, code as opening};
use crate::link::verification::*;
use crate::link::{Command, Outcome, Refusal, Release, Verification};

#[test]
fn a_gateway_that_asks_without_end_gets_three_mails_and_fifteen_tries() {
    let mut bench = Bench::new(&kinds(true));
    for seq in 1..200 {
        bench.pass(1);
        if bench.link.state != State::Open {
            break;
        }
        let ask = match seq % 3 {
            0 => Ask::Mail,
            1 => Ask::Code(Digest([9; 32])),
            _ => answer_of_sign_in(),
        };
        bench.link.request = Some(Box::new(Request { seq, at: bench.now, token_hash: Digest::of(&TOKEN), ask }));
        while let Action::CheckSignIn(order) = bench.decide() {
            let request = bench.link.request.as_deref().unwrap().clone();
            let begun = after::sign_in_begun(&bench.entry, order.attempt, order.request);
            bench.entry = after::sign_in_judged(&begun, 1, &request, Err(SignInRefusal::Email), bench.now);
        }
        bench.operator();
        assert_eq!(bench.released(), None);
    }
    assert_eq!((bench.mailed.len(), bench.verify().mails, bench.link.state), (3, 3, State::Locked));
    assert!(bench.verify().sign_ins <= MAX_SIGN_INS);
}

#[test]
fn without_the_opening_code_nothing_is_asked_counted_or_locked() {
    let mut bench = Bench::new(&kinds(true));
    for n in 0..25 {
        bench.pass(31);
        let code = opening(false).filter(|_| n % 2 == 0);
        let (token_hash, ask) = (Digest::of(&TOKEN), if n % 3 == 0 { Ask::Mail } else { answer_of_sign_in() });
        let outcome = bench.gateway(&Command::Ask { access: ACCESS, code, token_hash, ask: ask.clone() });
        assert!(matches!(outcome, Outcome::Refused(Refusal::WrongCode(_))), "{outcome:?}");
        let stranger = Command::Ask { access: WRONG, code: opening(true), token_hash, ask };
        assert_eq!(bench.gateway(&stranger), Outcome::Refused(Refusal::NotFound));
    }
    assert_eq!((bench.link.state, &bench.link.request), (State::Open, &None));
}

#[test]
fn what_is_not_demanded_or_malformed_is_refused() {
    let mut plain = Bench::new(&[Verification::Oidc]);
    assert_eq!(plain.ask(Ask::Mail, &TOKEN), Outcome::Refused(Refusal::NotDemanded));
    let odd = Ask::SignIn { code: "two words".into(), verifier: "v".repeat(43) };
    assert_eq!(plain.ask(odd, &TOKEN), Outcome::Refused(Refusal::Invalid));
}

#[test]
fn a_gateway_that_passes_over_a_factor_is_found() {
    let token_hash = Digest::of(&TOKEN);
    let release = move || Some(Release { r: [7; 32], token_hash });
    type Change = Box<dyn Fn(&mut Bench)>;
    let cheats: [(&str, Tamper, Change); 8] = [
        (
            "claims without R",
            Tamper::Factor,
            Box::new(|b: &mut Bench| {
                b.link.sealed.kinds.clear();
                b.gateway(&claim());
                b.link.sealed.kinds = kinds(false);
            }),
        ),
        ("R without a verdict", Tamper::Factor, Box::new(move |b| b.link.release = release())),
        (
            "R under a verdict that does not release",
            Tamper::Factor,
            Box::new(move |b| {
                b.mail();
                b.link.release = release();
            }),
        ),
        (
            "R of another token",
            Tamper::Factor,
            Box::new(|b| {
                let code = b.mail();
                b.hand_in(&code, &WRONG);
                b.operator();
                b.link.release.as_mut().unwrap().token_hash = Digest::of(&TOKEN);
            }),
        ),
        (
            "another R",
            Tamper::Factor,
            Box::new(|b| {
                let code = b.mail();
                b.hand_in(&code, &TOKEN);
                b.operator();
                b.link.release.as_mut().unwrap().r = [1; 32];
            }),
        ),
        (
            "a verdict of its own",
            Tamper::Verdict,
            Box::new(move |b| {
                b.mail();
                b.link.verdict.as_mut().unwrap().released = Some(token_hash);
            }),
        ),
        (
            "more mails",
            Tamper::Verdict,
            Box::new(|b| {
                b.mail();
                b.link.verdict.as_mut().unwrap().email_code.as_mut().unwrap().mails_left = 9;
            }),
        ),
        (
            "what is not demanded",
            Tamper::Verdict,
            Box::new(move |b| {
                let at = b.now;
                b.link.request = Some(Box::new(Request { seq: 1, at, token_hash, ask: answer_of_sign_in() }));
            }),
        ),
    ];
    for (how, tamper, cheat) in cheats {
        let mut bench = Bench::new(&kinds(false));
        cheat(&mut bench);
        let found = written(decided(spec(), &bench.entry, &bench.observation(), 1200));
        assert_eq!(found.attempts[0].link.tampered, Some(tamper), "{how}");
    }
    // On a link that demands nothing of the kind, too.
    let mut plain = sample::link(&[]);
    plain.release = release();
    let before = entry(vec![attempt(accepted())]);
    let found = written(decided(spec(), &before, &with_record(&before, Some(Record::Link(Box::new(plain)))), 1200));
    assert_eq!(found.attempts[0].link.tampered, Some(Tamper::Verdict));
}

#[test]
fn what_a_gateway_takes_away_is_put_back() {
    let mut bench = Bench::new(&kinds(false));
    let code = bench.mail();
    bench.hand_in(&code, &TOKEN);
    bench.operator();
    (bench.link.release, bench.link.verdict) = (None, None);
    bench.operator();
    assert_eq!(bench.released(), Some(Digest::of(&TOKEN)));
}

#[test]
fn an_attempt_that_was_withdrawn_or_never_sent_judges_nothing() {
    let changes: [fn(&mut Attempt); 3] =
        [|a| a.mail = pending("me", 9999), |a| a.link.tampered = Some(Tamper::Missing), |a| a.forgotten = true];
    for (n, change) in changes.into_iter().enumerate() {
        let mut bench = Bench::new(&kinds(false));
        bench.ask(Ask::Mail, &TOKEN);
        change(&mut bench.entry.attempts[0]);
        assert!(!matches!(bench.decide(), Action::MailCode(_)), "{n}");
    }
}
