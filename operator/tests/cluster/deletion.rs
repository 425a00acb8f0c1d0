//! Deleted: the object, its namespace, its connection first; with Vault up and down. What is deleted goes within seconds,
//! and what is owed is met when it can be, by whoever still can.

use std::time::Duration;

use ps_testbed::{HttpProxy, KubernetesRole, OpenBao, ProxyAction, ProxyRule, Testbed, unique, wait_until};
use serde_json::{Value, json};

use crate::stand::{Setup, Stand, name};
use crate::support::{KvSource, Recipient, SOON, kv_delivery};

/// For whatever is deleted. The namespace controller looks again after eight seconds where something was left.
const GONE: Duration = Duration::from_secs(25);
/// Longer than the wait between two tries of what only a person can mend.
const AFTER_A_PERSON: Duration = Duration::from_secs(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Object,
    Namespace,
    /// And then the object.
    ConnectionFirst,
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
    async fn new(setup: Setup, connection: Value) -> Self {
        let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
        let (proxy, source) = (HttpProxy::start(bao.address()).unwrap(), KvSource::new(bao).await);
        let stand = Stand::start(setup).await;
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
        let took = self.stand.wait_gone(&path, GONE).await;
        eprintln!("{what:?}: gone after {took:?}");
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
    let scene = Scene::new(Setup::default(), json!({})).await;
    let opened = what == What::Object;
    if opened {
        // An hour was promised to whoever opened it; who deletes it takes that back.
        assert_eq!(scene.recipient.open().await["password"], scene.source.password);
    }
    scene.delete(what).await;
    scene.assert_met(SOON).await;
    let answer = scene.recipient.claim().await;
    assert_eq!((answer.status, answer.state()), (410, "revoked"), "{:?}", answer.body);
}

async fn with_vault_down(what: What) {
    let scene = Scene::new(Setup::default(), json!({})).await;
    scene.vault_down();
    scene.delete(what).await;
    assert_eq!(scene.recipient.claim().await.state(), "revoked");
    let owed = scene.owed().await;
    assert_eq!(owed["delivery"], format!("{}/shop", scene.stand.tenant));
    assert_eq!((&owed["removed"], &owed["cause"]), (&json!(true), &json!("revoked")));
    let told = scene.stand.obligations_text().await;
    assert!(told.contains(&format!("{}/shop attempt 1 (revoked, its object is gone): due since", scene.stand.tenant)), "{told}");
    assert!(scene.source.is_untouched(scene.bao).await);
    // Nobody could log in as this tenant again once its namespace is gone; the login that it had is still good.
    scene.proxy.clear();
    scene.assert_met(AFTER_A_PERSON).await;
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

/// What the clean-up identity may do with any secret of a mount: never read it.
fn cleaning(mount: &str) -> String {
    format!(
        r#"path "{mount}/data/*" {{ capabilities = ["patch"] }}
           path "{mount}/metadata/*" {{ capabilities = ["read"] }}
           path "{mount}/destroy/*" {{ capabilities = ["update"] }}
        "#
    )
}

#[tokio::test]
async fn what_outlives_its_namespace_and_the_operator_is_cleaned_up_without_reading() {
    let cleaner = name("cleanup");
    let scene = Scene::new(Setup::default(), json!({"cleanupConnectionRef": {"name": cleaner}}));
    // The delivery waits for the connection that its own one names.
    let (scene, ()) = tokio::join!(scene, async {
        let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
        drop(bao);
    });
    drop(scene);
}
