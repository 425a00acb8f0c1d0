//! The rules of the state, and the ports over it, with a server that is told what to answer.

use std::collections::VecDeque;
use std::sync::Arc;

use http::{Request, Response};
use kube::client::Body;
use ps_core::delivery::SecretKeyRef;
use ps_core::error::Class;
use ps_core::ids::Stamp;
use ps_core::ports::{Connections as _, Manifests as _};
use ps_core::time::Timestamp;
use serde_json::{Value, json};

use super::*;

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1000)
    }
}

impl Random for Still {
    fn fill(&self, out: &mut [u8]) -> Result<(), Fault> {
        out.fill(7);
        Ok(())
    }
}

type Answers = Arc<Mutex<VecDeque<(u16, Value)>>>;

/// A source over a server that gives these answers in turn, and what it was asked.
struct World {
    source: KubernetesSource,
    answers: Answers,
    asked: Arc<Mutex<Vec<(String, String, Value)>>>,
}

impl World {
    fn new(namespaces: &[&str]) -> Self {
        let answers = Answers::default();
        let asked: Arc<Mutex<Vec<(String, String, Value)>>> = Arc::default();
        let (mine, seen) = (Arc::clone(&answers), Arc::clone(&asked));
        let service = tower::service_fn(move |request: Request<Body>| {
            let (answers, asked) = (Arc::clone(&mine), Arc::clone(&seen));
            async move {
                let (parts, body) = request.into_parts();
                let bytes = body.collect_bytes().await.unwrap_or_default();
                let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                lock(&asked).push((parts.method.to_string(), parts.uri.to_string(), body));
                let (status, value) = lock(&answers).pop_front().unwrap_or((500, json!({})));
                let response = Response::builder().status(status).body(Body::from(value.to_string().into_bytes()));
                Ok::<_, std::io::Error>(response.unwrap())
            }
        });
        let options = Options {
            namespaces: namespaces.iter().map(|n| (*n).to_owned()).collect(),
            operator_namespace: "operator".into(),
            instance: "test".into(),
            own_audiences: vec!["https://cluster".into()],
            newest_seen: 0,
        };
        let source = KubernetesSource::new(Client::new(service, "default"), options, Arc::new(Still), Arc::new(Still));
        Self { source, answers, asked }
    }

    /// Everything listed, at version 100.
    fn synced(deliveries: &[Value], connections: &[Value], clusters: &[Value], namespaces: &[Value]) -> Self {
        let world = Self::new(&[]);
        world.list(What::Deliveries, deliveries, 100);
        world.list(What::Connections, connections, 100);
        world.list(What::ClusterConnections, clusters, 100);
        world.list(What::Namespaces, namespaces, 100);
        world.dirty();
        world
    }

    fn list(&self, what: What, objects: &[Value], version: u64) -> bool {
        let id = FeedId { what, only: None };
        let seen = self.source.newest_of(what);
        let items = objects.iter().map(|o| Sink::read(&self.source, &id, raw(o))).collect();
        self.source.listed(&id, items, version, seen)
    }

    fn changed(&self, what: What, object: &Value) {
        let id = FeedId { what, only: None };
        let item = Sink::read(&self.source, &id, raw(object));
        Sink::changed(&self.source, &id, item);
    }

    fn deleted(&self, object: &Value) {
        self.source.deleted(&FeedId { what: What::Deliveries, only: None }, &raw(object));
    }

    fn answer(&self, status: u16, value: Value) {
        lock(&self.answers).push_back((status, value));
    }

    fn dirty(&self) -> Vec<String> {
        let dirty = std::mem::take(&mut self.source.state().dirty);
        dirty.into_iter().map(|k| k.to_string()).collect()
    }

    fn asked(&self) -> Vec<(String, String, Value)> {
        std::mem::take(&mut *lock(&self.asked))
    }
}

impl KubernetesSource {
    fn newest_of(&self, what: What) -> u64 {
        Sink::newest(self, &FeedId { what, only: None })
    }
}

fn raw(object: &Value) -> Raw {
    serde_json::from_value(object.clone()).unwrap()
}

