//! The `password-sender` command line: sends, opens and declines links, verifies audit trails, checks manifests.
//!
//! Where to start: [`args`] is what it understands, [`open`] the longest of its commands, [`failure`] the exit codes.
//! A link, an opening code or a passphrase is never an argument: arguments are visible to everybody on the machine.
#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "a panic in a test is its failure report"))]

mod args;
mod audit;
mod check;
mod claims;
mod clock;
mod completions;
mod decline;
mod failure;
mod gateway;
mod help;
mod inputs;
mod link;
mod open;
mod page;
mod printer;
mod send;
mod session;
mod shown;
mod terminal;
mod vault;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches as _;

use crate::args::{AuditCommand, Cli, Command};
use crate::failure::Failure;

/// Buffers of libraries hold what is typed and what is opened.
#[global_allocator]
static ALLOCATOR: ps_hardening::WipeOnFree = ps_hardening::WipeOnFree;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match run(arguments) {
        Ok(code) => code,
        Err(failure) => {
            terminal::say(&failure.to_string());
            failure.exit().into()
        }
    }
}

fn run(arguments: Vec<OsString>) -> Result<ExitCode, Failure> {
    ps_hardening::no_dumps()
        .map_err(|error| Failure::io("protect this process from being dumped", &std::io::Error::other(error)))?;
    // Before the parser sees them: its messages repeat what they don't understand.
    inputs::refuse_links(&arguments)?;
    let program = help::program(arguments.first());
    let mut command = help::command(program);
    let matches = match command.try_get_matches_from_mut(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // `--help` and `--version` come this way too. A reader that has seen enough is no failure.
            error.print().or_else(failure::enough).map_err(|e| Failure::io("write the help", &e))?;
            return Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)));
        }
    };
    let cli = Cli::from_arg_matches(&matches).map_err(|error| Failure::usage(error.kind().to_string(), ""))?;
    match cli.command {
        Command::Open(args) => open::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Decline(args) => decline::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Send(args) => send::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Audit { command: AuditCommand::Verify(args) } => audit::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Page(args) => page::run(&args),
        Command::Completions { shell } => completions::run(shell).map(|()| ExitCode::SUCCESS),
    }
}
