//! The engine's service: forms of the protocol in, [`Mount`] calls, forms of the protocol out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ps_plugin_engine::{Answer, Failure, Kind, Lease, LeaseRequest, Operation, Request, Response};
use serde_json::{Map, Value, json};
use tonic::{Request as Call, Response as Reply, Status};

use crate::Host;
use crate::broker::Broker;
use crate::program::{Mount, Program};
use crate::proto::pb;
use crate::proto::pb::backend_server::Backend;

/// A secrets engine, in `Type`.
const SECRETS: u32 = 1;
/// What a server asks about a path before it has looked at who asks; it brings the whole body.
const BEFORE_AUTHENTICATION: [&str; 3] = ["resolve-path", "resolve-role", "alias-lookahead"];
/// Blanks before the data of an answer, which JSON allows. h2 copies small frames, and the first 256 bytes of others (1 KiB
/// where nothing is written in pieces), into a buffer of the connection that it never wipes, and hands on the rest from
/// memory that is wiped when it was sent. A link and its opening code must be in the rest.
const ASIDE: usize = 1024;

/// The mount that the server has set up, if any.
pub(crate) struct Service<P> {
    program: P,
    broker: Broker,
    mount: Mutex<Option<Arc<dyn Mount>>>,
}

impl<P: Program> Service<P> {
    pub(crate) fn new(program: P, broker: Broker) -> Self {
        Self { program, broker, mount: Mutex::new(None) }
    }

    fn mount(&self) -> Result<Arc<dyn Mount>, Status> {
        let mount = self.mount.lock().unwrap_or_else(PoisonError::into_inner).clone();
        mount.ok_or_else(|| Status::failed_precondition("the mount is not set up"))
    }
}

#[tonic::async_trait]
impl<P: Program> Backend for Service<P> {
    async fn handle_request(&self, call: Call<pb::HandleRequestArgs>) -> Result<Reply<pb::HandleRequestReply>, Status> {
        let asked = call.into_inner().request.unwrap_or_default();
        // Nothing of it is looked at, whatever the path.
        if BEFORE_AUTHENTICATION.contains(&asked.operation.as_str()) {
            return Ok(Reply::new(write(Err(Failure::new(Kind::UnsupportedOperation, "")))));
        }
        let mount = self.mount()?;
        let answer = match read(asked) {
            // A task of its own: a caller that hangs up must not leave something half done.
            Ok(request) => match tokio::spawn(async move { mount.handle(request).await }).await {
                Ok(answer) => answer,
                Err(_) => {
                    tracing::error!("a request handler ended early");
                    Err(Failure::new(Kind::Internal, "internal error"))
                }
            },
            Err(failure) => Err(failure),
        };
        Ok(Reply::new(write(answer)))
    }

    async fn special_paths(&self, _: Call<pb::Empty>) -> Result<Reply<pb::SpecialPathsReply>, Status> {
        let paths = pb::Paths { seal_wrap_storage: self.program.seal_wrapped(), ..pb::Paths::default() };
        Ok(Reply::new(pb::SpecialPathsReply { paths: Some(paths) }))
    }

    async fn handle_existence_check(
        &self,
        _: Call<pb::HandleExistenceCheckArgs>,
    ) -> Result<Reply<pb::HandleExistenceCheckReply>, Status> {
        // Not offered: every write is an update.
        Ok(Reply::new(pb::HandleExistenceCheckReply::default()))
    }

    async fn cleanup(&self, _: Call<pb::Empty>) -> Result<Reply<pb::Empty>, Status> {
        drop(self.mount.lock().unwrap_or_else(PoisonError::into_inner).take());
        Ok(Reply::new(pb::Empty {}))
    }

    async fn invalidate_key(&self, call: Call<pb::InvalidateKeyArgs>) -> Result<Reply<pb::Empty>, Status> {
        // One that is not set up has nothing that could become stale.
        if let Ok(mount) = self.mount() {
            mount.invalidate(&call.into_inner().key);
        }
        Ok(Reply::new(pb::Empty {}))
    }

    async fn setup(&self, call: Call<pb::SetupArgs>) -> Result<Reply<pb::SetupReply>, Status> {
        let err = match self.broker.channel(call.into_inner().broker_id).await {
            Ok(channel) => {
                let mount = self.program.mount(Host::new(channel)).await;
                *self.mount.lock().unwrap_or_else(PoisonError::into_inner) = Some(mount);
                String::new()
            }
            Err(error) => error,
        };
        Ok(Reply::new(pb::SetupReply { err }))
    }

    async fn initialize(&self, _: Call<pb::InitializeArgs>) -> Result<Reply<pb::InitializeReply>, Status> {
        let err = self.mount()?.initialize().await.err();
        let err = err.map(|err_msg| pb::ProtoError { err_type: 0, err_msg, err_code: 0 });
        Ok(Reply::new(pb::InitializeReply { err }))
    }

