//! `vault-agent`: rotates what was handed over through a mount of links, and writes back what it saw.
//!
//! It needs no Kubernetes and keeps nothing: which rotations are owed is in the mount, so a start looks at every link once and
//! then follows the mount's history. A rotation that was made and not written back is made again; a missed one is not possible,
//! because the mount forgets no link that owes one. One agent is to run for a mount: two that rotate a database's role at the same
//! moment can leave OpenBao with a password that the database does not take (`docs/facts.md`).

mod jobs;
mod mount;
mod rotate;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use ps_core::backoff::next_try;
use ps_core::delivery::{ConnectionRef, SecretKeyRef};
use ps_core::error::{Class, Fault};
use ps_core::ports::{Auth, Connection, Connections};
use ps_core::secret::{SecretBytes, SecretString};
use ps_core::time::Span;
use ps_vault::VaultClient;
use tokio::signal::unix::{SignalKind, signal};

use crate::clock::{self, SystemClock};
use jobs::Jobs;
use mount::Mount;
use rotate::Proof;

/// How often history is asked for.
const POLL: Duration = Duration::from_secs(2);
/// Every link is looked at anew after this, whatever history says.
const RESYNC: Span = Span::from_secs(3600);
/// Longest wait for one request.
const TIMEOUT: Span = Span::from_secs(30);

/// Where the mount is, and with which token.
#[derive(Clone, Debug)]
pub struct Options {
    /// `http://` or `https://`, host and port.
    pub address: String,
    /// The file with the agent's token; read again when it is refused.
    pub token_file: PathBuf,
    /// Path of the mount of links.
    pub mount: String,
    /// Vault Enterprise's or OpenBao's namespace; empty for none.
    pub namespace: String,
    /// PEM of the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// Follows the mount until it is told to stop.
///
/// # Errors
/// If the options can't be used. A server that does not answer is waited for.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let at = connection(&options)?;
    let client = Arc::new(VaultClient::new(Arc::new(TokenFile(options.token_file)), Arc::new(SystemClock)));
    let mount = Mount::new(&client, &at, &options.mount);
    let tag_key = SecretBytes::try_fill(32, getrandom::fill)?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let work = async {
        let mut jobs = Jobs::default();
        let mut failing_since = None;
        loop {
            let now = clock::now();
            let pause = match round(&mount, &client, &at, &tag_key, &mut jobs).await {
                Ok(()) => {
                    failing_since = None;
                    POLL
                }
                Err(fault) => {
                    let since = *failing_since.get_or_insert(now);
                    tracing::warn!(code = fault.code, "{fault}");
                    next_try(fault.class, since, now, 0).since(now).to_std().max(POLL)
                }
            };
            tokio::time::sleep(pause).await;
        }
    };
    tracing::info!(mount = options.mount, "following the mount");
    tokio::select! {
        () = work => {}
        _ = terminate.recv() => tracing::info!("asked to stop"),
        _ = interrupt.recv() => tracing::info!("asked to stop"),
    }
    Ok(())
}

/// Learns what is owed, and does what is due.
async fn round(
    mount: &Mount<'_>,
    client: &VaultClient,
    at: &Connection,
    tag_key: &SecretBytes,
    jobs: &mut Jobs,
) -> Result<(), Fault> {
    let now = clock::now();
    if jobs.synced.is_none_or(|synced| now.since(synced) >= RESYNC) {
        // First where history stands, then the links: what happens between is told by history.
        jobs.cursor = mount.newest(jobs.cursor).await?;
        let links = mount.links().await?;
        jobs.keep_only(&links);
        for id in &links {
            note(mount, jobs, id).await?;
        }
        jobs.synced = Some(now);
    }
    loop {
        let page = mount.history(jobs.cursor).await?;
        if page.reset {
            tracing::warn!("history has a gap: every link is looked at again");
            jobs.synced = None;
            return Ok(());
        }
        for id in &page.ids {
            note(mount, jobs, id).await?;
        }
        jobs.cursor = page.next;
        if page.ids.is_empty() {
            break;
        }
    }
    while let Some((how, ids)) = jobs.due(clock::now()) {
        let outcome = rotate::perform(client, at, &how, tag_key).await;
        match &outcome {
            Ok(proof) => tracing::info!(links = ids.len(), scope = proof.scope, "rotated: {}", proof.seen),
            Err(fault) => tracing::warn!(links = ids.len(), code = fault.code, "not rotated yet: {fault}"),
        }
        tell(mount, jobs, &ids, &outcome).await?;
    }
    Ok(())
}

