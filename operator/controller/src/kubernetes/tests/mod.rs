//! The rules of the state, and the ports over it, with a server that is told what to answer.

mod ports;
mod rules;

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
            allow_http: false,
            vault_addresses: Vec::new(),
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