fn delivery(name: &str, version: u64) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": version.to_string(), "generation": 1},
        "spec": read::tests::good(),
    })
}

fn connection(kind: &str, name: &str, extra: &Value) -> Value {
    let mut object = json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "resourceVersion": "50", "generation": 1},
        "spec": {"address": "https://vault:8200", "auth": {"kubernetes":
            {"role": "r", "serviceAccountRef": {"name": "sender"}, "audience": "vault"}}},
    });
    if kind == "own" {
        object["metadata"]["namespace"] = json!("shop");
    }
    for (field, value) in extra.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    object
}

fn namespace(name: &str, labels: &Value, version: u64, terminating: bool) -> Value {
    let mut object = json!({"metadata": {"name": name, "uid": format!("uid-{name}"), "labels": labels, "resourceVersion": version.to_string()}});
    if terminating {
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    object
}

fn key(name: &str) -> Key {
    Key::new("shop", name)
}

#[tokio::test]
async fn absence_is_never_made_up() {
    let w = World::new(&[]);
    let code = async |w: &World, key: &Key| w.source.get(key).await.map_err(|f| (f.class, f.code)).err();
    assert_eq!(code(&w, &key("a")).await, Some((Class::Transient, "kubernetes-not-synced".into())));
    let id = FeedId { what: What::Deliveries, only: None };
    w.source.trouble(&id, Some(&Fault::new(Class::Denied, "kubernetes-denied", "may not list").remedy("Grant it")));
    assert_eq!(code(&w, &key("a")).await, Some((Class::Transient, "kubernetes-denied".into())));
    assert!(w.source.resolve(&ConnectionRef::namespaced("shop", "prod")).await.unwrap_err().is_transient());
    w.list(What::Deliveries, &[], 5);
    assert!(w.source.get(&key("a")).await.unwrap().is_none());
    assert!(!w.source.is_synced());
    // A watch that is down does not make known things unknown.
    w.source.trouble(&id, Some(&Fault::new(Class::Transient, "kubernetes-unreachable", "down")));
    assert!(w.source.get(&key("a")).await.unwrap().is_none() && w.source.fault().is_some());
    let few = World::new(&["shop"]);
    assert_eq!(code(&few, &Key::new("other", "a")).await, Some((Class::Transient, "namespace-not-watched".into())));
}

#[tokio::test]
async fn one_bad_object_stalls_alone() {
    let mut bad = delivery("bad", 10);
    bad["spec"]["rotation"]["strategy"] = json!("Teleport");
    let w = World::synced(&[delivery("good", 11), bad], &[], &[], &[]);
    assert!(w.source.get(&key("good")).await.unwrap().unwrap().spec.is_ok());
    let fault = w.source.get(&key("bad")).await.unwrap().unwrap().spec.unwrap_err();
    assert_eq!((fault.code.as_str(), fault.field.as_deref()), ("invalid-spec", Some("spec.rotation.strategy")));
    assert!(!fault.remedy.is_empty());
}

#[tokio::test]
async fn newer_wins_and_only_a_complete_list_makes_things_vanish() {
    let w = World::synced(&[delivery("a", 10), delivery("b", 11)], &[], &[], &[]);
    let mut newer = delivery("a", 120);
    newer["metadata"]["generation"] = json!(2);
    newer["spec"]["revoked"] = json!(true);
    w.changed(What::Deliveries, &newer);
    w.changed(What::Deliveries, &delivery("a", 10));
    assert_eq!(w.dirty(), ["shop/a"]);
    assert_eq!(w.source.get(&key("a")).await.unwrap().unwrap().generation, 2);
    // A list that was begun before: `a` is younger than it, `b` is gone, `c` is new.
    let id = FeedId { what: What::Deliveries, only: None };
    let items = vec![w.source.read(&id, raw(&delivery("c", 105)))];
    assert!(!w.source.listed(&id, items, 110, 100), "an answer to a write of ours meanwhile proves nothing");
    assert_eq!(w.source.keys(), [key("a"), key("c")]);
    assert_eq!(w.dirty(), ["shop/b", "shop/c"]);
    w.deleted(&delivery("c", 130));
    w.deleted(&delivery("a", 60));
    assert_eq!(w.source.keys(), [], "deleted is deleted, the uid is the same");
    w.changed(What::Deliveries, &delivery("a", 140));
    let mut former = delivery("a", 135);
    former["metadata"]["uid"] = json!("another");
    w.deleted(&former);
    assert_eq!(w.source.keys(), [key("a")], "the end of a former incarnation is not that of its successor");
}

#[tokio::test]
async fn a_storage_that_was_set_back_is_said_and_believed_when_it_is_accepted() {
    let w = World::synced(&[delivery("a", 90), delivery("b", 91)], &[], &[], &[]);
    assert!(w.list(What::Deliveries, &[delivery("a", 40)], 60));
    assert!(w.source.went_back().await.contains("100 and is at 60"));
    let fault = w.source.get(&key("a")).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (Class::Transient, "kubernetes-went-back"));
    assert!(w.source.put_status(&key("a"), "uid-a", &Status::default()).await.is_err() && w.asked().is_empty());
    w.dirty();
    w.source.accept_back();
    assert_eq!(w.dirty(), ["shop/a"]);
    assert_eq!((w.source.keys(), w.source.newest_of(What::Deliveries)), (vec![key("a")], 60));
    // It may have caught up before we looked: an object that grew younger tells.
    let w = World::synced(&[delivery("a", 90)], &[], &[], &[]);
    assert!(w.list(What::Deliveries, &[delivery("a", 40)], 200));
    assert!(w.source.went_back().await.contains("shop/a"));
    // At start, against what an earlier process saw.
    let state = State::new(feeds(&[]), 500);
    assert!(state.feeds.iter().all(|(id, feed)| (feed.newest == 500) == (id.what == What::Deliveries)));
}

