//! From an object as the API server stores it to what the rules understand, or to what is wrong with it.
//!
//! The API server checked it against the CRD that is installed, which may be older or newer than ours: it is checked once
//! more, and a fault concerns this object only.

use ps_api::{API_VERSION, ClusterVaultConnection, Document, Kind, Object, VaultConnection};
use ps_core::delivery::Spec;
use ps_core::error::{Class, Fault};
use serde_json::{Map, Value, json};

use super::raw::{Part, Raw};

/// What a `SecretDelivery` asks for.
///
/// # Errors
/// Misconfigured, `invalid-spec`, with field and remedy.
pub(super) fn spec(raw: &Raw) -> Result<Spec, Fault> {
    match object(Kind::Delivery, raw)? {
        Object::Delivery(delivery) => ps_api::resolve(&delivery),
        Object::Connection(_) | Object::ClusterConnection(_) => Err(another_kind()),
    }
}

/// A `VaultConnection`.
///
/// # Errors
/// As [`spec`].
pub(super) fn connection(raw: &Raw) -> Result<VaultConnection, Fault> {
    match object(Kind::Connection, raw)? {
        Object::Connection(connection) => Ok(*connection),
        Object::Delivery(_) | Object::ClusterConnection(_) => Err(another_kind()),
    }
}

/// A `ClusterVaultConnection`.
///
/// # Errors
/// As [`spec`].
pub(super) fn cluster_connection(raw: &Raw) -> Result<ClusterVaultConnection, Fault> {
    match object(Kind::ClusterConnection, raw)? {
        Object::ClusterConnection(connection) => Ok(*connection),
        Object::Delivery(_) | Object::Connection(_) => Err(another_kind()),
    }
}

fn object(kind: Kind, raw: &Raw) -> Result<Object, Fault> {
    // Only what says something about it: other metadata is the API server's business.
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(raw.metadata.name));
    if let Some(namespace) = &raw.metadata.namespace {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    let mut value = Map::new();
    value.insert("apiVersion".to_owned(), json!(API_VERSION));
    value.insert("kind".to_owned(), json!(kind.as_str()));
    value.insert("metadata".to_owned(), Value::Object(metadata));
    match &raw.spec {
        Part::Unreadable => return Err(too_deep()),
        Part::Read(Value::Null) => {}
        Part::Read(spec) => drop(value.insert("spec".to_owned(), spec.clone())),
    }
    Document::read(Value::Object(value))?.object
}

fn too_deep() -> Fault {
    Fault::new(Class::Misconfigured, "invalid-spec", "spec is nested too deeply to be read")
        .field("spec")
        .remedy("Write it as examples/ show; apply the CRDs of this version, which refuse what does not fit")
}

/// Can't happen: the kind is written above.
fn another_kind() -> Fault {
    Fault::new(Class::Misconfigured, "invalid-spec", "the object is of another kind").field("kind")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn delivery(spec: &Value) -> Raw {
        serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "shop", "generateName": "a-", "uid": "u", "resourceVersion": "7",
                "generation": 1, "ownerReferences": [{"name": "x"}]},
            "spec": spec,
        }))
        .unwrap()
    }

    pub(in super::super) fn good() -> Value {
        json!({
            "recipient": {"email": "alice@vendor.example"},
            "source": {"vault": {"connectionRef": {"name": "prod"}, "kv": {"mount": "secret", "path": "apps/db"}}},
            "rotation": {"strategy": "None"},
        })
    }

    #[test]
    fn a_good_object_is_read_in_its_own_namespace() {
        let spec = spec(&delivery(&good())).unwrap();
        assert_eq!((spec.connection.namespace.as_str(), spec.connection.name.as_str()), ("shop", "prod"));
    }

    #[test]
    fn what_another_schema_let_through_is_a_fault_with_field_and_remedy() {
        let mut newer = good();
        newer["rotation"]["strategy"] = json!("Teleport");
        let mut unknown = good();
        unknown["sauce"] = json!(1);
        let mut older = good();
        older["recipient"] = json!("alice@vendor.example");
        for (bad, field) in [
            (newer, "spec.rotation.strategy"),
            (unknown, "spec.sauce"),
            (older, "spec.recipient"),
            (json!(5), "spec"),
            (json!(null), "spec"),
        ] {
            let fault = spec(&delivery(&bad)).unwrap_err();
            assert_eq!((fault.class, fault.code.as_str()), (Class::Misconfigured, "invalid-spec"), "{fault}");
            assert!(
                fault.field.as_deref().is_some_and(|f| f.starts_with(field)) && !fault.remedy.is_empty(),
                "{fault}"
            );
        }
    }
}
