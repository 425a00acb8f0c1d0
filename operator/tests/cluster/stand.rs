//! One installation on the shared cluster: operators and gateways as processes with the rights of `examples/install/`, a
//! tenant's namespace, and OpenBao that knows the tenant's service account.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ps_testbed::{
    ApiProxy, Cluster, KubernetesRole, Mail, OpenBao, RunDir, SmtpServer, Testbed, free_port, unique, wait_until,
};
use serde_json::{Value, json};

use crate::balancer::Balancer;
use crate::install::Names;
pub use crate::program::Program;
use crate::support::{Invitation, Recipient, SOON, Seen};

/// How an installation is set up.
#[derive(Clone)]
pub struct Setup {
    /// How many operators are started.
    pub operators: usize,
    /// How many gateways.
    pub gateways: usize,
    /// Whether one operator is elected.
    pub elect: bool,
    /// The host in `publicUrl`.
    pub host: &'static str,
    /// `mail.hold`.
    pub hold: &'static str,
    /// `log.level`.
    pub level: &'static str,
    /// More lines of the configuration.
    pub more: String,
    /// More arguments of the gateways.
    pub gateway_args: Vec<String>,
    /// More of the operators' environment.
    pub env: Vec<(String, String)>,
    /// Further namespaces that are watched; [`Stand::new_tenant`] makes them.
    pub also: Vec<String>,
    /// One audit trail for all operators, as on a volume that they share.
    pub one_trail: bool,
    /// Whether every program reaches the API server through [`Stand::proxy`].
    pub proxied: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            operators: 1,
            gateways: 1,
            elect: true,
            host: "127.0.0.1",
            hold: "15m",
            level: "debug",
            more: String::new(),
            gateway_args: Vec::new(),
            env: Vec::new(),
            also: Vec::new(),
            one_trail: false,
            proxied: false,
        }
    }
}

/// See the module. Dropped, its programs are killed; its objects go with the cluster.
pub struct Stand {
    pub operators: Vec<Program>,
    pub gateways: Vec<Program>,
    // After the processes: fields drop in this order.
    folder: RunDir,
    balancer: Balancer,
    setup: Setup,
    pub names: Names,
    /// The tenant's namespace.
    pub tenant: String,
    /// OpenBao's auth mount for this cluster.
    pub auth: String,
    pub cluster: &'static Cluster,
    /// What programs reach the API server through, if [`Setup::proxied`].
    pub proxy: Option<ApiProxy>,
}

impl Stand {
    /// Installs, starts everything on the shared cluster, and waits until it is ready.
    pub async fn start(setup: Setup) -> Self {
        let stand = Self::prepare(setup).await;
        stand.run().await;
        stand
    }

    /// Installs on the shared cluster, and starts nothing.
    pub async fn prepare(setup: Setup) -> Self {
        let testbed = Testbed::connect_or_start().unwrap();
        Self::prepare_on(setup, testbed.cluster().await.unwrap()).await
    }

    /// Installs on a cluster, and starts nothing.
    pub async fn prepare_on(setup: Setup, cluster: &'static Cluster) -> Self {
        let testbed = Testbed::connect_or_start().unwrap();
        let (bao, smtp) = (testbed.bao().await.unwrap(), testbed.smtp().await.unwrap());
        cluster.ensure_crds().await.unwrap();
        let names = Names::new(name("ps"));
        cluster.apply(&names.everything()).await.unwrap();
        let auth = unique("k8s");
        cluster.trust_from(bao, &auth).await.unwrap();
        let ports: Vec<u16> = (0..setup.gateways).map(|_| free_port().unwrap()).collect();
        let proxy = setup.proxied.then(|| cluster.proxy().unwrap());
        let stand = Self {
            operators: (0..setup.operators).map(|_| Program::new(0)).collect(),
            gateways: ports.iter().map(|port| Program::new(*port)).collect(),
            folder: RunDir::new("installation").unwrap(),
            balancer: Balancer::start(ports),
            setup,
            names,
            tenant: name("team"),
            auth,
            cluster,
            proxy,
        };
        stand.new_tenant(&stand.tenant).await;
        fs::create_dir_all(stand.path("secrets")).unwrap();
        fs::write(stand.path("secrets/mail"), smtp.password()).unwrap();
        fs::copy(smtp.ca_path(), stand.path("ca.pem")).unwrap();
        for (n, operator) in stand.operators.iter().enumerate() {
            fs::write(stand.path(&format!("config-{n}.yaml")), stand.config(n, operator.admin, smtp)).unwrap();
        }
        stand
    }

