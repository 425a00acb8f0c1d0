//! `open`: look up, ask, claim with a token that is kept first, open, print, acknowledge.

use ps_core::link::{State, Verification};
use ps_core::service::{AcknowledgeRequest, ClaimAnswer, ClaimRequest, Refusal, Revealed, TypedCode};
use ps_core::time::{Span, Timestamp};
use ps_envelope::{ClaimToken, FactorSecret, Opener, OpeningCode, Payload, Unlocked};

use crate::args::{OpenArgs, Output};
use crate::claims::Claims;
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::gateway::NoAnswer;
use crate::printer::{self, Form};
use crate::session::{Looked, Session, over, revealed};
use crate::terminal::{prints_to_terminal, say};
use crate::verify;

/// Opens the link that the person brings.
pub(crate) fn run(args: &OpenArgs) -> Result<(), Failure> {
    let form = form(args)?;
    let claims = Claims::from_environment()?;
    let (session, opener) = Session::start(&args.from)?;
    let looked = session.look(&opener)?;
    session.introduce(&looked);
    if looked.answer.kinds.contains(&Verification::Oidc) && looked.answer.state == State::Open {
        return Err(Failure::new(
            Exit::Other,
            "this link asks for a sign-in, which this program can't do. Nothing was opened",
            "Open it in a browser",
        ));
    }
    let mut opening = Opening { session, opener: &opener, args, looked, claims };
    let opened = match opening.looked.answer.state {
        State::Open => opening.first()?,
        State::Claimed => opening.again()?,
        state => return Err(opening.over(state)),
    };
    let repeat = format!("Until {} the same command opens it again", clock::until(opened.until, clock::now()));
    let shown = opening.hand_over(&form, &opened.payload).map_err(|failure| failure.and(&repeat))?;
    opening.finish(&opened.payload, shown, &repeat)
}

/// What is printed; decided before anything is claimed.
fn form(args: &OpenArgs) -> Result<Form, Failure> {
    let form = match (&args.field, args.output) {
        (Some(key), _) => Form::Field(key.clone()),
        (None, Output::Table) => Form::Table,
        (None, Output::Json) => Form::Json,
        (None, Output::Env) => Form::Env(args.env_prefix.clone()),
    };
    if prints_to_terminal() && !args.show && !matches!(form, Form::Table) {
        return Err(Failure::usage(
            "this would show a secret on the terminal. Nothing was opened",
            "Add --show if you mean it, or send the output to a file or a program",
        ));
    }
    Ok(form)
}

/// What a claim brought.
struct Opened {
    payload: Payload,
    /// Until when the claim may be repeated.
    until: Timestamp,
}

/// One run of `open`, once the link is known.
struct Opening<'a> {
    session: Session<'a>,
    opener: &'a Opener,
    args: &'a OpenArgs,
    looked: Looked,
    claims: Claims,
}

