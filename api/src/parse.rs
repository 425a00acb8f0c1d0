//! From text to manifests: the one parser that the folder source, the command line and the tests share.

use ps_core::error::Fault;
use ps_core::ids::{Key, Stamp};
use serde_json::{Map, Value};

use crate::check::{nearest, shown};
use crate::fault::invalid;
use crate::validate::validate;
use crate::{
    API_VERSION, ClusterVaultConnection, DEFAULT_NAMESPACE, GROUP, STAMP_ANNOTATION, SecretDelivery, VaultConnection,
};

/// What a text may cost before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of the text in bytes; looked at before anything is parsed.
    pub bytes: usize,
    /// Documents in one text.
    pub documents: usize,
    /// Values in all documents together, aliases expanded.
    pub nodes: usize,
    /// Nesting.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 1024 * 1024, documents: 1000, nodes: 100_000, depth: 32 }
    }
}

/// Our kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `SecretDelivery`.
    Delivery,
    /// `VaultConnection`.
    Connection,
    /// `ClusterVaultConnection`.
    ClusterConnection,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Delivery, Self::Connection, Self::ClusterConnection];

    /// The kind as a manifest writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivery => "SecretDelivery",
            Self::Connection => "VaultConnection",
            Self::ClusterConnection => "ClusterVaultConnection",
        }
    }

    /// Whether its objects lie in namespaces.
    #[must_use]
    pub const fn is_namespaced(self) -> bool {
        matches!(self, Self::Delivery | Self::Connection)
    }
}

/// One manifest that passed every check.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// What to deliver.
    Delivery(Box<SecretDelivery>),
    /// Where Vault is.
    Connection(Box<VaultConnection>),
    /// Where Vault is, for several namespaces.
    ClusterConnection(Box<ClusterVaultConnection>),
}

/// One document of a text: which object it is, and the object, or what is wrong with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its kind.
    pub kind: Kind,
    /// Namespace (`default` where it names none, empty for a cluster-wide kind) and name.
    pub key: Key,
    /// The stamp annotation, if it carries one, whatever it says.
    pub stamp: Option<Stamp>,
    /// The document as it was written, without comments.
    pub value: Value,
    /// The object, if nothing is wrong with it.
    pub object: Result<Object, Fault>,
}

impl Document {
    /// Reads a JSON value as one of our objects. What is wrong with the object itself is in [`Document::object`].
    ///
    /// # Errors
    /// If it can't be said which object it is: kind, version or name are missing or foreign.
    pub fn read(value: Value) -> Result<Self, Fault> {
        let Value::Object(map) = &value else {
            return Err(invalid("", "a document is not a map", "start it with apiVersion and kind"));
        };
        let kind = kind_of(map)?;
        let metadata = match map.get("metadata") {
            Some(Value::Object(metadata)) => metadata,
            _ => return Err(invalid("metadata", "metadata is missing", "add metadata with a name")),
        };
        let key = key_of(kind, metadata)?;
        let object = checked(kind, map, metadata, &value);
        let stamp = metadata
            .get("annotations")
            .and_then(|a| a.get(STAMP_ANNOTATION))
            .and_then(Value::as_str)
            .map(Stamp::from_annotation);
        Ok(Self { kind, key, stamp, object, value })
    }
}

/// An object of another kind: none of our business, and no fault either, because folders that a cluster is fed from hold
/// namespaces, roles and service accounts beside our objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Its `apiVersion`, cut to 64 characters.
    pub api_version: String,
    /// Its kind, cut to 64 characters.
    pub kind: String,
    /// Its name, cut to 64 characters; empty if it has none.
    pub name: String,
}

/// What a YAML text holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// Our objects, in order.
    pub documents: Vec<Document>,
    /// The others, in order.
    pub foreign: Vec<Foreign>,
}

/// Every document of a YAML text: ours with the object it describes or what is wrong with that one, and what the others
/// are. The items of a `kind: List` count as documents of their own.
///
/// # Errors
/// Only what makes the text unreadable as a whole: not YAML, beyond `limits`, a document that can't be named, or whose kind
/// is none of ours in our API group or looks like a misspelt one of ours. Never panics, whatever the text holds.
pub fn read(yaml: &str, limits: &Limits) -> Result<Parsed, Fault> {
    let mut parsed = Parsed::default();
    for value in crate::yaml::values(yaml, limits)?.into_iter().flat_map(items) {
        match foreign(&value) {
            Some(foreign) => parsed.foreign.push(foreign),
            None => parsed.documents.push(Document::read(value)?),
        }
    }
    Ok(parsed)
}

