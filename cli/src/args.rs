//! The command line: commands and options. The texts of examples and exit codes are in [`crate::help`].

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Send and open one-time links, verify audit trails, check manifests.
#[derive(Debug, Parser)]
#[command(name = "password-sender", version, disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Open a link and print what was sent. It can be opened once, by one person
    Open(OpenArgs),
    /// Say that a link was not meant for you, or that it was not you who opened it
    Decline(DeclineArgs),
    /// Seal secrets into a one-time link, here, and put the sealed link into a mount of Vault
    Send(SendArgs),
    /// Work with the audit trail
    Audit {
        /// What to do with it.
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Check manifests without applying them
    Check(CheckArgs),
    /// Print what the recipient's page is made of, or compare what a gateway serves with it
    Page(PageArgs),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// Where the link and what belongs to it come from.
#[derive(Debug, Args)]
pub(crate) struct LinkArgs {
    /// Refused: what stands on a command line is visible to others. It exists to say so.
    #[arg(value_name = "LINK", hide = true)]
    pub(crate) link: Option<String>,
    /// Read the link from this file; the whole mail will do [default: a prompt, or standard input]
    #[arg(long, value_name = "FILE")]
    pub(crate) link_file: Option<PathBuf>,
    /// Read the opening code from this file [default: a prompt]
    #[arg(long, value_name = "FILE")]
    pub(crate) code_file: Option<PathBuf>,
    /// Trust the certificate authorities in this PEM file, and no others
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Never ask anything, even where there is a terminal
    #[arg(long)]
    pub(crate) no_input: bool,
}

/// `open`.
#[derive(Debug, Args)]
pub(crate) struct OpenArgs {
    #[command(flatten)]
    pub(crate) from: LinkArgs,
    /// Read the passphrase from this file; one line end is dropped [default: a prompt]
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// The form of what is printed
    #[arg(long, short, value_enum, default_value_t = Output::Table, conflicts_with = "field")]
    pub(crate) output: Output,
    /// Print the value of this field alone, without a line end unless it goes to a terminal
    #[arg(long, short, value_name = "KEY")]
    pub(crate) field: Option<String>,
    /// What the names of `--output env` start with: the sender chooses the rest
    #[arg(long, value_name = "PREFIX", default_value = "SECRET_")]
    pub(crate) env_prefix: String,
    /// Print hidden values on a terminal
    #[arg(long)]
    pub(crate) show: bool,
    /// Save the files that came along in this folder; nothing is overwritten
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<PathBuf>,
    /// Say that it is saved once it is printed, without asking. Then it is erased
    #[arg(long)]
    pub(crate) acknowledge: bool,
}

/// Forms of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people: labels and values
    Table,
    /// Everything, as one JSON object
    Json,
    /// NAME='value' lines that a shell can read
    Env,
}

/// `decline`.
#[derive(Debug, Args)]
pub(crate) struct DeclineArgs {
    #[command(flatten)]
    pub(crate) from: LinkArgs,
    /// Do not ask whether you mean it
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `audit`.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Verify a trail, or several together, offline: every line, the chain, and that no event is missing
    Verify(VerifyArgs),
}

/// `audit verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The trail, `-` for standard input; several that belong together, as the pods of one cluster write them
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Where the chain stood at an earlier time, as an earlier report printed it and you kept it elsewhere; with several trails, once for each, in their order
    #[arg(long = "head", value_name = "N:HASH")]
    pub(crate) heads: Vec<String>,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Manifests, folders of them (*.yaml and *.yml, no sub-folders), or `-` for standard input
    #[arg(required = true, value_name = "FILE|DIR")]
    pub(crate) paths: Vec<PathBuf>,
}

/// `page`.
#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    /// Fetch the page from this address and compare: where links lead, without what follows `#`
    #[arg(long, value_name = "URL")]
    pub(crate) check: Option<String>,
    /// Trust the certificate authorities in this PEM file, and no others
    #[arg(long, value_name = "FILE", requires = "check")]
    pub(crate) ca_file: Option<PathBuf>,
}

/// `send`.
#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// Where the sealed link is kept: `vault:` and the path of a mount of password-sender-plugin
    #[arg(long, value_name = "vault:MOUNT")]
    pub(crate) to: String,
    /// The mount's role to send under
    #[arg(long, value_name = "NAME")]
    pub(crate) role: String,
    /// A field of the link: KEY asks for its value, KEY=@FILE reads it from a file, KEY=- from standard input. One line
    /// end is dropped. May be given several times
    #[arg(long = "field", short, required = true, value_name = "KEY[=@FILE|=-]")]
    pub(crate) fields: Vec<String>,
    /// How long the link can be opened
    #[arg(long, value_name = "SPAN", default_value = "4h")]
    pub(crate) ttl: String,
    /// How long it can be made to be opened, at most, by renewing its lease [default: as --ttl]
    #[arg(long, value_name = "SPAN")]
    pub(crate) renewable_to: Option<String>,
    /// How long whoever opened it may repeat that
    #[arg(long, value_name = "SPAN", default_value = "15m")]
    pub(crate) claim_window: String,
    /// Shown before the link is opened
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) title: String,
    /// Who sends it; shown before the link is opened
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) sender: String,
    /// What the link begins with [default: the mount's public_url, which whoever may write its config chooses]
    #[arg(long, value_name = "URL", env = "PASSWORD_SENDER_PUBLIC_URL")]
    pub(crate) public_url: Option<String>,
    /// Ask for a passphrase when the link is opened: read it from this file; one line end is dropped
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Ask for a passphrase when the link is opened: type it now
    #[arg(long, conflicts_with = "passphrase_file")]
    pub(crate) passphrase: bool,
    /// The Vault or OpenBao server
    #[arg(long, value_name = "URL", env = "VAULT_ADDR", default_value = "https://127.0.0.1:8200")]
    pub(crate) vault_addr: String,
    /// Read Vault's token from this file [default: $VAULT_TOKEN, then ~/.vault-token]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Namespace of the mount
    #[arg(long, value_name = "PATH", env = "VAULT_NAMESPACE", default_value = "")]
    pub(crate) vault_namespace: String,
    /// Trust the certificate authorities in this PEM file, and no others
    #[arg(long, value_name = "FILE", env = "VAULT_CACERT")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Never ask anything, even where there is a terminal
    #[arg(long)]
    pub(crate) no_input: bool,
}
