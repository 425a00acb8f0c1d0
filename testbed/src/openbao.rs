//! A real OpenBao: in memory, or on raft so that it can be sealed, killed and restarted. Or a HashiCorp Vault ([`Vendor`]).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::dirs::RunDir;
use crate::ports::free_port_pair;
use crate::process::Process;
use crate::shared::OpenBaoAddress;
use crate::vendor::Vendor;
use crate::wait::wait_until;
use crate::{dirs, http};

const START: Duration = Duration::from_secs(30);
/// A chosen port may be taken before the server binds it; then another is tried.
const TRIES: u32 = 3;
const HEALTHY: u16 = 200;
/// Of a node that waits, unsealed, for its turn: OpenBao's and Vault's, and that of one that serves reads meanwhile.
const STANDBY: [u16; 2] = [429, 473];
const NOT_INITIALISED: u16 = 501;
const SEALED: u16 = 503;

/// A running OpenBao. Its helpers (mounts, policies, tokens, …) act with the root token; they fail with the
/// server's answer.
#[derive(Debug)]
pub struct OpenBao {
    address: String,
    root_token: String,
    own: Option<Own>,
}

/// What only the process that started the server has.
#[derive(Debug)]
struct Own {
    process: Mutex<Option<Process>>,
    unseal_key: Option<String>,
    folder: RunDir,
}

impl OpenBao {
    /// In memory, unsealed, with KV version 2 at `secret/` and a plugin directory. Ready in about a quarter of a second.
    ///
    /// # Errors
    /// If it can't be installed or started.
    pub async fn dev() -> Result<Self> {
        let root_token = dirs::unique("root");
        let (own, address) = start(|port, folder| {
            let plugins = folder.path().join("plugins");
            fs::create_dir_all(&plugins)?;
            let mut arguments = vec!["server".to_owned(), "-dev".to_owned(), "-dev-no-store-token".to_owned()];
            arguments.push(format!("-dev-root-token-id={root_token}"));
            arguments.push(format!("-dev-listen-address=127.0.0.1:{port}"));
            arguments.push(format!("-dev-plugin-dir={}", plugins.display()));
            arguments.push("-dev-plugin-init=false".to_owned());
            Ok(arguments)
        })
        .await?;
        let bao = Self { address, root_token, own: Some(own) };
        bao.wait_for(&[HEALTHY]).await?;
        Ok(bao)
    }

    /// One node on raft, initialised and unsealed, with a file audit device, a plugin directory, its raw storage to be looked
    /// at (`sys/raw`), and no other mount than the defaults.
    ///
    /// # Errors
    /// If it can't be installed or started.
    pub async fn raft() -> Result<Self> {
        let mut bao = Self::raft_node("one", None).await?;
        bao.initialise().await?;
        Ok(bao)
    }

    /// A raft server that is neither initialised nor unsealed. It will join the other, if one is given, and write to its audit
    /// log: a cluster's nodes must agree about their audit devices.
    pub(crate) async fn raft_node(name: &str, join: Option<&Self>) -> Result<Self> {
        let audit_log = join.map(Self::audit_log).transpose()?;
        let (own, address) = start(|port, folder| {
            let data = folder.path().join("data");
            fs::create_dir_all(&data)?;
            fs::create_dir_all(folder.path().join("plugins"))?;
            let config = folder.path().join("config.hcl");
            fs::write(&config, raft_config(port, folder, name, join.map(Self::address), audit_log.as_deref()))?;
            Ok(vec!["server".to_owned(), format!("-config={}", config.display())])
        })
        .await?;
        let bao = Self { address, root_token: String::new(), own: Some(own) };
        // One that has joined another knows already that there are keys.
        bao.wait_for(if join.is_some() { &[NOT_INITIALISED, SEALED] } else { &[NOT_INITIALISED] }).await?;
        Ok(bao)
    }

    /// Makes the keys, and unseals it.
    pub(crate) async fn initialise(&mut self) -> Result<()> {
        let shares = json!({"secret_shares": 1, "secret_threshold": 1});
        let keys = self.call("PUT", "sys/init", Some(&shares)).await?;
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        self.root_token = text(keys.get("root_token")).context("no root token")?;
        if let Some(own) = &mut self.own {
            own.unseal_key = text(keys.pointer("/keys_base64/0"));
        }
        self.unseal().await?;
        if Vendor::chosen() == Vendor::Vault {
            let device = json!({"type": "file", "options": {"file_path": self.audit_log()?}});
            self.call("PUT", "sys/audit/file", Some(&device)).await?;
        }
        Ok(())
    }

