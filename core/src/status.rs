//! Status: a pure projection of entry and observation, never read for a decision.

use serde::{Deserialize, Serialize};

use crate::rotation::Evidence;
use crate::time::Timestamp;

/// A condition in the shape of `metav1.Condition`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Ready`, `Reconciling`, `Stalled`, `Delivered`, `Retrieved`, `Rotated`, `LeaseHeld`.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One CamelCase word.
    pub reason: String,
    /// For people; nothing secret, no address in full.
    pub message: String,
    /// The generation it speaks of.
    pub observed_generation: i64,
    /// When `status` changed last.
    pub last_transition_time: String,
}

/// The status of one delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The generation that this status speaks of.
    pub observed_generation: i64,
    /// One word for the story so far: the printer column `STATUS`.
    pub summary: String,
    /// Number of the latest attempt.
    #[serde(default)]
    pub attempt: u32,
    /// The recipient, masked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub recipient: String,
    /// When the mail was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<String>,
    /// Until when the link can be opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// When it was first opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retrieved_at: Option<String>,
    /// When the rotation is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_due_at: Option<String>,
    /// The proof that the delivered value is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<StatusEvidence>,
    /// When the operator will look again by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_wake_up: Option<String>,
    /// Conditions, in a fixed order.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// [`Evidence`] in a status: times as RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusEvidence {
    /// `Target` or `Vault`.
    pub scope: String,
    /// `Us` or `Other`.
    pub by: String,
    /// When it was seen.
    pub at: String,
    /// What was seen.
    pub seen: String,
}

impl From<&Evidence> for StatusEvidence {
    fn from(e: &Evidence) -> Self {
        Self { scope: format!("{:?}", e.scope), by: format!("{:?}", e.by), at: e.at.to_string(), seen: e.seen.clone() }
    }
}

/// RFC 3339 text of an optional time.
#[must_use]
pub fn text(at: Option<Timestamp>) -> Option<String> {
    at.map(|t| t.to_string())
}
