//! Kubernetes Events, sent beside the work: nothing waits for them, and nothing fails with them.
//!
//! The name of an Event is made of uid, attempt and reason. So one that is told twice is refused as existing, by whichever
//! operator; one that goes on is told again at most every half hour, and then its `series` grows.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kube::core::Request;
use kube::core::params::{PatchParams, PostParams};
use ps_api::{API_VERSION, Kind};
use ps_core::ids::{Digest, Key};
use ps_core::time::{Span, Timestamp};
use ps_kubernetes::fault::Doing;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::api::{Api, Refusal};
use super::lock;
use super::notes::EventNote;

/// `reportingController` of our Events.
pub const REPORTER: &str = "passwordsender.io/operator";
/// Events that may wait.
const WAITING: usize = 1024;
/// Ongoing Events whose last telling is remembered.
const REMEMBERED: usize = 8192;
/// How often an ongoing one is told: Events are kept for an hour by default.
const AGAIN: Span = Span::from_secs(1800);
/// Tries for one Event while the API server has trouble.
const TRIES: u32 = 6;
/// Where Events about namespaces lie.
const ABOUT_NAMESPACES: &str = "default";

/// What an Event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct About {
    pub(super) key: Key,
    pub(super) uid: String,
    /// Its namespace is on its way out, or gone.
    pub(super) homeless: bool,
}

struct Job {
    about: About,
    note: EventNote,
    at: Timestamp,
}

#[derive(Clone, Copy)]
struct Told {
    at: Timestamp,
    count: u32,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    told: HashMap<String, Told>,
}

/// Takes Events and sends them in the background.
pub(super) struct Outbox {
    api: Api,
    instance: String,
    queue: Mutex<Queue>,
    wake: Notify,
    dropped: AtomicU64,
}

impl Outbox {
    pub(super) fn new(api: Api, instance: &str) -> Self {
        let instance = instance.chars().take(128).collect();
        Self { api, instance, queue: Mutex::default(), wake: Notify::new(), dropped: AtomicU64::new(0) }
    }

    /// Takes an Event. If too many wait already, it is dropped and counted.
    pub(super) fn tell(&self, about: About, note: EventNote, at: Timestamp) {
        let mut queue = lock(&self.queue);
        if note.ongoing {
            let name = name(&about, &note);
            if queue.told.get(&name).is_some_and(|told| at < told.at + AGAIN) {
                return;
            }
            if queue.told.len() >= REMEMBERED {
                queue.told.clear();
            }
            let count = queue.told.get(&name).map_or(1, |told| told.count.saturating_add(1));
            queue.told.insert(name, Told { at, count });
        }
        if queue.jobs.len() >= WAITING {
            drop(queue);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.jobs.push_back(Job { about, note, at });
        drop(queue);
        self.wake.notify_one();
    }

    /// How many were never sent.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Sends, for ever.
    pub(super) async fn run(&self) {
        loop {
            let job = lock(&self.queue).jobs.pop_front();
            let Some(job) = job else {
                self.wake.notified().await;
                continue;
            };
            self.deliver(&job).await;
        }
    }

    async fn deliver(&self, job: &Job) {
        let mut wait = Duration::from_millis(500);
        for _ in 0..TRIES {
            let refusal = match self.send(job).await {
                Ok(()) => return,
                Err(refusal) => refusal,
            };
            if !refusal.fault.is_transient() {
                tracing::debug!(code = %refusal.fault.code, reason = %job.note.reason, "an Event is not taken");
                break;
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    async fn send(&self, job: &Job) -> Result<(), Refusal> {
        if job.about.homeless {
            return self.send_to(&about_namespace(job)).await;
        }
        match self.send_to(&about_object(job)).await {
            // The namespace went while it waited. What is owed is told elsewhere; the rest concerns nobody any more.
            Err(refusal) if (refusal.terminating || refusal.status == 404) && job.note.owed => {
                self.send_to(&about_namespace(job)).await
            }
            Err(refusal) if refusal.terminating || refusal.status == 404 => Ok(()),
            done => done,
        }
    }

    async fn send_to(&self, to: &Letter<'_>) -> Result<(), Refusal> {
        let path = format!("/apis/events.k8s.io/v1/namespaces/{}/events", to.namespace);
        let doing = |verb| Doing::new(verb, "events", to.namespace, &to.name).of_group("events.k8s.io");
        let body = serde_json::to_vec(&to.event(&self.instance)).unwrap_or_default();
        let sent =
            self.api.send::<Value>(&doing("create"), Request::new(&path).create(&PostParams::default(), body)).await;
        let refusal = match sent {
            Ok(_) => return Ok(()),
            Err(refusal) if refusal.exists => refusal,
            Err(refusal) => return Err(refusal),
        };
        drop(refusal);
        if !to.job.note.ongoing {
            return Ok(());
        }
        // Told before, by us or by a former operator: it goes on.
        let count = lock(&self.queue).told.get(&name(&to.job.about, &to.job.note)).map_or(2, |told| told.count.max(2));
        let series = json!({"series": {"count": count, "lastObservedTime": micro(to.job.at)}});
        let patch = kube::core::params::Patch::Merge(&series);
        let request = Request::new(&path).patch(&to.name, &PatchParams::default(), &patch);
        self.api.send::<Value>(&doing("patch"), request).await.map(drop)
    }
}

/// Where an Event goes and what it regards.
struct Letter<'a> {
    job: &'a Job,
    namespace: &'a str,
    name: String,
    regarding: Value,
    message: String,
}

impl Letter<'_> {
    fn event(&self, instance: &str) -> Value {
        let note = &self.job.note;
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"namespace": self.namespace, "name": self.name},
            "eventTime": micro(self.job.at),
            "reportingController": REPORTER,
            "reportingInstance": instance,
            "action": "Deliver",
            "type": note.severity.as_str(),
            "reason": note.reason,
            "note": self.message,
            "regarding": self.regarding,
        })
    }
}

