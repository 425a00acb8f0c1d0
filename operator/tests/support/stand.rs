//! One operator with its folders: started, killed, stopped, looked at.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ps_testbed::process::{Process, Signal};
use ps_testbed::{Mail, OidcServer, OpenBao, RunDir, SmtpServer, Testbed, TokenOptions, free_port, unique, wait_until};

use serde_json::Value;

use super::recipient::client;
use super::{Invitation, Recipient, SOON, Seen};

/// How an operator is set up.
#[derive(Clone)]
pub struct Setup {
    /// `smtp.timeout`.
    pub smtp_timeout: &'static str,
    /// `mail.hold`.
    pub hold: &'static str,
    /// `lease`, if not the operator's own default.
    pub lease: Option<&'static str>,
    /// `log.level`; empty for the operator's own default.
    pub level: &'static str,
    /// Whether the audit trail lies beside the data folder, as on another volume, instead of in it.
    pub audit_elsewhere: bool,
    /// More of the environment.
    pub env: Vec<(String, String)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { smtp_timeout: "5s", hold: "15m", lease: None, level: "debug", audit_elsewhere: false, env: Vec::new() }
    }
}

/// The operator. Another build can be given, which has a gateway beside it: one that was broken on purpose, while others
/// build this tree.
pub fn program() -> PathBuf {
    let other = std::env::var_os("PASSWORD_SENDER_OPERATOR");
    other.map_or_else(|| env!("CARGO_BIN_EXE_password-sender-operator").into(), PathBuf::from)
}

/// An operator with its gateway, its folders, and a mailbox of its own. Dropped, it is killed.
pub struct Stand {
    // The process before its folder: fields drop in this order.
    process: Mutex<Option<Process>>,
    logs: Mutex<Vec<PathBuf>>,
    folder: RunDir,
    setup: Setup,
    smtp_at: u16,
    port: u16,
    admin: u16,
}

impl Stand {
    /// Starts one with the shared mail server.
    pub async fn start(setup: Setup) -> Self {
        Self::with_smtp(setup, shared_smtp().await).await
    }

    /// Starts one with a mail server of its own.
    pub async fn with_smtp(setup: Setup, smtp: &SmtpServer) -> Self {
        let stand = Self::prepare(setup, smtp);
        stand.run().await;
        stand
    }

    /// Makes the folders and the configuration, and starts nothing.
    pub fn prepare(setup: Setup, smtp: &SmtpServer) -> Self {
        let folder = RunDir::new("stand").unwrap();
        let (port, admin) = (free_port().unwrap(), free_port().unwrap());
        let stand = Self {
            process: Mutex::default(),
            logs: Mutex::default(),
            folder,
            setup,
            smtp_at: smtp.port(),
            port,
            admin,
        };
        for name in ["manifests", "secrets", "data"] {
            fs::create_dir_all(stand.path(name)).unwrap();
        }
        stand.secret("mail", "password", smtp.password());
        fs::copy(smtp.ca_path(), stand.path("ca.pem")).unwrap();
        fs::write(stand.path("config.yaml"), stand.config(smtp.user())).unwrap();
        stand
    }

    fn config(&self, user: &str) -> String {
        let Setup { smtp_timeout, hold, lease, level, audit_elsewhere, .. } = &self.setup;
        let (port, admin, smtp) = (self.port, self.admin, self.smtp_at);
        let lease = lease.map(|lease| format!("lease: {lease}\n")).unwrap_or_default();
        let log = if level.is_empty() { String::new() } else { format!("log: {{level: {level}}}\n") };
        let audit = if *audit_elsewhere { "audit: {file: other-volume/audit.jsonl}\n" } else { "" };
        if *audit_elsewhere {
            fs::create_dir_all(self.path("other-volume")).unwrap();
        }
        format!(
            "publicUrl: http://127.0.0.1:{port}\nlisten: 127.0.0.1:{port}\nadmin: {{listen: 127.0.0.1:{admin}}}\n\
             sender: Platform team\nsecrets: secrets\npage: {{name: The stand, hstsSeconds: 60}}\n{lease}{log}mail: {{hold: {hold}}}\n{audit}\
             smtp: {{host: localhost, port: {smtp}, caFile: ca.pem, username: {user}, timeout: {smtp_timeout}, \
             passwordFile: secrets/default/mail/password, from: \"Password Sender <noreply@sender.example>\"}}\n"
        )
    }

