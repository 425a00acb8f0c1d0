//! Secrets, service accounts and connections of a tenant: what may be had, and what the refusals say.

use ps_core::delivery::{ConnectionRef, SecretKeyRef};
use ps_core::error::{Class, Fault};
use ps_core::ports::Connections as _;
use ps_testbed::{Cluster, wait_until};
use serde_json::{Value, json};

use crate::stand::{LONG, Stand, merge, shared};

fn expect<T>(answer: Result<T, Fault>, class: Class, code: &str) -> Fault {
    let fault = answer.err().unwrap_or_else(|| panic!("{code} was expected"));
    assert_eq!((fault.class, fault.code.as_str()), (class, code), "{fault}");
    assert!(!fault.remedy.is_empty(), "{fault}");
    fault
}

/// Grants the operator a Role in a namespace, exactly as a remedy says.
async fn grant(stand: &Stand<'_>, namespace: &str, name: &str, resource: &str, resource_name: &str, verb: &str) {
    let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name},
        "rules": [{"apiGroups": [""], "resources": [resource], "resourceNames": [resource_name], "verbs": [verb]}],
    });
    stand.cluster.call("POST", &format!("{path}/roles"), Some(&role)).await.unwrap();
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "namespace": stand.operator, "name": "operator"}],
    });
    stand.cluster.call("POST", &format!("{path}/rolebindings"), Some(&binding)).await.unwrap();
}

async fn secret(cluster: &Cluster, namespace: &str, name: &str, extra: &Value) {
    let mut object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"token": "hvs.s3cret\n"}});
    merge(&mut object, extra);
    cluster.call("POST", &format!("/api/v1/namespaces/{namespace}/secrets"), Some(&object)).await.unwrap();
}

#[tokio::test]
async fn a_secret_needs_a_role_that_names_it_and_a_label() {
    let stand = Stand::new(shared().await).await;
    let (source, tenant) = (&stand.source, stand.tenant.as_str());
    let key = |name: &str, key: &str| SecretKeyRef { name: name.into(), key: key.into() };
    secret(stand.cluster, tenant, "vault", &json!({})).await;
    secret(stand.cluster, tenant, "other", &json!({"metadata": {"labels": {"passwordsender.io/usable": "true"}}}))
        .await;
    let fault = expect(source.secret(tenant, &key("vault", "token")).await, Class::Denied, "secret-forbidden");
    for word in [format!("namespace {tenant}"), "resourceNames [vault]".into(), "verbs [get]".into()] {
        assert!(fault.remedy.contains(&word), "{fault}");
    }
    grant(&stand, tenant, "read-vault", "secrets", "vault", "get").await;
    let unlabelled = async || {
        let fault = source.secret(tenant, &key("vault", "token")).await.err()?;
        (fault.code != "secret-forbidden").then_some(fault)
    };
    let fault = wait_until("the Role to be known", LONG, unlabelled).await.unwrap();
    let fault = expect(Err::<(), _>(fault), Class::Misconfigured, "secret-not-usable");
    // The remedy is a command: run it.
    let command: Vec<&str> = fault.remedy.strip_prefix("Run: kubectl ").unwrap().split(' ').collect();
    stand.cluster.kubectl(&command).await.unwrap();
    assert_eq!(source.secret(tenant, &key("vault", "token")).await.unwrap().expose(), "hvs.s3cret");
    expect(source.secret(tenant, &key("vault", "nothing")).await, Class::Misconfigured, "secret-unavailable");
    expect(source.secret(tenant, &key("other", "token")).await, Class::Denied, "secret-forbidden");
    // Of another namespace, nothing.
    expect(source.secret(&stand.operator, &key("vault", "token")).await, Class::Denied, "secret-forbidden");
    let path = format!("/api/v1/namespaces/{tenant}/secrets/vault");
    stand.cluster.call("DELETE", &path, None).await.unwrap();
    expect(source.secret(tenant, &key("vault", "token")).await, Class::Misconfigured, "secret-unavailable");
    assert_eq!(stand.requests(|e| e.resource == "secrets" && e.verb != "get"), 0, "never listed, never watched");
}

