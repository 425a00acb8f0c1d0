//! Failpoints: every method of every port, before and after its effect. The list is the traits' own.
//!
//! A [`Hook`] hears of each call; what it does with it (count, stop, kill, yield to another operator, lose the reply) is
//! a test's business. Production wires no hooks: the ports are used as they are.

use std::sync::Arc;

use async_trait::async_trait;
use ps_core::audit::Event;
use ps_core::delivery::{ConnectionRef, Identity, Manifest, SecretKeyRef, Source, SourceSight, Strategy};
use ps_core::entry::{Common, Entry};
use ps_core::error::{Class, Fault};
use ps_core::ids::{Digest, Key, LinkId, Stamp};
use ps_core::link::Record;
use ps_core::link::verification::SignInRefusal;
use ps_core::mail::{CodeMail, LinkMail, NoticeMail};
use ps_core::ports::{
    AuditSink, CasError, Connection, Connections, Identities, Ledger, LinkStore, MailError, Mailer, Manifests, Reading,
    RecordSummary, SignIn, Vault, Versioned,
};
use ps_core::rotation::Step;
use ps_core::secret::{SecretBytes, SecretString};
use ps_core::status::Status;
use ps_core::time::Timestamp;

use crate::controller::Ports;

/// Where in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Nothing has happened yet.
    Before,
    /// It has happened; the caller does not know yet.
    After,
}

/// What a hook makes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Go on.
    Pass,
    /// The call fails: before its effect it does not happen, after it the reply is lost.
    Fail,
}

/// Hears of every call.
#[async_trait]
pub trait Hook: Send + Sync {
    /// Called twice per call. `effect` says whether the method can change anything outside.
    async fn at(&self, port: &'static str, method: &'static str, phase: Phase, effect: bool) -> Fate;
}

/// A port with a hook.
struct Hooked<T: ?Sized> {
    inner: Arc<T>,
    hook: Arc<dyn Hook>,
}

/// An error that says: this call failed on purpose, and nobody knows whether it happened.
trait Injected {
    fn injected() -> Self;
}

fn injected_fault() -> Fault {
    Fault::new(Class::Transient, "injected", "failed on purpose, by a test")
}

impl Injected for Fault {
    fn injected() -> Self {
        injected_fault()
    }
}

impl Injected for CasError {
    fn injected() -> Self {
        Self::Failed(injected_fault())
    }
}

impl Injected for MailError {
    fn injected() -> Self {
        Self::Unknown(injected_fault())
    }
}

impl Ports {
    /// The same ports, each call of which goes through `hook`.
    #[must_use]
    pub fn hooked(self, hook: &Arc<dyn Hook>) -> Self {
        Self {
            manifests: Arc::new(Hooked { inner: self.manifests, hook: hook.clone() }),
            connections: Arc::new(Hooked { inner: self.connections, hook: hook.clone() }),
            ledger: Arc::new(Hooked { inner: self.ledger, hook: hook.clone() }),
            store: Arc::new(Hooked { inner: self.store, hook: hook.clone() }),
            vault: Arc::new(Hooked { inner: self.vault, hook: hook.clone() }),
            mailer: Arc::new(Hooked { inner: self.mailer, hook: hook.clone() }),
            identities: Arc::new(Hooked { inner: self.identities, hook: hook.clone() }),
            audit: Arc::new(Hooked { inner: self.audit, hook: hook.clone() }),
            clock: self.clock,
            random: self.random,
        }
    }
}

macro_rules! is_effect {
    (effect) => {
        true
    };
    (read) => {
        false
    };
}

/// Implements a port by forwarding each method through the hook. A method that is missing here does not compile, so a
/// new effect can't be forgotten.
macro_rules! hooked {
    ($trait:ident, $port:literal { $($kind:ident $method:ident($($arg:ident: $ty:ty),*) -> Result<$ok:ty, $err:ty>;)* }) => {
        #[async_trait]
        impl $trait for Hooked<dyn $trait> {
            $(
                async fn $method(&self, $($arg: $ty),*) -> Result<$ok, $err> {
                    let effect = is_effect!($kind);
                    let method = stringify!($method);
                    if self.hook.at($port, method, Phase::Before, effect).await == Fate::Fail {
                        return Err(<$err>::injected());
                    }
                    let done = self.inner.$method($($arg),*).await;
                    if self.hook.at($port, method, Phase::After, effect).await == Fate::Fail {
                        return Err(<$err>::injected());
                    }
                    done
                }
            )*
        }
    };
}

