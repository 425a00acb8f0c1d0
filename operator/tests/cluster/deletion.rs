//! Deleted: the object, its namespace, its connection first; with Vault up and down. What is deleted goes within seconds,
//! and what is owed is met when it can be, by whoever still can.

use std::time::{Duration, Instant};

use ps_testbed::{HttpProxy, OpenBao, ProxyAction, ProxyRule, Testbed, unique, wait_until};
use serde_json::{Value, json};

use crate::stand::{Setup, Stand, name};
use crate::support::{KvSource, Recipient, SOON, kv_delivery};

/// For whatever is deleted. The namespace controller looks again after eight seconds where something was left, and beside
/// many other tests it began 24 s late.
const GONE: Duration = Duration::from_secs(90);
/// For our part of it: from the moment an object is to go until our finalizer lets it. It takes less than a second.
const OURS: Duration = Duration::from_secs(10);
/// Longer than the wait between two tries of what only a person can mend.
const AFTER_A_PERSON: Duration = Duration::from_secs(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Object,
    Namespace,
    /// And then the object.
    ConnectionFirst,
}

/// Who cleans up when the tenant's identity is gone.
#[derive(Clone, Copy)]
enum Cleaner {
    Nobody,
    Named,
}

/// A delivery that was sent, with Vault behind a proxy.
struct Scene {
    bao: &'static OpenBao,
    stand: Stand,
    proxy: HttpProxy,
    source: KvSource,
    recipient: Recipient,
    sender: String,
}

impl Scene {
    async fn new(setup: Setup, cleaner: Cleaner) -> Self {
        let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
        let (proxy, source) = (HttpProxy::start(bao.address()).unwrap(), KvSource::new(bao).await);
        let stand = Stand::start(setup).await;
        let connection = match cleaner {
            Cleaner::Nobody => json!({}),
            Cleaner::Named => {
                json!({"cleanupConnectionRef": {"name": stand.cleaner(bao, &proxy.address(), &source.mount).await}})
            }
        };
        stand.connect_as(bao, &proxy.address(), &stand.tenant, &source.policy(), connection).await;
        let (to, sender) = (format!("{}@v.example", unique("to")), format!("{}@v.example", unique("sender")));
        let more = json!({"notify": {"email": sender, "events": ["Rotated"]}});
        stand.apply(&kv_delivery("shop", &to, &source, "1h", "1h", more)).await;
        let recipient = stand.recipient(&to).await;
        stand.wait_status("shop", "delivered", SOON, |s| s.is("Delivered")).await;
        Self { bao, stand, proxy, source, recipient, sender }
    }

    /// Nobody reaches Vault any more.
    fn vault_down(&self) {
        self.proxy.rule(ProxyRule::new("", ProxyAction::Drop));
    }

    fn namespace(&self) -> String {
        format!("/api/v1/namespaces/{}", self.stand.tenant)
    }

    fn connection(&self) -> String {
        format!("/apis/passwordsender.io/v1alpha1/namespaces/{}/vaultconnections/vault", self.stand.tenant)
    }

    async fn call(&self, method: &str, path: &str) {
        self.stand.cluster.call(method, path, None).await.unwrap();
    }

    /// Deletes it, and waits until it is gone.
    async fn delete(&self, what: What) {
        let object = self.stand.uri("shop");
        let path = match what {
            What::Namespace => self.namespace(),
            What::Object => object,
            What::ConnectionFirst => {
                self.call("DELETE", &self.connection()).await;
                self.stand.wait_gone(&self.connection(), SOON).await;
                object
            }
        };
        self.call("DELETE", &path).await;
        let ours = self.let_go().await;
        let took = self.stand.wait_gone(&path, GONE).await;
        eprintln!("{what:?}: our finalizer was gone after {ours:?}, all of it after {took:?} more");
        assert!(ours < OURS, "{what:?}: our finalizer stayed for {ours:?}\n{}", self.stand.tails());
        if what != What::Namespace {
            assert!(took < OURS, "{what:?}: nobody else held it, and it stayed for {took:?}");
        }
    }

