//! Sign-ins: a gateway that forges one is found, one that was refused counts for nothing, and the right one passes afterwards.

use super::bench::{Bench, answer_of_sign_in};
use super::*;
use crate::ids::LinkId;
use crate::link::check::Tamper;
use crate::link::sample::{TOKEN, WRONG, claim};
use crate::link::verification::*;
use crate::link::{Outcome, Refusal, Release, Verification};

/// The operator takes its answer to the provider, which judges it so.
fn signs_in(bench: &mut Bench, token: &[u8; 32], judged: Result<(), SignInRefusal>) {
    bench.pass(31);
    assert_eq!(bench.ask(answer_of_sign_in(), token), Outcome::Done(State::Open));
    let Action::CheckSignIn(order) = bench.decide() else { panic!("{:?}", bench.decide()) };
    let request = bench.link.request.as_deref().unwrap().clone();
    let begun = after::sign_in_begun(&bench.entry, order.attempt, order.request);
    bench.entry = after::sign_in_judged(&begun, 1, &request, judged, bench.now);
    bench.operator();
}

fn refused() -> Bench {
    let mut bench = Bench::new(&[Verification::Oidc]);
    signs_in(&mut bench, &TOKEN, Err(SignInRefusal::Email));
    bench
}

fn passed(token: &[u8; 32]) -> Bench {
    let mut bench = Bench::new(&[Verification::Oidc]);
    signs_in(&mut bench, token, Ok(()));
    bench
}

fn found(bench: &Bench) -> Entry {
    written(decided(spec(), &bench.entry, &bench.observation(), bench.now.as_millis() / 1000 + 1))
}

fn forge(bench: &mut Bench, change: impl FnOnce(&mut Verdict)) {
    change(bench.link.verdict.as_deref_mut().unwrap());
}

#[test]
fn a_forged_sign_in_is_not_believed() {
    let token = Digest::of(&TOKEN);
    let claims_to_have_passed = move |verdict: &mut Verdict| {
        verdict.released = Some(token);
        verdict.sign_in = Some(SignInVerdict { refused: None, passed: Some(token) });
    };
    type Cheat = Box<dyn Fn() -> Bench>;
    let cheats: [(&str, Tamper, Cheat); 8] = [
        (
            "a sign-in that was refused is called passed",
            Tamper::Verdict,
            Box::new(move || {
                let mut bench = refused();
                forge(&mut bench, claims_to_have_passed);
                bench
            }),
        ),
        (
            "signed with a key of its own",
            Tamper::Verdict,
            Box::new(move || {
                let mut bench = refused();
                forge(&mut bench, |verdict| {
                    claims_to_have_passed(verdict);
                    *verdict = verdict.clone().signed(sample::ID, &JudgeKey([9; 32]));
                });
                bench
            }),
        ),
        (
            "the verdict of another link",
            Tamper::Verdict,
            Box::new(move || {
                let mut bench = refused();
                forge(&mut bench, |verdict| {
                    claims_to_have_passed(verdict);
                    *verdict = verdict.clone().signed(LinkId([9; 16]), &JudgeKey([8; 32]));
                });
                bench
            }),
        ),
        (
            "a verdict where nobody has asked for one",
            Tamper::Verdict,
            Box::new(move || {
                let mut bench = Bench::new(&[Verification::Oidc]);
                let mac = Digest([0; 32]);
                let mut verdict = Verdict { answered: 0, email_code: None, sign_in: None, released: None, mac };
                claims_to_have_passed(&mut verdict);
                bench.link.verdict = Some(Box::new(verdict));
                bench
            }),
        ),
        (
            "an R under a sign-in that was refused",
            Tamper::Factor,
            Box::new(move || {
                let mut bench = refused();
                bench.link.release = Some(Release { r: [7; 32], token_hash: token });
                bench
            }),
        ),
        (
            "another R than the operator's",
            Tamper::Factor,
            Box::new(|| {
                let mut bench = passed(&TOKEN);
                bench.link.release.as_mut().unwrap().r = [1; 32];
                bench
            }),
        ),
        (
            "the operator's R for another browser",
            Tamper::Factor,
            Box::new(move || {
                let mut bench = passed(&WRONG);
                bench.link.release.as_mut().unwrap().token_hash = token;
                bench
            }),
        ),
        (
            "a claim with an R that it made up",
            Tamper::Factor,
            Box::new(move || {
                let mut bench = refused();
                bench.link.release = Some(Release { r: [1; 32], token_hash: token });
                assert_eq!(bench.gateway(&claim()), Outcome::Released);
                bench
            }),
        ),
    ];
    for (how, tamper, cheat) in cheats {
        let found = found(&cheat());
        assert_eq!(found.attempts[0].link.tampered, Some(tamper), "{how}");
        assert_eq!(found.attempts[0].link.claimed_at, None, "{how}");
        assert!(found.attempts[0].obligation.is_some(), "{how}: it is rotated");
    }
}

#[test]
fn sign_ins_that_were_refused_count_for_nothing_and_the_right_one_passes_afterwards() {
    let mut bench = Bench::new(&[Verification::Oidc]);
    for why in [SignInRefusal::SignIn, SignInRefusal::Unverified, SignInRefusal::Email, SignInRefusal::Provider] {
        signs_in(&mut bench, &TOKEN, Err(why));
        assert_eq!(bench.released(), None, "{why:?}");
        assert_eq!(bench.gateway(&claim()), Outcome::Refused(Refusal::VerificationDue), "{why:?}");
    }
    // Somebody else's passes for them alone.
    signs_in(&mut bench, &WRONG, Ok(()));
    assert_eq!(bench.released(), Some(Digest::of(&WRONG)));
    assert_eq!(bench.gateway(&claim()), Outcome::Refused(Refusal::VerificationDue));

    signs_in(&mut bench, &TOKEN, Ok(()));
    assert_eq!(bench.gateway(&claim()), Outcome::Released);
    bench.operator();
    let link = &bench.entry.attempts[0].link;
    assert_eq!((link.tampered, link.claimed_at.is_some()), (None, true), "the claim is believed");
}

#[test]
fn an_older_verdict_of_ours_takes_nothing_back_and_gives_nothing() {
    let mut bench = Bench::new(&[Verification::Oidc]);
    signs_in(&mut bench, &TOKEN, Ok(()));
    let (verdict, release) = (bench.link.verdict.clone(), bench.link.release.clone());
    signs_in(&mut bench, &WRONG, Ok(()));
    // Both have passed; whichever the gateway shows, the operator puts back the later one.
    (bench.link.verdict, bench.link.release) = (verdict, release);
    bench.operator();
    assert_eq!(bench.released(), Some(Digest::of(&WRONG)));
    assert_eq!(bench.entry.attempts[0].link.tampered, None);
}
