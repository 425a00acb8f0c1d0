//! Vault and OpenBao: authentication, reading, rotating, proving. The only crate that names vaultrs.
//!
//! [`VaultClient`] performs [`ps_core::ports::Vault`]. Per connection it keeps one pooled HTTP client and one login, which
//! one task renews. vaultrs and rustify are the transport; the endpoints are ours, keep the whole answer, and bound it.
//! No error of theirs passes this crate's boundary: theirs carry whole answers and addresses.
//!
//! | module | does |
//! |---|---|
//! | `transport` | one bounded request over vaultrs' client |
//! | `peer`, `session`, `login` | which token is used, when it is renewed, when it is got anew |
//! | `kv2`, `kv1`, `database` | the engines: read, observe, rotate |
//! | `written` | which versions this process wrote itself |
//! | `plain` | requests of the daemon that follows a mount of links |
//! | `rights` | what an identity must be allowed, asked for beforehand |
//! | `answer`, `fault` | what Vault said, as secrets and as faults |
//!
//! An identity that cleans up may rotate and revoke but not read: where Vault denies a value, `observe` looks at the
//! metadata of KV version 2, and at the static role itself instead, and gives a sight without the tags of what it did not see.
//!
//! rustify and vaultrs log requests' addresses (so, paths of secrets) at their own targets: switch these off.

mod address;
mod answer;
mod counts;
mod database;
mod fault;
mod generate;
mod kv1;
mod kv2;
mod login;
mod mounts;
mod path;
mod peer;
mod plain;
mod request;
mod rights;
mod session;
mod transport;
mod written;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use ps_core::delivery::{ConnectionRef, Identity, Source, SourceSight, Strategy};
use ps_core::error::{Class, Fault};
use ps_core::ports::{Clock, Connection, Connections, Reading, Vault};
use ps_core::rotation::Step;
use ps_core::secret::SecretBytes;
use ps_core::time::Timestamp;

pub use counts::RequestCount;
pub use plain::Verb;

use counts::Counts;
use path::field;
use peer::{Keeper, Peer};
use written::Written;

/// Reads and rotates credentials in Vault or OpenBao.
///
/// Cheap to share behind an `Arc`. Dropping it ends its tasks; it never revokes a token, because leases would go with it.
pub struct VaultClient {
    connections: Arc<dyn Connections>,
    clock: Arc<dyn Clock>,
    counts: Arc<Counts>,
    keepers: Mutex<HashMap<ConnectionRef, Keeper>>,
    written: Written,
}

impl VaultClient {
    /// A client without any connection yet: each is opened when it is first used.
    ///
    /// `connections` gives the secrets that logins need, `clock` the time by which tokens are renewed.
    #[must_use]
    pub fn new(connections: Arc<dyn Connections>, clock: Arc<dyn Clock>) -> Self {
        Self { connections, clock, counts: Arc::default(), keepers: Mutex::default(), written: Written::default() }
    }

    /// How many requests were made, by connection, operation and outcome. A login's requests count too.
    #[must_use]
    pub fn requests_total(&self) -> Vec<RequestCount> {
        self.counts.all()
    }

