//! Working with a cluster: requests, kubectl, namespaces, service accounts and their kubeconfigs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::api_proxy::ApiProxy;
use crate::dirs::{unique, workspace};
use crate::http;
use crate::install::Piece;
use crate::kubernetes::Cluster;
use crate::kubernetes_files::kubeconfig;
use crate::openbao::blocking;
use crate::process;
use crate::wait::wait_until;

const COMMAND: Duration = Duration::from_secs(120);
const ESTABLISHED: Duration = Duration::from_secs(60);
const DAY: u64 = 24 * 3600;
const ALREADY_EXISTS: u16 = 409;

/// How a kubectl or Helm command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Whether it exited with 0.
    pub success: bool,
    /// What it said.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Cluster {
    /// A request as `admin`; any status is an answer. A PATCH is a JSON merge patch.
    ///
    /// # Errors
    /// If there is no answer at all.
    pub async fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        self.request_as(self.admin_token(), method, path, body).await
    }

    /// The same with another token.
    ///
    /// # Errors
    /// If there is no answer at all.
    pub async fn request_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value)> {
        let authorization = format!("Bearer {token}");
        let mut headers = vec![("Authorization", authorization.as_str()), ("Accept", "application/json")];
        if method == "PATCH" {
            headers.push(("Content-Type", "application/merge-patch+json"));
        }
        http::request_by(self.client()?, method, &format!("{}{path}", self.server()), &headers, body).await
    }

    /// A request as `admin` that must succeed. `path` begins with `/api` or `/apis`.
    ///
    /// # Errors
    /// If the answer is not 2xx: with method, path, status and the server's message.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, answer) = self.request(method, path, body).await?;
        if !(200..300).contains(&status) {
            let message = answer.get("message").cloned().unwrap_or(answer);
            bail!("the API server answered {status} to {method} {path}: {message}");
        }
        Ok(answer)
    }

    /// kubectl as `admin`; gives its stdout.
    ///
    /// # Errors
    /// If it fails, with its stderr.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with(arguments, b"").await
    }

    /// kubectl with another kubeconfig and something on its stdin; failing is an answer.
    ///
    /// # Errors
    /// If it can't be run or hangs.
    pub async fn kubectl_as(&self, kubeconfig: &Path, arguments: &[&str], input: &[u8]) -> Result<Finished> {
        let command = self.tool(Piece::Kubectl, kubeconfig, arguments)?;
        let input = input.to_vec();
        blocking(move || {
            let (status, stdout, process) = process::run_unchecked("kubectl", command, &input, COMMAND)?;
            Ok(Finished { success: status.success(), stdout, stderr: process.log_text()? })
        })
        .await
    }

    /// Helm as `admin`; gives its stdout. There are no nodes: `--wait` would not end.
    ///
    /// # Errors
    /// If it fails, with its stderr.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        let command = self.tool(Piece::Helm, &self.admin_kubeconfig(), arguments)?;
        blocking(move || process::run("helm", command, b"", COMMAND)).await
    }

    /// Applies `crds/*.yaml` of the repository, and waits until their resources can be listed. Any number of times.
    ///
    /// # Errors
    /// If the API server refuses them.
    pub async fn install_crds(&self) -> Result<()> {
        let folder = workspace().join("crds").display().to_string();
        let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager=testbed", "-o", "json", "-f"];
        let applied = self.kubectl(&[&apply[..], &[&folder]].concat()).await?;
        self.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", &folder]).await?;
        for document in serde_json::Deserializer::from_str(&applied).into_iter::<Value>() {
            let document = document?;
            let list = document.get("items").and_then(Value::as_array).cloned();
            for crd in list.unwrap_or_else(|| vec![document]) {
                self.wait_until_served(&crd).await?;
            }
        }
        Ok(())
    }

    /// The same, once per cluster in this process: for installations that come and go on it.
    ///
    /// # Errors
    /// If the API server refuses them.
    pub async fn ensure_crds(&self) -> Result<()> {
        self.crds().get_or_try_init(|| self.install_crds()).await.copied()
    }

    /// "Established" comes a moment before the resource is served.
    async fn wait_until_served(&self, crd: &Value) -> Result<()> {
        let text = |pointer: &str| {
            let value = crd.pointer(pointer).and_then(Value::as_str);
            value.map(str::to_owned).with_context(|| format!("a CRD without {pointer}"))
        };
        let (group, plural) = (text("/spec/group")?, text("/spec/names/plural")?);
        let versions = crd.pointer("/spec/versions").and_then(Value::as_array).context("a CRD without versions")?;
        for version in versions.iter().filter(|version| version.get("served") == Some(&Value::Bool(true))) {
            let name = version.get("name").and_then(Value::as_str).context("a version without a name")?;
            let path = format!("/apis/{group}/{name}/{plural}?limit=1");
            wait_until(&path, ESTABLISHED, async || {
                let (status, _) = self.request("GET", &path, None).await.ok()?;
                (status == 200).then_some(())
            })
            .await?;
        }
        Ok(())
    }

    /// Makes a namespace that no other test uses, and gives its name: `prefix-` and 12 hex digits.
    ///
    /// # Errors
    /// If the API server refuses.
    pub async fn namespace(&self, prefix: &str) -> Result<String> {
        let name = unique(prefix).replace('_', "-");
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.call("POST", "/api/v1/namespaces", Some(&body)).await?;
        Ok(name)
    }

    /// Makes a service account, unless it is there.
    ///
    /// # Errors
    /// If the API server refuses.
    pub async fn service_account(&self, namespace: &str, name: &str) -> Result<()> {
        let body = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        self.make(&format!("/api/v1/namespaces/{namespace}/serviceaccounts"), &body).await
    }

    /// Creates an object; one that exists is left as it is.
    pub(crate) async fn make(&self, path: &str, body: &Value) -> Result<()> {
        let (status, answer) = self.request("POST", path, Some(body)).await?;
        if !(200..300).contains(&status) && status != ALREADY_EXISTS {
            bail!("the API server answered {status} to POST {path}: {answer}");
        }
        Ok(())
    }

    /// A token of a service account, by TokenRequest. An empty audience is the API server's own. The server gives no
    /// token under 600 seconds.
    ///
    /// # Errors
    /// If the API server refuses.
    pub async fn token(&self, namespace: &str, service_account: &str, audience: &str, seconds: u64) -> Result<String> {
        let audiences: Vec<&str> = Some(audience).filter(|audience| !audience.is_empty()).into_iter().collect();
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": audiences, "expirationSeconds": seconds},
        });
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token");
        let answer = self.call("POST", &path, Some(&body)).await?;
        let token = answer.pointer("/status/token").and_then(Value::as_str);
        Ok(token.context("no token in the answer")?.to_owned())
    }

    /// A kubeconfig with a day's token of a service account, which is made if it is missing. Its default namespace is
    /// the account's.
    ///
    /// # Errors
    /// If the API server refuses.
    pub async fn kubeconfig_for(&self, namespace: &str, service_account: &str) -> Result<PathBuf> {
        self.write_kubeconfig(self.server(), Some(&self.ca_path()), namespace, service_account).await
    }

    /// The same, through a proxy.
    ///
    /// # Errors
    /// If the API server refuses.
    pub async fn kubeconfig_via(&self, proxy: &ApiProxy, namespace: &str, service_account: &str) -> Result<PathBuf> {
        self.write_kubeconfig(&proxy.address(), proxy.ca_path(), namespace, service_account).await
    }

    async fn write_kubeconfig(
        &self,
        server: &str,
        ca: Option<&Path>,
        namespace: &str,
        service_account: &str,
    ) -> Result<PathBuf> {
        self.service_account(namespace, service_account).await?;
        let token = self.token(namespace, service_account, "", DAY).await?;
        let name = unique(&format!("{namespace}-{service_account}"));
        let path = self.layout().kubeconfigs().join(format!("{name}.kubeconfig"));
        fs::write(&path, kubeconfig(server, ca, &token, namespace))?;
        Ok(path)
    }

    async fn kubectl_with(&self, arguments: &[&str], input: &[u8]) -> Result<String> {
        let command = self.tool(Piece::Kubectl, &self.admin_kubeconfig(), arguments)?;
        let input = input.to_vec();
        blocking(move || process::run("kubectl", command, &input, COMMAND)).await
    }

    /// Its home is the cluster's folder, and no setting of the person's own environment reaches it.
    fn tool(&self, piece: Piece, kubeconfig: &Path, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(piece.ensure()?);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("HELM_") || text.starts_with("KUBE") || text.starts_with("XDG_") {
                command.env_remove(&name);
            }
        }
        command.args(arguments).env("KUBECONFIG", kubeconfig).env("HOME", self.folder()).current_dir(workspace());
        Ok(command)
    }
}
