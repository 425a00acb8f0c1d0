//! What is kept of a `SecretDelivery`: enough for the controller and to know whether a write would change anything.

use std::sync::Arc;

use ps_api::STAMP_ANNOTATION;
use ps_core::delivery::{Manifest, Spec};
use ps_core::error::Fault;
use ps_core::ids::{Digest, Key, Stamp};
use ps_core::status::{Condition, Status, keep_transition_times};
use serde_json::Value;

use super::raw::Raw;

/// Our finalizer: an object that carries it stays until its link is withdrawn and what it owes is written down.
pub const FINALIZER: &str = "passwordsender.io/finalizer";
/// The annotation by which a person lets an object go at once.
pub const LET_GO_ANNOTATION: &str = "passwordsender.io/let-go";
/// The conditions that are ours; others may share the list.
const CONDITIONS: [&str; 7] = ["Ready", "Reconciling", "Stalled", "Delivered", "Retrieved", "Rotated", "LeaseHeld"];

/// A delivery as it was seen last.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) uid: Box<str>,
    pub(super) version: u64,
    pub(super) generation: i64,
    pub(super) stamp: Option<Stamp>,
    pub(super) deleting: bool,
    pub(super) let_go: bool,
    /// All of them, others' too: a merge patch replaces the list as a whole.
    pub(super) finalizers: Box<[Box<str>]>,
    /// Shared with the former state of the object while uid and generation are the same.
    pub(super) spec: Result<Arc<Spec>, Arc<Fault>>,
    pub(super) shown: Shown,
    pub(super) sent: Option<Sent>,
}

/// What is remembered of the status that the object shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// Digest of all of it, whoever wrote it.
    pub(super) raw: Digest,
    /// Digest of what we compare; `None` if it is none that we could have written.
    pub(super) digest: Option<Digest>,
    /// Type, status and transition time of our conditions.
    times: Box<[Transition]>,
}

/// Type, status and transition time of a condition.
type Transition = (Box<str>, Box<str>, Box<str>);

/// The status that this process sent last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// Digest of what we compare.
    pub(super) digest: Digest,
    /// The whole status after that write, once the answer came.
    pub(super) left: Option<Digest>,
}

impl Known {
    /// Reads an object; `before` is what was known of the same name, whose spec is shared if it is the same.
    pub(super) fn read(raw: &Raw, before: Option<&Self>) -> Self {
        let meta = &raw.metadata;
        let same = before.filter(|b| *b.uid == *meta.uid && b.generation == meta.generation && meta.generation > 0);
        Self {
            uid: meta.uid.as_str().into(),
            version: meta.version(),
            generation: meta.generation,
            stamp: meta.annotations.get(STAMP_ANNOTATION).map(Stamp::from_annotation),
            deleting: meta.deletion_timestamp.is_some(),
            let_go: meta.annotations.get(LET_GO_ANNOTATION).is_some_and(|value| value == "true"),
            finalizers: meta.finalizers.iter().map(|f| f.as_str().into()).collect(),
            spec: same.map_or_else(|| super::read::spec(raw).map(Arc::new).map_err(Arc::new), |b| b.spec.clone()),
            shown: Shown::read(raw.status.value()),
            sent: before.filter(|b| *b.uid == *meta.uid).and_then(|b| b.sent),
        }
    }

    /// Whether it carries our finalizer.
    pub(super) fn is_held(&self) -> bool {
        self.finalizers.iter().any(|f| **f == *FINALIZER)
    }

    /// Whether it is on its way out and we have let it go: to the rules it is not there.
    pub(super) fn is_let_go(&self) -> bool {
        self.deleting && !self.is_held()
    }

    /// What the controller sees.
    pub(super) fn manifest(&self, key: &Key) -> Option<Manifest> {
        (!self.is_let_go()).then(|| Manifest {
            key: key.clone(),
            uid: self.uid.to_string(),
            generation: self.generation,
            stamp: self.stamp.clone(),
            deleting: self.deleting,
            let_go: self.let_go,
            spec: self.spec.as_ref().map(|s| Box::new(s.as_ref().clone())).map_err(|f| f.as_ref().clone()),
        })
    }

