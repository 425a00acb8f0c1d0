//! What outlives a term of leadership: settings, the client, what was seen of the API server's storage, and the logins to
//! Vault, which obligations of namespaces that are gone depend on.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ps_audit::{FileTrail, Mirror};
use ps_controller::kubernetes::KubernetesSource;
use ps_core::delivery::{ConnectionRef, SecretKeyRef};
use ps_core::error::{Class, Fault};
use ps_core::ports::{Connection, Connections};
use ps_core::secret::SecretString;
use ps_kubernetes::{Access, Client, SecretTable};
use ps_vault::VaultClient;

use crate::admin::Health;
use crate::config::Config;
use crate::lease;
use crate::metrics::Metrics;

/// The audit trail's file where none is configured, in the folder of `--data`.
const TRAIL: &str = "audit.jsonl";

/// How to reach the API server, and where local files lie.
#[derive(Clone, Debug)]
pub struct Places {
    /// The API server.
    pub access: Access,
    /// A folder for the audit trail, if `audit.file` names none.
    pub data: PathBuf,
}

/// What every term of leadership starts from.
pub(crate) struct Ground {
    pub(crate) config: Config,
    pub(crate) places: Places,
    pub(crate) client: Client,
    /// The operator's own namespace.
    pub(crate) namespace: String,
    /// The namespace of link records.
    pub(crate) links: String,
    pub(crate) me: String,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) health: Arc<Health>,
    pub(crate) storage: Storage,
    pub(crate) connections: Arc<OfThisTerm>,
    pub(crate) vault: Arc<VaultClient>,
}

impl Ground {
    /// Opens the audit trail of this ledger.
    ///
    /// # Errors
    /// What does not pass by itself.
    pub(crate) async fn trail(&self, ledger_id: &str) -> Result<FileTrail, Fault> {
        let file = self.config.audit.file.clone().unwrap_or_else(|| self.places.data.join(TRAIL));
        let mirror = || if self.config.audit.stdout { Mirror::Stdout } else { Mirror::None };
        lease::open(|| FileTrail::open(&file, ledger_id, mirror())).await
    }

    /// Asks the API server how far its storage is. One small request; a failure tells nothing.
    pub(crate) async fn look(&self) {
        let table = SecretTable::new(self.client.clone(), &self.namespace, ps_ledger::SECRET_TYPE, Default::default());
        if let Ok(position) = table.position().await {
            self.storage.stands_at(position);
        }
    }
}

/// How far the API server's storage was seen to be by this process, leading or standing by. A storage that is behind that
/// was restored from a backup, whoever leads then.
#[derive(Default)]
pub(crate) struct Storage(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    newest: u64,
    back: Option<String>,
}

impl Storage {
    /// It stands there now.
    pub(crate) fn stands_at(&self, position: u64) {
        let mut seen = self.seen();
        if position < seen.newest {
            let why = format!("the Kubernetes API's storage stands at {position}, and stood at {} before", seen.newest);
            tracing::error!("{why}");
            seen.back = Some(why);
        }
        seen.newest = position;
    }

    /// Somebody else noticed that it was set back.
    pub(crate) fn went_back(&self, why: String) {
        self.seen().back = Some(why);
    }

    /// Why it is known to have been set back, until [`Storage::is_noted`].
    pub(crate) fn back(&self) -> Option<String> {
        self.seen().back.clone()
    }

    /// It is written down in the ledger.
    pub(crate) fn is_noted(&self) {
        self.seen().back = None;
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connections as the current term's source knows them; none between terms.
#[derive(Default)]
pub(crate) struct OfThisTerm(Mutex<Option<Arc<KubernetesSource>>>);

impl OfThisTerm {
    /// From now on, this source is asked.
    pub(crate) fn ask(&self, source: &Arc<KubernetesSource>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(source.clone());
    }

    fn source(&self) -> Result<Arc<KubernetesSource>, Fault> {
        let source = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        source.ok_or_else(|| Fault::new(Class::Transient, "kubernetes-not-synced", "no connection is known yet"))
    }
}

#[async_trait]
impl Connections for OfThisTerm {
    async fn resolve(&self, name: &ConnectionRef) -> Result<Connection, Fault> {
        self.source()?.resolve(name).await
    }

    async fn secret(&self, namespace: &str, key: &SecretKeyRef) -> Result<SecretString, Fault> {
        self.source()?.secret(namespace, key).await
    }

    async fn service_account_token(
        &self,
        namespace: &str,
        account: &str,
        audience: &str,
    ) -> Result<SecretString, Fault> {
        self.source()?.service_account_token(namespace, account, audience).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storage_that_is_behind_what_was_seen_was_set_back_until_that_is_noted() {
        let storage = Storage::default();
        storage.stands_at(100);
        storage.stands_at(100);
        storage.stands_at(120);
        assert_eq!(storage.back(), None);
        storage.stands_at(90);
        assert!(storage.back().is_some_and(|why| why.contains("90") && why.contains("120")));
        storage.stands_at(95);
        assert!(storage.back().is_some(), "until it is written down");
        storage.is_noted();
        storage.stands_at(96);
        assert_eq!(storage.back(), None);
    }
}
