//! The other programs on a mount: a gateway, the sender's command line, the daemon that rotates. They are built beside the
//! plugin (`cargo xtask test` builds all).

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ps_testbed::process::{Process, Signal};
use ps_testbed::{HttpProxy, OpenBao, Postgres, TokenOptions, Vendor, free_port, unique, wait_until};
use serde_json::{Value, json};

use crate::claims::post;
use crate::stand::{COMMAND, Holder, SOON, prepare, program};

pub(crate) fn beside(name: &str) -> PathBuf {
    let path = program().with_file_name(name);
    assert!(path.exists(), "{} is not built: cargo build -p ps-gateway -p ps-operator -p ps-cli", path.display());
    path
}

/// A token with a policy of its own, in a file.
pub(crate) async fn token_file(bao: &OpenBao, folder: &Path, hcl: &str) -> PathBuf {
    let policy = unique("policy");
    bao.policy(&policy, hcl).await.unwrap();
    let token = bao.token(&[&policy], &TokenOptions { ttl: Some("1h"), ..TokenOptions::default() }).await.unwrap();
    let path = folder.join(unique("token"));
    std::fs::write(&path, token.token).unwrap();
    path
}

const GATEWAY_POLICY: &str = include_str!("../../../examples/plugin/gateway.hcl");
pub(crate) const SENDER_POLICY: &str = include_str!("../../../examples/plugin/sender.hcl");
pub(crate) const AGENT_POLICY: &str = include_str!("../../../examples/plugin/agent.hcl");

/// A gateway on the mount.
pub(crate) struct Gateway {
    pub(crate) process: Process,
    pub(crate) address: String,
    admin: u16,
    /// The file with its token.
    token: PathBuf,
}

impl Gateway {
    /// Starts one that serves as many claims of one client as come, and waits until it is ready.
    pub(crate) async fn start(bao: &OpenBao, folder: &Path) -> Self {
        let token = token_file(bao, folder, GATEWAY_POLICY).await;
        let (port, admin) = (free_port().unwrap(), free_port().unwrap());
        let mut command = Command::new(beside("password-sender-gateway"));
        command.args(["--store", "vault", "--vault-mount", "send", "--vault-addr", bao.address()]);
        command.arg("--vault-token-file").arg(&token).args(["--rate", "0", "--max-connections-per-client", "1000"]);
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--admin", &format!("127.0.0.1:{admin}")]);
        let process = Process::spawn_with_stop_signal("gateway", command, Signal::SIGTERM).unwrap();
        let gateway = Self { process, address: format!("http://127.0.0.1:{port}"), admin, token };
        gateway.ready("ok").await;
        gateway
    }

    async fn ready(&self, wanted: &str) {
        let says = async || get(self.admin, "/readyz").await?.contains(wanted).then_some(());
        wait_until(wanted, SOON, says).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_serves_the_links_of_a_mount_and_nothing_else() {
    let bao = OpenBao::raft().await.unwrap();
    prepare(&bao).await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&bao, folder.path()).await;
    let (token, address) = (&gateway.token, gateway.address.clone());
    let ready = async |wanted| gateway.ready(wanted).await;
    let link = Holder::issue(&bao, "through the gateway").await;
    // The gateway's own path stands where a Vault client's would: `/v1/` is a part of the page's address to it.
    let verb =
        async |verb: &str, body: &Value| post(&address, "none", &format!("api/v1/links/{verb}"), body).await.unwrap();
    let (status, answer) = verb("claim", &link.claim_body()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(link.open(&json!({ "data": answer }), "password"), "through the gateway");
    let (status, answer) = verb("claim", &link.elsewhere(1).claim_body()).await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("claimed")));
    let (status, answer) = verb("code", &link.code_body()).await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("not-available")));

    // Sealed: not ready, and ready again by itself.
    bao.seal().await.unwrap();
    ready("sealed").await;
    let (status, answer) = verb("claim", &link.claim_body()).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("not-ready")));
    bao.unseal().await.unwrap();
    ready("ok").await;
    // A token that is gone, and another in its place.
    let gone = std::fs::read_to_string(token).unwrap();
    bao.call("POST", "auth/token/revoke", Some(&json!({ "token": gone }))).await.unwrap();
    ready("not accepted").await;
    let other = token_file(&bao, folder.path(), GATEWAY_POLICY).await;
    std::fs::rename(other, token).unwrap();
    ready("ok").await;
    let log = gateway.process.log_text().unwrap();
    for word in [link.fragment.as_str(), gone.as_str(), "through the gateway"] {
        assert!(!log.contains(word), "the gateway's log holds a secret");
    }
}

