//! E-mailed codes and sign-ins: an honest gateway and the operator's decisions in turn, and gateways that cheat.

use super::*;
use crate::entry::{JudgeSecrets, ReleaseKey, Verifying};
use crate::link::check::Tamper;
use crate::link::email_code::{CodeKey, EmailCode, attempt as tried};
use crate::link::rules::expose;
use crate::link::sample::{ACCESS, TOKEN, WRONG, claim, code as opening};
use crate::link::verification::*;
use crate::link::{Command, JournalEvent, Link, Outcome, Refusal, Release, Verification, apply};

/// A link and what the operator remembers of it; time only goes on.
struct Bench {
    entry: Entry,
    link: Link,
    now: Timestamp,
    /// The code of each mail.
    mailed: Vec<EmailCode>,
}

impl Bench {
    fn new(kinds: &[Verification]) -> Self {
        let link = sample::link(kinds);
        let mut attempt = attempt(accepted());
        attempt.digest = link.sealed.digest();
        attempt.release = Some(ReleaseKey([7; 32]));
        let secrets = JudgeSecrets {
            code_key: CodeKey::from_access(&ACCESS),
            judge_key: JudgeKey([8; 32]),
            recipient: spec().recipient,
            sender: String::new(),
        };
        let due = kinds.iter().copied().filter(|k| *k != Verification::Passphrase).collect();
        attempt.verify = Some(Box::new(Verifying::new(due, secrets)));
        Self { entry: entry(vec![attempt]), link, now: at(1100), mailed: Vec::new() }
    }

    fn verify(&self) -> &Verifying {
        self.entry.attempts[0].verify.as_deref().unwrap()
    }

    fn observation(&self) -> Observation {
        with_record(&self.entry, Some(Record::Link(Box::new(self.link.clone()))))
    }

    fn gateway(&mut self, command: &Command) -> Outcome {
        let step = apply(&self.link, command, self.now);
        self.link = step.next.unwrap_or_else(|| self.link.clone());
        step.outcome
    }

    fn ask(&mut self, ask: Ask, token: &[u8; 32]) -> Outcome {
        self.gateway(&Command::Ask { access: ACCESS, code: opening(true), token_hash: Digest::of(token), ask })
    }

    fn hand_in(&mut self, code: &EmailCode, token: &[u8; 32]) -> Outcome {
        let hash = CodeKey::from_access(&ACCESS).hash(sample::ID, code);
        self.ask(Ask::Code(tried(&hash, &Digest::of(token))), token)
    }

    fn decide(&self) -> Action {
        decide(Some(&manifest(spec())), Some(&self.entry), &self.observation(), self.now).action
    }

    /// What an operator does until it rests, with a mail server that takes everything.
    fn operator(&mut self) {
        for _ in 0..20 {
            match self.decide() {
                Action::Persist(next) => self.entry = *next,
                Action::MailCode(order) => {
                    let code = EmailCode::parse(&format!("{:08}", 100 + self.mailed.len())).unwrap();
                    let hash = CodeKey::from_access(&ACCESS).hash(sample::ID, &code);
                    self.entry = after::code_begun(&self.entry, order.attempt, order.request, hash, self.now);
                    self.mailed.push(code);
                }
                Action::Judge(number) => {
                    let (verdict, release) = self.entry.attempt(number).and_then(Attempt::verdict).unwrap();
                    self.gateway(&Command::Judge { verdict: Box::new(verdict), release });
                }
                Action::Lock(_) => drop(self.gateway(&Command::Lock)),
                Action::FlushAudit => self.entry.outbox.clear(),
                Action::Rest | Action::Notify(_) | Action::Rotate { .. } | Action::Observe(_) => return,
                other => panic!("{other:?}"),
            }
        }
        panic!("it does not come to rest");
    }

    fn pass(&mut self, secs: i64) {
        self.now = self.now + Span::from_secs(secs);
    }

    /// A code asked for and mailed.
    fn mail(&mut self) -> EmailCode {
        self.pass(31);
        assert_eq!(self.ask(Ask::Mail, &TOKEN), Outcome::Done(State::Open));
        self.operator();
        self.mailed.last().unwrap().clone()
    }

    fn status(&self) -> CodeState {
        self.link.verdict.as_ref().unwrap().email_code.as_ref().unwrap().state
    }

    fn released(&self) -> Option<Digest> {
        self.link.release.as_ref().map(|r| r.token_hash)
    }
}

fn wrong() -> EmailCode {
    EmailCode::parse("99999999").unwrap()
}

fn kinds(all: bool) -> Vec<Verification> {
    let two = [Verification::EmailCode, Verification::Oidc];
    two.into_iter().take(if all { 2 } else { 1 }).collect()
}

fn answer_of_sign_in() -> Ask {
    Ask::SignIn { code: "code".into(), verifier: "v".repeat(43) }
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
            let begun = after::sign_in_begun(&bench.entry, order.attempt);
            bench.entry = after::sign_in_judged(&begun, 1, &request, Err(SignInRefusal::Email), bench.now);
        }
        bench.operator();
        assert_eq!(bench.released(), None);
    }
    assert_eq!((bench.mailed.len(), bench.verify().mails, bench.link.state), (3, 3, State::Locked));
    assert!(bench.verify().sign_ins <= MAX_SIGN_INS);
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
    for paused in [true, false] {
        let mut obs = bench.observation();
        obs.paused = paused;
        obs.mail_blocked = (!paused).then(|| trouble(Class::Transient, 1000, 1_000_000));
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