    /// How long our finalizer stayed, from when the object was to go: in a namespace its controller says when.
    async fn let_go(&self) -> Duration {
        let mut since = None;
        let gone = wait_until("our finalizer to go", GONE, async || {
            let object = self.stand.object("shop").await;
            if !object["metadata"]["deletionTimestamp"].is_string() && !object.is_null() {
                return None;
            }
            let since = since.get_or_insert_with(Instant::now);
            let finalizers = object["metadata"]["finalizers"].as_array();
            let held = finalizers.is_some_and(|all| all.iter().any(|one| one == "passwordsender.io/finalizer"));
            (!held).then(|| since.elapsed())
        });
        gone.await.unwrap_or_else(|e| panic!("{e}\n{}", self.stand.tails()))
    }

    /// Nobody was told that the rotation does not succeed.
    async fn assert_not_stalled(&self) {
        for (namespace, object) in [("default", self.stand.tenant.as_str()), (&self.stand.tenant, "shop")] {
            let events = self.stand.events(namespace, object).await;
            assert!(events.iter().all(|e| e["reason"] != "RotationStalled"), "{namespace}: {events:#?}");
        }
    }

    /// The only obligation.
    async fn owed(&self) -> Value {
        let mut owed = self.stand.obligations().await;
        assert_eq!(owed.len(), 1, "{owed:#?}");
        owed.remove(0)
    }

    /// The credential is dead, and nothing is owed any more.
    async fn assert_met(&self, deadline: Duration) {
        self.stand.wait_nothing_owed(deadline).await;
        self.source.assert_replaced(self.bao).await;
    }
}

async fn with_vault_up(what: What) {
    let scene = Scene::new(Setup::default(), Cleaner::Nobody).await;
    let opened = what == What::Object;
    if opened {
        // An hour was promised to whoever opened it; who deletes it takes that back.
        assert_eq!(scene.recipient.open().await["password"], scene.source.password);
    }
    scene.delete(what).await;
    scene.assert_met(SOON).await;
    let answer = scene.recipient.claim().await;
    assert_eq!((answer.status, answer.state()), (410, "revoked"), "{:?}", answer.body);
    // A namespace takes its Events with it, and takes no new ones while it goes.
    if what != What::Namespace {
        for reason in ["Revoked", "Rotated"] {
            scene.stand.event(&scene.stand.tenant, "shop", reason).await;
        }
    }
    scene.assert_not_stalled().await;
}

async fn with_vault_down(what: What) {
    let scene = Scene::new(Setup::default(), Cleaner::Nobody).await;
    scene.vault_down();
    scene.delete(what).await;
    assert_eq!(scene.recipient.claim().await.state(), "revoked");
    let owed = scene.owed().await;
    assert_eq!(owed["delivery"], format!("{}/shop", scene.stand.tenant));
    assert_eq!((&owed["removed"], &owed["cause"]), (&json!(true), &json!("revoked")));
    let told = scene.stand.obligations_text().await;
    assert!(
        told.contains(&format!("{}/shop attempt 1 (revoked, its object is gone): due since", scene.stand.tenant)),
        "{told}"
    );
    assert!(scene.source.is_untouched(scene.bao).await);
    if what != What::Namespace {
        scene.stand.event(&scene.stand.tenant, "shop", "Revoked").await;
        let events = scene.stand.events(&scene.stand.tenant, "shop").await;
        assert!(events.iter().all(|e| e["reason"] != "Rotated"), "not yet: {events:#?}");
    }
    // An outage is waited for, with the login that there was: nobody has to act, and nobody is called.
    scene.assert_not_stalled().await;
    // Nobody could log in as this tenant again once its namespace is gone; the login that it had is still good.
    scene.proxy.clear();
    scene.assert_met(AFTER_A_PERSON).await;
    if what != What::Namespace {
        scene.stand.event(&scene.stand.tenant, "shop", "Rotated").await;
    }
    scene.assert_not_stalled().await;
}

