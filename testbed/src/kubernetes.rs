//! A real Kubernetes API: etcd, the API server and the controller manager. No kubelet, so no pod ever starts.
//!
//! RBAC decides, ValidatingAdmissionPolicy and Pod Security admission act, owner references are collected and
//! namespaces really end. What tests do with it is in `kubernetes_api`, `kubernetes_etcd`, `kubernetes_audit` and
//! `kubernetes_bao`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rcgen::KeyPair;
use reqwest::Client;
use tokio::sync::OnceCell;

use crate::dirs::{RunDir, unique};
use crate::http;
use crate::install::Piece;
use crate::kubernetes_apply::Resources;
use crate::kubernetes_files::{self as files, Layout};
use crate::openbao::blocking;
use crate::ports::free_port;
use crate::process::{Process, Signal};
use crate::shared::ClusterAddress;
use crate::wait::wait_until;

const START: Duration = Duration::from_secs(120);
/// A chosen port may be taken before the server binds it; then others are tried.
const TRIES: u32 = 3;
/// Those that tests can see the work of. There are no nodes and no pods.
const CONTROLLERS: &str = "garbage-collector-controller,namespace-controller,serviceaccount-controller,\
    clusterrole-aggregation-controller,root-ca-certificate-publisher-controller,ttl-after-finished-controller";

/// How much of each request the audit log keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuditLevel {
    /// Who did what to which object, with the outcome.
    #[default]
    Metadata,
    /// The objects too, in requests and answers: to search for a canary.
    RequestResponse,
}

impl AuditLevel {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Metadata => "Metadata",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// How a [`Cluster`] is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterOptions {
    /// See [`AuditLevel`].
    pub audit: AuditLevel,
    /// Whether etcd waits for the disk, as it does in production. Off, unless a test is about that or measures.
    pub fsync: bool,
    /// Further arguments of the API server, such as `--feature-gates=…`; they come last, and the last one counts.
    pub api_server_arguments: Vec<String>,
    /// Without it nothing is collected, and a deleted namespace stays `Terminating`.
    pub controller_manager: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { audit: AuditLevel::default(), fsync: false, api_server_arguments: Vec::new(), controller_manager: true }
    }
}

/// A running Kubernetes API. Its helpers act as `admin`, who is in `system:masters`, unless they say otherwise.
#[derive(Debug)]
pub struct Cluster {
    server: String,
    etcd: String,
    admin_token: String,
    layout: Layout,
    client: OnceLock<Client>,
    resources: Resources,
    /// Whether [`Cluster::ensure_crds`] has installed ours.
    crds: OnceCell<()>,
    // The processes before their folder: fields drop in this order.
    own: Option<Own>,
    _folder: Option<RunDir>,
}

/// What only the process that started it has.
#[derive(Debug)]
struct Own {
    options: ClusterOptions,
    ports: Ports,
    etcd: Slot,
    api_server: Slot,
    controller_manager: Slot,
}

type Slot = Mutex<Option<Process>>;

#[derive(Debug, Clone, Copy)]
struct Ports {
    api_server: u16,
    etcd: u16,
    etcd_peer: u16,
}

