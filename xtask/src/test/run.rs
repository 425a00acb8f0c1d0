//! Running the parts, each program with a deadline and its output kept for when it fails.

use std::process::Command as Process;
use std::time::{Duration, Instant};

use anyhow::Result;
use ps_testbed::install::ensure_node_packages;
use ps_testbed::process;
use ps_testbed::{ENVIRONMENT_VARIABLE, VENDOR_VARIABLE, Vendor};

use super::build::Program;
use super::outcome::Outcome;
use super::parts::{Command, Part};
use crate::command::{Times, cargo, command, seconds};

/// No test program may take longer; what hangs is killed, and fails.
const DEADLINE: Duration = Duration::from_secs(1500);
/// After this a program is named as still running.
const LONG: Duration = Duration::from_secs(30);

/// Runs one part. `environment` names the shared servers.
pub(crate) fn part(
    part: &Part,
    programs: &[Program],
    environment: &str,
    only: Option<&str>,
    times: &mut Times,
) -> Result<Outcome> {
    let mut runner =
        Runner { part: part.name, threads: part.threads(), vendor: Vendor::OpenBao, times, total: Outcome::default() };
    match &part.command {
        Command::Npm(folder) => runner.npm(folder)?,
        Command::Demo => {
            if only.is_none() {
                runner.demo()?;
            }
            let ours = |program: &&Program| program.integration && part.runs(&program.package, &program.target);
            runner.programs(programs.iter().filter(ours), None, only)?;
        }
        Command::Unit => {
            let ours = |program: &&Program| !program.integration || part.runs(&program.package, &program.target);
            runner.programs(programs.iter().filter(ours), None, only)?;
            runner.doc_tests(only)?;
        }
        Command::Crates(_) | Command::CratesAlone(_) | Command::Cluster(_) => {
            let ours = |program: &&Program| program.integration && part.runs(&program.package, &program.target);
            let shared = (!matches!(part.command, Command::CratesAlone(_))).then_some(environment);
            let before = runner.total.clone();
            runner.programs(programs.iter().filter(ours), shared, only)?;
            if runner.total == before && only.is_none() {
                println!("  no tests yet");
            }
        }
    }
    Ok(runner.total)
}

/// Runs the programs of a part on HashiCorp Vault, each with servers of its own.
pub(crate) fn on_vault(part: &Part, programs: &[Program], only: Option<&str>, times: &mut Times) -> Result<Outcome> {
    let mut runner = Runner { part: part.name, threads: None, vendor: Vendor::Vault, times, total: Outcome::default() };
    let ours = |program: &&Program| program.integration && part.runs(&program.package, &program.target);
    runner.programs(programs.iter().filter(ours), None, only)?;
    Ok(runner.total)
}

struct Runner<'a> {
    part: &'a str,
    threads: Option<u32>,
    vendor: Vendor,
    times: &'a mut Times,
    total: Outcome,
}

impl Runner<'_> {
    fn programs<'p>(
        &mut self,
        programs: impl Iterator<Item = &'p Program>,
        environment: Option<&str>,
        only: Option<&str>,
    ) -> Result<()> {
        for program in programs {
            let mut test = Process::new(&program.executable);
            test.current_dir(&program.folder)
                .env("CARGO_MANIFEST_DIR", &program.folder)
                .env_remove(ENVIRONMENT_VARIABLE)
                .env(VENDOR_VARIABLE, self.vendor.name());
            test.args(only);
            if let Some(threads) = self.threads {
                test.env("RUST_TEST_THREADS", threads.to_string());
            }
            if let Some(environment) = environment {
                test.env(ENVIRONMENT_VARIABLE, environment);
            }
            let name = match (program.integration, &program.target) {
                (true, target) => format!("{} tests/{target}.rs", program.package),
                (false, target) => format!("{} {target}", program.package),
            };
            self.one(&name, test, Outcome::of_rust)?;
        }
        Ok(())
    }

    fn doc_tests(&mut self, only: Option<&str>) -> Result<()> {
        let mut doc = cargo(&["test", "--workspace", "--doc", "--locked", "--quiet", "--"]);
        doc.args(only);
        self.one("doc tests", doc, Outcome::of_rust)
    }

    fn demo(&mut self) -> Result<()> {
        let mut demo = Process::new(crate::demo::program("xtask"));
        demo.args(["demo", "--open-for-me", "--built"]).env_remove(ENVIRONMENT_VARIABLE);
        self.one("cargo xtask demo --open-for-me", demo, Outcome::of_rust)
    }

    fn npm(&mut self, folder: &str) -> Result<()> {
        let folder = self.times.step(&format!("{}: npm ci", self.part), || ensure_node_packages(folder))?;
        let mut test = command("npm", &["test", "--loglevel=error"]);
        test.current_dir(folder);
        self.one("npm test", test, Outcome::of_node)
    }

    /// Runs one program: its line at the end, its output only if it failed.
    fn one(&mut self, name: &str, test: Process, read: impl Fn(&str, &str, bool) -> Outcome) -> Result<()> {
        let full_name = format!("{}: {name}", self.part);
        let start = Instant::now();
        let running = process::Process::spawn(&format!("test-{}", self.part), test)?;
        let mut ended = running.wait(LONG);
        if ended.is_err() {
            println!("  {name} is still running: {}", running.log().display());
            ended = running.wait(DEADLINE);
        }
        let took = start.elapsed();
        let success = ended.as_ref().is_ok_and(std::process::ExitStatus::success);
        let late = ended.is_err();
        running.kill()?;
        let output = running.log_text()?;
        let outcome = read(&full_name, &output, success);
        self.times.note(&full_name, took);
        let verdict = if outcome.failed == 0 { "ok" } else { "FAILED" };
        println!("  {name:<44} {:>8}  {:>4} passed  {verdict}", seconds(took), outcome.passed);
        if outcome.failed > 0 {
            println!("{output}");
            if late {
                println!("killed after {DEADLINE:?}");
            }
        } else {
            // Only what failed is worth keeping; a log that stays is swept after a day.
            drop(std::fs::remove_file(running.log()));
        }
        self.total.add(&outcome);
        Ok(())
    }
}
