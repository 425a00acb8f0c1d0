//! The files of a cluster: where they lie, and what is in those that we write.

use std::path::{Path, PathBuf};

use crate::kubernetes::AuditLevel;

/// Names in a cluster's folder, the same for whoever started it and whoever only uses it.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    folder: PathBuf,
}

impl Layout {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// etcd's data folder.
    pub(crate) fn etcd(&self) -> PathBuf {
        self.folder.join("etcd")
    }

    pub(crate) fn certificates(&self) -> PathBuf {
        self.folder.join("certificates")
    }

    /// The API server makes it when it first starts, and keeps it.
    pub(crate) fn ca(&self) -> PathBuf {
        self.certificates().join("apiserver.crt")
    }

    pub(crate) fn service_account_key(&self) -> PathBuf {
        self.folder.join("service-accounts.key")
    }

    pub(crate) fn service_account_public_key(&self) -> PathBuf {
        self.folder.join("service-accounts.pub")
    }

    pub(crate) fn tokens(&self) -> PathBuf {
        self.folder.join("tokens.csv")
    }

    pub(crate) fn audit_policy(&self) -> PathBuf {
        self.folder.join("audit-policy.yaml")
    }

    pub(crate) fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    pub(crate) fn admin_kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    pub(crate) fn controller_kubeconfig(&self) -> PathBuf {
        self.folder.join("controller-manager.kubeconfig")
    }

    /// Those that tests ask for.
    pub(crate) fn kubeconfigs(&self) -> PathBuf {
        self.folder.join("kubeconfigs")
    }
}

/// The API server's users: token, name, id, groups.
pub(crate) fn tokens(admin: &str, controller_manager: &str) -> String {
    format!(
        "{admin},admin,admin,\"system:masters\"\n\
         {controller_manager},system:kube-controller-manager,controller-manager,\"system:masters\"\n"
    )
}

/// Everything but what the API server asks itself.
pub(crate) fn audit_policy(level: AuditLevel) -> String {
    let level = level.name();
    format!(
        "apiVersion: audit.k8s.io/v1\n\
         kind: Policy\n\
         omitStages: [RequestReceived]\n\
         rules:\n\
         - {{level: None, users: ['system:apiserver']}}\n\
         - {{level: {level}}}\n"
    )
}

/// A kubeconfig with one cluster, user and context. Without `ca` for a server without TLS.
pub(crate) fn kubeconfig(server: &str, ca: Option<&Path>, token: &str, namespace: &str) -> String {
    let mut cluster = serde_json::json!({ "server": server });
    if let (Some(ca), Some(fields)) = (ca, cluster.as_object_mut()) {
        fields.insert("certificate-authority".to_owned(), ca.display().to_string().into());
    }
    // JSON is YAML, and needs no quoting rules of our own.
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testbed", "cluster": cluster}],
        "users": [{"name": "testbed", "user": {"token": token}}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "testbed", "namespace": namespace}}],
        "current-context": "testbed",
    });
    format!("{config:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_names_its_ca_only_with_tls() {
        let with = kubeconfig("https://127.0.0.1:1", Some(Path::new("/ca.crt")), "t", "team-a");
        assert!(with.contains(r#""certificate-authority": "/ca.crt""#) && with.contains(r#""namespace": "team-a""#));
        assert!(!kubeconfig("http://127.0.0.1:1", None, "t", "x").contains("certificate-authority"));
    }

    #[test]
    fn the_audit_policy_says_the_level() {
        assert!(audit_policy(AuditLevel::Metadata).contains("- {level: Metadata}\n"));
        assert!(audit_policy(AuditLevel::RequestResponse).contains("- {level: RequestResponse}\n"));
    }
}