#[tokio::test]
async fn writes_are_taken_over_from_their_answers_and_repeated_only_if_needed() {
    let w = World::synced(&[delivery("a", 10)], &[], &[], &[]);
    let stamp = Stamp::from_annotation("s");
    let mut stamped = delivery("a", 101);
    stamped["metadata"]["annotations"] = json!({"passwordsender.io/stamp": "s"});
    stamped["metadata"]["finalizers"] = json!([FINALIZER]);
    w.answer(200, stamped.clone());
    w.source.put_stamp(&key("a"), "uid-a", &stamp).await.unwrap();
    w.source.put_stamp(&key("a"), "uid-a", &stamp).await.unwrap();
    let asked = w.asked();
    let [(method, uri, body)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((method.as_str(), body["metadata"]["resourceVersion"].as_str()), ("PATCH", Some("10")));
    assert!(uri.starts_with("/apis/passwordsender.io/v1alpha1/namespaces/shop/secretdeliveries/a?"), "{uri}");
    assert_eq!(w.source.get(&key("a")).await.unwrap().unwrap().stamp, Some(stamp.clone()));
    assert_eq!(w.dirty(), Vec::<String>::new());
    let status = Status { summary: "Delivered".into(), observed_generation: 1, ..Status::default() };
    let mut shown = stamped.clone();
    shown["metadata"]["resourceVersion"] = json!("102");
    shown["status"] = serde_json::to_value(&status).unwrap();
    w.answer(200, shown.clone());
    w.source.put_status(&key("a"), "uid-a", &status).await.unwrap();
    let later = Status { next_wake_up: Some("2026-01-01T00:00:00Z".into()), ..status.clone() };
    w.source.put_status(&key("a"), "uid-a", &later).await.unwrap();
    w.changed(What::Deliveries, &shown);
    let asked = w.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].1.contains("/a/status?") && asked[0].1.contains("fieldManager=password-sender") && asked[0].1.contains("force=true"));
    assert_eq!(w.dirty(), Vec::<String>::new(), "our own write is no news");
    shown["metadata"]["resourceVersion"] = json!("103");
    shown["status"] = json!(null);
    w.changed(What::Deliveries, &shown);
    assert_eq!(w.dirty(), ["shop/a"], "a wiped status is");
}

