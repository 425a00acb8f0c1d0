//! Connections of both kinds from the folder, and the secrets that they and deliveries name.

use async_trait::async_trait;
use ps_api::{cluster_connection, may_use};
use ps_core::cleanup::same_place;
use ps_core::delivery::{ConnectionRef, SecretKeyRef};
use ps_core::error::{Class, Fault};
use ps_core::ports::{Auth, Connection, Connections};
use ps_core::secret::SecretString;

use super::object::{Server, known_as};
use super::state::State;
use super::{FolderSource, blocking, lock, not_to_its_end, secrets};

/// Stands for the namespace of secrets that cluster-wide connections name: no namespace has an underscore.
const OPERATOR_SECRETS: &str = "_operator";

#[async_trait]
impl Connections for FolderSource {
    async fn resolve(&self, name: &ConnectionRef) -> Result<Connection, Fault> {
        let state = lock(&self.state);
        let connection = match server(&state, name, "spec.source.vault.connectionRef.name")? {
            Server::Own(connection) => *connection,
            Server::Shared(object) => {
                // The operator's own namespace is the empty one here.
                let at = cluster_connection(&object, &name.namespace, "", None)?;
                Connection { secrets_in: OPERATOR_SECRETS.to_owned(), ..at }
            }
        };
        drop(state);
        if matches!(connection.auth, Auth::Kubernetes { .. }) {
            return Err(no_service_accounts(&connection.name.name));
        }
        self.check_cleanup(&connection)?;
        Ok(connection)
    }

    async fn secret(&self, namespace: &str, key: &SecretKeyRef) -> Result<SecretString, Fault> {
        let (folder, namespace, key) = (self.folders.secrets.clone(), namespace.to_owned(), key.clone());
        blocking(move || secrets::read(&folder, &namespace, &key)).await
    }

    async fn service_account_token(&self, _: &str, account: &str, _: &str) -> Result<SecretString, Fault> {
        Err(no_service_accounts(account))
    }
}

impl FolderSource {
    /// A connection that names a clean-up connection is good only while it may use that one: it is better to hear so
    /// before anything is delivered than when something is owed.
    fn check_cleanup(&self, at: &Connection) -> Result<(), Fault> {
        let Some(cleanup) = at.cleanup.as_deref().filter(|_| !at.name.namespace.is_empty()) else { return Ok(()) };
        let state = lock(&self.state);
        match server(&state, &ConnectionRef::cluster("", cleanup), "spec.cleanupConnectionRef.name")? {
            Server::Shared(object) => {
                may_use(&object, &at.name.namespace, None)?;
                same_place(at, &cluster_connection(&object, "", "", None)?)
            }
            Server::Own(_) => Ok(()),
        }
    }
}

/// What is known of a connection; `field` is what names it.
fn server(state: &State, name: &ConnectionRef, field: &str) -> Result<Server, Fault> {
    match state.connections.get(&known_as(name)) {
        Some(known) => known.server.clone(),
        None if state.partial => Err(not_to_its_end()),
        None if state.blind => Err(state.folder.clone().map_or_else(
            || Fault::new(Class::Transient, "folder-unreadable", "the manifests folder has not been read yet"),
            |fault| Fault { class: Class::Transient, ..fault },
        )),
        None => {
            let place =
                if name.kind.is_namespaced() { format!(" in namespace {}", name.namespace) } else { String::new() };
            let message = format!("there is no {} {}{place}", name.kind.as_str(), name.name);
            Err(Fault::new(Class::Misconfigured, "no-such-connection", message)
                .field(field)
                .remedy("Add it to the manifests folder, or correct its name and kind"))
        }
    }
}

fn no_service_accounts(who: &str) -> Fault {
    let message = format!("{who}: there are no service accounts outside a cluster, so nobody can log in as one");
    Fault::new(Class::Misconfigured, "no-service-accounts", message)
        .field("spec.auth.kubernetes")
        .remedy("Use appRole or token in the connections of a standalone operator")
}
