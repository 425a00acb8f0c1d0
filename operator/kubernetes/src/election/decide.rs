//! What to do about a lease: pure.

use std::time::Duration;

use super::Config;

/// The longest that a lease of somebody else is respected after its last change, whatever it says.
pub const LONGEST_LEASE: Duration = Duration::from_secs(300);

/// A lease, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// Who holds it; empty for nobody.
    pub holder: String,
    /// For how long after a change others have to wait.
    pub duration: Duration,
    /// How often it changed hands.
    pub transitions: i32,
    /// Changes with each write: the resourceVersion.
    pub version: String,
}

/// The last change of the lease, as seen from here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Version at that change; `None` before the first look.
    pub version: Option<String>,
    /// When it was seen first, by our monotonic clock.
    pub at: Duration,
}

impl Observed {
    /// Takes note of a look at `now`.
    #[must_use]
    pub fn look(self, lease: Option<&LeaseView>, now: Duration) -> Self {
        let version = lease.map(|lease| lease.version.clone());
        if version.is_some() && version == self.version { self } else { Self { version, at: now } }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is no lease: make it, ours.
    Create,
    /// It is ours: renew it.
    Renew,
    /// It is nobody's, or over: take it, and count a transition.
    Take {
        /// How often it has changed hands then.
        transitions: i32,
    },
    /// It is somebody else's until then at least, by our monotonic clock.
    Wait {
        /// When to look at the latest.
        until: Duration,
    },
}

/// What to do about a lease of which the last change was observed as `observed`, at `now` of the same clock.
#[must_use]
pub fn decide(config: &Config, lease: Option<&LeaseView>, observed: &Observed, now: Duration) -> Step {
    let Some(lease) = lease else { return Step::Create };
    if lease.holder == config.me {
        return Step::Renew;
    }
    let over = observed.at.saturating_add(lease.duration.min(LONGEST_LEASE));
    if lease.holder.is_empty() || over <= now {
        return Step::Take { transitions: lease.transitions.saturating_add(1) };
    }
    Step::Wait { until: over }
}