impl Cluster {
    /// A new, empty one. Ready in about four seconds once its programs are built.
    ///
    /// # Errors
    /// If it can't be installed or started.
    pub async fn start(options: ClusterOptions) -> Result<Self> {
        blocking(|| Piece::CLUSTER.into_iter().try_for_each(|piece| piece.ensure().map(drop))).await?;
        let mut attempt = 1;
        loop {
            let cluster = Self::prepare(options.clone())?;
            match cluster.start_all().await {
                Ok(()) => return Ok(cluster),
                Err(error) if attempt < TRIES && format!("{error:#}").contains("address already in use") => {
                    attempt += 1
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn prepare(options: ClusterOptions) -> Result<Self> {
        let folder = RunDir::new("cluster")?;
        let layout = Layout::new(folder.path());
        let ports = Ports { api_server: free_port()?, etcd: free_port()?, etcd_peer: free_port()? };
        let server = format!("https://127.0.0.1:{}", ports.api_server);
        let (admin_token, controller_token) = (unique("admin"), unique("controller"));
        fs::create_dir_all(layout.kubeconfigs())?;
        fs::create_dir_all(layout.certificates())?;
        let key = KeyPair::generate()?;
        fs::write(layout.service_account_key(), key.serialize_pem())?;
        fs::write(layout.service_account_public_key(), key.public_key_pem())?;
        fs::write(layout.tokens(), files::tokens(&admin_token, &controller_token))?;
        fs::write(layout.audit_policy(), files::audit_policy(options.audit))?;
        let kubeconfig = |token| files::kubeconfig(&server, Some(&layout.ca()), token, "default");
        fs::write(layout.admin_kubeconfig(), kubeconfig(&admin_token))?;
        fs::write(layout.controller_kubeconfig(), kubeconfig(&controller_token))?;
        let own = Own {
            options,
            ports,
            etcd: Slot::default(),
            api_server: Slot::default(),
            controller_manager: Slot::default(),
        };
        let etcd = format!("http://127.0.0.1:{}", ports.etcd);
        let (own, folder) = (Some(own), Some(folder));
        Ok(Self {
            server,
            etcd,
            admin_token,
            layout,
            client: OnceLock::new(),
            resources: Resources::default(),
            crds: OnceCell::new(),
            own,
            _folder: folder,
        })
    }

    async fn start_all(&self) -> Result<()> {
        self.start_etcd()?;
        self.start_api_server().await?;
        self.start_controller_manager()
    }

    /// One that another process runs.
    pub(crate) fn connect(at: &ClusterAddress) -> Self {
        Self {
            server: at.server.clone(),
            etcd: at.etcd.clone(),
            admin_token: at.admin_token.clone(),
            layout: Layout::new(&at.folder),
            client: OnceLock::new(),
            resources: Resources::default(),
            crds: OnceCell::new(),
            own: None,
            _folder: None,
        }
    }

    pub(crate) fn environment(&self) -> ClusterAddress {
        ClusterAddress {
            server: self.server.clone(),
            etcd: self.etcd.clone(),
            admin_token: self.admin_token.clone(),
            folder: self.layout.folder().to_owned(),
        }
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// etcd's client URL, `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn etcd(&self) -> &str {
        &self.etcd
    }

    /// Its folder: keys, kubeconfigs, `etcd/` and the audit log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.layout.folder()
    }

    /// The CA of the API server, a PEM file.
    #[must_use]
    pub fn ca_path(&self) -> PathBuf {
        self.layout.ca()
    }

    /// The CA of the API server, as PEM.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn ca_pem(&self) -> Result<String> {
        fs::read_to_string(self.ca_path()).context("reading the API server's CA")
    }

    /// The token of `admin`.
    #[must_use]
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// A kubeconfig with the token of `admin`.
    #[must_use]
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.layout.admin_kubeconfig()
    }

    /// Stops the API server with SIGKILL: clients get refused connections.
    ///
    /// # Errors
    /// If another process started it.
    pub fn stop_api_server(&self) -> Result<()> {
        end(&self.own()?.api_server)
    }

    /// Starts the API server (again, on the same port), and waits until it is ready.
    ///
    /// # Errors
    /// If another process started the cluster, or it is not ready in time.
    pub async fn start_api_server(&self) -> Result<()> {
        let own = self.own()?;
        let mut command = Command::new(Piece::ApiServer.ensure()?);
        command.args(self.api_server_arguments(own)).current_dir(self.folder());
        put(&own.api_server, Process::spawn("kube-apiserver", command)?);
        let url = format!("{}/readyz", self.server);
        let authorization = format!("Bearer {}", self.admin_token);
        let ready = wait_until("the API server to be ready", START, async || {
            for (slot, what) in [(&own.etcd, "etcd"), (&own.api_server, "the API server")] {
                if let Err(error) = with(slot, what, Process::must_live) {
                    return Some(Err(error));
                }
            }
            let client = self.client().ok()?; // its CA file comes with the server
            let headers = [("Authorization", authorization.as_str())];
            let (status, _) = http::request_by(client, "GET", &url, &headers, None).await.ok()?;
            (status == 200).then_some(Ok(()))
        });
        match ready.await {
            Ok(outcome) => outcome,
            Err(late) => Err(late.context(with(&own.api_server, "the API server", |process| Ok(process.log_tail()))?)),
        }
    }

    /// Sends the API server SIGSTOP (`true`) or SIGCONT: it accepts connections and answers nothing.
    ///
    /// # Errors
    /// If another process started it, or it is not running.
    pub fn freeze_api_server(&self, frozen: bool) -> Result<()> {
        freeze(&self.own()?.api_server, "the API server", frozen)
    }

    /// Sends etcd SIGSTOP (`true`) or SIGCONT: the API server's writes hang.
    ///
    /// # Errors
    /// If another process started it, or it is not running.
    pub fn freeze_etcd(&self, frozen: bool) -> Result<()> {
        freeze(&self.own()?.etcd, "etcd", frozen)
    }

    pub(crate) fn start_etcd(&self) -> Result<()> {
        let own = self.own()?;
        let peer = format!("http://127.0.0.1:{}", own.ports.etcd_peer);
        let mut command = Command::new(Piece::Etcd.ensure()?);
        command.arg("--data-dir").arg(self.layout.etcd());
        for (flag, value) in [
            ("--listen-client-urls", self.etcd.as_str()),
            ("--advertise-client-urls", &self.etcd),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
            ("--initial-cluster", &format!("default={peer}")),
            ("--log-level", "warn"),
        ] {
            command.arg(flag).arg(value);
        }
        if !own.options.fsync {
            command.arg("--unsafe-no-fsync");
        }
        put(&own.etcd, Process::spawn("etcd", command)?);
        Ok(())
    }

    pub(crate) fn start_controller_manager(&self) -> Result<()> {
        let own = self.own()?;
        if !own.options.controller_manager {
            return Ok(());
        }
        let mut command = Command::new(Piece::ControllerManager.ensure()?);
        let argument = |name: &str, path: PathBuf| format!("--{name}={}", path.display());
        command
            .arg(argument("kubeconfig", self.layout.controller_kubeconfig()))
            .arg(argument("service-account-private-key-file", self.layout.service_account_key()))
            .arg(argument("root-ca-file", self.layout.ca()))
            .arg(format!("--controllers={CONTROLLERS}"))
            .args(["--use-service-account-credentials", "--secure-port=0", "--leader-elect=false"])
            .args(["--namespace-sync-period=10s", "--kube-api-qps=200", "--kube-api-burst=400"])
            .current_dir(self.folder());
        put(&own.controller_manager, Process::spawn("kube-controller-manager", command)?);
        Ok(())
    }

    /// SIGKILL for everything; the data stays.
    pub(crate) fn stop_all(&self) -> Result<()> {
        let own = self.own()?;
        [&own.controller_manager, &own.api_server, &own.etcd].into_iter().try_for_each(end)
    }

    fn api_server_arguments(&self, own: &Own) -> Vec<String> {
        let layout = &self.layout;
        let mut arguments: Vec<String> = [
            ("etcd-servers", self.etcd.clone()),
            ("bind-address", "127.0.0.1".to_owned()),
            ("advertise-address", "127.0.0.1".to_owned()),
            ("secure-port", own.ports.api_server.to_string()),
            ("cert-dir", layout.certificates().display().to_string()),
            ("service-account-issuer", self.server.clone()),
            ("service-account-key-file", layout.service_account_public_key().display().to_string()),
            ("service-account-signing-key-file", layout.service_account_key().display().to_string()),
            ("authorization-mode", "RBAC".to_owned()),
            ("token-auth-file", layout.tokens().display().to_string()),
            ("service-cluster-ip-range", "10.0.0.0/24".to_owned()),
            ("endpoint-reconciler-type", "none".to_owned()),
            ("audit-policy-file", layout.audit_policy().display().to_string()),
            ("audit-log-path", layout.audit_log().display().to_string()),
            ("audit-log-maxsize", "10000".to_owned()), // MB; the default starts a new file at 100
            ("profiling", "false".to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| format!("--{name}={value}"))
        .collect();
        arguments.extend(own.options.api_server_arguments.iter().cloned());
        arguments
    }

    /// Trusts the API server. It pools no connections, for the reason in [`http::client`].
    pub(crate) const fn resources(&self) -> &Resources {
        &self.resources
    }

    pub(crate) const fn crds(&self) -> &OnceCell<()> {
        &self.crds
    }

    pub(crate) fn client(&self) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let trusted = reqwest::Certificate::from_pem_bundle(&fs::read(self.ca_path())?)?;
        ensure!(!trusted.is_empty(), "the API server has not written its CA yet");
        let client = http::builder().tls_certs_only(trusted).build()?;
        Ok(self.client.get_or_init(|| client))
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    fn own(&self) -> Result<&Own> {
        self.own.as_ref().context("this cluster belongs to another process: start one of your own to control it")
    }
}

fn lock(slot: &Slot) -> MutexGuard<'_, Option<Process>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process that is there already is ended by being replaced.
fn put(slot: &Slot, process: Process) {
    *lock(slot) = Some(process);
}

fn end(slot: &Slot) -> Result<()> {
    let taken = lock(slot).take();
    if let Some(process) = taken {
        process.kill()?;
    }
    Ok(())
}

fn with<T>(slot: &Slot, what: &str, action: impl FnOnce(&Process) -> Result<T>) -> Result<T> {
    action(lock(slot).as_ref().with_context(|| format!("{what} is not running"))?)
}

fn freeze(slot: &Slot, what: &str, frozen: bool) -> Result<()> {
    with(slot, what, |process| process.signal(if frozen { Signal::SIGSTOP } else { Signal::SIGCONT }))
}
