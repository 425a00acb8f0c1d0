//! What the operator and the gateway asked the API server for, from its audit log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use anyhow::{Context, Result};
use ps_testbed::Cluster;
use serde_json::Value;

use super::stand::{LINKS, OWN, TENANT};
use crate::bench::standalone::time_of_day;

/// A request of ours that was answered with success.
pub(super) struct Request {
    /// Verb, resource, and in whose namespace: `update secrets (ledger)`.
    pub(super) what: String,
    /// Seconds since midnight.
    pub(super) at: f64,
    /// Whether it changes something that is stored.
    pub(super) writes: bool,
    pub(super) is_event: bool,
}

/// A place in the audit log.
pub(super) fn here(cluster: &Cluster) -> Result<u64> {
    Ok(std::fs::metadata(cluster.audit_log())?.len())
}

/// Our requests from a place in the log on. The Lease of the election, which is renewed whatever happens, is left out.
pub(super) fn since(cluster: &Cluster, place: u64) -> Result<Vec<Request>> {
    let mut file = File::open(cluster.audit_log()).context("the audit log")?;
    file.seek(SeekFrom::Start(place))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let lines = text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    lines.filter_map(|line| request(&line).transpose()).collect()
}

fn request(line: &Value) -> Result<Option<Request>> {
    let text = |pointer: &str| line.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let code = line.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default();
    let ours = text("/user/username").starts_with(&format!("system:serviceaccount:{OWN}:password-sender-"));
    let resource = text("/objectRef/resource");
    if !ours || text("/stage") != "ResponseComplete" || !(200..300).contains(&code) || resource == "leases" {
        return Ok(None);
    }
    let (verb, sub) = (text("/verb"), text("/objectRef/subresource"));
    let whose = match text("/objectRef/namespace") {
        OWN => " (ledger)",
        LINKS => " (links)",
        TENANT => " (tenant)",
        _ => "",
    };
    let slash = if sub.is_empty() { "" } else { "/" };
    Ok(Some(Request {
        what: format!("{verb} {resource}{slash}{sub}{whose}"),
        at: time_of_day(text("/requestReceivedTimestamp"))?,
        // A TokenRequest is a creation that stores nothing.
        writes: matches!(verb, "create" | "update" | "patch" | "delete") && sub != "token",
        is_event: resource == "events",
    }))
}

/// How often each kind was asked for.
pub(super) fn by_kind<'a>(requests: impl Iterator<Item = &'a Request>) -> BTreeMap<&'a str, usize> {
    let mut kinds = BTreeMap::new();
    for request in requests {
        *kinds.entry(request.what.as_str()).or_default() += 1;
    }
    kinds
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_our_own_requests_that_succeeded_count() {
        let line = |user: &str, verb: &str, resource: &str, code: u16| {
            json!({"stage": "ResponseComplete", "verb": verb, "requestReceivedTimestamp": "2026-11-22T00:00:01.5Z",
                "objectRef": {"resource": resource, "namespace": LINKS}, "responseStatus": {"code": code},
                "user": {"username": format!("system:serviceaccount:{OWN}:{user}")}})
        };
        let found = request(&line("password-sender-gateway", "update", "secrets", 200)).unwrap().unwrap();
        assert_eq!((found.what.as_str(), found.at, found.writes), ("update secrets (links)", 1.5, true));
        assert!(!request(&line("password-sender-operator", "get", "secrets", 200)).unwrap().unwrap().writes);
        assert!(request(&line("password-sender-operator", "update", "leases", 200)).unwrap().is_none());
        assert!(request(&line("password-sender-operator", "update", "secrets", 409)).unwrap().is_none());
        assert!(request(&line("somebody", "update", "secrets", 200)).unwrap().is_none());
    }
}
