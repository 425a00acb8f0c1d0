//! `cargo xtask`: what developers and CI run.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks to its terminal")]

mod artifacts;
mod bench;
mod check;
mod command;
mod demo;
mod dist;
mod generate;
mod metadata;
mod test;
mod testbed;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands of Password Sender", version)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The whole hand-off on this machine: a real OpenBao, a mail, a link, the rotation and its proof
    Demo(demo::Arguments),
    /// Real servers for tests and for trying things: OpenBao, PostgreSQL, mail, Chromium
    #[command(subcommand)]
    Testbed(testbed::Action),
    /// Installs what the tests need, runs them, and says how long each part took
    Test(test::Arguments),
    /// Formatting, lints, dependency arrows, file sizes, licences, generated files
    Check(check::Arguments),
    /// Speed and memory, measured on this machine beside their aims
    Bench(bench::Arguments),
    /// The programs that people install, built for release, with a `.sha256` beside each, in target/dist
    Dist,
    /// Writes the files that are made from others: CRDs and the web bundle
    Generate(generate::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Testbed(action) => testbed::run(action),
        Task::Test(arguments) => test::run(&arguments),
        Task::Check(arguments) => check::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Dist => dist::run(),
        Task::Generate(arguments) => generate::run(&arguments),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
