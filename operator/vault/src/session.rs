//! A token in use, and when it is renewed. Pure: time and jitter are arguments.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use ps_core::delivery::{Source, Strategy};
use ps_core::secret::SecretString;
use ps_core::time::{Span, Timestamp};

/// Checked rights that are remembered at most; then all are forgotten, and asked for again.
const MAX_RIGHTS: usize = 20_000;
/// A token that Vault has not accepted once is not replaced sooner than this after the last login.
const UNPROVEN: Span = Span::from_secs(10);
/// A refusal that may be for lack of rights makes a new login at most this often.
const RELOGIN: Span = Span::from_secs(60);

/// How long a token lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// When it was issued, renewed or looked at.
    pub(crate) from: Timestamp,
    /// How long it lives from then.
    pub(crate) ttl: Span,
    /// How long it lived when it was new.
    pub(crate) full: Span,
    /// Whether Vault renews it.
    pub(crate) renewable: bool,
    /// Up to a tenth of the time to live, taken off so that many do not renew at once.
    pub(crate) jitter: Span,
    /// A renewal gave so little that the token's last end must be near: log in anew instead.
    pub(crate) last: bool,
}

impl Lease {
    /// A lease of `ttl` from `from`; `random` spreads renewals.
    pub(crate) fn new(from: Timestamp, ttl: Span, full: Span, renewable: bool, random: u8) -> Self {
        let jitter = Span::from_millis(ttl.as_millis() / 10 * i64::from(random) / 255);
        Self { from, ttl, full, renewable, jitter, last: false }
    }

    /// When it should be renewed or replaced: after two thirds, less the jitter.
    pub(crate) fn due(&self) -> Timestamp {
        self.from + Span::from_millis(self.ttl.as_millis() / 3 * 2) - self.jitter
    }

    /// When it ends.
    pub(crate) fn end(&self) -> Timestamp {
        self.from + self.ttl
    }

    /// What a renewal granted: less than half of a new token's life means that its last end is near.
    pub(crate) fn renewed(&self, from: Timestamp, ttl: Span, renewable: bool, random: u8) -> Self {
        let last = ttl.as_millis() < self.full.as_millis() / 2;
        Self { last, ..Self::new(from, ttl, self.full, renewable, random) }
    }

    /// Whether a renewal is worth asking for.
    pub(crate) fn can_renew(&self) -> bool {
        self.renewable && !self.last
    }
}

/// One token, from login to replacement.
pub(crate) struct Session {
    pub(crate) token: SecretString,
    pub(crate) since: Timestamp,
    lease: Mutex<Option<Lease>>,
    accepted: AtomicBool,
    rights: Mutex<HashMap<Source, Vec<Strategy>>>,
    unreadable: Mutex<HashSet<String>>,
}

impl Session {
    /// `lease` is `None` for a token that never expires, or whose end Vault does not tell.
    pub(crate) fn new(token: SecretString, since: Timestamp, lease: Option<Lease>) -> Self {
        let (accepted, rights, unreadable) = (AtomicBool::new(false), Mutex::default(), Mutex::default());
        Self { token, since, lease: Mutex::new(lease), accepted, rights, unreadable }
    }

    pub(crate) fn lease(&self) -> Option<Lease> {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn renewed(&self, lease: Lease) {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = Some(lease);
    }

    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.lease().is_some_and(|lease| now >= lease.end())
    }

    /// Vault took the token.
    pub(crate) fn accept(&self) {
        self.accepted.store(true, Ordering::Relaxed);
    }

    /// After a 403: whether another login can help. `dead` says that the answer reads as one to a token that is not
    /// known (any more); else it reads as a lack of rights, and only a role's policies may have changed meanwhile.
    pub(crate) fn is_worth_a_login(&self, now: Timestamp, dead: bool) -> bool {
        let age = now.since(self.since);
        if dead { self.accepted.load(Ordering::Relaxed) || age >= UNPROVEN } else { age >= RELOGIN }
    }

    /// Whether this token was refused to read a path's values, and could be told of it in another way.
    pub(crate) fn is_unreadable(&self, path: &str) -> bool {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).contains(path)
    }

    pub(crate) fn remember_unreadable(&self, path: &str) {
        let mut unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        if unreadable.len() >= MAX_RIGHTS {
            unreadable.clear();
        }
        unreadable.insert(path.to_owned());
    }

    pub(crate) fn knows_right(&self, source: &Source, strategy: Strategy) -> bool {
        let rights = self.rights.lock().unwrap_or_else(PoisonError::into_inner);
        rights.get(source).is_some_and(|checked| checked.contains(&strategy))
    }

    pub(crate) fn remember_right(&self, source: &Source, strategy: Strategy) {
        let mut rights = self.rights.lock().unwrap_or_else(PoisonError::into_inner);
        if rights.len() >= MAX_RIGHTS {
            rights.clear();
        }
        rights.entry(source.clone()).or_default().push(strategy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn lease(ttl: i64, full: i64, random: u8) -> Lease {
        Lease::new(at(1000), Span::from_secs(ttl), Span::from_secs(full), true, random)
    }

    #[test]
    fn renewal_is_due_at_two_thirds_less_a_tenth_at_most() {
        assert_eq!(lease(90, 90, 0).due(), at(1060));
        assert_eq!(lease(90, 90, 255).due(), at(1051));
        assert_eq!(lease(90, 90, 0).end(), at(1090));
    }

    #[test]
    fn an_old_token_is_still_renewed_and_one_at_its_last_end_is_not() {
        let old = lease(40, 90, 0);
        assert!(old.can_renew(), "it was looked at late in its life");
        let renewed = |secs| old.renewed(at(1030), Span::from_secs(secs), true, 0);
        assert!(renewed(90).can_renew() && renewed(45).can_renew());
        assert!(!renewed(44).can_renew(), "Vault gave less than half: the maximum is near");
        assert_eq!((renewed(90).end(), renewed(90).full), (at(1120), Span::from_secs(90)));
    }

    #[test]
    fn a_session_ends_with_its_lease_only() {
        let session = |lease| Session::new(SecretString::new("t".into()), at(1000), lease);
        assert!(session(Some(lease(90, 90, 0))).is_over(at(1090)));
        assert!(!session(Some(lease(90, 90, 0))).is_over(at(1089)));
        assert!(!session(None).is_over(Timestamp::MAX));
    }

    #[test]
    fn refusals_make_few_logins() {
        let session = Session::new(SecretString::new("t".into()), at(1000), None);
        assert!(!session.is_worth_a_login(at(1009), true), "it never worked: no hot loop of logins");
        assert!(session.is_worth_a_login(at(1010), true));
        session.accept();
        assert!(session.is_worth_a_login(at(1001), true), "it worked and is dead now");
        assert!(!session.is_worth_a_login(at(1059), false));
        assert!(session.is_worth_a_login(at(1060), false));
    }

    #[test]
    fn rights_are_remembered_by_source_and_strategy() {
        let session = Session::new(SecretString::new("t".into()), at(0), None);
        let source = Source::DatabaseStatic { mount: "db".into(), role: "r".into() };
        session.remember_right(&source, Strategy::RotateRole);
        assert!(session.knows_right(&source, Strategy::RotateRole));
        assert!(!session.knows_right(&source, Strategy::None));
    }
}