hooked!(LinkStore, "store" {
    effect insert(record: &Record) -> Result<u64, CasError>;
    read get(id: LinkId) -> Result<Option<Versioned<Record>>, CasError>;
    effect replace(record: &Record, unchanged: u64) -> Result<u64, CasError>;
    effect delete(id: LinkId, unchanged: u64) -> Result<(), CasError>;
    effect purge(id: LinkId) -> Result<bool, CasError>;
    read list(after: Option<LinkId>, limit: usize) -> Result<Vec<RecordSummary>, CasError>;
    read changes(after: u64, limit: usize) -> Result<Vec<RecordSummary>, CasError>;
});

hooked!(Ledger, "ledger" {
    read get(key: &Key) -> Result<Option<Versioned<Entry>>, CasError>;
    read get_latest(key: &Key) -> Result<Option<Versioned<Entry>>, CasError>;
    effect insert(entry: &Entry) -> Result<u64, CasError>;
    effect replace(entry: &Entry, unchanged: u64) -> Result<u64, CasError>;
    effect delete(key: &Key, unchanged: u64) -> Result<(), CasError>;
    read list(after: Option<&Key>, limit: usize) -> Result<Vec<Key>, CasError>;
    read by_source(source: &Digest) -> Result<Vec<Entry>, CasError>;
    read by_record(record: LinkId) -> Result<Option<Key>, CasError>;
    read common(fresh: &Common) -> Result<Versioned<Common>, CasError>;
    read known_common() -> Result<Versioned<Common>, CasError>;
    effect replace_common(common: &Common, unchanged: u64) -> Result<u64, CasError>;
});

hooked!(Connections, "connections" {
    read resolve(name: &ConnectionRef) -> Result<Connection, Fault>;
    read secret(namespace: &str, key: &SecretKeyRef) -> Result<SecretString, Fault>;
    read service_account_token(namespace: &str, account: &str, audience: &str) -> Result<SecretString, Fault>;
});

hooked!(Vault, "vault" {
    read check_rights(at: &Connection, source: &Source, strategy: Strategy) -> Result<(), Fault>;
    read read(at: &Connection, source: &Source) -> Result<Reading, Fault>;
    read observe(at: &Connection, source: &Source, delivered: &Identity, tag_key: &SecretBytes, now: Timestamp) -> Result<SourceSight, Fault>;
    effect rotate(at: &Connection, source: &Source, step: &Step) -> Result<(), Fault>;
});

hooked!(Mailer, "mailer" {
    read ready() -> Result<(), MailError>;
    effect send_link(mail: &LinkMail) -> Result<(), MailError>;
    effect send_code(mail: &CodeMail) -> Result<(), MailError>;
    effect send_notice(mail: &NoticeMail) -> Result<(), MailError>;
});

