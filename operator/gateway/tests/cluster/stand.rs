//! A namespace, the operator's half in this process, and gateways as processes.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ps_core::link::{Link, Record};
use ps_core::ports::{Clock, LinkStore as _};
use ps_core::time::Timestamp;
use ps_gateway::verbs::{Holder, Sample};
use ps_kubernetes::{Access, connect};
use ps_store::kubernetes::{FenceKeeper, KubernetesStore, Rights, Settings};
use ps_store::service::Fence;
use ps_testbed::{Cluster, Testbed};

use crate::support::{Conn, PATIENCE, Reply, post};

const PROGRAM: &str = env!("CARGO_BIN_EXE_password-sender-gateway");

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        now()
    }
}

/// The cluster that all tests share.
pub(crate) async fn shared() -> &'static Cluster {
    Testbed::connect_or_start().unwrap().cluster().await.unwrap()
}

/// A namespace in which the operator's half runs.
pub(crate) struct Stand {
    pub(crate) namespace: String,
    pub(crate) operator: Arc<KubernetesStore>,
    pub(crate) keeper: Arc<FenceKeeper>,
    pub(crate) kubeconfig: PathBuf,
    running: tokio::task::JoinHandle<()>,
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Stand {
    /// With a fence that lets nobody in yet.
    pub(crate) async fn start(cluster: &Cluster) -> Self {
        // An error means that it is installed already.
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let namespace = cluster.namespace("links").await.unwrap();
        for (account, verbs) in
            [("operator", "get, list, watch, create, update, patch, delete"), ("gateway", "get, list, watch, update")]
        {
            cluster.service_account(&namespace, account).await.unwrap();
            let yaml = format!(
                "{{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {{name: {account}, namespace: {namespace}}}, \
                 rules: [{{apiGroups: [''], resources: [secrets], verbs: [{verbs}]}}]}}\n---\n\
                 {{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: {account}, namespace: {namespace}}}, \
                 roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {account}}}, \
                 subjects: [{{kind: ServiceAccount, name: {account}, namespace: {namespace}}}]}}\n"
            );
            cluster.apply(&yaml).await.unwrap();
        }
        let path = cluster.kubeconfig_for(&namespace, "operator").await.unwrap();
        let client = connect(&Access::Kubeconfig { path, context: None }, "operator").await.unwrap();
        let store = KubernetesStore::start(client, &namespace, Settings::new(Rights::Operator), Fence::lifted());
        store.synced(PATIENCE).await.unwrap();
        let operator = Arc::new(store);
        let keeper = Arc::new(FenceKeeper::new(operator.clone()));
        let running = {
            let keeper = keeper.clone();
            tokio::spawn(async move { keeper.run(Arc::new(WallClock), || std::future::ready(true)).await })
        };
        let kubeconfig = cluster.kubeconfig_for(&namespace, "gateway").await.unwrap();
        Self { namespace, operator, keeper, kubeconfig, running }
    }

    /// The operator has looked at everything.
    pub(crate) fn open(&self) {
        self.keeper.open(self.operator.epoch());
    }

    pub(crate) async fn put(&self, seed: &str) -> (Holder, u64) {
        let Sample { holder, link } = Sample::new(seed, &[], now());
        let version = self.operator.insert(&Record::Link(Box::new(link))).await.unwrap();
        (holder, version)
    }

    pub(crate) async fn stored(&self, holder: &Holder) -> Link {
        let found = self.operator.get(holder.id).await.unwrap().unwrap();
        found.value.link().unwrap().clone()
    }

    /// A gateway process that has not necessarily been let in.
    pub(crate) fn gateway(&self, replica: &str, more: &[&str]) -> Gateway {
        Gateway::start(&self.kubeconfig, &self.namespace, replica, more)
    }
}

pub(crate) struct Gateway {
    child: Child,
    log: Mutex<Receiver<String>>,
    said: Mutex<Vec<String>>,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Gateway {
    pub(crate) fn start(kubeconfig: &std::path::Path, namespace: &str, replica: &str, more: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["--store", "kubernetes", "--namespace", namespace, "--replica", replica, "--rate", "0"])
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--kubeconfig"])
            .arg(kubeconfig)
            .args(more)
            .env_clear()
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
        let none = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut gateway = Self { child, log: Mutex::new(log), said: Mutex::default(), address: none, admin: none };
        let address = |line: String| line.split("address=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        gateway.address = address(gateway.wait_for("serving address="));
        gateway.admin = address(gateway.wait_for("health and metrics address="));
        gateway
    }

    /// Waits until it logs a line that holds `words`.
    pub(crate) fn wait_for(&self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Ok(line) = self.log.lock().unwrap().recv_timeout(deadline.saturating_duration_since(Instant::now()))
            else {
                panic!("never said {words:?}, but: {:#?}", self.said.lock().unwrap());
            };
            self.said.lock().unwrap().push(line.clone());
            if line.contains(words) {
                return line;
            }
        }
    }

    pub(crate) async fn call(&self, verb: &str, body: &impl serde::Serialize) -> Reply {
        Conn::open(self.address).await.ask(&post(verb, body)).await
    }

    /// Status and text of a page of the admin port.
    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: g\r\nconnection: close\r\n\r\n");
        let reply = Conn::open(self.admin).await.ask(request.as_bytes()).await;
        (reply.status, String::from_utf8(reply.body).unwrap())
    }

    pub(crate) async fn ready(&self) {
        let ready = async || (self.admin("/readyz").await.0 == 200).then_some(());
        ps_testbed::wait_until("the gateway is ready", PATIENCE, ready).await.unwrap();
    }

    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// SIGTERM; its exit code, and all that it has said.
    pub(crate) fn stopped(mut self) -> (Option<i32>, String) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::yield_now();
        };
        let mut said = std::mem::take(&mut *self.said.lock().unwrap());
        said.extend(self.log.lock().unwrap().iter());
        (status.code(), said.join("\n"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
