//! `examples/install/` and `examples/kubernetes/` as they are, on a cluster of their own: what the README says is done, the
//! API server and Pod Security take all of it, and our programs take the arguments and the configuration in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ps_testbed::{Cluster, ClusterOptions, free_port, wait_until, workspace};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::support::SOON;

const README: &str = "examples/install/README.md";
/// Commands of the README that are not run here, by their beginning, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("kubectl rollout status ", "there are no nodes, so no Pod ever runs"),
    ("kubectl exec ", "likewise; its program and options are compared with the help"),
    ("kubectl get secretdeliveries -n shop -w", "it does not end; without -w it is run"),
    ("kubectl wait ", "no operator runs here"),
    ("bao ", "there is no Vault here; the other tests of this program do the same through its API"),
];

/// The YAML files of a folder of the repository, in order of their names.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(workspace().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    found.sort();
    found
}

/// The objects in a file.
fn objects(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let objects = serde_yaml::Deserializer::from_str(&text).map(|object| Value::deserialize(object).unwrap());
    objects.filter(|object| !object.is_null()).collect()
}

fn all_objects() -> Vec<Value> {
    files("examples/install").iter().flat_map(|path| objects(path)).collect()
}

/// The objects of a kind in `examples/install/`.
fn of_kind(kind: &str) -> Vec<Value> {
    all_objects().into_iter().filter(|object| object["kind"] == kind).collect()
}

fn named(kind: &str, name: &str) -> Value {
    of_kind(kind).into_iter().find(|object| object["metadata"]["name"] == name).unwrap()
}

/// The lines of the README's shell blocks.
fn commands() -> Vec<String> {
    let text = fs::read_to_string(workspace().join(README)).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

/// What a command runs inside a Pod.
fn inside(command: &str) -> Option<&str> {
    command.split_once(" -- ").map(|(_, inside)| inside)
}

async fn own_cluster() -> Cluster {
    Cluster::start(ClusterOptions::default()).await.unwrap()
}

/// Runs one command of the README.
async fn run(cluster: &Cluster, command: &str, password: &Path) {
    let command = command.replace("FILE", password.to_str().unwrap());
    let words = command.split_whitespace().skip(1).map(|word| {
        let word = word.trim_matches('\'');
        let path = workspace().join(word);
        if word.contains('/') && path.exists() { path.to_str().unwrap().to_owned() } else { word.to_owned() }
    });
    let words: Vec<String> = words.collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    cluster.kubectl(&words).await.unwrap_or_else(|e| panic!("{command}\n{e:#}"));
    if command.ends_with("-f crds/") {
        cluster.install_crds().await.unwrap();
    }
}

#[tokio::test]
async fn what_the_readme_says_installs_everything() {
    let cluster = own_cluster().await;
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    fs::write(&password, "none\n").unwrap();

    let mut skipped = BTreeSet::new();
    for command in commands() {
        match NOT_RUN.iter().find(|(beginning, _)| command.starts_with(beginning)) {
            Some((beginning, _)) => drop(skipped.insert(*beginning)),
            None => run(&cluster, &command, &password).await,
        }
    }
    assert_eq!(skipped.len(), NOT_RUN.len(), "the README has some of NOT_RUN no more: {skipped:?}");
    run(&cluster, "kubectl get secretdeliveries -n shop", &password).await;

    // The same again changes nothing.
    let generation = async || {
        let path = "/apis/apps/v1/namespaces/password-sender/deployments/password-sender-gateway";
        cluster.call("GET", path, None).await.unwrap()["metadata"]["generation"].clone()
    };
    let before = generation().await;
    for command in commands().iter().filter(|command| command.starts_with("kubectl apply ")) {
        run(&cluster, command, &password).await;
    }
    assert_eq!(before, generation().await);

    pod_security_holds(&cluster).await;
    the_audience_policy_holds(&cluster).await;
    the_secret_types_policy_holds(&cluster).await;
    rights_are_the_least(&cluster).await;
}

/// A Pod as each Deployment makes it is taken, and one with less restraint is not.
async fn pod_security_holds(cluster: &Cluster) {
    for deployment in of_kind("Deployment") {
        let template = &deployment["spec"]["template"];
        let pod = |spec: Value| {
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "labels": template["metadata"]["labels"]},
                "spec": spec})
        };
        let path = "/api/v1/namespaces/password-sender/pods?dryRun=All";
        let (status, answer) = cluster.request("POST", path, Some(&pod(template["spec"].clone()))).await.unwrap();
        assert_eq!(status, 201, "{answer}");
        for (place, value) in [
            ("/securityContext/runAsNonRoot", json!(false)),
            ("/securityContext/seccompProfile/type", json!("Unconfined")),
            ("/containers/0/securityContext/allowPrivilegeEscalation", json!(true)),
            ("/containers/0/securityContext/capabilities/drop", json!([])),
        ] {
            let mut spec = template["spec"].clone();
            *spec.pointer_mut(place).unwrap() = value;
            let (status, answer) = cluster.request("POST", path, Some(&pod(spec))).await.unwrap();
            let why = answer["message"].as_str().unwrap_or_default();
            assert!(status == 403 && why.contains("violates PodSecurity"), "{place}: {answer}");
        }
        assert_eq!(template["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true);
    }
}

