//! Settings as they were last read, so that a request costs no reading of them.
//!
//! Only the active node's process writes settings, and forgets them here when it did. A standby is told by its server what the
//! active node wrote. Whoever read the storage while something was forgotten keeps what it read for its own request only. A write
//! that failed may still happen, nobody knows when: from then on nothing is remembered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::settings::{Config, Role};

/// Roles that are remembered; with more in use, some are read again.
const MOST_ROLES: usize = 1024;

/// What is known of a mount's settings.
#[derive(Default)]
pub(crate) struct Known(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    config: Option<Arc<Config>>,
    roles: HashMap<String, Arc<Role>>,
    /// How often something was forgotten.
    epoch: u64,
    /// A write's end is not known.
    doubtful: bool,
}

/// Taken before the storage is read, given back with what was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch(u64);

impl Known {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mount's settings, or what to give back with them when they were read.
    pub(crate) fn config(&self) -> Result<Arc<Config>, Epoch> {
        let inner = self.inner();
        inner.config.clone().ok_or(Epoch(inner.epoch))
    }

    pub(crate) fn keep_config(&self, epoch: Epoch, config: &Arc<Config>) {
        let mut inner = self.inner();
        if inner.may_keep(epoch) {
            inner.config = Some(config.clone());
        }
    }

    /// A role's settings, or what to give back with them when they were read.
    pub(crate) fn role(&self, name: &str) -> Result<Arc<Role>, Epoch> {
        let inner = self.inner();
        inner.roles.get(name).cloned().ok_or(Epoch(inner.epoch))
    }

    /// Only roles that exist are kept: nobody may fill memory with names of others.
    pub(crate) fn keep_role(&self, epoch: Epoch, name: &str, role: &Arc<Role>) {
        let mut inner = self.inner();
        if inner.may_keep(epoch) {
            if inner.roles.len() >= MOST_ROLES {
                inner.roles.clear();
            }
            inner.roles.insert(name.to_owned(), role.clone());
        }
    }

    /// Settings were written.
    pub(crate) fn forget(&self) {
        let mut inner = self.inner();
        *inner = Inner { epoch: inner.epoch + 1, doubtful: inner.doubtful, ..Inner::default() };
    }

    /// Settings may have been written, or may be yet.
    pub(crate) fn doubt(&self) {
        self.inner().doubtful = true;
        self.forget();
    }
}

impl Inner {
    fn may_keep(&self, epoch: Epoch) -> bool {
        self.epoch == epoch.0 && !self.doubtful
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let known = Known::default();
        let (before, role) = (known.config().unwrap_err(), known.role("r").unwrap_err());
        known.forget();
        known.keep_config(before, &Arc::default());
        known.keep_role(role, "r", &Arc::default());
        let (now, role) = (known.config().unwrap_err(), known.role("r").unwrap_err());
        known.keep_config(now, &Arc::default());
        known.keep_role(role, "r", &Arc::default());
        assert!(known.config().is_ok() && known.role("r").is_ok());
        assert!(known.role("other").is_err());
        known.forget();
        assert!(known.config().is_err() && known.role("r").is_err());
        known.doubt();
        let doubted = known.config().unwrap_err();
        known.keep_config(doubted, &Arc::default());
        assert!(known.config().is_err());
    }

    #[test]
    fn roles_that_are_remembered_have_a_bound() {
        let known = Known::default();
        for number in 0..=MOST_ROLES {
            let name = number.to_string();
            let epoch = known.role(&name).unwrap_err();
            known.keep_role(epoch, &name, &Arc::default());
        }
        assert_eq!(known.inner().roles.len(), 1);
    }
}