#[tokio::test]
async fn an_object_goes_with_vault_up() {
    with_vault_up(What::Object).await;
}

#[tokio::test]
async fn a_namespace_goes_with_vault_up() {
    with_vault_up(What::Namespace).await;
}

#[tokio::test]
async fn a_connection_goes_first_with_vault_up() {
    with_vault_up(What::ConnectionFirst).await;
}

#[tokio::test]
async fn an_object_goes_with_vault_down() {
    with_vault_down(What::Object).await;
}

#[tokio::test]
async fn a_namespace_goes_with_vault_down() {
    with_vault_down(What::Namespace).await;
}

#[tokio::test]
async fn a_connection_goes_first_with_vault_down() {
    with_vault_down(What::ConnectionFirst).await;
}

#[tokio::test]
async fn what_outlives_its_namespace_and_the_operator_is_cleaned_up_without_reading() {
    let scene = Scene::new(Setup::default(), Cleaner::Named).await;
    assert!(scene.stand.events(&scene.stand.tenant, "shop").await.iter().all(|e| e["reason"] != "NoCleanupConnection"));
    scene.vault_down();
    scene.delete(What::Namespace).await;
    scene.stand.restart_operators().await;
    assert_eq!(scene.owed().await["delivery"], format!("{}/shop", scene.stand.tenant));
    assert!(scene.source.is_untouched(scene.bao).await);
    scene.proxy.clear();
    scene.assert_met(AFTER_A_PERSON).await;
    // The tenant's account could not have done it.
    let path = format!("/api/v1/namespaces/{}/serviceaccounts/password-sender", scene.stand.tenant);
    assert_eq!(scene.stand.cluster.request("GET", &path, None).await.unwrap().0, 404);
}

#[tokio::test]
async fn what_nobody_can_clean_up_is_told_in_every_way_until_somebody_can() {
    let other = name("other");
    let scene = Scene::new(Setup { also: vec![other.clone()], ..Setup::default() }, Cleaner::Nobody).await;
    let (stand, bao) = (&scene.stand, scene.bao);
    stand.event(&stand.tenant, "shop", "NoCleanupConnection").await;

    // Something that is owed for longer, and needs nobody: its Vault is only away.
    let (away, source) = (HttpProxy::start(bao.address()).unwrap(), KvSource::new(bao).await);
    stand.new_tenant(&other).await;
    stand.connect_as(bao, &away.address(), &other, &source.policy(), json!({})).await;
    let to = format!("{}@v.example", unique("other"));
    stand.apply_to(&other, &kv_delivery("db", &to, &source, "1h", "1s", json!({"link": {"claimWindow": "1s"}}))).await;
    let recipient = stand.recipient(&to).await;
    away.rule(ProxyRule::new("", ProxyAction::Drop));
    recipient.open().await;
    wait_until("its obligation", SOON, async || (stand.obligations().await.len() == 1).then_some(())).await.unwrap();

    scene.vault_down();
    scene.delete(What::Namespace).await;
    stand.restart_operators().await;
    scene.proxy.clear();
    let event = stand.event("default", &stand.tenant, "RotationStalled").await;
    assert_eq!((&event["regarding"]["kind"], &event["type"]), (&json!("Namespace"), &json!("Warning")));
    let note = event["note"].as_str().unwrap();
    assert!(note.contains("SecretDelivery shop") && note.contains("service account"), "{note}");
    let metric = "password_sender_events_total{kind=\"RotationStalled\"}";
    assert!(stand.operators[0].metric(metric).await > 0.0);
    let notice = stand.mail(&scene.sender).await.text.unwrap_or_default();
    assert!(notice.contains("does not succeed") && !notice.contains(&scene.source.password), "{notice}");
    let owed = stand.obligations().await;
    let shown: Vec<_> = owed.iter().map(|o| (o["delivery"].as_str().unwrap(), o["stalledSince"].is_string())).collect();
    let (ours, others) = (format!("{}/shop", stand.tenant), format!("{other}/db"));
    assert_eq!(shown, [(ours.as_str(), true), (others.as_str(), false)]);
    let told = stand.obligations_text().await;
    assert!(told.starts_with(&format!("{ours} attempt 1 (revoked, its object is gone): STALLED since ")), "{told}");

    // The namespace and its account are made again, as the fault says.
    stand.new_tenant(&stand.tenant).await;
    away.clear();
    scene.assert_met(AFTER_A_PERSON).await;
    source.assert_replaced(bao).await;
    assert_eq!(stand.mails(&scene.sender, 2, SOON).await.len(), 2, "stalled, then rotated");
}

