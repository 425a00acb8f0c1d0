//! Log lines: for people or as JSON, to standard error. Libraries that print URIs or bodies are kept quiet.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{Log, LogFormat};

/// Crates whose log lines could hold paths of secrets, tokens or message bytes, at any level.
const SILENT: [&str; 6] = ["rustify", "vaultrs", "lettre", "hyper", "hyper_util", "reqwest"];

/// Installs the subscriber.
///
/// # Errors
/// If one is installed already, or the level is unknown.
pub fn init(log: &Log) -> anyhow::Result<()> {
    let ours = [
        "password_sender_operator",
        "ps_operator",
        "ps_controller",
        "ps_core",
        "ps_vault",
        "ps_mail",
        "ps_audit",
        "ps_store",
        "ps_ledger",
        "ps_kubernetes",
        "ps_sqlite",
        "ps_api",
    ];
    let directives = ours.iter().map(|name| format!("{name}={}", log.level));
    let directives = directives.chain(SILENT.iter().map(|name| format!("{name}=off"))).collect::<Vec<_>>().join(",");
    let filter = EnvFilter::try_new(format!("warn,{directives}"))?;
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).with_ansi(colours);
    let done = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    done.map_err(|e| anyhow::anyhow!("logging could not be set up: {e}"))
}
