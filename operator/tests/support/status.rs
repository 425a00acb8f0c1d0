//! A status file, as a person or a script reads it.

use serde_json::Value;

/// What `NAME.status.yaml` holds.
#[derive(Clone, Debug, Default)]
pub struct Seen(pub Value);

impl Seen {
    /// The word of the printer column.
    pub fn summary(&self) -> &str {
        self.text("/status/summary")
    }

    /// The number of the latest attempt.
    pub fn attempt(&self) -> u64 {
        self.0.pointer("/status/attempt").and_then(Value::as_u64).unwrap_or_default()
    }

    /// The generation that the status speaks of.
    pub fn generation(&self) -> i64 {
        self.0.pointer("/status/observedGeneration").and_then(Value::as_i64).unwrap_or_default()
    }

    /// Text at a JSON pointer; empty if there is none.
    pub fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// Status, reason and message of a condition; empty if it is not there.
    pub fn condition(&self, kind: &str) -> (&str, &str, &str) {
        let all = self.0.pointer("/status/conditions").and_then(Value::as_array);
        let found = all.and_then(|list| list.iter().find(|c| c["type"] == kind));
        let part = |name| found.and_then(|c| c[name].as_str()).unwrap_or_default();
        (part("status"), part("reason"), part("message"))
    }

    /// Whether a condition is `True`.
    pub fn is(&self, kind: &str) -> bool {
        self.condition(kind).0 == "True"
    }

    /// The reason of `Stalled`, if it is.
    pub fn stalled(&self) -> Option<&str> {
        self.is("Stalled").then(|| self.condition("Stalled").1)
    }
}
