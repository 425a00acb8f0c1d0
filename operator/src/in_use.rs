//! Which connections to Vault the ledger still needs: those of attempts that may owe something, and of who cleans up after
//! them. A login that nobody needs any more is let run out; one that is needed may be all that is left of an identity.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ps_core::delivery::ConnectionRef;
use ps_core::entry::{Attempt, Entry};
use ps_core::ids::Key;

/// By delivery, as its entry was last written or read.
#[derive(Default)]
pub(crate) struct InUse {
    /// The operator's own namespace, as which clean-up connections are used; empty outside a cluster, where nobody asks and
    /// nothing is kept.
    own: String,
    needed: Mutex<HashMap<Key, Vec<ConnectionRef>>>,
}

impl InUse {
    pub(crate) fn new(own: &str) -> Self {
        Self { own: own.to_owned(), ..Self::default() }
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Key, Vec<ConnectionRef>>> {
        self.needed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what an entry says.
    pub(crate) fn note(&self, entry: &Entry) {
        if self.own.is_empty() {
            return;
        }
        let owes = |a: &&Attempt| a.link_is_live() || (a.obligation.is_some() && a.evidence.is_none());
        let mut needed = HashSet::new();
        for attempt in entry.attempts.iter().filter(owes) {
            needed.insert(attempt.connection.clone());
            let cleaner = attempt.resolved.as_deref().and_then(|at| at.cleanup.as_deref());
            needed.extend(cleaner.map(|name| ConnectionRef::cluster(&self.own, name)));
        }
        if needed.is_empty() {
            self.map().remove(&entry.key);
        } else {
            self.map().insert(entry.key.clone(), needed.into_iter().collect());
        }
    }

    /// Every connection that is needed.
    pub(crate) fn all(&self) -> HashSet<ConnectionRef> {
        self.map().values().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use ps_core::delivery::SecretKeyRef;
    use ps_core::entry::{Cause, MailState, Obligation};
    use ps_core::ids::{Digest, LinkId};
    use ps_core::link::State;
    use ps_core::ports::{Auth, Connection};
    use ps_core::time::{Span, Timestamp};
    use ps_ledger::conformance::sample;

    use super::*;

    #[test]
    fn what_is_live_or_owed_is_needed_and_nothing_else() {
        let in_use = InUse::new("own");
        let mut entry = sample(Key::new("team", "a"), &[(Digest([1; 32]), LinkId([1; 16]))]);
        let name = entry.attempts[0].connection.clone();
        entry.attempts[0].mail = MailState::Accepted { at: Timestamp::EPOCH };
        in_use.note(&entry);
        assert_eq!(in_use.all(), HashSet::from([name.clone()]), "its link is live");
        entry.attempts[0].link.state = State::Revoked;
        in_use.note(&entry);
        assert!(in_use.all().is_empty());
        let now = Timestamp::EPOCH;
        let owed = Obligation { cause: Cause::Revoked, raised_at: now, due: now, begun: None, stalled: None };
        entry.attempts[0].obligation = Some(owed);
        in_use.note(&entry);
        assert_eq!(in_use.all(), HashSet::from([name.clone()]), "a rotation is owed");
        let cleanup = Some("cleaner".to_owned());
        entry.attempts[0].resolved = Some(Box::new(Connection {
            name: name.clone(),
            address: "https://vault:8200".into(),
            vault_namespace: String::new(),
            ca_pem: None,
            tls_server_name: None,
            timeout: Span::from_secs(5),
            auth: Auth::Token { secret: SecretKeyRef { name: "t".into(), key: "t".into() } },
            secrets_in: "team".into(),
            cleanup,
        }));
        in_use.note(&entry);
        assert_eq!(in_use.all(), HashSet::from([name, ConnectionRef::cluster("own", "cleaner")]));
    }
}