    /// Takes over the keys of the node that it has joined, and unseals it as a standby.
    pub(crate) async fn follow(&mut self, leader: &Self) -> Result<()> {
        self.root_token.clone_from(&leader.root_token);
        let key = leader.own()?.unseal_key.clone();
        if let Some(own) = &mut self.own {
            own.unseal_key = key;
        }
        self.unseal_as(&STANDBY).await
    }

    /// One that another process runs.
    pub(crate) fn connect(at: &OpenBaoAddress) -> Self {
        Self { address: at.address.clone(), root_token: at.root_token.clone(), own: None }
    }

    pub(crate) fn environment(&self) -> OpenBaoAddress {
        OpenBaoAddress { address: self.address.clone(), root_token: self.root_token.clone() }
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The root token.
    #[must_use]
    pub fn root_token(&self) -> &str {
        &self.root_token
    }

    /// Its folder: `data/` is the storage, `plugins/` the plugin directory, `audit.log` the audit device (raft only).
    ///
    /// # Errors
    /// If another process started it.
    pub fn folder(&self) -> Result<PathBuf> {
        Ok(self.own()?.folder.path().to_owned())
    }

    /// Where a raft server's audit device writes.
    ///
    /// # Errors
    /// If another process started it.
    pub fn audit_log(&self) -> Result<PathBuf> {
        Ok(self.folder()?.join("audit.log"))
    }

    /// All that it has logged so far.
    ///
    /// # Errors
    /// If another process started it, or it is not running.
    pub fn log_text(&self) -> Result<String> {
        self.with_process(Process::log_text)
    }

    /// Its process id.
    ///
    /// # Errors
    /// If another process started it, or it is not running.
    pub fn pid(&self) -> Result<u32> {
        self.with_process(|process| Ok(process.pid()))
    }

    /// Seals it: everything answers 503 until [`OpenBao::unseal`].
    ///
    /// # Errors
    /// If it refuses.
    pub async fn seal(&self) -> Result<()> {
        self.own()?;
        self.call("PUT", "sys/seal", None).await?;
        self.wait_for(&[SEALED]).await
    }

    /// Unseals a raft server, and waits until it is active.
    ///
    /// # Errors
    /// If it has no unseal key (in memory), or does not become active in time.
    pub async fn unseal(&self) -> Result<()> {
        self.unseal_as(&[HEALTHY]).await
    }

    /// Unseals a raft server, and waits until its health is one of these.
    pub(crate) async fn unseal_as(&self, health: &[u16]) -> Result<()> {
        let key = self.own()?.unseal_key.as_ref().context("only a raft server can be unsealed")?;
        // A node that is just joining may refuse for a moment.
        let answer = wait_until("the server to take its key", START, async || {
            self.call("PUT", "sys/unseal", Some(&json!({"key": key}))).await.ok()
        });
        answer.await?;
        self.wait_for(health).await
    }

    /// Unseals a node of several, which may become active or a standby.
    ///
    /// # Errors
    /// If it does neither in time.
    pub async fn unseal_as_one_of_several(&self) -> Result<()> {
        let [one, other] = STANDBY;
        self.unseal_as(&[HEALTHY, one, other]).await
    }

    /// SIGKILL. Its data stays; [`OpenBao::restart`] starts it again.
    ///
    /// # Errors
    /// If another process started it.
    pub fn kill(&self) -> Result<()> {
        let taken = self.lock(self.own()?).take();
        if let Some(process) = taken {
            process.kill()?;
        }
        Ok(())
    }

    /// Starts a raft server again on the same port and data (after a SIGKILL, if it still runs). It comes up sealed.
    ///
    /// # Errors
    /// If it is an in-memory server, or does not answer in time.
    pub async fn restart(&self) -> Result<()> {
        let own = self.own()?;
        own.unseal_key.as_ref().context("only a raft server survives a restart")?;
        self.kill()?;
        let binary = blocking(|| Vendor::chosen().ensure()).await?;
        let config = own.folder.path().join("config.hcl");
        let mut command = Command::new(binary);
        command.arg("server").arg(format!("-config={}", config.display()));
        *self.lock(own) = Some(spawn(command, own.folder.path())?);
        self.wait_for(&[SEALED]).await
    }

    /// Sends SIGSTOP (`true`) or SIGCONT: a server that accepts connections and answers nothing.
    ///
    /// # Errors
    /// If another process started it, or it is not running.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        use crate::process::Signal::{SIGCONT, SIGSTOP};
        self.with_process(|process| process.signal(if frozen { SIGSTOP } else { SIGCONT }))
    }

