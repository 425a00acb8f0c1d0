//! E-mailed codes and sign-ins: an honest gateway and the operator's decisions in turn.

use super::bench::{Bench, answer_of_sign_in, kinds};
use super::*;
use crate::link::email_code::EmailCode;
use crate::link::rules::expose;
use crate::link::sample::{ACCESS, TOKEN, WRONG, claim};
use crate::link::verification::*;
use crate::link::{JournalEvent, Outcome, Refusal, Verification};

fn wrong() -> EmailCode {
    EmailCode::parse("99999999").unwrap()
}

#[test]
fn the_right_code_releases_to_its_token_and_to_no_other() {
    let mut bench = Bench::new(&kinds(false));
    let code = bench.mail();
    assert_eq!((bench.status(), bench.released(), bench.link.open_request()), (CodeState::Sent, None, None));
    assert_eq!(bench.gateway(&claim()), Outcome::Refused(Refusal::VerificationDue));
    bench.hand_in(&code, &TOKEN);
    bench.operator();
    assert_eq!(bench.released(), Some(Digest::of(&TOKEN)));
    assert_eq!(bench.gateway(&claim()), Outcome::Released);
    bench.operator();
    assert!(bench.entry.attempts[0].link.claimed_at.is_some(), "the claim is believed");
    assert_eq!(bench.entry.attempts[0].link.tampered, None);

    let mut other = Bench::new(&kinds(false));
    let code = other.mail();
    other.hand_in(&code, &WRONG);
    other.operator();
    assert_eq!(other.gateway(&claim()), Outcome::Refused(Refusal::VerificationDue));
    // Its code is spent: the same one does not pass for another token.
    other.hand_in(&code, &TOKEN);
    other.operator();
    assert_eq!(other.released(), Some(Digest::of(&WRONG)));
    // A new one does, and takes the earlier token's place.
    let code = other.mail();
    other.hand_in(&code, &TOKEN);
    other.operator();
    assert_eq!(other.gateway(&claim()), Outcome::Released);
}

#[test]
fn three_mails_and_five_tries_each_and_then_it_locks() {
    let mut bench = Bench::new(&kinds(false));
    for mail in 1..=3 {
        bench.mail();
        for try_ in 1..=5 {
            bench.pass(31);
            assert_eq!(bench.link.state, State::Open, "mail {mail} try {try_}");
            bench.hand_in(&wrong(), &TOKEN);
            bench.operator();
            assert_eq!(bench.released(), None);
        }
        if mail < 3 {
            assert_eq!(bench.status(), CodeState::UsedUp);
            assert_eq!(bench.hand_in(&bench.mailed[mail - 1].clone(), &TOKEN), Outcome::Done(State::Open));
            assert_eq!(bench.link.open_request(), None, "a used-up code is not even asked about");
        }
    }
    assert_eq!(bench.link.state, State::Locked);
    assert_eq!(bench.link.journal.last().unwrap().event, JournalEvent::Locked);
    assert_eq!(bench.mailed.len(), 3);
    let attempt = &bench.entry.attempts[0];
    assert_eq!((attempt.link.state, attempt.release.is_none()), (State::Locked, true));
    assert!(attempt.obligation.is_some(), "onLocked");
    assert!(attempt.verify.as_ref().unwrap().secrets.is_none(), "what judging needs is forgotten");
}

#[test]
fn wrong_codes_wait_and_the_next_mail_does_not() {
    let mut bench = Bench::new(&kinds(false));
    let code = bench.mail();
    bench.hand_in(&wrong(), &TOKEN);
    bench.operator();
    assert_eq!(bench.status(), CodeState::Wrong);
    let until = bench.now + Span::from_secs(1);
    assert_eq!(bench.hand_in(&code, &TOKEN), Outcome::Refused(Refusal::SlowDown(until)));
    bench.pass(1);
    bench.hand_in(&code, &TOKEN);
    bench.operator();
    assert_eq!(bench.released(), Some(Digest::of(&TOKEN)));
}

