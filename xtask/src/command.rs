//! Running other programs in the repository's root.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ps_testbed::workspace;

/// A command that starts in the repository's root, without what `cargo run` told us about our own package: some
/// build scripts look at it, and would build everything again.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(workspace());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_BIN_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Where Cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Cargo, the one that runs us.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    command(&cargo, arguments)
}

/// Runs it with our terminal.
///
/// # Errors
/// If it can't be started or fails.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let line = line(&command);
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("starting {line}"))?;
    if !status.success() {
        bail!("{line}: {status}");
    }
    Ok(())
}

/// Runs it and gives its stdout; stderr is our terminal.
///
/// # Errors
/// If it can't be started or fails.
pub(crate) fn output(mut command: Command) -> Result<String> {
    let line = line(&command);
    let output =
        command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().with_context(|| format!("starting {line}"))?;
    if !output.status.success() {
        bail!("{line}: {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(program.into_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// How long each step took.
#[derive(Default)]
pub(crate) struct Times(Vec<(String, Duration)>);

impl Times {
    /// Does the step, and notes its time.
    pub(crate) fn step<T>(&mut self, name: &str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let value = work();
        self.note(name, start.elapsed());
        value
    }

    pub(crate) fn note(&mut self, name: &str, took: Duration) {
        self.0.push((name.to_owned(), took));
    }

    /// Prints the slowest steps, slowest first.
    pub(crate) fn print_slowest(&self, count: usize) {
        let mut slowest: Vec<_> = self.0.iter().collect();
        slowest.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
        println!("\nslowest steps:");
        for (name, took) in slowest.into_iter().take(count) {
            println!("  {:>8}  {name}", seconds(*took));
        }
    }
}

/// `12.3 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
