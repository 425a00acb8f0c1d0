//! A link that demands factors, with an honest gateway and the operator's decisions in turn.

use super::*;
use crate::entry::{JudgeSecrets, ReleaseKey, Verifying};
use crate::link::email_code::{CodeKey, EmailCode, attempt as tried};
use crate::link::sample::{ACCESS, TOKEN, code as opening};
use crate::link::verification::*;
use crate::link::{Command, Link, Outcome, Verification, apply};

/// A link and what the operator remembers of it; time only goes on.
pub(super) struct Bench {
    pub(super) entry: Entry,
    pub(super) link: Link,
    pub(super) now: Timestamp,
    /// The code of each mail.
    pub(super) mailed: Vec<EmailCode>,
}

impl Bench {
    pub(super) fn new(kinds: &[Verification]) -> Self {
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

    pub(super) fn verify(&self) -> &Verifying {
        self.entry.attempts[0].verify.as_deref().unwrap()
    }

    pub(super) fn observation(&self) -> Observation {
        with_record(&self.entry, Some(Record::Link(Box::new(self.link.clone()))))
    }

    pub(super) fn gateway(&mut self, command: &Command) -> Outcome {
        let step = apply(&self.link, command, self.now);
        self.link = step.next.unwrap_or_else(|| self.link.clone());
        step.outcome
    }

    pub(super) fn ask(&mut self, ask: Ask, token: &[u8; 32]) -> Outcome {
        self.gateway(&Command::Ask { access: ACCESS, code: opening(true), token_hash: Digest::of(token), ask })
    }

    pub(super) fn hand_in(&mut self, code: &EmailCode, token: &[u8; 32]) -> Outcome {
        let hash = CodeKey::from_access(&ACCESS).hash(sample::ID, code);
        self.ask(Ask::Code(tried(&hash, &Digest::of(token))), token)
    }

    pub(super) fn decide(&self) -> Action {
        decide(Some(&manifest(spec())), Some(&self.entry), &self.observation(), self.now).action
    }

    /// What an operator does until it rests, with a mail server that takes everything.
    pub(super) fn operator(&mut self) {
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

    pub(super) fn pass(&mut self, secs: i64) {
        self.now = self.now + Span::from_secs(secs);
    }

    /// A code asked for and mailed.
    pub(super) fn mail(&mut self) -> EmailCode {
        self.pass(31);
        assert_eq!(self.ask(Ask::Mail, &TOKEN), Outcome::Done(State::Open));
        self.operator();
        self.mailed.last().unwrap().clone()
    }

    pub(super) fn status(&self) -> CodeState {
        self.link.verdict.as_ref().unwrap().email_code.as_ref().unwrap().state
    }

    pub(super) fn released(&self) -> Option<Digest> {
        self.link.release.as_ref().map(|r| r.token_hash)
    }
}

pub(super) fn kinds(all: bool) -> Vec<Verification> {
    let two = [Verification::EmailCode, Verification::Oidc];
    two.into_iter().take(if all { 2 } else { 1 }).collect()
}

pub(super) fn answer_of_sign_in() -> Ask {
    Ask::SignIn { code: "code".into(), verifier: "v".repeat(43) }
}
