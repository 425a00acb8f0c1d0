//! The Kubernetes API, for real.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a panic in a test is the failure report"
)]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ps_testbed::{AuditLevel, Cluster, ClusterOptions, KubernetesRole, Testbed, unique, wait_until};
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);

async fn shared() -> &'static Cluster {
    Testbed::connect_or_start().unwrap().cluster().await.unwrap()
}

/// A ConfigMap with one value, in a namespace of its own.
async fn config_map(cluster: &Cluster, namespace: &str, name: &str, value: &str) -> Value {
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": value}});
    cluster.call("POST", &format!("/api/v1/namespaces/{namespace}/configmaps"), Some(&body)).await.unwrap()
}

async fn status(cluster: &Cluster, path: &str) -> u16 {
    cluster.request("GET", path, None).await.unwrap().0
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn a_service_account_may_do_what_its_role_says() {
    let cluster = shared().await;
    let namespace = cluster.namespace("team").await.unwrap();
    let kubeconfig = cluster.kubeconfig_for(&namespace, "reader").await.unwrap();
    let refused = cluster.kubectl_as(&kubeconfig, &["get", "configmaps"], b"").await.unwrap();
    assert!(!refused.success && refused.stderr.contains("Forbidden"), "{refused:?}");
    cluster.kubectl(&["-n", &namespace, "create", "role", "r", "--verb=list", "--resource=configmaps"]).await.unwrap();
    let binding = ["create", "rolebinding", "r", "--role=r", &format!("--serviceaccount={namespace}:reader")];
    cluster.kubectl(&[&["-n", &namespace][..], &binding].concat()).await.unwrap();
    wait_until("the role to count", MINUTE, async || {
        let listed = cluster.kubectl_as(&kubeconfig, &["get", "configmaps"], b"").await.unwrap();
        listed.success.then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn openbao_lets_in_whom_the_cluster_vouches_for() {
    let (cluster, bao) = (shared().await, Testbed::connect_or_start().unwrap().bao().await.unwrap());
    let (namespace, mount) = (cluster.namespace("team").await.unwrap(), unique("kubernetes"));
    cluster.trust_from(bao, &mount).await.unwrap();
    let role = KubernetesRole {
        namespace: &namespace,
        service_account: "sender",
        audience: "vault",
        policies: &["default"],
        ttl: "10m",
    };
    cluster.kubernetes_role(bao, &mount, "team", &role).await.unwrap();
    let login = async |service_account: &str, audience: &str| {
        cluster.service_account(&namespace, service_account).await.unwrap();
        let jwt = cluster.token(&namespace, service_account, audience, 600).await.unwrap();
        let body = json!({"role": "team", "jwt": jwt});
        bao.request_as("", "POST", &format!("auth/{mount}/login"), Some(&body)).await.unwrap()
    };
    let (code, answer) = login("sender", "vault").await;
    assert_eq!((code, &answer["auth"]["lease_duration"]), (200, &json!(600)), "{answer}");
    let (code, answer) = login("stranger", "vault").await;
    assert_eq!(code, 403);
    assert!(answer["errors"][0].as_str().unwrap().contains("service account name not authorized"), "{answer}");
    assert_eq!(login("sender", "elsewhere").await.0, 403);
    cluster.trust_from(bao, &unique("kubernetes")).await.unwrap(); // a second mount of the same cluster
}

#[tokio::test]
async fn our_crds_can_be_applied_again_and_again() {
    let cluster = shared().await;
    for _ in 0..2 {
        cluster.install_crds().await.unwrap();
    }
    let listed = cluster.kubectl(&["get", "crd", "-o", "name"]).await.unwrap();
    assert!(listed.contains("secretdeliveries.passwordsender.io"), "{listed}");
}

#[tokio::test]
async fn namespaces_end_and_owned_objects_are_collected() {
    let cluster = shared().await;
    let namespace = cluster.namespace("gone").await.unwrap();
    let owner = config_map(cluster, &namespace, "owner", "1").await;
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]});
    let owned = json!({"metadata": {"name": "owned", "ownerReferences": [owner]}});
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    cluster.call("POST", &path, Some(&owned)).await.unwrap();
    cluster.call("DELETE", &format!("{path}/owner"), None).await.unwrap();
    let owned = format!("{path}/owned");
    let collected = async || (status(cluster, &owned).await == 404).then_some(());
    wait_until("the garbage collector", MINUTE, collected).await.unwrap();

    let place = format!("/api/v1/namespaces/{namespace}");
    cluster.call("DELETE", &place, None).await.unwrap();
    wait_until("the namespace to end", MINUTE, async || (status(cluster, &place).await == 404).then_some(()))
        .await
        .unwrap();
}

#[tokio::test]
async fn admission_policies_refuse() {
    let cluster = shared().await;
    let namespace = cluster.namespace("policy").await.unwrap();
    let policy = format!(
        "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {namespace}}}
spec:
  matchConstraints:
    resourceRules: [{{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}}]
    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}
  validations: [{{expression: \"object.data.key != 'bad'\", message: not this one}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {namespace}}}
spec: {{policyName: {namespace}, validationActions: [Deny]}}
"
    );
    cluster.apply(&policy).await.unwrap();
    let path = format!("/api/v1/namespaces/{namespace}/configmaps?dryRun=All");
    let answer = wait_until("the policy to count", MINUTE, async || {
        let bad = json!({"metadata": {"name": "x"}, "data": {"key": "bad"}});
        let (code, answer) = cluster.request("POST", &path, Some(&bad)).await.unwrap();
        (code == 422).then_some(answer)
    });
    assert!(answer.await.unwrap()["message"].as_str().unwrap().contains("not this one"));
    config_map(cluster, &namespace, "x", "good").await;
}

#[tokio::test]
async fn the_audit_log_counts_requests() {
    let cluster = shared().await;
    let namespace = cluster.namespace("audit").await.unwrap();
    config_map(cluster, &namespace, "a", "1").await;
    cluster.service_account(&namespace, "nobody").await.unwrap();
    let token = cluster.token(&namespace, "nobody", "", 600).await.unwrap();
    let path = format!("/api/v1/namespaces/{namespace}/configmaps/a");
    assert_eq!(cluster.request_as(&token, "GET", &path, None).await.unwrap().0, 403);
    let mut ours = wait_until("the lines of both requests", MINUTE, async || {
        let events = cluster.audit_events().unwrap().into_iter();
        let ours: Vec<_> = events.filter(|event| event.namespace == namespace && event.name == "a").collect();
        (ours.len() == 2).then_some(ours)
    })
    .await
    .unwrap();
    ours.sort_by_key(|event| event.code);
    assert_eq!((ours[0].verb.as_str(), ours[0].user.as_str(), ours[0].code), ("create", "admin", 201));
    let nobody = format!("system:serviceaccount:{namespace}:nobody");
    assert_eq!((ours[1].verb.as_str(), &ours[1].user, ours[1].code), ("get", &nobody, 403));
    assert!(ours.iter().all(|event| event.resource == "configmaps" && event.stage == "ResponseComplete"));
}

#[tokio::test]
async fn helm_installs_a_chart() {
    let cluster = shared().await;
    let namespace = cluster.namespace("helm").await.unwrap();
    let chart = cluster.folder().join(&namespace);
    std::fs::create_dir_all(chart.join("templates")).unwrap();
    std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: small\nversion: 0.1.0\nkubeVersion: '>=1.33'\n")
        .unwrap();
    let template =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-helm}\ndata: {release: {{ .Release.Name }}}\n";
    std::fs::write(chart.join("templates/map.yaml"), template).unwrap();
    cluster.helm(&["install", "one", &chart.display().to_string(), "-n", &namespace]).await.unwrap();
    let get = ["-n", &namespace, "get", "configmap", "from-helm", "-o", "jsonpath={.data.release}"];
    assert_eq!(cluster.kubectl(&get).await.unwrap(), "one");
}

#[tokio::test]
async fn etcd_forgets_what_is_compacted_and_goes_back_to_a_snapshot() {
    let options = ClusterOptions { audit: AuditLevel::RequestResponse, fsync: true, ..ClusterOptions::default() };
    let cluster = Cluster::start(options).await.unwrap();
    let namespace = cluster.namespace("team").await.unwrap();
    let canary = unique("canary");
    let path = format!("/api/v1/namespaces/{namespace}/secrets");
    let secret = json!({"metadata": {"name": "x"}, "stringData": {"key": canary}});
    cluster.call("POST", &path, Some(&secret)).await.unwrap();
    let in_base64 = STANDARD.encode(&canary);
    let audited = async || contains(&std::fs::read(cluster.audit_log()).unwrap(), &in_base64).then_some(());
    wait_until("the object in the audit log", MINUTE, audited).await.unwrap();
    cluster.call("DELETE", &format!("{path}/x"), None).await.unwrap();
    let kept = async || contains(&cluster.etcd_raw_bytes().unwrap(), &canary).then_some(());
    wait_until("the deleted value in the database file", MINUTE, kept).await.unwrap();
    cluster.etcd_compact_and_defrag().await.unwrap();
    assert!(!contains(&cluster.etcd_raw_bytes().unwrap(), &canary), "compacted");
    assert!(contains(&cluster.etcd_wal_bytes().unwrap(), &canary), "the log still has it");

    config_map(&cluster, &namespace, "old", "1").await;
    let kubeconfig = cluster.kubeconfig_for(&namespace, "before").await.unwrap();
    let (revision, snapshot) = (cluster.etcd_revision().await.unwrap(), cluster.folder().join("snapshot"));
    cluster.etcd_snapshot(&snapshot).await.unwrap();
    let old = format!("/api/v1/namespaces/{namespace}/configmaps/old");
    cluster.call("DELETE", &old, None).await.unwrap();
    for number in 0..30 {
        config_map(&cluster, &namespace, &format!("new{number}"), "1").await; // more than a start writes
    }
    let later = cluster.etcd_revision().await.unwrap();
    cluster.etcd_restore(&snapshot).await.unwrap();
    assert_eq!(status(&cluster, &old).await, 200);
    assert_eq!(status(&cluster, &format!("/api/v1/namespaces/{namespace}/configmaps/new0")).await, 404);
    let now = cluster.etcd_revision().await.unwrap();
    assert!((revision..later).contains(&now), "{revision}..{later}: {now}");
    let me = cluster.kubectl_as(&kubeconfig, &["auth", "whoami"], b"").await.unwrap();
    assert!(me.stdout.contains(&format!("system:serviceaccount:{namespace}:before")), "{me:?}");
    let place = format!("/api/v1/namespaces/{namespace}");
    cluster.call("DELETE", &place, None).await.unwrap();
    wait_until("the controllers to be back", MINUTE, async || (status(&cluster, &place).await == 404).then_some(()))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_api_server_can_be_stopped_and_frozen() {
    let options = ClusterOptions {
        controller_manager: false,
        api_server_arguments: vec!["--max-requests-inflight=50".to_owned()],
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(options).await.unwrap();
    let namespace = cluster.namespace("team").await.unwrap();
    let path = format!("/api/v1/namespaces/{namespace}");
    let late = async || tokio::time::timeout(Duration::from_millis(300), cluster.request("GET", &path, None)).await;

    cluster.freeze_api_server(true).unwrap();
    assert!(late().await.is_err(), "a frozen server answers nothing");
    cluster.freeze_api_server(false).unwrap();
    assert_eq!(status(&cluster, &path).await, 200);

    cluster.freeze_etcd(true).unwrap();
    let body = json!({"metadata": {"name": "x"}});
    let config_maps = format!("{path}/configmaps");
    let write = cluster.request("POST", &config_maps, Some(&body));
    assert!(tokio::time::timeout(Duration::from_millis(300), write).await.is_err(), "nothing is written");
    cluster.freeze_etcd(false).unwrap();
    assert_eq!(status(&cluster, &path).await, 200);

    cluster.stop_api_server().unwrap();
    assert!(cluster.request("GET", &path, None).await.is_err());
    cluster.start_api_server().await.unwrap();
    assert_eq!(status(&cluster, &path).await, 200);
    let folder = cluster.folder().to_owned();
    drop(cluster);
    assert!(!folder.exists(), "its data goes with it");
}

#[tokio::test]
async fn what_is_applied_is_applied_as_kubectl_does_and_refused_as_it_is() {
    let cluster = shared().await;
    let namespace = cluster.namespace("applied").await.unwrap();
    let map = |data: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: one, namespace: {namespace}}}\ndata: {{{data}}}\n")
    };
    cluster.apply(&format!("---\n{}---\n", map("a: x, b: y"))).await.unwrap();
    // What is left out is taken back, and nobody's conflict stands in the way.
    let path = format!("/api/v1/namespaces/{namespace}/configmaps/one");
    let other = json!({"data": {"a": "theirs", "c": "z"}});
    cluster.call("PATCH", &path, Some(&other)).await.unwrap();
    cluster.apply(&json!({"kind": "List", "items": [serde_json::Value::Null]}).to_string()).await.unwrap_err();
    cluster.apply(&map("a: mine")).await.unwrap();
    let seen = cluster.call("GET", &path, None).await.unwrap();
    assert_eq!(seen["data"], json!({"a": "mine", "c": "z"}));
    assert_eq!(seen["metadata"]["managedFields"][0]["operation"], "Apply");

    for (refused, why) in [
        (map("a: mine").replace("data:", "dota:"), "dota"),
        (map("a: mine").replace("ConfigMap", "NoSuchKind"), "no NoSuchKind in v1"),
        (map("a: mine").replace("name: one, ", ""), "/metadata/name"),
        ("[1, 2".to_owned(), "not YAML"),
    ] {
        let error = format!("{:#}", cluster.apply(&refused).await.unwrap_err());
        assert!(error.contains(why), "{error}");
    }
}
