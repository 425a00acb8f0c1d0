//! What must stay within reach for talking to an API server or a Vault server: its port, and the files that the connection is
//! made from.
//!
//! Read before the confinement, so that the confinement can be as tight as the cluster's address allows.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use http::Uri;
use kube::config::Kubeconfig;
use ps_kubernetes::Access;

use crate::confine::Network;
use crate::mount::{Endpoint, Unusable};

/// Where a pod finds its token, its CA and its namespace.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// What the C library reads to look a name up.
const RESOLVER: [&str; 5] = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"];

/// Where systems keep the authorities that they trust.
const AUTHORITIES: [&str; 4] =
    ["/etc/ssl", "/etc/pki", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates"];

/// A cluster that can't be reached from here.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// There is no service account here.
    #[error("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: run in a pod, or use --kubeconfig")]
    NotInCluster,
    /// The file is none, or its context, cluster or server is missing.
    #[error("{0} can't be used as a kubeconfig: see that its context names a cluster with a server")]
    Kubeconfig(PathBuf),
}

/// The port and the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Where to connect to.
    pub network: Network,
    /// What is read, now and when credentials rotate.
    pub files: Vec<PathBuf>,
}

impl Reach {
    /// What `access` needs.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub fn of(access: &Access) -> Result<Self, Unreachable> {
        match access {
            Access::InCluster => {
                let var = |name: &str| std::env::var(name).map_err(|_| Unreachable::NotInCluster);
                let port = var("KUBERNETES_SERVICE_PORT")?.parse().map_err(|_| Unreachable::NotInCluster)?;
                Ok(Self::to(&var("KUBERNETES_SERVICE_HOST")?, port, vec![PathBuf::from(SERVICE_ACCOUNT)]))
            }
            Access::Kubeconfig { path, context } => {
                Self::from_file(path, context.as_deref()).ok_or_else(|| Unreachable::Kubeconfig(path.clone()))
            }
        }
    }

    /// What the server of a mount needs. The folder of the token's file is read as a whole, because whoever writes the token
    /// puts another file in its place.
    ///
    /// # Errors
    /// [`Unusable`], for an address that is none.
    pub fn of_mount(endpoint: &Endpoint) -> Result<Self, Unusable> {
        let uri = endpoint.uri()?;
        let https = uri.scheme_str() == Some("https");
        let folder = endpoint.token_file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut files = vec![folder.unwrap_or(Path::new(".")).to_owned()];
        match &endpoint.ca_file {
            Some(file) => files.push(file.clone()),
            None if https => files.extend(AUTHORITIES.map(PathBuf::from)),
            None => {}
        }
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        Ok(Self::to(uri.host().unwrap_or_default(), port, files))
    }

    fn from_file(path: &Path, context: Option<&str>) -> Option<Self> {
        // Relative paths in it are made absolute by this.
        let file = Kubeconfig::read_from(path).ok()?;
        let wanted = context.or(file.current_context.as_deref())?;
        let context = file.contexts.iter().find(|c| c.name == wanted)?.context.as_ref()?;
        let cluster = file.clusters.iter().find(|c| c.name == context.cluster)?.cluster.as_ref()?;
        let user = file.auth_infos.iter().find(|u| Some(&u.name) == context.user.as_ref());
        let user = user.and_then(|user| user.auth_info.as_ref());
        let server: Uri = cluster.server.as_ref()?.parse().ok()?;
        let default = if server.scheme_str() == Some("http") { 80 } else { 443 };
        let mut files = vec![path.to_owned()];
        files.extend(cluster.certificate_authority.iter().map(PathBuf::from));
        if let Some(user) = user {
            let named = [&user.token_file, &user.client_certificate, &user.client_key];
            files.extend(named.into_iter().flatten().map(PathBuf::from));
        }
        Some(Self::to(server.host()?, server.port_u16().unwrap_or(default), files))
    }

    fn to(host: &str, port: u16, mut files: Vec<PathBuf>) -> Self {
        let names = host.trim_matches(['[', ']']).parse::<IpAddr>().is_err();
        if names {
            files.extend(RESOLVER.map(PathBuf::from));
        }
        Self { network: Network { port, names }, files }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(server: &str, more: &str) -> Option<Reach> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config");
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: a, contexts: [{{name: a, context: {{cluster: c, user: u}}}}], \
             clusters: [{{name: c, cluster: {{server: '{server}'{more}}}}}], users: [{{name: u, user: {{tokenFile: token}}}}]}}"
        );
        std::fs::write(&path, text).expect("written");
        let mut reach = Reach::of(&Access::Kubeconfig { path, context: None }).ok()?;
        for file in &mut reach.files {
            if let Ok(inside) = file.strip_prefix(folder.path()) {
                *file = inside.to_owned();
            }
        }
        Some(reach)
    }

    #[test]
    fn an_address_needs_no_names() {
        let found = reach("https://10.0.0.1:6443", ", certificate-authority: ca.crt").expect("usable");
        assert_eq!(found.network, Network { port: 6443, names: false });
        assert_eq!(found.files, ["config", "ca.crt", "token"].map(PathBuf::from));
        assert_eq!(reach("https://[::1]", "").expect("usable").network, Network { port: 443, names: false });
        let named = reach("https://api.example:443", "").expect("usable");
        assert_eq!(named.network, Network { port: 443, names: true });
        assert!(named.files.contains(&PathBuf::from("/etc/resolv.conf")));
    }

    #[test]
    fn a_mount_needs_its_port_its_tokens_folder_and_authorities() {
        let endpoint = |address: &str, ca_file: Option<&str>| Endpoint {
            address: address.to_owned(),
            namespace: String::new(),
            mount: "send".to_owned(),
            token_file: PathBuf::from("/run/gateway/token"),
            ca_file: ca_file.map(PathBuf::from),
        };
        let found = Reach::of_mount(&endpoint("http://127.0.0.1:8200", None)).expect("usable");
        assert_eq!(found.network, Network { port: 8200, names: false });
        assert_eq!(found.files, [PathBuf::from("/run/gateway")]);
        let found = Reach::of_mount(&endpoint("https://vault.example", Some("/run/ca.pem"))).expect("usable");
        assert_eq!(found.network, Network { port: 443, names: true });
        assert!(
            found.files.contains(&PathBuf::from("/run/ca.pem")) && !found.files.contains(&PathBuf::from("/etc/ssl"))
        );
        let found = Reach::of_mount(&endpoint("https://10.0.0.1", None)).expect("usable");
        assert!(found.files.contains(&PathBuf::from("/etc/ssl")));
        assert!(Reach::of_mount(&endpoint("vault", None)).is_err());
    }

    #[test]
    fn what_names_no_server_is_refused() {
        assert_eq!(reach("", ""), None);
        let path = PathBuf::from("/nonexistent/config");
        assert!(matches!(Reach::of(&Access::Kubeconfig { path, context: None }), Err(Unreachable::Kubeconfig(_))));
    }
}
