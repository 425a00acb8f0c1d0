//! Connections as they are known, and what a namespace gets when it names one. Pure.

use std::collections::BTreeMap;

use ps_api::{ClusterVaultConnection, VaultConnection};
use ps_core::cleanup::same_place;
use ps_core::delivery::{ConnectionKind, ConnectionRef, Strategy};
use ps_core::error::{Class, Fault};
use ps_core::ids::Key;
use ps_core::ports::{Auth, Connection};

use super::Options;
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
        same_place(connection, &other)
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

/// Whether this operator may talk to where a connection leads.
///
/// # Errors
/// Denied, field `spec.address`: `address-in-clear` for plain HTTP, which in a cluster leads to the operator's own pod;
/// `address-not-allowed` for a `VaultConnection` that leads to a server outside of [`Options::vault_addresses`].
pub(super) fn admit(options: &Options, connection: &Connection) -> Result<(), Fault> {
    let Connection { name, address, .. } = connection;
    let denied = |code: &str, why: &str, remedy: &str| {
        let message = format!("{} {}: {why}", name.kind.as_str(), name.name);
        Err(Fault::new(Class::Denied, code, message).field("spec.address").remedy(remedy))
    };
    if !options.allow_http && !address.starts_with("https://") {
        return denied(
            "address-in-clear",
            "http:// on this machine would be the operator's own pod",
            "Use https:// and the server's own name",
        );
    }
    let is_own = name.kind == ConnectionKind::VaultConnection;
    let allowed = |listed: &String| same_address(listed, address);
    if is_own && !options.vault_addresses.is_empty() && !options.vault_addresses.iter().any(allowed) {
        return denied(
            "address-not-allowed",
            &format!("this operator lets no VaultConnection lead to {address}"),
            "Use an address that kubernetes.vaultAddresses of the operator's configuration lists, or have it added there",
        );
    }
    // The name is asked for, too (SNI): behind one address it may lead to another server.
    let bends = |name: &String| !host(address).eq_ignore_ascii_case(name);
    if is_own && !options.vault_addresses.is_empty() && connection.tls_server_name.as_ref().is_some_and(bends) {
        return denied(
            "address-not-allowed",
            "this operator lets no VaultConnection ask an address for a server of another name",
            "Remove tlsServerName and use the server's own name in address, or use a ClusterVaultConnection",
        );
    }
    Ok(())
}

/// The host of an address, without its port.
fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest).trim_end_matches('/');
    match rest.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => rest,
    }
}

/// Whether both lead to the same port of the same host, however they are written.
fn same_address(one: &str, other: &str) -> bool {
    let whole = |text: &str| {
        let text = text.trim_end_matches('/').to_ascii_lowercase();
        let (rest, port) = match text.strip_prefix("https://") {
            Some(rest) => (rest, ":443"),
            None => (text.strip_prefix("http://").unwrap_or(&text), ":80"),
        };
        let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        if has_port { text } else { format!("{text}{port}") }
    };
    whole(one) == whole(other)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_the_same_however_they_are_written() {
        for (one, other) in [
            ("https://vault.example.com:8200", "https://VAULT.example.com:8200/"),
            ("https://vault.example.com", "https://vault.example.com:443"),
            ("https://[::1]", "https://[::1]:443"),
        ] {
            assert!(same_address(one, other) && same_address(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("https://vault.example.com:8200", "https://vault.example.com"),
            ("https://vault.example.com", "https://vault.example.com.evil.example"),
            ("https://vault.example.com", "http://vault.example.com:443"),
            ("https://[::1]", "https://[::2]"),
        ] {
            assert!(!same_address(one, other), "{one} {other}");
        }
        for address in ["https://vault.example.com:8200", "https://vault.example.com/"] {
            assert_eq!(host(address), "vault.example.com");
        }
        assert_eq!(host("https://[::1]:8200"), "[::1]");
    }
}