#[test]
fn a_code_is_valid_for_ten_minutes_and_costs_no_try_afterwards() {
    let mut bench = Bench::new(&kinds(false));
    let code = bench.mail();
    bench.pass(599);
    let last = bench.now;
    bench.pass(1);
    // The gateway sees it, and asks nothing.
    bench.hand_in(&code, &TOKEN);
    assert_eq!(bench.link.open_request(), None);
    // One whose clock is behind asks; the operator's clock counts.
    let now = std::mem::replace(&mut bench.now, last);
    bench.hand_in(&code, &TOKEN);
    bench.now = now;
    bench.operator();
    assert_eq!((bench.status(), bench.released()), (CodeState::Expired, None));
    assert_eq!(bench.verify().code.as_ref().unwrap().tries, 0);
}

#[test]
fn asking_twice_mails_once() {
    let mut bench = Bench::new(&kinds(false));
    bench.mail();
    bench.ask(Ask::Mail, &TOKEN);
    assert_eq!(bench.link.open_request(), None, "one is on its way");
    // A gateway that asks all the same.
    let seq = bench.verify().answered + 1;
    bench.link.request = Some(Box::new(Request { seq, at: bench.now, token_hash: Digest::of(&TOKEN), ask: Ask::Mail }));
    bench.operator();
    assert_eq!((bench.mailed.len(), bench.verify().answered), (1, seq));
}

#[test]
fn both_factors_must_be_passed_by_one_token() {
    let mut bench = Bench::new(&kinds(true));
    let code = bench.mail();
    bench.hand_in(&code, &TOKEN);
    bench.operator();
    assert_eq!(bench.released(), None, "a sign-in is still due");
    for (token, released) in [(WRONG, None), (TOKEN, Some(Digest::of(&TOKEN)))] {
        bench.ask(answer_of_sign_in(), &token);
        let Action::CheckSignIn(order) = bench.decide() else { panic!("{:?}", bench.decide()) };
        let request = bench.link.request.as_deref().unwrap().clone();
        assert_eq!(order.request, request.seq);
        bench.entry = after::sign_in_judged(&bench.entry, 1, &request, Ok(()), bench.now);
        bench.operator();
        assert_eq!(bench.released(), released);
    }
    assert_eq!(bench.gateway(&claim()), Outcome::Released);
}

#[test]
fn a_mail_that_was_not_sent_is_not_counted_and_one_that_was_refused_is() {
    let mut bench = Bench::new(&kinds(false));
    bench.ask(Ask::Mail, &TOKEN);
    let Action::MailCode(order) = bench.decide() else { panic!("{:?}", bench.decide()) };
    let hash = Digest([3; 32]);
    let begun = after::code_begun(&bench.entry, 1, order.request, hash, bench.now);
    assert_eq!(begun.attempts[0].verify.as_ref().unwrap().mails, 1);
    let undone = after::code_not_sent(&begun, 1, order.request, hash).unwrap();
    assert_eq!(undone.attempts[0].verify, bench.entry.attempts[0].verify, "as it was before");
    assert!(after::code_not_sent(&begun, 1, order.request, Digest([4; 32])).is_none(), "another code by now");
    let fault = fault(Class::Permanent, "smtp-refused");
    bench.entry = after::code_refused(&begun, 1, hash, &fault, bench.now).unwrap();
    bench.operator();
    assert_eq!((bench.status(), bench.verify().mails), (CodeState::NotSent, 1));
}

#[test]
fn nothing_is_mailed_while_the_mail_server_is_down_or_sending_is_paused_and_not_for_ever() {
    let mut bench = Bench::new(&kinds(false));
    bench.ask(Ask::Mail, &TOKEN);
    let asked = bench.now;
    let down = || Some(trouble(Class::Transient, 1000, 1_000_000));
    let cases: [fn(&mut Observation, Option<Trouble>); 3] =
        [|obs, _| obs.paused = true, |obs, down| obs.mail_blocked = down, |obs, down| obs.mail_deferred = down];
    for change in cases {
        let mut obs = bench.observation();
        change(&mut obs, down());
        let decision = decided(spec(), &bench.entry, &obs, 1200);
        assert_eq!(decision.action, Action::Rest);
        assert!(decision.wake.is_some());
    }
    bench.now = asked + Span::from_secs(600);
    bench.operator();
    assert_eq!((bench.status(), bench.mailed.len()), (CodeState::NotSent, 0), "whoever asked has given up");
}