/// The documents of [`read`] that are ours.
///
/// # Errors
/// As [`read`].
pub fn documents(yaml: &str, limits: &Limits) -> Result<Vec<Document>, Fault> {
    read(yaml, limits).map(|parsed| parsed.documents)
}

/// What `kubectl get -o yaml` prints of several objects, taken apart; anything else as it is.
fn items(value: Value) -> Vec<Value> {
    let Value::Object(mut map) = value else { return vec![value] };
    let text = |name: &str| map.get(name).and_then(Value::as_str).unwrap_or_default();
    let is_list = match (text("apiVersion"), text("kind").strip_suffix("List")) {
        ("v1", Some("")) => true,
        (API_VERSION, Some(kind)) => Kind::ALL.iter().any(|k| k.as_str() == kind),
        _ => false,
    };
    match map.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) if is_list => items,
        Some(other) => {
            map.insert("items".to_owned(), other);
            vec![Value::Object(map)]
        }
        None => vec![Value::Object(map)],
    }
}

/// Says which object of somebody else's kind it is; `None` for ours, and for what may be meant to be ours.
fn foreign(value: &Value) -> Option<Foreign> {
    let text = |at: &str| value.pointer(at).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("/apiVersion"), text("/kind"));
    let group = api_version.split_once('/').map(|(group, _)| group);
    let near_group = group.is_some_and(|group| nearest(group, &[GROUP]).is_some());
    // Another operator has a VaultConnection too, in its own group.
    let ours = near_group
        || nearest(kind, &Kind::ALL.map(Kind::as_str))
            .is_some_and(|near| group.is_none() || near != Kind::Connection.as_str());
    if api_version.is_empty() || kind.is_empty() || ours {
        return None;
    }
    Some(Foreign { api_version: shown(api_version), kind: shown(kind), name: shown(text("/metadata/name")) })
}

/// Every object of a YAML text.
///
/// # Errors
/// As [`documents`], or the fault of the first object that has one. Misconfigured, code `invalid-spec`.
pub fn parse(yaml: &str, limits: &Limits) -> Result<Vec<Object>, Fault> {
    documents(yaml, limits)?.into_iter().map(|document| document.object).collect()
}

fn kind_of(map: &Map<String, Value>) -> Result<Kind, Fault> {
    let version = map.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    let kind = map.get("kind").and_then(Value::as_str).unwrap_or_default();
    let names = Kind::ALL.map(Kind::as_str);
    if kind.is_empty() {
        return Err(invalid("kind", "kind is missing", format!("write the kind: {} or {}", names[0], names[1])));
    }
    let known = Kind::ALL.into_iter().find(|k| k.as_str() == kind);
    match known {
        Some(found) if version == API_VERSION => Ok(found),
        Some(_) => Err(invalid(
            "apiVersion",
            format!("apiVersion {} of {kind} is not known", shown(version)),
            format!("write apiVersion: {API_VERSION}"),
        )),
        None => {
            let remedy = match nearest(kind, &names) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("only {} are known here", names.join(", ")),
            };
            Err(invalid("kind", format!("kind {} ({}) is none of ours", shown(kind), shown(version)), remedy))
        }
    }
}

fn key_of(kind: Kind, metadata: &Map<String, Value>) -> Result<Key, Fault> {
    let name = match metadata.get("name") {
        Some(Value::String(name)) => name,
        _ if metadata.contains_key("generateName") => {
            return Err(invalid("metadata.name", "generateName gives no stable name", "write metadata.name"));
        }
        _ => {
            return Err(invalid(
                "metadata.name",
                "metadata.name is missing or not a text",
                "give the object a name, in quotes",
            ));
        }
    };
    let namespace = match metadata.get("namespace") {
        None if kind.is_namespaced() => DEFAULT_NAMESPACE,
        None => "",
        Some(_) if !kind.is_namespaced() => {
            let message = format!("{} is cluster-wide and lies in no namespace", kind.as_str());
            return Err(invalid("metadata.namespace", message, "remove metadata.namespace"));
        }
        Some(Value::String(namespace)) => namespace,
        Some(_) => return Err(invalid("metadata.namespace", "metadata.namespace is not a text", "put it in quotes")),
    };
    if !is_dns(name, 253, true) {
        return Err(invalid(
            "metadata.name",
            format!("{} can't be a name", shown(name)),
            "use at most 253 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
        ));
    }
    if kind.is_namespaced() && !is_dns(namespace, 63, false) {
        return Err(invalid(
            "metadata.namespace",
            format!("{} can't be a namespace", shown(namespace)),
            "use at most 63 lower-case letters, digits and '-', beginning and ending with a letter or digit",
        ));
    }
    Ok(Key::new(namespace, name))
}