impl<'a> Opening<'a> {
    /// The first claim, with whatever the link asks for; asked for again where a person sits there.
    fn first(&mut self) -> Result<Opened, Failure> {
        let id = self.opener.id();
        let mut typed: Option<OpeningCode> = None;
        let mut given: Option<Unlocked<'a>> = None;
        if self.looked.facts.needs_factor() {
            let token = self.claims.load_or_make(id)?;
            typed = verify::pass(&mut self.session, self.opener, token.hash())?;
        }
        loop {
            if self.looked.answer.opening_code && typed.is_none() {
                typed = Some(self.session.inputs.code()?);
            }
            let unlocked = match given.take() {
                Some(unlocked) => unlocked,
                None => self.unlock()?,
            };
            let token = self.claims.load_or_make(id)?;
            let claim = ClaimRequest::First {
                id,
                access: self.access()?,
                opening_code: typed.as_ref().and_then(|code| TypedCode::parse(code.expose())),
                proof: revealed(unlocked.proof())?,
                token_hash: token.hash(),
                exposed: self.session.exposed,
            };
            match self.session.gateway.claim(&claim) {
                Ok(answer) => return opened(&unlocked, answer),
                Err(NoAnswer::Refused(Refusal::WrongCode { retry_after })) => {
                    match typed.take() {
                        Some(_) => self.wrong_code(retry_after)?,
                        // Due since the lookup: the passphrase was wrong too often elsewhere.
                        None => self.session.wait(
                            retry_after,
                            Exit::Again,
                            "the gateway asks for the opening code as well",
                        )?,
                    }
                    self.looked.answer.opening_code = true;
                    given = Some(unlocked);
                }
                Err(NoAnswer::Refused(Refusal::WrongProof { attempts_left, retry_after })) => {
                    self.wrong_passphrase(attempts_left, retry_after)?;
                    // After some, the opening code is due as well.
                    self.looked = self.session.look(self.opener)?;
                }
                Err(NoAnswer::Refused(Refusal::SlowDown { retry_after })) => {
                    let what = "the gateway asks to wait, as after something that was mistyped";
                    self.session.wait(retry_after, Exit::Again, what)?;
                    given = Some(unlocked);
                }
                // Claimed since the lookup: by a run of ours whose reply was lost, or by somebody else.
                Err(NoAnswer::Refused(Refusal::Claimed)) => {
                    if let Some(opened) = self.repeat(&unlocked, &token)? {
                        return Ok(opened);
                    }
                }
                Err(NoAnswer::Refused(Refusal::Gone(state))) => return Err(self.over(state)),
                Err(error @ NoAnswer::Network(_)) => {
                    let kept = "If it was opened, the right to open it again is kept here, so nothing is lost";
                    return Err(error.failure().and(kept));
                }
                Err(error) => return Err(error.failure()),
            }
        }
    }

    /// Another claim with the token of an earlier run.
    fn again(&mut self) -> Result<Opened, Failure> {
        let Some(token) = self.claims.load(self.opener.id())? else { return Err(by_somebody_else()) };
        say("You opened it before, on this machine.");
        loop {
            let unlocked = self.unlock()?;
            if let Some(opened) = self.repeat(&unlocked, &token)? {
                return Ok(opened);
            }
        }
    }

    /// `None` if the passphrase was wrong and another one can be asked for.
    fn repeat(&mut self, unlocked: &Unlocked<'_>, token: &ClaimToken) -> Result<Option<Opened>, Failure> {
        let id = self.opener.id();
        let claim = ClaimRequest::Again {
            id,
            access: self.access()?,
            proof: revealed(unlocked.proof())?,
            token: revealed_token(token)?,
            exposed: self.session.exposed,
        };
        match self.session.gateway.claim(&claim) {
            Ok(answer) => opened(unlocked, answer).map(Some),
            Err(NoAnswer::Refused(Refusal::WrongProof { attempts_left, retry_after })) => {
                self.wrong_passphrase(attempts_left, retry_after).map(|()| None)
            }
            Err(NoAnswer::Refused(Refusal::Claimed)) => {
                self.claims.forget(id);
                Err(by_somebody_else())
            }
            Err(NoAnswer::Refused(Refusal::Gone(state))) => Err(self.over(state)),
            Err(error) => Err(error.failure()),
        }
    }

    fn access(&self) -> Result<Revealed, Failure> {
        revealed(self.opener.access())
    }