    fn config(&self, n: usize, admin: u16, smtp: &SmtpServer) -> String {
        let Setup { hold, level, more, elect, also, one_trail, .. } = &self.setup;
        let watched = [std::slice::from_ref(&self.tenant), also].concat().join(", ");
        let trail = if *one_trail { 0 } else { n };
        let (port, user) = (smtp.port(), smtp.user());
        let Names { own, links } = &self.names;
        format!(
            "publicUrl: {}\nadmin: {{listen: 127.0.0.1:{admin}}}\nsender: Platform team\nlog: {{level: {level}}}\n\
             mail: {{hold: {hold}}}\naudit: {{file: audit-{trail}.jsonl}}\n\
             kubernetes:\n  namespace: {own}\n  linksNamespace: {links}\n  watchNamespaces: [{watched}]\n  allowHttp: true\n  \
             leaderElection: {{enabled: {elect}, leaseDuration: 6s, renewDeadline: 5s, retryPeriod: 500ms}}\n\
             smtp: {{host: localhost, port: {port}, caFile: ca.pem, username: {user}, timeout: 5s, \
             passwordFile: secrets/mail, from: \"Password Sender <noreply@sender.example>\"}}\n{more}\n",
            self.public_url(),
        )
    }

    /// A namespace that shares with the operator what `examples/install/tenant.yaml` says.
    pub async fn new_tenant(&self, name: &str) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.cluster.apply(&namespace.to_string()).await.unwrap();
        self.cluster.apply(&self.names.tenant(name)).await.unwrap();
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Where links lead.
    pub fn public_url(&self) -> String {
        format!("http://{}:{}", self.setup.host, self.balancer.port())
    }

    /// Starts every program, and waits until each is ready.
    pub async fn run(&self) {
        for n in 0..self.gateways.len() {
            self.start_gateway(n).await;
        }
        for n in 0..self.operators.len() {
            self.start_operator(n).await;
        }
        self.wait_ready().await;
    }

    /// A kubeconfig of one of our service accounts.
    async fn kubeconfig(&self, account: &str) -> PathBuf {
        let (cluster, own) = (self.cluster, &self.names.own);
        match &self.proxy {
            Some(proxy) => cluster.kubeconfig_via(proxy, own, account).await.unwrap(),
            None => cluster.kubeconfig_for(own, account).await.unwrap(),
        }
    }

