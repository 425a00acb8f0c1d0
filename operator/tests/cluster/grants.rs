//! The rights of `examples/install/`, one by one, as they can be taken away and given back.

use std::fmt;
use std::time::Duration;

use ps_testbed::{Cluster, wait_until};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::install::Names;
use crate::tools::Asked;

/// One verb on one resource in one place.
#[derive(Clone, Debug)]
pub struct Grant {
    /// `system:serviceaccount:…` of who has it.
    pub user: String,
    /// `cluster`, `own`, `links`, `tenant` or `cleanup`.
    pub place: &'static str,
    /// Empty for all of the cluster.
    namespace: String,
    group: String,
    pub resource: String,
    pub verb: String,
    /// The Role's path, its rules as they are installed, and which of them this is.
    path: String,
    rules: Value,
    index: usize,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = self.user.rsplit(':').next().unwrap_or_default();
        write!(f, "{who} {} {}{} ({})", self.verb, self.resource, self.group_text(), self.place)
    }
}

impl Grant {
    fn group_text(&self) -> String {
        if self.group.is_empty() { String::new() } else { format!(".{}", self.group) }
    }

    /// Whether a request needs this right.
    pub fn is_for(&self, asked: &Asked) -> bool {
        let place = self.namespace.is_empty() || self.namespace == asked.namespace;
        let what = (asked.verb == self.verb, asked.resource == self.resource, asked.group == self.group);
        place && what == (true, true, true) && asked.user == self.user
    }

    /// Takes this one away, and leaves all others of the Role.
    pub async fn take(&self, cluster: &Cluster) {
        let mut rules: Vec<Value> = Vec::new();
        for (n, rule) in self.rules.as_array().unwrap().iter().enumerate() {
            if n != self.index {
                rules.push(rule.clone());
                continue;
            }
            for resource in rule["resources"].as_array().unwrap() {
                let mut one = rule.clone();
                one["resources"] = json!([resource]);
                if *resource == self.resource {
                    one["verbs"].as_array_mut().unwrap().retain(|verb| *verb != self.verb);
                }
                if one["verbs"] != json!([]) {
                    rules.push(one);
                }
            }
        }
        self.set(cluster, &json!(rules)).await;
        self.wait_until_it_is(false, cluster).await;
    }

    /// As it was installed.
    pub async fn give_back(&self, cluster: &Cluster) {
        self.set(cluster, &self.rules).await;
        self.wait_until_it_is(true, cluster).await;
    }

    /// The API server's authorizer follows a watch: on a busy machine it can be seconds behind what was answered.
    async fn wait_until_it_is(&self, granted: bool, cluster: &Cluster) {
        // A name that no rule lists is refused under every rule with names, so those are not asked about.
        if !self.rules[self.index]["resourceNames"].is_null() {
            return;
        }
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((&self.resource, ""));
        let mut attributes =
            json!({"verb": self.verb, "group": self.group, "resource": resource, "subresource": subresource});
        if !self.namespace.is_empty() {
            attributes["namespace"] = json!(self.namespace);
        }
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": self.user, "resourceAttributes": attributes}});
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let follows = async || {
            let answer = cluster.call("POST", path, Some(&review)).await.unwrap();
            (answer["status"]["allowed"] == json!(granted)).then_some(())
        };
        // Where another rule grants the same, it never will: the test itself tells then.
        wait_until("the authorizer to know it", Duration::from_secs(10), follows).await.ok();
    }

    async fn set(&self, cluster: &Cluster, rules: &Value) {
        cluster.call("PATCH", &self.path, Some(&json!({"rules": rules}))).await.unwrap();
    }
}

/// All that the manifests grant.
pub fn grants(yaml: &str, names: &Names) -> Vec<Grant> {
    let objects = serde_yaml::Deserializer::from_str(yaml).map(|object| Value::deserialize(object).unwrap());
    let objects: Vec<Value> = objects.filter(|object| !object.is_null()).collect();
    let mut found = Vec::new();
    for binding in objects.iter().filter(|o| o["kind"] == "RoleBinding" || o["kind"] == "ClusterRoleBinding") {
        let text = |pointer: &str| binding.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, name, namespace) = (text("/roleRef/kind"), text("/roleRef/name"), text("/metadata/namespace"));
        let role = objects.iter().find(|o| {
            let there = o["metadata"]["namespace"].as_str().unwrap_or_default();
            o["kind"] == *kind && o["metadata"]["name"] == *name && there == namespace
        });
        let rules = role.unwrap_or_else(|| panic!("no {kind} {name} in {namespace}"))["rules"].clone();
        let api = "/apis/rbac.authorization.k8s.io/v1";
        let (path, place) = match namespace.as_str() {
            "" => (format!("{api}/clusterroles/{name}"), "cluster"),
            at => {
                let place = match at {
                    _ if name == "vault-cleanup" => "cleanup",
                    _ if at == names.own => "own",
                    _ if at == names.links => "links",
                    _ => "tenant",
                };
                (format!("{api}/namespaces/{at}/roles/{name}"), place)
            }
        };
        let user = format!("system:serviceaccount:{}:{}", text("/subjects/0/namespace"), text("/subjects/0/name"));
        for (index, rule) in rules.as_array().unwrap().iter().enumerate() {
            for resource in words(&rule["resources"]) {
                for verb in words(&rule["verbs"]) {
                    found.push(Grant {
                        user: user.clone(),
                        place,
                        namespace: namespace.clone(),
                        group: words(&rule["apiGroups"]).concat(),
                        resource: resource.clone(),
                        verb,
                        path: path.clone(),
                        rules: rules.clone(),
                        index,
                    });
                }
            }
        }
    }
    found
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}