fn about_object(job: &Job) -> Letter<'_> {
    let About { key, uid, .. } = &job.about;
    let regarding = json!({
        "apiVersion": API_VERSION, "kind": Kind::Delivery.as_str(), "namespace": key.namespace, "name": key.name, "uid": uid,
    });
    let name = name(&job.about, &job.note);
    Letter { job, namespace: &key.namespace, name, regarding, message: job.note.message.clone() }
}

/// A terminating namespace takes no Events, and one that is gone has none: what was left undone there is said about the
/// Namespace itself, which is in no namespace, so that its Events lie in `default`.
fn about_namespace(job: &Job) -> Letter<'_> {
    let key = &job.about.key;
    let message = format!("left undone for SecretDelivery {}: {}", key.name, job.note.message);
    let message = message.chars().take(900).collect();
    let regarding = json!({"apiVersion": "v1", "kind": "Namespace", "name": key.namespace});
    Letter { job, namespace: ABOUT_NAMESPACES, name: name(&job.about, &job.note), regarding, message }
}

/// The same for the same uid, attempt and reason, and a name that an Event may have.
///
/// `kubectl describe` sorts by a time that Events of `events.k8s.io` must not have, and so shows them by name: names are in
/// the order of the story.
fn name(about: &About, note: &EventNote) -> String {
    let id = Digest::of(format!("{}/{}/{}", about.uid, note.attempt, note.reason).as_bytes()).to_string();
    let object: String = about.key.name.chars().take(200).collect();
    let (object, place) = (object.trim_end_matches(['.', '-']), place(&note.reason));
    format!("{object}.{:04x}{place}{}", note.attempt.min(0xffff), id.get(..16).unwrap_or_default())
}

/// Where an Event stands among those of its attempt; one digit.
fn place(reason: &str) -> u8 {
    match reason {
        "NoCleanupConnection" | "Adopted" => 0,
        "Delivered" | "DeliveryUnknown" | "MailRefused" => 1,
        "Retrieved" => 3,
        "Expired" | "Revoked" | "Declined" | "Disputed" | "Locked" | "Tampered" | "SourceRotated" => 4,
        "RotationStalled" => 5,
        "Rotated" => 6,
        // What stands in the way, at any time.
        _ => 2,
    }
}