#[tokio::test]
async fn a_token_is_for_one_audience_and_never_for_the_api_server() {
    let stand = Stand::new(shared().await).await;
    let (source, tenant) = (&stand.source, stand.tenant.as_str());
    stand.cluster.service_account(tenant, "sender").await.unwrap();
    let fault = expect(source.service_account_token(tenant, "sender", "vault").await, Class::Denied, "token-forbidden");
    assert!(
        fault.remedy.contains("serviceaccounts/token") && fault.remedy.contains("resourceNames [sender]"),
        "{fault}"
    );
    grant(&stand, tenant, "sender-token", "serviceaccounts/token", "sender", "create").await;
    grant(&stand, tenant, "nobody-token", "serviceaccounts/token", "nobody", "create").await;
    let token = wait_until("the Role to be known", LONG, async || {
        source.service_account_token(tenant, "sender", "vault").await.ok()
    });
    let token = token.await.unwrap();
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": token.expose(), "audiences": ["vault"]}});
    let review =
        stand.cluster.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", Some(&review)).await.unwrap();
    assert_eq!(review["status"]["authenticated"], true);
    assert_eq!(review["status"]["user"]["username"], format!("system:serviceaccount:{tenant}:sender"));
    let (status, _) = stand.cluster.request_as(token.expose(), "GET", "/api/v1/namespaces", None).await.unwrap();
    assert_eq!(status, 401, "the API server itself does not take it");
    let asked = stand.requests(|e| e.subresource == "token");
    let issuer = stand.cluster.server().to_owned();
    for audience in ["", " ", "https://kubernetes.default.svc", "https://kubernetes.default.svc.cluster.local", &issuer]
    {
        expect(
            source.service_account_token(tenant, "sender", audience).await,
            Class::Misconfigured,
            "audience-refused",
        );
    }
    let fault = source.service_account_token(tenant, "nobody", "vault").await;
    let fault = expect(fault, Class::Misconfigured, "no-such-service-account");
    assert!(fault.remedy.contains(&format!("-n {tenant} nobody")), "{fault}");
    expect(source.service_account_token(&stand.operator, "sender", "vault").await, Class::Denied, "token-forbidden");
    let after = stand.requests_until(asked + 2, |e| e.subresource == "token").await;
    assert_eq!(after, asked + 2, "what is refused is not even asked for");
}

#[tokio::test]
async fn connections_of_both_kinds_follow_their_objects_and_their_namespaces() {
    let stand = Stand::new(shared().await).await;
    let (source, tenant) = (&stand.source, stand.tenant.as_str());
    stand.deliver("a", &json!({})).await;
    stand.seen("a", "the delivery", |_| true).await;
    let own = ConnectionRef::namespaced(tenant, "prod");
    let fault = expect(source.resolve(&own).await, Class::Misconfigured, "no-such-connection");
    assert_eq!(fault.field.as_deref(), Some("spec.source.vault.connectionRef.name"));
    stand.settle().await;
    let server = json!({"address": "https://vault.example.com:8200", "auth": {"kubernetes":
        {"role": "r", "audience": "vault", "serviceAccountRef": {"name": "sender"}}}});
    let object = |kind: &str, name: &str, spec: &Value| json!({"apiVersion": "passwordsender.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let mut mine = object("VaultConnection", "prod", &server);
    mine["metadata"]["namespace"] = json!(tenant);
    stand.cluster.apply(&mine.to_string()).await.unwrap();
    stand.dirty("a").await;
    assert_eq!(source.resolve(&own).await.unwrap().secrets_in, tenant);
    // A cluster-wide one, for those with a label.
    let name = tenant.replace("tenant", "shared");
    let mut all = server.clone();
    all["namespaceSelector"] = json!({"matchLabels": {"vault": name}});
    stand.cluster.apply(&object("ClusterVaultConnection", &name, &all).to_string()).await.unwrap();
    let cluster = ConnectionRef::cluster(tenant, &name);
    let refused = async || source.resolve(&cluster).await.err().filter(|f| f.code == "connection-not-allowed");
    wait_until("the refusal", LONG, refused).await.unwrap();
    stand.cluster.kubectl(&["label", "namespace", tenant, &format!("vault={name}")]).await.unwrap();
    stand.dirty("a").await;
    assert_eq!(source.resolve(&cluster).await.unwrap().secrets_in, stand.operator);
    stand.cluster.kubectl(&["delete", "vaultconnection", "-n", tenant, "prod"]).await.unwrap();
    stand.dirty("a").await;
    expect(source.resolve(&own).await, Class::Misconfigured, "no-such-connection");
    stand.cluster.kubectl(&["delete", "clustervaultconnection", &name]).await.unwrap();
}