#[test]
fn a_provider_that_cannot_be_reached_is_tried_for_a_minute() {
    let mut bench = Bench::new(&[Verification::Oidc]);
    bench.ask(answer_of_sign_in(), &TOKEN);
    let asked = bench.now;
    let blocked = |bench: &Bench, secs: i64| {
        let mut obs = bench.observation();
        obs.identity_blocked = Some(trouble(Class::Transient, 1000, 1_000_000));
        decide(Some(&manifest(spec())), Some(&bench.entry), &obs, asked + Span::from_secs(secs))
    };
    assert_eq!(blocked(&bench, 59).action, Action::Rest);
    // However often it is tried in that minute, it is one of the twenty; the last of them may be tried again as well.
    for _ in 0..30 {
        let Action::CheckSignIn(order) = bench.decide() else { panic!("{:?}", bench.decide()) };
        bench.entry = after::sign_in_begun(&bench.entry, order.attempt, order.request);
    }
    assert_eq!(bench.verify().sign_ins, 1);
    if let Some(verify) = bench.entry.attempts[0].verify.as_deref_mut() {
        verify.sign_ins = MAX_SIGN_INS;
    }
    assert!(matches!(bench.decide(), Action::CheckSignIn(_)));
    bench.entry = written(blocked(&bench, 60));
    bench.operator();
    let verdict = bench.link.verdict.as_ref().unwrap().sign_in.clone().unwrap();
    assert_eq!(verdict.refused, Some((Digest::of(&TOKEN), SignInRefusal::Provider)));
}

#[test]
fn one_request_at_a_time_and_the_same_once_more_is_the_same() {
    let mut bench = Bench::new(&kinds(true));
    bench.ask(Ask::Mail, &TOKEN);
    let open = bench.link.request.clone();
    assert_eq!(bench.ask(Ask::Mail, &WRONG), Outcome::Done(State::Open), "a mail is a mail");
    assert!(matches!(bench.ask(answer_of_sign_in(), &TOKEN), Outcome::Refused(Refusal::SlowDown(_))));
    assert_eq!(bench.link.request, open);
    // After a minute without an operator, a later one takes its place.
    bench.pass(60);
    assert_eq!(bench.ask(answer_of_sign_in(), &TOKEN), Outcome::Done(State::Open));
    assert_eq!(bench.link.request.as_ref().unwrap().seq, 2);
}

#[test]
fn an_exposed_link_is_told_once_and_goes_on() {
    let mut bench = Bench::new(&kinds(false));
    bench.entry.attempts[0].terms.notify.as_mut().unwrap().on = vec![NoticeKind::Exposed];
    assert_eq!(expose(&bench.link, &WRONG, bench.now), None);
    bench.link = expose(&bench.link, &ACCESS, bench.now).unwrap();
    assert_eq!(expose(&bench.link, &ACCESS, bench.now), None, "once");
    bench.entry = written(decided(spec(), &bench.entry, &bench.observation(), 1200));
    assert!(bench.entry.outbox.iter().any(|e| e.kind == crate::audit::EventKind::Exposed));
    assert_eq!(bench.entry.notices.len(), 1);
    assert_eq!((bench.entry.attempts[0].link.state, bench.entry.attempts[0].link.ended_at), (State::Open, None));
}

#[test]
fn a_record_that_cannot_be_written_is_tried_when_its_time_comes_and_holds_up_nothing() {
    let mut bench = Bench::new(&kinds(false));
    bench.mail();
    bench.link.verdict = None;
    assert_eq!(bench.decide(), Action::Judge(1));
    let troubled = |bench: &Bench| {
        let refused = trouble(Class::Permanent, 1000, 1300);
        Observation { record_trouble: BTreeMap::from([(1, refused)]), ..bench.observation() }
    };
    let waits = decided(spec(), &bench.entry, &troubled(&bench), 1299);
    assert_eq!((waits.action, waits.wake), (Action::Rest, Some(at(1300))));
    assert_eq!(decided(spec(), &bench.entry, &troubled(&bench), 1300).action, Action::Judge(1));
    bench.entry.emit(crate::audit::EventKind::Held, 0, at(1200), "why", &[]);
    assert_eq!(decided(spec(), &bench.entry, &troubled(&bench), 1299).action, Action::FlushAudit);
}
