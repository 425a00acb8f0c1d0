//! What the controller tells: the story on the terminal, log lines, metrics. Names and codes only, never a value.

use std::sync::Arc;

use ps_controller::StepLog;
use ps_core::audit::{Event, EventKind};
use ps_core::decide::{Action, Decision};
use ps_core::entry::Entry;
use ps_core::error::Fault;
use ps_core::ids::Key;
use ps_core::status::Status;
use tokio::sync::Notify;

use crate::metrics::Metrics;
use crate::records::Expected;

/// Logs steps and counts them.
pub struct Story {
    metrics: Arc<Metrics>,
    store_busy: Arc<Notify>,
    expected: Arc<Expected>,
}

impl Story {
    /// A story that counts into these metrics. `store_busy` hears when the store was held by another process for longer
    /// than any honest one holds it, `expected` which links are live.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, store_busy: Arc<Notify>, expected: Arc<Expected>) -> Self {
        Self { metrics, store_busy, expected }
    }
}

impl StepLog for Story {
    fn step(&self, key: &Key, decision: &Decision) {
        let action = name(&decision.action);
        self.metrics.action(action);
        tracing::debug!(delivery = %key, action, reason = %decision.reason, "step");
    }

    fn failed(&self, key: &Key, fault: &Fault) {
        self.metrics.fault(fault);
        if matches!(fault.code.as_str(), "store-busy" | "store-io") {
            self.store_busy.notify_one();
        }
        if fault.is_transient() {
            tracing::warn!(delivery = %key, code = %fault.code, class = fault.class.as_str(), "{fault}");
        } else {
            tracing::error!(delivery = %key, code = %fault.code, class = fault.class.as_str(), "{fault}");
        }
    }

    fn wrote(&self, before: Option<&Entry>, after: &Entry) {
        self.expected.note(after);
        // What is new in the outbox: events are appended, and flushed from the front.
        let seen = |e: &Event| before.is_some_and(|b| b.outbox.contains(e));
        for event in after.outbox.iter().filter(|e| !seen(e)) {
            self.metrics.event(event.kind);
            if event.kind == EventKind::Rotated
                && let Some(owed) = after.attempt(event.attempt).and_then(|a| a.obligation.as_ref())
            {
                let delay = event.at.since(owed.due).as_millis();
                self.metrics.rotation_delay.observe(delay as f64 / 1000.0);
            }
            let facts = event.facts.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ");
            tracing::info!(delivery = %event.delivery, attempt = event.attempt, event = ?event.kind, %facts, "{}", event.reason);
        }
    }

    fn rested(&self, key: &Key, status: &Status) {
        tracing::debug!(delivery = %key, summary = %status.summary, wake = ?status.next_wake_up, "rests");
    }
}

const fn name(action: &Action) -> &'static str {
    match action {
        Action::Rest => "rest",
        Action::Create => "create",
        Action::Stamp(_) => "stamp",
        Action::Persist(_) => "persist",
        Action::Issue(_) => "issue",
        Action::SendHeld(_) => "send-held",
        Action::Supersede(_) => "supersede",
        Action::Revoke(_) => "revoke",
        Action::Void(_) => "void",
        Action::Settle(_) => "settle",
        Action::MailCode(_) => "mail-code",
        Action::CheckSignIn(_) => "check-sign-in",
        Action::Judge(_) => "judge",
        Action::Lock(_) => "lock",
        Action::Observe(_) => "observe",
        Action::Rotate { .. } => "rotate",
        Action::Notify(_) => "notify",
        Action::FlushAudit => "flush-audit",
        Action::DeleteRecord(_) => "delete-record",
        Action::Release => "release",
        Action::Forget => "forget",
    }
}
