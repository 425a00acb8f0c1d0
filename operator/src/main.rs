//! `password-sender-operator`: hands credentials over, and has them rotated.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use ps_core::ports::Clock;
use ps_hardening::WipeOnFree;
use ps_kubernetes::Access;
use ps_operator::clock::SystemClock;
use ps_operator::config::{Config, Log};
use ps_operator::{cluster, identities, logging, mailing, obligations, preview, restore, standalone, vault_agent};

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
    /// Run in a Kubernetes cluster: manifests, ledger and link records in its API; gateways run by themselves
    ///
    /// Any number of operators may run: one is elected, the others stand by. The rights that it needs are in
    /// examples/install/.
    Run {
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        access: ClusterAccess,
        /// A folder for the audit trail, where audit.file names none
        #[arg(long, value_name = "DIR", default_value = "/var/lib/password-sender")]
        data: PathBuf,
    },
    /// List the rotations that are owed, those that need a person first
    ///
    /// They outlive their objects and namespaces, so kubectl may not show them any more.
    Obligations {
        /// The folder of data of a standalone operator; without it, the ledger in the cluster is read
        #[arg(long, value_name = "DIR", conflicts_with_all = ["kubeconfig", "context", "namespace"])]
        data: Option<PathBuf>,
        #[command(flatten)]
        access: ClusterAccess,
        /// The operator's own namespace
        #[arg(long, value_name = "NAME", default_value = "password-sender")]
        namespace: String,
        /// One JSON array instead of text
        #[arg(long)]
        json: bool,
    },
    /// Rotate what was handed over through a mount of Vault or OpenBao, and write back what was seen
    ///
    /// Roles of the mount say what is rotated (path-help MOUNT/roles/NAME). The token needs read on MOUNT/events, read and list
    /// on MOUNT/links, update on MOUNT/evidence, and what the rotations need; see docs/plugin.md.
    VaultAgent {
        /// The Vault or OpenBao server, such as https://vault.example.com:8200
        #[arg(long, value_name = "URL")]
        vault_addr: String,
        /// The file with the token; it is renewed while that is possible
        #[arg(long, value_name = "FILE")]
        vault_token_file: PathBuf,
        /// Path of the mount
        #[arg(long, value_name = "PATH", default_value = "send")]
        vault_mount: String,
        /// Namespace of the mount, where the server has namespaces
        #[arg(long, value_name = "PATH", default_value = "")]
        vault_namespace: String,
        /// Trust these authorities (PEM) instead of the system's
        #[arg(long, value_name = "FILE")]
        vault_ca: Option<PathBuf>,
    },
    /// Check a configuration and the files it names, and say what is wrong
    CheckConfig {
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Print a mail with sample data, to see what your templates and settings make of it
    ///
    /// Nothing is sent, and the link in it opens nothing. To look at the HTML in a browser:
    /// password-sender-operator preview-mail --locale de --html > mail.html
    PreviewMail(preview::Arguments),
    /// Print the CustomResourceDefinitions as YAML
    Crds,
    /// After a restore from backup
    Restore {
        #[command(subcommand)]
        what: RestoreCommand,
    },
}

/// How to reach the Kubernetes API.
#[derive(Clone, Args)]
struct ClusterAccess {
    /// A kubeconfig file; without it, the pod's own service account
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig file; default: its current one
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    context: Option<String>,
}

impl From<ClusterAccess> for Access {
    fn from(access: ClusterAccess) -> Self {
        match access.kubeconfig {
            Some(path) => Self::Kubeconfig { path, context: access.context },
            None => Self::InCluster,
        }
    }
}

#[derive(Subcommand)]
enum RestoreCommand {
    /// Accept the restored state: new manifests are sent again, what was withdrawn stays withdrawn
    Accept {
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The folder of data of a standalone operator; without it, the ledger in the cluster is meant
        #[arg(long, value_name = "DIR", conflicts_with_all = ["kubeconfig", "context"])]
        data: Option<PathBuf>,
        #[command(flatten)]
        access: ClusterAccess,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The last word on the terminal: as a line of the log where there is one, so that its format stays the same.
            if tracing::dispatcher::has_been_set() {
                tracing::error!("{error:#}");
            } else {
                say(&format!("password-sender-operator: {error:#}"));
            }
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
        Command::Run { config, access, data } => {
            let config = Config::load(&config)?;
            logging::init(&config.log)?;
            runtime.block_on(cluster::run(config, cluster::Places { access: access.into(), data }))
        }
        Command::Obligations { data, access, namespace, json } => {
            let found = runtime.block_on(owed(data.as_deref(), access, &namespace))?;
            if json {
                print(&format!("{}\n", serde_json::to_string_pretty(&found.rows)?))?;
            } else {
                print(&obligations::table(&found.rows, ps_operator::clock::now()))?;
            }
            found.complete()
        }
        Command::VaultAgent { vault_addr, vault_token_file, vault_mount, vault_namespace, vault_ca } => {
            logging::init(&Log::default())?;
            runtime.block_on(vault_agent::run(vault_agent::Options {
                address: vault_addr,
                token_file: vault_token_file,
                mount: vault_mount,
                namespace: vault_namespace,
                ca_file: vault_ca,
            }))
        }
        Command::CheckConfig { config } => check_config(&config),
        Command::PreviewMail(arguments) => print(&preview::run(&arguments)?),
        Command::Crds => {
            for (_, yaml) in ps_api::crds() {
                print(&yaml)?;
            }
            Ok(())
        }
        Command::Restore { what: RestoreCommand::Accept { config, data, access } } => {
            let config = Config::load(&config)?;
            match data {
                Some(data) => runtime.block_on(accept(&config, &data)),
                None => runtime.block_on(accept_in_cluster(&config, access)),
            }
        }
    }
}

fn check_config(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    match &config.smtp {
        // Made as at a start, so that what is in the files is looked at too. Nothing is connected to.
        Some(_) => drop(ps_mail::SmtpMailer::new(mailing::smtp_config(&config)?, clock.clone())?),
        None => drop(mailing::presentation(&config)?),
    }
    identities::identities(&config, &clock)?;
    print(&format!("{} is fine\n", path.display()))
}

async fn owed(data: Option<&Path>, access: ClusterAccess, namespace: &str) -> anyhow::Result<obligations::Found> {
    let Some(data) = data else {
        return obligations::all(&*cluster::ledger(&access.into(), namespace).await?).await;
    };
    obligations::all(&ledger_in(data)?).await
}

/// The ledger of a standalone operator. Another folder is not taken for one that owes nothing, and gets no ledger made.
fn ledger_in(data: &Path) -> anyhow::Result<ps_ledger::EmbeddedLedger> {
    standalone::folder(data, "--data")?;
    let file = data.join(ps_ledger::FILE);
    anyhow::ensure!(file.is_file(), "--data: there is no {}: name a standalone operator's data folder", file.display());
    Ok(ps_ledger::EmbeddedLedger::open(data)?)
}

async fn accept_in_cluster(config: &Config, access: ClusterAccess) -> anyhow::Result<()> {
    let ledger = cluster::ledger(&access.into(), &config.kubernetes.own_namespace()?).await?;
    match restore::accept_known(&*ledger).await? {
        Some(why) => print(&format!("accepted: {why}\n")),
        None => print("there was nothing to accept\n"),
    }
}

async fn accept(config: &Config, data: &Path) -> anyhow::Result<()> {
    let ledger = ledger_in(data)?;
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