    /// Whether the controller should look again, because of what is not our own doing.
    pub(super) fn is_news(&self, before: &Self) -> bool {
        let asked = |k: &Self| (k.uid.clone(), k.generation, k.stamp.clone(), k.deleting, k.let_go, k.is_held());
        let echo = self.sent.is_some_and(|s| self.shown.digest == Some(s.digest));
        asked(self) != asked(before) || (self.shown.digest != before.shown.digest && !echo)
    }

    /// The status to send, its transition times kept, or `None` if the object shows it already.
    ///
    /// `nextWakeUp` alone is no reason to write: a delivery that rests is looked at again and again, and its status would
    /// be written each time. It travels with other changes.
    pub(super) fn status_to_send(&self, status: &Status) -> Option<(Status, Digest)> {
        let mut next = status.clone();
        keep_transition_times(&mut next, &self.shown.as_status());
        let digest = compared(next.clone());
        let there = self.shown.digest == Some(digest);
        // Somebody else's conditions or fields may stay beside ours: what we sent is there as far as it can be.
        let tried = self.sent == Some(Sent { digest, left: Some(self.shown.raw) });
        (!there && !tried).then_some((next, digest))
    }
}

impl Shown {
    fn read(status: &Value) -> Self {
        let raw = Digest::of(&serde_json::to_vec(status).unwrap_or_default());
        let Some(status) = Status::deserialize_from(status) else {
            return Self { raw, digest: None, times: Box::default() };
        };
        let times = status
            .conditions
            .iter()
            .filter(|c| CONDITIONS.contains(&c.r#type.as_str()))
            .map(|c| (c.r#type.as_str().into(), c.status.as_str().into(), c.last_transition_time.as_str().into()))
            .collect();
        Self { raw, times, digest: Some(compared(status)) }
    }

    /// The conditions as far as they are remembered.
    fn as_status(&self) -> Status {
        let conditions = self
            .times
            .iter()
            .map(|(kind, status, at)| Condition {
                r#type: kind.to_string(),
                status: status.to_string(),
                reason: String::new(),
                message: String::new(),
                observed_generation: 0,
                last_transition_time: at.to_string(),
            })
            .collect();
        Status { conditions, ..Status::default() }
    }
}

/// Reading a status that anybody may have written.
trait Lenient: Sized {
    fn deserialize_from(value: &Value) -> Option<Self>;
}

impl Lenient for Status {
    fn deserialize_from(value: &Value) -> Option<Self> {
        <Self as serde::Deserialize>::deserialize(value).ok()
    }
}

/// Digest of what makes two statuses different: not the wake-up, not the order of conditions, not those of others.
fn compared(mut status: Status) -> Digest {
    status.next_wake_up = None;
    status.conditions.retain(|c| CONDITIONS.contains(&c.r#type.as_str()));
    status.conditions.sort_by(|a, b| a.r#type.cmp(&b.r#type));
    Digest::of(&serde_json::to_vec(&status).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use ps_core::time::Timestamp;
    use serde_json::json;

    use super::*;

    fn known(status: &Value) -> Known {
        let raw =
            json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "5", "generation": 1}, "status": status});
        Known::read(&serde_json::from_value(raw).unwrap(), None)
    }

    fn status(ready: &str, at: i64, wake: i64) -> Status {
        let condition = |kind: &str, status: &str| Condition {
            r#type: kind.to_owned(),
            status: status.to_owned(),
            reason: "Done".into(),
            message: String::new(),
            observed_generation: 1,
            last_transition_time: Timestamp::from_secs(at).to_string(),
        };
        Status {
            observed_generation: 1,
            summary: "Delivered".into(),
            next_wake_up: Some(Timestamp::from_secs(wake).to_string()),
            conditions: vec![condition("Ready", ready), condition("Delivered", "True")],
            ..Status::default()
        }
    }

    #[test]
    fn a_status_that_is_there_is_not_sent_again() {
        let there = serde_json::to_value(status("True", 10, 20)).unwrap();
        let known = known(&there);
        assert!(known.status_to_send(&status("True", 10, 20)).is_none());
        assert!(known.status_to_send(&status("True", 99, 500)).is_none(), "only times that don't count differ");
        let (sent, _) = known.status_to_send(&status("False", 99, 500)).unwrap();
        assert_eq!(sent.next_wake_up, Some(Timestamp::from_secs(500).to_string()));
        let time = |kind: &str| sent.conditions.iter().find(|c| c.r#type == kind).unwrap().last_transition_time.clone();
        assert_eq!(
            (time("Ready"), time("Delivered")),
            (Timestamp::from_secs(99).to_string(), Timestamp::from_secs(10).to_string())
        );
    }

    #[test]
    fn order_of_conditions_and_those_of_others_make_no_difference() {
        let mut there = serde_json::to_value(status("True", 10, 20)).unwrap();
        let list = there["conditions"].as_array_mut().unwrap();
        list.reverse();
        let mut other = list[0].clone();
        other["type"] = json!("Audited");
        list.push(other);
        there["byOthers"] = json!({"x": 1});
        assert!(known(&there).status_to_send(&status("True", 10, 20)).is_none());
        there["conditions"].as_array_mut().unwrap().pop();
        there["conditions"].as_array_mut().unwrap().pop();
        assert!(known(&there).status_to_send(&status("True", 10, 20)).is_some(), "one of ours is missing");
    }

    #[test]
    fn a_status_that_is_missing_or_foreign_is_written() {
        for shown in [json!(null), json!({"observedGeneration": -1}), json!({"conditions": 5}), json!([])] {
            assert!(known(&shown).status_to_send(&status("True", 1, 2)).is_some(), "{shown}");
        }
    }

    #[test]
    fn what_was_sent_and_left_as_it_is_is_not_sent_for_ever() {
        let odd = json!({"observedGeneration": 1, "summary": 5});
        let mut known = known(&odd);
        let (_, digest) = known.status_to_send(&status("True", 1, 2)).unwrap();
        known.sent = Some(Sent { digest, left: Some(known.shown.raw) });
        assert!(known.status_to_send(&status("True", 1, 2)).is_none());
        known.shown.raw = Digest([0; 32]);
        assert!(known.status_to_send(&status("True", 1, 2)).is_some(), "somebody changed it since");
    }

    #[test]
    fn our_own_writes_are_no_news_and_those_of_others_are() {
        let empty = known(&json!(null));
        let mut ours = known(&serde_json::to_value(status("True", 10, 20)).unwrap());
        ours.sent = Some(Sent { digest: ours.shown.digest.unwrap(), left: None });
        assert!(!ours.is_news(&empty));
        let mut wiped = empty.clone();
        wiped.sent = ours.sent;
        assert!(wiped.is_news(&ours), "a wiped status is news");
        for change in [
            |k: &mut Known| k.uid = "v".into(),
            |k: &mut Known| k.generation = 2,
            |k: &mut Known| k.deleting = true,
            |k: &mut Known| k.let_go = true,
            |k: &mut Known| k.stamp = Some(Stamp::from_annotation("x")),
            |k: &mut Known| k.finalizers = [FINALIZER.into()].into(),
        ] {
            let mut next = ours.clone();
            change(&mut next);
            assert!(next.is_news(&ours));
        }
    }

    #[test]
    fn an_object_on_its_way_out_without_our_finalizer_is_not_there() {
        let mut known = known(&json!(null));
        let key = Key::new("n", "a");
        known.deleting = true;
        known.finalizers = ["other/finalizer".into()].into();
        assert!(known.manifest(&key).is_none());
        known.finalizers = ["other/finalizer".into(), FINALIZER.into()].into();
        assert!(known.manifest(&key).unwrap().deleting);
    }
}