    /// A file or folder of this stand: `manifests`, `data`, `data/links`, `data/ledger.db`, …
    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Where links lead.
    pub fn public_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The command line of the operator, for a start or for `restore accept`.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(words).arg("--config").arg(self.path("config.yaml"));
        command.current_dir(self.folder.path());
        match self.setup.level {
            "" => command.env_remove("PASSWORD_SENDER_LOG"),
            level => command.env("PASSWORD_SENDER_LOG", level),
        };
        command.envs(self.setup.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Has people sign in at this provider, from the next start on.
    pub fn with_oidc(&self, server: &OidcServer) {
        self.secret("oidc", "client", server.client_secret());
        let config = format!(
            "{}oidc: {{issuer: \"{}\", clientId: {}, clientSecretFile: secrets/default/oidc/client, \
             authorizationEndpoint: \"{}\", timeout: 5s}}\n",
            fs::read_to_string(self.path("config.yaml")).unwrap(),
            server.issuer(),
            server.client_id(),
            server.authorization_endpoint()
        );
        fs::write(self.path("config.yaml"), config).unwrap();
    }

    /// Starts the operator, and waits until it is ready.
    pub async fn run(&self) {
        self.spawn();
        self.wait_ready().await;
    }

    /// Starts the operator, and does not wait.
    pub fn spawn(&self) {
        let mut command = self.command(&["standalone"]);
        command.arg("--manifests").arg(self.path("manifests")).arg("--data").arg(self.path("data"));
        let process = Process::spawn("operator", command).unwrap();
        self.logs().push(process.log().to_owned());
        *self.process() = Some(process);
    }

    /// Waits until the operator says that it is ready, which means that claims are answered.
    pub async fn wait_ready(&self) {
        let up = wait_until("the operator to be ready", SOON, async || {
            if let Some(status) = self.process().as_ref().and_then(|p| p.ended().unwrap()) {
                panic!("the operator ended ({status}):\n{}", self.tail());
            }
            (self.asks("readyz").await == 200).then_some(())
        });
        up.await.unwrap_or_else(|e| panic!("{e}\n{}", self.tail()));
    }

    /// The status of an endpoint of the admin port; 0 if nobody answers.
    pub async fn asks(&self, endpoint: &str) -> u16 {
        let answer = client().get(format!("http://127.0.0.1:{}/{endpoint}", self.admin)).send().await;
        answer.map_or(0, |answer| answer.status().as_u16())
    }

    /// SIGKILL. The gateway must end by itself.
    pub fn kill(&self) {
        if let Some(process) = self.process().take() {
            process.kill().unwrap();
        }
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&self) {
        if let Some(process) = self.process().take() {
            process.signal(Signal::SIGTERM).unwrap();
            let status = process.wait(SOON).unwrap_or_else(|e| panic!("{e}\n{}", self.tail()));
            assert!(status.success(), "{status}\n{}", self.tail());
        }
    }

    /// SIGTERM, then a new start on the same folders.
    pub async fn restart(&self) {
        self.stop();
        self.run().await;
    }

    pub fn signal(&self, signal: Signal) {
        self.process().as_ref().unwrap().signal(signal).unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.process().as_ref().unwrap().pid()
    }

    /// The gateway's process id.
    pub fn gateway_pid(&self) -> u32 {
        self.gateway().expect("the operator has no child")
    }

    /// The gateway's process id, if one runs. One that has ended and was not waited for does not.
    pub fn gateway(&self) -> Option<u32> {
        let pid = self.pid().to_string();
        let mut children =
            fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
        children.find(|child: &u32| {
            let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            let after_name = stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
            let mut words = after_name.split_whitespace();
            words.next().is_some_and(|state| state != "Z") && words.next() == Some(&pid)
        })
    }

    /// Puts a manifest file into the folder, whole at once.
    pub fn apply(&self, name: &str, yaml: &str) {
        let (path, temporary) = (self.manifest(name), self.path(&format!("manifests/.{name}.tmp")));
        fs::write(&temporary, yaml).unwrap();
        fs::rename(temporary, path).unwrap();
    }

    /// Removes a manifest file.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.manifest(name)).unwrap();
    }

    pub fn manifest(&self, name: &str) -> PathBuf {
        self.path(&format!("manifests/{name}.yaml"))
    }

