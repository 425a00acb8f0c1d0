//! What opening and declining share: find the link, look it up, believe only what its own key confirms, say what it is.

use std::time::Duration;

use ps_core::link::State;
use ps_core::secret::SecretBytes;
use ps_core::service::{LookupAnswer, LookupRequest, Refusal, Revealed};
use ps_core::time::Span;
use ps_envelope::{Facts, Opener, Preview};

use crate::args::LinkArgs;
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::gateway::{Gateway, NoAnswer};
use crate::inputs::Inputs;
use crate::link::Link;
use crate::shown;
use crate::terminal::say;

/// A link's gateway, and whoever can be asked.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    /// Files, standard input, prompts.
    pub(crate) inputs: Inputs<'a>,
    /// Its gateway.
    pub(crate) gateway: Gateway,
    /// Whether the link's token had reached a path or a query; the gateway is told.
    pub(crate) exposed: bool,
    origin: String,
}

/// A lookup whose facts the link's own key has confirmed, as long as there is a preview to confirm them by.
#[derive(Debug)]
pub(crate) struct Looked {
    /// As the gateway told it.
    pub(crate) answer: LookupAnswer,
    /// What is sealed into both messages.
    pub(crate) facts: Facts,
    /// Title and sender; `None` once the link is over.
    pub(crate) preview: Option<Preview>,
}

impl<'a> Session<'a> {
    /// Reads the link and prepares its gateway. Nothing is sent yet.
    pub(crate) fn start(args: &'a LinkArgs) -> Result<(Self, Opener), Failure> {
        let mut inputs = Inputs::new(args)?;
        let Link { opener, base, exposed } = inputs.link()?;
        if exposed {
            say("A mail filter or another program has rewritten this link, so its servers have seen it. \
                 If you open it now, nobody else can. The sender is told.");
        }
        let gateway = Gateway::new(&base, args.ca_file.as_deref())?;
        Ok((Self { inputs, gateway, exposed, origin: base.origin().ascii_serialization() }, opener))
    }

    /// Looks the link up. Changes nothing.
    pub(crate) fn look(&self, opener: &Opener) -> Result<Looked, Failure> {
        let request = LookupRequest { id: opener.id(), access: revealed(opener.access())? };
        let answer = self.gateway.lookup(&request).map_err(|error| match error {
            NoAnswer::Refused(Refusal::NotFound) => Failure::new(
                Exit::Over,
                "no such link is known there: it was over long ago, or this is the wrong address",
                "Ask the sender for a new one",
            ),
            other => other.failure(),
        })?;
        let kinds: Vec<&str> = answer.kinds.iter().map(|kind| kind.as_str()).collect();
        let facts = Facts::from_lookup(answer.not_after, &kinds, answer.kdf.map(|kdf| kdf.as_str()))
            .map_err(|error| altered(error.to_string()))?;
        let preview = match (&answer.preview, answer.state.is_live()) {
            (Some(sealed), true) => {
                Some(opener.open_preview(&facts, &sealed.0).map_err(|error| altered(error.to_string()))?)
            }
            (None, true) => return Err(altered("the preview is missing".to_owned())),
            (_, false) => None,
        };
        Ok(Looked { answer, facts, preview })
    }

    /// Says on standard error what the link is: title, sender, until when.
    pub(crate) fn introduce(&self, looked: &Looked) {
        if let Some(Preview { title, sender, works_for }) = &looked.preview {
            for (label, text) in [("What", title), ("From", sender)] {
                if !text.is_empty() {
                    say(&format!("{label}    {}", &*shown::line(text.expose())));
                }
            }
            if let (State::Open, Some(span)) = (looked.answer.state, works_for) {
                say(&format!("Works   for {span} after you open it"));
            }
        }
        say(&format!("Where   {}", self.origin));
        let (now, answer) = (clock::now(), &looked.answer);
        match (answer.state, answer.window_ends_at) {
            (State::Open, _) => say(&format!("Until   {}", clock::until(answer.expires_at, now))),
            (State::Claimed, Some(end)) => say(&format!("Opened already; erased {}", clock::until(end, now))),
            _ => {}
        }
    }

    /// Waits if somebody sits there and it is not long; else fails as `exit`, with the time to wait.
    pub(crate) fn wait(&mut self, span: Span, exit: Exit, what: &str) -> Result<(), Failure> {
        if self.inputs.terminal().is_none() || span > Span::from_secs(60) {
            let remedy = if span == Span::ZERO { String::new() } else { format!("The next try counts in {span}") };
            return Err(Failure::new(exit, what, remedy));
        }
        if span > Span::ZERO {
            say(&format!("Waiting {span}…"));
            std::thread::sleep(span.to_std() + Duration::from_millis(50));
        }
        Ok(())
    }
}

/// A gateway that does not tell what was sealed: nothing was opened, and a person should know.
fn altered(why: String) -> Failure {
    Failure::new(
        Exit::Other,
        format!("what the gateway tells about this link is not what was sealed: {why}. Nothing was opened"),
        "Tell the sender. Is this program up to date?",
    )
}

/// How a link ended, as a failure.
pub(crate) fn over(state: State) -> Failure {
    let (message, remedy) = match state {
        State::Retrieved => (
            "the link was opened, and what it held is erased",
            "If it was not you, say so with `password-sender decline`",
        ),
        State::Expired => ("the link has expired, and what it held is erased", "Ask the sender for a new one"),
        State::Revoked => ("the sender has withdrawn the link", "Ask the sender for a new one"),
        State::Declined => ("the link was declined as not meant for its reader", "Ask the sender for a new one"),
        State::Locked => {
            ("the link is locked after too many wrong passphrases or codes", "Ask the sender for a new one")
        }
        State::Open | State::Claimed => ("the link is not over", ""),
    };
    Failure::new(Exit::Over, message, remedy)
}

/// 32 bytes on their way to the gateway.
pub(crate) fn revealed(secret: &SecretBytes) -> Result<Revealed, Failure> {
    let bytes = secret.expose().try_into();
    bytes.map(Revealed).map_err(|_| Failure::new(Exit::Other, "a value has the wrong number of bytes", ""))
}
