//! Server-side apply, without kubectl: a process of that costs a second of a core, and tests apply thousands of objects.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::http;
use crate::kubernetes::Cluster;

/// Who applies, and how: as `kubectl apply --server-side --force-conflicts` does, which refuses unknown fields as well.
const HOW: &str = "fieldManager=testbed&force=true&fieldValidation=Strict";

/// Where the objects of a kind are.
#[derive(Debug, Clone, Deserialize)]
struct Resource {
    name: String,
    kind: String,
    namespaced: bool,
}

/// An `APIResourceList`.
#[derive(Deserialize)]
struct List {
    resources: Vec<Resource>,
}

/// What the API server has said of its kinds, by `apiVersion`, to this process.
#[derive(Debug, Default)]
pub(crate) struct Resources(Mutex<HashMap<String, Vec<Resource>>>);

impl Resources {
    fn known(&self, version: &str, kind: &str) -> Option<Resource> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(version)?.iter().find(|resource| resource.kind == kind).cloned()
    }

    fn learn(&self, version: &str, resources: Vec<Resource>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(version.to_owned(), resources);
    }
}

impl Cluster {
    /// Server-side apply of manifests (YAML or JSON, any number of documents), as `admin` under the field manager `testbed`.
    /// An object that names no namespace and has one is in `default`. What was applied is in the watch cache when this ends, so
    /// whoever watches is told of it before anything that comes later.
    ///
    /// # Errors
    /// If a document is no object, or the API server refuses it; those before it are applied then.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        for document in serde_yaml::Deserializer::from_str(yaml) {
            let document = Value::deserialize(document).context("not YAML")?;
            if document.is_null() {
                continue;
            }
            match document.get("items").and_then(Value::as_array) {
                Some(items) => {
                    for item in items {
                        self.apply_one(item).await?;
                    }
                }
                None => self.apply_one(&document).await?,
            }
        }
        Ok(())
    }

    async fn apply_one(&self, object: &Value) -> Result<()> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let required = |pointer: &str| text(pointer).with_context(|| format!("an object without {pointer}: {object}"));
        let (version, name) = (required("/apiVersion")?, required("/metadata/name")?);
        let resource = self.resource(version, required("/kind")?).await?;
        let namespace = text("/metadata/namespace").unwrap_or("default");
        let place = if resource.namespaced { format!("namespaces/{namespace}/") } else { String::new() };
        let path = format!("{}/{place}{}/{name}", root(version), resource.name);
        let authorization = format!("Bearer {}", self.admin_token());
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Accept", "application/json"),
            ("Content-Type", "application/apply-patch+yaml"),
        ];
        let url = format!("{}{path}?{HOW}", self.server());
        let (status, answer) = http::request_by(self.client()?, "PATCH", &url, &headers, Some(object)).await?;
        if !(200..300).contains(&status) {
            let message = answer.get("message").cloned().unwrap_or(answer);
            bail!("the API server answered {status} to the apply of {path}: {message}");
        }
        if let Some(version) = answer.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
            // A read that may be no older than this waits for the cache. The object may be gone again.
            self.request("GET", &format!("{path}?resourceVersion={version}"), None).await?;
        }
        Ok(())
    }

    /// Asked once per version, and again for a kind that may have come since.
    async fn resource(&self, version: &str, kind: &str) -> Result<Resource> {
        if let Some(known) = self.resources().known(version, kind) {
            return Ok(known);
        }
        let list: List = serde_json::from_value(self.call("GET", &root(version), None).await?)?;
        // Such as `pods/status`.
        let whole = list.resources.into_iter().filter(|resource| !resource.name.contains('/')).collect();
        self.resources().learn(version, whole);
        self.resources().known(version, kind).with_context(|| format!("the API server has no {kind} in {version}"))
    }
}

/// Where an `apiVersion` is served.
fn root(version: &str) -> String {
    if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") }
}