    /// Writes a secret that manifests name.
    pub fn secret(&self, name: &str, key: &str, value: &str) {
        let folder = self.path("secrets/default").join(name);
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join(key);
        fs::write(&file, value).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Applies a VaultConnection `vault` to `address`, with a token for this policy.
    pub async fn connect(&self, bao: &OpenBao, address: &str, policy: &str) {
        let name = unique("policy");
        bao.policy(&name, policy).await.unwrap();
        let token = bao.token(&[&name], &TokenOptions { ttl: Some("1h"), ..TokenOptions::default() }).await.unwrap();
        self.secret("vault", "token", &token.token);
        self.connection(address, "{token: {secretKeyRef: {name: vault, key: token}}}");
    }

    /// The same with an AppRole.
    pub async fn connect_by_approle(&self, bao: &OpenBao, policy: &str) {
        let name = unique("policy");
        bao.policy(&name, policy).await.unwrap();
        let role = bao.approle(&name, &[&name], &serde_json::Value::Null).await.unwrap();
        self.secret("vault", "secret-id", &role.secret_id);
        let auth = format!("{{appRole: {{roleId: {}, secretIdRef: {{name: vault, key: secret-id}}}}}}", role.role_id);
        self.connection(bao.address(), &auth);
    }

    fn connection(&self, address: &str, auth: &str) {
        let text = format!(
            "apiVersion: passwordsender.io/v1alpha1\nkind: VaultConnection\nmetadata: {{name: vault}}\n\
             spec: {{address: \"{address}\", timeout: 5s, auth: {auth}}}\n"
        );
        self.apply("connection", &text);
    }

    /// The status of a delivery; empty if there is none.
    pub fn status(&self, name: &str) -> Seen {
        let text = fs::read_to_string(self.path(&format!("manifests/{name}.status.yaml"))).unwrap_or_default();
        Seen(serde_yaml::from_str(&text).unwrap_or_default())
    }

    /// Waits for a status. Says what it was instead, and what the operator did last.
    pub async fn wait_status(&self, name: &str, what: &str, deadline: Duration, is: impl Fn(&Seen) -> bool) -> Seen {
        let seen = wait_until(what, deadline, async || Some(self.status(name)).filter(|seen| is(seen))).await;
        seen.unwrap_or_else(|e| {
            let seen = serde_json::to_string_pretty(&self.status(name).0).unwrap();
            panic!("{name}: {e}\n{seen}\n{}", self.tail())
        })
    }

    /// Waits until the delivered value is proven dead.
    pub async fn wait_rotated(&self, name: &str, deadline: Duration) -> Seen {
        self.wait_status(name, "the proof", deadline, |s| s.is("Rotated")).await
    }

    /// Waits for the first mail to somebody.
    pub async fn mail(&self, to: &str) -> Mail {
        self.mails(to, 1, SOON).await.remove(0)
    }

    /// Waits for so many mails on the shared mail server.
    pub async fn mails(&self, to: &str, count: usize, deadline: Duration) -> Vec<Mail> {
        let mails = shared_smtp().await.wait_for_mails(to, count, deadline).await;
        mails.unwrap_or_else(|e| panic!("{e:#}\n{}", self.tail()))
    }

    /// Waits for the first mail to somebody, and takes it as that person.
    pub async fn recipient(&self, to: &str) -> Recipient {
        Recipient::new(&Invitation::of(&self.mail(to).await))
    }

    /// All that was logged, by all runs.
    pub fn log_text(&self) -> String {
        let logs = self.logs().clone();
        logs.iter().map(|log| String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned()).collect()
    }

    /// The metrics page.
    pub async fn metrics(&self) -> String {
        let url = format!("http://127.0.0.1:{}/metrics", self.admin);
        client().get(url).send().await.unwrap().text().await.unwrap()
    }

    /// One number of the metrics page; 0 while it is not there.
    pub async fn metric(&self, name: &str) -> f64 {
        let page = self.metrics().await;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |number| number.parse().unwrap())
    }

    /// Waits until the last that the log (level `debug` or louder) says of a delivery is that it rests.
    pub async fn wait_rests(&self, name: &str) {
        let of = format!("delivery=default/{name} ");
        let rests = wait_until("rest", SOON, async || {
            let log = self.log_text();
            let last = log.lines().rfind(|l| l.contains(&of) && (l.contains(" step ") || l.contains(" rests ")))?;
            last.contains(" rests ").then_some(())
        });
        rests.await.unwrap_or_else(|e| panic!("{name}: {e}\n{}", self.tail()));
    }

    /// Where the audit trail is.
    pub fn audit_file(&self) -> PathBuf {
        if self.setup.audit_elsewhere { self.path("other-volume/audit.jsonl") } else { self.path("data/audit.jsonl") }
    }

    /// How many different events of this kind are on the audit trail for a delivery.
    pub fn audited(&self, name: &str, kind: &str) -> usize {
        let text = fs::read_to_string(self.audit_file()).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let wanted = |line: &Value| line["event"]["kind"] == kind && line["event"]["delivery"]["name"] == name;
        let ids: BTreeSet<String> = lines.filter(wanted).map(|line| line["id"].to_string()).collect();
        ids.len()
    }

    fn tail(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(40);
        format!("--- operator's log ({}) ---\n{}", self.folder.path().display(), lines[from..].join("\n"))
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn logs(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub async fn shared_smtp() -> &'static SmtpServer {
    Testbed::connect_or_start().unwrap().smtp().await.unwrap()
}
