//! A delivery can name nothing of another namespace, and no Secret that is not marked as usable: every field that refers to
//! something is tried.

use ps_testbed::{KubernetesRole, OpenBao, Testbed, unique, wait_until};
use serde_json::{Value, json};

use crate::stand::{Setup, Stand, name};
use crate::support::{KvSource, SOON, kv_delivery};

/// A tenant that tries, and another one with everything that it would like to have.
struct Scene {
    bao: &'static OpenBao,
    stand: Stand,
    source: KvSource,
    theirs: String,
    /// A ClusterVaultConnection that both may use.
    both: String,
    /// One for the other tenant alone.
    foreign: String,
    /// One that both may use, to another server.
    elsewhere: String,
}

/// Something that is tried: a name, the reason of `Stalled`, and what the message must say.
type Expected = Vec<(String, &'static str, String)>;

impl Scene {
    async fn new() -> Self {
        let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
        let (source, theirs) = (KvSource::new(bao).await, name("theirs"));
        let stand = Stand::start(Setup { also: vec![theirs.clone()], ..Setup::default() }).await;
        stand.new_tenant(&theirs).await;
        stand.connect(bao, &source.policy()).await;
        // The other tenant's own connection is named as nobody else's is.
        stand.connect_as(bao, bao.address(), &theirs, &source.policy(), json!({})).await;
        let [both, foreign, elsewhere] = ["both", "foreign", "elsewhere"].map(name);
        let scene = Self { bao, stand, source, theirs, both, foreign, elsewhere };
        let (ours, theirs) = (scene.stand.tenant.clone(), scene.theirs.clone());
        scene.connection(&theirs, "theirs", scene.own_account()).await;
        scene.account(&theirs, "robot").await;
        scene.secret(&theirs, "passphrase", true).await;
        scene.cluster_connection(&scene.both, scene.own_account(), &[&ours, &theirs], json!({})).await;
        scene.cluster_connection(&scene.foreign, scene.own_account(), &[&theirs], json!({})).await;
        let address = json!({"address": "http://127.0.0.1:1"});
        scene.cluster_connection(&scene.elsewhere, scene.own_account(), &[&ours, &theirs], address).await;
        scene
    }

    fn kubernetes(&self, role: &str, account: &str) -> Value {
        json!({"kubernetes": {"mount": self.stand.auth, "role": role, "audience": "vault", "serviceAccountRef": {"name": account}}})
    }

    /// As the tenant's own account.
    fn own_account(&self) -> Value {
        self.kubernetes(&self.stand.tenant, "password-sender")
    }

    async fn put(&self, kind: &str, meta: Value, spec: Value) {
        let object = json!({"apiVersion": "passwordsender.io/v1alpha1", "kind": kind, "metadata": meta, "spec": spec});
        self.stand.cluster.apply(&object.to_string()).await.unwrap();
    }

    async fn connection(&self, namespace: &str, name: &str, auth: Value) {
        self.connection_with(namespace, name, auth, json!({})).await;
    }

    async fn connection_with(&self, namespace: &str, name: &str, auth: Value, more: Value) {
        let mut spec = json!({"address": self.bao.address(), "timeout": "5s", "auth": auth});
        spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        self.put("VaultConnection", json!({"name": name, "namespace": namespace}), spec).await;
    }

    async fn cluster_connection(&self, name: &str, auth: Value, namespaces: &[&str], more: Value) {
        let mut spec = json!({"address": self.bao.address(), "timeout": "5s", "auth": auth, "namespaces": namespaces});
        spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        self.put("ClusterVaultConnection", json!({"name": name}), spec).await;
    }

    async fn account(&self, namespace: &str, name: &str) {
        self.stand.cluster.service_account(namespace, name).await.unwrap();
    }

    async fn secret(&self, namespace: &str, name: &str, usable: bool) {
        let labels = if usable { json!({"passwordsender.io/usable": "true"}) } else { json!({}) };
        let token = self.bao.token(&["root"], &ps_testbed::TokenOptions::default()).await.unwrap().token;
        let object = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"value": token},
            "metadata": {"name": name, "namespace": namespace, "labels": labels}});
        self.stand.cluster.apply(&object.to_string()).await.unwrap();
    }

    fn delivery(&self, name: &str, more: Value) -> String {
        let to = format!("{name}-{}@v.example", self.stand.tenant);
        kv_delivery(name, &to, &self.source, "1h", "1h", more)
    }

    /// Through a connection.
    fn through(&self, name: &str, reference: Value) -> String {
        self.delivery(name, json!({"source": {"vault": {"connectionRef": reference}}}))
    }

    /// A connection of the tenant under the delivery's own name, and the delivery.
    async fn by(&self, name: &str, auth: Value, more: Value) {
        self.connection_with(&self.stand.tenant, name, auth, more).await;
        self.stand.apply(&self.through(name, json!({"name": name}))).await;
    }

    async fn assert_refused(&self, expected: Expected) {
        for (name, reason, words) in &expected {
            // Its connection was made a moment before it, and may be seen a moment after it.
            let refused = |s: &crate::support::Seen| s.stalled() == Some(*reason);
            let seen = self.stand.wait_status(name, &format!("the refusal, {reason}"), SOON, refused).await;
            let (_, _, said) = seen.condition("Stalled");
            assert!(said.contains(words), "{name}: {said}");
        }
        // What may be named is delivered, and nothing else is.
        self.stand.apply(&self.through("good", json!({"name": self.both, "kind": "ClusterVaultConnection"}))).await;
        self.stand.wait_status("good", "delivered", SOON, |s| s.is("Delivered")).await;
        for (name, ..) in &expected {
            let to = format!("{name}-{}@v.example", self.stand.tenant);
            assert_eq!(self.stand.mails(&to, 0, SOON).await.len(), 0, "{name}");
        }
    }

    /// Whatever was tried, the operator asked for nothing in the other tenant's namespace.
    async fn assert_nothing_asked_of_them(&self) {
        let operator = format!("system:serviceaccount:{}:password-sender-operator", self.stand.names.own);
        let ours = async || {
            let events = self.stand.cluster.audit_events().unwrap();
            let mine: Vec<_> = events.into_iter().filter(|event| event.user == operator).collect();
            let logged_in = |e: &ps_testbed::AuditEvent| e.subresource == "token" && e.namespace == self.stand.tenant;
            mine.iter().any(logged_in).then_some(mine)
        };
        let mine = wait_until("our own requests", SOON, ours).await.unwrap();
        let secret = |e: &&ps_testbed::AuditEvent| e.resource == "secrets" || e.resource == "serviceaccounts";
        let there: Vec<_> = mine.iter().filter(secret).filter(|e| e.namespace == self.theirs).collect();
        assert!(there.is_empty(), "{there:#?}");
    }
}

