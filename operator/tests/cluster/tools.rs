//! What a person or a script does around an installation: kubectl, Events, obligations, the audit trail.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use ps_testbed::{Cluster, KubernetesRole, OpenBao, unique, wait_until};
use serde_json::{Value, json};

use crate::stand::{Stand, name};
use crate::support::{KvSource, SOON, kv_delivery};

impl Stand {
    /// A sub-command of the operator that takes no configuration, with the operator's own rights.
    pub async fn tool(&self, words: &[&str]) -> Command {
        let kubeconfig = self.cluster.kubeconfig_for(&self.names.own, "password-sender-operator").await.unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_password-sender-operator"));
        command.args(words).arg("--kubeconfig").arg(kubeconfig).current_dir(self.path(""));
        command
    }

    async fn obligations_as(&self, more: &[&str]) -> String {
        let words = [&["obligations", "--namespace", &self.names.own], more].concat();
        said(self.tool(&words).await)
    }

    /// What `obligations --json` lists.
    pub async fn obligations(&self) -> Vec<Value> {
        serde_json::from_str(&self.obligations_as(&["--json"]).await).unwrap()
    }

    /// What `obligations` tells people.
    pub async fn obligations_text(&self) -> String {
        self.obligations_as(&[]).await
    }

    /// Waits until nothing is owed any more.
    pub async fn wait_nothing_owed(&self, deadline: Duration) {
        let met = wait_until("nothing owed", deadline, async || self.obligations().await.is_empty().then_some(()));
        if let Err(e) = met.await {
            panic!("{e}\n{:#?}\n{}", self.obligations().await, self.tails());
        }
    }

    /// Waits until something is gone, and says how long that took.
    pub async fn wait_gone(&self, path: &str, deadline: Duration) -> Duration {
        let start = Instant::now();
        let gone = wait_until("it to be gone", deadline, async || {
            (self.cluster.request("GET", path, None).await.ok()?.0 == 404).then_some(())
        });
        if let Err(e) = gone.await {
            let object = self.cluster.request("GET", path, None).await.unwrap().1;
            panic!("{path}: {e}\n{:#}\n{:#}\n{}", object["metadata"], object["status"], self.tails());
        }
        start.elapsed()
    }