    /// A request as root; any status is an answer.
    ///
    /// # Errors
    /// If there is no answer at all.
    pub async fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        self.request_as(&self.root_token, method, path, body).await
    }

    /// A request with another token.
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
        let url = format!("{}/v1/{path}", self.address);
        http::request(method, &url, &[("X-Vault-Token", token)], body).await
    }

    /// A request as root that must succeed.
    ///
    /// # Errors
    /// If the answer is not 2xx: with method, path, status and the server's own errors.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, answer) = self.request(method, path, body).await?;
        if !(200..300).contains(&status) {
            let errors = answer.get("errors").cloned().unwrap_or(answer);
            bail!("OpenBao answered {status} to {method} {path}: {errors}");
        }
        Ok(answer)
    }

    async fn wait_for(&self, wanted: &[u16]) -> Result<()> {
        let what = format!("OpenBao at {} with health {wanted:?}", self.address);
        let url = format!("{}/v1/sys/health", self.address);
        let answer = wait_until(&what, START, async || {
            if let Err(error) = self.with_process(Process::must_live) {
                return Some(Err(error));
            }
            let (status, _) = http::request("GET", &url, &[], None).await.ok()?;
            wanted.contains(&status).then_some(Ok(()))
        });
        match answer.await {
            Ok(outcome) => outcome,
            Err(late) => Err(late.context(self.with_process(|process| Ok(process.log_tail()))?)),
        }
    }

    fn own(&self) -> Result<&Own> {
        self.own.as_ref().context("this OpenBao belongs to another process: start one of your own to control it")
    }

    fn lock<'a>(&self, own: &'a Own) -> std::sync::MutexGuard<'a, Option<Process>> {
        own.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_process<T>(&self, action: impl FnOnce(&Process) -> Result<T>) -> Result<T> {
        let guard = self.lock(self.own()?);
        action(guard.as_ref().context("OpenBao is not running")?)
    }
}

/// Starts a server on a free pair of ports; again on another pair if the first was taken meanwhile.
async fn start(arguments: impl Fn(u16, &RunDir) -> Result<Vec<String>>) -> Result<(Own, String)> {
    let binary = blocking(|| Vendor::chosen().ensure()).await?;
    let mut attempt = 1;
    loop {
        let folder = RunDir::new("openbao")?;
        let port = free_port_pair()?;
        let mut command = Command::new(&binary);
        command.args(arguments(port, &folder)?);
        let process = spawn(command, folder.path())?;
        let address = format!("http://127.0.0.1:{port}");
        let health = format!("{address}/v1/sys/health");
        let answered = wait_until("OpenBao's first answer", START, async || {
            if let Err(error) = process.must_live() {
                return Some(Err(error));
            }
            http::request("GET", &health, &[], None).await.ok().map(|_| Ok(()))
        });
        match answered.await.with_context(|| process.log_tail())? {
            Ok(()) => {
                let process = Mutex::new(Some(process));
                return Ok((Own { process, unseal_key: None, folder }, address));
            }
            Err(error) if attempt < TRIES && error.to_string().contains("address already in use") => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

fn spawn(mut command: Command, folder: &Path) -> Result<Process> {
    // Its home is the run's folder, and no setting of the person's own environment reaches it.
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("BAO_") || name_text.starts_with("VAULT_") {
            command.env_remove(&name);
        }
    }
    command.env("HOME", folder).current_dir(folder);
    Process::spawn("openbao", command)
}

// The multiplier makes the first election take one second instead of five to ten.
fn raft_config(port: u16, folder: &RunDir, name: &str, join: Option<&str>, audit_log: Option<&Path>) -> String {
    let own_log = folder.path().join("audit.log");
    let audit_log = audit_log.unwrap_or(&own_log).display();
    let folder = folder.path().display();
    let cluster_port = port + 1;
    let join =
        join.map_or_else(String::new, |leader| format!("  retry_join {{\n    leader_api_addr = \"{leader}\"\n  }}\n"));
    // OpenBao takes its audit device from here only, Vault from its API only.
    let vendor = match Vendor::chosen() {
        Vendor::OpenBao => {
            format!("audit \"file\" \"file\" {{\n  options = {{\n    file_path = \"{audit_log}\"\n  }}\n}}\n")
        }
        Vendor::Vault => "disable_mlock = true\n".to_owned(),
    };
    format!(
        r#"storage "raft" {{
  path    = "{folder}/data"
  node_id = "{name}"
  performance_multiplier = 1
{join}}}
listener "tcp" {{
  address     = "127.0.0.1:{port}"
  tls_disable = true
}}
{vendor}api_addr         = "http://127.0.0.1:{port}"
cluster_addr     = "http://127.0.0.1:{cluster_port}"
plugin_directory = "{folder}/plugins"
raw_storage_endpoint = true
ui = true
"#
    )
}

/// Runs something that may take its time (an installation) beside the runtime.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("the work panicked")?
}
