//! An API server of Secrets in memory, for tests of a table: real servers don't lose answers when asked to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// What is done to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Do {
    /// Answer as a server does.
    Serve,
    /// Answer with a status, without doing it.
    Refuse(u16),
    /// Do it, and answer with a status.
    DoneBut(u16),
    /// Do it, and answer nothing.
    DoneButDrop,
    /// Do it, let somebody else change it, and answer nothing.
    DoneThenMeddled,
    /// Do nothing, answer nothing.
    Drop,
    /// Let somebody else change it, then serve.
    Meddled,
}

#[derive(Default)]
struct State {
    number: u64,
    secrets: BTreeMap<String, Value>,
    plan: VecDeque<Do>,
    asked: Vec<String>,
}

#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<State>>);

impl Fake {
    pub(crate) fn client(&self) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { fake.answer(request).await }
        });
        Client::new(service, "default")
    }

    /// What happens to the requests from here on; then they are served.
    pub(crate) fn plan(&self, plan: &[Do]) {
        let mut state = self.0.lock().unwrap();
        state.plan = plan.iter().copied().collect();
        state.asked.clear();
    }

    /// Methods of the requests since the plan.
    pub(crate) fn asked(&self) -> String {
        self.0.lock().unwrap().asked.join(" ")
    }

    /// Changes a Secret behind everybody's back.
    pub(crate) fn edit(&self, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut state = self.0.lock().unwrap();
        state.number += 1;
        let number = state.number;
        let secret = state.secrets.entry(name.to_owned()).or_insert_with(|| json!({"metadata": {"name": name}}));
        edit(secret);
        if secret["metadata"]["uid"].is_null() {
            secret["metadata"]["uid"] = json!(format!("uid-{number}"));
        }
        secret["metadata"]["resourceVersion"] = json!(number.to_string());
    }

    /// A Secret as it is.
    pub(crate) fn see(&self, name: &str) -> Value {
        self.0.lock().unwrap().secrets.get(name).cloned().unwrap_or_default()
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let mut state = self.0.lock().unwrap();
        state.asked.push(parts.method.to_string());
        let what = state.plan.pop_front().unwrap_or(Do::Serve);
        let broken = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let refusal = |code: u16| {
            let body = json!({"kind": "Status", "status": "Failure", "code": code, "message": "hunter2", "reason": ""});
            reply(code, &body)
        };
        match what {
            Do::Drop => return Err(broken()),
            Do::Refuse(code) => return Ok(refusal(code)),
            Do::Serve | Do::DoneBut(_) | Do::DoneButDrop | Do::DoneThenMeddled | Do::Meddled => {}
        }
        let name = parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
        if what == Do::Meddled {
            drop(state);
            self.edit(&name, |secret| secret["metadata"]["annotations"] = json!({}));
            state = self.0.lock().unwrap();
        }
        let (code, answer) = state.serve(&parts.method, &name, &body);
        match what {
            Do::DoneBut(code) => Ok(refusal(code)),
            Do::DoneButDrop => Err(broken()),
            Do::DoneThenMeddled => {
                drop(state);
                self.edit(&name, |secret| secret["metadata"]["annotations"] = json!({}));
                Err(broken())
            }
            _ => Ok(reply(code, &answer)),
        }
    }
}

impl State {
    fn serve(&mut self, method: &Method, name: &str, body: &[u8]) -> (u16, Value) {
        let sent: Value = serde_json::from_slice(body).unwrap_or_default();
        let status = |code: u16, reason: &str, name: &str| {
            let details = json!({"name": name, "kind": "secrets"});
            (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "details": details}))
        };
        let version = |secret: &Value| secret["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        let put = |name: &str, mut secret: Value, state: &mut Self| {
            state.number += 1;
            secret["metadata"]["resourceVersion"] = json!(state.number.to_string());
            state.secrets.insert(name.to_owned(), secret.clone());
            secret
        };
        let found = self.secrets.get(name).cloned();
        match (method, found) {
            (&Method::POST, _) => {
                let name = sent["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                if self.secrets.contains_key(&name) {
                    return status(409, "AlreadyExists", &name);
                }
                let mut sent = sent;
                sent["metadata"]["uid"] = json!(format!("uid-{}", self.number + 1));
                (201, put(&name, sent, self))
            }
            (_, None) => status(404, "NotFound", name),
            (&Method::GET, Some(found)) => (200, found),
            (&Method::PUT, Some(found)) => {
                if version(&found) != version(&sent) {
                    return status(409, "Conflict", name);
                }
                if found["immutable"] == json!(true) && sent["immutable"] != json!(true) {
                    return status(422, "Invalid", name);
                }
                let mut sent = sent;
                for kept in ["deletionTimestamp", "uid"] {
                    sent["metadata"][kept] = found["metadata"][kept].clone();
                }
                let answer = put(name, sent, self);
                if answer["metadata"]["deletionTimestamp"].is_string() && answer["metadata"]["finalizers"].is_null() {
                    self.secrets.remove(name);
                }
                (200, answer)
            }
            (&Method::DELETE, Some(mut found)) => {
                for asked in ["resourceVersion", "uid"] {
                    let asked_for = &sent["preconditions"][asked];
                    if !asked_for.is_null() && *asked_for != found["metadata"][asked] {
                        return status(409, "Conflict", name);
                    }
                }
                if found["metadata"]["finalizers"].is_array() {
                    found["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                    return (200, put(name, found, self));
                }
                self.secrets.remove(name);
                (200, json!({"kind": "Status", "status": "Success"}))
            }
            (_, Some(mut found)) => {
                found["metadata"]["finalizers"] = Value::Null;
                self.secrets.remove(name);
                (200, found)
            }
        }
    }
}

fn reply(code: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string().into_bytes()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}