    async fn r#type(&self, _: Call<pb::Empty>) -> Result<Reply<pb::TypeReply>, Status> {
        Ok(Reply::new(pb::TypeReply { r#type: SECRETS }))
    }
}

fn read(asked: pb::Request) -> Result<Request, Failure> {
    let pb::Request { operation, path, data, secret, wrap_info } = asked;
    let lease = secret.map(|secret| {
        let increment = secret.lease_options.map_or(0, |options| options.increment);
        LeaseRequest {
            internal: object(&secret.internal_data).unwrap_or_default(),
            increment: Duration::from_nanos(u64::try_from(increment).unwrap_or(0)),
        }
    });
    let data = object(&data).ok_or_else(|| Failure::new(Kind::Invalid, "the request is no JSON object"))?;
    let wrapped = wrap_info.is_some_and(|wrap| wrap.ttl > 0);
    Ok(Request { operation: Operation::parse(&operation), path, data, lease, wrapped })
}

/// Nothing and null are an empty object.
fn object(text: &str) -> Option<Map<String, Value>> {
    if text.is_empty() {
        return Some(Map::new());
    }
    match serde_json::from_str(text).ok()? {
        Value::Object(object) => Some(object),
        Value::Null => Some(Map::new()),
        _ => None,
    }
}

fn write(answer: Answer) -> pb::HandleRequestReply {
    match answer {
        Ok(None) => pb::HandleRequestReply::default(),
        Ok(Some(Response { data, lease, warnings })) => {
            let data = format!("{:ASIDE$}{data}", "");
            let response = pb::Response { secret: lease.map(secret), data, warnings };
            pb::HandleRequestReply { response: Some(response), err: None }
        }
        Err(Failure { kind, message }) => {
            let (err_type, err_code, with_words) = match kind {
                Kind::Host => (0, 0, false),
                Kind::Internal => (2, 0, false),
                Kind::Invalid => (7, 0, true),
                Kind::NotFound => (6, 0, true),
                Kind::UnsupportedOperation => (5, 0, false),
                Kind::UnsupportedPath => (6, 0, false),
                Kind::Status(code) => (3, i64::from(code.clamp(400, 599)), false),
            };
            // With these two the message itself is dropped, and the response's words are shown.
            let response = with_words
                .then(|| pb::Response { data: json!({ "error": message }).to_string(), ..pb::Response::default() });
            let err = Some(pb::ProtoError { err_type, err_msg: message, err_code });
            pb::HandleRequestReply { response, err }
        }
    }
}

fn secret(lease: Lease) -> pb::Secret {
    let nanos = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
    let Lease { ttl, max_ttl, internal } = lease;
    pb::Secret {
        lease_options: Some(pb::LeaseOptions {
            ttl: nanos(ttl),
            renewable: true,
            increment: 0,
            // Without it the server refuses the whole answer.
            issue_time: Some(SystemTime::now().into()),
            max_ttl: nanos(max_ttl),
        }),
        internal_data: Value::Object(internal).to_string(),
        lease_id: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(operation: &str, data: &str) -> pb::Request {
        pb::Request {
            operation: operation.to_owned(),
            path: "p".to_owned(),
            data: data.to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn bodies_are_objects_or_nothing() {
        for (data, members) in [("", 0), ("null", 0), ("{}", 0), (r#"{"a":1,"b":null}"#, 2)] {
            assert_eq!(read(asked("update", data)).unwrap().data.len(), members, "{data}");
        }
        for bad in ["[]", "1", "\"x\"", "{", "true", &"[".repeat(5000)] {
            assert_eq!(read(asked("update", bad)).unwrap_err().kind, Kind::Invalid);
        }
    }

    #[test]
    fn operations_that_nobody_knows_are_all_the_same() {
        for name in ["", "patch", "scan", "header", "recover", "READ", "create "] {
            assert_eq!(Operation::parse(name), Operation::Other, "{name}");
        }
    }

    #[test]
    fn answers_have_the_forms_that_a_server_takes() {
        let done = write(Ok(None));
        assert!(done.response.is_none() && done.err.is_none());
        let failure = |kind| write(Err(Failure::new(kind, "words")));
        for (kind, err_type, err_code, words) in [
            (Kind::Host, 0, 0, false),
            (Kind::Internal, 2, 0, false),
            (Kind::Invalid, 7, 0, true),
            (Kind::NotFound, 6, 0, true),
            (Kind::UnsupportedOperation, 5, 0, false),
            (Kind::UnsupportedPath, 6, 0, false),
            (Kind::Status(410), 3, 410, false),
            (Kind::Status(204), 3, 400, false),
            (Kind::Status(999), 3, 599, false),
        ] {
            let reply = failure(kind);
            let err = reply.err.unwrap();
            assert_eq!((err.err_type, err.err_code), (err_type, err_code), "{kind:?}");
            assert_eq!(reply.response.map(|r| r.data), words.then(|| r#"{"error":"words"}"#.to_owned()));
        }
        let lease = Lease { ttl: Duration::from_secs(1), max_ttl: Duration::ZERO, internal: Map::new() };
        let leased = write(Ok(Some(Response { lease: Some(lease), ..Response::data(Value::Null) })));
        let secret = leased.response.unwrap().secret.unwrap();
        assert_eq!(secret.internal_data, "{}");
        assert!(secret.lease_options.unwrap().issue_time.is_some());
    }
}