    /// The Events about an object, by its name.
    pub async fn events(&self, namespace: &str, object: &str) -> Vec<Value> {
        let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        let list = self.cluster.call("GET", &path, None).await.unwrap();
        let all = list["items"].as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|event| event["regarding"]["name"] == object).collect()
    }

    /// Waits for an Event about an object.
    pub async fn event(&self, namespace: &str, object: &str, reason: &str) -> Value {
        let found = wait_until(reason, SOON, async || {
            self.events(namespace, object).await.into_iter().find(|event| event["reason"] == reason)
        });
        found.await.unwrap_or_else(|e| panic!("{object}: {e}\n{}", self.tails()))
    }

    /// How many different events of this kind are on the first operator's audit trail for a delivery.
    pub fn audited(&self, name: &str, kind: &str) -> usize {
        let text = fs::read_to_string(self.path("audit-0.jsonl")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let wanted = |line: &Value| line["event"]["kind"] == kind && line["event"]["delivery"]["name"] == name;
        lines.filter(wanted).map(|line| line["id"].to_string()).collect::<BTreeSet<_>>().len()
    }

    /// Waits for an event on the first operator's audit trail.
    pub async fn wait_audited(&self, name: &str, kind: &str) {
        let there = wait_until(kind, SOON, async || (self.audited(name, kind) > 0).then_some(()));
        there.await.unwrap_or_else(|e| panic!("{name}: {e}\n{}", self.tails()));
    }

    /// kubectl as the cluster's administrator, with a manifest on its standard input.
    pub async fn kubectl(&self, words: &[&str], manifest: &str) -> String {
        let done = self.cluster.kubectl_as(&self.cluster.admin_kubeconfig(), words, manifest.as_bytes()).await.unwrap();
        assert!(done.success, "kubectl {words:?}: {}", done.stderr);
        done.stdout
    }

    /// A manifest with the tenant's namespace in it.
    pub fn in_tenant(&self, yaml: &str) -> String {
        let mut object: Value = serde_yaml::from_str(yaml).unwrap();
        object["metadata"]["namespace"] = self.tenant.clone().into();
        object.to_string()
    }

    /// `examples/install/14-cleanup-identity.yaml` and a connection of it, with a policy that can't read.
    pub async fn cleaner(&self, bao: &OpenBao, address: &str, mount: &str) -> String {
        let (cleaner, own) = (name("cleanup"), &self.names.own);
        self.cluster.apply(&self.names.file("14-cleanup-identity.yaml")).await.unwrap();
        let policy = format!(
            r#"path "{mount}/data/*" {{ capabilities = ["patch"] }}
               path "{mount}/metadata/*" {{ capabilities = ["read"] }}
               path "{mount}/destroy/*" {{ capabilities = ["update"] }}
            "#
        );
        bao.policy(&cleaner, &policy).await.unwrap();
        let policies = &[cleaner.as_str()];
        let role =
            KubernetesRole { namespace: own, service_account: "vault-cleanup", audience: "vault", policies, ttl: "1h" };
        self.cluster.kubernetes_role(bao, &self.auth, &cleaner, &role).await.unwrap();
        let kubernetes = json!({"mount": self.auth, "role": cleaner, "audience": "vault",
            "serviceAccountRef": {"name": "vault-cleanup"}});
        let spec = json!({"address": address, "timeout": "5s", "namespaces": [self.tenant], "auth": {"kubernetes": kubernetes}});
        let object = json!({"apiVersion": "passwordsender.io/v1alpha1", "kind": "ClusterVaultConnection",
            "metadata": {"name": cleaner}, "spec": spec});
        self.cluster.apply(&object.to_string()).await.unwrap();
        cleaner
    }

    /// Kills every operator that runs, and starts them again.
    pub async fn restart_operators(&self) {
        self.operators.iter().for_each(crate::stand::Program::kill);
        for n in 0..self.operators.len() {
            self.start_operator(n).await;
        }
        self.wait_ready().await;
    }

    /// Applies something of its own and waits until it is delivered: what was asked before was looked at by then.
    pub async fn something_later(&self, bao: &OpenBao, mount: &str) {
        let (later, source) = (name("later"), KvSource::below(bao, mount).await);
        let to = format!("{}@v.example", unique("later"));
        self.apply(&kv_delivery(&later, &to, &source, "1h", "1h", json!({}))).await;
        self.wait_status(&later, "something later", SOON, |s| s.is("Delivered") || s.stalled().is_some()).await;
    }

    /// Waits until an operator says that a delivery rests.
    pub async fn wait_rests(&self, name: &str) {
        let of = format!("delivery={}/{name} ", self.tenant);
        let rests = wait_until("rest", SOON, async || {
            let log: String = self.operators.iter().map(crate::stand::Program::log_text).collect();
            let last = log.lines().rfind(|l| l.contains(&of) && (l.contains(" step ") || l.contains(" rests ")))?;
            last.contains(" rests ").then_some(())
        });
        rests.await.unwrap_or_else(|e| panic!("{name}: {e}\n{}", self.tails()));
    }
}

/// One request of the API server's audit log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    pub user: String,
    pub verb: String,
    pub group: String,
    /// With its subresource.
    pub resource: String,
    pub namespace: String,
    pub code: u64,
}

/// Follows the API server's audit log, from where it stands.
pub struct AuditTail {
    path: PathBuf,
    read: u64,
}

impl AuditTail {
    pub fn new(cluster: &Cluster) -> Self {
        let path = cluster.audit_log();
        let read = fs::metadata(&path).unwrap().len();
        Self { path, read }
    }

    /// What users with this text in their names have asked since the last time.
    pub fn more(&mut self, user: &str) -> Vec<Asked> {
        let mut file = fs::File::open(&self.path).unwrap();
        file.seek(SeekFrom::Start(self.read)).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.read += whole as u64;
        let text = String::from_utf8_lossy(&bytes[..whole]);
        text.lines().filter(|line| line.contains(user)).map(asked).filter(|asked| asked.user.contains(user)).collect()
    }
}

fn asked(line: &str) -> Asked {
    let line: Value = serde_json::from_str(line).unwrap();
    let text = |pointer: &str| line.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (resource, below) = (text("/objectRef/resource"), text("/objectRef/subresource"));
    Asked {
        user: text("/user/username"),
        verb: text("/verb"),
        group: text("/objectRef/apiGroup"),
        resource: if below.is_empty() { resource } else { format!("{resource}/{below}") },
        namespace: text("/objectRef/namespace"),
        code: line.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default(),
    }
}

/// What a command writes to its standard output; it must succeed.
pub fn said(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
