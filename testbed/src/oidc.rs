//! A real OpenID provider with one confidential client and one person who is always signed in; it misbehaves on demand
//! (`testbed/oidc/server.mjs`).

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::dirs;
use crate::http;
use crate::install::ensure_node_packages;
use crate::openbao::blocking;
use crate::process::Process;

const START: Duration = Duration::from_secs(30);
/// More redirects than a sign-in has.
const REDIRECTS: usize = 8;

/// A running provider. It ends when this is dropped.
#[derive(Debug)]
pub struct OidcServer {
    issuer: String,
    control: u16,
    client_id: String,
    client_secret: String,
    _stdin: Mutex<ChildStdin>,
    _process: Process,
}

#[derive(Deserialize)]
struct Started {
    issuer: String,
    control: u16,
}

/// How often something was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct OidcCounts {
    /// The discovery document.
    pub discovery: u64,
    /// The keys.
    pub keys: u64,
    /// The token endpoint.
    pub token: u64,
}

impl OidcServer {
    /// Starts one whose client may send people back to `redirect_uri`, and authenticates with `auth_method`
    /// (`client_secret_basic` or `client_secret_post`).
    ///
    /// # Errors
    /// If it can't be installed or started.
    pub async fn start(redirect_uri: &str, auth_method: &str) -> Result<Self> {
        let (redirect_uri, auth_method) = (redirect_uri.to_owned(), auth_method.to_owned());
        blocking(move || Self::start_blocking(&redirect_uri, &auth_method, false)).await
    }

    /// Starts one for many gateways: its client may send people back to 127.0.0.1, on any port, path `/`.
    ///
    /// # Errors
    /// If it can't be installed or started.
    pub async fn start_for_any_port() -> Result<Self> {
        blocking(|| Self::start_blocking("http://127.0.0.1/", "client_secret_basic", true)).await
    }

    fn start_blocking(redirect_uri: &str, auth_method: &str, any_port: bool) -> Result<Self> {
        let packages = ensure_node_packages("testbed/oidc")?;
        // What form encoding must change is in both.
        let (client_id, client_secret) = (dirs::unique("links"), format!("{} +/%&=", dirs::unique("secret")));
        let mut command = Command::new("node");
        command.arg(packages.join("server.mjs")).current_dir(&packages);
        let process = Process::spawn_piped("oidc", command)?;
        let (mut stdin, stdout) = process.take_stdin().zip(process.take_stdout()).context("no pipes")?;
        let start = json!({
            "clientId": client_id, "clientSecret": client_secret, "redirectUris": [redirect_uri], "authMethod": auth_method,
            "anyPort": any_port,
        });
        stdin.write_all(format!("{start}\n").as_bytes())?;
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut answer = String::new();
            let read = BufReader::new(stdout).read_line(&mut answer);
            sender.send(read.map(|_| answer))
        });
        let answer = receiver.recv_timeout(START).with_context(|| process.log_tail())??;
        let Started { issuer, control } = serde_json::from_str(&answer).with_context(|| process.log_tail())?;
        Ok(Self { issuer, control, client_id, client_secret, _stdin: Mutex::new(stdin), _process: process })
    }

    /// Its issuer, on 127.0.0.1.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where people sign in.
    #[must_use]
    pub fn authorization_endpoint(&self) -> String {
        format!("{}/auth", self.issuer)
    }

    /// The client.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The client's secret.
    #[must_use]
    pub fn client_secret(&self) -> &str {
        &self.client_secret
    }

    /// Replaces its behaviour: `email`, `emailVerified`, `claims`, `sign`, `token`, `discovery` (see `server.mjs`).
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn behave(&self, behaviour: &Value) -> Result<()> {
        self.control("POST", "behave", Some(behaviour)).await.map(drop)
    }

    /// Publishes another signing key, and signs with it from now on.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn rotate_keys(&self) -> Result<()> {
        self.control("POST", "rotate", Some(&json!({}))).await.map(drop)
    }

    /// How often what was asked for.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn counts(&self) -> Result<OidcCounts> {
        Ok(serde_json::from_value(self.control("GET", "counts", None).await?)?)
    }

    async fn control(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let url = format!("http://127.0.0.1:{}/{path}", self.control);
        let (status, answer) = http::request(method, &url, &[], body).await?;
        if status != 200 {
            bail!("{path}: status {status}");
        }
        Ok(answer)
    }

    /// What a browser does: follows the sign-in that begins with these parameters to its end, at `redirect_uri`; the
    /// parameters that come back.
    ///
    /// # Errors
    /// If it ends elsewhere.
    pub async fn sign_in(&self, parameters: &[(&str, &str)]) -> Result<Vec<(String, String)>> {
        let client = http::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        let mut url = Url::parse_with_params(&self.authorization_endpoint(), parameters)?;
        let home = Url::parse(&self.issuer)?;
        let mut cookies: Vec<(String, String)> = Vec::new();
        for _ in 0..REDIRECTS {
            let sent = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
            let answer = client.get(url.clone()).header("cookie", sent).send().await?;
            for cookie in answer.headers().get_all("set-cookie") {
                let pair = cookie.to_str()?.split(';').next().unwrap_or_default();
                let Some((name, value)) = pair.split_once('=') else { continue };
                cookies.retain(|(known, _)| known != name);
                cookies.push((name.to_owned(), value.to_owned()));
            }
            let Some(location) = answer.headers().get("location") else {
                bail!("the sign-in stops with status {}: {}", answer.status(), answer.text().await?);
            };
            url = url.join(location.to_str()?)?;
            if url.origin() != home.origin() {
                return Ok(url.query_pairs().into_owned().collect());
            }
        }
        bail!("too many redirects")
    }
}
