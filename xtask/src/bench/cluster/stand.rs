//! An operator and a gateway with the rights of `examples/install/`, optimised, on a cluster of their own whose etcd waits
//! for the disk.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ps_testbed::process::{Process, Signal};
use ps_testbed::{Cluster, ClusterOptions, KubernetesRole, OpenBao, RunDir, SmtpServer, free_port, workspace};
use serde_json::{Value, json};

use crate::bench::programs::{Programs, memory, processor_time};
use crate::bench::stand::http;

/// The operator's namespace, that of link records, and the tenant's, as `examples/install/` names them.
pub(super) const OWN: &str = "password-sender";
pub(super) const LINKS: &str = "password-sender-links";
pub(super) const TENANT: &str = "team-a";

const INSTALLED: [&str; 6] = [
    "00-namespaces.yaml",
    "10-operator-rbac.yaml",
    "11-gateway-rbac.yaml",
    "12-token-audiences.yaml",
    "13-flow-schemas.yaml",
    "tenant.yaml",
];
/// What the operator says once it has looked at everything.
const SETTLED: &str = "every known delivery was looked at";
const LONG: Duration = Duration::from_secs(600);

/// See the module.
pub(super) struct Stand {
    // The processes before what they use: fields drop in this order.
    operator: Option<Process>,
    gateway: Option<Process>,
    programs: [PathBuf; 2],
    pub(super) port: u16,
    gateway_admin: u16,
    folder: RunDir,
    pub(super) cluster: Cluster,
}