#[tokio::test]
async fn the_watch_may_show_our_own_status_before_the_answer_comes() {
    let w = World::synced(&[delivery("a", 10)], &[], &[], &[]);
    let status = Status { summary: "Delivered".into(), ..Status::default() };
    let mut shown = delivery("a", 101);
    shown["status"] = serde_json::to_value(&status).unwrap();
    let digest = Known::read(&raw(&shown), None).shown.digest.unwrap();
    w.source.state().deliveries.get_mut(&key("a")).map(|k| Arc::make_mut(k).sent = Some(object::Sent { digest, left: None }));
    w.changed(What::Deliveries, &shown);
    assert_eq!(w.dirty(), Vec::<String>::new());
}

#[tokio::test]
async fn another_incarnation_is_never_written() {
    let w = World::synced(&[delivery("a", 10)], &[], &[], &[]);
    let code = |r: Result<(), Fault>| r.err().map(|f| (f.class, f.code));
    let changed = Some((Class::Transient, "object-changed".to_owned()));
    let stamp = Stamp::from_annotation("s");
    assert_eq!(code(w.source.put_stamp(&key("a"), "old", &stamp).await), changed);
    assert_eq!(code(w.source.put_status(&key("a"), "old", &Status::default()).await), changed);
    assert_eq!(code(w.source.release(&key("a"), "old").await), changed);
    assert_eq!(code(w.source.release(&key("gone"), "old").await), None);
    assert!(w.asked().is_empty());
    // A conflict: the object is read again at once, and the next try knows the new version.
    w.answer(409, json!({"kind": "Status", "reason": "Conflict", "code": 409}));
    w.answer(200, delivery("a", 150));
    assert_eq!(code(w.source.put_stamp(&key("a"), "uid-a", &stamp).await), changed);
    assert_eq!(w.asked().len(), 2);
    assert_eq!(w.source.state().deliveries[&key("a")].version, 150);
    // An answer about something that is gone does not bring it back.
    w.deleted(&delivery("a", 160));
    w.source.answered(&key("a"), &raw(&delivery("a", 155)), None);
    assert_eq!(w.source.keys(), []);
}

#[tokio::test]
async fn letting_go_needs_our_finalizer_only_and_forgives_absence() {
    let mut object = delivery("a", 10);
    object["metadata"]["finalizers"] = json!(["other", FINALIZER]);
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let w = World::synced(&[object.clone()], &[], &[], &[]);
    w.answer(404, json!({"kind": "Status", "code": 404}));
    w.source.release(&key("a"), "uid-a").await.unwrap();
    object["metadata"]["finalizers"] = json!(["other"]);
    object["metadata"]["resourceVersion"] = json!("11");
    w.answer(200, object);
    w.source.release(&key("a"), "uid-a").await.unwrap();
    assert!(w.source.get(&key("a")).await.unwrap().is_none(), "others hold it; to us it is gone");
    w.source.release(&key("a"), "uid-a").await.unwrap();
    assert_eq!(w.asked().len(), 2);
}

#[tokio::test]
async fn connections_are_resolved_for_the_namespace_that_asks() {
    let own = ConnectionRef::namespaced;
    let w = World::synced(
        &[],
        &[connection("own", "prod", &json!({}))],
        &[
            connection("all", "listed", &json!({"namespaces": ["shop"]})),
            connection("all", "labelled", &json!({"namespaceSelector": {"matchLabels": {"tier": "a"}}})),
            connection("all", "nobody", &json!({})),
            connection("all", "odd", &json!({"address": "nonsense"})),
        ],
        &[namespace("shop", &json!({"tier": "a"}), 60, false), namespace("other", &json!({"tier": "b"}), 61, false)],
    );
    let code = async |name: ConnectionRef| w.source.resolve(&name).await.map(|c| c.secrets_in).map_err(|f| f.code);
    assert_eq!(code(own("shop", "prod")).await, Ok("shop".into()));
    assert_eq!(code(ConnectionRef::cluster("shop", "listed")).await, Ok("operator".into()));
    assert_eq!(code(ConnectionRef::cluster("shop", "labelled")).await, Ok("operator".into()));
    assert_eq!(code(ConnectionRef::cluster("operator", "nobody")).await, Ok("operator".into()), "to clean up");
    for (name, expected) in [
        (own("other", "prod"), "no-such-connection"),
        (own("shop", "../other/prod"), "no-such-connection"),
        (own("shop", "listed"), "no-such-connection"),
        (ConnectionRef::cluster("shop", "prod"), "no-such-connection"),
        (ConnectionRef::cluster("other", "listed"), "connection-not-allowed"),
        (ConnectionRef::cluster("other", "labelled"), "connection-not-allowed"),
        (ConnectionRef::cluster("shop", "nobody"), "connection-not-allowed"),
        (ConnectionRef::cluster("shop", "odd"), "invalid-spec"),
    ] {
        let fault = w.source.resolve(&name).await.unwrap_err();
        assert_eq!((fault.code.as_str(), fault.class, fault.remedy.is_empty()), (expected, Class::Misconfigured, false), "{name:?}");
    }
}