#[tokio::test]
async fn connections_and_accounts_of_others_cannot_be_named() {
    let scene = Scene::new().await;
    let stand = &scene.stand;
    let cluster = |name: &str| json!({"name": name, "kind": "ClusterVaultConnection"});
    stand.apply(&scene.through("their-connection", json!({"name": "theirs"}))).await;
    stand.apply(&scene.through("as-cluster-wide", cluster("theirs"))).await;
    stand.apply(&scene.through("not-listed", cluster(&scene.foreign))).await;
    // An account that only they have; one that the operator may not ask for; the role that Vault bound to theirs.
    scene.by("their-account", scene.kubernetes(&scene.theirs, "robot"), json!({})).await;
    scene.by("their-role", scene.kubernetes(&scene.theirs, "password-sender"), json!({})).await;
    scene.by("their-cleaner", scene.own_account(), json!({"cleanupConnectionRef": {"name": scene.foreign}})).await;
    scene.by("no-cleaner", scene.own_account(), json!({"cleanupConnectionRef": {"name": "theirs"}})).await;
    scene
        .by("cleaner-elsewhere", scene.own_account(), json!({"cleanupConnectionRef": {"name": scene.elsewhere}}))
        .await;
    let shared = name("shared");
    let cleaned = json!({"cleanupConnectionRef": {"name": scene.foreign}});
    scene.cluster_connection(&shared, scene.own_account(), &[&stand.tenant], cleaned).await;
    stand.apply(&scene.through("shared-cleaner", cluster(&shared))).await;
    let text = str::to_owned;
    let not_allowed = format!("namespace {} may not use ClusterVaultConnection {}", stand.tenant, scene.foreign);
    scene
        .assert_refused(vec![
            (
                text("their-connection"),
                "NoSuchConnection",
                format!("no VaultConnection theirs in namespace {}", stand.tenant),
            ),
            (text("as-cluster-wide"), "NoSuchConnection", text("no ClusterVaultConnection theirs")),
            (text("not-listed"), "ConnectionNotAllowed", not_allowed.clone()),
            (text("their-account"), "TokenForbidden", format!("{}/robot", stand.tenant)),
            (text("their-role"), "VaultLoginDenied", format!("{}/password-sender", stand.tenant)),
            (text("their-cleaner"), "ConnectionNotAllowed", format!("spec.cleanupConnectionRef.name: {not_allowed}")),
            (text("no-cleaner"), "NoSuchConnection", text("spec.cleanupConnectionRef.name: ")),
            (text("cleaner-elsewhere"), "CleanupElsewhere", text("another server")),
            (text("shared-cleaner"), "ConnectionNotAllowed", format!("spec.cleanupConnectionRef.name: {not_allowed}")),
        ])
        .await;
    scene.assert_nothing_asked_of_them().await;

    // Listed as one that may use it, the clean-up connection is no obstacle any more.
    let ours = [stand.tenant.as_str(), &scene.theirs];
    scene.cluster_connection(&scene.foreign, scene.own_account(), &ours, json!({})).await;
    for name in ["not-listed", "their-cleaner", "shared-cleaner"] {
        stand.wait_status(name, "delivered", SOON, |s| s.is("Delivered")).await;
    }
}

