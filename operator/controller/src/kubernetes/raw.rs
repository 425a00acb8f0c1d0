//! Objects as the API server sends them, reduced to what is read here. What else they hold is skipped while parsing:
//! `managedFields` alone can be larger than the spec.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Any object of ours, or the metadata of a namespace.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Raw {
    #[serde(default)]
    pub(super) metadata: RawMeta,
    #[serde(default)]
    pub(super) spec: Part,
    #[serde(default)]
    pub(super) status: Part,
}

/// A part that a schema other than ours may have let through in any shape. One that can't be parsed concerns its own
/// object only: it must not make the list or the watch that it came with unreadable.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    /// As it was sent; null if it was not.
    Read(Value),
    /// Nested too deeply to be looked at.
    Unreadable,
}

impl Part {
    /// Its value; null if it can't be read.
    pub(super) fn value(&self) -> &Value {
        match self {
            Self::Read(value) => value,
            Self::Unreadable => &Value::Null,
        }
    }
}

impl Default for Part {
    fn default() -> Self {
        Self::Read(Value::Null)
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // Skipping takes no recursion, so that only this part fails where the nesting is too deep.
        let text = Box::<RawValue>::deserialize(from)?;
        Ok(serde_json::from_str(text.get()).map_or(Self::Unreadable, Self::Read))
    }
}

/// The metadata that is looked at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RawMeta {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) generation: i64,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) finalizers: Vec<String>,
    pub(super) deletion_timestamp: Option<String>,
}

impl RawMeta {
    /// The resourceVersion as a number. Versions of one kind can be ordered (KEP-5504); text that is no number is 0,
    /// which is older than everything, so that such an object is taken over by lists only.
    pub(super) fn version(&self) -> u64 {
        version(&self.resource_version)
    }
}

/// See [`RawMeta::version`].
pub(super) fn version(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

/// One page of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawList {
    pub(super) metadata: ListMeta,
    /// Go writes `null` for an empty list.
    #[serde(deserialize_with = "or_null")]
    pub(super) items: Vec<Raw>,
}

fn or_null<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Where a list stands.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ListMeta {
    pub(super) resource_version: String,
    #[serde(rename = "continue")]
    pub(super) more: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_of_any_shape_are_read() {
        let raw: Raw = serde_json::from_value(json!({
            "apiVersion": "x/y", "kind": "Z", "spec": [1], "status": null, "more": {},
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "12", "generation": 3,
                "managedFields": [{"manager": "m"}], "finalizers": ["f"], "deletionTimestamp": "2026-01-01T00:00:00Z"},
        }))
        .unwrap();
        assert_eq!((raw.metadata.version(), raw.metadata.generation, raw.metadata.finalizers.len()), (12, 3, 1));
        assert!(
            raw.spec.value().is_array() && raw.status.value().is_null() && raw.metadata.deletion_timestamp.is_some()
        );
        let bare: Raw = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
        assert_eq!((bare.metadata.version(), bare.metadata.uid.as_str()), (0, ""));
        let none: RawList =
            serde_json::from_value(json!({"metadata": {"resourceVersion": "7"}, "items": null})).unwrap();
        assert!(none.items.is_empty() && none.metadata.resource_version == "7");
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        let page = format!(r#"{{"metadata":{{}},"items":[{{"spec":{deep},"status":{deep}}},{{"spec":{{"a":1}}}}]}}"#);
        let page: RawList = serde_json::from_str(&page).unwrap();
        let parts: Vec<&Part> = page.items.iter().map(|raw| &raw.spec).collect();
        assert_eq!(parts, [&Part::Unreadable, &Part::Read(json!({"a": 1}))]);
        for odd in ["", "abc", "-1", "99999999999999999999999"] {
            assert_eq!(version(odd), 0, "{odd}");
        }
    }
}