    /// The command line of an operator.
    pub async fn command(&self, n: usize, words: &[&str]) -> Command {
        let kubeconfig = self.kubeconfig("password-sender-operator").await;
        let mut command = Command::new(program("OPERATOR", env!("CARGO_BIN_EXE_password-sender-operator").into()));
        command.args(words).arg("--config").arg(self.path(&format!("config-{n}.yaml")));
        command.arg("--kubeconfig").arg(kubeconfig);
        command.current_dir(self.folder.path());
        command.envs(self.setup.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts one operator, and does not wait.
    pub async fn start_operator(&self, n: usize) {
        let command = self.command(n, &["run"]).await;
        self.operators[n].spawn(&format!("operator-{n}"), command);
    }

    /// Starts one gateway, and does not wait.
    pub async fn start_gateway(&self, n: usize) {
        let kubeconfig = self.kubeconfig("password-sender-gateway").await;
        let gateway = &self.gateways[n];
        let beside = PathBuf::from(env!("CARGO_BIN_EXE_password-sender-operator"));
        let mut command = Command::new(program("GATEWAY", beside.with_file_name("password-sender-gateway")));
        command.args(["--store", "kubernetes", "--namespace", &self.names.links, "--kubeconfig"]).arg(kubeconfig);
        command.arg("--listen").arg(format!("127.0.0.1:{}", gateway.port));
        command.arg("--admin").arg(format!("127.0.0.1:{}", gateway.admin));
        command.args(["--rate", "0", "--max-connections-per-client", "10000"]);
        command.args(&self.setup.gateway_args);
        command.args(["--log", if self.setup.level == "trace" { "trace" } else { "info" }]);
        command.current_dir(self.folder.path());
        gateway.spawn(&format!("gateway-{n}"), command);
    }

    /// Waits until every program that runs is ready: claims are answered then.
    pub async fn wait_ready(&self) {
        for program in self.operators.iter().chain(&self.gateways) {
            if !program.is_wanted() {
                continue;
            }
            let up = wait_until("a program to be ready", SOON, async || {
                assert!(program.is_up(), "it ended:\n{}", program.tail());
                (program.asks("readyz").await == 200).then_some(())
            });
            up.await.unwrap_or_else(|e| panic!("{e}\n{}", self.tails()));
        }
    }

    /// The index of the operator that leads.
    pub async fn leader(&self) -> usize {
        let found = wait_until("a leader", SOON, async || {
            for (n, operator) in self.operators.iter().enumerate() {
                if operator.is_up() && operator.metric("password_sender_leader").await > 0.0 {
                    return Some(n);
                }
            }
            None
        });
        found.await.unwrap_or_else(|e| panic!("{e}\n{}", self.tails()))
    }

    /// Makes the tenant's connection `vault`: Kubernetes auth with the service account `password-sender`.
    pub async fn connect(&self, bao: &OpenBao, policy: &str) {
        self.connect_as(bao, bao.address(), &self.tenant, policy, json!({})).await;
    }

    /// The same for a namespace and an address; `more` goes into the connection's spec.
    pub async fn connect_as(&self, bao: &OpenBao, address: &str, namespace: &str, policy: &str, more: Value) {
        let name = unique("policy");
        bao.policy(&name, policy).await.unwrap();
        let role = KubernetesRole {
            namespace,
            service_account: "password-sender",
            audience: "vault",
            policies: &[&name],
            ttl: "1h",
        };
        self.cluster.kubernetes_role(bao, &self.auth, namespace, &role).await.unwrap();
        let kubernetes = json!({"mount": self.auth, "role": namespace, "audience": "vault",
            "serviceAccountRef": {"name": "password-sender"}});
        let mut spec = json!({"address": address, "timeout": "5s", "auth": {"kubernetes": kubernetes}});
        spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        let object = json!({"apiVersion": "passwordsender.io/v1alpha1", "kind": "VaultConnection",
            "metadata": {"name": "vault", "namespace": namespace}, "spec": spec});
        self.cluster.apply(&object.to_string()).await.unwrap();
    }

    /// Applies a manifest to the tenant's namespace, server-side.
    pub async fn apply(&self, yaml: &str) {
        self.apply_to(&self.tenant, yaml).await;
    }

    pub async fn apply_to(&self, namespace: &str, yaml: &str) {
        let mut object: Value = serde_yaml::from_str(yaml).unwrap();
        object["metadata"]["namespace"] = namespace.into();
        self.cluster.apply(&object.to_string()).await.unwrap();
    }

    /// The path of a delivery.
    pub fn uri(&self, name: &str) -> String {
        format!("/apis/passwordsender.io/v1alpha1/namespaces/{}/secretdeliveries/{name}", self.tenant)
    }

    /// The object; null if there is none.
    pub async fn object(&self, name: &str) -> Value {
        match self.cluster.request("GET", &self.uri(name), None).await.unwrap() {
            (200, object) => object,
            _ => Value::Null,
        }
    }

    /// Merges into the object.
    pub async fn patch(&self, name: &str, patch: Value) {
        self.cluster.call("PATCH", &self.uri(name), Some(&patch)).await.unwrap();
    }

    /// Deletes the object, and does not wait.
    pub async fn delete(&self, name: &str) {
        self.cluster.call("DELETE", &self.uri(name), None).await.unwrap();
    }

    /// The status of a delivery; empty if there is none.
    pub async fn status(&self, name: &str) -> Seen {
        Seen(self.object(name).await)
    }

    /// Waits for a status. Says what it was instead, and what the programs did last.
    pub async fn wait_status(&self, name: &str, what: &str, deadline: Duration, is: impl Fn(&Seen) -> bool) -> Seen {
        let seen = wait_until(what, deadline, async || Some(self.status(name).await).filter(|seen| is(seen))).await;
        match seen {
            Ok(seen) => seen,
            Err(e) => {
                let seen = serde_json::to_string_pretty(&self.status(name).await.0["status"]).unwrap();
                panic!("{name}: {e}\n{seen}\n{}", self.tails())
            }
        }
    }

    /// Waits until the delivered value is proven dead.
    pub async fn wait_rotated(&self, name: &str, deadline: Duration) -> Seen {
        self.wait_status(name, "the proof", deadline, |s| s.is("Rotated")).await
    }

    /// Waits for so many mails.
    pub async fn mails(&self, to: &str, count: usize, deadline: Duration) -> Vec<Mail> {
        let smtp = Testbed::connect_or_start().unwrap().smtp().await.unwrap();
        let mails = smtp.wait_for_mails(to, count, deadline).await;
        mails.unwrap_or_else(|e| panic!("{e:#}\n{}", self.tails()))
    }

    /// Waits for the first mail to somebody.
    pub async fn mail(&self, to: &str) -> Mail {
        self.mails(to, 1, SOON).await.remove(0)
    }

    /// Waits for the first mail to somebody, and takes it as that person.
    pub async fn recipient(&self, to: &str) -> Recipient {
        Recipient::new(&Invitation::of(&self.mail(to).await))
    }

    /// The ends of all logs.
    pub fn tails(&self) -> String {
        self.operators.iter().chain(&self.gateways).map(Program::tail).collect::<Vec<_>>().join("\n")
    }
}

/// Another build can be given, as `PASSWORD_SENDER_OPERATOR` or `PASSWORD_SENDER_GATEWAY`: one that was broken on purpose,
/// while others build this tree.
fn program(which: &str, built: PathBuf) -> PathBuf {
    std::env::var_os(format!("PASSWORD_SENDER_{which}")).map_or(built, PathBuf::from)
}

/// A unique name that Kubernetes takes.
pub fn name(prefix: &str) -> String {
    unique(prefix).replace('_', "-")
}
