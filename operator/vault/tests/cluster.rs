//! Logging in as service accounts of a real Kubernetes API on a real OpenBao, and cleaning up without reading.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a panic in a test is its failure report"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ps_core::delivery::{ConnectionRef, DeliveredVersion, SecretKeyRef, Strategy};
use ps_core::error::{Class, Fault};
use ps_core::ports::{Auth, Connection, Connections, Vault};
use ps_core::rotation::{Scope, Step, Verdict};
use ps_core::secret::SecretString;
use ps_core::time::Span;
use ps_testbed::{Cluster, KubernetesRole, OpenBao, Testbed, unique, wait_until};
use ps_vault::VaultClient;
use serde_json::json;
use support::{Bench, assert_dead, assert_fault, connection, kv2, role, write};

#[allow(dead_code, reason = "the other test program uses the rest of it")]
#[path = "vault/support/mod.rs"]
mod support;

const LONG: Duration = Duration::from_secs(90);
const AUDIENCE: &str = "vault";

/// Connections whose service accounts are real ones.
struct Accounts {
    cluster: &'static Cluster,
    asked: AtomicU64,
}

#[async_trait]
impl Connections for Accounts {
    async fn resolve(&self, name: &ConnectionRef) -> Result<Connection, Fault> {
        Err(Fault::new(Class::Misconfigured, "not-used", name.name.clone()))
    }

    async fn secret(&self, _: &str, key: &SecretKeyRef) -> Result<SecretString, Fault> {
        Err(Fault::new(Class::Misconfigured, "not-used", key.name.clone()))
    }

    async fn service_account_token(&self, namespace: &str, name: &str, audience: &str) -> Result<SecretString, Fault> {
        assert!(!audience.is_empty());
        self.asked.fetch_add(1, Ordering::SeqCst);
        let token = self.cluster.token(namespace, name, audience, 600).await;
        token.map(SecretString::new).map_err(|_| Fault::new(Class::Misconfigured, "no-such-service-account", name))
    }
}

/// A Vault that trusts the cluster, a namespace with a service account `sender`, and a secret.
struct Place {
    bao: &'static OpenBao,
    cluster: &'static Cluster,
    auth: String,
    kv: String,
    accounts: Arc<Accounts>,
}

impl Place {
    async fn new() -> Self {
        let testbed = Testbed::connect_or_start().unwrap();
        let (bao, cluster) = (testbed.bao().await.unwrap(), testbed.cluster().await.unwrap());
        let (auth, kv) = (unique("k8s"), unique("kv"));
        cluster.trust_from(bao, &auth).await.unwrap();
        bao.mount_kv2(&kv).await.unwrap();
        bao.kv_put(&kv, "x", json!({"user": "u", "pass": "old"})).await.unwrap();
        Self { bao, cluster, auth, kv, accounts: Arc::new(Accounts { cluster, asked: AtomicU64::new(0) }) }
    }

    fn bench(&self) -> Bench {
        let clock = Arc::default();
        let vault = VaultClient::new(Arc::clone(&self.accounts) as _, Arc::clone(&clock) as _);
        Bench { vault, secrets: Arc::default(), clock }
    }

    fn asked(&self) -> u64 {
        self.accounts.asked.load(Ordering::SeqCst)
    }

    async fn namespace(&self) -> String {
        let namespace = self.cluster.namespace("tenant").await.unwrap();
        self.cluster.service_account(&namespace, "sender").await.unwrap();
        namespace
    }

    /// A role for `sender` of these namespaces (with commas between them) with a policy of these lines.
    async fn role(&self, namespaces: &str, hcl: &str, ttl: &str) -> String {
        let name = unique("role");
        self.bao.policy(&name, hcl).await.unwrap();
        let allowed = KubernetesRole {
            namespace: namespaces,
            service_account: "sender",
            audience: AUDIENCE,
            policies: &[&name],
            ttl,
        };
        self.cluster.kubernetes_role(self.bao, &self.auth, &name, &allowed).await.unwrap();
        name
    }

    fn login(&self, role: &str, account: &str, audience: &str) -> Auth {
        let (mount, role) = (self.auth.clone(), role.to_owned());
        Auth::Kubernetes { mount, role, service_account: account.to_owned(), audience: audience.to_owned() }
    }

    fn at(&self, name: ConnectionRef, role: &str) -> Connection {
        let auth = self.login(role, "sender", AUDIENCE);
        Connection { name, ..connection(self.bao.address(), auth) }
    }

