//! What the API server was asked, from its audit log.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::kubernetes::Cluster;

/// One request, as far as it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Empty for the core group, as for all that is not there.
    pub api_group: String,
    /// `secrets`; empty for a request about no resource (`/readyz`, discovery).
    pub resource: String,
    /// `status`, `finalizers`, `token`.
    pub subresource: String,
    /// Empty for what is cluster-wide.
    pub namespace: String,
    /// Empty for lists and creations with a made-up name.
    pub name: String,
    /// `admin`, `system:serviceaccount:NAMESPACE:NAME`.
    pub user: String,
    /// The status of the answer.
    pub code: u16,
    /// `ResponseComplete`; `ResponseStarted` for a watch that is open still.
    pub stage: String,
    /// Path and query.
    pub uri: String,
}

impl Cluster {
    /// The audit log: a file with one JSON object a line.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.layout().audit_log()
    }

    /// All requests so far, each once, in the order in which they began to be answered. A request's line may come a
    /// moment after its answer, so wait for what you expect ([`crate::wait_until`]). The API server's own are left out.
    ///
    /// # Errors
    /// If the log can't be read.
    pub fn audit_events(&self) -> Result<Vec<AuditEvent>> {
        let bytes = fs::read(self.audit_log()).context("reading the audit log")?;
        Ok(parse(&bytes))
    }
}

/// Lines of a later stage replace those of an earlier one. A last line that is not whole yet is left for the next time.
fn parse(log: &[u8]) -> Vec<AuditEvent> {
    let mut events: Vec<AuditEvent> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for line in log.split(|byte| *byte == b'\n') {
        let Ok(value) = serde_json::from_slice::<Value>(line) else { continue };
        let event = event(&value);
        let id = text(&value, "/auditID");
        match places.get(&id).and_then(|place| events.get_mut(*place)) {
            Some(earlier) => *earlier = event,
            None => {
                places.insert(id, events.len());
                events.push(event);
            }
        }
    }
    events
}

fn event(value: &Value) -> AuditEvent {
    let code = value.pointer("/responseStatus/code").and_then(Value::as_u64);
    AuditEvent {
        verb: text(value, "/verb"),
        api_group: text(value, "/objectRef/apiGroup"),
        resource: text(value, "/objectRef/resource"),
        subresource: text(value, "/objectRef/subresource"),
        namespace: text(value, "/objectRef/namespace"),
        name: text(value, "/objectRef/name"),
        user: text(value, "/user/username"),
        code: code.and_then(|code| u16::try_from(code).ok()).unwrap_or_default(),
        stage: text(value, "/stage"),
        uri: text(value, "/requestURI"),
    }
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_once_with_its_last_stage() {
        let log = br#"{"auditID":"a","stage":"ResponseStarted","verb":"watch","objectRef":{"resource":"secrets","namespace":"n"},"user":{"username":"u"},"responseStatus":{"code":200}}
{"auditID":"b","stage":"ResponseComplete","verb":"update","objectRef":{"resource":"secrets","namespace":"n","name":"x"},"responseStatus":{"code":409}}
{"auditID":"a","stage":"ResponseComplete","verb":"watch","objectRef":{"resource":"secrets","namespace":"n"},"user":{"username":"u"},"responseStatus":{"code":200}}
{"auditID":"c","stage":"Respon"#;
        let events = parse(log);
        let seen: Vec<_> = events.iter().map(|event| (event.verb.as_str(), event.stage.as_str(), event.code)).collect();
        assert_eq!(seen, [("watch", "ResponseComplete", 200), ("update", "ResponseComplete", 409)]);
        assert_eq!((events[0].user.as_str(), events[1].name.as_str()), ("u", "x"));
    }
}
