//! `cargo xtask demo`: the main job on this machine, against a real OpenBao, with a folder for a mail server.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use ps_testbed::install::Piece;
use ps_testbed::process::Process;
use ps_testbed::{OpenBao, RunDir, TokenOptions, free_port, wait_until, workspace};
use serde_json::{Value, json};

use crate::command::{cargo, line, run as run_command, seconds, target};
use crate::testbed::runtime;

const SOON: Duration = Duration::from_secs(60);
/// A person may read the mail in peace: the demo's link lives for ten minutes.
const PERSON: Duration = Duration::from_secs(660);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Open the link without a person, so that the demo runs to its end by itself
    #[arg(long)]
    open_for_me: bool,
    /// Take the programs as they are, without building them
    #[arg(long, hide = true)]
    built: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if !arguments.built {
        step("building (a few minutes the first time)", || {
            run_command(cargo(&["build", "--locked", "-p", "ps-operator", "-p", "ps-gateway", "-p", "ps-cli"]))
        })?;
    }
    step("OpenBao, the real one", || Piece::OpenBao.ensure().map(|_| ()))?;
    runtime()?.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        // Whichever way it ends, what was started is dropped here, and ends with it.
        tokio::select! {
            done = demo(arguments) => done,
            _ = interrupt.recv() => { println!("\nstopped; nothing is left but caches under target/"); Ok(()) }
            _ = terminate.recv() => Ok(()),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn step(what: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("▸ {what}");
    let start = Instant::now();
    work()?;
    println!("  done in {}", seconds(start.elapsed()));
    Ok(())
}

/// Where the demo keeps its files, taken away at its end.
struct Place {
    folder: RunDir,
    gateway: String,
}

impl Place {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

async fn demo(arguments: &Arguments) -> Result<()> {
    println!("▸ starting OpenBao on loopback, in memory, and putting a credential into it");
    let bao = OpenBao::dev().await?;
    let first = json!({"username": "webshop", "password": "correct-horse-battery", "owner": "team-shop"});
    bao.kv_put("secret", "apps/webshop", first).await?;
    bao.policy("demo", POLICY).await?;
    let token = bao.token(&["demo"], &TokenOptions { ttl: Some("1h"), ..TokenOptions::default() }).await?;

    let place = Place { folder: RunDir::new("demo")?, gateway: format!("127.0.0.1:{}", free_port()?) };
    prepare(&place, &bao, &token.token)?;
    println!("▸ starting the operator with its gateway, and applying examples/demo/");
    let operator = Process::spawn("demo-operator", operator(&place))?;
    apply(&place, bao.address())?;

    let mail = wait_until("the mail in the outbox", SOON, async || mails(&place.at("outbox")).into_iter().next()).await;
    let mail = explain(mail, &operator)?;
    let letter = Letter::parse(&mail)?;
    let head: String = head(&mail).map(|line| format!("{line}\n")).collect();
    println!(
        "\n──── the mail, as it was sent ────\n{head}\n{}\n──────────────────────────────────\n",
        letter.text.trim()
    );
    if arguments.open_for_me {
        open(&place, &letter)?;
    } else {
        println!("Open the link in a browser and type the opening code {}:\n\n    {}\n", letter.code, letter.link);
        println!("▸ waiting for you (Ctrl-C ends the demo)");
    }

    let retrieved = wait_until("somebody to open the link", PERSON, async || condition(&place, "Retrieved")).await;
    println!("▸ {}", explain(retrieved, &operator)?);
    println!("▸ the credential works for a little longer, as the manifest says; then Vault gets a new one");
    let rotated = wait_until("the rotation", PERSON, async || condition(&place, "Rotated")).await;
    println!("▸ rotated: {}", explain(rotated, &operator)?);
    evidence(&bao, &place).await
}

/// The header lines that people look at; beside the text the mail has the same as HTML.
fn head(mail: &str) -> impl Iterator<Item = &str> {
    let shown = ["From:", "To:", "Subject:", "Date:", "Message-ID:"];
    mail.lines().take_while(|line| !line.is_empty()).filter(move |line| shown.iter().any(|name| line.starts_with(name)))
}

/// The operator's own words belong to an error of the demo.
fn explain<T>(outcome: Result<T>, operator: &Process) -> Result<T> {
    outcome.with_context(|| format!("the operator said:\n{}", operator.log_text().unwrap_or_default()))
}

const POLICY: &str = r#"
path "secret/data/apps/webshop"     { capabilities = ["read", "patch"] }
path "secret/metadata/apps/webshop" { capabilities = ["read"] }
path "secret/destroy/apps/webshop"  { capabilities = ["update"] }
path "sys/capabilities-self"        { capabilities = ["update"] }
path "auth/token/lookup-self"       { capabilities = ["read"] }
path "auth/token/renew-self"        { capabilities = ["update"] }
"#;

fn prepare(place: &Place, bao: &OpenBao, token: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let secret = place.at("secrets/default/vault-token");
    for folder in [secret.clone(), place.at("manifests")] {
        std::fs::create_dir_all(folder)?;
    }
    let file = secret.join("token");
    std::fs::write(&file, token)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    let config = format!(
        "publicUrl: http://{gateway}\nlisten: {gateway}\nadmin: {{listen: \"127.0.0.1:{admin}\"}}\nsender: Platform team\noutbox: outbox\nsecrets: secrets\n",
        gateway = place.gateway,
        admin = free_port()?,
    );
    std::fs::write(place.at("config.yaml"), config)?;
    println!("  OpenBao answers at {}", bao.address());
    Ok(())
}

fn operator(place: &Place) -> Command {
    let mut command = Command::new(program("password-sender-operator"));
    command
        .args(["standalone", "--config"])
        .arg(place.at("config.yaml"))
        .arg("--manifests")
        .arg(place.at("manifests"))
        .arg("--data")
        .arg(place.at("data"));
    command
}

/// A program of this workspace, where cargo puts it. Not found through our own path: a build may have replaced us.
pub(crate) fn program(name: &str) -> PathBuf {
    target().join("debug").join(name)
}

/// Copies the example; only the address of OpenBao becomes the real one.
fn apply(place: &Place, address: &str) -> Result<()> {
    let from = workspace().join("examples/demo");
    for entry in std::fs::read_dir(&from).with_context(|| from.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "yaml") {
            let text = std::fs::read_to_string(&path)?.replace("http://127.0.0.1:8200", address);
            let name = path.file_name().context("a file has a name")?;
            std::fs::write(place.at("manifests").join(name), text)?;
        }
    }
    Ok(())
}

/// Mails to the recipient; notices to the sender lie in the same folder.
fn mails(outbox: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(outbox) else { return Vec::new() };
    entries.flatten().filter_map(|e| std::fs::read_to_string(e.path()).ok()).filter(|m| m.contains("/#ps1.")).collect()
}

/// What a person reads in the mail.
struct Letter {
    text: String,
    link: String,
    code: String,
}

impl Letter {
    fn parse(mail: &str) -> Result<Self> {
        let mail = mail.replace("\r\n", "\n");
        let (_, body) = mail.split_once("Content-Type: text/plain").context("the mail has a plain text")?;
        let (_, body) = body.split_once("\n\n").context("the plain text has a body")?;
        let (text, _) = body.split_once("\n--").context("the plain text ends")?;
        let link = text.split_whitespace().find(|w| w.contains("/#ps1.")).context("the mail has a link")?;
        let (_, code) = text.split_once("Opening code: ").context("the mail has an opening code")?;
        let code = code.split_whitespace().next().context("the opening code is there")?;
        Ok(Self { link: link.to_owned(), code: code.to_owned(), text: text.to_owned() })
    }
}

/// Opens the link with the command line, as a recipient without a browser would.
fn open(place: &Place, letter: &Letter) -> Result<()> {
    let (link, code) = (place.at("link"), place.at("code"));
    std::fs::write(&link, &letter.link)?;
    std::fs::write(&code, &letter.code)?;
    let mut command = Command::new(program("password-sender"));
    command.arg("open").arg("--link-file").arg(&link).arg("--code-file").arg(&code).args(["--show", "--acknowledge"]);
    command.env("XDG_STATE_HOME", place.at("state"));
    println!("▸ {}", line(&command));
    run_command(command)
}

/// The message of a condition that is `True`, from the status file beside the manifest.
fn condition(place: &Place, kind: &str) -> Option<String> {
    let status = std::fs::read_to_string(place.at("manifests/webshop-for-alice.status.yaml")).ok()?;
    let (_, rest) = status.split_once(&format!("- type: {kind}\n"))?;
    let (condition, _) = rest.split_once("- type: ").unwrap_or((rest, ""));
    let message = condition.lines().find_map(|l| l.trim().strip_prefix("message: "))?;
    condition.contains("status: 'True'").then(|| message.trim_matches('\'').to_owned())
}

/// Asks OpenBao itself what became of the versions.
async fn evidence(bao: &OpenBao, place: &Place) -> Result<()> {
    let metadata = bao.kv_metadata("secret", "apps/webshop").await?;
    // The answer's envelope is OpenBao's; the helper may or may not have taken it off.
    let data = metadata.get("data").unwrap_or(&metadata);
    let current = data.get("current_version").and_then(Value::as_u64).context("current_version")?;
    println!("\nOpenBao says: version {current} of secret/apps/webshop is current");
    let versions = data.get("versions").and_then(Value::as_object).context("versions")?;
    for (number, version) in versions {
        let destroyed = version.get("destroyed").and_then(Value::as_bool).unwrap_or_default();
        println!("  version {number}: {}", if destroyed { "destroyed" } else { "live" });
    }
    if versions.get("1").and_then(|v| v.get("destroyed")) != Some(&Value::Bool(true)) || current < 2 {
        bail!("the delivered version is not destroyed");
    }
    println!("\nThe audit trail, verified offline:");
    let mut verify = Command::new(program("password-sender"));
    verify.args(["audit", "verify"]).arg(place.at("data/audit.jsonl"));
    run_command(verify)?;
    println!("\n✔ delivered once, rotated, proven");
    Ok(())
}