#[tokio::test]
async fn who_cleans_up_must_be_allowed_to_and_be_at_the_same_place() {
    let own = |cleanup: &str| connection("own", cleanup, &json!({"cleanupConnectionRef": {"name": cleanup}}));
    let w = World::synced(
        &[],
        &[own("good"), own("strange"), own("elsewhere"), own("missing")],
        &[
            connection("all", "good", &json!({"namespaces": ["shop"]})),
            connection("all", "strange", &json!({"namespaces": ["other"]})),
            connection("all", "elsewhere", &json!({"namespaces": ["shop"], "address": "https://evil:8200"})),
        ],
        &[],
    );
    let code = async |name: &str| {
        let fault = w.source.resolve(&ConnectionRef::namespaced("shop", name)).await.err();
        fault.map(|f| (f.code, f.field.unwrap_or_default()))
    };
    let at = |code: &str| Some((code.to_owned(), "spec.cleanupConnectionRef.name".to_owned()));
    assert_eq!(code("good").await, None);
    assert_eq!(code("strange").await, at("connection-not-allowed"));
    assert_eq!(code("elsewhere").await, at("cleanup-elsewhere"));
    assert_eq!(code("missing").await, at("no-such-connection"));
}

#[tokio::test]
async fn a_changed_connection_or_namespace_brings_its_deliveries() {
    let mut through_cluster = delivery("c", 10);
    through_cluster["spec"]["source"]["vault"]["connectionRef"] = json!({"name": "all", "kind": "ClusterVaultConnection"});
    let w = World::synced(&[delivery("a", 10), through_cluster], &[], &[], &[namespace("shop", &json!({}), 60, false)]);
    let mut prod = connection("own", "prod", &json!({}));
    w.changed(What::Connections, &prod);
    assert_eq!(w.dirty(), ["shop/a"]);
    prod["metadata"]["resourceVersion"] = json!("70");
    prod["metadata"]["labels"] = json!({"x": "y"});
    w.changed(What::Connections, &prod);
    assert_eq!(w.dirty(), Vec::<String>::new(), "it leads to the same place");
    prod["metadata"]["resourceVersion"] = json!("71");
    prod["spec"]["namespace"] = json!("team");
    w.changed(What::Connections, &prod);
    assert_eq!(w.dirty(), ["shop/a"]);
    w.changed(What::ClusterConnections, &connection("all", "all", &json!({})));
    assert_eq!(w.dirty(), ["shop/c"]);
    w.changed(What::Namespaces, &namespace("shop", &json!({"tier": "a"}), 80, false));
    assert_eq!(w.dirty(), ["shop/a", "shop/c"]);
    assert!(!w.source.is_ending("shop"));
    w.changed(What::Namespaces, &namespace("shop", &json!({"tier": "a"}), 81, true));
    assert!(w.source.is_ending("shop") && w.source.is_ending("never-seen"));
}