/// The operator gets tokens of the clean-up account and of the tenant's, for Vault's audience and no other.
async fn the_audience_policy_holds(cluster: &Cluster) {
    let operator = cluster.token("password-sender", "password-sender-operator", "", 3600).await.unwrap();
    for (namespace, account, audience, seconds, expected) in [
        ("team-a", "password-sender", "vault", 600, 201),
        ("password-sender", "vault-cleanup", "vault", 3600, 201),
        ("team-a", "password-sender", "vault", 3601, 422),
        ("team-a", "password-sender", "https://kubernetes.default.svc", 600, 422),
        ("team-a", "password-sender", cluster.server(), 600, 422),
        // The API server fills in its own.
        ("team-a", "password-sender", "", 600, 422),
        ("password-sender", "password-sender-gateway", "vault", 600, 403),
        ("kube-system", "generic-garbage-collector", "vault", 600, 403),
    ] {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let audiences = if audience.is_empty() { json!([]) } else { json!([audience]) };
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": audiences, "expirationSeconds": seconds}});
        let asked = wait_until("the policy to be in force", SOON, async || {
            let (status, answer) = cluster.request_as(&operator, "POST", &path, Some(&body)).await.unwrap();
            // A policy takes a moment until it is in force; what RBAC says does not change.
            (status == expected).then_some(answer)
        });
        let answer = asked.await.unwrap_or_else(|e| panic!("{namespace}/{account} for {audience:?}: {e}"));
        if expected == 422 {
            let why = if seconds > 3600 { "within an hour" } else { "audience" };
            assert!(answer["message"].as_str().unwrap().contains(why), "{answer}");
        }
    }
}

/// In its own namespaces the operator makes Secrets of its own types and no other; in no case a login of a service account.
async fn the_secret_types_policy_holds(cluster: &Cluster) {
    let operator = cluster.token("password-sender", "password-sender-operator", "", 3600).await.unwrap();
    for (namespace, kind, expected) in [
        ("password-sender", "passwordsender.io/ledger-entry", 201),
        ("password-sender", "kubernetes.io/service-account-token", 422),
        ("password-sender", "Opaque", 422),
        ("password-sender", "passwordsender.io/link-record", 422),
        ("password-sender-links", "passwordsender.io/link-record", 201),
        ("password-sender-links", "passwordsender.io/fence", 201),
        ("password-sender-links", "passwordsender.io/ledger-entry", 422),
        ("password-sender-links", "kubernetes.io/tls", 422),
    ] {
        let path = format!("/api/v1/namespaces/{namespace}/secrets?dryRun=All");
        let annotations = json!({"kubernetes.io/service-account.name": "password-sender-operator"});
        let data = json!({"tls.crt": "", "tls.key": ""});
        let body = json!({"apiVersion": "v1", "kind": "Secret", "type": kind, "data": data,
            "metadata": {"name": "probe", "annotations": annotations}});
        let asked = wait_until("the policy to be in force", SOON, async || {
            let (status, answer) = cluster.request_as(&operator, "POST", &path, Some(&body)).await.unwrap();
            (status == expected).then_some(answer)
        });
        let answer = asked.await.unwrap_or_else(|e| panic!("{kind} in {namespace}: {e}"));
        if expected == 422 {
            assert!(answer["message"].as_str().unwrap().contains("password-sender makes Secrets only"), "{answer}");
        }
    }
}

