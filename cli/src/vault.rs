//! Writing to one path of Vault or OpenBao.

use std::path::PathBuf;

use ps_core::secret::SecretString;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Url};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::args::SendArgs;
use crate::failure::{Exit, Failure};
use crate::gateway::{NoAnswer, classify, client};
use crate::inputs::file;
use crate::shown;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 256 * 1024;

/// A server and who asks it.
pub(crate) struct Vault {
    http: Client,
    base: Url,
    token: HeaderValue,
    namespace: Option<HeaderValue>,
    runtime: Runtime,
}

impl Vault {
    /// Prepares; nothing is sent yet.
    pub(crate) fn new(args: &SendArgs) -> Result<Self, Failure> {
        let bad =
            || Failure::usage("--vault-addr is not an http or https address", "As in https://vault.example.com:8200");
        let base = Url::parse(&args.vault_addr).map_err(|_| bad())?;
        if !base.has_host() || !matches!(base.scheme(), "http" | "https") {
            return Err(bad());
        }
        let token = token(args)?;
        let mut token = HeaderValue::from_str(token.expose().trim())
            .map_err(|_| Failure::usage("what is there as Vault's token is none", ""))?;
        token.set_sensitive(true);
        let namespace = (!args.vault_namespace.is_empty()).then(|| HeaderValue::from_str(&args.vault_namespace));
        let namespace = namespace.transpose().map_err(|_| Failure::usage("--vault-namespace is no path", ""))?;
        let http = client(&base, args.ca_file.as_deref())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self { http, base, token, namespace, runtime: runtime.map_err(|e| Failure::io("start", &e))? })
    }

    /// Writes, and gives the whole answer.
    pub(crate) fn write(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let url =
            self.base.join(&format!("/v1/{path}")).map_err(|_| Failure::usage("the mount's path can't be used", ""))?;
        let mut request = self
            .http
            .post(url)
            .header("X-Vault-Token", self.token.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string());
        if let Some(namespace) = &self.namespace {
            request = request.header("X-Vault-Namespace", namespace.clone());
        }
        let exchange = async {
            let mut response = request.send().await.map_err(|e| classify(&e))?;
            let status = response.status().as_u16();
            let mut answer = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|e| classify(&e))? {
                if answer.len() + chunk.len() > MAX_ANSWER {
                    return Err(NoAnswer::Network("the answer is too long"));
                }
                answer.extend_from_slice(&chunk);
            }
            Ok((status, answer))
        };
        let (status, answer) = self.runtime.block_on(exchange).map_err(|error| unreachable_server(&error))?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        if status == 200 {
            return Ok(answer);
        }
        // The mount's own words: they repeat nothing that was sent.
        let said = answer.pointer("/errors/0").and_then(Value::as_str).unwrap_or_default().trim().to_owned();
        let (exit, remedy) = match status {
            400 => (Exit::Usage, ""),
            403 => (Exit::Other, "Log in to Vault, with a policy that has update on MOUNT/sealed/ROLE"),
            404 | 405 => (Exit::Other, "Is there a mount of password-sender-plugin at this path?"),
            429 | 472 | 473 | 500.. => (Exit::Again, "Run the same command again in a while"),
            _ => (Exit::Other, ""),
        };
        let said = if said.is_empty() { String::new() } else { format!(": {}", &*shown::line(&said)) };
        Err(Failure::new(exit, format!("Vault refused with status {status}{said}"), remedy))
    }
}

fn unreachable_server(error: &NoAnswer) -> Failure {
    match error {
        NoAnswer::Network(why) => {
            Failure::new(Exit::Again, format!("the Vault server could not be reached: {why}"), "Check --vault-addr")
        }
        other => other.failure(),
    }
}

/// The token, as Vault's own command line finds it.
fn token(args: &SendArgs) -> Result<SecretString, Failure> {
    if let Some(path) = &args.token_file {
        return file(path, "--token-file");
    }
    for name in ["VAULT_TOKEN", "BAO_TOKEN"] {
        if let Ok(token) = std::env::var(name)
            && !token.is_empty()
        {
            return Ok(SecretString::new(token));
        }
    }
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let found = home.map(|home| home.join(".vault-token")).filter(|path| path.is_file());
    let found =
        found.ok_or_else(|| Failure::usage("there is no token of Vault", "Log in, or give it with --token-file"))?;
    file(&found, "~/.vault-token")
}
