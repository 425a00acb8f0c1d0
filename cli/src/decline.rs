//! `decline`: "not meant for me", or "it was not me who opened it".

use ps_core::link::State;
use ps_core::service::{DeclineRequest, Refusal, TypedCode};
use ps_envelope::OpeningCode;

use crate::args::DeclineArgs;
use crate::claims::Claims;
use crate::failure::{Exit, Failure};
use crate::gateway::NoAnswer;
use crate::inputs::Inputs;
use crate::session::{Looked, Session, over, revealed};
use crate::terminal::say;

/// Declines the link that the person brings.
pub(crate) fn run(args: &DeclineArgs) -> Result<(), Failure> {
    let (mut session, opener) = Session::start(&args.from)?;
    let looked = session.look(&opener)?;
    session.introduce(&looked);
    let state = looked.answer.state;
    if !matches!(state, State::Open | State::Claimed | State::Retrieved | State::Declined) {
        return Err(over(state));
    }
    if !args.yes {
        let question = if state == State::Open {
            "Say that it is not meant for you? It ends for everybody, and the sender is told."
        } else {
            "It was opened. Say that it was not you? The sender is told."
        };
        let Some(terminal) = session.inputs.terminal() else {
            return Err(Failure::usage(
                "this ends the link, and there is nobody to ask whether you mean it",
                "Add --yes",
            ));
        };
        if !terminal.confirm(question)? {
            return Err(Failure::new(Exit::Other, "nothing was declined", ""));
        }
    }
    let mut code = code(&mut session.inputs, &looked)?;
    loop {
        let request = DeclineRequest {
            id: opener.id(),
            access: revealed(opener.access())?,
            opening_code: code.as_ref().and_then(|code| TypedCode::parse(code.expose())),
            decline: revealed(opener.decline())?,
            exposed: session.exposed,
        };
        match session.gateway.decline(&request) {
            Ok(answer) => {
                if let Ok(claims) = Claims::from_environment() {
                    claims.forget(opener.id());
                }
                say(if answer.state == State::Declined {
                    "Declined: the link is over, what it held is erased, and the sender is told."
                } else {
                    "The sender is told that it was not you who opened it."
                });
                return Ok(());
            }
            Err(NoAnswer::Refused(Refusal::WrongCode { retry_after })) => {
                let what = "wrong opening code";
                if session.inputs.code_is_fixed() {
                    return Err(Failure::new(Exit::Wrong, what, format!("The next try counts in {retry_after}")));
                }
                say("Wrong opening code.");
                session.wait(retry_after, Exit::Wrong, what)?;
                code = Some(session.inputs.code()?);
            }
            Err(NoAnswer::Refused(Refusal::SlowDown { retry_after })) => {
                let what = "the gateway asks to wait, as after something that was mistyped";
                session.wait(retry_after, Exit::Again, what)?;
            }
            Err(NoAnswer::Refused(Refusal::Gone(state))) => return Err(over(state)),
            Err(error) => return Err(error.failure()),
        }
    }
}

/// The opening code, which a decline needs wherever the link has one. A lookup tells only whether a *claim* needs it:
/// beside a passphrase it may exist or not, so it is used if it can be had.
fn code(inputs: &mut Inputs<'_>, looked: &Looked) -> Result<Option<OpeningCode>, Failure> {
    if looked.answer.opening_code {
        return inputs.code().map(Some);
    }
    if looked.facts.needs_passphrase() && inputs.can_bring_a_code() {
        return inputs.code().map(Some);
    }
    Ok(None)
}
