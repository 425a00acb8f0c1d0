//! `kubectl wait`, `kubectl get -w`, and what kstatus (Flux, Helm, `kubectl` plugins) makes of an object at each moment.
//! Its rules: cli-utils, `pkg/kstatus/README.md`.

use std::collections::BTreeMap;

use ps_testbed::{HttpProxy, ProxyAction, ProxyRule, Testbed, unique};
use serde_json::{Value, json};

use crate::stand::{Setup, Stand};
use crate::support::{KvSource, SOON, kv_delivery};

/// The STATUS column, in the order in which an ordinary life has them; the first is that of an object that nobody has
/// looked at.
const STORY: [&str; 7] = ["", "Accepted", "Sending", "Delivered", "Retrieved", "Rotating", "Rotated"];
/// How long a watch of this file stays open.
const WATCHED: &str = "--request-timeout=40s";

/// What kstatus makes of an object.
fn kstatus(object: &Value) -> &'static str {
    let is = |kind: &str, status: &str| {
        conditions(object).iter().any(|condition| condition["type"] == kind && condition["status"] == status)
    };
    let seen = &object["status"]["observedGeneration"];
    let behind = seen.is_number() && *seen != object["metadata"]["generation"];
    match () {
        () if object["metadata"]["deletionTimestamp"].is_string() => "Terminating",
        () if behind || is("Reconciling", "True") => "InProgress",
        () if is("Stalled", "True") => "Failed",
        () if is("Ready", "False") || is("Ready", "Unknown") => "InProgress",
        // Without a word about it, it is taken for done.
        () => "Current",
    }
}

fn conditions(object: &Value) -> Vec<Value> {
    object["status"]["conditions"].as_array().cloned().unwrap_or_default()
}

/// What holds for any version of any object.
fn assert_well_formed(object: &Value) {
    let status = &object["status"];
    let mut kinds = BTreeMap::new();
    for condition in conditions(object) {
        let text = |name: &str| condition[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(condition["observedGeneration"], status["observedGeneration"], "{condition}");
        assert!(["True", "False", "Unknown"].contains(&text("status").as_str()), "{condition}");
        let word = text("reason");
        assert!(word.starts_with(|c: char| c.is_ascii_uppercase()), "{condition}");
        assert!(word.chars().all(|c| c.is_ascii_alphanumeric()), "{condition}");
        assert!(!text("lastTransitionTime").is_empty(), "{condition}");
        assert!(kinds.insert(text("type"), text("status")).is_none(), "twice: {condition}");
        if ["Reconciling", "Stalled"].contains(&text("type").as_str()) {
            assert_eq!(text("status"), "True", "there only while true: {condition}");
        }
    }
    assert!(status["observedGeneration"].as_i64() <= object["metadata"]["generation"].as_i64(), "{status}");
    assert!(!(kinds.contains_key("Reconciling") && kinds.contains_key("Stalled")), "one or the other: {status}");
}

/// `kubectl wait` until a condition is true, at most so many seconds; whether it was.
async fn waits(stand: &Stand, object: &str, condition: &str, seconds: u32) -> bool {
    let (to_be, limit) = (format!("--for=condition={condition}"), format!("--timeout={seconds}s"));
    let words = ["wait", &to_be, &limit, "-n", &stand.tenant, &format!("secretdelivery/{object}")];
    let done = stand.cluster.kubectl_as(&stand.cluster.admin_kubeconfig(), &words, b"").await.unwrap();
    assert!(done.success || done.stderr.contains("timed out"), "{words:?}: {}", done.stderr);
    done.success
}

#[tokio::test]
async fn a_watch_tells_the_story_and_each_version_obeys_kstatus() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = KvSource::new(bao).await;
    let stand = Stand::start(Setup::default()).await;
    stand.connect(bao, &source.policy()).await;
    let to = format!("{}@vendor.example", unique("alice"));
    let admin = stand.cluster.admin_kubeconfig();
    let watch = |more: &'static [&'static str]| {
        let words = [&["get", "secretdeliveries", "-n", &stand.tenant, "-w", WATCHED], more].concat();
        let (stand, admin) = (&stand, &admin);
        // It ends with the time limit, which kubectl takes for a failure or not.
        async move { stand.cluster.kubectl_as(admin, &words, b"").await.unwrap().stdout }
    };
    let story = async {
        let more = json!({"link": {"claimWindow": "1s"}});
        // Long enough that what is between is not passed over: a status is written when nothing can be done at once.
        stand.apply(&kv_delivery("shop", &to, &source, "10m", "6s", more)).await;
        let recipient = stand.recipient(&to).await;
        stand.wait_status("shop", "delivered", SOON, |s| s.is("Delivered")).await;
        recipient.open().await;
        recipient.acknowledge().await;
        stand.wait_rotated("shop", SOON).await;
    };
    let (table, versions, ()) = tokio::join!(watch(&[]), watch(&["-o", "json"]), story);

    let word = |line: &str| {
        let second = line.split_whitespace().nth(1).unwrap_or_default();
        STORY.iter().position(|known| *known == second).unwrap_or_default()
    };
    let mut words: Vec<usize> = table.lines().filter(|line| line.starts_with("shop ")).map(word).collect();
    words.dedup();
    let told: Vec<&str> = words.iter().map(|word| STORY[*word]).collect();
    assert!(words.is_sorted(), "{told:?}\n{table}");
    for must in ["", "Delivered", "Retrieved", "Rotated"] {
        assert!(told.contains(&must), "{must:?} is missing in {told:?}\n{table}");
    }

    let versions: Vec<Value> =
        serde_json::Deserializer::from_str(&versions).into_iter().map_while(Result::ok).collect();
    assert!(versions.len() >= words.len(), "{}", versions.len());
    let mut times = BTreeMap::new();
    for object in &versions {
        assert_well_formed(object);
        for condition in conditions(object) {
            let now = (condition["status"].clone(), condition["lastTransitionTime"].clone());
            let before = times.insert(condition["type"].to_string(), now.clone());
            let kept = before.is_none_or(|before| before.0 != now.0 || before.1 == now.1);
            assert!(kept, "the time of a transition stays until the next one: {condition}");
        }
    }
    let states: Vec<&str> = versions.iter().map(kstatus).collect();
    assert_eq!(states[0], "InProgress", "nobody has looked at it");
    let ready = states.iter().position(|state| *state == "Current").unwrap();
    assert!(states[..ready].iter().all(|state| *state == "InProgress"), "{states:?}");
    assert!(states[ready..].iter().all(|state| *state == "Current"), "waiting for people is no progress: {states:?}");
    let delivered = |object: &Value| object["status"]["deliveredAt"].is_string();
    assert!(!versions[..ready].iter().any(delivered) && delivered(&versions[ready]), "ready once delivered");
    assert!(versions.len() <= 12, "{} versions of one object", versions.len());
}

