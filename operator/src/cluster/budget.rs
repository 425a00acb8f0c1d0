//! How the workers are shared out.

use std::sync::Arc;

use ps_controller::kubernetes::KubernetesSource;
use ps_controller::{Queue, Share};
use ps_core::delivery::{ConnectionKind, ConnectionRef};

/// At most a quarter of the workers for one connection, so that one that hangs leaves the others their share; and at most
/// half of them for one namespace, however many connections that has.
pub(super) fn budgeted(source: &Arc<KubernetesSource>, workers: usize) -> Queue {
    let source = source.clone();
    Queue::with_budget(move |key| {
        let namespace = Share { group: key.namespace.clone(), most: workers.div_ceil(2) };
        let connection = source.connection_of(key);
        let connection = connection.map(|at| Share { group: server(&at), most: workers.div_ceil(4) });
        connection.into_iter().chain([namespace]).collect()
    })
}

/// What stands for a connection's server in the budget: a cluster's connection leads every namespace to the same one.
fn server(connection: &ConnectionRef) -> String {
    match connection.kind {
        ConnectionKind::VaultConnection => format!("VaultConnection {}/{}", connection.namespace, connection.name),
        ConnectionKind::ClusterVaultConnection => format!("ClusterVaultConnection {}", connection.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_connection_is_one_server_for_all_and_no_tenants_own() {
        let shared = ["a", "b"].map(|namespace| server(&ConnectionRef::cluster(namespace, "vault")));
        let own = ["a", "b"].map(|namespace| server(&ConnectionRef::namespaced(namespace, "vault")));
        let [one, other] = &shared;
        assert!(one == other && own.first() != own.last() && !own.contains(one));
    }
}
