//! The terminal: prompts on it, hidden where what is typed is a secret, and messages on standard error.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Read as _, Write as _};

use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices as At, Termios, tcgetattr, tcsetattr};
use ps_core::secret::{SecretBytes, SecretString};
use zeroize::{Zeroize as _, Zeroizing};

use crate::failure::{Exit, Failure};

/// The most bytes that one prompt takes.
const MAX_TYPED: usize = 16 * 1024;

/// Says something to the person, on standard error. If nobody listens there, nobody is left to be told.
pub(crate) fn say(text: &str) {
    writeln!(io::stderr(), "{text}").unwrap_or_default();
}

/// Whether standard output is a terminal, and not a file or a program.
pub(crate) fn prints_to_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether standard input is a terminal.
pub(crate) fn reads_from_terminal() -> bool {
    io::stdin().is_terminal()
}

/// The terminal that this process belongs to, wherever its standard streams go.
#[derive(Debug)]
pub(crate) struct Terminal {
    tty: File,
}

impl Terminal {
    /// Opens it; `None` if there is none.
    pub(crate) fn open() -> Option<Self> {
        let tty = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
        tty.is_terminal().then_some(Self { tty })
    }

    /// Asks for a line that is shown while it is typed.
    pub(crate) fn line(&mut self, prompt: &str) -> Result<SecretString, Failure> {
        self.ask(prompt, true)
    }

    /// Asks for a line that is not shown.
    pub(crate) fn hidden(&mut self, prompt: &str) -> Result<SecretString, Failure> {
        self.ask(prompt, false)
    }

    /// Asks a question that is answered with yes or no; anything else is no.
    pub(crate) fn confirm(&mut self, question: &str) -> Result<bool, Failure> {
        let answer = self.line(&format!("{question} [y/N] "))?;
        Ok(matches!(answer.expose().trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Asks for lines that are not shown, until `take` has enough of them. The terminal stays mute between them, since
    /// pasted lines come faster than prompts.
    pub(crate) fn hidden_lines<T>(
        &mut self,
        first: &str,
        next: &str,
        mut take: impl FnMut(SecretString) -> Option<T>,
    ) -> Result<T, Failure> {
        let mut keys = Keys::of(&self.tty)?;
        let mut prompt = first;
        loop {
            if let Some(enough) = take(keys.ask(prompt, false)?) {
                return Ok(enough);
            }
            prompt = next;
        }
    }

    fn ask(&mut self, prompt: &str, shown: bool) -> Result<SecretString, Failure> {
        Keys::of(&self.tty)?.ask(prompt, shown)
    }
}

/// The terminal while it hands over each key and shows nothing by itself; it is put back when this is dropped.
struct Keys<'a> {
    tty: &'a File,
    before: Termios,
}

impl<'a> Keys<'a> {
    fn of(tty: &'a File) -> Result<Self, Failure> {
        let failed = |error: nix::Error| Failure::io("set the terminal up", &io::Error::from(error));
        let before = tcgetattr(tty).map_err(failed)?;
        let mut raw = before.clone();
        // Signals too: Ctrl-C would end the program with the terminal still mute.
        raw.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG | LocalFlags::IEXTEN);
        for (at, value) in [(At::VMIN, 1), (At::VTIME, 0)] {
            if let Some(slot) = raw.control_chars.get_mut(at as usize) {
                *slot = value;
            }
        }
        // What was typed ahead stays: pasted lines come faster than prompts.
        tcsetattr(tty, SetArg::TCSADRAIN, &raw).map_err(failed)?;
        Ok(Self { tty, before })
    }

    /// Prompts only now that nothing typed is shown by itself any more.
    fn ask(&mut self, prompt: &str, shown: bool) -> Result<SecretString, Failure> {
        self.echo(prompt.as_bytes())?;
        let typed = self.line(shown);
        self.echo(b"\r\n")?;
        typed
    }

    fn line(&mut self, shown: bool) -> Result<SecretString, Failure> {
        let failed = |error: io::Error| Failure::io("read from the terminal", &error);
        // Never grown, so that no copy stays behind.
        let mut typed = Zeroizing::new(Vec::with_capacity(MAX_TYPED));
        let mut key = [0_u8; 1];
        loop {
            if (&mut &*self.tty).read(&mut key).map_err(failed)? == 0 {
                return Err(interrupted());
            }
            let [byte] = key;
            key.zeroize();
            match byte {
                b'\r' | b'\n' => break,
                // Ctrl-C, and Ctrl-D on an empty line.
                3 => return Err(interrupted()),
                4 if typed.is_empty() => return Err(interrupted()),
                // Backspace takes one character, Ctrl-U all of them.
                8 | 127 => self.erase(&mut typed, shown)?,
                21 => {
                    while !typed.is_empty() {
                        self.erase(&mut typed, shown)?;
                    }
                }
                0..32 => {}
                _ if typed.len() == MAX_TYPED => {
                    return Err(Failure::usage("that is too long", "Give it as a file"));
                }
                _ => {
                    typed.push(byte);
                    if shown {
                        self.echo(&[byte])?;
                    }
                }
            }
        }
        SecretString::from_utf8(SecretBytes::new(std::mem::take(&mut *typed)))
            .map_err(|_| Failure::usage("that is not Unicode text", ""))
    }

    fn erase(&self, typed: &mut Vec<u8>, shown: bool) -> Result<(), Failure> {
        let mut any = false;
        // A character of UTF-8: continuation bytes, then the first one.
        while let Some(byte) = typed.pop() {
            any = true;
            if byte & 0b1100_0000 != 0b1000_0000 {
                break;
            }
        }
        if any && shown { self.echo(b"\x08 \x08") } else { Ok(()) }
    }

    fn echo(&self, bytes: &[u8]) -> Result<(), Failure> {
        (&mut &*self.tty).write_all(bytes).map_err(|e| Failure::io("write to the terminal", &e))
    }
}

impl Drop for Keys<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no repair.
        tcsetattr(self.tty, SetArg::TCSADRAIN, &self.before).unwrap_or_default();
    }
}

fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, "interrupted", "")
}
