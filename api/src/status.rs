//! The status of a delivery as the schema describes it; the operator's own type is [`ps_core::status::Status`].
//!
//! `ps-core` knows no schemas, so the shape is written twice; a test holds the two together.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What became of the delivery. Written by the operator alone, and never read by it.
/// Example: `{observedGeneration: 3, summary: Delivered, attempt: 1, recipient: a…@vendor.example}`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretDeliveryStatus {
    /// The generation of the manifest that this status speaks of; -1 until the operator has looked at it. Example: `3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The story so far in one word; `Stalled:` with a reason where a person must act. Example: `Delivered`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Number of the latest attempt to deliver, from 1. Example: `1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>")]
    pub attempt: Option<u32>,
    /// The recipient, masked to first letter and domain. Example: `a…@vendor.example`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// When the mail server accepted the mail. RFC 3339. Example: `2026-12-01T08:00:00.000Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<String>,
    /// Until when the link can be opened. RFC 3339. Example: `2026-12-01T12:00:00.000Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// When the link was first opened. RFC 3339. Example: `2026-12-01T09:30:00.000Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retrieved_at: Option<String>,
    /// When the credential will be rotated. RFC 3339. Example: `2026-12-01T10:30:00.000Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_due_at: Option<String>,
    /// The proof that the delivered value is dead.
    /// Example: `{scope: Vault, by: Us, at: "2026-12-01T10:30:02.000Z", seen: version 3 is destroyed}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// When the operator will look again by itself. RFC 3339. Example: `2026-12-01T10:30:00.000Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_wake_up: Option<String>,
    /// What can be said of it now, one entry per type: `Ready`, `Delivered`, `Retrieved` and `Rotated`, and while they are
    /// true `Reconciling` (the operator is at it), `Stalled` (a person must act) and `LeaseHeld`.
    /// Example: `[{type: Delivered, status: "True", reason: Accepted, message: the mail server took the mail}]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Option<Vec<StatusCondition>>,
}

/// The proof that the delivered value is dead.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// How far the proof reaches: `Target` (the system refuses the old value) or `Vault` (it was replaced there).
    /// Example: `Target`.
    pub scope: String,
    /// Who rotated: `Us` (this operator) or `Other`. Example: `Us`.
    pub by: String,
    /// When it was seen. RFC 3339. Example: `2026-12-01T10:30:02.000Z`.
    pub at: String,
    /// What was seen: versions and times, never values. Example: `version 3 is destroyed`.
    pub seen: String,
}

/// One observation, in the shape of `metav1.Condition`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StatusCondition {
    /// What is observed. Example: `Delivered`.
    pub r#type: String,
    /// `True`, `False` or `Unknown`. Example: `True`.
    pub status: String,
    /// Why, in one CamelCase word. Example: `Accepted`.
    pub reason: String,
    /// Why, for people; nothing secret, no address in full. Example: `nobody has opened it`.
    pub message: String,
    /// The generation of the manifest that this condition speaks of. Example: `3`.
    pub observed_generation: i64,
    /// When `status` changed last. RFC 3339. Example: `2026-12-01T08:00:00.000Z`.
    pub last_transition_time: String,
}
