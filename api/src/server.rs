//! From a connection's manifest to what the rules understand: which server, as whom, and whether a namespace may.
//!
//! Total, as [`crate::resolve`] is: what an older schema let through gets a fault here.

use std::collections::BTreeMap;

use ps_core::delivery::ConnectionRef;
use ps_core::error::{Class, Fault};
use ps_core::ports::{Auth, Connection};

use crate::fault::invalid;
use crate::resolve::span;
use crate::{
    ClusterVaultConnection, DEFAULT_NAMESPACE, Defaults, KubernetesAuth, VaultAuth, VaultConnection,
    VaultConnectionSpec,
};

/// A `VaultConnection`, with every default filled in.
///
/// # Errors
/// Misconfigured, `invalid-spec`, with the field and a remedy.
pub fn connection(object: &VaultConnection) -> Result<Connection, Fault> {
    let namespace = object.metadata.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    let name = ConnectionRef::namespaced(&namespace, object.metadata.name.clone().unwrap_or_default());
    server(&object.spec, name, namespace)
}

/// A `ClusterVaultConnection` as `for_namespace` uses it, with every default filled in. Its secrets lie in
/// `operator_namespace`; a service account is one of `for_namespace`.
///
/// The operator's own namespace may use every such connection: that is how one cleans up. `labels` are those of
/// `for_namespace`; `None` where there are none, or none can be known.
///
/// # Errors
/// Misconfigured: `connection-not-allowed`, as [`may_use`] says it; `invalid-spec`, with the field and a remedy.
pub fn cluster_connection(
    object: &ClusterVaultConnection,
    for_namespace: &str,
    operator_namespace: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> Result<Connection, Fault> {
    if for_namespace != operator_namespace {
        may_use(object, for_namespace, labels)?;
    }
    let name = ConnectionRef::cluster(for_namespace, object.metadata.name.clone().unwrap_or_default());
    server(&object.spec.connection, name, operator_namespace.to_owned())
}

/// Whether a namespace may use a `ClusterVaultConnection`, as its connection or as the one that cleans up after it.
///
/// # Errors
/// Misconfigured, `connection-not-allowed`, field `spec.namespaces`.
pub fn may_use(
    object: &ClusterVaultConnection,
    namespace: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> Result<(), Fault> {
    let spec = &object.spec;
    let listed = spec.namespaces.iter().flatten().any(|name| name == namespace);
    // No label at all selects nobody: an older schema may let that through, and it must not open the connection.
    let wanted = spec.namespace_selector.as_ref().map(|s| &s.match_labels).filter(|wanted| !wanted.is_empty());
    let selected = wanted.is_some_and(|wanted| {
        labels.is_some_and(|has| wanted.iter().all(|(name, value)| has.get(name) == Some(value)))
    });
    if listed || selected {
        return Ok(());
    }
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let why = match (wanted, labels) {
        (None, _) => "it is not listed",
        (Some(_), Some(_)) => "it is neither listed nor has the labels of the selector",
        (Some(_), None) => "it is not listed, and there are no labels for the selector to match",
    };
    let message = format!("namespace {namespace} may not use ClusterVaultConnection {name}: {why}");
    Err(Fault::new(Class::Misconfigured, "connection-not-allowed", message).field("spec.namespaces").remedy(format!(
        "Add {namespace} to spec.namespaces of ClusterVaultConnection {name}, or use a VaultConnection of its own"
    )))
}

fn server(spec: &VaultConnectionSpec, name: ConnectionRef, secrets_in: String) -> Result<Connection, Fault> {
    Ok(Connection {
        name,
        address: address(&spec.address)?,
        vault_namespace: spec.namespace.clone().unwrap_or_default(),
        ca_pem: spec.ca_bundle.clone(),
        tls_server_name: spec.tls_server_name.clone(),
        timeout: span("spec.timeout", spec.timeout.as_deref())?.unwrap_or(Defaults::TIMEOUT),
        auth: auth(&spec.auth)?,
        secrets_in,
        cleanup: spec.cleanup_connection_ref.as_ref().map(|cleanup| cleanup.name.clone()),
    })
}

fn auth(auth: &VaultAuth) -> Result<Auth, Fault> {
    match (&auth.token, &auth.app_role, &auth.kubernetes) {
        (Some(token), None, None) => Ok(Auth::Token { secret: (&token.secret_key_ref).into() }),
        (None, Some(role), None) => Ok(Auth::AppRole {
            mount: role.mount.clone().unwrap_or_else(|| Defaults::APP_ROLE_MOUNT.to_owned()),
            role_id: role.role_id.clone(),
            secret_id: (&role.secret_id_ref).into(),
        }),
        (None, None, Some(kubernetes)) => by_kubernetes(kubernetes),
        _ => Err(invalid(
            "spec.auth",
            "auth must have exactly one of token, appRole and kubernetes",
            "keep the one you want to log in with",
        )),
    }
}

fn by_kubernetes(auth: &KubernetesAuth) -> Result<Auth, Fault> {
    if is_of_the_api_server(&auth.audience) {
        return Err(invalid(
            "spec.auth.kubernetes.audience",
            "auth.kubernetes.audience must not be empty or the API server's own; whoever holds such a token can act in the cluster",
            "write the audience of Vault's role, such as vault",
        ));
    }
    Ok(Auth::Kubernetes {
        mount: auth.mount.clone().unwrap_or_else(|| Defaults::KUBERNETES_MOUNT.to_owned()),
        role: auth.role.clone(),
        service_account: auth.service_account_ref.name.clone(),
        audience: auth.audience.clone(),
    })
}

/// Whether a token of this audience would be one for the API server: an empty one always is, the others are what API
/// servers are usually configured with. Says the same as the schema's rule.
fn is_of_the_api_server(audience: &str) -> bool {
    let lower = audience.trim().to_ascii_lowercase();
    let bare = lower.trim_end_matches('/');
    let bare = bare.strip_prefix("https://").or_else(|| bare.strip_prefix("http://")).unwrap_or(bare);
    let host = bare.split_once(':').map_or(bare, |(host, _)| host);
    let api = host.strip_prefix("kube-").or_else(|| host.strip_prefix("kube")).unwrap_or(host);
    matches!(host, "" | "kubernetes" | "kubernetes.default" | "kubernetes.default.svc")
        || host.starts_with("kubernetes.default.svc.")
        || matches!(api, "api" | "apiserver" | "api-server")
}

/// The address without a slash at its end, its port looked at: the rules can't compare a number inside a text.
fn address(text: &str) -> Result<String, Fault> {
    let bad = |what: &str| invalid("spec.address", what, "write it like https://vault.example.com:8200");
    let address = text.strip_suffix('/').unwrap_or(text);
    let host = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"))
        .filter(|host| !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']))
        .ok_or_else(|| bad("address must be a scheme, a host and a port"))?;
    let port = match host.rsplit_once(':') {
        Some((before, port)) if !before.is_empty() && !port.ends_with(']') => Some(port),
        _ => None,
    };
    match port.map(str::parse::<u16>) {
        None => Ok(address.to_owned()),
        Some(Ok(1..)) => Ok(address.to_owned()),
        Some(_) => Err(bad("the port of address must be from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CleanupConnectionRef, ClusterVaultConnectionSpec, NamespaceSelector, ServiceAccountRef};

    fn kubernetes(audience: &str) -> VaultAuth {
        let kubernetes = KubernetesAuth {
            mount: None,
            role: "r".into(),
            service_account_ref: ServiceAccountRef { name: "sa".into() },
            audience: audience.into(),
        };
        VaultAuth { kubernetes: Some(kubernetes), token: None, app_role: None }
    }

    fn spec(audience: &str) -> VaultConnectionSpec {
        VaultConnectionSpec {
            address: "https://v:8200/".into(),
            namespace: None,
            ca_bundle: None,
            tls_server_name: None,
            timeout: None,
            auth: kubernetes(audience),
            cleanup_connection_ref: Some(CleanupConnectionRef { name: "cleanup".into() }),
        }
    }

    fn cluster(namespaces: &[&str], labels: Option<&[(&str, &str)]>) -> ClusterVaultConnection {
        ClusterVaultConnection::new(
            "prod",
            ClusterVaultConnectionSpec {
                connection: spec("vault"),
                namespaces: Some(namespaces.iter().map(|n| (*n).to_owned()).collect()),
                namespace_selector: labels.map(|labels| NamespaceSelector { match_labels: map(labels) }),
            },
        )
    }

    fn map(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_tenant_logs_in_as_an_account_of_its_own_namespace_through_either_kind() {
        let mut object = VaultConnection::new("prod", spec("vault"));
        object.metadata.namespace = Some("shop".into());
        let own = connection(&object).unwrap();
        assert_eq!((own.name, own.secrets_in.as_str()), (ConnectionRef::namespaced("shop", "prod"), "shop"));
        assert_eq!((own.address.as_str(), own.cleanup.as_deref()), ("https://v:8200", Some("cleanup")));
        let auth = Auth::Kubernetes {
            mount: "kubernetes".into(),
            role: "r".into(),
            service_account: "sa".into(),
            audience: "vault".into(),
        };
        assert_eq!(own.auth, auth);
        let shared = cluster_connection(&cluster(&["shop"], None), "shop", "operator", None).unwrap();
        assert_eq!((shared.name, shared.secrets_in.as_str()), (ConnectionRef::cluster("shop", "prod"), "operator"));
        assert_eq!(shared.auth, auth);
    }

    #[test]
    fn only_namespaces_that_are_named_or_selected_may_use_a_connection() {
        let may = |object: &ClusterVaultConnection, labels: Option<&[(&str, &str)]>| {
            let labels = labels.map(map);
            cluster_connection(object, "shop", "operator", labels.as_ref()).map(drop)
        };
        may(&cluster(&["a", "shop"], None), None).unwrap();
        may(&cluster(&[], Some(&[("t", "x"), ("u", "y")])), Some(&[("t", "x"), ("u", "y"), ("v", "z")])).unwrap();
        for (object, labels) in [
            (cluster(&[], None), None),
            (cluster(&["a", "shop-2", "sho"], None), Some(&[("shop", "shop")][..])),
            (cluster(&[], Some(&[])), Some(&[][..])),
            (cluster(&[], Some(&[("t", "x")])), Some(&[("t", "y")])),
            (cluster(&[], Some(&[("t", "x"), ("u", "y")])), Some(&[("t", "x")])),
            (cluster(&[], Some(&[("t", "x")])), None),
        ] {
            let fault = may(&object, labels).unwrap_err();
            assert_eq!((fault.code.as_str(), fault.class), ("connection-not-allowed", Class::Misconfigured));
            assert_eq!(fault.field.as_deref(), Some("spec.namespaces"));
            assert!(fault.message.contains("shop") && fault.remedy.contains("spec.namespaces"), "{fault}");
        }
    }

    #[test]
    fn the_operator_itself_may_use_every_connection_to_clean_up() {
        let at = cluster_connection(&cluster(&[], None), "operator", "operator", None).unwrap();
        assert_eq!((at.name.namespace.as_str(), at.secrets_in.as_str()), ("operator", "operator"));
    }

    #[test]
    fn the_api_servers_audience_is_refused_here_too() {
        for bad in [
            "",
            " ",
            "https://kubernetes.default.svc",
            "https://kubernetes.default.svc.cluster.local",
            "https://Kubernetes.default.svc:443/",
            "kubernetes",
            "kubernetes.default.svc.corp.example",
            "api",
            "kube-apiserver",
            "API-server",
        ] {
            let mut object = VaultConnection::new("prod", spec(bad));
            object.metadata.namespace = Some("shop".into());
            let fault = connection(&object).expect_err(bad);
            assert_eq!(fault.field.as_deref(), Some("spec.auth.kubernetes.audience"), "{fault}");
        }
        for good in [
            "vault",
            "https://vault.example.com:8200",
            "openbao",
            "https://kubernetes.vault.example",
            "kubernetes-vault",
        ] {
            assert!(!is_of_the_api_server(good), "{good}");
        }
    }

    #[test]
    fn two_methods_or_none_are_a_fault() {
        for auth in [
            VaultAuth { kubernetes: None, token: None, app_role: None },
            VaultAuth {
                token: Some(crate::TokenAuth {
                    secret_key_ref: crate::SecretKeyRef { name: "n".into(), key: "k".into() },
                }),
                ..kubernetes("vault")
            },
        ] {
            let object = VaultConnection::new("prod", VaultConnectionSpec { auth, ..spec("vault") });
            assert_eq!(connection(&object).unwrap_err().field.as_deref(), Some("spec.auth"));
        }
    }
}