/// A DNS label, or with `dots` a subdomain (RFC 1123).
fn is_dns(text: &str, most: usize, dots: bool) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= most && if dots { text.split('.').all(label) } else { label(text) }
}

fn checked(
    kind: Kind,
    map: &Map<String, Value>,
    metadata: &Map<String, Value>,
    value: &Value,
) -> Result<Object, Fault> {
    only_known(map, "", &["apiVersion", "kind", "metadata", "spec", "status"])?;
    // What `kubectl get -o yaml` prints is accepted, so that a backup can be applied as it is.
    only_known(
        metadata,
        "metadata",
        &[
            "name",
            "generateName",
            "namespace",
            "labels",
            "annotations",
            "uid",
            "resourceVersion",
            "generation",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "finalizers",
            "ownerReferences",
            "managedFields",
            "selfLink",
        ],
    )?;
    for texts in ["labels", "annotations"] {
        match metadata.get(texts) {
            None => {}
            Some(Value::Object(entries)) if entries.values().all(Value::is_string) => {}
            Some(_) => {
                return Err(invalid(
                    format!("metadata.{texts}"),
                    format!("{texts} must be a map of texts"),
                    "put numbers, true and false in quotes",
                ));
            }
        }
    }
    validate(kind, value)?;
    // Only what we read is taken over; the other metadata may have any shape, and status is never read.
    let mut wanted = Map::new();
    for part in ["apiVersion", "kind", "spec"] {
        wanted.extend(map.get(part).map(|v| (part.to_owned(), v.clone())));
    }
    let mut kept = Map::new();
    for part in ["name", "namespace", "labels", "annotations"] {
        kept.extend(metadata.get(part).map(|v| (part.to_owned(), v.clone())));
    }
    wanted.insert("metadata".to_owned(), Value::Object(kept));
    let wanted = Value::Object(wanted);
    let object = match kind {
        Kind::Delivery => serde_json::from_value(wanted).map(|d| Object::Delivery(Box::new(d))),
        Kind::Connection => serde_json::from_value(wanted).map(|c| Object::Connection(Box::new(c))),
        Kind::ClusterConnection => serde_json::from_value(wanted).map(|c| Object::ClusterConnection(Box::new(c))),
    };
    // The schema has been checked, so this is about a gap between schema and types; the error may quote values.
    let object =
        object.map_err(|_| invalid("spec", "the spec does not fit the schema", "compare it with examples/"))?;
    match &object {
        Object::Delivery(delivery) => crate::resolve(delivery).map(drop)?,
        Object::Connection(connection) => crate::connection(connection).map(drop)?,
        // As the operator itself would use it, because that needs nobody's leave.
        Object::ClusterConnection(connection) => crate::cluster_connection(connection, "", "", None).map(drop)?,
    }
    Ok(object)
}

fn only_known(map: &Map<String, Value>, path: &str, known: &[&str]) -> Result<(), Fault> {
    let Some(name) = map.keys().find(|name| !known.contains(&name.as_str())) else { return Ok(()) };
    let field = if path.is_empty() { shown(name) } else { format!("{path}.{}", shown(name)) };
    let remedy = match nearest(name, known) {
        Some(near) if path.is_empty() => format!("did you mean {near}?"),
        Some(near) => format!("did you mean {path}.{near}?"),
        None if path.is_empty() => "move it under spec or remove it".to_owned(),
        None => "remove it".to_owned(),
    };
    Err(invalid(field, format!("there is no field {}", shown(name)), remedy))
}
