//! One operator with its folders, optimised, as an administrator would run it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ps_testbed::process::{Process, Signal};
use ps_testbed::{OpenBao, RunDir, SmtpServer, TokenOptions, free_port, unique};
use serde_json::{Value, json};

use super::programs::{Programs, memory, processor_time};

const SOON: Duration = Duration::from_secs(30);
/// A start with ten thousand links looks at each of them first.
const START: Duration = Duration::from_secs(300);

/// An operator with its gateway.
pub(super) struct Stand {
    // The process before its folder: fields drop in this order.
    process: Option<Process>,
    folder: RunDir,
    pub(super) port: u16,
    admin: u16,
    operator: PathBuf,
}

impl Stand {
    /// Folders and configuration; `smtp` is the mail server, without one mails go to an outbox folder.
    pub(super) fn prepare(programs: &Programs, smtp: Option<&SmtpServer>) -> Result<Self> {
        let folder = RunDir::new("bench-stand")?;
        let stand =
            Self { process: None, folder, port: free_port()?, admin: free_port()?, operator: programs.operator() };
        for name in ["manifests", "secrets", "data"] {
            fs::create_dir_all(stand.path(name))?;
        }
        let mail = match smtp {
            None => "outbox: outbox\n".to_owned(),
            Some(smtp) => {
                stand.secret("mail", "password", smtp.password())?;
                fs::copy(smtp.ca_path(), stand.path("ca.pem"))?;
                format!(
                    "smtp: {{host: localhost, port: {}, caFile: ca.pem, username: {}, \
                     passwordFile: secrets/default/mail/password, from: \"Password Sender <noreply@sender.example>\"}}\n",
                    smtp.port(),
                    smtp.user()
                )
            }
        };
        let (port, admin) = (stand.port, stand.admin);
        // To try another number than the default.
        let workers = std::env::var("BENCH_WORKERS").map_or(String::new(), |n| format!("workers: {n}\n"));
        let config = format!(
            "publicUrl: http://127.0.0.1:{port}\nlisten: 127.0.0.1:{port}\nadmin: {{listen: 127.0.0.1:{admin}}}\n\
             sender: Platform team\nsecrets: secrets\nlog: {{level: warn}}\n{workers}{mail}"
        );
        fs::write(stand.path("config.yaml"), config)?;
        Ok(stand)
    }

    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Starts it. Gives the time until it says that it is ready, and the time until its gateway answers.
    pub(super) fn start(&mut self) -> Result<(Duration, Duration)> {
        let mut command = Command::new(&self.operator);
        command.arg("standalone").arg("--config").arg(self.path("config.yaml"));
        command.arg("--manifests").arg(self.path("manifests")).arg("--data").arg(self.path("data"));
        command.current_dir(self.folder.path());
        let start = Instant::now();
        let process = Process::spawn("bench-operator", command)?;
        let until = |port, path: &str, wanted: &str| -> Result<Duration> {
            loop {
                if http(port, "GET", path, "").is_ok_and(|answer| answer.starts_with(wanted)) {
                    return Ok(start.elapsed());
                }
                if let Some(status) = process.ended()? {
                    bail!("the operator ended ({status}):\n{}", process.log_text()?);
                }
                ensure!(start.elapsed() < START, "the operator is not ready:\n{}", process.log_text()?);
                std::thread::sleep(Duration::from_micros(500));
            }
        };
        let ready = until(self.admin, "/readyz", "HTTP/1.1 200")?;
        let serves = until(self.port, "/", "HTTP/1.1 200")?;
        self.process = Some(process);
        Ok((ready, serves))
    }

    pub(super) fn stop(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            process.signal(Signal::SIGTERM)?;
            process.wait(SOON)?;
        }
        Ok(())
    }

    fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("the operator does not run")
    }

    /// Memory in MiB, resident and its own part, of the operator and of its gateway.
    pub(super) fn memory(&self) -> Result<[(f64, f64); 2]> {
        let pid = self.process()?.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let gateway = children.split_whitespace().next().context("the operator has no gateway")?;
        Ok([memory(pid)?, memory(gateway.parse()?)?])
    }

    /// Seconds of processor time that the operator has used.
    pub(super) fn processor_time(&self) -> Result<f64> {
        processor_time(self.process()?.pid())
    }

    /// Puts a file into the manifests folder, whole at once.
    pub(super) fn apply(&self, name: &str, text: &str) -> Result<()> {
        let temporary = self.path(&format!("manifests/.{name}.tmp"));
        fs::write(&temporary, text)?;
        Ok(fs::rename(temporary, self.path(&format!("manifests/{name}.yaml")))?)
    }

    fn secret(&self, name: &str, key: &str, value: &str) -> Result<()> {
        let folder = self.path("secrets/default").join(name);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(key), value)?;
        Ok(fs::set_permissions(folder.join(key), fs::Permissions::from_mode(0o600))?)
    }

    /// Applies a VaultConnection `vault` to `address`, with a token for this policy.
    pub(super) async fn connect(&self, bao: &OpenBao, address: &str, policy: &str) -> Result<()> {
        let name = unique("policy");
        bao.policy(&name, policy).await?;
        let token = bao.token(&[&name], &TokenOptions { ttl: Some("1h"), ..TokenOptions::default() }).await?;
        self.secret("vault", "token", &token.token)?;
        let spec = json!({"address": address, "auth": {"token": {"secretKeyRef": {"name": "vault", "key": "token"}}}});
        self.apply("connection", &object("VaultConnection", "vault", &spec))
    }

    /// A delivery's status file; empty if there is none yet.
    pub(super) fn status(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("manifests/{name}.status.yaml"))).unwrap_or_default()
    }

    /// Waits until a delivery's status has a line.
    pub(super) fn wait_status(&self, name: &str, line: &str) -> Result<String> {
        let start = Instant::now();
        loop {
            let status = self.status(name);
            if status.lines().any(|found| found.trim() == line) {
                return Ok(status);
            }
            ensure!(start.elapsed() < SOON, "{name} has no {line:?}:\n{status}\n{}", self.process()?.log_text()?);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A manifest. JSON is YAML.
pub(super) fn object(kind: &str, name: &str, spec: &Value) -> String {
    json!({"apiVersion": "passwordsender.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
        .to_string()
}

/// A delivery of both keys of a KV secret.
pub(super) fn kv_delivery(name: &str, to: &str, mount: &str, path: &str, after: &str) -> String {
    let vault = json!({"connectionRef": {"name": "vault"}, "kv": {"mount": mount, "path": path}});
    let spec = json!({
        "recipient": {"email": to, "name": "Alice"},
        "source": {"vault": vault},
        "fields": [{"label": "User name", "key": "username"}, {"label": "Password", "key": "password", "kind": "password"}],
        "context": {"title": "Database of the web shop"},
        "link": {"ttl": "4h"},
        "rotation": {"strategy": "WriteNewVersion", "afterRetrieval": after},
    });
    object("SecretDelivery", name, &spec)
}

/// A delivery of a static role.
pub(super) fn role_delivery(name: &str, to: &str, mount: &str, role: &str, after: &str) -> String {
    let vault = json!({"connectionRef": {"name": "vault"}, "database": {"mount": mount, "staticRole": role}});
    let spec = json!({
        "recipient": {"email": to},
        "source": {"vault": vault},
        "link": {"ttl": "4h"},
        "rotation": {"afterRetrieval": after},
    });
    object("SecretDelivery", name, &spec)
}

/// One request to a local port on a connection of its own; gives the whole answer, head and body.
pub(super) fn http(port: u16, method: &str, path: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(SOON))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