#[tokio::test]
async fn a_delivery_whose_debt_nobody_could_pay_is_warned_of_once_it_is_taken_up() {
    let mut rotates = delivery("a", 10);
    rotates["spec"]["rotation"] = json!({"strategy": "WriteNewVersion", "afterRetrieval": "1h", "keys": ["password"]});
    rotates["spec"]["source"]["vault"]["kv"]["keys"] = json!(["password"]);
    let w = World::synced(&[rotates.clone(), delivery("b", 10)], &[connection("own", "prod", &json!({}))], &[], &[]);
    let lacks = |name: &str| w.source.state().lacks_cleanup(&key(name), "operator");
    assert!(lacks("a") && !lacks("b") && !lacks("none"), "what is not rotated leaves nothing undone");
}

/// What a delivery can name: a Secret and a service account, by name. Neither leads out of its namespace.
#[tokio::test]
async fn names_that_lead_elsewhere_are_not_even_asked_for() {
    let w = World::synced(&[], &[], &[], &[]);
    for name in ["../other/secrets/x", "other/x", "x?y", "x#y", "..", "", "X", "x%2Fy"] {
        let secret = SecretKeyRef { name: name.into(), key: "k".into() };
        let fault = w.source.secret("shop", &secret).await.err().unwrap();
        assert_eq!((fault.class, fault.code.as_str()), (Class::Misconfigured, "secret-unavailable"), "{name}");
        let fault = w.source.service_account_token("shop", name, "vault").await.err().unwrap();
        assert_eq!((fault.class, fault.code.as_str()), (Class::Misconfigured, "no-such-service-account"), "{name}");
    }
    assert!(w.asked().is_empty());
    // And in the schema: no reference has a field for a namespace.
    for (pointer, reference) in [
        ("/source/vault/connectionRef/namespace", None),
        ("/verification/passphrase/secretKeyRef/namespace", Some(json!({"name": "n", "key": "k"}))),
    ] {
        let mut spec = read::tests::good();
        if let Some(reference) = reference {
            spec["verification"] = json!({"passphrase": {"secretKeyRef": reference}});
        }
        let parent = pointer.rsplit_once('/').unwrap().0;
        spec.pointer_mut(parent).unwrap()["namespace"] = json!("other");
        let fault = read::spec(&read::tests::delivery(&spec)).unwrap_err();
        assert_eq!(fault.field.as_deref(), Some(format!("spec{}", pointer.replace('/', ".")).as_str()));
    }
    for auth in [
        json!({"kubernetes": {"role": "r", "audience": "vault", "serviceAccountRef": {"name": "s", "namespace": "other"}}}),
        json!({"token": {"secretKeyRef": {"name": "s", "key": "k", "namespace": "other"}}}),
        json!({"appRole": {"roleId": "r", "secretIdRef": {"name": "s", "key": "k", "namespace": "other"}}}),
    ] {
        let object = connection("own", "prod", &json!({ "auth": auth }));
        let fault = read::connection(&raw(&object)).unwrap_err();
        assert!(fault.field.as_deref().is_some_and(|f| f.ends_with(".namespace")), "{fault}");
    }
}

#[tokio::test]
async fn refusals_name_the_role_to_grant() {
    let w = World::synced(&[], &[], &[], &[]);
    let secret = SecretKeyRef { name: "vault".into(), key: "token".into() };
    let status = |code: u16, reason: &str| json!({"kind": "Status", "code": code, "reason": reason, "message": "secret stuff"});
    for (code, reason, expected) in [
        (403, "Forbidden", (Class::Denied, "secret-forbidden")),
        (404, "NotFound", (Class::Misconfigured, "secret-unavailable")),
        (500, "InternalError", (Class::Transient, "kubernetes-failed")),
    ] {
        w.answer(code, status(code, reason));
        let fault = w.source.secret("shop", &secret).await.err().unwrap();
        assert_eq!((fault.class, fault.code.as_str()), expected);
        assert!(!fault.to_string().contains("secret stuff"));
    }
    for (code, reason, expected) in [
        (403, "Forbidden", (Class::Denied, "token-forbidden")),
        (404, "NotFound", (Class::Misconfigured, "no-such-service-account")),
    ] {
        w.answer(code, status(code, reason));
        let fault = w.source.service_account_token("shop", "sender", "vault").await.err().unwrap();
        assert_eq!((fault.class, fault.code.as_str()), expected);
        assert!(fault.remedy.contains("namespace shop") || fault.remedy.contains("-n shop"), "{fault}");
    }
    let mut ending = status(403, "Forbidden");
    ending["details"] = json!({"causes": [{"reason": "NamespaceTerminating"}]});
    w.answer(403, ending);
    let fault = w.source.service_account_token("shop", "sender", "vault").await.err().unwrap();
    assert_eq!(fault.code, "kubernetes-terminating");
    let asked = w.asked();
    assert_eq!(asked.last().unwrap().2["spec"], json!({"audiences": ["vault"], "expirationSeconds": 600}));
}