    /// Ends a connection that is not used any more: its pool, its token's renewal. Its counts stay.
    pub fn forget(&self, name: &ConnectionRef) {
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Ends every connection that is not `wanted`, and says how many these were. For whoever knows all that is still in
    /// use: the connections of every delivery, of every attempt that owes a rotation or whose link is open, and those that
    /// clean up after them. Tokens are not revoked, they run out.
    pub fn retain(&self, wanted: impl Fn(&ConnectionRef) -> bool) -> usize {
        let mut keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        let before = keepers.len();
        keepers.retain(|name, _| wanted(name));
        before - keepers.len()
    }

    /// The connections that are open, in no order.
    #[must_use]
    pub fn open(&self) -> Vec<ConnectionRef> {
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// The connection's peer; a changed connection gets a new one, with a new login if who logs in, or where, is another.
    fn peer(&self, at: &Connection) -> Result<Arc<Peer>, Fault> {
        let mut keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        let before = keepers.get(&at.name).map(|keeper| Arc::clone(keeper.peer()));
        if let Some(peer) = before.as_ref().filter(|peer| peer.serves(at)) {
            return Ok(Arc::clone(peer));
        }
        let (connections, clock) = (Arc::clone(&self.connections), Arc::clone(&self.clock));
        let peer = Arc::new(Peer::new(at.clone(), connections, clock, Arc::clone(&self.counts))?);
        if let Some(before) = before {
            peer.take_over(&before);
        }
        keepers.insert(at.name.clone(), Keeper::start(Arc::clone(&peer)));
        Ok(peer)
    }

    async fn rotated(&self, peer: &Peer, source: &Source, step: &Step) -> Result<(), Fault> {
        let written = &self.written;
        match (source, step) {
            (
                Source::Kv2 { mount, path, .. },
                Step::WriteNewVersion { cas: Some(cas), keys, password_policy, destroy },
            ) => {
                kv2::write(peer, mount, path, *cas, keys, password_policy.as_deref(), written).await?;
                // The compare-and-set is known to have succeeded, so the old version is not needed any more.
                match destroy {
                    Some(version) => kv2::destroy(peer, mount, path, *version).await,
                    None => Ok(()),
                }
            }
            (Source::Kv2 { mount, path, .. }, Step::DestroyVersion(version)) => {
                kv2::destroy(peer, mount, path, *version).await
            }
            (Source::Kv1 { mount, path, keys: named }, Step::WriteNewVersion { keys, password_policy, .. }) => {
                kv1::write(peer, mount, path, named, keys, password_policy.as_deref()).await
            }
            (Source::DatabaseStatic { mount, role }, Step::RotateRole) => database::rotate(peer, mount, role).await,
            _ => {
                let message = format!("the step {} does not fit the source {}", step.name(), source.place());
                Err(Fault::new(Class::Permanent, "vault-step-mismatch", message))
            }
        }
    }
}

impl std::fmt::Debug for VaultClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let connections = self.keepers.lock().unwrap_or_else(PoisonError::into_inner).len();
        f.debug_struct("VaultClient").field("connections", &connections).finish_non_exhaustive()
    }
}

#[async_trait]
impl Vault for VaultClient {
    async fn check_rights(&self, at: &Connection, source: &Source, strategy: Strategy) -> Result<(), Fault> {
        rights::check(&*self.peer(at)?, source, strategy).await
    }

    async fn read(&self, at: &Connection, source: &Source) -> Result<Reading, Fault> {
        let peer = self.peer(at)?;
        let reading = match source {
            Source::Kv2 { mount, path, keys } => kv2::read(&peer, mount, path, keys).await,
            Source::Kv1 { mount, path, keys } => kv1::read(&peer, mount, path, keys).await,
            Source::DatabaseStatic { mount, role } => database::read(&peer, mount, role).await,
        };
        reading.map_err(|fault| fault::for_field(fault, field::of(source)))
    }

    async fn observe(
        &self,
        at: &Connection,
        source: &Source,
        delivered: &Identity,
        tag_key: &SecretBytes,
        now: Timestamp,
    ) -> Result<SourceSight, Fault> {
        let peer = self.peer(at)?;
        let sight = match source {
            Source::Kv2 { mount, path, keys } => {
                kv2::observe(&peer, (mount, path), keys, delivered, tag_key, now, &self.written).await
            }
            Source::Kv1 { mount, path, keys } => kv1::observe(&peer, mount, path, keys, tag_key, now).await,
            Source::DatabaseStatic { mount, role } => database::observe(&peer, mount, role, tag_key, now).await,
        };
        sight.map_err(|fault| fault::for_field(fault, field::of(source)))
    }

    async fn rotate(&self, at: &Connection, source: &Source, step: &Step) -> Result<(), Fault> {
        let done = self.rotated(&*self.peer(at)?, source, step).await;
        done.map_err(|fault| fault::for_field(fault, field::of(source)))
    }
}