/// What operator and gateway may do, by the API server's own word.
async fn rights_are_the_least(cluster: &Cluster) {
    let (own, links) = ("password-sender", "password-sender-links");
    for (who, verb, resource, namespace, name, expected) in [
        ("operator", "patch", "secrets", links, "link-1", true),
        ("operator", "patch", "secrets", own, "ledger", false),
        ("operator", "get", "secrets", "team-a", "passphrase", true),
        ("operator", "get", "secrets", "team-a", "other", false),
        ("operator", "list", "secrets", "team-a", "", false),
        ("operator", "get", "secrets", "kube-system", "any", false),
        ("operator", "create", "serviceaccounts/token", "kube-system", "any", false),
        ("operator", "get", "configmaps", own, "password-sender-operator", false),
        ("operator", "create", "pods", own, "", false),
        ("gateway", "update", "secrets", links, "link-1", true),
        ("gateway", "create", "secrets", links, "link-1", false),
        ("gateway", "delete", "secrets", links, "link-1", false),
        ("gateway", "patch", "secrets", links, "link-1", false),
        ("gateway", "get", "secrets", own, "password-sender-smtp", false),
        ("gateway", "list", "secretdeliveries", "shop", "", false),
    ] {
        let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
        let group = if resource == "secretdeliveries" { "passwordsender.io" } else { "" };
        let user = format!("system:serviceaccount:password-sender:password-sender-{who}");
        let attributes = json!({"verb": verb, "group": group, "resource": resource, "subresource": sub,
            "namespace": namespace, "name": name});
        let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": attributes}});
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let answer = cluster.call("POST", path, Some(&body)).await.unwrap();
        assert_eq!(answer["status"]["allowed"], expected, "{who} may {verb} {resource} {namespace}/{name}: {answer}");
    }
}

#[test]
fn every_file_is_applied_by_a_command() {
    let lines = commands();
    let applied: BTreeSet<&str> = lines
        .iter()
        .filter(|line| line.starts_with("kubectl apply --server-side "))
        .flat_map(|line| line.split_whitespace())
        .filter(|word| word.contains('/'))
        .collect();
    let mut expected: BTreeSet<String> = BTreeSet::from(["crds/".to_owned()]);
    for folder in ["examples/install", "examples/kubernetes"] {
        let names = files(folder).into_iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        expected.extend(names.map(|name| format!("{folder}/{name}")));
    }
    assert_eq!(applied, expected.iter().map(String::as_str).collect());
}

#[test]
fn the_configuration_passes_its_check() {
    let config = named("ConfigMap", "password-sender-operator");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    fs::write(&file, config["data"]["config.yaml"].as_str().unwrap()).unwrap();
    let check = || operator(&["check-config", "--config", file.to_str().unwrap()]);
    let lacks = check();
    assert!(!lacks.status.success() && told(&lacks).contains("smtp/password"), "{}", told(&lacks));
    fs::create_dir(folder.path().join("smtp")).unwrap();
    fs::write(folder.path().join("smtp/password"), "none\n").unwrap();
    assert!(check().status.success(), "{}", told(&check()));

    // What it says fits the objects beside it.
    let config: Value = serde_yaml::from_str(config["data"]["config.yaml"].as_str().unwrap()).unwrap();
    let spaces: Vec<Value> = of_kind("Namespace").iter().map(|object| object["metadata"]["name"].clone()).collect();
    assert_eq!(spaces, [config["kubernetes"]["namespace"].clone(), config["kubernetes"]["linksNamespace"].clone()]);
    let lease = &config["kubernetes"]["leaderElection"]["leaseName"];
    let roles = of_kind("Role");
    let rules = roles.iter().flat_map(|role| role["rules"].as_array().unwrap());
    assert!(rules.clone().any(|rule| rule["resources"][0] == "leases" && rule["resourceNames"][0] == *lease));
}