#[tokio::test]
async fn kubectl_wait_passes_when_it_is_so_and_not_on_an_older_generation() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = KvSource::new(bao).await;
    let stand = Stand::start(Setup::default()).await;
    let proxy = HttpProxy::start(bao.address()).unwrap();
    stand.connect_as(bao, &proxy.address(), &stand.tenant, &source.policy(), json!({})).await;
    let to = format!("{}@vendor.example", unique("alice"));
    stand.apply(&kv_delivery("shop", &to, &source, "10m", "1s", json!({"link": {"claimWindow": "1s"}}))).await;
    for condition in ["Ready", "Delivered"] {
        assert!(waits(&stand, "shop", condition, 30).await, "{condition}");
    }
    for condition in ["Retrieved", "Rotated"] {
        assert!(!waits(&stand, "shop", condition, 1).await, "{condition}");
    }
    stand.recipient(&to).await.open().await;
    for condition in ["Retrieved", "Rotated"] {
        assert!(waits(&stand, "shop", condition, 30).await, "{condition}");
    }

    // Asked for again, by a new generation, while Vault can't be reached: nothing of what was before counts.
    let all = ["Ready", "Delivered", "Retrieved", "Rotated"];
    proxy.rule(ProxyRule::new("/v1/", ProxyAction::Refuse(503)));
    stand.patch("shop", json!({"spec": {"redeliver": "2"}})).await;
    for condition in all {
        assert!(!waits(&stand, "shop", condition, 1).await, "{condition}");
    }
    let seen = stand.wait_status("shop", "a look at generation 2", SOON, |s| s.generation() == 2).await;
    assert_eq!(kstatus(&seen.0), "InProgress", "{:#}", seen.0["status"]);
    for condition in all {
        assert!(
            !waits(&stand, "shop", condition, 1).await,
            "{condition}: {:#}",
            stand.status("shop").await.0["status"]
        );
    }
    proxy.clear();
    assert!(waits(&stand, "shop", "Delivered", 60).await);
    let seen = stand.status("shop").await;
    assert_eq!((seen.attempt(), seen.is("Retrieved"), seen.is("Rotated")), (2, false, false));
    assert_eq!(stand.mails(&to, 2, SOON).await.len(), 2);

    stand.delete("shop").await;
    let words = ["wait", "--for=delete", "--timeout=30s", "-n", &stand.tenant, "secretdelivery/shop"];
    stand.kubectl(&words, "").await;
}

