//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgGroup, Parser, ValueEnum};
use ps_gateway::client::Net;

/// The public service of Password Sender: the recipient's page and the five verbs behind it.
///
/// It sees link records and nothing else: no mail, no Vault, no ledger. It never holds a key, so what it could give
/// away is ciphertext. It speaks plain HTTP/1.1: put a reverse proxy with TLS in front, name the proxy with
/// --trusted-proxy, and let it not log paths.
///
/// Where the records are: in a folder that it shares with an operator on the same machine (--links), or as Secrets in a
/// namespace of a Kubernetes cluster (--store kubernetes), with any number of gateways beside each other; or in a mount of
/// Vault or OpenBao (--store vault), whose rules and clock hold then: its token needs update on MOUNT/gateway/* and no more.
///
/// Before it serves, it gives up what it does not need (Landlock, seccomp, no core files) and says at start what the
/// kernel lacks.
#[derive(Debug, Parser)]
#[command(name = "password-sender-gateway", version, about, long_about, max_term_width = 100)]
#[command(group(ArgGroup::new("socket").required(true).args(["listen", "listen_fd", "check_confinement"])))]
pub(crate) struct Args {
    /// Where the link records are.
    #[arg(long, value_enum, default_value_t = Store::Embedded)]
    pub(crate) store: Store,

    /// Folder of the link records, the only one that this process touches. Made if it does not exist.
    #[arg(long, value_name = "DIR", required_if_eq("store", "embedded"))]
    pub(crate) links: Option<PathBuf>,

    /// Namespace of the link records; it should hold no other Secret. Of its Secrets this process needs get, list, watch
    /// and update. Claims and declines are refused until the operator has answered in the Secret named fence.
    #[arg(long, value_name = "NAME", required_if_eq("store", "kubernetes"), conflicts_with_all = ["links", "wake_fd", "nudge_fd"])]
    pub(crate) namespace: Option<String>,

    /// Reach the cluster as this file says, instead of as the pod's service account. It is read before the confinement.
    #[arg(long, value_name = "FILE", requires = "namespace")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// The context of --kubeconfig to use, instead of its current one.
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    pub(crate) context: Option<String>,

    /// Name of this replica in the fence: unlike that of any other that runs. By default the host's name and the process
    /// id.
    #[arg(long, value_name = "NAME", requires = "namespace")]
    pub(crate) replica: Option<String>,

    /// The Vault or OpenBao server, such as https://vault.example.com:8200.
    #[arg(long, value_name = "URL", required_if_eq("store", "vault"), conflicts_with_all = ["links", "namespace", "wake_fd", "nudge_fd"])]
    pub(crate) vault_addr: Option<String>,

    /// The file with the token. It is read again when it changes, and the token is renewed while that is possible.
    #[arg(long, value_name = "FILE", required_if_eq("store", "vault"), requires = "vault_addr")]
    pub(crate) vault_token_file: Option<PathBuf>,

    /// Path of the mount.
    #[arg(long, value_name = "PATH", default_value = "send")]
    pub(crate) vault_mount: String,

    /// Namespace of the mount, where the server has namespaces.
    #[arg(long, value_name = "PATH", requires = "vault_addr")]
    pub(crate) vault_namespace: Option<String>,

    /// Trust these authorities (PEM) instead of the system's.
    #[arg(long, value_name = "FILE", requires = "vault_addr")]
    pub(crate) vault_ca: Option<PathBuf>,

    /// Address to serve on, such as 127.0.0.1:8080.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,

    /// Serve on this inherited descriptor instead, a listening TCP socket.
    #[arg(long, value_name = "N", conflicts_with = "listen")]
    pub(crate) listen_fd: Option<i32>,

    /// Write one byte to this inherited pipe after each durable change.
    #[arg(long, value_name = "N")]
    pub(crate) wake_fd: Option<i32>,

    /// Obey this inherited pipe, and end when it ends. Claims and declines are refused until it says that the store
    /// is cleared ('f' lifts the fence, 'F' raises it, 'c' tells of a change).
    #[arg(long, value_name = "N")]
    pub(crate) nudge_fd: Option<i32>,

    /// End also when the pipe of --nudge-fd says nothing for so many seconds: the operator hangs, and another one may
    /// need the address.
    #[arg(long, value_name = "SECONDS", requires = "nudge_fd", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) silence: Option<u64>,

    /// Where the identity provider asks people to sign in (its authorization_endpoint), for links that demand a sign-in. The
    /// operator is configured with the same provider and client.
    #[arg(long, value_name = "URL", requires = "oidc_client_id")]
    pub(crate) oidc_authorization_endpoint: Option<String>,

    /// This installation's client id at the identity provider.
    #[arg(long, value_name = "ID", requires = "oidc_authorization_endpoint")]
    pub(crate) oidc_client_id: Option<String>,

    /// What is asked for at the identity provider, separated by spaces.
    #[arg(long, value_name = "SCOPES", default_value = "openid email", requires = "oidc_client_id")]
    pub(crate) oidc_scope: String,

    /// Address for /healthz, /readyz and /metrics. Not for the internet.
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<SocketAddr>,

    /// Believe X-Forwarded-For from peers in this range. May be given several times.
    #[arg(long, value_name = "CIDR")]
    pub(crate) trusted_proxy: Vec<Net>,

    /// Name, colour, logo and texts of the page: a YAML file, `-` for standard input. Read at start.
    #[arg(long, value_name = "FILE")]
    pub(crate) page_config: Option<PathBuf>,

    /// API requests per second that one client (an IPv4 address, an IPv6 /64) may make in the long run; 0 for no limit.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) rate: u32,

    /// API requests that one client may make at once.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) burst: u32,

    /// Connections at the same time. One more takes the place of the one that has waited longest for its client.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) max_connections: u32,

    /// Connections of one client at the same time; trusted proxies are exempt.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) max_connections_per_client: u32,

    /// API requests at work at the same time; more are told to try again.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) max_in_flight: u32,

    /// Whether to serve if the kernel lacks a part of the confinement.
    #[arg(long, value_enum, default_value_t = Confine::BestEffort)]
    pub(crate) confine: Confine,

    /// Confine, try what must fail now, print the outcome, and end: 0 if all of it failed as it must.
    #[arg(long)]
    pub(crate) check_confinement: bool,

    /// What to log, as a tracing filter. No path, query or address is ever logged.
    #[arg(long, value_name = "FILTER", default_value = "info", env = "PASSWORD_SENDER_LOG")]
    pub(crate) log: String,

    /// How to log, on stderr.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// Where the link records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Store {
    /// In SQLite, in the folder of --links.
    Embedded,
    /// As Secrets in the namespace of --namespace.
    Kubernetes,
    /// In the mount of --vault-mount.
    Vault,
}

/// What to do where the kernel lacks something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Confine {
    /// Serve with what there is, and say what is missing.
    BestEffort,
    /// Do not serve.
    Required,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}
