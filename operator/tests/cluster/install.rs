//! `examples/install/`, as a stand uses it: the same objects under names of its own, so that many fit on one cluster.

use std::fs;

use ps_testbed::workspace;

/// The names of one installation.
#[derive(Clone, Debug)]
pub struct Names {
    /// The operator's namespace.
    pub own: String,
    /// The namespace of link records.
    pub links: String,
}

impl Names {
    pub fn new(own: String) -> Self {
        Self { links: format!("{own}-links"), own }
    }

    /// A file of `examples/install/` under these names.
    pub fn file(&self, name: &str) -> String {
        let path = workspace().join("examples/install").join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        self.rename(&text)
    }

    /// Every object that the operator and the gateways need before they start, but for Deployments.
    pub fn everything(&self) -> String {
        [
            "00-namespaces.yaml",
            "10-operator-rbac.yaml",
            "11-gateway-rbac.yaml",
            "12-token-audiences.yaml",
            "13-flow-schemas.yaml",
        ]
        .map(|name| self.file(name))
        .join("\n---\n")
    }

    /// What a tenant shares with the operator.
    pub fn tenant(&self, namespace: &str) -> String {
        self.file("tenant.yaml").replace("team-a", namespace)
    }

    /// Namespaces by name, and cluster-wide objects with the namespace at their front.
    fn rename(&self, text: &str) -> String {
        let lines = text.lines().map(|line| {
            let line = line
                .replace("namespace: password-sender-links", &format!("namespace: {}", self.links))
                .replace("[password-sender-links]", &format!("[{}]", self.links))
                .replace("system:serviceaccount:password-sender:", &format!("system:serviceaccount:{}:", self.own));
            match line.trim_start() {
                "namespace: password-sender" => line.replace("password-sender", &self.own),
                _ => line.replace("namespace: password-sender}", &format!("namespace: {}}}", self.own)),
            }
        });
        let text = lines.collect::<Vec<_>>().join("\n");
        text.split("\n---\n").map(|object| self.rename_object(object)).collect::<Vec<_>>().join("\n---\n")
    }

    fn rename_object(&self, object: &str) -> String {
        let kind = object.lines().find_map(|line| line.strip_prefix("kind: ")).unwrap_or_default();
        let renamed = |object: &str| object.replace("name: password-sender", &format!("name: {}", self.own));
        match kind {
            "Namespace" => object
                .replace("\n  name: password-sender-links", &format!("\n  name: {}", self.links))
                .replace("\n  name: password-sender\n", &format!("\n  name: {}\n", self.own)),
            "ClusterRole" => renamed(object),
            "ClusterRoleBinding" => {
                let (head, subjects) = object.split_once("subjects:").unwrap();
                format!("{}subjects:{subjects}", renamed(head))
            }
            "ValidatingAdmissionPolicy" => object.replacen("name: password-sender", &format!("name: {}", self.own), 1),
            "ValidatingAdmissionPolicyBinding" => object.replace("ame: password-sender", &format!("ame: {}", self.own)),
            "PriorityLevelConfiguration" => renamed(object),
            "FlowSchema" => object
                .replace("\n  name: password-sender", &format!("\n  name: {}", self.own))
                .replace("\n    name: password-sender", &format!("\n    name: {}", self.own)),
            _ => object.to_owned(),
        }
    }
}
