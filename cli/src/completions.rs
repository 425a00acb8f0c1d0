//! `completions`: what a shell needs to complete this program's words.

use std::io::{self, Write as _};

use clap_complete::Shell;

use crate::failure::{Failure, enough};
use crate::help;

/// Prints the script for `shell`.
pub(crate) fn run(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut help::command(help::PROGRAM), help::PROGRAM, &mut script);
    io::stdout().write_all(&script).or_else(enough).map_err(|e| Failure::io("write the script", &e))
}
