//! Connections as they are known, and what a namespace gets when it names one. Pure.

use std::collections::BTreeMap;

use ps_api::{ClusterVaultConnection, VaultConnection};
use ps_core::delivery::{ConnectionKind, ConnectionRef, Strategy};
use ps_core::error::{Class, Fault};
use ps_core::ids::Key;
use ps_core::ports::{Auth, Connection};

use super::raw::Raw;
use super::read;
use super::state::{State, What};

/// A connection of either kind as it was seen last.
#[derive(Clone, Debug)]
pub(super) struct KnownConnection {
    pub(super) version: u64,
    object: Result<Object, Fault>,
}

#[derive(Clone, Debug, PartialEq)]
enum Object {
    Own(Box<VaultConnection>),
    Cluster(Box<ClusterVaultConnection>),
}

impl KnownConnection {
    pub(super) fn own(raw: &Raw) -> Self {
        let object = read::connection(raw).map(|c| Object::Own(Box::new(c)));
        Self { version: raw.metadata.version(), object }
    }

    pub(super) fn cluster(raw: &Raw) -> Self {
        let object = read::cluster_connection(raw).map(|c| Object::Cluster(Box::new(c)));
        Self { version: raw.metadata.version(), object }
    }

    /// Whether both lead to the same place in the same way.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        self.object == other.object
    }
}

impl State {
    /// What a namespace gets under this name.
    ///
    /// # Errors
    /// Transient while it can't be known; else Misconfigured: `no-such-connection`, `connection-not-allowed`,
    /// `cleanup-elsewhere`, or what is wrong with the object.
    pub(super) fn resolve(&self, name: &ConnectionRef, operator_namespace: &str) -> Result<Connection, Fault> {
        let what = match name.kind {
            ConnectionKind::VaultConnection => What::Connections,
            ConnectionKind::ClusterVaultConnection => What::ClusterConnections,
        };
        if let Some(fault) = self.blind(what, &name.namespace) {
            return Err(fault);
        }
        let known = match name.kind {
            ConnectionKind::VaultConnection => self.connections.get(&Key::new(&name.namespace, &name.name)),
            ConnectionKind::ClusterVaultConnection => self.clusters.get(&name.name),
        };
        let known = known.ok_or_else(|| no_such(name))?;
        let connection = match &known.object {
            Err(fault) => return Err(of_connection(name, fault)),
            Ok(Object::Own(object)) => ps_api::connection(object),
            Ok(Object::Cluster(object)) => {
                let labels = self.labels(object, &name.namespace)?;
                ps_api::cluster_connection(object, &name.namespace, operator_namespace, labels)
            }
        };
        let connection = connection.map_err(|fault| of_connection(name, &fault))?;
        if name.namespace != operator_namespace {
            self.check_cleanup(&connection, operator_namespace)?;
        }
        Ok(connection)
    }

    /// The labels of a namespace, where they decide. What is not known yet is not "no labels".
    fn labels(
        &self,
        object: &ClusterVaultConnection,
        namespace: &str,
    ) -> Result<Option<&BTreeMap<String, String>>, Fault> {
        if object.spec.namespace_selector.is_none() {
            return Ok(None);
        }
        match self.blind(What::Namespaces, namespace) {
            // Listed by name, the labels don't matter.
            Some(_) if ps_api::may_use(object, namespace, None).is_ok() => Ok(None),
            Some(fault) => Err(fault),
            None => Ok(self.namespaces.get(namespace).map(|known| &known.labels)),
        }
    }

    /// An identity that a tenant may not use must not clean up for it, and one of another server can't.
    fn check_cleanup(&self, connection: &Connection, operator_namespace: &str) -> Result<(), Fault> {
        let Some(cleanup) = &connection.cleanup else { return Ok(()) };
        let field = |fault: Fault| fault.field("spec.cleanupConnectionRef.name");
        let as_tenant = ConnectionRef::cluster(&connection.name.namespace, cleanup);
        if let Some(fault) = self.blind(What::ClusterConnections, &as_tenant.namespace) {
            return Err(fault);
        }
        let known = self.clusters.get(cleanup).ok_or_else(|| field(no_such(&as_tenant)))?;
        let object = match &known.object {
            Ok(Object::Cluster(object)) => object,
            Ok(Object::Own(_)) => return Err(field(no_such(&as_tenant))),
            Err(fault) => return Err(field(of_connection(&as_tenant, fault))),
        };
        let labels = self.labels(object, &as_tenant.namespace)?;
        ps_api::may_use(object, &as_tenant.namespace, labels).map_err(field)?;
        let other = ps_api::cluster_connection(object, operator_namespace, operator_namespace, None)
            .map_err(|fault| field(of_connection(&as_tenant, &fault)))?;
        if (&other.address, &other.vault_namespace) == (&connection.address, &connection.vault_namespace) {
            return Ok(());
        }
        let message = format!("ClusterVaultConnection {cleanup} leads to another server or Vault namespace");
        Err(field(Fault::new(Class::Misconfigured, "cleanup-elsewhere", message))
            .remedy("Name one with the same address and namespace: what is owed lies there"))
    }

    /// Whether what a delivery owes could be left undone once its namespace is gone: it logs in as an account of that
    /// namespace, and nobody is named to clean up.
    pub(super) fn lacks_cleanup(&self, key: &Key, operator_namespace: &str) -> bool {
        let Some(Ok(spec)) = self.deliveries.get(key).map(|known| known.spec.as_ref()) else { return false };
        let connection = self.resolve(&spec.connection, operator_namespace);
        spec.rotation.strategy != Strategy::None
            && connection.is_ok_and(|c| c.cleanup.is_none() && matches!(c.auth, Auth::Kubernetes { .. }))
    }
}

/// The same words as those of the folder source.
fn no_such(name: &ConnectionRef) -> Fault {
    let (message, remedy) = match name.kind {
        ConnectionKind::VaultConnection => (
            format!("there is no VaultConnection {} in namespace {}", name.name, name.namespace),
            format!("Make it in namespace {}, or correct the name", name.namespace),
        ),
        ConnectionKind::ClusterVaultConnection => (
            format!("there is no ClusterVaultConnection {}", name.name),
            "Make it, or correct the name; a connection of the namespace itself has kind: VaultConnection".to_owned(),
        ),
    };
    Fault::new(Class::Misconfigured, "no-such-connection", message)
        .field("spec.source.vault.connectionRef.name")
        .remedy(remedy)
}

/// A fault of a connection's own manifest, told to those who name it.
fn of_connection(name: &ConnectionRef, fault: &Fault) -> Fault {
    let message = format!("{} {}: {}", name.kind.as_str(), name.name, fault.message);
    Fault { message, ..fault.clone() }
}