/// `metav1.MicroTime`: six digits, no fewer.
fn micro(at: Timestamp) -> String {
    format!("{}.{:03}000Z", at.to_string().trim_end_matches('Z'), at.as_millis().rem_euclid(1000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::notes::Severity;

    fn about(homeless: bool) -> About {
        About { key: Key::new("shop", "db"), uid: "u-1".into(), homeless }
    }

    fn note(reason: &str, ongoing: bool) -> EventNote {
        EventNote {
            severity: Severity::Warning,
            reason: reason.into(),
            message: "why".into(),
            attempt: 1,
            ongoing,
            owed: ongoing,
        }
    }

    #[test]
    fn one_name_per_uid_attempt_and_reason() {
        let one = name(&about(false), &note("A", false));
        assert_eq!(one, name(&about(true), &note("A", true)));
        assert!(one.starts_with("db.") && one.len() == 3 + 4 + 1 + 16, "{one}");
        let other = About { uid: "u-2".into(), ..about(false) };
        let second = EventNote { attempt: 2, ..note("A", false) };
        for different in
            [name(&other, &note("A", false)), name(&about(false), &second), name(&about(false), &note("B", false))]
        {
            assert_ne!(one, different);
        }
        let long = About { key: Key::new("n", format!("{}.{}", "a".repeat(199), "b".repeat(53))), ..about(false) };
        let story = ["NoCleanupConnection", "Delivered", "Retrieved", "Declined", "RotationStalled", "Rotated"];
        let names = story.map(|reason| name(&about(false), &note(reason, false)));
        assert!(names.is_sorted(), "{names:?}");
        let next = EventNote { attempt: 2, ..note("Delivered", false) };
        assert!(name(&about(false), &next) > names[5], "the next attempt's come after all of them");
        assert!(name(&long, &note("A", false)).len() <= 253 && !name(&long, &note("A", false)).contains(".."));
    }

    #[test]
    fn an_event_has_what_the_api_demands() {
        let job =
            Job { about: about(false), note: note("Locked", false), at: Timestamp::from_millis(1_700_000_000_042) };
        let event = about_object(&job).event("pod-1");
        assert_eq!(event["eventTime"], "2023-11-14T22:13:20.042000Z");
        for field in ["reportingController", "reportingInstance", "action", "reason", "note", "type"] {
            assert!(event[field].as_str().is_some_and(|text| !text.is_empty() && text.len() <= 128), "{field}");
        }
        assert_eq!(event["regarding"]["namespace"], event["metadata"]["namespace"]);
        let event = about_namespace(&job).event("pod-1");
        assert_eq!(event["metadata"]["namespace"], "default");
        assert_eq!(event["regarding"], json!({"apiVersion": "v1", "kind": "Namespace", "name": "shop"}));
        assert!(event["note"].as_str().unwrap().contains("db"));
    }

    #[tokio::test]
    async fn too_many_are_dropped_and_counted_and_ongoing_ones_rest() {
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            std::future::pending::<Result<http::Response<kube::client::Body>, std::io::Error>>().await
        });
        let outbox = Outbox::new(Api::new(kube::Client::new(service, "default")), "pod-1");
        let at = Timestamp::from_secs(1000);
        outbox.tell(about(false), note("Stalled", true), at);
        outbox.tell(about(false), note("Stalled", true), at + Span::from_secs(60));
        assert_eq!(lock(&outbox.queue).jobs.len(), 1, "told a minute ago");
        outbox.tell(about(false), note("Stalled", true), at + AGAIN);
        assert_eq!(lock(&outbox.queue).jobs.len(), 2);
        assert_eq!(lock(&outbox.queue).told.values().map(|t| t.count).collect::<Vec<_>>(), [2]);
        for n in 0..WAITING {
            outbox.tell(about(false), EventNote { attempt: u32::try_from(n).unwrap() + 2, ..note("A", false) }, at);
        }
        assert_eq!((lock(&outbox.queue).jobs.len(), outbox.dropped()), (WAITING, 2));
    }
}