    fn reads_x(&self) -> String {
        format!("path \"{}/data/x\" {{ capabilities = [\"read\"] }}", self.kv)
    }

    /// Ends every token of a policy.
    async fn revoke_tokens_of(&self, policy: &str) {
        let all = self.bao.call("LIST", "auth/token/accessors", None).await.unwrap();
        for accessor in all["data"]["keys"].as_array().unwrap() {
            let body = json!({ "accessor": accessor });
            let (_, looked) = self.bao.request("POST", "auth/token/lookup-accessor", Some(&body)).await.unwrap();
            if looked["data"]["policies"].as_array().is_some_and(|policies| policies.contains(&json!(policy))) {
                self.bao.call("POST", "auth/token/revoke-accessor", Some(&body)).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_tenant_reads_as_its_own_service_account_with_one_login() {
    let place = Place::new().await;
    let namespace = place.namespace().await;
    let role = place.role(&namespace, &place.reads_x(), "1h").await;
    let (bench, source) = (place.bench(), kv2(&place.kv, "x", &[]));
    let at = place.at(ConnectionRef::namespaced(&namespace, "prod"), &role);
    for _ in 0..3 {
        assert_eq!(bench.vault.read(&at, &source).await.unwrap().fields["pass"].expose(), "old");
    }
    assert_eq!((bench.requests("login"), bench.requests("lookup"), place.asked()), (1, 0, 1));
}

#[tokio::test]
async fn two_namespaces_that_share_a_connection_never_share_a_session() {
    let place = Place::new().await;
    let (one, two) = (place.namespace().await, place.namespace().await);
    for namespace in [&one, &two] {
        place.bao.kv_put(&place.kv, namespace, json!({"a": namespace})).await.unwrap();
    }
    // Vault decides by the namespace of whoever logged in.
    let mounts = place.bao.call("GET", "sys/auth", None).await.unwrap();
    let accessor = mounts["data"][format!("{}/", place.auth)]["accessor"].as_str().unwrap().to_owned();
    let own = format!(
        "path \"{}/data/{{{{identity.entity.aliases.{accessor}.metadata.service_account_namespace}}}}\" {{ capabilities = [\"read\"] }}",
        place.kv
    );
    let role = place.role(&format!("{one},{two}"), &own, "1h").await;
    let bench = place.bench();
    let read = async |who: &str, what: &str| {
        let at = place.at(ConnectionRef::cluster(who, "shared"), &role);
        bench.vault.read(&at, &kv2(&place.kv, what, &[])).await
    };
    for namespace in [&one, &two, &one] {
        assert_eq!(read(namespace, namespace).await.unwrap().fields["a"].expose(), namespace.as_str());
    }
    for (who, other) in [(&one, &two), (&two, &one)] {
        let words = ["shared (cluster-wide, as", who.as_str()];
        assert_fault(read(who, other).await, "vault-denied", Class::Denied, &words);
    }
    assert_eq!((bench.requests("login"), place.asked(), bench.vault.open().len()), (2, 2, 2));
    assert_eq!(bench.vault.retain(|name| name.namespace == one), 1);
    assert_eq!(bench.vault.open(), [ConnectionRef::cluster(&one, "shared")]);
    read(&two, &two).await.unwrap();
    assert_eq!(bench.requests("login"), 3, "what was ended logs in again when it is needed");
}

#[tokio::test]
async fn a_login_that_vault_refuses_says_what_to_check() {
    let place = Place::new().await;
    let (namespace, foreign) = (place.namespace().await, place.namespace().await);
    place.cluster.service_account(&namespace, "other").await.unwrap();
    let role = place.role(&namespace, &place.reads_x(), "1h").await;
    let source = kv2(&place.kv, "x", &[]);
    let own = ConnectionRef::namespaced(&namespace, "prod");
    for (name, auth, account) in [
        (own.clone(), place.login(&role, "other", AUDIENCE), format!("{namespace}/other")),
        (own.clone(), place.login(&role, "sender", "another"), format!("{namespace}/sender")),
        (own.clone(), place.login("no-such-role", "sender", AUDIENCE), format!("{namespace}/sender")),
        (
            ConnectionRef::namespaced(&foreign, "prod"),
            place.login(&role, "sender", AUDIENCE),
            format!("{foreign}/sender"),
        ),
    ] {
        let (bench, at) = (place.bench(), Connection { name, ..connection(place.bao.address(), auth) });
        let words = [account.as_str(), "is bound to service account", "audience", &place.auth];
        let fault = assert_fault(bench.vault.read(&at, &source).await, "vault-login-denied", Class::Denied, &words);
        assert_eq!(fault.field.as_deref(), Some("spec.auth.kubernetes"));
        assert!(!fault.to_string().contains("eyJ"), "a token is quoted: {fault}");
    }
    // Not even asked for: an empty audience is the API server's own.
    let (bench, asked) = (place.bench(), place.asked());
    let at = Connection { name: own, ..connection(place.bao.address(), place.login(&role, "sender", " ")) };
    assert_fault(bench.vault.read(&at, &source).await, "vault-login-audience", Class::Misconfigured, &["audience"]);
    assert_eq!((place.asked(), bench.requests("login")), (asked, 0));
}

#[tokio::test]
async fn a_session_outlives_its_service_account_and_namespace_until_it_can_not_be_renewed() {
    let place = Place::new().await;
    let namespace = place.namespace().await;
    // Ten seconds are left when it is to be renewed: what a busy machine may be late by.
    let role = place.role(&namespace, &place.reads_x(), "30s").await;
    let (bench, source) = (place.bench(), kv2(&place.kv, "x", &[]));
    let at = place.at(ConnectionRef::namespaced(&namespace, "prod"), &role);
    bench.vault.read(&at, &source).await.unwrap();
    let path = format!("/api/v1/namespaces/{namespace}");
    place.cluster.call("DELETE", &path, None).await.unwrap();
    let gone = async || (place.cluster.request("GET", &path, None).await.ok()?.0 == 404).then_some(());
    wait_until("the namespace's end", LONG, gone).await.unwrap();
    bench.vault.read(&at, &source).await.unwrap();
    // OpenBao refuses to renew it (docs/facts.md), and nobody can log in anew; it is good to its end all the same.
    wait_until("a login that is tried in its place", LONG, async || (place.asked() > 1).then_some(())).await.unwrap();
    assert!(bench.requests("renew") > 0, "a renewal was tried first");
    bench.vault.read(&at, &source).await.unwrap();
    assert_eq!(bench.requests("login"), 1, "the first login is still good");
    // Once the session is over, nobody can log in any more, and the fault is the Kubernetes API's.
    place.revoke_tokens_of(&role).await;
    assert_fault(bench.vault.read(&at, &source).await, "no-such-service-account", Class::Misconfigured, &[]);
}

#[tokio::test]
async fn a_token_that_ended_is_replaced_by_a_new_login() {
    let place = Place::new().await;
    let namespace = place.namespace().await;
    let role = place.role(&namespace, &place.reads_x(), "1h").await;
    let (bench, source) = (place.bench(), kv2(&place.kv, "x", &[]));
    let at = place.at(ConnectionRef::namespaced(&namespace, "prod"), &role);
    bench.vault.read(&at, &source).await.unwrap();
    place.revoke_tokens_of(&role).await;
    bench.vault.read(&at, &source).await.unwrap();
    assert_eq!((bench.requests("login"), place.asked()), (2, 2), "revoked");
    bench.clock.push(Span::from_secs(3601));
    bench.vault.read(&at, &source).await.unwrap();
    assert_eq!((bench.requests("login"), place.asked()), (3, 3), "run out");
}

#[tokio::test]
async fn an_identity_that_is_gone_is_not_asked_for_again_and_again() {
    let place = Place::new().await;
    let namespace = place.namespace().await;
    let role = place.role(&namespace, &place.reads_x(), "2s").await;
    let short = json!({"token_max_ttl": "3s", "token_ttl": "2s"});
    place.bao.call("POST", &format!("auth/{}/role/{role}", place.auth), Some(&short)).await.unwrap();
    let (bench, source) = (place.bench(), kv2(&place.kv, "x", &[]));
    let at = place.at(ConnectionRef::namespaced(&namespace, "prod"), &role);
    bench.vault.read(&at, &source).await.unwrap();
    let account = format!("/api/v1/namespaces/{namespace}/serviceaccounts/sender");
    place.cluster.call("DELETE", &account, None).await.unwrap();
    // The last three seconds of its life, in which it is tried, and four more, in which it is not.
    let started = Instant::now();
    let over = async || (started.elapsed() > Duration::from_secs(7)).then_some(());
    wait_until("the end of the token, and longer", LONG, over).await.unwrap();
    assert!(place.asked() <= 4, "{} tokens were asked for", place.asked());
    assert_fault(bench.vault.read(&at, &source).await, "no-such-service-account", Class::Misconfigured, &[]);
}

/// What cleaning up needs, and no more.
fn cleaner_policy(kv: &str, database: &str) -> String {
    format!(
        r#"path "{kv}/data/*" {{ capabilities = ["patch"] }}
           path "{kv}/metadata/*" {{ capabilities = ["read"] }}
           path "{kv}/destroy/*" {{ capabilities = ["update"] }}
           path "{database}/static-roles/*" {{ capabilities = ["read"] }}
           path "{database}/rotate-role/*" {{ capabilities = ["update"] }}"#
    )
}

#[tokio::test]
async fn a_secret_is_rotated_and_proven_dead_by_an_identity_that_may_not_read_it() {
    let place = Place::new().await;
    let (tenant, operator) = (place.namespace().await, place.namespace().await);
    let reader = place.role(&tenant, &place.reads_x(), "1h").await;
    let cleaner = place.role(&operator, &cleaner_policy(&place.kv, "none"), "1h").await;
    let (bench, source) = (place.bench(), kv2(&place.kv, "x", &["user", "pass"]));
    let own = place.at(ConnectionRef::namespaced(&tenant, "prod"), &reader);
    let at = place.at(ConnectionRef::cluster(&operator, "cleanup"), &cleaner);
    let handed = bench.deliver(&own, &source, &["pass"]).await;
    assert_fault(bench.vault.read(&at, &source).await, "vault-denied", Class::Denied, &["read"]);

    let before = bench.all_requests();
    let (steps, verdict) = bench.drive(&at, &source, &handed, Strategy::WriteNewVersion, None).await;
    assert_eq!(steps, ["write-new-version"]);
    assert_dead(&verdict, Scope::Vault);
    // A refused look and the metadata; write and destroy; the metadata, without trying to read again.
    assert_eq!(bench.all_requests() - before, 5);
    let now = place.bao.kv_get(&place.kv, "x", 0).await.unwrap().unwrap().data.unwrap();
    assert!(now["user"] == "u" && now["pass"] != "old");
    assert_eq!(place.bao.kv_get(&place.kv, "x", 1).await.unwrap().unwrap().metadata["destroyed"], true);

    // The same once it is gone altogether.
    place.bao.call("DELETE", &format!("{}/metadata/x", place.kv), None).await.unwrap();
    assert_dead(&bench.look(&at, &source, &handed, Strategy::WriteNewVersion, None).await, Scope::Vault);
}

#[tokio::test]
async fn a_newer_version_that_nobody_may_look_into_proves_nothing() {
    let place = Place::new().await;
    let (tenant, operator) = (place.namespace().await, place.namespace().await);
    let reader = place.role(&tenant, &place.reads_x(), "1h").await;
    let cleaner = place.role(&operator, &cleaner_policy(&place.kv, "none"), "1h").await;
    let (bench, source) = (place.bench(), kv2(&place.kv, "x", &["pass"]));
    let own = place.at(ConnectionRef::namespaced(&tenant, "prod"), &reader);
    let at = place.at(ConnectionRef::cluster(&operator, "cleanup"), &cleaner);
    let handed = bench.deliver(&own, &source, &["pass"]).await;
    let look = async || bench.vault.observe(&at, &source, &handed.identity, &handed.tag_key, handed_at(&bench)).await;
    // Somebody wrote the same value again.
    place.bao.kv_put(&place.kv, "x", json!({"user": "v", "pass": "old"})).await.unwrap();
    let seen = look().await.unwrap();
    assert!(seen.unseen && seen.tags.is_empty() && seen.delivered == DeliveredVersion::Present, "{seen:?}");
    // And destroyed the delivered version by name: the same value is current, so it is not dead before we wrote over it.
    place.bao.call("POST", &format!("{}/destroy/x", place.kv), Some(&json!({"versions": [1]}))).await.unwrap();
    let seen = look().await.unwrap();
    assert!(seen.delivered == DeliveredVersion::Destroyed && seen.written.is_empty(), "{seen:?}");
    let (steps, verdict) = bench.drive(&at, &source, &handed, Strategy::WriteNewVersion, None).await;
    assert_eq!(steps, ["write-new-version"]);
    assert_dead(&verdict, Scope::Vault);
    let now = place.bao.kv_get(&place.kv, "x", 0).await.unwrap().unwrap().data.unwrap();
    assert!(now["user"] == "v" && now["pass"] != "old");
    // A process that has not seen its own write can't tell it from another's.
    let anew = place.bench();
    let seen = anew.vault.observe(&at, &source, &handed.identity, &handed.tag_key, handed_at(&anew)).await.unwrap();
    assert!(seen.unseen && seen.written.is_empty(), "{seen:?}");
    // Made anew under the same number.
    place.bao.call("DELETE", &format!("{}/metadata/x", place.kv), None).await.unwrap();
    place.bao.kv_put(&place.kv, "x", json!({"pass": "old"})).await.unwrap();
    let fault = assert_fault(look().await, "vault-values-unseen", Class::Misconfigured, &["version 1"]);
    assert!(!fault.remedy.is_empty());
    // A step that meets another version than it thought changes nothing.
    let outcome = bench.vault.rotate(&at, &source, &write(Some(7), &["pass"])).await;
    assert_fault(outcome, "vault-cas-mismatch", Class::Transient, &[]);
}

fn handed_at(bench: &Bench) -> ps_core::time::Timestamp {
    use ps_core::ports::Clock as _;
    bench.clock.now()
}

#[tokio::test]
async fn a_static_role_is_rotated_and_proven_dead_by_an_identity_that_may_not_read_it() {
    let place = Place::new().await;
    let postgres = Testbed::connect_or_start().unwrap().postgres().await.unwrap();
    let (mount, user) = (unique("db"), unique("app"));
    postgres.create_user(&user, "first").await.unwrap();
    place.bao.database_config(&mount, "pg", postgres).await.unwrap();
    place.bao.static_role(&mount, "app", "pg", &user, "24h").await.unwrap();
    let (tenant, operator) = (place.namespace().await, place.namespace().await);
    let reads = format!("path \"{mount}/static-creds/app\" {{ capabilities = [\"read\"] }}");
    let reader = place.role(&tenant, &reads, "1h").await;
    let cleaner = place.role(&operator, &cleaner_policy("none", &mount), "1h").await;
    let (bench, source) = (place.bench(), role(&mount, "app"));
    let own = place.at(ConnectionRef::namespaced(&tenant, "prod"), &reader);
    let at = place.at(ConnectionRef::cluster(&operator, "cleanup"), &cleaner);
    let handed = bench.deliver(&own, &source, &["password"]).await;
    let old = handed.field("password").to_owned();
    assert_fault(bench.vault.read(&at, &source).await, "vault-denied", Class::Denied, &["static-creds"]);

    let first = bench.look(&at, &source, &handed, Strategy::RotateRole, None).await;
    assert_eq!(first, Verdict::Alive(Some(Step::RotateRole)), "not rotated since: it is alive");
    let before = bench.all_requests();
    let (steps, verdict) = bench.drive(&at, &source, &handed, Strategy::RotateRole, None).await;
    assert_eq!(steps, ["rotate-role"]);
    assert_dead(&verdict, Scope::Target);
    assert_eq!(bench.all_requests() - before, 3, "look, rotate, look");
    assert!(!postgres.can_login(&user, &old).await.unwrap());

    // A role of the same name for another user proves nothing about the delivered one.
    place.bao.call("DELETE", &format!("{mount}/static-roles/app"), None).await.unwrap();
    let gone = bench.look(&at, &source, &handed, Strategy::RotateRole, None).await;
    assert_eq!(gone, Verdict::Alive(None));
    let other = unique("app");
    postgres.create_user(&other, "first").await.unwrap();
    place.bao.static_role(&mount, "app", "pg", &other, "24h").await.unwrap();
    let another = bench.look(&at, &source, &handed, Strategy::RotateRole, None).await;
    assert_eq!(another, Verdict::Alive(None));
}

#[tokio::test]
async fn an_identity_that_sees_nothing_at_all_is_told_what_it_lacks() {
    let place = Place::new().await;
    let (tenant, operator) = (place.namespace().await, place.namespace().await);
    let reader = place.role(&tenant, &place.reads_x(), "1h").await;
    let blind = place.role(&operator, "path \"sys/none\" { capabilities = [\"read\"] }", "1h").await;
    let (bench, source) = (place.bench(), kv2(&place.kv, "x", &["pass"]));
    let own = place.at(ConnectionRef::namespaced(&tenant, "prod"), &reader);
    let at = place.at(ConnectionRef::cluster(&operator, "cleanup"), &blind);
    let handed = bench.deliver(&own, &source, &["pass"]).await;
    let sight = bench.vault.observe(&at, &source, &handed.identity, &handed.tag_key, handed_at(&bench)).await;
    assert_fault(sight, "vault-denied", Class::Denied, &["read of", "data/x"]);
}
