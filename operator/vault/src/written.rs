//! Which versions of KV v2 secrets this process wrote itself, as Vault answered it.
//!
//! Whoever cleans up can't look at values: that the current version holds none of the delivered ones is certain only where
//! its values are our own. An answer that was lost, or a process that started anew, costs one more write and proves nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ps_core::ports::Connection;

/// Secrets that are remembered; beyond it all are forgotten, which costs one more write each.
const MOST: usize = 4096;

/// A secret: address, Vault namespace, mount and path.
type Place = [String; 4];

#[derive(Default)]
struct Ours {
    version: u64,
    created: String,
    /// The version that gave each key its value.
    keys: HashMap<String, u64>,
    /// Every one of these values is random by our own making. A password policy may give the same value twice.
    random: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Written(Mutex<HashMap<Place, Ours>>);

impl Written {
    /// `version` was written over `cas`, with new values for `keys` and the others as they were.
    pub(crate) fn note(
        &self,
        at: &Connection,
        (mount, path): (&str, &str),
        cas: u64,
        keys: &[String],
        (version, created): (u64, String),
        random: bool,
    ) {
        let mut all = self.lock();
        let place = place(at, mount, path);
        if all.len() >= MOST && !all.contains_key(&place) {
            all.clear();
        }
        let ours = all.entry(place).or_default();
        // Over somebody else's version: what we wrote before it may be anything by now.
        if ours.version != cas {
            ours.keys.clear();
        }
        ours.random = random && (ours.random || ours.keys.is_empty());
        ours.keys.extend(keys.iter().map(|key| (key.clone(), version)));
        (ours.version, ours.created) = (version, created);
    }

    /// The keys whose values in this current version are ours and younger than version `then`.
    pub(crate) fn since(
        &self,
        at: &Connection,
        (mount, path): (&str, &str),
        (version, created): (u64, &str),
        then: u64,
    ) -> Vec<String> {
        let all = self.lock();
        let Some(ours) = all.get(&place(at, mount, path)) else { return Vec::new() };
        if ours.version != version || ours.created != created {
            return Vec::new();
        }
        ours.keys.iter().filter(|(_, wrote)| **wrote > then).map(|(key, _)| key.clone()).collect()
    }

    /// Whether this process wrote a version after `then`, with nothing but random values: for all that it knows, that is
    /// the current one.
    pub(crate) fn is_random_since(&self, at: &Connection, (mount, path): (&str, &str), then: u64) -> bool {
        let all = self.lock();
        all.get(&place(at, mount, path)).is_some_and(|ours| ours.random && ours.version > then)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Ours>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(at: &Connection, mount: &str, path: &str) -> Place {
    [&at.address, &at.vault_namespace, mount, path].map(|part: &str| part.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ps_core::delivery::{ConnectionRef, SecretKeyRef};
    use ps_core::ports::Auth;
    use ps_core::time::Span;

    fn at(address: &str) -> Connection {
        Connection {
            name: ConnectionRef::cluster("", "cleanup"),
            address: address.into(),
            vault_namespace: String::new(),
            ca_pem: None,
            tls_server_name: None,
            timeout: Span::from_secs(10),
            auth: Auth::Token { secret: SecretKeyRef { name: "t".into(), key: "t".into() } },
            secrets_in: String::new(),
            cleanup: None,
        }
    }

    fn keys(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn only_the_version_that_was_written_last_and_the_keys_in_it_are_ours() {
        let (written, here, place) = (Written::default(), at("https://a"), ("kv", "x"));
        written.note(&here, place, 3, &keys(&["pass"]), (4, "t4".into()), true);
        assert_eq!(written.since(&here, place, (4, "t4"), 3), ["pass"]);
        assert!(written.since(&here, place, (5, "t5"), 3).is_empty(), "somebody else's");
        assert!(written.since(&here, place, (4, "later"), 3).is_empty(), "made anew");
        assert!(written.since(&here, place, (4, "t4"), 4).is_empty(), "it is what was delivered");
        assert!(written.since(&here, ("kv", "y"), (4, "t4"), 3).is_empty());
        assert!(written.since(&at("https://b"), place, (4, "t4"), 3).is_empty(), "another server");
        // Over ours: both keys are, each since its own version.
        written.note(&here, place, 4, &keys(&["key"]), (5, "t5".into()), true);
        let mut both = written.since(&here, place, (5, "t5"), 3);
        both.sort();
        assert_eq!(both, ["key", "pass"]);
        assert_eq!(written.since(&here, place, (5, "t5"), 4), ["key"], "version 4 was delivered to somebody");
        // Over somebody else's: only what was written now.
        written.note(&here, place, 6, &keys(&["key"]), (7, "t7".into()), true);
        assert_eq!(written.since(&here, place, (7, "t7"), 3), ["key"]);
    }

    #[test]
    fn values_of_a_password_policy_are_not_known_to_be_new() {
        let (written, here, place) = (Written::default(), at("https://a"), ("kv", "x"));
        assert!(!written.is_random_since(&here, place, 3), "nothing was written");
        written.note(&here, place, 3, &keys(&["pass"]), (4, "t4".into()), true);
        assert!(written.is_random_since(&here, place, 3) && !written.is_random_since(&here, place, 4));
        written.note(&here, place, 4, &keys(&["key"]), (5, "t5".into()), false);
        assert!(!written.is_random_since(&here, place, 3));
        written.note(&here, place, 5, &keys(&["pass"]), (6, "t6".into()), true);
        assert!(!written.is_random_since(&here, place, 3), "one of its keys still has a value by policy");
        written.note(&here, place, 8, &keys(&["pass"]), (9, "t9".into()), true);
        assert!(written.is_random_since(&here, place, 3), "over somebody else's: only what was written now");
    }

    #[test]
    fn it_stays_small() {
        let (written, here) = (Written::default(), at("https://a"));
        for n in 0..=MOST {
            written.note(&here, ("kv", &n.to_string()), 1, &keys(&["pass"]), (2, "t".into()), true);
        }
        assert_eq!(written.lock().len(), 1);
    }
}