#[tokio::test]
async fn an_account_without_a_role_in_vault_does_not_log_in_by_a_shared_connection() {
    let scene = Scene::new().await;
    let stand = &scene.stand;
    // A role of Vault that is bound to their account, behind a connection that both may use.
    let shared = name("shared");
    let role = KubernetesRole {
        namespace: &scene.theirs,
        service_account: "password-sender",
        audience: "vault",
        policies: &["root"],
        ttl: "1h",
    };
    stand.cluster.kubernetes_role(scene.bao, &stand.auth, &shared, &role).await.unwrap();
    let auth = scene.kubernetes(&shared, "password-sender");
    scene.cluster_connection(&shared, auth, &[&stand.tenant, &scene.theirs], json!({})).await;
    stand.apply(&scene.through("their-login", json!({"name": shared, "kind": "ClusterVaultConnection"}))).await;
    let words = format!("service account {}/password-sender", stand.tenant);
    scene.assert_refused(vec![("their-login".into(), "VaultLoginDenied", words)]).await;
    scene.assert_nothing_asked_of_them().await;
}

#[tokio::test]
async fn only_marked_secrets_of_its_own_namespace_can_be_named() {
    let scene = Scene::new().await;
    let stand = &scene.stand;
    let secret = |name: &str| json!({"name": name, "key": "value"});
    let passphrase = |name: &str| json!({"verification": {"passphrase": {"secretKeyRef": secret(name)}}});
    let token = |name: &str| json!({"token": {"secretKeyRef": secret(name)}});
    let app_role = |name: &str| json!({"appRole": {"roleId": "r", "secretIdRef": secret(name)}});
    // The other tenant has one of that name. So has the operator's own namespace.
    scene.secret(&stand.names.own, "passphrase", false).await;
    stand.apply(&scene.delivery("passphrase-of-others", passphrase("passphrase"))).await;
    scene.by("token-of-others", token("passphrase"), json!({})).await;
    scene.by("secret-id-of-others", app_role("passphrase"), json!({})).await;
    // One of its own that no Role names, however it is marked.
    scene.secret(&stand.tenant, "private", true).await;
    stand.apply(&scene.delivery("passphrase-without-role", passphrase("private"))).await;
    scene.by("token-without-role", token("private"), json!({})).await;
    scene.by("secret-id-without-role", app_role("private"), json!({})).await;
    // A cluster-wide connection's Secret lies in the operator's namespace, and must be marked too.
    let shared = name("shared");
    scene.cluster_connection(&shared, token("passphrase"), &[&stand.tenant], json!({})).await;
    stand.apply(&scene.through("operators-own", json!({"name": shared, "kind": "ClusterVaultConnection"}))).await;
    let [unmarked, foreign] = ["unmarked", "of-tenants"].map(name);
    scene.cluster_connection(&unmarked, app_role("passphrase"), &[&stand.tenant], json!({})).await;
    stand
        .apply(&scene.through("operators-secret-id", json!({"name": unmarked, "kind": "ClusterVaultConnection"})))
        .await;
    // Both tenants have one of this name, marked; it is not looked for there.
    scene.secret(&scene.theirs, "private", true).await;
    scene.cluster_connection(&foreign, app_role("private"), &[&stand.tenant], json!({})).await;
    stand.apply(&scene.through("tenants-secret-id", json!({"name": foreign, "kind": "ClusterVaultConnection"}))).await;
    let (place, private) = (format!("{}/passphrase", stand.tenant), format!("{}/private", stand.tenant));
    let mut expected: Expected = Vec::new();
    for kind in ["passphrase", "token", "secret-id"] {
        expected.push((
            format!("{kind}-of-others"),
            "SecretUnavailable",
            format!("{place}, key value, does not exist"),
        ));
        expected.push((format!("{kind}-without-role"), "SecretForbidden", private.clone()));
    }
    for kind in ["operators-own", "operators-secret-id"] {
        expected.push((kind.into(), "SecretNotUsable", format!("{}/passphrase", stand.names.own)));
    }
    let nowhere = format!("{}/private, key value, does not exist", stand.names.own);
    expected.push(("tenants-secret-id".into(), "SecretUnavailable", nowhere));
    scene.assert_refused(expected).await;
    scene.assert_nothing_asked_of_them().await;

    // One of its own, in its Role, that is not marked; then marked.
    scene.secret(&stand.tenant, "passphrase", false).await;
    stand.apply(&scene.delivery("passphrase-unmarked", passphrase("passphrase"))).await;
    scene.by("token-unmarked", token("passphrase"), json!({})).await;
    scene.by("secret-id-unmarked", app_role("passphrase"), json!({})).await;
    let unmarked = |name: &str| {
        (name.to_owned(), "SecretNotUsable", format!("kubectl label secret -n {} passphrase", stand.tenant))
    };
    scene.assert_refused(["passphrase-unmarked", "token-unmarked", "secret-id-unmarked"].map(unmarked).into()).await;
    scene.secret(&stand.tenant, "passphrase", true).await;
    stand.apply(&scene.delivery("passphrase-marked", passphrase("passphrase"))).await;
    scene.by("token-marked", token("passphrase"), json!({})).await;
    for name in ["passphrase-marked", "token-marked"] {
        stand.wait_status(name, "delivered", SOON, |s| s.is("Delivered")).await;
    }
}

