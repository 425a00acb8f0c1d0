//! The e-mailed code: ask for it, have it typed, wait for the operator's verdict.

use ps_core::ids::Digest;
use ps_core::link::email_code::EmailCode;
use ps_core::service::{
    CodeAnswer, CodeRequest, CodeStep, EmailCodeAnswer, EmailCodeStatus, Refusal, TypedCode, WireAsk,
};
use ps_core::time::Span;
use ps_envelope::{Opener, OpeningCode};

use crate::clock;
use crate::failure::{Exit, Failure};
use crate::gateway::NoAnswer;
use crate::session::{Session, over, revealed};
use crate::terminal::say;

/// How often a verdict is asked for before this gives up: about a minute, since each answer waits for some seconds.
const LOOKS: u32 = 20;

/// Passes the e-mailed code for one claim token; returns the opening code that was typed on the way.
pub(crate) fn pass(session: &mut Session<'_>, opener: &Opener, token: Digest) -> Result<Option<OpeningCode>, Failure> {
    let mut verifying = Verifying { session, opener, token, opening_code: None };
    let mut codes = verifying.ask(CodeStep::Status)?;
    loop {
        match codes.status {
            EmailCodeStatus::Passed => return Ok(verifying.opening_code),
            EmailCodeStatus::Sent | EmailCodeStatus::Wrong if codes.tries_left != Some(0) => {
                codes = verifying.type_code(&codes)?;
            }
            EmailCodeStatus::Sending | EmailCodeStatus::Checking => {
                return Err(Failure::new(
                    Exit::Again,
                    "the operator has not answered yet",
                    "Run the same command again in a while",
                ));
            }
            _ if codes.mails_left == 0 => {
                return Err(Failure::new(
                    Exit::Other,
                    "no mail with a code is left for this link. Nothing was opened",
                    "Ask the sender for a new one",
                ));
            }
            _ => codes = verifying.mail(&codes)?,
        }
    }
}

struct Verifying<'s, 'a> {
    session: &'s mut Session<'a>,
    opener: &'s Opener,
    token: Digest,
    opening_code: Option<OpeningCode>,
}

impl Verifying<'_, '_> {
    fn mail(&mut self, before: &EmailCodeAnswer) -> Result<EmailCodeAnswer, Failure> {
        let told = match before.status {
            EmailCodeStatus::Expired => "The code has expired.",
            EmailCodeStatus::UsedUp => "The code is used up.",
            EmailCodeStatus::NotSent => "The mail with the code could not be sent.",
            _ => "This link also asks for a code that is mailed to you.",
        };
        say(told);
        let Some(terminal) = self.session.inputs.terminal() else {
            return Err(Failure::new(
                Exit::Other,
                "this link asks for a code that is mailed, and there is nobody to type it. Nothing was opened",
                "Run it in a terminal, or open the link in a browser",
            ));
        };
        if !terminal.confirm(&format!("Have a code mailed? ({} mails are left.)", before.mails_left))? {
            return Err(Failure::new(Exit::Other, "nothing was opened", ""));
        }
        self.ask_with_opening_code(&WireAsk::Mail)
    }

    fn type_code(&mut self, out: &EmailCodeAnswer) -> Result<EmailCodeAnswer, Failure> {
        if out.status == EmailCodeStatus::Wrong {
            say(&format!("Wrong code; {} tries are left for it.", out.tries_left.unwrap_or(0)));
        }
        if let Some(wait) = out.retry_after {
            self.session.wait(wait, Exit::Wrong, "wrong e-mailed code")?;
        }
        let until = out.expires_at.map(|at| clock::until(at, clock::now())).unwrap_or_default();
        loop {
            let Some(terminal) = self.session.inputs.terminal() else {
                return Err(Failure::new(
                    Exit::Other,
                    "a code was mailed, and there is nobody to type it. Nothing was opened",
                    "Run it in a terminal",
                ));
            };
            let typed = terminal.line(&format!("Code from the mail (valid {until}; empty for another mail): "))?;
            if typed.expose().trim().is_empty() {
                return self.ask_with_opening_code(&WireAsk::Mail);
            }
            if let Some(code) = EmailCode::parse(typed.expose().trim()) {
                return self.ask_with_opening_code(&WireAsk::Code(code));
            }
            say("That is no code: it has eight digits.");
        }
    }

    fn ask_with_opening_code(&mut self, ask: &WireAsk) -> Result<EmailCodeAnswer, Failure> {
        loop {
            if self.opening_code.is_none() {
                self.opening_code = Some(self.session.inputs.code()?);
            }
            let opening_code = self.opening_code.as_ref().and_then(|code| TypedCode::parse(code.expose()));
            let step = CodeStep::Ask { opening_code, ask: ask.clone(), exposed: self.session.exposed };
            match self.send(step) {
                Ok(codes) => return Ok(codes),
                Err(NoAnswer::Refused(Refusal::WrongCode { retry_after })) => {
                    if self.session.inputs.code_is_fixed() {
                        let remedy = format!("The next try counts in {retry_after}");
                        return Err(Failure::new(Exit::Wrong, "wrong opening code", remedy));
                    }
                    say("Wrong opening code.");
                    self.opening_code = None;
                    self.session.wait(retry_after, Exit::Wrong, "wrong opening code")?;
                }
                Err(NoAnswer::Refused(Refusal::SlowDown { retry_after })) => {
                    self.session.wait(retry_after, Exit::Again, "the gateway asks to wait")?;
                }
                Err(NoAnswer::Refused(Refusal::Gone(state))) => return Err(over(state)),
                Err(error) => return Err(error.failure()),
            }
        }
    }

    fn ask(&mut self, step: CodeStep) -> Result<EmailCodeAnswer, Failure> {
        self.send(step).map_err(|error| match error {
            NoAnswer::Refused(Refusal::Gone(state)) => over(state),
            error => error.failure(),
        })
    }

    /// Asks, and goes on asking for the status until the operator has answered.
    fn send(&mut self, step: CodeStep) -> Result<EmailCodeAnswer, NoAnswer> {
        let mut step = step;
        for _ in 0..LOOKS {
            let access = revealed(self.opener.access()).map_err(|_| NoAnswer::Network("the link can't be used"))?;
            let request = CodeRequest { id: self.opener.id(), access, token_hash: self.token, step };
            let CodeAnswer { state, email_code, retry_after, .. } = self.session.gateway.code(&request)?;
            let Some(codes) = email_code else { return Err(NoAnswer::Foreign(200)) };
            if !matches!(state, ps_core::link::State::Open) {
                return Err(NoAnswer::Refused(Refusal::Gone(state)));
            }
            let Some(wait) = retry_after else { return Ok(codes) };
            say("Waiting for the operator…");
            std::thread::sleep(wait.min(Span::from_secs(5)).to_std());
            step = CodeStep::Status;
        }
        Err(NoAnswer::Refused(Refusal::NotReady))
    }
}