#[tokio::test]
async fn what_kstatus_makes_of_each_case() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let stand = Stand::prepare(Setup::default()).await;
    let mount = KvSource::new(bao).await.mount;
    let anywhere = format!("path \"{mount}/*\" {{ capabilities = [\"read\", \"patch\", \"update\"] }}");
    stand.connect(bao, &anywhere).await;
    let down = json!({"apiVersion": "passwordsender.io/v1alpha1", "kind": "VaultConnection",
        "metadata": {"name": "down", "namespace": stand.tenant},
        "spec": {"address": "http://127.0.0.1:9", "timeout": "1s", "auth": {"kubernetes": {"mount": stand.auth,
            "role": stand.tenant, "audience": "vault", "serviceAccountRef": {"name": "password-sender"}}}}});
    stand.cluster.apply(&down.to_string()).await.unwrap();
    let mut tos = BTreeMap::new();
    for (name, more) in [
        ("waits", json!({})),
        ("on-retrieved", json!({"completion": "OnRetrieved"})),
        ("on-rotated", json!({"completion": "OnRotated"})),
        ("vault-down", json!({"source": {"vault": {"connectionRef": {"name": "down"}}}})),
        ("nowhere", json!({"source": {"vault": {"kv": {"path": "nobody/wrote/this"}}}})),
        ("no-connection", json!({"source": {"vault": {"connectionRef": {"name": "none"}}}})),
    ] {
        let source = KvSource::below(bao, &mount).await;
        let to = format!("{}@vendor.example", unique(name));
        let mut object: Value = serde_yaml::from_str(&kv_delivery(name, &to, &source, "10m", "1s", more)).unwrap();
        object["spec"]["link"]["claimWindow"] = json!("1s");
        stand.apply(&object.to_string()).await;
        tos.insert(name, to);
        let object = stand.object(name).await;
        assert_eq!(kstatus(&object), "InProgress", "nobody has looked at it: {object}");
    }
    assert!(!waits(&stand, "waits", "Ready", 1).await);

    stand.run().await;
    let at = async |name: &str, state: &str, what: &str| {
        let seen = stand.wait_status(name, what, SOON, |s| kstatus(&s.0) == state).await;
        assert_well_formed(&seen.0);
        seen
    };
    at("waits", "Current", "ready while it waits for its recipient").await;
    for name in ["nowhere", "no-connection"] {
        let seen = at(name, "Failed", "stalled: a person must act").await;
        let (_, reason, message) = seen.condition("Stalled");
        assert!(seen.summary() == format!("Stalled: {reason}") && message.len() > 20, "{:#}", seen.0["status"]);
    }
    stand.wait_status("vault-down", "a look", SOON, |s| s.generation() == 1).await;
    let seen = at("vault-down", "InProgress", "in progress while Vault is away").await;
    assert!(seen.is("Reconciling") && seen.stalled().is_none(), "{:#}", seen.0["status"]);
    for name in ["on-retrieved", "on-rotated"] {
        stand.wait_status(name, "delivered", SOON, |s| s.is("Delivered")).await;
        at(name, "InProgress", "not done when it is delivered").await;
        stand.recipient(&tos[name]).await.open().await;
    }
    at("on-retrieved", "Current", "done when it is opened").await;
    let seen = at("on-rotated", "Current", "done when it is rotated").await;
    assert!(seen.is("Rotated"));

    // A new generation is not called seen before it was looked at.
    stand.operators[0].stop();
    stand.patch("waits", json!({"spec": {"context": {"title": "Another title"}}})).await;
    let behind = stand.object("waits").await;
    assert_eq!((kstatus(&behind), &behind["status"]["observedGeneration"]), ("InProgress", &json!(1)));
    assert!(!waits(&stand, "waits", "Ready", 1).await);
    stand.start_operator(0).await;
    let seen = at("waits", "Current", "seen again").await;
    assert_eq!((seen.generation(), seen.attempt()), (2, 1));
    assert_eq!(stand.mails(&tos["waits"], 1, SOON).await.len(), 1);

    // Somebody else's finalizer keeps it after we let it go.
    let finalizers = seen.0["metadata"]["finalizers"].as_array().unwrap().iter().cloned();
    let finalizers: Vec<Value> = finalizers.chain([json!("example.com/other")]).collect();
    stand.patch("waits", json!({"metadata": {"finalizers": finalizers}})).await;
    stand.delete("waits").await;
    let seen =
        stand.wait_status("waits", "let go", SOON, |s| s.0["metadata"]["finalizers"] == json!(["example.com/other"]));
    assert_eq!(kstatus(&seen.await.0), "Terminating");
    stand.patch("waits", json!({"metadata": {"finalizers": null}})).await;
    stand.wait_gone(&stand.uri("waits"), SOON).await;
}
