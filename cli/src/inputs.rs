//! Where the link, the opening code and the passphrase come from: files, standard input, prompts. Never arguments.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ps_core::secret::{SecretBytes, SecretString};
use ps_envelope::{OpeningCode, Passphrase};
use zeroize::Zeroizing;

use crate::args::LinkArgs;
use crate::failure::{Exit, Failure};
use crate::link::{self, Link, NoLink};
use crate::terminal::{Terminal, reads_from_terminal, say};

/// The most bytes of a file or of standard input: a long mail.
const MAX_TEXT: usize = 256 * 1024;
/// Lines that a link may be broken over at a prompt.
const MAX_LINES: usize = 8;

/// Refuses a command line that holds a link, before anything can repeat it.
pub(crate) fn refuse_links(arguments: &[OsString]) -> Result<(), Failure> {
    if arguments.iter().any(|argument| link::looks_like_one(&argument.to_string_lossy())) {
        return Err(as_argument());
    }
    Ok(())
}

fn as_argument() -> Failure {
    Failure::usage(
        "a link as an argument can be seen by everybody on this machine, and stays in the shell's history. \
         Nothing was opened",
        "Run the command without it and paste the link when asked, or use --link-file. \
         If others use this machine, ask the sender for a new link",
    )
}

/// Who can be asked, and the files to read instead.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    args: &'a LinkArgs,
    terminal: Option<Terminal>,
}

impl<'a> Inputs<'a> {
    /// The sources that the command line names.
    pub(crate) fn new(args: &'a LinkArgs) -> Result<Self, Failure> {
        if args.link.is_some() {
            return Err(as_argument());
        }
        Ok(Self { args, terminal: if args.no_input { None } else { Terminal::open() } })
    }

    /// The terminal, if somebody can be asked.
    pub(crate) fn terminal(&mut self) -> Option<&mut Terminal> {
        self.terminal.as_mut()
    }

    /// The link: from a file, from standard input unless that is a terminal, else typed.
    pub(crate) fn link(&mut self) -> Result<Link, Failure> {
        let found = match (&self.args.link_file, &mut self.terminal) {
            (Some(path), _) => link::find_in(&file(path, "--link-file")?),
            (None, _) if !reads_from_terminal() => link::find_in(&text(io::stdin().lock(), "standard input")?),
            (None, Some(terminal)) => typed_link(terminal)?,
            (None, None) => return Err(missing("the link", "--link-file")),
        };
        found.map_err(|why| Failure::usage(why.to_string(), why.remedy()))
    }

    /// Whether the code comes from a file, so that asking again would bring the same.
    pub(crate) fn code_is_fixed(&self) -> bool {
        self.args.code_file.is_some() || self.terminal.is_none()
    }

    /// Whether there is a file or somebody to ask for a code.
    pub(crate) fn can_bring_a_code(&self) -> bool {
        self.args.code_file.is_some() || self.terminal.is_some()
    }

    /// The opening code; mistyped ones are found here, and asked for again where that is possible.
    pub(crate) fn code(&mut self) -> Result<OpeningCode, Failure> {
        if let Some(path) = &self.args.code_file {
            return Ok(OpeningCode::parse(file(path, "--code-file")?.expose().trim())?);
        }
        let terminal = self.terminal.as_mut().ok_or_else(|| missing("the opening code", "--code-file"))?;
        loop {
            let typed = terminal.line("Opening code (XXXX-XXXX, in the mail with the link): ")?;
            match OpeningCode::parse(typed.expose().trim()) {
                Ok(code) => return Ok(code),
                Err(error) => say(&format!("{}. {}.", capital(&error.to_string()), error.remedy())),
            }
        }
    }

    /// The passphrase.
    pub(crate) fn passphrase(&mut self, path: Option<&Path>) -> Result<Passphrase, Failure> {
        if let Some(path) = path {
            return Ok(Passphrase::new(file(path, "--passphrase-file")?.expose())?);
        }
        let terminal = self.terminal.as_mut().ok_or_else(|| missing("the passphrase", "--passphrase-file"))?;
        loop {
            let typed = terminal.hidden("Passphrase (not shown): ")?;
            match Passphrase::new(typed.expose()) {
                Ok(passphrase) => return Ok(passphrase),
                Err(error) => say(&format!("{}.", capital(&error.to_string()))),
            }
        }
    }
}

/// Something that can neither be read nor asked for.
pub(crate) fn missing(what: &str, option: &str) -> Failure {
    Failure::usage(
        format!("{what} is needed, and there is no terminal to ask for it"),
        format!("Give it with {option} FILE"),
    )
}

/// A pasted link may be broken over lines; an empty line ends it.
fn typed_link(terminal: &mut Terminal) -> Result<Result<Link, NoLink>, Failure> {
    let mut lines: Vec<SecretString> = Vec::new();
    let first = "Paste the link (not shown): ";
    let next = "That is not all of it. The rest, or an empty line to give up: ";
    terminal.hidden_lines(first, next, |line| {
        let last = line.expose().trim().is_empty();
        lines.push(line);
        let mut text = Zeroizing::new(String::with_capacity(lines.iter().map(|l| l.len() + 1).sum()));
        for line in &lines {
            text.push_str(line.expose());
            text.push('\n');
        }
        match link::find(&text) {
            Err(NoLink::None | NoLink::Broken | NoLink::NoAddress) if !last && lines.len() < MAX_LINES => None,
            found => Some(found),
        }
    })
}

/// A file's text; `option` names it in failures.
pub(crate) fn file(path: &Path, option: &str) -> Result<SecretString, Failure> {
    let failed = |e: &io::Error| {
        Failure::new(
            Exit::Usage,
            format!("the file of {option} could not be read: {e}"),
            "Check its name and its rights",
        )
    };
    text(File::open(path).map_err(|e| failed(&e))?, &format!("the file of {option}"))
}

/// Reads text to its end into a buffer that is wiped.
pub(crate) fn text(mut input: impl Read, what: &str) -> Result<SecretString, Failure> {
    let mut bytes = Zeroizing::new(vec![0_u8; MAX_TEXT + 1]);
    let mut filled = 0;
    loop {
        let room = bytes.get_mut(filled..).unwrap_or_default();
        if room.is_empty() {
            return Err(Failure::usage(format!("{what} holds more than {} KiB", MAX_TEXT / 1024), ""));
        }
        match input.read(room) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Failure::new(Exit::Usage, format!("{what} could not be read: {e}"), "")),
        }
    }
    let kept = SecretBytes::try_fill(filled, |out| {
        out.copy_from_slice(bytes.get(..filled).unwrap_or_default());
        Ok::<(), Failure>(())
    })?;
    SecretString::from_utf8(kept)
        .map_err(|_| Failure::usage(format!("{what} is not text"), "Save the mail as plain text"))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_with_a_link_are_refused_without_repeating_it() {
        let secret = format!("https://s.example/#ps1.{}", "A".repeat(43));
        let failure = refuse_links(&["password-sender".into(), "open".into(), secret.into()]).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        assert!(!format!("{failure} {failure:?}").contains("AAAA"));
        assert!(refuse_links(&["password-sender".into(), "--link-file=ps1.txt".into()]).is_ok());
    }

    #[test]
    fn texts_are_bounded_and_must_be_text() {
        assert_eq!(text(&b"abc\n"[..], "it").unwrap().expose(), "abc\n");
        assert!(text(io::repeat(b'x'), "it").unwrap_err().to_string().contains("more than 256 KiB"));
        assert!(text(&[0xff_u8, 0xfe][..], "it").unwrap_err().to_string().contains("not text"));
    }
}