    fn unlock(&mut self) -> Result<Unlocked<'a>, Failure> {
        let facts = self.looked.facts.clone();
        let passphrase = if facts.needs_passphrase() {
            Some(self.session.inputs.passphrase(self.args.passphrase_file.as_deref())?)
        } else {
            None
        };
        Ok(self.opener.unlock(facts, passphrase.as_ref())?)
    }

    fn wrong_code(&mut self, retry_after: Span) -> Result<(), Failure> {
        let what = "wrong opening code";
        if self.session.inputs.code_is_fixed() {
            return Err(Failure::new(Exit::Wrong, what, format!("The next try counts in {retry_after}")));
        }
        say("Wrong opening code.");
        self.session.wait(retry_after, Exit::Wrong, what)
    }

    fn wrong_passphrase(&mut self, left: u32, retry_after: Span) -> Result<(), Failure> {
        let what = format!("wrong passphrase; {left} tries are left before the link locks");
        if self.args.passphrase_file.is_some() || !self.looked.facts.needs_passphrase() {
            return Err(Failure::new(Exit::Wrong, what, format!("The next try counts in {retry_after}")));
        }
        say(&format!("Wrong passphrase; {left} tries are left before the link locks."));
        self.session.wait(retry_after, Exit::Wrong, &what)
    }

    /// The link is over, and so is what is kept of it.
    fn over(&self, state: State) -> Failure {
        self.claims.forget(self.opener.id());
        over(state)
    }

    /// Saves and prints. `false` if hidden values were not shown.
    fn hand_over(&mut self, form: &Form, payload: &Payload) -> Result<bool, Failure> {
        if let Some(folder) = &self.args.files {
            printer::save(payload, folder)?;
        }
        let to_terminal = prints_to_terminal();
        let show = self.args.show || !to_terminal;
        printer::print(form, payload, show, to_terminal)?;
        if show || !printer::hides(payload) {
            return Ok(true);
        }
        let asked = match self.session.inputs.terminal() {
            Some(terminal) => terminal.confirm("Show the hidden values?")?,
            None => false,
        };
        if asked {
            return printer::print(form, payload, true, to_terminal).map(|()| true);
        }
        say("Hidden values: use --show, or send the output to a file or a program.");
        Ok(false)
    }

    /// Acknowledges, if the person says so, or says how to.
    fn finish(&mut self, payload: &Payload, shown: bool, repeat: &str) -> Result<(), Failure> {
        if self.args.acknowledge && !shown {
            // It would be erased, and nobody has seen it.
            let message = "hidden values were not shown, so nothing was acknowledged";
            return Err(Failure::usage(message, "Add --show, or send the output to a file or a program").and(repeat));
        }
        if !payload.files.is_empty() && self.args.files.is_none() {
            say(&format!(
                "{} files came along and are not saved: use --files DIR. Not acknowledged.\n{repeat}.",
                payload.files.len()
            ));
            return if self.args.acknowledge {
                Err(Failure::usage("there is no folder for the files, so nothing was acknowledged", repeat))
            } else {
                Ok(())
            };
        }
        let acknowledge = self.args.acknowledge
            || match self.session.inputs.terminal() {
                Some(terminal) if prints_to_terminal() => terminal.confirm("Saved? Then it is erased.")?,
                _ => false,
            };
        if !acknowledge {
            say(&format!("Not acknowledged. {repeat}; with --acknowledge it says that you have saved it."));
            return Ok(());
        }
        let id = self.opener.id();
        let Some(token) = self.claims.load(id)? else {
            return Err(Failure::new(
                Exit::Other,
                "the claim kept on this machine is gone, so nothing was acknowledged",
                "",
            ));
        };
        let request = AcknowledgeRequest { id, access: self.access()?, token: revealed_token(&token)? };
        match self.session.gateway.acknowledge(&request) {
            Ok(_) => {
                self.claims.forget(id);
                say("Acknowledged: it is erased, and the sender can see that you have it.");
                Ok(())
            }
            Err(error) => Err(error.failure().and("It was printed; only the acknowledgement is missing").and(repeat)),
        }
    }
}

fn revealed_token(token: &ClaimToken) -> Result<Revealed, Failure> {
    let text = token.to_text()?;
    let bytes = ps_core::encode::from_b64_array(text.expose());
    bytes.map(Revealed).ok_or_else(|| Failure::new(Exit::Other, "the claim kept on this machine is damaged", ""))
}

fn opened(unlocked: &Unlocked<'_>, answer: ClaimAnswer) -> Result<Opened, Failure> {
    let ClaimAnswer { ciphertext, not_after: _, claimed_at: _, window_ends_at, r } = answer;
    let r = r.map(|r| {
        FactorSecret::from_fill(|out| {
            out.copy_from_slice(&r.0);
            Ok::<(), Failure>(())
        })
    });
    let payload = unlocked.open(r.transpose()?.as_ref(), &ciphertext.0).map_err(|error| {
        Failure::new(
            Exit::Other,
            format!("what the gateway handed out is not what was sealed: {error}"),
            "Tell the sender",
        )
    })?;
    Ok(Opened { payload, until: window_ends_at })
}

fn by_somebody_else() -> Failure {
    Failure::new(
        Exit::Over,
        "the link was opened already, and not by you on this machine",
        "If it was not you in a browser or elsewhere, say so with `password-sender decline`, and tell the sender",
    )
}