hooked!(Identities, "identities" {
    read ready() -> Result<(), Fault>;
    effect sign_in(answer: &SignIn<'_>) -> Result<Result<(), SignInRefusal>, Fault>;
});

hooked!(AuditSink, "audit" {
    effect append(events: &[Event]) -> Result<(), Fault>;
});

hooked!(Manifests, "manifests" {
    read get(key: &Key) -> Result<Option<Manifest>, Fault>;
    read confirm_gone(key: &Key) -> Result<(), Fault>;
    effect put_stamp(key: &Key, uid: &str, stamp: &Stamp) -> Result<(), Fault>;
    effect release(key: &Key, uid: &str) -> Result<(), Fault>;
    effect put_status(key: &Key, uid: &str, status: &Status) -> Result<(), Fault>;
});

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    const TRAITS: &str = include_str!("../../../core/src/ports.rs");
    const PORTS: &str = include_str!("controller.rs");
    const HOOKS: &str = include_str!("hooks.rs");

    /// Every method that is marked `read`, and so is no failpoint. Whoever adds one has looked at each implementation: it
    /// changes nothing that anybody else could miss, or see half done.
    const READ: &[&str] = &[
        "LinkStore::get",
        "LinkStore::list",
        "LinkStore::changes",
        "Ledger::get",
        "Ledger::get_latest",
        "Ledger::list",
        "Ledger::by_source",
        "Ledger::by_record",
        // Makes the entry where there is none: a failpoint of its own, `Own::MakeCommon`, the first time only.
        "Ledger::common",
        "Ledger::known_common",
        "Connections::resolve",
        "Connections::secret",
        // A token that ends by itself, and that nobody else has.
        "Connections::service_account_token",
        // Each of these may log in: a lease in Vault that ends by itself.
        "Vault::check_rights",
        "Vault::read",
        "Vault::observe",
        // A session at most.
        "Mailer::ready",
        "Identities::ready",
        "Manifests::get",
        "Manifests::confirm_gone",
    ];

    /// Those that have no hook: nothing is changed by asking for the time or for random bytes.
    const UNHOOKED: [&str; 2] = ["Clock", "Random"];

    /// `Trait::method` of every port, those with a body of their own as well.
    fn methods() -> BTreeSet<String> {
        let (mut all, mut port) = (BTreeSet::new(), None);
        for line in TRAITS.lines() {
            if let Some(rest) = line.strip_prefix("pub trait ") {
                port = rest.split([':', '<', ' ']).next();
            } else if line == "}" {
                port = None;
            }
            let code = line.trim_start();
            let method = code.strip_prefix("async fn ").or_else(|| code.strip_prefix("fn "));
            if let (Some(port), Some(method)) = (port, method) {
                all.insert(format!("{port}::{}", method.split(['(', '<']).next().unwrap()));
            }
        }
        all
    }

    /// `Trait::method` of all that has a hook, marked so.
    fn hooked(mark: &str) -> BTreeSet<String> {
        let (mut all, mut port) = (BTreeSet::new(), None);
        for line in HOOKS.lines() {
            if let Some(rest) = line.strip_prefix("hooked!(") {
                port = rest.split(',').next();
            } else if line.starts_with('}') {
                port = None;
            } else if let (Some(port), Some((found, rest))) = (port, line.trim_start().split_once(' '))
                && found == mark
            {
                all.insert(format!("{port}::{}", rest.split('(').next().unwrap()));
            }
        }
        all
    }

    #[test]
    fn every_method_of_every_port_has_a_hook() {
        let all = methods();
        assert!(all.len() > 30 && all.contains("Manifests::confirm_gone"), "{all:?}");
        let unhooked = |name: &&String| UNHOOKED.iter().any(|port| name.split("::").next() == Some(port));
        let expected: BTreeSet<String> = all.iter().filter(|name| !unhooked(name)).cloned().collect();
        let hooked = &hooked("effect") | &hooked("read");
        let missing: Vec<_> = expected.difference(&hooked).collect();
        assert!(missing.is_empty(), "no hook, so no failpoint: {missing:?}");
        let unknown: Vec<_> = hooked.difference(&expected).collect();
        assert!(unknown.is_empty(), "hooks of no method: {unknown:?}");
    }

    #[test]
    fn what_is_marked_as_reading_was_looked_at() {
        let (marked, looked_at) = (hooked("read"), READ.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(marked, looked_at, "marked `read`, and the list of those that may be");
    }

    #[test]
    fn whatever_the_controller_may_touch_is_a_port_with_a_hook() {
        let body = PORTS.split_once("pub struct Ports {").unwrap().1.split_once("\n}").unwrap().0;
        let fields: Vec<&str> = body.lines().map(str::trim).filter(|line| line.starts_with("pub ")).collect();
        assert!(fields.len() >= 10, "{fields:?}");
        let wrapped = HOOKS.split_once("pub fn hooked(").unwrap().1.split_once("\n}").unwrap().0;
        for field in fields {
            let (name, kind) = field.trim_start_matches("pub ").trim_end_matches(',').split_once(": ").unwrap();
            let port = kind.strip_prefix("Arc<dyn ").and_then(|kind| kind.strip_suffix('>')).unwrap();
            assert!(methods().iter().any(|method| method.starts_with(&format!("{port}::"))), "{port} is no port");
            let has_hook = wrapped.contains(&format!("{name}: Arc::new(Hooked {{"));
            assert_ne!(has_hook, UNHOOKED.contains(&port), "Ports::hooked and {field}");
        }
    }
}
