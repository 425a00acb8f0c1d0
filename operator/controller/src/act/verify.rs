//! E-mailed codes and sign-ins: make a code and mail it, have a sign-in checked, tell the record what was judged.
//!
//! A code exists in this act and in its mail, nowhere else. Its hash is written down before it is sent, as one of the
//! link's three mails: a crash in between costs a mail, never a guess.

use ps_core::decide::{Order, SIGN_IN_PATIENCE, after};
use ps_core::encode::b64;
use ps_core::entry::{Attempt, Entry};
use ps_core::error::{Class, Fault};
use ps_core::ids::{Digest, Key};
use ps_core::link::email_code::EmailCode;
use ps_core::link::verification::{Ask, Request, SignInRefusal};
use ps_core::link::{Command, Record};
use ps_core::mail::CodeMail;
use ps_core::ports::{MailError, SignIn};
use ps_core::time::Timestamp;

use super::{Trip, attempt_of};
use crate::controller::Controller;
use crate::observe::View;

/// Draws for one code; each but one in forty-three makes one.
const DRAWS: usize = 16;

impl Controller {
    /// Makes a code, writes down its hash, mails it.
    pub(super) async fn mail_code(&self, key: &Key, view: &View, order: Order) -> Result<(), Trip> {
        let attempt = attempt_of(view, order.attempt)?;
        let (Some(before), Some(secrets)) = (&view.entry, attempt.verify.as_deref().and_then(|v| v.secrets.as_deref()))
        else {
            return Err(Trip::Lost);
        };
        // Nothing is counted for a mail that can't leave.
        self.ports.mailer.ready().await?;
        self.desk.unblock_mail();
        let code = self.fresh_code()?;
        let hash = secrets.code_key.hash(attempt.record, &code);
        let now = self.now();
        let begun = after::code_begun(&before.value, order.attempt, order.request, hash, now);
        let until = begun.attempt(order.attempt).and_then(expiry).ok_or(Trip::Lost)?;
        let mail = CodeMail {
            to: secrets.recipient.clone(),
            message_id: self.message_id()?,
            sender: secrets.sender.clone(),
            code: code.shown(),
            expires_at: until,
        };
        drop(code);
        // One of the three mails from here on (invariant 5).
        self.persist(view, &begun).await?;
        let mut answer = self.ports.mailer.send_code(&mail).await;
        if let Err(MailError::Unknown(fault)) = &answer {
            // The same message once more, under the same Message-ID; whatever that says short of "accepted", the first one
            // may have arrived, and counts.
            answer = self.ports.mailer.send_code(&mail).await.map_err(|_| MailError::Unknown(fault.clone()));
        }
        drop(mail);
        match answer {
            Ok(()) | Err(MailError::Unknown(_)) => {
                self.desk.mailed(key);
                Ok(())
            }
            Err(MailError::Refused(fault)) => {
                self.update(key, |e| after::code_refused(e, order.attempt, hash, &fault, now)).await
            }
            Err(error @ (MailError::NotSent(_) | MailError::Deferred(_))) => {
                let undone = |e: &Entry| after::code_not_sent(e, order.attempt, order.request, hash);
                match self.update(key, undone).await {
                    Ok(()) | Err(Trip::Lost) => Err(Trip::from(error)),
                    Err(trip) => Err(trip),
                }
            }
        }
    }

    fn fresh_code(&self) -> Result<EmailCode, Trip> {
        for _ in 0..DRAWS {
            let code = EmailCode::from_fill(|out| self.ports.random.fill(out)).map_err(Trip::Storage)?;
            if let Some(code) = code {
                return Ok(code);
            }
        }
        Err(Trip::Storage(Fault::new(Class::Transient, "no-randomness", "the random numbers are not random")))
    }

    /// Has a sign-in checked. It counts before the provider is asked.
    pub(super) async fn check_sign_in(&self, key: &Key, view: &View, order: Order) -> Result<(), Trip> {
        let attempt = attempt_of(view, order.attempt)?;
        let record = view.obs.records.get(&order.attempt).and_then(Option::as_ref);
        let request =
            record.and_then(Record::link).and_then(|l| l.request.as_deref()).filter(|r| r.seq == order.request);
        let (Some(before), Some(request), Some(secrets)) =
            (&view.entry, request, attempt.verify.as_deref().and_then(|v| v.secrets.as_deref()))
        else {
            return Err(Trip::Lost);
        };
        let Ask::SignIn { code, verifier } = &request.ask else { return Err(Trip::Lost) };
        self.persist(view, &after::sign_in_begun(&before.value, order.attempt, order.request)).await?;
        let nonce = nonce(attempt, request);
        let answer = SignIn { code, verifier, nonce, email: &secrets.recipient.email };
        let verdict = match self.ports.identities.sign_in(&answer).await {
            Ok(verdict) => verdict,
            Err(fault) if fault.is_transient() && self.now() < request.at + SIGN_IN_PATIENCE => {
                return Err(Trip::Identity(fault));
            }
            Err(fault) => {
                self.log.failed(key, &fault);
                Err(SignInRefusal::Provider)
            }
        };
        self.desk.unblock_identity();
        let now = self.now();
        let open = |e: &Entry| e.attempt(order.attempt)?.verify.as_ref().filter(|v| v.answered < request.seq).map(drop);
        self.update(key, |e| open(e).map(|()| after::sign_in_judged(e, order.attempt, request, verdict, now))).await
    }

    /// Tells the record what was judged.
    pub(super) async fn judge(&self, key: &Key, attempt: &Attempt) -> Result<(), Trip> {
        let Some((verdict, release)) = attempt.verdict() else { return Err(Trip::Lost) };
        self.command(key, attempt, &Command::Judge { verdict: Box::new(verdict), release }).await
    }
}

/// What the identity token must say (docs/link-protocol.md, section 8): it binds a sign-in to one link and one token.
fn nonce(attempt: &Attempt, request: &Request) -> String {
    let mut input = attempt.record.0.to_vec();
    input.extend_from_slice(&request.token_hash.0);
    b64(&Digest::of(&input).0)
}

fn expiry(attempt: &Attempt) -> Option<Timestamp> {
    attempt.verify.as_ref()?.code.as_ref().map(|c| c.until)
}