impl Stand {
    /// Starts the cluster and installs on it; starts no program.
    pub(super) async fn prepare(programs: &Programs, smtp: &SmtpServer) -> Result<Self> {
        let cluster = Cluster::start(ClusterOptions { fsync: true, ..ClusterOptions::default() }).await?;
        cluster.install_crds().await?;
        let tenant = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TENANT}});
        cluster.apply(&tenant.to_string()).await?;
        for file in INSTALLED {
            cluster.apply(&fs::read_to_string(workspace().join("examples/install").join(file))?).await?;
        }
        let folder = RunDir::new("bench-cluster")?;
        let (port, gateway_admin, admin) = (free_port()?, free_port()?, free_port()?);
        fs::write(folder.path().join("password"), smtp.password())?;
        fs::copy(smtp.ca_path(), folder.path().join("ca.pem"))?;
        let workers = std::env::var("BENCH_WORKERS").map_or(String::new(), |n| format!("workers: {n}\n"));
        let config = format!(
            "publicUrl: http://127.0.0.1:{port}\nadmin: {{listen: 127.0.0.1:{admin}}}\nsender: Platform team\n\
             audit: {{file: audit.jsonl}}\n{workers}\
             kubernetes: {{namespace: {OWN}, linksNamespace: {LINKS}, allowHttp: true}}\n\
             smtp: {{host: localhost, port: {}, caFile: ca.pem, username: {}, passwordFile: password, \
             from: \"Password Sender <noreply@sender.example>\"}}\n",
            smtp.port(),
            smtp.user()
        );
        fs::write(folder.path().join("config.yaml"), config)?;
        let programs = [programs.operator(), programs.gateway_program()];
        Ok(Self { operator: None, gateway: None, programs, port, gateway_admin, folder, cluster })
    }

    /// Starts the gateway, which is ready once an operator has cleared it.
    pub(super) async fn start_gateway(&mut self) -> Result<()> {
        let kubeconfig = self.cluster.kubeconfig_for(OWN, "password-sender-gateway").await?;
        let mut command = Command::new(&self.programs[1]);
        command.args(["--store", "kubernetes", "--namespace", LINKS, "--kubeconfig"]).arg(kubeconfig);
        command.arg("--listen").arg(format!("127.0.0.1:{}", self.port));
        command.arg("--admin").arg(format!("127.0.0.1:{}", self.gateway_admin));
        // The limits per client are for the internet: here one client is all there is.
        command.args(["--rate", "0", "--max-connections-per-client", "10000"]).current_dir(self.folder.path());
        self.gateway = Some(Process::spawn("bench-cluster-gateway", command)?);
        Ok(())
    }

    /// Starts the operator. Gives the time until it has looked at everything that it knows.
    pub(super) async fn start_operator(&mut self) -> Result<Duration> {
        let kubeconfig = self.cluster.kubeconfig_for(OWN, "password-sender-operator").await?;
        let mut command = Command::new(&self.programs[0]);
        command.args(["run", "--config", "config.yaml", "--kubeconfig"]).arg(kubeconfig);
        command.current_dir(self.folder.path());
        let begun = Instant::now();
        let process = self.operator.insert(Process::spawn("bench-cluster-operator", command)?);
        loop {
            let said = process.log_text()?;
            if said.contains(SETTLED) {
                return Ok(begun.elapsed());
            }
            ensure!(process.ended()?.is_none() && begun.elapsed() < LONG, "the operator is not ready:\n{said}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until claims are answered.
    pub(super) async fn serving(&self) -> Result<()> {
        let begun = Instant::now();
        while !http(self.gateway_admin, "GET", "/readyz", "").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            ensure!(begun.elapsed() < LONG, "the gateway is not ready:\n{}", self.gateway()?.log_text()?);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    pub(super) fn stop_operator(&mut self) -> Result<()> {
        let process = self.operator.take().context("the operator does not run")?;
        process.signal(Signal::SIGTERM)?;
        process.wait(Duration::from_secs(60)).map(drop)
    }

    /// Stops the operator in its tracks, or lets it go on.
    pub(super) fn freeze_operator(&self, frozen: bool) -> Result<()> {
        self.operator()?.signal(if frozen { Signal::SIGSTOP } else { Signal::SIGCONT })
    }

    fn operator(&self) -> Result<&Process> {
        self.operator.as_ref().context("the operator does not run")
    }

    fn gateway(&self) -> Result<&Process> {
        self.gateway.as_ref().context("the gateway does not run")
    }

    /// Memory in MiB, resident and its own part, of the operator and of its gateway.
    pub(super) fn memory(&self) -> Result<[(f64, f64); 2]> {
        Ok([memory(self.operator()?.pid())?, memory(self.gateway()?.pid())?])
    }

    /// Seconds of processor time that the operator has used.
    pub(super) fn processor_time(&self) -> Result<f64> {
        processor_time(self.operator()?.pid())
    }

    /// What the operator logged at the end, for a failure's message.
    pub(super) fn tail(&self) -> String {
        let text = self.operator().and_then(Process::log_text).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n")
    }

    /// Makes the tenant's connection `vault` to `address`, with a Kubernetes login that has this policy.
    pub(super) async fn connect(&self, bao: &OpenBao, address: &str, policy: &str) -> Result<()> {
        bao.policy("bench", policy).await?;
        self.cluster.trust_from(bao, "bench").await?;
        let role = KubernetesRole {
            namespace: TENANT,
            service_account: "password-sender",
            audience: "vault",
            policies: &["bench"],
            ttl: "1h",
        };
        self.cluster.kubernetes_role(bao, "bench", TENANT, &role).await?;
        let kubernetes = json!({"mount": "bench", "role": TENANT, "audience": "vault",
            "serviceAccountRef": {"name": "password-sender"}});
        let object = json!({"apiVersion": "passwordsender.io/v1alpha1", "kind": "VaultConnection",
            "metadata": {"name": "vault", "namespace": TENANT},
            "spec": {"address": address, "auth": {"kubernetes": kubernetes}}});
        self.cluster.apply(&object.to_string()).await
    }
}

/// The path of the tenant's deliveries, or of one.
pub(super) fn deliveries(name: &str) -> String {
    format!("/apis/passwordsender.io/v1alpha1/namespaces/{TENANT}/secretdeliveries{name}")
}

/// A Secret of about two kilobytes, as much as a link record.
pub(super) fn secret(namespace: &str, name: &str, fill: usize) -> Value {
    let value = char::from(b'A' + u8::try_from(fill % 26).unwrap_or_default()).to_string().repeat(2048);
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": {"value": value}})
}