#[tokio::test]
async fn names_with_a_namespace_in_them_are_refused_at_apply() {
    let scene = Scene::new().await;
    let foreign = format!("{}/theirs", scene.theirs);
    let secret = json!({"name": foreign, "key": "value"});
    let namespaced = json!({"name": "vault", "namespace": scene.theirs});
    let mut objects: Vec<(String, &str)> = [
        (json!({"source": {"vault": {"connectionRef": {"name": foreign}}}}), "connectionRef"),
        (
            json!({"source": {"vault": {"connectionRef": {"name": foreign, "kind": "ClusterVaultConnection"}}}}),
            "connectionRef",
        ),
        (json!({"source": {"vault": {"connectionRef": namespaced}}}), "namespace"),
        (json!({"verification": {"passphrase": {"secretKeyRef": secret}}}), "secretKeyRef"),
    ]
    .into_iter()
    .map(|(more, words)| (scene.stand.in_tenant(&scene.delivery("bad", more)), words))
    .collect();
    let auths = [
        (json!({"token": {"secretKeyRef": secret}}), "secretKeyRef"),
        (json!({"appRole": {"roleId": "r", "secretIdRef": secret}}), "secretIdRef"),
        (scene.kubernetes("r", &foreign), "serviceAccountRef"),
    ];
    for (auth, words) in auths {
        for kind in ["VaultConnection", "ClusterVaultConnection"] {
            let spec = json!({"address": scene.bao.address(), "auth": auth});
            let object = json!({"apiVersion": "passwordsender.io/v1alpha1", "kind": kind, "spec": spec,
                "metadata": {"name": "bad", "namespace": scene.stand.tenant}});
            objects.push((object.to_string(), words));
        }
    }
    let cleaner = json!({"apiVersion": "passwordsender.io/v1alpha1", "kind": "VaultConnection",
        "metadata": {"name": unique("bad").replace('_', "-"), "namespace": scene.stand.tenant},
        "spec": {"address": scene.bao.address(), "auth": scene.own_account(), "cleanupConnectionRef": {"name": foreign}}});
    objects.push((cleaner.to_string(), "cleanupConnectionRef"));
    let cluster = scene.stand.cluster;
    for (object, words) in objects {
        let words_of_kubectl = ["apply", "--server-side", "-f", "-"];
        let done = cluster.kubectl_as(&cluster.admin_kubeconfig(), &words_of_kubectl, object.as_bytes()).await.unwrap();
        assert!(!done.success && done.stderr.contains(words), "{object}\n{}{}", done.stdout, done.stderr);
    }
}