/// Notes what a link owes. One whose answer can't be read, as from a later version of the plugin, keeps no other from it.
async fn note(mount: &Mount<'_>, jobs: &mut Jobs, id: &str) -> Result<(), Fault> {
    match mount.owed(id).await {
        Ok(owed) => jobs.note(id, owed),
        Err(fault) if fault.class == Class::Permanent => tracing::error!(id, "left out: {fault}"),
        Err(fault) => return Err(fault),
    }
    Ok(())
}

/// Writes back what came of a rotation, for each link that owed it. One that can't be told keeps no other from it, and waits:
/// rotating for it again and again would end what others were promised.
async fn tell(mount: &Mount<'_>, jobs: &mut Jobs, ids: &[String], outcome: &Result<Proof, Fault>) -> Result<(), Fault> {
    let mut untold = None;
    for id in ids {
        let told = match outcome {
            Ok(proof) => mount.write_evidence(id, proof.scope, &proof.seen).await,
            Err(fault) => {
                if !jobs.failed(id, fault.class, clock::now()) {
                    continue;
                }
                mount.write_evidence(id, "failed", &fault.to_string()).await
            }
        };
        match told {
            Ok(()) if outcome.is_ok() => jobs.note(id, None),
            Ok(()) => {}
            Err(fault) => {
                jobs.failed(id, fault.class, clock::now());
                // Refused for good where the link is gone, or owes nothing any more.
                if !fault.is_transient()
                    && let Ok(owed) = mount.owed(id).await
                {
                    jobs.note(id, owed);
                }
                untold.get_or_insert(fault);
            }
        }
    }
    untold.map_or(Ok(()), Err)
}

fn connection(options: &Options) -> anyhow::Result<Connection> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).with_context(|| format!("--vault-ca: {} can't be read", path.display()))
    };
    let ca_pem = options.ca_file.as_ref().map(read).transpose()?;
    anyhow::ensure!(!options.mount.trim_matches('/').is_empty(), "--vault-mount is empty");
    Ok(Connection {
        name: ConnectionRef::namespaced("vault-agent", "vault"),
        address: options.address.trim_end_matches('/').to_owned(),
        vault_namespace: options.namespace.clone(),
        ca_pem,
        tls_server_name: None,
        timeout: TIMEOUT,
        auth: Auth::Token { secret: SecretKeyRef { name: "token".to_owned(), key: "token".to_owned() } },
        secrets_in: "vault-agent".to_owned(),
        cleanup: None,
    })
}

/// The only secret that there is: the token.
struct TokenFile(PathBuf);

#[async_trait]
impl Connections for TokenFile {
    async fn resolve(&self, name: &ConnectionRef) -> Result<Connection, Fault> {
        Err(Fault::new(Class::Misconfigured, "agent-no-connections", format!("there is no connection {}", name.name)))
    }

    async fn secret(&self, _: &str, _: &SecretKeyRef) -> Result<SecretString, Fault> {
        let text = tokio::fs::read_to_string(&self.0).await.map(SecretString::new);
        let token = text.ok().map(|text| SecretString::new(text.expose().trim().to_owned()));
        token.filter(|token| !token.is_empty()).ok_or_else(|| {
            Fault::new(Class::Misconfigured, "agent-token-missing", "the file of --vault-token-file holds no token")
                .remedy("Write the agent's token into it")
        })
    }

    async fn service_account_token(&self, _: &str, _: &str, _: &str) -> Result<SecretString, Fault> {
        Err(Fault::new(Class::Misconfigured, "agent-no-connections", "there is no cluster here"))
    }
}
