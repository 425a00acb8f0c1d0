//! The patches that are sent for a delivery, as data. Each says which incarnation and which version it is meant for.

use ps_api::{API_VERSION, Kind, STAMP_ANNOTATION};
use ps_core::ids::{Key, Stamp};
use ps_core::status::Status;
use serde_json::{Map, Value, json};

use super::object::{FINALIZER, Known};

/// The finalizer and the stamp, as one merge patch with compare-and-swap; `None` if both are there.
pub(super) fn stamp(known: &Known, stamp: &Stamp) -> Option<Value> {
    if known.is_held() && known.stamp.as_ref() == Some(stamp) {
        return None;
    }
    let mut metadata = precondition(known);
    metadata.insert("annotations".to_owned(), json!({ STAMP_ANNOTATION: stamp.as_str() }));
    if !known.is_held() {
        let finalizers: Vec<&str> = known.finalizers.iter().map(AsRef::as_ref).chain([FINALIZER]).collect();
        metadata.insert("finalizers".to_owned(), json!(finalizers));
    }
    Some(json!({ "metadata": metadata }))
}

/// Our finalizer taken off, those of others kept; `None` if it is not there.
pub(super) fn release(known: &Known) -> Option<Value> {
    if !known.is_held() {
        return None;
    }
    let others: Vec<&str> = known.finalizers.iter().map(AsRef::as_ref).filter(|f| *f != FINALIZER).collect();
    let mut metadata = precondition(known);
    metadata.insert("finalizers".to_owned(), json!(others));
    Some(json!({ "metadata": metadata }))
}

/// The status, for server-side apply: of this incarnation only. The status subresource takes over the stored object's
/// metadata before it compares uids, so that only the resourceVersion guards it.
pub(super) fn status(key: &Key, known: &Known, status: &Status) -> Value {
    let mut metadata = precondition(known);
    metadata.insert("namespace".to_owned(), json!(key.namespace));
    metadata.insert("name".to_owned(), json!(key.name));
    json!({"apiVersion": API_VERSION, "kind": Kind::Delivery.as_str(), "metadata": metadata, "status": status})
}

/// The API server refuses a patch whose uid or resourceVersion is not the object's, with 409.
fn precondition(known: &Known) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("uid".to_owned(), json!(known.uid));
    metadata.insert("resourceVersion".to_owned(), json!(known.version.to_string()));
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::raw::Raw;

    fn known(finalizers: &[&str], stamp: Option<&str>) -> Known {
        let mut meta = json!({"name": "a", "uid": "u-1", "resourceVersion": "77", "finalizers": finalizers});
        if let Some(stamp) = stamp {
            meta["annotations"] = json!({ STAMP_ANNOTATION: stamp, "other": "kept" });
        }
        let raw: Raw = serde_json::from_value(json!({ "metadata": meta })).unwrap();
        Known::read(&raw, None)
    }

    #[test]
    fn stamp_and_finalizer_are_one_patch_with_a_precondition() {
        let mine = Stamp::from_annotation("s");
        assert_eq!(
            stamp(&known(&["foregroundDeletion"], None), &mine).unwrap(),
            json!({"metadata": {
                "uid": "u-1", "resourceVersion": "77",
                "annotations": {"passwordsender.io/stamp": "s"},
                "finalizers": ["foregroundDeletion", "passwordsender.io/finalizer"],
            }})
        );
        // The list is not named where it need not change.
        assert_eq!(
            stamp(&known(&[FINALIZER], Some("another")), &mine).unwrap(),
            json!({"metadata": {"uid": "u-1", "resourceVersion": "77", "annotations": {"passwordsender.io/stamp": "s"}}})
        );
        assert_eq!(stamp(&known(&["x", FINALIZER], Some("s")), &mine), None);
    }

    #[test]
    fn letting_go_takes_off_our_finalizer_only() {
        assert_eq!(
            release(&known(&["x", FINALIZER, "y"], Some("s"))).unwrap(),
            json!({"metadata": {"uid": "u-1", "resourceVersion": "77", "finalizers": ["x", "y"]}})
        );
        assert_eq!(release(&known(&[FINALIZER], None)).unwrap()["metadata"]["finalizers"], json!([]));
        assert_eq!(release(&known(&["x"], None)), None);
    }

    #[test]
    fn a_status_names_its_incarnation_and_version_and_nothing_else_of_the_object() {
        let shown = Status { summary: "Delivered".into(), ..Status::default() };
        let value = status(&Key::new("shop", "a"), &known(&[FINALIZER], Some("s")), &shown);
        assert_eq!(value["metadata"], json!({"namespace": "shop", "name": "a", "uid": "u-1", "resourceVersion": "77"}));
        assert_eq!((value["apiVersion"].as_str(), value["kind"].as_str()), (Some(API_VERSION), Some("SecretDelivery")));
        assert!(value.get("spec").is_none() && value["status"]["summary"] == "Delivered");
    }
}