#[test]
fn ten_thousand_resting_deliveries_are_small() {
    let known = Known::read(&read::tests::delivery(&read::tests::good()), None);
    // What lies inline, and the spec that is shared; texts are counted by the JSON form of the spec.
    let inline = std::mem::size_of::<Known>() + std::mem::size_of::<ps_core::delivery::Spec>();
    let texts = serde_json::to_vec(known.spec.as_ref().unwrap().as_ref()).unwrap().len();
    assert!(inline + texts < 4096, "{inline} + {texts}");
}

#[tokio::test]
async fn zz_measure() {
    let rss = || std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4;
    let w = World::new(&[]);
    let mut spec = read::tests::good();
    spec["fields"] = json!([{"label": "Username", "key": "user", "kind": "text"}, {"label": "Password", "key": "pass", "kind": "password"}]);
    spec["context"] = json!({"title": "Access to the staging database", "purpose": "migration", "environment": "staging", "note": "x".repeat(100)});
    spec["notify"] = json!({"email": "platform@example.com", "events": ["Retrieved", "Expired"]});
    let status = ps_core::status::project(None, None, None, None, Timestamp::from_secs(1));
    let mut raws = Vec::new();
    for n in 0..300 {
        let mut o = delivery(&format!("delivery-number-{n}"), 100 + n);
        o["spec"] = spec.clone();
        o["status"] = serde_json::to_value(&status).unwrap();
        o["metadata"]["annotations"] = json!({"passwordsender.io/stamp": "a".repeat(97)});
        o["metadata"]["finalizers"] = json!([FINALIZER]);
        raws.push(o.to_string());
    }
    let id = FeedId { what: What::Deliveries, only: None };
    let before = rss();
    let t = std::time::Instant::now();
    let cpu = || { let s = std::fs::read_to_string("/proc/thread-self/stat").unwrap(); let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect(); f[11].parse::<u64>().unwrap() };
    let c0 = cpu();
    let mut items = Vec::new();
    for r in &raws { items.push(Sink::read(&w.source, &id, serde_json::from_str(r).unwrap())); }
    let took = t.elapsed();
    println!("MEASURE cpu ticks {}", cpu() - c0);
    {
        let v: Vec<Value> = raws.iter().map(|r| serde_json::from_str(r).unwrap()).collect();
        let c0 = cpu();
        for o in &v { let mut o = o.clone(); o["apiVersion"] = json!("passwordsender.io/v1alpha1"); o["kind"] = json!("SecretDelivery"); ps_api::validate(ps_api::Kind::Delivery, &o).unwrap(); }
        println!("MEASURE validate only cpu ticks {}", cpu() - c0);
    }
    w.source.listed(&id, items, 100_000, 0);
    let after = rss();
    println!("MEASURE {took:?} for 5000, {} KiB, {} B each", after - before, (after - before) * 1024 / 5000);
    let known = w.source.state().deliveries.values().next().unwrap().clone();
    println!("MEASURE {:?}", known.spec.as_ref().err());
    let t = std::time::Instant::now();
    for r in &raws { items2(&w, &id, r); }
    println!("MEASURE again {:?}", t.elapsed());
}
fn items2(w: &World, id: &FeedId, r: &str) { let i = Sink::read(&w.source, id, serde_json::from_str(r).unwrap()); Sink::changed(&w.source, id, i); }