async fn get(port: u16, path: &str) -> Option<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

/// Runs the command line with this standard input.
pub(crate) fn send(address: &str, token: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(beside("password-sender"));
    command.env_clear().args(["send", "--no-input", "--vault-addr", address, "--token-file"]).arg(token);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap_or_default();
    child.wait_with_output().unwrap()
}

/// What the command line printed, as `link/ROLE` would have answered it.
pub(crate) fn as_answered(printed: &Value) -> Value {
    let fragment = printed["url"].as_str().unwrap().split_once('#').unwrap().1;
    let id = ps_envelope::Opener::from_fragment(fragment).unwrap().id().to_string();
    json!({"lease_id": "", "data": {"url": printed["url"], "opening_code": printed["openingCode"], "id": id}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_seals_here_and_only_ciphertext_reaches_vault() {
    let bao = OpenBao::raft().await.unwrap();
    prepare(&bao).await;
    let folder = tempfile::tempdir().unwrap();
    bao.call("POST", "send/roles/onboarding", Some(&json!({}))).await.unwrap();
    let token = token_file(&bao, folder.path(), SENDER_POLICY).await;
    let user = folder.path().join("user.txt");
    std::fs::write(&user, "alice\n").unwrap();
    let fields = format!("username=@{}", user.display());
    let whole =
        ["--to", "vault:send", "--role", "onboarding", "-f", &fields, "-f", "password=-", "--title", "VPN", "--json"];
    let sent = send(bao.address(), &token, &whole, "sealed at home\n");
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    let printed: Value = serde_json::from_slice(&sent.stdout).unwrap();
    let link = Holder::from_answer(&as_answered(&printed));
    let fragment = link.fragment.clone();
    let (status, claimed) = link.claim(&bao).await;
    assert_eq!(status, 200, "{claimed}");
    assert_eq!(link.open(&claimed, "password"), "sealed at home");
    assert_eq!(link.open(&claimed, "username"), "alice");
    assert!(printed["leaseId"].as_str().unwrap().starts_with("send/sealed/onboarding/"));
    let audit = std::fs::read_to_string(bao.audit_log().unwrap()).unwrap();
    for secret in ["sealed at home", fragment.strip_prefix("ps1.").unwrap()] {
        assert!(!audit.contains(secret));
    }
    // With a passphrase from a file: wrong, and right.
    let phrase = folder.path().join("phrase.txt");
    std::fs::write(&phrase, "Tr0ub4dor und 3 Bücher\n").unwrap();
    let phrased = [&whole[..], &["--passphrase-file", phrase.to_str().unwrap()]].concat();
    let sent = send(bao.address(), &token, &phrased, "behind a phrase\n");
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    let answer = as_answered(&serde_json::from_slice(&sent.stdout).unwrap());
    for typed in [None, Some("Tr0ub4dor und 2 Bücher")] {
        let (status, refused) = Holder::with_passphrase(&answer, typed).claim_when_it_may(&bao).await;
        assert_eq!((status, &refused["error"]["code"]), (403, &json!("wrong-proof")), "{refused}");
    }
    let link = Holder::with_passphrase(&answer, Some("Tr0ub4dor und 3 Bücher"));
    let (status, claimed) = link.claim_when_it_may(&bao).await;
    assert_eq!(status, 200, "{claimed}");
    assert_eq!(
        (link.open(&claimed, "username"), link.open(&claimed, "password")),
        ("alice".into(), "behind a phrase".into())
    );
    // Whoever writes the mount's config does not choose the page of a sender who names one.
    let pinned = [&whole[..], &["--public-url", "https://pinned.example/p"]].concat();
    let sent = send(bao.address(), &token, &pinned, "sealed at home\n");
    let printed: Value = serde_json::from_slice(&sent.stdout).unwrap();
    assert!(printed["url"].as_str().unwrap().starts_with("https://pinned.example/p/#ps1."), "{}", printed["expiresAt"]);
    let unfit = [&whole[..], &["--public-url", "ftp://pinned.example"]].concat();
    let refused = send(bao.address(), &token, &unfit, "sealed at home\n");
    assert!(!refused.status.success() && refused.stdout.is_empty());
    // A value as an argument, no such role, no server.
    let refused =
        send(bao.address(), &token, &["--to", "vault:send", "--role", "onboarding", "-f", "password=hunter2"], "");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && !said.contains("hunter2"), "{said}");
    let refused = send(bao.address(), &token, &["--to", "vault:send", "--role", "any", "-f", "password=-"], "x");
    assert_eq!(refused.status.code(), Some(1), "{}", String::from_utf8_lossy(&refused.stderr));
    let too_long = ["--to", "vault:send", "--role", "onboarding", "-f", "password=-", "--ttl", "1000h"];
    let refused = send(bao.address(), &token, &too_long, "x");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && said.contains("72h"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_over_is_rotated_proven_and_written_back() {
    let (bao, postgres) = (OpenBao::raft().await.unwrap(), Postgres::start().await.unwrap());
    prepare(&bao).await;
    let user = unique("shop");
    postgres.create_user(&user, "first").await.unwrap();
    bao.database_config("database", "pg", &postgres).await.unwrap();
    bao.static_role("database", "shop", "pg", &user, "24h").await.unwrap();
    bao.mount_kv2("secret").await.unwrap();
    bao.kv_put("secret", "told", json!({"by": "nobody"})).await.unwrap();
    bao.kv_put("secret", "apps/vpn", json!({"user": "u", "password": "kv-old"})).await.unwrap();
    for (role, rotate) in [
        (
            "pg",
            json!({"rotate_engine": "database", "rotate_mount": "database", "rotate_name": "shop", "rotate_after": "1s"}),
        ),
        (
            "kv",
            json!({"rotate_engine": "kv", "rotate_mount": "secret", "rotate_name": "apps/vpn", "rotate_keys": "password",
            "rotate_after": "1s"}),
        ),
        (
            "hook",
            json!({"rotate_engine": "request", "rotate_path": "secret/data/told", "rotate_method": "PUT", "rotate_data": {"data": {"by": "agent"}},
            "rotate_after": "1s"}),
        ),
        (
            "broken",
            json!({"rotate_engine": "database", "rotate_mount": "database", "rotate_name": "nobody", "rotate_after": "1s"}),
        ),
    ] {
        bao.call("POST", &format!("send/roles/{role}"), Some(&rotate)).await.unwrap();
    }
    let (_, handed_over) = bao.static_creds("database", "shop").await.unwrap();
    let content = json!({ "password": handed_over });
    let before = Holder::of(&bao, "pg", &content).await;
    assert_eq!(before.claim(&bao).await.0, 200, "opened while no agent runs");

    let folder = tempfile::tempdir().unwrap();
    let token = token_file(&bao, folder.path(), AGENT_POLICY).await;
    let mut command = Command::new(beside("password-sender-operator"));
    // The server takes PUT and POST for the same; what stands between sees which it is.
    let between = HttpProxy::start(bao.address()).unwrap();
    command.args(["vault-agent", "--vault-addr", &between.address(), "--vault-token-file"]).arg(&token);
    let agent = Process::spawn_with_stop_signal("vault-agent", command, Signal::SIGTERM).unwrap();
    let evidence = async |link: &Holder, scope: &'static str| {
        let seen = wait_until(scope, SOON * 2, async || {
            let read = bao.call("GET", &format!("send/links/{}", link.id), None).await.ok()?;
            (read["data"]["evidence"]["scope"] == scope).then(|| read["data"].clone())
        });
        seen.await.unwrap_or_else(|error| panic!("{error}\n{}", agent.log_text().unwrap()))
    };
    let shown = evidence(&before, "target").await;
    assert_eq!(shown["rotation"]["owed"], false, "{shown}");
    assert!(!postgres.can_login(&user, &handed_over).await.unwrap(), "the database refuses what was handed over");
    let (_, now) = bao.static_creds("database", "shop").await.unwrap();
    assert!(postgres.can_login(&user, &now).await.unwrap());

    let kv = Holder::of(&bao, "kv", &json!({"password": "kv-old"})).await;
    assert_eq!(kv.not_mine(&bao).await.0, 200);
    evidence(&kv, "vault").await;
    let current = bao.kv_get("secret", "apps/vpn", 0).await.unwrap().unwrap().data.unwrap();
    assert!(current["password"] != "kv-old" && current["user"] == "u", "new values for the named keys only");
    assert!(bao.kv_get("secret", "apps/vpn", 1).await.unwrap().unwrap().data.is_none(), "the old version is destroyed");

    let hook = Holder::of(&bao, "hook", &json!({"password": "x", "ttl": "1s"})).await;
    let broken = Holder::of(&bao, "broken", &json!({"password": "x"})).await;
    assert_eq!(broken.claim(&bao).await.0, 200);
    let shown = evidence(&broken, "failed").await;
    assert_eq!(shown["rotation"]["owed"], true, "tried on: {shown}");
    wait_until("the link to expire", SOON, async || {
        bao.call("POST", "send/tidy", None).await.unwrap();
        (hook.state(&bao).await == "expired").then_some(())
    })
    .await
    .unwrap();
    let shown = evidence(&hook, "request").await;
    assert_eq!(shown["rotation"]["cause"], "expired");
    assert_eq!(shown["evidence"]["seen"], "PUT secret/data/told was answered 200");
    let told: Vec<_> = between.requests().into_iter().filter(|one| one.path == "/v1/secret/data/told").collect();
    assert!(told.iter().all(|one| one.method == "PUT" && one.server == Some(200)) && !told.is_empty(), "{told:?}");
    let audit = std::fs::read_to_string(bao.audit_log().unwrap()).unwrap();
    let written: Vec<Value> = audit
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|entry| entry["type"] == "response" && entry["request"]["path"] == "secret/data/told")
        .map(|entry| entry["request"]["operation"].clone())
        .collect();
    assert_eq!(written, ["create", "update"], "ours, then the agent's");
    let log = agent.log_text().unwrap();
    for secret in [handed_over.as_str(), now.as_str(), "kv-old", current["password"].as_str().unwrap()] {
        assert!(!log.contains(secret), "the agent's log holds a value");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_installs_it() {
    let bao = OpenBao::raft().await.unwrap();
    let sha256 = bao.install_plugin(COMMAND, &program()).unwrap();
    let vendor = Vendor::chosen();
    let cli = vendor.ensure().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plugin/install.sh");
    let plugins = bao.folder().unwrap().join("plugins");
    let shipped = plugins.join(format!("{}.sha256", COMMAND));
    let mut command = Command::new("sh");
    command.arg(script).arg(cli).env("PLUGIN_DIR", &plugins);
    command.env("PUBLIC_URL", crate::stand::PUBLIC_URL).env("HOME", bao.folder().unwrap());
    for prefix in ["BAO", "VAULT"] {
        command.env(format!("{prefix}_ADDR"), bao.address()).env(format!("{prefix}_TOKEN"), bao.root_token());
    }
    // Another program than the one that was shipped.
    let other = ps_core::ids::Digest::of(b"another program").0;
    std::fs::write(&shipped, format!("{}  {}\n", hex::encode(other), COMMAND)).unwrap();
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("nothing was registered"), "{said}");
    let (status, _) = bao.request("GET", "send/config", None).await.unwrap();
    assert_eq!(status, 404);
    std::fs::write(&shipped, format!("{sha256}  {}\n", COMMAND)).unwrap();
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let link = Holder::of(&bao, "onboarding", &json!({"password": "x"})).await;
    assert_eq!(link.claim(&bao).await.0, 200);
    let listed = bao.call("LIST", "sys/policies/acl", None).await.unwrap();
    for policy in ["send-gateway", "send-sender", "send-agent"] {
        assert!(listed["data"]["keys"].as_array().unwrap().contains(&json!(policy)));
    }
}
