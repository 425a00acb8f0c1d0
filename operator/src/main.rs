//! `password-sender-operator`: hands credentials over, and has them rotated.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use ps_hardening::WipeOnFree;
use ps_operator::config::Config;
use ps_operator::{logging, restore, standalone};

#[global_allocator]
static ALLOCATOR: WipeOnFree = WipeOnFree;

/// Hands credentials from Vault to people, once, and has them rotated afterwards.
#[derive(Parser)]
#[command(name = "password-sender-operator", version, about, long_about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run without Kubernetes: manifests from a folder, embedded store, the gateway as a child process
    ///
    /// Write SecretDelivery and VaultConnection manifests into the folder; each status appears beside its manifest as
    /// NAME.status.yaml. Removing a file withdraws its link and has the credential rotated.
    Standalone {
        /// The configuration file; every field is explained in examples/standalone/config.yaml
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The folder of manifests
        #[arg(long, value_name = "DIR")]
        manifests: PathBuf,
        /// The folder of data: links/, ledger.db, audit.jsonl. Back it up; restores are noticed
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// The gateway program; default: password-sender-gateway beside this one
        #[arg(long, value_name = "FILE")]
        gateway: Option<PathBuf>,
    },
    /// Check a configuration and the files it names, and say what is wrong
    CheckConfig {
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Print the CustomResourceDefinitions as YAML
    Crds,
    /// After a restore from backup
    Restore {
        #[command(subcommand)]
        what: RestoreCommand,
    },
}

#[derive(Subcommand)]
enum RestoreCommand {
    /// Accept the restored state: new manifests are sent again, what was withdrawn stays withdrawn
    Accept {
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The folder of data
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The last word on the terminal, whether or not logging was set up.
            tracing::error!("{error:#}");
            say(&format!("password-sender-operator: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    ps_hardening::no_dumps()?;
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider was installed already"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    match arguments.command {
        Command::Standalone { config, manifests, data, gateway } => {
            let config = Config::load(&config)?;
            logging::init(&config.log)?;
            standalone::folder(&manifests, "--manifests")?;
            let places = standalone::Places { manifests, data, gateway };
            runtime.block_on(standalone::run_anew(config, places))
        }
        Command::CheckConfig { config } => check_config(&config),
        Command::Crds => {
            for (_, yaml) in ps_api::crds() {
                print(&yaml)?;
            }
            Ok(())
        }
        Command::Restore { what: RestoreCommand::Accept { config, data } } => {
            let config = Config::load(&config)?;
            runtime.block_on(accept(&config, &data))
        }
    }
}

fn check_config(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    if config.smtp.is_some() {
        standalone::smtp_config(&config)?;
    }
    print(&format!("{} is fine\n", path.display()))
}

async fn accept(config: &Config, data: &Path) -> anyhow::Result<()> {
    standalone::folder(data, "--data")?;
    let ledger = ps_ledger::EmbeddedLedger::open(data)?;
    let common = restore::common(&ledger, &ps_operator::clock::SystemRandom).await?.value;
    let file = config.audit.file.clone().unwrap_or_else(|| data.join("audit.jsonl"));
    let trail = ps_audit::FileTrail::open(&file, &common.ledger_id, ps_audit::Mirror::None)?;
    match restore::accept(&ledger, &trail).await? {
        Some(why) => print(&format!("accepted: {why}\n")),
        None => print("there was nothing to accept\n"),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    std::io::stdout().write_all(text.as_bytes()).context("standard output")
}

fn say(text: &str) {
    use std::io::Write as _;
    // If even standard error is gone, nobody is there to be told.
    if writeln!(std::io::stderr(), "{text}").is_err() {}
}
