//! The rotations that are owed, in memory: what is due when, and which have failed since when.

use std::collections::{BTreeMap, BTreeSet};

use ps_core::backoff::next_try;
use ps_core::error::Class;
use ps_core::time::Timestamp;
use ps_vault::Verb;
use serde::Deserialize;
use serde_json::{Map, Value};

/// How something is rotated, as the mount says it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", tag = "engine")]
pub(super) enum How {
    /// A static role of a database engine.
    Database { mount: String, role: String },
    /// Keys of a KV version 2 secret.
    Kv { mount: String, path: String, keys: Vec<String> },
    /// Any request.
    Request { path: String, method: Verb, data: Map<String, Value> },
}

/// What one link owes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owed {
    pub(super) how: How,
    pub(super) due: Timestamp,
}

struct Job {
    owed: Owed,
    next: Timestamp,
    failing_since: Option<Timestamp>,
}

/// All of them, and how far history was read.
#[derive(Default)]
pub(super) struct Jobs {
    pub(super) cursor: u64,
    pub(super) synced: Option<Timestamp>,
    by_link: BTreeMap<String, Job>,
}

impl Jobs {
    /// What a link owes now; `None` for nothing.
    pub(super) fn note(&mut self, id: &str, owed: Option<Owed>) {
        match owed {
            None => drop(self.by_link.remove(id)),
            // One that fails keeps its pause, unless it became due sooner, as by a decline.
            Some(owed) if self.by_link.get(id).is_some_and(|job| job.owed == owed) => {}
            Some(owed) => {
                let next = owed.due;
                self.by_link.insert(id.to_owned(), Job { owed, next, failing_since: None });
            }
        }
    }

    /// Forgets what is not among all links that there are: a mount that was restored, or made anew, has lost some.
    pub(super) fn keep_only(&mut self, links: &[String]) {
        let there: BTreeSet<&String> = links.iter().collect();
        self.by_link.retain(|id, _| there.contains(id));
    }

    /// A rotation that is due, with every link that is due for the same.
    pub(super) fn due(&self, now: Timestamp) -> Option<(How, Vec<String>)> {
        let due = || self.by_link.iter().filter(|(_, job)| job.next <= now);
        let (_, first) = due().min_by_key(|(_, job)| job.next)?;
        let same = due().filter(|(_, job)| job.owed.how == first.owed.how).map(|(id, _)| id.clone()).collect();
        Some((first.owed.how.clone(), same))
    }

    /// Notes a failure, and says whether it is the first.
    pub(super) fn failed(&mut self, id: &str, class: Class, now: Timestamp) -> bool {
        let Some(job) = self.by_link.get_mut(id) else { return false };
        let first = job.failing_since.is_none();
        let since = *job.failing_since.get_or_insert(now);
        job.next = next_try(class, since, now, 0);
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owed(role: &str, due: i64) -> Option<Owed> {
        let how = How::Database { mount: "database".to_owned(), role: role.to_owned() };
        Some(Owed { how, due: Timestamp::from_secs(due) })
    }

    #[test]
    fn the_same_rotation_is_made_once_for_all_that_are_due() {
        let at = Timestamp::from_secs;
        let mut jobs = Jobs::default();
        jobs.note("a", owed("shop", 10));
        jobs.note("b", owed("shop", 12));
        jobs.note("c", owed("shop", 99));
        jobs.note("d", owed("other", 11));
        assert!(jobs.due(at(9)).is_none());
        let (how, ids) = jobs.due(at(12)).unwrap();
        assert_eq!((how, ids), (owed("shop", 0).unwrap().how, vec!["a".to_owned(), "b".to_owned()]));
        jobs.note("a", None);
        jobs.note("b", None);
        assert_eq!(jobs.due(at(12)).unwrap().1, ["d"]);
    }

    #[test]
    fn a_failure_waits_and_is_told_once_and_a_decline_comes_sooner() {
        let at = Timestamp::from_secs;
        let mut jobs = Jobs::default();
        jobs.note("a", owed("shop", 10));
        assert!(jobs.failed("a", Class::Transient, at(10)));
        jobs.note("a", owed("shop", 10));
        assert!(jobs.due(at(10)).is_none(), "looked at again, and still waiting");
        assert!(jobs.due(at(12)).is_some());
        assert!(!jobs.failed("a", Class::Transient, at(12)));
        jobs.note("a", owed("shop", 5));
        assert!(jobs.due(at(12)).is_some());
    }

    #[test]
    fn a_link_that_is_gone_owes_nothing() {
        let at = Timestamp::from_secs;
        let mut jobs = Jobs::default();
        jobs.note("a", owed("shop", 10));
        jobs.note("b", owed("other", 11));
        jobs.keep_only(&["b".to_owned(), "c".to_owned()]);
        assert_eq!(jobs.due(at(12)).unwrap().1, ["b"]);
    }

    #[test]
    fn what_the_mount_says_is_understood() {
        let how = |text: &str| serde_json::from_str::<How>(text).unwrap();
        assert_eq!(
            how(r#"{"engine":"database","mount":"database","role":"shop","owed":true}"#),
            owed("shop", 0).unwrap().how
        );
        assert!(matches!(how(r#"{"engine":"kv","mount":"s","path":"a/b","keys":["p"]}"#), How::Kv { .. }));
        for (text, verb) in [("POST", Verb::Post), ("PUT", Verb::Put), ("DELETE", Verb::Delete)] {
            let asked = how(&format!(r#"{{"engine":"request","path":"a","method":"{text}","data":{{}}}}"#));
            assert!(matches!(asked, How::Request { method, .. } if method == verb), "{text}");
        }
    }
}
