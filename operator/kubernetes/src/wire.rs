//! Secrets as they are sent and answered, as far as we use them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::core::Status;
use ps_core::error::Fault;
use serde::{Deserialize, Serialize};

use crate::fault::{self, Doing};
use crate::table::{Row, RowMeta};

/// Marks each write, to know it again.
const MARK: &str = "passwordsender.io/write";

/// A Secret as it is sent and answered, as far as we use it. It must not be `Debug`.
#[derive(Serialize, Deserialize)]
pub(crate) struct WireSecret {
    #[serde(rename = "apiVersion", default)]
    api_version: String,
    #[serde(rename = "kind", default)]
    object: String,
    pub(crate) metadata: WireMeta,
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    /// We never send it; whoever may update could.
    #[serde(default, skip_serializing)]
    pub(crate) immutable: bool,
    #[serde(default, deserialize_with = "or_null")]
    data: BTreeMap<String, String>,
}

/// The metadata of any object.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireMeta {
    #[serde(default)]
    name: String,
    /// Which incarnation it is.
    #[serde(default, skip_serializing)]
    pub(crate) uid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource_version: Option<String>,
    /// Set while finalizers keep what was deleted.
    #[serde(default, skip_serializing)]
    deletion_timestamp: Option<String>,
    #[serde(default, deserialize_with = "or_null", skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_null", skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
}

/// An object of which only the metadata is read: in lists, in watches, and in answers to writes.
#[derive(Clone, Deserialize)]
pub(crate) struct WireHead {
    pub(crate) metadata: WireMeta,
}

/// The answer to a deletion: a Status, or the object that its finalizers keep.
#[derive(Deserialize)]
pub(crate) struct WireDeleted {
    #[serde(default)]
    pub(crate) metadata: WireKept,
}

#[derive(Default, Deserialize)]
pub(crate) struct WireKept {
    #[serde(default, deserialize_with = "or_null")]
    pub(crate) finalizers: Vec<String>,
}

#[derive(Deserialize)]
pub(crate) struct WireList {
    pub(crate) metadata: WireListMeta,
    #[serde(default, deserialize_with = "or_null")]
    pub(crate) items: Vec<WireHead>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireListMeta {
    #[serde(default)]
    pub(crate) resource_version: Option<String>,
    #[serde(default, rename = "continue")]
    pub(crate) next: Option<String>,
}

impl WireMeta {
    /// Whether it was deleted and only finalizers keep it.
    pub(crate) fn is_going(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    pub(crate) fn version(&self, doing: &Doing) -> Result<u64, Fault> {
        number(&self.resource_version, doing)
    }

    pub(crate) fn meta(mut self, doing: &Doing) -> Result<RowMeta, Fault> {
        let version = self.version(doing)?;
        self.annotations.remove(MARK);
        Ok(RowMeta { name: self.name, annotations: self.annotations, version })
    }
}

impl WireSecret {
    /// A row as it is sent: nothing of what others have put on the Secret is carried over.
    pub(crate) fn new(
        row: &Row,
        kind: &str,
        labels: &BTreeMap<String, String>,
        mark: &str,
        unchanged: Option<u64>,
    ) -> Self {
        let mut annotations = row.annotations.clone();
        annotations.insert(MARK.to_owned(), mark.to_owned());
        Self {
            api_version: "v1".to_owned(),
            object: "Secret".to_owned(),
            metadata: WireMeta {
                name: row.name.clone(),
                uid: String::new(),
                resource_version: unchanged.map(|version| version.to_string()),
                deletion_timestamp: None,
                annotations,
                labels: labels.clone(),
            },
            kind: kind.to_owned(),
            immutable: false,
            data: row.data.iter().map(|(key, bytes)| (key.clone(), STANDARD.encode(bytes))).collect(),
        }
    }

    /// Whether this is what was sent, by that very call: its bytes under its mark. A webhook may have added annotations.
    pub(crate) fn holds(&self, sent: &Self) -> bool {
        let mut annotations = sent.metadata.annotations.iter();
        annotations.all(|(key, value)| self.metadata.annotations.get(key) == Some(value)) && self.data == sent.data
    }

    /// The row, without our mark.
    pub(crate) fn row(mut self, doing: &Doing) -> Result<Row, Fault> {
        self.metadata.annotations.remove(MARK);
        let mut data = BTreeMap::new();
        for (key, text) in self.data {
            data.insert(key, STANDARD.decode(text).map_err(|_| fault::unreadable(doing))?);
        }
        Ok(Row { name: self.metadata.name, annotations: self.metadata.annotations, data })
    }
}

/// Go writes `null` for what is empty: an empty list's items, for one.
fn or_null<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Whether it is that object that is missing, and not the namespace or the kind.
pub(crate) fn is_missing(status: &Status, name: &str) -> bool {
    status.code == 404 && status.details.as_ref().is_some_and(|details| details.name == name)
}

pub(crate) fn number(resource_version: &Option<String>, doing: &Doing) -> Result<u64, Fault> {
    resource_version.as_ref().and_then(|text| text.parse().ok()).ok_or_else(|| fault::version(doing))
}