/// Our programs know their arguments: with them they get as far as looking for the cluster.
#[test]
fn the_arguments_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    fs::write(&config, "publicUrl: https://links.example.com\noutbox: out\nkubernetes: {namespace: ps}\n").unwrap();
    for (name, lacks) in [
        ("password-sender-operator", "there is no service account's token"),
        ("password-sender-gateway", "KUBERNETES_SERVICE_HOST"),
    ] {
        let deployment = named("Deployment", name);
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["command"], json!([name]));
        let arguments = container["args"].as_array().unwrap().iter().map(|word| {
            let word = word.as_str().unwrap().replace("/etc/password-sender/config.yaml", config.to_str().unwrap());
            match word.split_once("=0.0.0.0:") {
                Some((option, _)) => format!("{option}=127.0.0.1:{}", free_port().unwrap()),
                None => word,
            }
        });
        let output =
            Command::new(program(name)).args(arguments).env_remove("KUBERNETES_SERVICE_HOST").output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        assert!(told(&output).contains(lacks), "{}", told(&output));
    }
}

#[test]
fn commands_inside_pods_are_known() {
    let commands = commands();
    let inner: Vec<&str> = commands.iter().filter_map(|command| inside(command)).collect();
    assert_eq!(inner.len(), 2, "{inner:?}");
    for command in inner {
        let words: Vec<&str> = command.split_whitespace().collect();
        let (options, plain): (Vec<&str>, Vec<&str>) = words[1..].iter().partition(|word| word.starts_with("--"));
        let help = operator(&[&plain[..], &["--help"]].concat());
        assert!(help.status.success(), "{command}");
        for option in options {
            let name = option.split('=').next().unwrap();
            assert!(told(&help).contains(&format!("{name} ")), "{command}: {name}");
        }
    }
}

/// Whatever selects Pods by labels selects those that it is meant for, and ports have names that exist.
#[test]
fn selectors_and_ports_fit() {
    for deployment in of_kind("Deployment") {
        let name = deployment["metadata"]["name"].clone();
        let labels = deployment["spec"]["template"]["metadata"]["labels"].clone();
        let ports = deployment["spec"]["template"]["spec"]["containers"][0]["ports"].clone();
        let has = |port: &Value| ports.as_array().unwrap().iter().any(|known| known["name"] == *port);
        assert_eq!(deployment["spec"]["selector"]["matchLabels"], labels);
        let service_account = &deployment["spec"]["template"]["spec"]["serviceAccountName"];
        assert!(of_kind("ServiceAccount").iter().any(|object| object["metadata"]["name"] == *service_account));
        let budget = named("PodDisruptionBudget", name.as_str().unwrap());
        assert_eq!(budget["spec"]["selector"]["matchLabels"], labels);
        let policy = named("NetworkPolicy", name.as_str().unwrap());
        assert_eq!(policy["spec"]["podSelector"]["matchLabels"], labels);
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        for rule in policy["spec"]["ingress"].as_array().unwrap() {
            assert!(has(&rule["ports"][0]["port"]) && !rule["from"].is_null(), "{rule}");
        }
        for probe in ["readinessProbe", "livenessProbe"] {
            let port = &deployment["spec"]["template"]["spec"]["containers"][0][probe]["httpGet"]["port"];
            assert!(has(port), "{name}: {probe}");
        }
        if let Some(service) = of_kind("Service").iter().find(|service| service["metadata"]["name"] == name) {
            assert_eq!(service["spec"]["selector"], labels);
            assert!(has(&service["spec"]["ports"][0]["targetPort"]));
        }
    }
    assert_eq!(of_kind("Service").len(), 1);
}

fn program(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_password-sender-operator")).with_file_name(name)
}

fn operator(words: &[&str]) -> Output {
    Command::new(program("password-sender-operator")).args(words).output().unwrap()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
