//! Failures and exit codes. A failure's text is for the person at the terminal: what happened, and what to do.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// Why the program ends; each has an exit code that scripts can rely on (`password-sender open --help` lists them).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Anything else went wrong.
    Other,
    /// The command line is wrong, or something that it should bring is missing.
    Usage,
    /// The link is over, unknown, or was opened by somebody else.
    Over,
    /// Wrong opening code or passphrase.
    Wrong,
    /// No connection, or the gateway is not ready: the same command may succeed later.
    Again,
    /// Interrupted at a prompt.
    Interrupted,
}

impl Exit {
    /// The number.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Usage => 2,
            Self::Over => 3,
            Self::Wrong => 4,
            Self::Again => 5,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// Why a command did not do its work. Never holds a link, a code, a passphrase or a value.
#[derive(Debug, thiserror::Error)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    remedy: String,
}

impl Failure {
    /// A failure; `message` one sentence without a full stop, `remedy` one sentence or empty.
    pub(crate) fn new(exit: Exit, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { exit, message: message.into(), remedy: remedy.into() }
    }

    /// The command line is wrong.
    pub(crate) fn usage(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message, remedy)
    }

    /// The file system or a stream failed; `what` completes "could not".
    pub(crate) fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        Self::new(Exit::Other, format!("could not {what}: {error}"), "")
    }

    /// Its exit code.
    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }

    /// Adds a sentence to what there is to do.
    pub(crate) fn and(mut self, sentence: &str) -> Self {
        if !self.remedy.is_empty() {
            self.remedy.push_str(". ");
        }
        self.remedy.push_str(sentence);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "password-sender: {}.", self.message)?;
        if !self.remedy.is_empty() {
            write!(f, "\n{}.", self.remedy)?;
        }
        Ok(())
    }
}

impl From<ps_envelope::Error> for Failure {
    fn from(error: ps_envelope::Error) -> Self {
        use ps_envelope::Error as E;
        let exit = match error {
            E::OpeningCode | E::PassphraseEmpty | E::PassphraseTooLong => Exit::Wrong,
            E::Fragment => Exit::Usage,
            _ => Exit::Other,
        };
        Self::new(exit, error.to_string(), error.remedy())
    }
}

/// A reader that closed its end has read enough.
pub(crate) fn enough(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}