#[tokio::test]
async fn a_foreign_finalizer_stays_and_describe_tells_the_story() {
    let scene = Scene::new(Setup::default(), Cleaner::Nobody).await;
    let stand = &scene.stand;
    let held = json!({"metadata": {"finalizers": ["passwordsender.io/finalizer", "example.com/hold"]}});
    stand.patch("shop", held).await;
    stand.delete("shop").await;
    let left = wait_until("our finalizer to go", SOON, async || {
        let finalizers = stand.object("shop").await["metadata"]["finalizers"].clone();
        (finalizers == json!(["example.com/hold"])).then_some(())
    });
    left.await.unwrap_or_else(|e| panic!("{e}\n{}", stand.tails()));
    scene.assert_met(SOON).await;
    for reason in ["Delivered", "Revoked", "Rotated"] {
        stand.event(&stand.tenant, "shop", reason).await;
    }
    let told = stand.kubectl(&["describe", "secretdelivery", "-n", &stand.tenant, "shop"], "").await;
    let (_, story) = told.split_once("Events:").unwrap();
    for words in ["the link was mailed to ", "withdrawn: the manifest is gone", "replaced in Vault"] {
        assert!(story.contains(words), "{story}");
    }
    assert!(!told.contains(&scene.source.password));
    // And nothing of ours comes back to it: it is let go by whoever holds it.
    stand.something_later(scene.bao, &scene.source.mount).await;
    assert_eq!(stand.object("shop").await["metadata"]["finalizers"], json!(["example.com/hold"]));
    stand.patch("shop", json!({"metadata": {"finalizers": null}})).await;
    stand.wait_gone(&stand.uri("shop"), SOON).await;
}

#[tokio::test]
async fn the_annotation_lets_go_while_links_cannot_be_withdrawn() {
    let scene = Scene::new(Setup::default(), Cleaner::Nobody).await;
    let stand = &scene.stand;
    // The operator loses its rights on link records.
    let role =
        format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles/password-sender-operator", stand.names.links);
    let before = stand.cluster.call("GET", &role, None).await.unwrap()["rules"].clone();
    let set = async |rules: &Value| {
        stand.cluster.call("PATCH", &role, Some(&json!({"rules": rules}))).await.unwrap();
    };
    set(&json!([])).await;
    stand.delete("shop").await;
    let waits = |s: &crate::support::Seen| {
        s.condition("Ready").0 == "False" && s.0["metadata"]["deletionTimestamp"].is_string()
    };
    let seen = stand.wait_status("shop", "the store's refusal", SOON, waits).await;
    assert_eq!(seen.0["metadata"]["finalizers"], json!(["passwordsender.io/finalizer"]));
    stand.patch("shop", json!({"metadata": {"annotations": {"passwordsender.io/let-go": "true"}}})).await;
    stand.wait_gone(&stand.uri("shop"), GONE).await;
    assert_eq!(scene.recipient.lookup().await.state(), "open", "nobody could withdraw it");
    // It is not forgotten.
    set(&before).await;
    let withdrawn = wait_until("the link to be withdrawn", AFTER_A_PERSON, async || {
        (scene.recipient.lookup().await.state() == "revoked").then_some(())
    });
    withdrawn.await.unwrap_or_else(|e| panic!("{e}\n{}", stand.tails()));
    stand.wait_audited("shop", "RotationDue").await;
    scene.assert_met(SOON).await;
}
