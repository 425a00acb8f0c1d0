//! OpenBao that lets a cluster's service accounts in.

use anyhow::Result;
use serde_json::json;

use crate::kubernetes::Cluster;
use crate::openbao::OpenBao;

const NAMESPACE: &str = "testbed-openbao";
const REVIEWER: &str = "reviewer";
const DAY: u64 = 24 * 3600;

/// Who may log in, and what as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KubernetesRole<'a> {
    /// The service account's namespace.
    pub namespace: &'a str,
    /// The service account.
    pub service_account: &'a str,
    /// What its token must be made for.
    pub audience: &'a str,
    /// What its login may do.
    pub policies: &'a [&'a str],
    /// How long a login lasts, as `1h`.
    pub ttl: &'a str,
}

impl Cluster {
    /// Enables Kubernetes auth at `auth/MOUNT`: OpenBao asks this cluster, by TokenReview, whose token it was given.
    ///
    /// # Errors
    /// If one of the two refuses, as it does if the mount is taken.
    pub async fn trust_from(&self, bao: &OpenBao, mount: &str) -> Result<()> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        self.make("/api/v1/namespaces", &namespace).await?;
        self.service_account(NAMESPACE, REVIEWER).await?;
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": NAMESPACE},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"},
            "subjects": [{"kind": "ServiceAccount", "namespace": NAMESPACE, "name": REVIEWER}],
        });
        self.make("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await?;
        let config = json!({
            "kubernetes_host": self.server(),
            "kubernetes_ca_cert": self.ca_pem()?,
            "token_reviewer_jwt": self.token(NAMESPACE, REVIEWER, "", DAY).await?,
            "disable_local_ca_jwt": true,
        });
        bao.call("POST", &format!("sys/auth/{mount}"), Some(&json!({"type": "kubernetes"}))).await?;
        bao.call("POST", &format!("auth/{mount}/config"), Some(&config)).await?;
        Ok(())
    }

    /// Makes a role of that mount.
    ///
    /// # Errors
    /// If OpenBao refuses.
    pub async fn kubernetes_role(
        &self,
        bao: &OpenBao,
        mount: &str,
        role: &str,
        allowed: &KubernetesRole<'_>,
    ) -> Result<()> {
        let body = json!({
            "bound_service_account_names": allowed.service_account,
            "bound_service_account_namespaces": allowed.namespace,
            "audience": allowed.audience,
            "token_policies": allowed.policies,
            "token_ttl": allowed.ttl,
        });
        bao.call("POST", &format!("auth/{mount}/role/{role}"), Some(&body)).await?;
        Ok(())
    }
}
